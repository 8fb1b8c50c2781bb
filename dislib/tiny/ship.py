"""Puts the trained models into ``data/``: half precision, safetensors, diffusers' and transformers' folder layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Iterator

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel

from ..files import write_checksums, write_json

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


def run(*, folder: Path, out: Path = Path("data")) -> Iterator[dict]:
    """Write ``data/tiny-sd`` and ``data/judge`` from the recipes' results, and the checksums of both."""
    out.mkdir(parents=True, exist_ok=True)
    source, part = folder.parent / "unet" / "pipeline", out / "tiny-sd.part"
    if source.exists():
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        pipe = StableDiffusionPipeline.from_pretrained(
            source, safety_checker=None, dtype=torch.float32, use_safetensors=True
        )
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
