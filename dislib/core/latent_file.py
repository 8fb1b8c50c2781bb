"""A start as a latent file of ComfyUI: how a style's z_T travels to another program.

ComfyUI's `Load Latent` reads a safetensors file `NAME.latent` with the key `latent_tensor` (n, 4, h, w). A second key,
`latent_format_version_0`, is empty; where it is missing, the loader takes the file for one of an older format and divides
all numbers by 0.18215. What is in `latent_tensor` is in the VAE's own units, before the scaling factor.

Its samplers work in k-diffusion's units: they take z_t / sqrt(abar_t) where diffusers takes z_t, and with `add_noise`
turned off they start from the latent as it is. So the file holds z_T / sqrt(abar_T) / scaling_factor.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import torch

from ..errors import DislibError
from ..files import check_output_file, make_folder, read_safetensors, write_safetensors
from .latents import check_finite

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

KEY, MARK = "latent_tensor", "latent_format_version_0"
OLD_SCALE = 0.18215  # by which ComfyUI divides a file without the mark


def write_latent(path: str | os.PathLike, z: torch.Tensor, pipe: StableDiffusionPipeline, *, abar: float, about=None):
    """Write latents z_T (n, 4, h, w), as diffusers takes them, to a .latent file that ComfyUI starts from.

    Args:
        path: of the file, ending in .latent.
        z: z_T, of about unit scale, as `StylePrior.start` or `white_noise` make it.
        pipe: the model, for its scaling factor.
        abar: of the first timestep, `alphas_cumprod[999]` for ComfyUI's schedulers "normal", "simple" and "karras".
        about: dict of strings to keep in the file's metadata.

    Raises:
        DislibError: not (n, 4, h, w), not finite, or an abar out of (0, 1).
        OutputError: the file cannot be written.
    """
    if z.ndim != 4:
        raise DislibError(f"latents must have the shape (n, 4, h, w), got {tuple(z.shape)}")
    if not 0 < abar < 1:
        raise DislibError(f"abar must lie between 0 and 1, got {abar}; a schedule that ends in pure noise has no such file")
    check_finite(z, "latents")
    path = check_output_file(path, suffix=".latent")
    make_folder(path.parent)
    raw = z.float() / (math.sqrt(abar) * pipe.vae.config.scaling_factor)
    write_safetensors(path, {KEY: raw, MARK: torch.tensor([])}, about or {})


def as_comfyui_reads(path: str | os.PathLike) -> torch.Tensor:
    """What ComfyUI's `Load Latent` makes of a .latent file: (n, 4, h, w) in the VAE's own units.

    Raises:
        DislibError: it is no such file.
    """
    tensors, _ = read_safetensors(path)
    if KEY not in tensors:
        raise DislibError(f"{path} has no {KEY!r} (it holds {', '.join(sorted(tensors))}); it is no latent file")
    return tensors[KEY].float() / (1.0 if MARK in tensors else OLD_SCALE)


def as_diffusers_takes(raw: torch.Tensor, pipe: StableDiffusionPipeline, *, abar: float) -> torch.Tensor:
    """z_T for diffusers' `latents=`, of what stands in a .latent file for ComfyUI: the inverse of `write_latent`."""
    return raw * math.sqrt(abar) * pipe.vae.config.scaling_factor
