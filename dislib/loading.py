"""One switch between the embedded Stable Diffusion, the real one on the hub, a folder of yours, and a fine-tuning.

Only this module knows both pipelines and what a fine-tuning leaves behind.
"""

import os
import re
from pathlib import Path

import diffusers
import transformers
from diffusers import StableDiffusionPipeline

from .core.pipeline import SD15, TINY, check_complete, check_device, check_fit, from_pretrained
from .core.prediction import check_kind, kind_of
from .device import pick_dtype
from .errors import ModelError, shorten
from .files import check_regular, data_dir, read_json, user_path
from .progress import stop_with_a_sentence
from .training import result

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


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
    device = check_device(device)
    stop_with_a_sentence()
    tunings = []
    while name != TINY and _finetuned(name):  # no folder takes that name away: ./tiny is a folder
        tunings.append(_folder(name).resolve())
        name = _base_of(tunings)
    source = _source(name)
    _quiet()
    try:
        if not os.path.isdir(source):
            _check_on_the_hub(source, name, local_files_only)
        pipe = from_pretrained(
            StableDiffusionPipeline, source, dtype or pick_dtype(device), variant=variant, safety_checker=None,
            local_files_only=local_files_only, requires_safety_checker=False,
            **_text_encoder(source, dtype or pick_dtype(device), variant),
        )
        check_fit(pipe, source)
    except ModelError:
        raise
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError, HTTP errors... for one cause each
        raise ModelError(_why_not(name, source, error, local_files_only)) from error
    _check_parts(pipe, name)
    pipe.set_progress_bar_config(disable=True)
    pipe.style_prior = None
    pipe = pipe.to(device)
    for folder in reversed(tunings):
        pipe = result.apply(pipe, folder)
    return pipe


def _text_encoder(source, dtype, variant):
    """The text encoder of a folder, which transformers fills with random numbers where its file lacks some.

    Those of the hub are left to diffusers, which knows their variants, and come whole.
    """
    folder = Path(source) / "text_encoder"
    if not folder.is_dir():
        return {}
    variant = variant if variant and any(folder.glob(f"*.{variant}.*")) else None
    model, told = transformers.CLIPTextModel.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, variant=variant, local_files_only=True, output_loading_info=True,
    )
    check_complete(model, f"text_encoder in {source}", told["missing_keys"])
    return {"text_encoder": model}


# --- finding and explaining -----------------------------------------------------------------------------------


def _finetuned(name):
    """`training.json` of a folder that a fine-tuning left, else None."""
    folder = _folder(name)
    if not os.path.isdir(folder) or (folder / "model_index.json").exists():
        return None
    record = result.read(folder)
    if record is None and any(folder.glob("checkpoint-*")):
        raise ModelError(f"the fine-tuning in {folder} has not finished; run the same command again to go on")
    return record


def _base_of(tunings):
    """The base model that the last of these folders names, which must not be one of them."""
    base, last = result.read(tunings[-1])["model"], tunings[-1]
    if os.path.isdir(_folder(base)) and os.path.samefile(_folder(base), last):
        raise ModelError(f"{last / result.RECORD} names its own folder as the base model; write the base there")
    if any(os.path.isdir(_folder(base)) and os.path.samefile(_folder(base), folder) for folder in tunings):
        raise ModelError(
            f"{last / result.RECORD} names {base} as its base model, which was tuned from it in turn; write the base there"
        )
    return base


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
        index = read_json(folder / "model_index.json")
        index["_class_name"]
        check_regular(folder)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a diffusers pipeline: it has no model_index.json") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder / 'model_index.json'} cannot be read ({shorten(error)}); save it again") from error
    check_family(index, folder)
    if missing := [part for part in PARTS if not (folder / part).is_dir()]:
        raise ModelError(f"the pipeline in {folder} lacks {', '.join(missing)}; get or save it again")
    return str(folder)


def check_family(index, name):
    """Refuse, by its `model_index.json` alone, a pipeline that is no Stable Diffusion 1.x or 2.x.

    Args:
        index: what `model_index.json` holds.
        name: the folder or hub id, for the message.

    Raises:
        ModelError: what it is, and why the course cannot use it.
    """
    kind = str(index["_class_name"])
    if kind == "StableDiffusionPipeline":
        return
    why = next((why for word, why in _WHY_NOT.items() if word in kind), "")
    raise ModelError(
        f"{name} holds a {kind}; this course needs a StableDiffusionPipeline (SD 1.x or 2.x){why and f': {why}'}"
    )


# What other pipelines have that nothing here knows of; the first word that fits their class counts.
_WHY_NOT = {
    "XL": "SDXL reads a prompt with two text encoders and asks for sizes beside it, of which the trainer knows nothing",
    "Inpaint": "it takes a mask and a second latent beside the first",
    "Img2Img": "load the same files as a StableDiffusionPipeline",
    "StableDiffusion3": "it predicts a flow, and reads a prompt with three text encoders",
    "Flux": "it predicts a flow, not noise",
    "LatentConsistency": "its sampler adds fresh noise at every step",
}


def _check_on_the_hub(source, name, local_files_only):
    """Refuse another family before its gigabytes are fetched; where its index cannot be had, loading will say why."""
    try:
        index = StableDiffusionPipeline.load_config(source, local_files_only=local_files_only)
    except (OSError, ValueError):
        return
    check_family(index, name)


def _check_parts(pipe, name):
    """Refuse what calls itself a StableDiffusionPipeline and has other inputs or predictions."""
    taken, made = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    if taken != made:
        raise ModelError(
            f"{name} has a U-Net with {taken} input channels over latents of {made} (an inpainting or depth model);"
            " this course needs a text-to-image model"
        )
    check_kind(kind_of(pipe.scheduler))


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
