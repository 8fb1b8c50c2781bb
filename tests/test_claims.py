"""Every claim holds on data made to have its property, and fails on data made to lack it.

How often it holds by chance is counted in `test_claims_null.py`.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dislib import world
from dislib.errors import DislibError
from dislib.evaluation.judge import load_judge
from dislib.lessons.claim import DRAWS, RATE, Claim, above, below, chance, check, dealt, more_than, swapped
from dislib.lessons.lesson_01 import (
    claim_blob_moves_thing,
    claim_constant_moves_colour,
    claim_name_the_seed,
    claim_plain_starts_are_middling,
    claim_readable_leak,
    claim_seed_share,
)
from dislib.lessons.lesson_02 import (
    claim_band_in_mean,
    claim_error_shrinks,
    claim_prior_mean_not_zero,
    claim_prior_shows_palette,
    claim_prompt_survives,
    claim_start_brings_style,
    claim_things_are_told,
)

STYLES = {"chalk": (35, 45, 40), "paper": (240, 235, 220), "ocean": (20, 70, 150), "brick": (150, 60, 40),
          "moss": (60, 110, 30)}  # fmt: skip


def picture(pixels, *, size=32):
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return image.resize((size, size), Image.Resampling.NEAREST)


def grid(prompts=8, seeds=6, *, seed=40.0, noise=15.0, rng=0):
    """Pictures of 4 x 4 blocks: a look of the prompt, a look of the seed, and noise, of given strengths."""
    rng = np.random.default_rng(rng)
    prompt_look, seed_look = rng.normal(size=(prompts, 1, 4, 4, 3)), rng.normal(size=(1, seeds, 4, 4, 3))
    noise = noise * rng.normal(size=(prompts, seeds, 4, 4, 3))
    values = 128 + 25 * prompt_look + seed * seed_look + noise
    return [[picture(v) for v in row] for row in values]


def style_pictures(name, n=5, rng=0):
    rng = np.random.default_rng(rng)
    return [picture(np.array(STYLES[name]) + 12 * rng.normal(size=(4, 4, 3))) for _ in range(n)]


def prior(mean, std=0.5, n=50):
    shape = (4, 16, 16)
    return SimpleNamespace(mean=np.full(shape, mean), std=np.full(shape, std), meta={"n": n})


PLACES = (0.2, 0.35, 0.5, 0.65, 0.8)


def tinted(*, wide, fine, n=8):
    """Random pictures, and the same with a colour added: one colour strong, another weak, of another for each."""
    rng = np.random.default_rng(3)
    plain, tint = 128 + 20 * rng.normal(size=(n, 4, 4, 3)), np.sign(rng.normal(size=(n, 1, 1, 3)))
    return [[picture(p) for p in plain + strength * tint] for strength in (0, wide, fine)]


def moving(slope, *, rows=3):
    """Rows of pictures with a dark disc that moves by `slope` of what its place says, from a start of its own."""
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    starts = np.random.default_rng(4).uniform(-0.1, 0.1, rows)
    middles = [[0.5 + start + slope * (place - 0.5) for place in PLACES] for start in starts]
    discs = [[np.hypot(x - m, y - 0.6) < 0.1 for m in row] for row in middles]
    return [[picture(np.where(disc[..., None], 20, 200) * np.ones(3), size=64) for disc in row] for row in discs]


def greys(n, *, spread, rows=5):
    """Rows of flat pictures: a lightness of the row's own, and a spread about it."""
    rng = np.random.default_rng(6)
    levels = rng.uniform(100, 150, (rows, 1)) + spread * rng.uniform(-1, 1, (rows, n))
    return [[picture(np.full((4, 4, 3), level), size=8) for level in row] for row in levels]


def all_claims():
    images = {style: style_pictures(style) for style in STYLES}
    decoded = {style: picture(np.full((4, 4, 3), colour)) for style, colour in STYLES.items()}
    z = np.random.default_rng(0).normal(size=(100, 4, 1, 1)) * np.ones((1, 1, 16, 16))
    return [
        claim_seed_share(grid()),
        claim_name_the_seed(grid()),
        claim_prior_mean_not_zero(prior(0.8)),
        claim_prior_shows_palette(decoded, images),
        claim_readable_leak(z, sqrt_abar=0.1),
        claim_constant_moves_colour(*tinted(wide=50, fine=1)),
        claim_blob_moves_thing(PLACES, moving(1.0), moving(0.0)),
        claim_plain_starts_are_middling(greys(6, spread=15), greys(16, spread=40)),
    ]


@pytest.mark.parametrize("claim", all_claims(), ids=lambda c: c.name)
def test_claims_hold_where_they_should(claim):
    assert claim, str(claim)
    assert claim.found.passes and not claim.control.passes
    assert all(isinstance(x, float) and np.isfinite(x) for x in (*claim.found[:2], *claim.control[:2]))


def measured(value, threshold=0.5, *, control=0.1):
    return check("Snow is white", lambda value: above(value, threshold), (value,), (control,),
                 text="It has {value} of the light (L*a*b*).", against="with soot", why="half is grey", unit="{:.2f}")


def test_a_claim_shows_what_was_compared_and_why():
    told = ("HOLDS: Snow is white. It has 0.95 of the light (L*a*b*). To pass, it has to be more than 0.50: half is grey. "
            "Control: with soot, the same measurement gives 0.10. It does not pass, and must not.")
    assert str(measured(0.95)) == told and measured(0.95).value == 0.95 and measured(0.95).threshold == 0.5
    shown = measured(0.95)._repr_markdown_()
    assert shown.startswith("> **Holds: Snow is white.** It has 0.95 of the light (L\\*a\\*b\\*).")
    assert "> *Control:* with" in shown
    assert str(measured(0.05)).startswith("DOES NOT HOLD") and not measured(0.05)
    assert "less than 3" in str(Claim("a", below(1, 3), below(4, 3), "", "", ""))


def test_a_control_that_passes_too_sinks_the_claim():
    sunk = measured(0.95, control=0.9)
    assert sunk.found.passes and not sunk and "It passes too" in str(sunk)
    assert isinstance(sunk, Claim)


def test_a_control_with_a_threshold_of_its_own_says_it():
    claim = check("a", lambda value, threshold: above(value, threshold), (3, 1), (2, 4), text="", against="b", why="c")
    assert claim and "gives 2, where 4 is asked for" in str(claim)


def test_chance_is_exceeded_at_the_stated_rate():
    draws = np.arange(DRAWS, dtype=float)
    threshold = chance(draws)
    assert (1 + (draws >= threshold + 0.5).sum()) / (DRAWS + 1) <= RATE < (1 + (draws >= threshold).sum()) / (DRAWS + 1) + 1e-9
    rng = np.random.default_rng(0)
    alarms = [bool(chance(noise[1:]) < noise[0]) for noise in rng.normal(size=(4000, 100))]
    assert np.mean(alarms) == pytest.approx(0.01, abs=0.005)


def test_swapping_keeps_pairs_and_dealing_keeps_the_heap():
    ours, rival = np.arange(10), np.arange(10) + 100
    a, b = swapped(ours, rival, np.random.default_rng(0))
    assert all({x, y} == {k, k + 100} for k, (x, y) in enumerate(zip(a, b))) and set(a) - set(ours) and set(a) & set(ours)
    a, b = dealt(ours, rival, np.random.default_rng(0))
    assert sorted([*a, *b]) == sorted([*ours, *rival]) and len(a) == 10
    assert more_than(lambda a, b: b.mean() - a.mean(), ours, rival).passes


@pytest.mark.parametrize("measure", ["thumbnail", "colour"])
def test_seed_share_fails_without_a_seed_effect(measure):
    claim = claim_seed_share(grid(seed=0), measure=measure)
    assert not claim
    assert claim.control.value == pytest.approx(1 / 8, abs=0.05)
    assert claim.threshold >= 0.25


def test_seeds_without_a_look_cannot_be_named():
    claim = claim_name_the_seed(grid(seed=0), shuffles=99)
    assert not claim and claim.control.value == pytest.approx(1 / 6, abs=0.15)


def test_white_noise_has_no_prior():
    noise = np.random.default_rng(5).normal(size=(50, 4, 16, 16))
    white = SimpleNamespace(mean=noise.mean(0), std=noise.std(0, ddof=1), meta={})
    claim = claim_prior_mean_not_zero(white, n=50)
    assert not claim and claim.value == pytest.approx(1, abs=0.15)


def test_a_prior_shown_in_anothers_colours_is_found_out():
    images = {style: style_pictures(style) for style in STYLES}
    wrong = {"chalk": style_pictures("paper")[0]}
    decoded = {style: pictures[0] for style, pictures in images.items()}
    claim = claim_prior_shows_palette({**decoded, **wrong}, images)
    assert not claim and claim.value > 1 and "chalk" in claim.text and "4 of 5" in claim.text


def test_the_same_mean_for_every_style_is_found_out():
    """One picture cannot be nearest to all palettes."""
    images = {style: style_pictures(style) for style in STYLES}
    grey = picture(np.full((4, 4, 3), 128))
    claim = claim_prior_shows_palette(dict.fromkeys(STYLES, grey), images)
    assert not claim and claim.value == claim.control.value > 1


def test_no_leak_no_claim():
    z = np.random.default_rng(0).normal(size=(100, 4, 16, 16))
    claim = claim_readable_leak(z, sqrt_abar=0.1)
    assert not claim and claim.value == pytest.approx(claim.control.value, rel=0.2)


def test_a_fine_pattern_that_tints_as_well_sinks_the_claim():
    assert not claim_constant_moves_colour(*tinted(wide=30, fine=40))
    assert not claim_constant_moves_colour(*tinted(wide=0, fine=0))


def test_the_slope_of_a_thing_that_follows_half_way_is_a_half():
    claim = claim_blob_moves_thing(PLACES, moving(0.5), moving(0.0))
    assert claim and claim.value == pytest.approx(0.5, abs=0.05) and claim.control.value == pytest.approx(0, abs=0.02)
    by_colour = claim_blob_moves_thing(PLACES, moving(0.5), moving(0.0), colour=(20, 20, 20))
    assert by_colour and by_colour.value == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("spread", [40, 60])
def test_pictures_that_vary_as_the_real_ones_are_not_middling(spread):
    claim = claim_plain_starts_are_middling(greys(6, spread=spread), greys(16, spread=40))
    assert not claim and claim.control.value == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("wide, fine", [(0.0, 0.0), (-1.0, 0.0), (0.6, 1.0)])
def test_a_thing_that_does_not_follow_the_wide_blob_alone_is_found_out(wide, fine):
    assert not claim_blob_moves_thing(PLACES, moving(wide), moving(fine))


def test_data_that_cannot_bear_a_claim_are_refused():
    with pytest.raises(DislibError, match="1 plain, 1 wide and 0 fine pictures"):
        claim_constant_moves_colour(grid()[0][:1], grid()[0][:1], [])
    with pytest.raises(DislibError, match="5 rows of 6 generated pictures against 5 .* more real pictures"):
        claim_plain_starts_are_middling(greys(6, spread=9), greys(6, spread=9))
    with pytest.raises(DislibError, match=r"\[0.5, 0.5\]; a slope needs at least three"):
        claim_blob_moves_thing([0.5, 0.5], grid(), grid())
    with pytest.raises(DislibError, match="2 prompts .* at least 3 prompts and 3 seeds"):
        claim_seed_share(grid(prompts=2))
    with pytest.raises(DislibError, match="there is no measure 'smell'"):
        claim_seed_share(grid(), measure="smell")
    ragged = grid()
    ragged[3].pop()
    with pytest.raises(DislibError, match=r"\[5, 6\] pictures"):
        claim_name_the_seed(ragged)
    with pytest.raises(DislibError, match="prior of 1 picture"):
        claim_prior_mean_not_zero(prior(1.0, n=1))
    with pytest.raises(DislibError, match=r"none of \['neon'\]"):
        claim_prior_shows_palette({"neon": style_pictures("ocean")[0]}, {s: style_pictures(s) for s in STYLES})


# --- lesson 02 ----------------------------------------------------------------------------------------------------


def means(*, band=2.0):
    """mu of three styles `(4, 16, 16)`; the comic's has a band of three rows on top."""
    rng = np.random.default_rng(0)
    styles = {style: rng.normal(size=(4, 1, 1)) + 0.1 * rng.normal(size=(4, 16, 16)) for style in ("comic", "a", "b")}
    styles["comic"][:, :3] += band
    return styles


def test_a_band_in_the_mean_is_seen():
    claim = claim_band_in_mean(means())
    assert claim and claim.value == pytest.approx(4, rel=0.1) and claim.control.value < 0.2


def test_a_figure_in_the_middle_is_no_band():
    styles = means(band=0)
    styles["comic"][:, 3:, 4:12] += 3.0
    assert not claim_band_in_mean({**styles, "a": means()["comic"]})


def test_without_a_band_or_with_it_in_every_style_there_is_no_claim():
    assert not claim_band_in_mean({**means(band=0), "a": np.linspace(0, 1, 16)[:, None] * np.ones((4, 1, 16))})
    assert not claim_band_in_mean({name: means()["comic"] for name in ("comic", "a", "b")})
    with pytest.raises(DislibError, match="give comic and at least two others"):
        claim_band_in_mean({"comic": means()["comic"]})


def test_the_error_of_independent_pictures_shrinks():
    claim = claim_error_shrinks(np.random.default_rng(0).normal(size=(100, 4, 8, 8)))
    assert claim and claim.control.value > 0.2


def test_the_error_of_frames_of_a_film_does_not():
    walk = np.random.default_rng(0).normal(size=(100, 4, 8, 8)).cumsum(axis=0)
    assert not claim_error_shrinks(walk)


def test_a_start_that_brings_the_style_and_one_that_does_not():
    style, white = style_pictures("paper"), style_pictures("ocean", n=8)
    near = style_pictures("paper", n=8, rng=3)
    assert claim_start_brings_style(white, near, style)
    assert not claim_start_brings_style(white, style_pictures("ocean", n=8, rng=4), style)


def scribbles(n, *, colour, line, rng=0):
    """A ground of a colour with lines a pixel wide, or with a soft slope."""
    rng = np.random.default_rng(rng)
    pixels = np.tile(np.array(colour, dtype=float), (n, 32, 32, 1)) + 10 * np.sin(np.arange(32) / 6)[:, None]
    for image in pixels if line else ():
        image[rng.choice(32, 6, replace=False)] -= 60
    return [picture(p) for p in pixels]


def test_the_drawing_is_compared_without_colour():
    style = scribbles(8, colour=(230, 225, 210), line=True)
    white, tinted = scribbles(8, colour=(40, 60, 90), line=False), scribbles(8, colour=(230, 225, 210), line=False)
    drawn = scribbles(8, colour=(120, 160, 130), line=True, rng=4)
    assert claim_start_brings_style(white, tinted, style) and not claim_start_brings_style(white, tinted, style, look="drawing")
    assert claim_start_brings_style(white, drawn, style, look="drawing")
    with pytest.raises(DislibError, match="there is no look 'smell'; choose one of colour, drawing"):
        claim_start_brings_style(white, drawn, style, look="smell")


def test_a_start_that_keeps_the_prompt_and_one_that_drowns_it():
    kept, lost = grid(prompts=4, seeds=4), [[style_pictures("paper", n=1)[0]] * 4] * 4
    claim = claim_prompt_survives(kept, lost)
    assert claim and claim.control.value == pytest.approx(0, abs=1e-6)
    assert not claim_prompt_survives(lost, kept)
    assert not claim_prompt_survives(kept, kept)
    with pytest.raises(DislibError, match="at least 3 of both, and 4 of one"):
        claim_prompt_survives(kept[:1], lost[:1])


def scenes(n, rng=0):
    """Painted pictures of one thing each, and their prompts."""
    made = [replace(world.sample(np.random.default_rng([rng, k])), count=1, second=None, medium=None) for k in range(n)]
    return [world.paint(scene) for scene in made], [f"a {scene.colour} {scene.thing}" for scene in made]


@pytest.fixture(scope="module")
def judge():
    return load_judge()


def test_things_that_are_painted_can_be_told(judge):
    images, prompts = scenes(18)
    blank = style_pictures("ocean", n=18)
    assert (claim := claim_things_are_told(images, prompts, judge)), claim
    assert claim_things_are_told(images, prompts, judge, control=blank)
    assert not claim_things_are_told(blank, prompts, judge)
    with pytest.raises(DislibError, match="name one thing in each prompt"):
        claim_things_are_told(images, ["a red sky"] * 18, judge)
