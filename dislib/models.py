"""The pipeline: one switch between the embedded Stable Diffusion, the real one on the hub, and a folder of yours."""

import copy
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import torch
from packaging.version import Version

# Without torchvision, importing the pipeline logs lines about image processors that nobody here uses.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import diffusers  # noqa: E402
import transformers  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402

from .errors import ModelError, shorten
from .files import user_path
from .progress import stop_with_a_sentence

TINY = "tiny"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def data_dir():
    """The folder with the embedded model, the styles and the prompts.

    It is what the environment variable DISLIB_DATA names, else `data/` of the checkout this package lies in.

    Raises:
        ModelError: neither is there; the message says how to mend it.
    """
    named = os.environ.get("DISLIB_DATA")
    folder = Path(named).expanduser() if named else Path(__file__).resolve().parent.parent / "data"
    if folder.is_dir():
        return folder
    if named:
        raise ModelError(f"DISLIB_DATA is {named}, which is not a folder; set it to the course's data folder")
    raise ModelError(
        f"the course's data are not in {folder}; install the package from a checkout with `pip install -e .`,"
        " or set the environment variable DISLIB_DATA to the checkout's data folder"
    )


def load_pipeline(name=TINY, *, device=None, dtype=None, local_files_only=False, variant=None):
    """Load a Stable Diffusion pipeline, ready to encode and to sample, without noise on the screen.

    Only safetensors files are read, never a pickle. The safety checker is neither loaded nor downloaded: look at
    what you make of other people's prompts before you show it.

    Args:
        name: "tiny" for the embedded model, an id of the hub ("stable-diffusion-v1-5/stable-diffusion-v1-5"), a
            folder in the layout of `StableDiffusionPipeline.save_pretrained`, or the folder of a fine-tuning: its
            base is loaded as its `training.json` says, and `generate` then starts from its prior.
        device: where it runs; by default what `pick_device` finds.
        dtype: number format of all parts; by default what `pick_dtype` says for the device. A picture that comes out
            black in float16 is cured by `dtype=torch.float32`.
        local_files_only: use the hub's cache and never the network.
        variant: "fp16" to fetch the files of half the size where the repository has them.

    Returns:
        diffusers.StableDiffusionPipeline on `device`, its progress bar off. Its `style_prior` is the StylePrior of a
        model fine-tuned with style noise, else None.

    Raises:
        ModelError: no such folder, not a Stable Diffusion pipeline, not in the cache and no network, or only pickles.
    """
    device = _device(device)
    stop_with_a_sentence()
    if tuned := _finetuned(name):
        from . import finetuned  # which knows pipelines and priors, as this module must not

        base = load_pipeline(tuned["model"], device=device, dtype=dtype, local_files_only=local_files_only,
                             variant=variant)
        return finetuned.apply(base, _folder(name))
    source = _source(name)
    _quiet()
    try:
        pipe = from_pretrained(
            StableDiffusionPipeline, source, dtype or pick_dtype(device), variant=variant, safety_checker=None,
            local_files_only=local_files_only, requires_safety_checker=False,
        )
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError, HTTP errors... for one cause each
        raise ModelError(_why_not(name, source, error, local_files_only)) from error
    pipe.set_progress_bar_config(disable=True)
    pipe.style_prior = None
    return pipe.to(device)


def from_pretrained(kind, source, dtype, **options):
    """`kind.from_pretrained(source)` in the number format `dtype`, safetensors only, on all versions of diffusers.

    The format is always said: without it, an fp16 folder gives a half-precision text encoder beside a float32 U-Net.
    """
    return kind.from_pretrained(source, use_safetensors=True, **{_dtype_keyword(): dtype}, **options)


def separate(pipe):
    """A pipeline with a U-Net of its own, to be fine-tuned, that shares all other parts with `pipe`."""
    twin = copy.copy(pipe)
    twin.unet = copy.deepcopy(pipe.unet)
    return twin


def set_resolution(pipe, resolution):
    """Let the pipeline make (and be trained on) square pictures of another size, in pixels.

    The size is kept with the U-Net's own settings, so a model fine-tuned and saved at it keeps it.

    Raises:
        ModelError: not a multiple of the U-Net's and the VAE's factors.
    """
    step = pipe.vae_scale_factor * 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    if resolution < step or resolution % step:
        near = max(round(resolution / step), 1) * step
        raise ModelError(f"resolution {resolution} is not a multiple of {step} as this model needs it; try {near}")
    pipe.unet.register_to_config(sample_size=resolution // pipe.vae_scale_factor)


def pick_device():
    """The best device at hand: "cuda", else "mps" (Apple), else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(device):
    """float16 on CUDA, float32 elsewhere.

    bfloat16 is never picked: a T4 emulates it slowly (and still reports support for it), and one format on all cards
    means that a picture made on one can be remade on another. On a CPU, half precision is not faster.
    """
    return torch.float16 if torch.device(device).type == "cuda" else torch.float32


def latent_shape(pipe):
    """Shape (c, h, w) of one latent: (4, 16, 16) for the embedded model, (4, 64, 64) for Stable Diffusion 1.5."""
    side = pipe.unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    return pipe.unet.config.in_channels, height, width


def image_size(pipe):
    """Side of the model's square pictures in pixels: 128 for the embedded model, 512 for Stable Diffusion 1.5.

    Raises:
        ModelError: the model's pictures are not square.
    """
    _, height, width = latent_shape(pipe)
    if height != width:
        raise ModelError(f"this model's latents are {height} x {width}; only square ones are supported")
    return height * pipe.vae_scale_factor


def model_id(pipe):
    """The hub id a pipeline was loaded from, or the name of its folder (never a private path)."""
    name = str(pipe.name_or_path or "unnamed")
    return Path(name).name if os.path.isdir(name) else name


def weight_sample(module):
    """One weight from the middle of each matrix and kernel of a module: a few hundred numbers that identify it.

    Returns:
        float32 array. Two formats of one model agree to half a per cent; another training run does not.
    """
    weights = sorted(module.state_dict().items())
    return np.array([w.flatten()[w.numel() // 2].float().item() for _, w in weights if w.ndim > 1], dtype=np.float32)


def pipeline_fingerprint(pipe):
    """16 hexadecimal digits that change when the U-Net, the text encoder or the VAE changes.

    They are of the weights as they lie in the files; a U-Net with a LoRA in it is known by its base and that LoRA.
    """
    digest = hashlib.sha256((getattr(pipe.unet, "source", None) or "").encode())
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        if not getattr(part, "source", None):
            digest.update(weight_sample(part).tobytes())
    return digest.hexdigest()[:16]


def random_sd15(*, dtype=torch.float32, tokenizer=None):
    """A pipeline with the exact configuration of Stable Diffusion 1.5 and random weights.

    It makes no pictures worth seeing. It is for trying out shapes and memory at 512 px without a download of 4 GB:
    1.07 billion parameters, 4.3 GB in float32.

    Args:
        dtype: number format of all parts.
        tokenizer: any CLIPTokenizer with at most 49,408 entries (the real one cannot be had without a download).
    """
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # never hold a float32 copy of a half-precision model
    try:
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )
        text = CLIPTextModel(CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            max_position_embeddings=77, projection_dim=768,
        ))
    finally:
        torch.set_default_dtype(before)
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    pipe = StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text.eval(), tokenizer=tokenizer, unet=unet.eval(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


# --- finding and explaining -----------------------------------------------------------------------------------


def _device(name):
    try:
        device = torch.device(name or pick_device())
        torch.zeros(1, device=device).item()  # which "meta" cannot
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        best = pick_device()
        raise ModelError(f"the device {name!r} cannot be used here ({shorten(error)}); try {best!r}") from error
    return device


def _finetuned(name):
    """`training.json` of a folder that a fine-tuning left, else None."""
    folder = _folder(name)
    if not os.path.isdir(folder) or (folder / "model_index.json").exists():
        return None
    from . import finetuned

    record = finetuned.read(folder)
    if record is None and any(folder.glob("checkpoint-*")):
        raise ModelError(f"the fine-tuning in {folder} has not finished; run the same command again to go on")
    if record is not None and os.path.isdir(base := record["model"]) and os.path.samefile(base, folder):
        raise ModelError(f"{folder / finetuned.RECORD} names its own folder as the base model; write the base there")
    return record


def _folder(name):
    return user_path(os.fspath(name) or ".", ModelError)


def _source(name):
    """What `from_pretrained` is to be given: a folder that is a pipeline, or a hub id."""
    name = os.fspath(name)
    folder = data_dir() / "tiny-sd" if name == TINY else _folder(name)
    if os.path.isdir(folder):  # not Path.is_dir, which raises on a name that is too long
        return _pipeline_folder(folder)
    if name == TINY:
        raise ModelError(f"the embedded model is not in {folder}; get the course's data again")
    if os.path.exists(folder):
        raise ModelError(f"{name} is a file; give the folder of a diffusers pipeline (the one with model_index.json)")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise ModelError(
            f"there is no model {shorten(name)!r}: not a folder here, and a hub id looks like {SD15};"
            ' "tiny" is the embedded model'
        )
    return name


def _pipeline_folder(folder):
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        kind = index["_class_name"]
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a diffusers pipeline: it has no model_index.json") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder / 'model_index.json'} cannot be read ({shorten(error)}); save it again") from error
    if kind != "StableDiffusionPipeline":
        raise ModelError(f"{folder} holds a {kind}; this course needs a StableDiffusionPipeline (SD 1.x)")
    return str(folder)


def _dtype_keyword():
    """diffusers below 0.40 ignores `dtype=` with no more than a log line; above, `torch_dtype=` is deprecated."""
    return "dtype" if Version(diffusers.__version__) >= Version("0.40.0.dev0") else "torch_dtype"


def _quiet():
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _why_not(name, source, error, local_files_only):
    text = f"{type(error).__name__}: {error} {error.__cause__ or ''}"
    known = "safetensors" in text and re.search(r"no file named|could not find|not find.*safetensors", text, re.I)
    if known or re.search(r"\.bin\b.*safetensors", text):
        return (
            f"{name} has no complete set of safetensors weights, and pickled ones (.bin, .ckpt) are never loaded"
            " because they can run code; convert it with `save_pretrained(..., safe_serialization=True)`"
            f" ({shorten(text, 160)})"
        )
    if os.path.isdir(source):
        return f"the pipeline in {source} cannot be loaded; get or save it again ({shorten(text, 300)})"
    if local_files_only or re.search(r"cached|offline|connect|resolve|not known|timed? ?out", text, re.I):
        return (
            f"{name} is not in the hub's cache on this machine and the hub cannot be reached; go online and run"
            f' the same line once, or use the embedded model "tiny" ({shorten(text, 160)})'
        )
    return f"{name} cannot be loaded from the hub; check the id on https://huggingface.co/{name} ({shorten(text, 300)})"
