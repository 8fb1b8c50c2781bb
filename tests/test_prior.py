"""The style prior: its numbers, its starts, its file."""

import math
import pickle
import re
import weakref
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from helpers import build_pipeline, image_folder, images, pickle_in_disguise, schedule, shared_pipeline
from safetensors.torch import load_file, save_file

import dislib
from dislib.core.latents import encode, white_noise
from dislib.core.moments import RunningMoments
from dislib.core.prior import StylePrior, draw, first_timestep, second_stream
from dislib.errors import DislibError, ImageError, OutputError, PriorError
from dislib.images.images import list_images

SHAPE = (4, 8, 8)


def _latents(n, seed=0, shift=0.0):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) + shift


def _prior(mean=1.5, std=0.5, shape=SHAPE, **meta):
    return StylePrior(torch.full(shape, mean), torch.full(shape, std), meta)


# --- the numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[20], [1] * 20, [7, 7, 6], [0, 20]])
def test_one_pass_equals_two(sizes):
    latents = _latents(20, shift=1000.0)  # far from 0, where the naive sum of squares loses all digits
    prior = StylePrior.from_latents(latents.split(sizes))
    torch.testing.assert_close(prior.mean, latents.double().mean(0).float())
    torch.testing.assert_close(prior.std, latents.double().std(0).float())  # unbiased, as measured
    assert prior.meta == {"n": 20, "floored": 0, "shrink": 0.0}


def test_memory_does_not_grow_with_n():
    alive, most = weakref.WeakSet(), 0

    class Batch(torch.Tensor):
        pass

    def batches():
        nonlocal most
        for i in range(200):
            batch = _latents(2, seed=i).as_subclass(Batch)
            alive.add(batch)
            most = max(most, len(alive))
            yield batch

    assert StylePrior.from_latents(batches()).meta["n"] == 400
    assert most <= 3


def test_flat_positions_are_floored_and_counted():
    latents = _latents(10)
    latents[:, 0] = 1.0
    prior = StylePrior.from_latents([latents])
    assert prior.meta["floored"] == 64
    assert (prior.std[0] == 1e-3).all() and (prior.std[1:] > 0.1).all()


def test_one_latent_is_an_error_that_names_the_mend():
    with pytest.raises(PriorError, match="one image has no spread.*at least two, or pass shrink"):
        StylePrior.from_latents([_latents(1)])


def test_one_latent_with_shrinkage_takes_the_spread_of_its_channel():
    latents = _latents(1)
    prior = StylePrior.from_latents([latents], shrink=0.25)
    channel = latents[0].double().mean((1, 2), keepdim=True)
    torch.testing.assert_close(prior.std, latents[0].double().std((1, 2), keepdim=True).expand(SHAPE).float())
    torch.testing.assert_close(prior.mean, (0.75 * latents[0].double() + 0.25 * channel).float())


def test_full_shrinkage_leaves_the_channels_mean_and_spread():
    latents = _latents(30) * 2 + torch.arange(64).reshape(8, 8) / 8
    prior = StylePrior.from_latents(latents.split(7), shrink=1.0)
    values = latents.double().transpose(0, 1).flatten(1)
    for c in range(4):
        torch.testing.assert_close(prior.mean[c].unique(), values[c].mean().float()[None])
        torch.testing.assert_close(prior.std[c].unique(), values[c].std().float()[None])


def test_shrinkage_zero_changes_nothing_and_its_range_is_checked():
    latents = _latents(5)
    assert torch.equal(StylePrior.from_latents([latents], shrink=0).std, StylePrior.from_latents([latents]).std)
    with pytest.raises(PriorError, match="between 0 and 1, got 2"):
        StylePrior.from_latents([latents], shrink=2)


@pytest.mark.parametrize("batches, error, words", [
    ([], PriorError, "no latents"),
    ([torch.zeros(2, *SHAPE), torch.zeros(2, 4, 8, 9)], PriorError, r"\(n, 4, 8, 8\), got \(2, 4, 8, 9\)"),
    ([torch.zeros(4, 8, 8)], PriorError, r"\(n, 4, h, w\), got \(4, 8, 8\)"),
    ([torch.full((2, *SHAPE), math.nan)], DislibError, "NaN or infinite"),
    ([torch.full((2, *SHAPE), math.inf)], DislibError, "NaN or infinite"),
])
def test_latents_that_are_wrong(batches, error, words):
    with pytest.raises(error, match=words):
        StylePrior.from_latents(batches)


def test_running_moments_of_one_latent_have_no_variance():
    moments = RunningMoments()
    moments.update(_latents(1))
    assert moments.n == 1 and (moments.var == 0).all()


@pytest.mark.parametrize("mean, std, words", [
    (torch.zeros(4, 8, 8), torch.ones(4, 8, 9), r"\(4, 8, 8\) and \(4, 8, 9\)"),
    (torch.zeros(8, 8), torch.ones(8, 8), "both have one shape"),
    (torch.full(SHAPE, math.nan), torch.ones(SHAPE), "NaN or infinite"),
    (torch.zeros(SHAPE), torch.zeros(SHAPE), "must be above 0"),
])
def test_tensors_that_make_no_prior(mean, std, words):
    with pytest.raises(DislibError, match=words):
        StylePrior(mean, std)


# --- from images ----------------------------------------------------------------------------------------------


def test_from_a_folder_a_list_of_paths_and_pictures(tmp_path):
    pipe, folder = shared_pipeline(), image_folder(tmp_path / "style", 5)
    (folder / "broken.jpg").write_text("x")
    latents = encode(pipe, images(5))
    for source in (folder, str(folder), sorted(folder.iterdir()), images(5), list_images(folder)):
        prior = StylePrior.from_images(pipe, source, batch_size=2)
        torch.testing.assert_close(prior.mean, latents.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prior.std, latents.std(0), atol=1e-5, rtol=1e-3)
    prior = StylePrior.from_images(pipe, folder)
    assert prior.meta["files"] == [f"{i:03d}.png" for i in range(5)] and prior.meta["n"] == 5
    assert prior.meta["skipped"] == [["broken.jpg", "is not an image Pillow can read (UnidentifiedImageError)"]]
    assert prior.meta["images_sha256"] == StylePrior.from_images(pipe, images(5)).meta["images_sha256"]
    assert prior.meta["images_sha256"] != StylePrior.from_images(pipe, folder, n=4).meta["images_sha256"]


def test_n_defaults_to_fifty_at_most_and_is_drawn_by_seed():
    assert draw(list(range(47))) == list(range(47))
    first = draw(list(range(60)))
    assert len(first) == 50 and first == sorted(first) == draw(list(range(60)), seed=0)
    assert draw(list(range(60)), seed=1) != first
    assert draw(list(range(60)), n=60) == list(range(60))


@pytest.mark.parametrize("arguments, words", [
    ({"n": 6}, "n is 6, but only 5 images are readable .*at most 5"), ({"n": 0}, "at least 1, got 0"),
    ({"seed": -1}, "whole number from 0, got -1")])
def test_draws_that_cannot_be(arguments, words):
    with pytest.raises(ImageError, match=words):
        draw(list(range(5)), **arguments)


def test_one_image_fails_before_it_is_encoded_unless_shrinkage_is_asked_for():
    with pytest.raises(PriorError, match="one image has no spread"):
        StylePrior.from_images(shared_pipeline(), images(3), n=1)
    assert StylePrior.from_images(shared_pipeline(), images(1), shrink=0.5).meta["shrink"] == 0.5


def test_nothing_readable_names_files_and_reasons(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageError, match="no readable image among 1; a.png is empty"):
        StylePrior.from_images(shared_pipeline(), tmp_path)
    with pytest.raises(ImageError, match="give at least two"):
        StylePrior.from_images(shared_pipeline(), [])


def test_progress_is_reported():
    seen = []
    StylePrior.from_images(shared_pipeline(), images(5), batch_size=2, report=lambda *a: seen.append(a))
    assert seen == [(2, 5), (4, 5), (5, 5)]


# --- sampling and starts --------------------------------------------------------------------------------------


def test_sample_has_the_priors_moments():
    prior = StylePrior(_latents(1)[0], _latents(1, seed=1)[0].abs() + 0.1)
    z = prior.sample(range(4000))
    error = prior.std / math.sqrt(4000)
    assert ((z.mean(0) - prior.mean).abs() < 5 * error).all()
    assert ((z.std(0) / prior.std - 1).abs() < 5 / math.sqrt(8000)).all()


def test_sample_is_the_dressed_white_noise_of_the_seed():
    prior = _prior()
    assert torch.equal(prior.sample([3]), prior.mean + prior.std * white_noise([3], SHAPE))
    assert torch.equal(prior.start([3]), prior.sample([3]))


def test_starts_have_the_means_and_spreads_of_training():
    prior, scheduler = _prior(), schedule(beta_end=0.006)
    t, a, b = first_timestep(scheduler, 12)
    assert t == 914 and 0.15 < a < 0.35 and a * a + b * b == pytest.approx(1)
    expected = {"paper": (1.5, 0.5), "matched": ((a + b) * 1.5, 0.5), "leak": (a * 1.5, math.hypot(a * 0.5, b))}
    for kind, (mean, std) in expected.items():
        z = prior.start(range(1500), start=kind, scheduler=scheduler, steps=12)
        assert float(z.mean()) == pytest.approx(mean, abs=0.01), kind
        assert float(z.std()) == pytest.approx(std, rel=0.01), kind


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")
def test_the_first_timestep_is_the_schedulers_own():
    assert first_timestep(schedule(), 50)[0] == 981
    assert first_timestep(schedule(), 15)[0] == 925  # as in the table of timesteps for few leading steps
    trailing = DPMSolverMultistepScheduler.from_config(schedule().config, timestep_spacing="trailing")
    t, a, b = first_timestep(trailing, 50)
    assert t == 999 and a == pytest.approx(0.0683, abs=1e-4) and b == pytest.approx(0.9977, abs=1e-4)
    scheduler = schedule()
    before = scheduler.timesteps.clone()
    first_timestep(scheduler, 7)
    assert torch.equal(scheduler.timesteps, before)


def test_the_second_draw_of_a_seed_is_independent_of_the_first():
    seeds = range(300)
    first = white_noise(seeds, SHAPE)
    second = white_noise([second_stream(s) for s in seeds], SHAPE)
    assert abs(float((first * second).mean())) < 4 / math.sqrt(first.numel())
    assert not {second_stream(s) for s in range(1000)} & set(range(1000))


def test_each_start_depends_on_its_own_seed_only():
    for kind in ("paper", "matched", "leak"):
        both = _prior().start([1, 2], start=kind, scheduler=schedule())
        assert torch.equal(both[1:], _prior().start([2], start=kind, scheduler=schedule()))


def test_starts_that_cannot_be():
    with pytest.raises(PriorError, match="no start 'best'; choose one of white, paper, matched, leak"):
        _prior().start([0], start="best")
    with pytest.raises(PriorError, match="depends on the sampler"):
        _prior().start([0], start="leak")


# --- mixing ---------------------------------------------------------------------------------------------------


def test_mix():
    a, b = _prior(0.0, 1.0, n=3), _prior(4.0, 2.0, n=5)
    mixed = StylePrior.mix([a, b], [1, 3])
    assert (mixed.mean == 3.0).all() and (mixed.std == 1.75).all()
    assert (mixed.meta["n"], mixed.meta["mix"]) == (8, [0.25, 0.75])
    assert (StylePrior.mix([a, b]).mean == 2.0).all()
    assert torch.equal(StylePrior.mix([a, b], [1, 0]).std, a.std)


@pytest.mark.parametrize("priors, weights, words", [
    ([], None, "at least one"), ([_prior()], [1, 2], "got 2 and 1"), ([_prior()] * 2, [1, -1], "0 or more"),
    ([_prior()] * 2, [0, 0], "sum above 0"), ([_prior()] * 2, [1, math.nan], "sum above 0"),
    ([_prior(), _prior(shape=(4, 16, 16))], None, r"\(4, 8, 8\) and \(4, 16, 16\)"),
    ([_prior(vae=[1.0]), _prior(vae=[2.0])], None, "different VAEs"),
])
def test_mixes_that_cannot_be(priors, weights, words):
    with pytest.raises(PriorError, match=words):
        StylePrior.mix(priors, weights)


# --- the file -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("prior") / "a.safetensors"
    prior = StylePrior.from_images(shared_pipeline(), images(4))
    prior.save(path)
    return prior, path


def test_round_trip(saved):
    prior, path = saved
    loaded = StylePrior.load(path, shared_pipeline())
    assert torch.equal(loaded.mean, prior.mean) and torch.equal(loaded.std, prior.std)
    assert loaded.meta == prior.meta
    assert {"n", "floored", "model", "image_size", "images_sha256"} <= set(loaded.meta)


def test_equal_priors_are_equal_files(saved, tmp_path):
    """safetensors itself writes metadata in another order each time."""
    for i in range(5):
        saved[0].save(tmp_path / f"{i}.safetensors")
        assert (tmp_path / f"{i}.safetensors").read_bytes() == saved[1].read_bytes()


def test_the_file_holds_what_any_reader_of_safetensors_expects(saved):
    tensors = load_file(saved[1])
    assert set(tensors) == {"mean", "std"}
    assert all(t.dtype == torch.float32 and t.shape == (4, 16, 16) for t in tensors.values())


def test_a_plain_file_of_mean_and_std_is_read(tmp_path):
    save_file({"mean": torch.zeros(4, 16, 16), "std": torch.ones(4, 16, 16)}, tmp_path / "a.safetensors")
    assert StylePrior.load(tmp_path / "a.safetensors", shared_pipeline()).meta == {}


def test_one_vae_in_another_format_is_the_same_model(saved):
    for dtype in (torch.float16, torch.bfloat16):
        pipe = build_pipeline()
        pipe.vae.to(dtype)
        StylePrior.load(saved[1], pipe)


def test_another_unet_with_the_same_vae_is_welcome(saved):
    pipe = build_pipeline()
    for p in pipe.unet.parameters():
        p.data.mul_(2)
    StylePrior.load(saved[1], pipe)


def test_another_model_is_refused(saved):
    with pytest.raises(PriorError, match="computed with another VAE"):
        StylePrior.load(saved[1], build_pipeline(seed=1))
    with pytest.raises(PriorError, match=r"shape \(4, 16, 16\).*have \(4, 32, 32\)"):
        StylePrior.load(saved[1], build_pipeline(sample_size=32))


def _refused(path, words):
    with pytest.raises(PriorError, match=words) as error:
        StylePrior.load(path)
    assert path.name in str(error.value)


def test_a_truncated_file_is_refused_at_every_length(saved, tmp_path):
    data, path = saved[1].read_bytes(), tmp_path / "b.safetensors"
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        _refused(path, "cut short or not a safetensors file")


class Exploded:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_in_disguise_is_refused_unopened(tmp_path):
    path = tmp_path / "b.safetensors"
    for protocol in (0, 2, 4, 5):
        path.write_bytes(pickle.dumps(Exploded(), protocol=protocol))
        _refused(path, "it is a pickle" if protocol else "not a safetensors file")
    _refused(pickle_in_disguise(path), "it is a pickle")
    torch.save({"mean": torch.zeros(4, 16, 16)}, path)
    _refused(path, "it is a pickle")


def test_the_package_opens_no_pickle():
    for source in Path(dislib.__file__).parent.rglob("*.py"):
        code = source.read_text(encoding="utf-8")
        pickles = r"^\s*(import|from) (pickle|dill|joblib|shelve|marshal)|allow_pickle=True"
        assert not re.search(pickles, code, re.M), source
        for call in re.findall(r"torch\.load\([^\n]*", code):
            assert "weights_only=True" in call, f"{source}: {call}"


def test_files_that_are_no_prior(tmp_path, saved):
    _refused(tmp_path / "gone.safetensors", "it cannot be read")
    path = tmp_path / "b.safetensors"
    save_file({"other": torch.zeros(1)}, path)
    _refused(path, "not a style prior")
    save_file({"mean": torch.zeros(4, 8, 8), "std": torch.ones(4, 8, 9)}, path)
    _refused(path, "one shape")
    save_file({"mean": torch.full(SHAPE, math.nan), "std": torch.ones(SHAPE)}, path)
    _refused(path, "NaN")
    save_file({"mean": torch.zeros(SHAPE), "std": torch.ones(SHAPE)}, path, {"version": "2"})
    _refused(path, "format has version 2")


def test_saving_where_one_cannot(tmp_path):
    with pytest.raises(OutputError, match="should end in .safetensors"):
        _prior().save(tmp_path / "a.pt")
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        _prior().save(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        _prior().save(tmp_path / "file" / "a.safetensors")


def test_saving_makes_the_folder_and_leaves_nothing_else(tmp_path):
    _prior().save(tmp_path / "new" / "a.safetensors")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_names_in_any_script_survive(tmp_path):
    folder = image_folder(tmp_path / "写真 und Häuser", 2)
    (folder / "000.png").rename(folder / "Ωmega 猫.png")
    prior = StylePrior.from_images(shared_pipeline(), folder)
    prior.save(tmp_path / "プライア.safetensors")
    assert StylePrior.load(tmp_path / "プライア.safetensors").meta["files"] == ["001.png", "Ωmega 猫.png"]


def test_prepared_pixels_are_what_is_hashed():
    """The same picture as a larger file is another picture once resized, so the hash tells what was encoded."""
    big = [image.resize((256, 256)) for image in images(2)]
    a = StylePrior.from_images(shared_pipeline(), images(2)).meta["images_sha256"]
    assert a != StylePrior.from_images(shared_pipeline(), big).meta["images_sha256"]
