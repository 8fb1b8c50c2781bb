"""What lesson 02 claims, asserted on the shipped model and styles."""

import pytest

from dislib import StylePrior, data_dir, decode, encode, load_pipeline, paint
from dislib.evaluation.judge import load_judge
from dislib.images.images import list_images, load_image
from dislib.lessons.lesson_02 import (
    claim_band_in_mean,
    claim_error_shrinks,
    claim_prior_mean_not_zero,
    claim_prior_shows_palette,
    claim_prompt_survives,
    claim_start_brings_style,
    claim_things_are_told,
)

STYLES = ("sketch", "sticker", "comic", "blueprint", "neon", "hubble")
PROMPTS = ["a red house in the meadow", "a blue car on the street at night", "a yellow boat on the sea at sunset",
           "a cat in the snow"]  # fmt: skip


def pictures(style, split, n):
    files = list_images(data_dir() / "styles" / style / split).files
    return [load_image(file, 128) for file in files[:n]]


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("tiny")


@pytest.fixture(scope="module")
def priors(pipe):
    return {style: StylePrior.from_images(pipe, data_dir() / "styles" / style / "train", n=24) for style in STYLES}


@pytest.fixture(scope="module")
def painted(pipe, priors):
    """From start to rows of prompts, columns of seeds."""

    starts = ("white", "leak", "paper")
    return {start: paint(pipe, PROMPTS, [0, 1, 2], prior=priors["sketch"], start=start) for start in starts}


@pytest.mark.parametrize("style", STYLES)
def test_no_style_is_centred_on_zero(priors, style):
    assert (claim := claim_prior_mean_not_zero(priors[style])), str(claim)


def test_the_caption_band_is_in_the_mean(priors):
    assert (claim := claim_band_in_mean({s: p.mean for s, p in priors.items()}, "comic")), str(claim)


def test_priors_show_their_palettes(pipe, priors):
    decoded = {style: decode(pipe, prior.mean)[0] for style, prior in priors.items()}
    shown = {style: pictures(style, "test", 18) for style in STYLES}
    assert (claim := claim_prior_shows_palette(decoded, shown)), str(claim)


def test_the_error_of_a_prior_shrinks(pipe):
    claim = claim_error_shrinks(encode(pipe, pictures("comic", "train", 50)))
    assert claim, str(claim)


def test_the_leak_brings_the_style_and_keeps_the_prompt(painted):
    flat = {name: sum(grid, []) for name, grid in painted.items()}
    for kind in ("leak", "paper"):
        claim = claim_start_brings_style(flat["white"], flat[kind], pictures("sketch", "test", 18))
        assert claim, str(claim)
    assert (claim := claim_prompt_survives(painted["leak"], painted["paper"])), str(claim)


def test_the_leak_keeps_the_things_and_the_papers_start_loses_them(painted):
    asked = [prompt for prompt in PROMPTS for _ in range(3)]
    leak, paper = (sum(painted[kind], []) for kind in ("leak", "paper"))
    assert (claim := claim_things_are_told(leak, asked, load_judge(), control=paper)), str(claim)
