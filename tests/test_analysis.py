"""Lesson 01's measurements against pictures and latents whose answers are known."""

import importlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dislib.core.signal import _dct, calibrate_beta_end, readability, scaled_linear_abar, signal_by_frequency
from dislib.errors import DislibError
from dislib.images.looks import centroids, horizons, mean_lab, rgb_to_lab, thumbnails
from dislib.lessons.lesson_02 import subset_errors
from dislib.lessons.seed_share import name_the_seed, seed_share, variance_shares


def scene(*, horizon=0.5, x=0.5, size=96, sky=(150, 200, 250), ground=(90, 150, 70)):
    """Sky over ground with a red disc on the horizon."""
    image = Image.new("RGB", (size, size), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, round(horizon * size), size, size], fill=ground)
    cx, cy, r = x * size, horizon * size, size / 10
    draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=(220, 30, 30))
    return image


def layout(prompts=8, seeds=10, features=5, *, prompt=1.0, seed=1.0, noise=1.0, rng=0):
    """Measurements with given spreads of prompt effect, seed effect and noise."""
    rng = np.random.default_rng(rng)
    return (prompt * rng.normal(size=(prompts, 1, features)) + seed * rng.normal(size=(1, seeds, features))
            + noise * rng.normal(size=(prompts, seeds, features)))


def test_lab_agrees_with_scikit_image():
    color = importlib.import_module("skimage.color")
    rgb = np.random.default_rng(0).random((40, 30, 3))
    rgb[0, :3] = [[0, 0, 0], [1, 1, 1], [0.02, 0.03, 0.01]]  # the straight pieces of both curves
    np.testing.assert_allclose(rgb_to_lab(rgb), color.rgb2lab(rgb), atol=2e-3)


def test_lab_of_white_and_black():
    np.testing.assert_allclose(rgb_to_lab([1.0, 1.0, 1.0]), [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(rgb_to_lab([0.0, 0.0, 0.0]), [0, 0, 0], atol=0.02)


def test_thumbnails_are_block_means():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    thumbs = thumbnails([Image.fromarray(pixels)])
    blocks = pixels.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)) / 255
    assert thumbs.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(thumbs[0], blocks, atol=1 / 255)  # Pillow rounds once an axis


def test_mean_colour_of_a_flat_picture():
    np.testing.assert_allclose(mean_lab([Image.new("L", (16, 16), 255)]), [[100, 0, 0]], atol=0.02)


@pytest.mark.parametrize("x", [0.2, 0.5, 0.75])
@pytest.mark.parametrize("horizon", [0.4, 0.62])
def test_centroid_and_horizon_are_found(x, horizon):
    images = [scene(x=x, horizon=horizon)]
    np.testing.assert_allclose(centroids(images), [[x, horizon]], atol=0.03)
    np.testing.assert_allclose(horizons(images), [horizon], atol=0.02)


def test_the_centroid_of_a_colour_does_not_mind_what_else_stands_out():
    pixels = np.full((64, 64, 3), (90, 110, 150), dtype=np.uint8)
    pixels[:, :20] = 250  # a white thing at the left
    pixels[40:60, 36:60] = (214, 42, 42)  # a red one at the right
    image = Image.fromarray(pixels)
    np.testing.assert_allclose(centroids([image], colour=(214, 42, 42)), [[0.75, 50 / 64]], atol=0.01)
    assert centroids([image])[0, 0] < 0.5
    np.testing.assert_array_equal(centroids([image], colour=(90, 110, 150)), [[0.5, 0.5]])


def test_a_flat_picture_has_its_centroid_in_the_middle():
    np.testing.assert_array_equal(centroids([Image.new("RGB", (32, 32), "grey")]), [[0.5, 0.5]])


def test_variance_shares_add_up_and_find_their_source():
    shares = variance_shares(layout())
    assert sum(shares) == pytest.approx(1)
    only_seed = variance_shares(layout(prompt=0, noise=0))
    assert only_seed == pytest.approx((0, 1, 0), abs=1e-12)
    assert variance_shares(layout(seed=0, noise=0)) == pytest.approx((1, 0, 0), abs=1e-12)


def test_seed_share_is_eta_squared_of_what_the_prompt_leaves():
    values = layout()
    shares = variance_shares(values)
    found = seed_share(values)
    assert found.share == pytest.approx(shares.seed / (shares.seed + shares.rest))
    assert found.low < found.share < found.high
    assert found.share > 2 * found.chance == 0.25


def test_seed_share_does_not_see_the_prompts_own_mean():
    values = layout()
    moved = values + np.arange(8).reshape(8, 1, 1) * 100
    assert seed_share(moved).share == pytest.approx(seed_share(values).share)


def test_seed_share_of_independent_pictures_is_chance():
    found = [seed_share(layout(prompts=6, features=30, seed=0, rng=k), shuffles=1).share for k in range(40)]
    assert np.mean(found) == pytest.approx(1 / 6, abs=0.01)


def test_shuffled_pairing_falls_to_chance():
    found = seed_share(layout(noise=0.3))
    assert found.share > 0.7
    assert found.shuffled.mean() == pytest.approx(found.chance, abs=0.02)
    assert "chance 0.125" in str(found)


def test_interval_covers_the_share_of_all_prompts():
    """Many prompts of one world; sets of 8 of them give intervals that mostly hold the mean share of such sets."""
    values = layout(prompts=160, seeds=12, features=40, seed=0.5)
    found = [seed_share(values[8 * k : 8 * k + 8], shuffles=1) for k in range(20)]
    truth = np.mean([f.share for f in found])
    assert np.mean([f.low < truth < f.high for f in found]) >= 0.75


def test_seed_is_named_when_it_leaves_a_trace_and_only_then():
    named = name_the_seed(layout(features=20, seed=2.0, prompt=0.5))
    assert named.accuracy > 0.9 and named.guesses.shape == (8, 10)
    assert named.chance == pytest.approx(0.1)
    blind = [name_the_seed(layout(seed=0, rng=k)).accuracy for k in range(20)]
    assert np.mean(blind) == pytest.approx(0.1, abs=0.03)


def test_naming_never_sees_the_prompt_it_is_asked_about():
    """Pictures that share nothing between prompts cannot be named, however unlike each other they are."""
    values = np.random.default_rng(0).normal(size=(5, 6, 50))
    assert name_the_seed(values).accuracy < 0.4


@pytest.mark.parametrize("call", [variance_shares, seed_share, name_the_seed])
def test_layouts_that_cannot_be_compared_are_refused(call):
    with pytest.raises(DislibError, match=r"shape \(1, 4, 3\).*at least"):
        call(np.zeros((1, 4, 3)))
    values = layout()
    values[2, 3] = np.nan
    with pytest.raises(DislibError, match="prompt 2, seed 3"):
        call(values)


def test_pictures_without_any_difference_are_refused():
    with pytest.raises(DislibError, match="no variance"):
        seed_share(np.full((3, 3, 2), 0.1))
    with pytest.raises(DislibError, match="no variance"):
        variance_shares(np.full((3, 3, 2), 0.1))


def latents(n=400, *, side=16, spread=(1.0, 0.5, 0.25, 0.0), noise=1.0, rng=0):
    """Pictures that differ in their channel means by `spread`, over unit noise."""
    rng = np.random.default_rng(rng)
    means = rng.normal(size=(n, 4, 1, 1)) * np.reshape(spread, (1, 4, 1, 1))
    return means + noise * rng.normal(size=(n, 4, side, side))


def test_readability_is_the_formula():
    found = readability(latents(noise=0), sqrt_abar=0.1)
    np.testing.assert_allclose(found.channels, 0.1 * 16 * np.array([1, 0.5, 0.25, 0]), rtol=0.1, atol=1e-12)
    assert found.rms == pytest.approx(np.sqrt(np.mean(found.channels**2)))


def test_readability_of_white_noise_is_the_weight_alone():
    assert readability(latents(spread=(0, 0, 0, 0)), sqrt_abar=0.3).rms == pytest.approx(0.3, rel=0.1)


def test_readability_takes_torch_tensors():
    torch = importlib.import_module("torch")
    z = latents(10)
    assert readability(torch.from_numpy(z), sqrt_abar=1).rms == readability(z, sqrt_abar=1).rms


def test_schedule_is_that_of_diffusers():
    diffusers = importlib.import_module("diffusers")
    theirs = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    np.testing.assert_allclose(scaled_linear_abar(0.012), theirs.numpy(), rtol=1e-4)
    assert np.sqrt(scaled_linear_abar(0.012)[999]) == pytest.approx(0.0683, abs=1e-4)


def test_calibration_reaches_its_target():
    z = latents()
    beta_end = calibrate_beta_end(z, target=1.65)
    weight = np.sqrt(scaled_linear_abar(beta_end)[-1])
    assert readability(z, sqrt_abar=weight).rms == pytest.approx(1.65, rel=1e-6)


def test_calibration_says_what_can_be_reached():
    with pytest.raises(DislibError, match="out of reach"):
        calibrate_beta_end(latents(), target=1000)


def test_signal_of_white_noise_is_flat():
    bands = signal_by_frequency(latents(2000, spread=(0, 0, 0, 0)), abar=0.5)
    assert bands.names == ["mean", "1", "2-3", "4-7", "8-15"]
    np.testing.assert_allclose(bands.snr, 1, rtol=0.05)


def test_signal_in_the_mean_alone_shows_in_its_band_alone():
    bands = signal_by_frequency(latents(2000, spread=(1, 1, 1, 1), noise=0), abar=0.5)
    assert bands.snr[0] == pytest.approx(16, rel=0.05)
    np.testing.assert_allclose(bands.snr[1:], 0, atol=1e-6)


def test_mean_band_agrees_with_readability():
    z, abar = latents(), 0.04
    bands = signal_by_frequency(z, abar=abar)
    read = readability(z, sqrt_abar=np.sqrt(abar)).rms
    assert bands.snr[0] == pytest.approx(read / np.sqrt(1 - abar))


def test_waves_are_those_of_scipy():
    fft = importlib.import_module("scipy.fft")
    x = np.random.default_rng(0).normal(size=16)
    np.testing.assert_allclose(_dct(16) @ x, fft.dct(x, norm="ortho"), atol=1e-12)


def test_latents_that_cannot_be_measured_are_refused():
    with pytest.raises(DislibError, match="at least 2 pictures"):
        readability(latents(1), sqrt_abar=1)
    z = latents(4)
    z[2, 0, 0, 0] = np.inf
    with pytest.raises(DislibError, match=r"\[2\]"):
        signal_by_frequency(z, abar=0.1)


# --- lesson 02: how many pictures does a prior need? ---------------------------------------------------------------


def test_subset_errors_of_gaussian_latents_follow_the_theory():
    latents = 3 + 0.5 * np.random.default_rng(0).normal(size=(100, 4, 12, 12))
    sizes = np.array([2, 10, 50])
    found = subset_errors(latents, sizes, repeats=60)
    of_mean, of_std = found.rms()
    np.testing.assert_allclose(of_mean, 1 / np.sqrt(sizes), rtol=0.03)
    np.testing.assert_allclose(of_std[1:], 1 / np.sqrt(2 * (sizes[1:] - 1)), rtol=0.06)
    assert found.mean.shape == found.std.shape == (60, 3)


def test_subset_errors_of_the_mean_need_no_gaussian_and_no_large_stock():
    """Half of the stock on either side: drawing without replacement must not flatter the error."""
    latents = np.random.default_rng(1).exponential(size=(12, 4, 12, 12)) ** 2
    of_mean, _ = subset_errors(latents, [6], repeats=200).rms()
    assert of_mean[0] == pytest.approx(1 / np.sqrt(6), rel=0.05)


def test_subset_errors_depend_on_their_seed_alone():
    latents = np.random.default_rng(2).normal(size=(20, 4, 4, 4))
    one, two, other = (subset_errors(latents, [5], repeats=3, seed=seed) for seed in (0, 0, 1))
    assert (one.mean == two.mean).all() and (one.mean != other.mean).any()


@pytest.mark.parametrize("sizes", [[1], [11], [0, 5], []])
def test_subset_errors_say_what_sizes_are_possible(sizes):
    with pytest.raises(DislibError, match="each may hold 2 to 10"):
        subset_errors(np.zeros((20, 4, 4, 4)), sizes)
