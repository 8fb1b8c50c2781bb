"""Which layers must a LoRA reach to learn style noise? `python -m recipes lora_layers`, after `baselines`.

The same training on one style with a LoRA of one rank on attention alone, with the first and the last convolution as
well, and on all layers; FID and CLIP score of 200 pictures from both starts go to `data/results/lora_layers.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from dislib.evaluation.sweep import read_sweep
from dislib.files import make_folder, write_json
from dislib.loading import load_pipeline
from dislib.training.methods import TRAININGS, train
from dislib.training.result import LORA, read
from dislib.training.settings import LORA_TARGETS

from .baselines import CHECKPOINT, GUIDANCE, PICTURES, RATE_STEPS, RATE_STYLE, everywhere, examples, fid_of, paint_one

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
LAYERS = {
    "attention": ATTENTION,
    "attention, conv_in and conv_out": (*ATTENTION, "conv_in", "conv_out"),
    "all layers": LORA_TARGETS,
}
TRAINING, METHODS = "style-lora", ("style-lora", "style-lora-matched")


def train_one(job: tuple[str, float, Path]) -> dict:
    """Train a LoRA on some layers."""
    layers, rate, out = job
    torch.set_num_threads(1)
    pipe = load_pipeline("tiny", device="cpu")
    options = {"max_train_steps": RATE_STEPS, "checkpointing_steps": CHECKPOINT, "use_ema": True}
    for _ in train(
        pipe, examples(pipe, RATE_STYLE), TRAINING, out=out, rate=rate, lora_targets=LAYERS[layers], **options
    ):
        pass
    return {"trained": layers}


def numbers(out: Path) -> dict:
    """What is known of a LoRA: its size and, from each start, its FID and CLIP score."""
    found = {"megabytes in float32": round((out / LORA).stat().st_size / 1e6, 2)}
    for method in METHODS:
        point = read_sweep(out / f"sweep-{method}")[GUIDANCE]
        found[method] = {"fid": fid_of(RATE_STYLE, out / f"sweep-{method}"), "clip": round(float(point.clip.mean()), 2)}
    return found


def run(*, folder: Path, out: Path = Path("data/results")) -> Iterator[dict]:
    """Train, paint, and write the table; yields a record for each."""
    rate = json.loads((folder.parent / "baselines" / "rates.json").read_text())["chosen"][TRAINING]
    where = {layers: folder / layers.replace(" ", "_") for layers in LAYERS}
    yield from everywhere(train_one, [(layers, rate, where[layers]) for layers in LAYERS])
    jobs = [(RATE_STYLE, name, where[layers], where[layers] / f"sweep-{name}") for layers in LAYERS for name in METHODS]
    yield from everywhere(paint_one, jobs)
    about = {"style": RATE_STYLE, "steps": RATE_STEPS, "rank": TRAININGS[TRAINING].rank, "learning rate": rate}
    found = {layers: numbers(path) for layers, path in where.items()}
    same = read(where["all layers"])["base"]
    write_json(make_folder(out) / "lora_layers.json", {**about, "guidance": GUIDANCE, "pictures": PICTURES, "base": same,
               "layers": found})  # fmt: skip
