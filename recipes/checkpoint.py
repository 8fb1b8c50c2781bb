"""Checkpoints without pickle: weights, averages and optimiser state in one safetensors file, written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


class EMA:
    """Exponential moving average of a module's parameters, with a warm-up of the decay."""

    def __init__(self, module: torch.nn.Module, decay: float = 0.999):
        self.decay, self.count = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        mine, theirs = zip(*((self.shadow[k], v) for k, v in module.state_dict().items() if v.is_floating_point()))
        torch._foreach_lerp_(list(mine), list(theirs), 1 - decay)

    def copy_to(self, module: torch.nn.Module) -> None:
        module.load_state_dict(self.shadow)


def save(path: Path, step: int, module: torch.nn.Module, ema: EMA, optimiser: torch.optim.Optimizer) -> None:
    """Write a checkpoint under a temporary name, then rename it: a killed run never leaves half a file."""
    tensors = {f"model.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.shadow.items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    part = path.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()},
        part,
        {"step": json.dumps(step), "ema_count": json.dumps(ema.count)},
    )
    os.replace(part, path)


def load(path: Path, module: torch.nn.Module, ema: EMA, optimiser: torch.optim.Optimizer) -> int:
    """Read a checkpoint into module, average and optimiser; returns its step, 0 where there is none."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as f:
        tensors = {k: f.get_tensor(k) for k in f.keys()}
        step, ema.count = (json.loads(f.metadata()[k]) for k in ("step", "ema_count"))
    part = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
    module.load_state_dict(part("model."))
    ema.shadow = {k: v.to(ema.shadow[k].device) for k, v in part("ema.").items()}
    state: dict[int, dict] = {}
    for key, value in part("optimiser.").items():
        i, name = key.split(".", 1)
        state.setdefault(int(i), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return step
