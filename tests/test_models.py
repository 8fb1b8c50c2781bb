"""Finding, loading and explaining pipelines."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from helpers import build_pipeline, image_folder, pickle_in_disguise, save_pipeline, tokenizer

from dislib import files
from dislib.core import pipeline
from dislib.core.pipeline import (
    SD15,
    image_size,
    latent_shape,
    model_id,
    pipeline_fingerprint,
    random_sd15,
    weight_sample,
)
from dislib.device import pick_dtype
from dislib.errors import ModelError
from dislib.files import data_dir
from dislib.loading import load_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "small-sd")


def _copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


# diffusers speaks to numpy in its old ways; harmless.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")

# --- what is right --------------------------------------------------------------------------------------------


def test_a_folder_in_half_precision_is_loaded_in_float32_on_the_cpu(folder):
    pipe = load_pipeline(folder, device="cpu")
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        assert part.dtype == torch.float32 and part.device.type == "cpu" and not part.training
    assert pipe.safety_checker is None
    assert (latent_shape(pipe), image_size(pipe), model_id(pipe)) == ((4, 16, 16), 128, "small-sd")


def test_the_format_can_be_chosen(folder):
    for dtype in (torch.float16, torch.bfloat16):
        pipe = load_pipeline(folder, device="cpu", dtype=dtype)
        assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {dtype}


def test_loading_and_sampling_are_silent(folder, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        load_pipeline(folder, device="cpu")("a", num_inference_steps=1)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_tiny_is_the_embedded_model(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "tiny-sd")
    monkeypatch.setenv("DISLIB_DATA", str(tmp_path))
    assert data_dir() == tmp_path
    assert model_id(load_pipeline(device="cpu")) == "tiny-sd"


def test_half_precision_on_cuda_and_never_bfloat16():
    assert pick_dtype("cuda:0") == torch.float16
    assert pick_dtype("cpu") == pick_dtype("mps") == torch.float32


def test_the_keyword_for_the_format_follows_diffusers(monkeypatch):
    for version, keyword in (("0.39.0", "torch_dtype"), ("0.40.0.dev0", "dtype"), ("0.42.1", "dtype")):
        monkeypatch.setattr(pipeline.diffusers, "__version__", version)
        assert pipeline._dtype_keyword() == keyword


def test_weights_tell_models_apart_but_not_formats():
    a, b = build_pipeline(), build_pipeline(seed=1)
    assert pipeline_fingerprint(a) == pipeline_fingerprint(build_pipeline()) != pipeline_fingerprint(b)
    for dtype in (torch.float16, torch.bfloat16):
        half = weight_sample(build_pipeline().vae.to(dtype))
        assert np.linalg.norm(half - weight_sample(a.vae)) < 0.005 * np.linalg.norm(half)


# --- what is wrong --------------------------------------------------------------------------------------------


def _refused(name, words, **options):
    with pytest.raises(ModelError, match=words) as error:
        load_pipeline(name, device="cpu", **options)
    assert len(str(error.value)) < 700


def test_no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("DISLIB_DATA", str(tmp_path / "gone"))
    _refused("tiny", "DISLIB_DATA is .*gone, which is not a folder")
    monkeypatch.setenv("DISLIB_DATA", str(tmp_path))
    _refused("tiny", "the embedded model is not in")
    monkeypatch.delenv("DISLIB_DATA")
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "dislib" / "files.py"))
    _refused("tiny", "install the package from a checkout .* or set the environment variable DISLIB_DATA")


@pytest.mark.parametrize("options", [{}, {"local_files_only": True}])
def test_an_unknown_hub_id_without_a_network(options):
    _refused("nobody/nothing-here", 'the hub cannot be reached; go online .* the embedded model "tiny"', **options)


@pytest.mark.parametrize("name", ["nothing", "./nothing", "a/b/c", "/nowhere/at/all", "~nobody/x y", ""])
def test_names_that_are_neither_folder_nor_hub_id(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _refused(name, "is not a diffusers pipeline" if not name else "there is no model")


def test_a_file_is_no_pipeline(tmp_path):
    (tmp_path / "model.safetensors").touch()
    _refused(tmp_path / "model.safetensors", "is a file; give the folder")


def test_folders_that_are_no_pipeline(folder, tmp_path):
    _refused(image_folder(tmp_path / "photos", 1), "has no model_index.json")
    copy = _copy(folder, tmp_path)
    (copy / "model_index.json").write_text("{")
    _refused(copy, "model_index.json cannot be read")
    (copy / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    _refused(copy, "holds a FluxPipeline; this course needs a StableDiffusionPipeline")


def test_a_folder_with_a_part_missing_or_cut_short(folder, tmp_path):
    copy = _copy(folder, tmp_path)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    _refused(copy, "cannot be loaded; get or save it again")
    weights.unlink()
    _refused(copy, "no complete set of safetensors")


@pytest.mark.parametrize("part, name", [
    ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")])
def test_pickled_weights_are_never_loaded(folder, tmp_path, part, name):
    copy = _copy(folder, tmp_path)
    (copy / part / f"{name}.safetensors").unlink()
    pickle_in_disguise(copy / part / ("pytorch_model.bin" if part == "text_encoder" else f"{name}.bin"))
    _refused(copy, "pickled ones .* are never loaded because they can run code")


def test_a_device_that_is_not_there(folder):
    for device in ("tpu", "cuda:99"):
        with pytest.raises(ModelError, match="cannot be used here .*; try"):
            load_pipeline(folder, device=device)


def test_latents_that_are_not_square():
    pipe = build_pipeline(sample_size=(16, 24))
    assert latent_shape(pipe) == (4, 16, 24)
    with pytest.raises(ModelError, match="16 x 24; only square"):
        image_size(pipe)


# --- full size ------------------------------------------------------------------------------------------------


def test_the_configuration_of_sd15_without_its_weights():
    """The exact parameter counts of Stable Diffusion 1.5, on the meta device: no memory, no time."""
    with torch.device("meta"):
        pipe = random_sd15(tokenizer=tokenizer(77))
    count = {name: sum(p.numel() for p in getattr(pipe, name).parameters()) for name in ("unet", "vae", "text_encoder")}
    assert count == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
    assert (latent_shape(pipe), image_size(pipe)) == ((4, 64, 64), 512)
    assert pipe.vae.config.scaling_factor == 0.18215
    assert SD15 == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_512_px_go_through_prior_and_generate(tmp_path):
    """The shapes of Stable Diffusion 1.5 with few channels, so that they are tried each time."""
    from dislib.core.prior import StylePrior
    from dislib.core.sampling import generate

    pipe = build_pipeline(sample_size=64)
    prior = StylePrior.from_images(pipe, image_folder(tmp_path / "style", 3, size=700), batch_size=2)
    assert prior.shape == (4, 64, 64) and prior.meta["image_size"] == 512
    [[sample]] = generate(pipe, ["a b c"], [0], steps=2, prior=prior, start="matched")
    assert sample.image.size == (512, 512) and sample.latent.shape == (4, 64, 64)


@pytest.mark.slow
def test_full_size_goes_through_prior_and_generate(tmp_path):
    """512 px from a folder of photographs' sizes to a picture, in less than 24 GiB."""
    import resource

    from dislib.core.prior import StylePrior
    from dislib.core.sampling import generate

    torch.manual_seed(0)
    pipe = random_sd15(tokenizer=tokenizer(77))
    prior = StylePrior.from_images(pipe, image_folder(tmp_path / "style", 2, size=700), batch_size=1)
    prior.save(tmp_path / "prior.safetensors")
    prior = StylePrior.load(tmp_path / "prior.safetensors", pipe)
    assert prior.shape == (4, 64, 64) and prior.meta["image_size"] == 512
    [[sample]] = generate(pipe, ["a b c"], [0], steps=2, guidance=3, prior=prior, start="matched")
    assert sample.image.size == (512, 512) and torch.isfinite(sample.latent).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 24 * 2**20  # kB
