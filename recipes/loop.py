"""The loop all recipes share: learning rate, mixed precision, averaging, checkpoints, a line of log now and then."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Callable, Iterator

import torch

from . import checkpoint


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def swift(where: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the machine multiplies it faster than float32: on a GPU, or a CPU with AMX."""
    native = where.type != "cpu" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=native)


def compiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module as torch compiles it, with the same weights; itself where there is no compiler."""
    return torch.compile(module) if torch.cuda.is_available() or shutil.which("g++") else module


def rate(step: int, steps: int, peak: float, warmup: int = 200) -> float:
    """Linear warm-up, then a cosine down to a fiftieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    t = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * t)))


def train(
    module: torch.nn.Module,
    loss: Callable[[int], torch.Tensor],
    *,
    steps: int,
    peak: float,
    folder: Path,
    decay: float = 0.999,
    every: int = 250,
    save_minutes: float = 4.0,
) -> Iterator[dict]:
    """Train ``module`` on ``loss(step)``; every ``every`` steps yield ``{"step", "loss", "rate", "seconds", "ema"}``.

    Goes on from ``folder/checkpoint.safetensors`` where there is one. Records are appended to ``folder/log.jsonl``.
    The average of the weights is in the records' ``ema``. The loss is computed in bfloat16 where the machine has it.
    """
    optimiser = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad], lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    ema = checkpoint.EMA(module, decay)
    start = checkpoint.load(folder / "checkpoint.safetensors", module, ema, optimiser)
    folder.mkdir(parents=True, exist_ok=True)
    begun = saved = time.time()
    total, counted = torch.zeros((), device=next(module.parameters()).device), 0
    for step in range(start, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps, peak)
        value = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        ema.update(module)
        total += value.detach()
        counted += 1
        last = step + 1 == steps
        due, told = last or time.time() - saved > 60 * save_minutes, last or (step + 1) % every == 0
        if (due or told) and not torch.isfinite(total):  # the checkpoint must stay one to go on from
            raise RuntimeError(
                f"the loss is {float(total)} by step {step + 1}; lower the rate and go on from the last checkpoint"
            )
        if told:
            record = {
                "step": step + 1,
                "loss": float(total) / counted,
                "rate": group["lr"],
                "seconds": round(time.time() - begun, 1),
            }
            total, counted = torch.zeros_like(total), 0
            with open(folder / "log.jsonl", "a") as log:
                log.write(json.dumps(record) + "\n")
            yield record | {"ema": ema}
        if due:  # after the record: a run that counts as finished has left its results
            checkpoint.save(folder / "checkpoint.safetensors", step + 1, module, ema, optimiser)
            saved = time.time()
