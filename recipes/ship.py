"""Puts the trained models into ``data/``: half precision, safetensors, diffusers' and transformers' folder layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Iterator

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPModel

from dislib.core.pipeline import from_pretrained
from dislib.errors import ModelError
from dislib.files import write_checksums, write_json

from .unet import fingerprint

KEEP = ("README.md", "report.json")  # written by the report, not by training


def replace_folder(new: Path, old: Path) -> None:
    """Put a finished folder in the place of an old one; what the report wrote stays until the next report."""
    for name in KEEP:
        if (old / name).exists() and not (new / name).exists():
            shutil.copy(old / name, new / name)
    if old.exists():
        shutil.rmtree(old)
    new.replace(old)


def forget_origin(folder: Path) -> None:
    """Take out of all configs from which folder of which machine the libraries loaded the model."""
    for file in folder.rglob("*.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if {"_name_or_path", "name_or_path"} & config.keys():
            write_json(file, {k: v for k, v in config.items() if k not in ("_name_or_path", "name_or_path")})


def newest(folder: Path, out: Path) -> StableDiffusionPipeline | None:
    """The pipeline to ship, in float32: the U-Net recipe's, or else the shipped one, with the VAE recipe's decoder.

    Raises:
        ModelError: the VAE's encoder is not the one whose latents the U-Net has learnt.
    """
    trained, vae = folder / "unet" / "pipeline", folder / "vae" / "vae"
    if not trained.exists() and not vae.exists():
        return None
    source = trained if trained.exists() else out / "tiny-sd"
    pipe = from_pretrained(StableDiffusionPipeline, source, torch.float32, safety_checker=None)
    if vae.exists():
        newer = AutoencoderKL.from_pretrained(vae, use_safetensors=True)
        if fingerprint(newer) != fingerprint(pipe.vae):
            raise ModelError(
                f"the encoder in {vae} is not the one the U-Net in {source} was trained with; train the U-Net again"
                " (`unet`), or only the decoder (`vae --warm`)"
            )
        for part in ("decoder", "post_quant_conv"):
            getattr(pipe.vae, part).load_state_dict(getattr(newer, part).state_dict())
    return pipe


def run(*, folder: Path, out: Path = Path("data")) -> Iterator[dict]:
    """Write ``data/tiny-sd`` and ``data/judge`` from the recipes' results, and the checksums of both."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / "tiny-sd.part"
    if pipe := newest(folder.parent, out):
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        pipe.to(dtype=torch.float16).save_pretrained(part, safe_serialization=True)
        forget_origin(part)
        replace_folder(part, out / "tiny-sd")
        yield {"shipped": "tiny-sd"}
    source, part = folder.parent / "judge" / "judge", out / "judge.part"
    if source.exists():
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        model = CLIPModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
        model.half().save_pretrained(part)
        forget_origin(part)
        replace_folder(part, out / "judge")
        yield {"shipped": "judge"}
    write_checksums(out)
