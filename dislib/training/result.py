"""The folder a fine-tuning leaves behind: written whole, opened by `load_pipeline`, and by plain diffusers."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.pipeline import (
    TINY,
    check_complete,
    check_fit,
    from_pretrained,
    latent_shape,
    model_id,
    pipeline_fingerprint,
)
from ..core.prior import StylePrior
from ..errors import DislibError, ModelError, OutputError, TrainingError, shorten
from ..escaping import for_markdown
from ..files import (
    check_output_folder,
    check_regular,
    data_dir,
    digest_of,
    make_folder,
    read_json,
    read_safetensors,
    sha256,
    write_atomic,
    write_json,
)
from .checkpoints import strangers
from .lora_support import torchao_put_aside
from .objective import name_of, prior_of
from .settings import ancestry

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

RECORD, PRIOR, LORA = "training.json", "style_prior.safetensors", "pytorch_lora_weights.safetensors"
UNFINISHED = "training.unfinished.json"
FORMAT = "dislib fine-tuning"
IDENTITY = 2  # how base, images and noise are told from others: 1 was by computed numbers, which differ by processor


def save(out, pipe, noise, settings, facts, examples):
    """Write the result of a fine-tuning: weights, prior, card, and last `training.json`, which says that it is whole.

    Args:
        out: the folder.
        pipe: the pipeline with the tuned U-Net (in float32), or with a U-Net that carries a LoRA.
        noise: "white", "offset" or a StylePrior; only a prior is written.
        settings: a `settings.Settings`.
        facts: dict of JSON values to keep (`losses` among them).
        examples: the TrainingSet, for the number of images.
    """
    out = make_folder(Path(out))
    write_json(out / UNFINISHED, {"format": FORMAT})
    (out / RECORD).unlink(missing_ok=True)
    _write_weights(out, pipe, settings)
    if prior := prior_of(noise):
        prior.save(out / PRIOR)
    else:
        (out / PRIOR).unlink(missing_ok=True)
    record = {
        "format": FORMAT, "model": base_name(pipe), "noise": name_of(noise),
        "sample_size": pipe.unet.config.sample_size, "images": len(examples), "files": examples.files,
        "settings": settings.to_json(), **facts, "versions": _versions(),
    }
    write_atomic(out / "README.md", card(out, pipe, record).encode("utf-8", "backslashreplace"))
    write_json(out / RECORD, record)
    (out / UNFINISHED).unlink(missing_ok=True)


def check_place(out, pipe=None, files=()):
    """Refuse, before any work, a folder in which a result would take the place of something else; it as a Path.

    Args:
        out: the folder.
        pipe: the base model, which may not lie there, nor any that it was tuned from.
        files: names of the training pictures.

    Raises:
        OutputError: the file or folder in the way.
    """
    out = check_output_folder(out)
    strange = [folder.name for folder in strangers(out)]
    if not (_is_ours(out / RECORD) or _is_ours(out / UNFINISHED)):
        strange += [name for name in (RECORD, PRIOR, LORA, "unet", "README.md") if (out / name).exists()]
    strange += [name for name in ("model_index.json", *files) if (out / name).exists()]
    if strange:
        raise OutputError(
            f"{shorten(out, 200)} holds {shorten(strange[0])}, which no fine-tuning left there; choose another --out folder"
        )
    for base in ancestry(Path(str(pipe.name_or_path or ""))) if pipe is not None and out.exists() else ():
        if os.path.isdir(base) and os.path.samefile(base, out):
            raise OutputError(f"{shorten(out, 200)} is the base model itself; choose another --out folder")
    return out


def _is_ours(path):
    try:
        return read_json(path)["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read(folder: str | os.PathLike) -> dict | None:
    """The contents of `training.json`, or None in a folder without one.

    Raises:
        ModelError: the file is damaged.
    """
    path = Path(folder) / RECORD
    if not path.exists():
        return None
    try:
        record = read_json(path)
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}")
        _check_types(record)
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be used ({shorten(error)}); fine-tune again") from error


def apply(
    pipe: StableDiffusionPipeline, folder: str | os.PathLike, *, local_files_only: bool = False,
) -> StableDiffusionPipeline:
    """Give a base pipeline what a fine-tuning changed: its U-Net or its LoRA, and its prior.

    Returns:
        the pipeline, with `style_prior` set to the StylePrior it samples from, or None.
    """
    from diffusers import UNet2DConditionModel

    folder, record = Path(folder), read(folder) or {}
    try:
        check_regular(folder)
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read ({error.strerror}); fine-tune again") from error
    if not has_weights(folder):
        raise ModelError(f"{folder} holds neither unet/ nor {LORA}; fine-tune again")
    try:
        if (folder / "unet").is_dir():
            unet = from_pretrained(UNet2DConditionModel, folder / "unet", pipe.unet.dtype)
            check_complete(unet, folder / "unet")
            pipe.unet = unet.to(pipe.device)
        else:
            _apply_lora(pipe, folder, record.get("settings", {}))
    except DislibError as error:
        raise ModelError(str(error)) from error
    except Exception as error:  # the libraries raise anything for a file that is cut short or of another model
        raise ModelError(
            f"the weights in {folder} cannot be used with their base model ({shorten(error, 160)}); fine-tune again"
        ) from error
    if "sample_size" in record:  # a LoRA's file says nothing of the size it was trained at
        pipe.unet.register_to_config(sample_size=record["sample_size"])
    check_fit(pipe, folder)
    pipe.register_to_config(_name_or_path=str(folder))
    pipe.style_prior = StylePrior.load(folder / PRIOR, pipe) if (folder / PRIOR).is_file() else None
    return pipe


def has_weights(folder: str | os.PathLike) -> bool:
    """Whether the weights that a fine-tuning leaves are there."""
    return (Path(folder) / "unet").is_dir() or (Path(folder) / LORA).is_file()


def _apply_lora(pipe, folder, settings):
    _check_lora(pipe.unet, folder, settings.get("lora_targets", ()))
    source = digest_of("LoRA", pipeline_fingerprint(pipe), sha256(folder / LORA))
    with torchao_put_aside():
        pipe.load_lora_weights(str(folder), weight_name=LORA, use_safetensors=True)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    pipe.unet.source = source  # the fused weights are computed, and differ in their last bits by processor


def _check_lora(unet, folder, targets):
    """Refuse a LoRA's file without the weights of some layer that was trained: peft would do without, in silence."""
    there, _ = read_safetensors(folder / LORA)
    layers = [name for name, module in unet.named_modules() if hasattr(module, "weight")
              and any(name == target or name.endswith(f".{target}") for target in targets)]
    wanted = {f"unet.{layer}.lora_{part}.weight" for layer in layers for part in "AB"}
    check_complete(unet, folder / LORA, wanted - set(there))


KINDS = {  # of what is read in a record, and in its settings
    "model": str, "noise": str, "settings": dict, "losses": list, "files": list, "max_train_steps": int,
    "rank": (int, type(None)), "learning_rate": (int, float), "lora_targets": list, "identity": int,
}


def _check_types(record):
    """Raise a TypeError that names what a hand has made another kind of."""
    record["model"], record["settings"]
    for name, value in [*record.items(), *dict(record["settings"]).items()]:
        if name in KINDS and (isinstance(value, bool) or not isinstance(value, KINDS[name])):
            raise TypeError(f"{name} is {shorten(repr(value))}")


def check_same(out, settings, identity):
    """Refuse to overwrite a finished result of other settings.

    Raises:
        TrainingError: the names of what differs.
    """
    record = read(out)
    if record is None:
        return
    check_identity(out, record)
    differ = settings.differences(record["settings"]) + [k for k, v in identity.items() if record.get(k) != v]
    if record["settings"]["max_train_steps"] != settings.max_train_steps:
        differ.append("max_train_steps")
    if differ:
        raise TrainingError(
            f"{out} holds a fine-tuning with other settings ({', '.join(dict.fromkeys(differ))} differ); choose"
            " another folder"
        )


def check_identity(folder, record):
    """Refuse to go on with, or to compare with, what an earlier version of the course has written.

    Raises:
        TrainingError: the mend.
    """
    if record.get("identity") != IDENTITY:
        raise TrainingError(
            f"{folder} was written by another version of this course, which told training images apart in another way;"
            " pictures can still be made with a finished result, but to train on choose another folder"
        )


def is_finished(out, settings):
    """Whether `out` holds the result of a run as long as these settings want (and as `check_same` allows)."""
    record = read(out)
    return record is not None and record["settings"]["max_train_steps"] == settings.max_train_steps


def base_name(pipe: StableDiffusionPipeline) -> str:
    """What `load_pipeline` is to be given for the base: "tiny", a hub id, or a folder's path."""
    name = str(pipe.name_or_path or "unnamed")
    if not os.path.isdir(name):
        return name
    folder = Path(name).resolve()
    return TINY if folder == (data_dir() / "tiny-sd").resolve() else str(folder)


def card(out, pipe, record):
    """The result's model card: what it is, how it was made, and how to use it without this package."""
    settings, losses = record["settings"], record["losses"]
    said = f"{record['settings']['max_train_steps']} steps of {settings['train_batch_size']} images"
    how = f"a LoRA of rank {settings['rank']}" if settings["rank"] else "all weights of the U-Net"
    head = [
        f"# {for_markdown(Path(out).resolve().name)}", "",
        f"The model {for_markdown(model_id(pipe))} fine-tuned on {record['images']} images with {record['noise']} noise: {how},"
        f" {said}, learning rate {settings['learning_rate']:g}. Loss of the last tenth of the steps on average:"
        f" {sum(losses[-max(len(losses) // 10, 1):]) / max(len(losses[-max(len(losses) // 10, 1):]), 1):.4f}.", "",
        "Settings, versions and the loss of every step are in `training.json`.", "",
        "## With this course", "", "```python", "from dislib import generate, load_pipeline", "",
        'pipe = load_pipeline("PATH/TO/THIS/FOLDER")',
        'images = [s.image for batch in generate(pipe, ["a red house"], [0]) for s in batch]', "```", "",
        "## With diffusers alone", "",
        *(["(Should peft complain of torchao, as on Colab: `python -m pip uninstall -y torchao`.)", ""]
          if settings["rank"] else []), "```python", *plain_code(out, pipe, record).splitlines(), "```", "",
    ]
    return "\n".join(head)


def plain_code(out, pipe, record):
    """Some ten lines of plain diffusers that make the picture of seed 0, as `generate` does."""
    base = str(data_dir() / "tiny-sd") if record["model"] == TINY else record["model"]
    full, style, shape = record["settings"]["rank"] is None, record["noise"] == "style", latent_shape(pipe)
    lines = [
        "import torch",
        "from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline"
        + (", UNet2DConditionModel" if full else ""),
        "from safetensors.torch import load_file" if style else "",
        f"base, folder = {base!r}, {str(Path(out).resolve())!r}",
        "pipe = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32)",
        'pipe.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32)'
        if full else f'pipe.load_lora_weights(folder, weight_name="{LORA}")',
        "pipe.scheduler = DPMSolverMultistepScheduler.from_config("
        'pipe.scheduler.config, timestep_spacing="trailing")',
        f'z = torch.randn({shape[0]}, {shape[1]}, {shape[2]}, generator=torch.Generator("cpu").manual_seed(0))',
        f'prior = load_file(folder + "/{PRIOR}")' if style else "",
        'z = prior["mean"] + prior["std"] * z  # the style\'s noise in the place of N(0, I)' if style else "",
        'image = pipe("a red house", latents=z[None], num_inference_steps=12, guidance_scale=3.0).images[0]',
    ]
    return "\n".join(line for line in lines if line)


def _write_weights(out, pipe, settings):
    """`unet/` or the LoRA's file, each under a temporary name first."""
    partial = out / ".weights.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if settings.rank is None:
            pipe.unet.save_pretrained(partial, safe_serialization=True)
            shutil.rmtree(out / "unet", ignore_errors=True)
            os.replace(partial, out / "unet")
        else:
            from peft import get_peft_model_state_dict

            # Under peft's own names: diffusers' older ones know attention only, and in a mixture it would be lost.
            weights = get_peft_model_state_dict(pipe.unet)
            pipe.save_lora_weights(partial, unet_lora_layers=weights, weight_name=LORA, safe_serialization=True)
            os.replace(partial / LORA, out / LORA)
    except Exception as error:  # safetensors has its own error for a full disk
        raise OutputError(f"cannot write the weights to {out}: {shorten(error, 160)}; free some space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _versions():
    import accelerate
    import diffusers
    import torch
    import transformers

    modules = (torch, diffusers, transformers, accelerate)
    return {"python": platform.python_version(), **{m.__name__: str(m.__version__) for m in modules}}
