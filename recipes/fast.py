"""Sampling at more than twice the speed, for the long recipes: the U-Net and the decoder in bfloat16, compiled.

CPUs with AMX multiply bfloat16 far faster than float32. Latents and the scheduler stay in float32, so that a rounding
stays within one call of the U-Net; `sweeps.rounding` measures what it does to the numbers.
"""

from __future__ import annotations

import shutil
import warnings

import torch


def native() -> bool:
    """Whether this CPU computes bfloat16 in hardware, and a compiler is there."""
    return torch.cpu._is_amx_tile_supported() and shutil.which("g++") is not None


def hasten(pipe):
    """The pipeline with a bfloat16 U-Net and decoder that take and return float32; as it is where that gains nothing.

    For sampling only: its U-Net cannot be trained. Its settings in a sweep say bfloat16.
    """
    if pipe.device.type == "cpu" and native():
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # of a version check
        for module in (pipe.unet, pipe.vae.decoder):
            _in_bfloat16(module)
    return pipe


def _in_bfloat16(module: torch.nn.Module) -> None:
    cast = lambda value, dtype: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
    half = torch.compile(module.to(torch.bfloat16).forward, dynamic=False)

    def forward(*inputs, **named):
        inputs = [cast(value, torch.bfloat16) for value in inputs]
        made = half(*inputs, **{name: cast(value, torch.bfloat16) for name, value in named.items()})
        return tuple(cast(part, torch.float32) for part in made) if isinstance(made, tuple) else cast(made, torch.float32)

    module.forward = forward
