"""Every claim holds on data made to have its property, and fails on data made to lack it."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dislib.errors import DislibError
from dislib.lessons.claim import Claim, _above, _below
from dislib.lessons.lesson_01 import (
    claim_blob_moves_thing,
    claim_constant_moves_colour,
    claim_name_the_seed,
    claim_plain_starts_are_middling,
    claim_readable_leak,
    claim_seed_share,
    claim_shuffled_is_chance,
)
from dislib.lessons.lesson_02 import (
    claim_band_in_mean,
    claim_error_shrinks,
    claim_prior_mean_not_zero,
    claim_prior_shows_palette,
    claim_prompt_survives,
    claim_start_brings_style,
)

STYLES = {"chalk": (35, 45, 40), "paper": (240, 235, 220), "ocean": (20, 70, 150)}


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
        claim_shuffled_is_chance(grid()),
        claim_name_the_seed(grid()),
        claim_prior_mean_not_zero(prior(0.8)),
        claim_prior_shows_palette(decoded, images, blank=picture(np.full((4, 4, 3), 128))),
        claim_readable_leak(z, sqrt_abar=0.1),
        claim_constant_moves_colour(*tinted(wide=50, fine=4)),
        claim_blob_moves_thing(PLACES, moving(1.0), moving(0.0)),
        claim_plain_starts_are_middling(greys(6, spread=15), greys(16, spread=40)),
    ]


@pytest.mark.parametrize("claim", all_claims(), ids=lambda c: c.name)
def test_claims_hold_where_they_should(claim):
    assert claim, str(claim)
    assert all(isinstance(x, float) and np.isfinite(x) for x in (claim.value, claim.threshold, claim.control))


def test_a_claim_shows_itself():
    claim = Claim("Snow is white", 0.95, 0.5, 0.1, True, "It was looked at.")
    assert str(claim) == ("HOLDS: Snow is white. It was looked at. "
                          "(value 0.95, threshold 0.5, negative control 0.1)")
    assert claim._repr_markdown_().startswith("> **Holds: Snow is white.** It was looked at.")
    assert "\n" not in str(claim)
    failed = Claim("Snow is green", 0.05, 0.5, 0.1, False, "It was looked at.")
    assert str(failed).startswith("DOES NOT HOLD") and not failed


def test_a_control_that_passes_too_sinks_the_claim():
    assert _above("a", 2.0, 1.0, 0.5, "")
    assert not _above("a", 2.0, 1.0, 1.5, "")
    assert _below("a", 0.5, 1.0, 2.0, "")
    assert not _below("a", 0.5, 1.0, 0.7, "")


@pytest.mark.parametrize("measure", ["thumbnail", "colour"])
def test_seed_share_fails_without_a_seed_effect(measure):
    claim = claim_seed_share(grid(seed=0), measure=measure)
    assert not claim
    assert claim.control == pytest.approx(1 / 8, abs=0.03)
    assert claim.threshold >= 0.25


def test_shuffled_is_chance_cannot_be_shown_where_the_true_pairing_is_chance_too():
    assert not claim_shuffled_is_chance(grid(seed=0))


def test_seeds_without_a_look_cannot_be_named():
    claim = claim_name_the_seed(grid(seed=0), shuffles=30)
    assert not claim and claim.control == pytest.approx(1 / 6, abs=0.05)


def test_white_noise_has_no_prior():
    noise = np.random.default_rng(5).normal(size=(50, 4, 16, 16))
    white = SimpleNamespace(mean=noise.mean(0), std=noise.std(0, ddof=1), meta={})
    claim = claim_prior_mean_not_zero(white, n=50)
    assert not claim and claim.value == pytest.approx(1, abs=0.15)


def test_a_prior_shown_in_anothers_colours_is_found_out():
    images = {style: style_pictures(style) for style in STYLES}
    wrong = {"chalk": style_pictures("paper")[0]}
    claim = claim_prior_shows_palette(wrong, images, blank=picture(np.full((4, 4, 3), 128)))
    assert not claim and claim.value > 1 and "chalk" in claim.text


def test_the_same_mean_for_every_style_is_found_out():
    """What the control is for: one picture cannot be nearest to all palettes."""
    images = {style: style_pictures(style) for style in STYLES}
    grey = picture(np.full((4, 4, 3), 128))
    claim = claim_prior_shows_palette(dict.fromkeys(STYLES, grey), images, blank=grey)
    assert not claim and claim.value == claim.control > 1


def test_no_leak_no_claim():
    z = np.random.default_rng(0).normal(size=(100, 4, 16, 16))
    claim = claim_readable_leak(z, sqrt_abar=0.1)
    assert not claim and claim.value == pytest.approx(claim.control, rel=0.2)


def test_a_fine_pattern_that_tints_as_well_sinks_the_claim():
    assert not claim_constant_moves_colour(*tinted(wide=30, fine=40))
    assert not claim_constant_moves_colour(*tinted(wide=0, fine=0))


def test_the_slope_of_a_thing_that_follows_half_way_is_a_half():
    claim = claim_blob_moves_thing(PLACES, moving(0.5), moving(0.0))
    assert claim and claim.value == pytest.approx(0.5, abs=0.05) and claim.control == pytest.approx(0, abs=0.02)
    by_colour = claim_blob_moves_thing(PLACES, moving(0.5), moving(0.0), colour=(20, 20, 20))
    assert by_colour and by_colour.value == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("spread", [40, 60])
def test_pictures_that_vary_as_the_real_ones_are_not_middling(spread):
    claim = claim_plain_starts_are_middling(greys(6, spread=spread), greys(16, spread=40))
    assert not claim and claim.control == pytest.approx(1, abs=0.05)


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
        claim_prior_shows_palette(
            {"neon": style_pictures("ocean")[0]}, {s: style_pictures(s) for s in STYLES}, blank=grid()[0][0])


# --- lesson 02 ----------------------------------------------------------------------------------------------------


def means(*, band=2.0):
    """mu of three styles `(4, 16, 16)`; the comic's has a band of three rows on top."""
    rng = np.random.default_rng(0)
    styles = {style: rng.normal(size=(4, 1, 1)) + 0.1 * rng.normal(size=(4, 16, 16)) for style in ("comic", "a", "b")}
    styles["comic"][:, :3] += band
    return styles


def test_a_band_in_the_mean_is_seen():
    claim = claim_band_in_mean(means())
    assert claim and claim.value == pytest.approx(4, rel=0.1) and claim.control < 0.2


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
    assert claim and claim.control == pytest.approx(0.5)


def test_the_error_shrinks_for_pictures_far_from_gaussian_too():
    drift = np.linspace(-3, 3, 100)[:, None, None, None] + np.random.default_rng(0).normal(size=(100, 4, 4, 4))
    assert claim_error_shrinks(drift)


def test_a_start_that_brings_the_style_and_one_that_does_not():
    style, white = style_pictures("paper"), style_pictures("ocean", n=8)
    near = style_pictures("paper", n=8, rng=3)
    assert claim_start_brings_style(white, near, style)
    assert not claim_start_brings_style(white, style_pictures("ocean", n=8, rng=4), style)


def test_a_start_that_keeps_the_prompt_and_one_that_drowns_it():
    kept, lost = grid(prompts=3, seeds=4), [[style_pictures("paper", n=1)[0]] * 4] * 3
    claim = claim_prompt_survives(kept, lost)
    assert claim and claim.control == pytest.approx(0, abs=1e-6)
    assert not claim_prompt_survives(lost, kept)
    assert not claim_prompt_survives(kept, kept)
    with pytest.raises(DislibError, match="at least two"):
        claim_prompt_survives(kept[:1], lost[:1])
