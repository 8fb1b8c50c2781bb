"""The parts of a Stable Diffusion pipeline: its sizes, its name and its fingerprint."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from packaging.version import Version

from ..device import pick_device
from ..errors import ModelError, shorten

TINY = "tiny"
MOST = 4096  # pixels of a side
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def from_pretrained(kind, source, dtype, **options):
    """`kind.from_pretrained(source)` in the number format `dtype`, safetensors only, on all versions of diffusers.

    The format is always said: without it, an fp16 folder gives a half-precision text encoder beside a float32 U-Net.
    """
    return kind.from_pretrained(source, use_safetensors=True, **{_dtype_keyword(): dtype}, **options)


def check_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, or the best there is if it is None.

    Raises:
        ModelError: it cannot be used here.
    """
    try:
        device = torch.device(name or pick_device())
        torch.zeros(1, device=device).item()  # which "meta" cannot
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        best = pick_device()
        raise ModelError(f"the device {name!r} cannot be used here ({shorten(error)}); try {best!r}") from error
    return device


def check_complete(module: torch.nn.Module, name: str, missing: Iterable[str] = ()) -> None:
    """Refuse a model whose file lacks weights: the libraries leave them empty, or fill in random numbers.

    Args:
        module: the model.
        name: what it is called in the message.
        missing: tensors that the library has told as missing.

    Raises:
        ModelError: the first of them by name.
    """
    lacking = sorted({*missing, *(key for key, value in module.state_dict().items() if value.is_meta)})
    if lacking:
        raise ModelError(
            f"the weights of {name} are not complete: {len(lacking)} missing, the first is {lacking[0]};"
            " get or save the model again"
        )


def check_fit(pipe: StableDiffusionPipeline, name: str) -> None:
    """Refuse a pipeline of damaged files: weights missing, sizes that are none, a tokenizer that is not the model's.

    Raises:
        ModelError: the part, and what is wrong with it.
    """
    for part in ("unet", "vae", "text_encoder"):
        check_complete(getattr(pipe, part), f"{part} in {name}")
    side, factor = pipe.unet.config.sample_size, pipe.vae.config.scaling_factor
    sides = side if isinstance(side, (list, tuple)) else [side]
    if not (len(sides) in (1, 2) and all(type(one) is int and one > 0 for one in sides)):
        raise ModelError(f"sample_size in unet/config.json of {name} is {side!r}; it must be a whole number such as 64")
    if type(factor) not in (int, float) or not 0 < factor < float("inf"):
        raise ModelError(f"scaling_factor in vae/config.json of {name} is {factor!r}; it must be a number such as 0.18215")
    words, read = len(pipe.tokenizer), pipe.tokenizer.model_max_length
    known, most = pipe.text_encoder.config.vocab_size, pipe.text_encoder.config.max_position_embeddings
    if not known / 2 <= words <= known or not 3 <= read <= most:
        raise ModelError(
            f"the tokenizer in {name} knows {words} words and reads {read:.6g}, its text encoder {known} and {most};"
            " get or save the folder tokenizer/ again"
        )


def separate(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline with a U-Net of its own, to be fine-tuned, that shares all other parts with `pipe`."""
    twin = copy.copy(pipe)
    twin.unet = copy.deepcopy(pipe.unet)
    return twin


def set_resolution(pipe: StableDiffusionPipeline, resolution: int) -> None:
    """Let the pipeline make (and be trained on) square pictures of another size, in pixels.

    The size is kept with the U-Net's own settings, so a model fine-tuned and saved at it keeps it.

    Raises:
        ModelError: not a multiple of the U-Net's and the VAE's factors, or larger than anything can hold.
    """
    step = pipe.vae_scale_factor * 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    if resolution < step or resolution % step or resolution > MOST:
        near = min(max(round(resolution / step), 1) * step, MOST - MOST % step)
        raise ModelError(f"resolution {resolution} is not a multiple of {step} up to {MOST} as this model needs it;"
                         f" try {near}")
    pipe.unet.register_to_config(sample_size=resolution // pipe.vae_scale_factor)


def latent_shape(pipe: StableDiffusionPipeline) -> tuple[int, int, int]:
    """Shape (c, h, w) of one latent: (4, 16, 16) for the embedded model, (4, 64, 64) for Stable Diffusion 1.5."""
    side = pipe.unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    return pipe.unet.config.in_channels, height, width


def image_size(pipe: StableDiffusionPipeline) -> int:
    """Side of the model's square pictures in pixels: 128 for the embedded model, 512 for Stable Diffusion 1.5.

    Raises:
        ModelError: the model's pictures are not square.
    """
    _, height, width = latent_shape(pipe)
    if height != width:
        raise ModelError(f"this model's latents are {height} x {width}; only square ones are supported")
    return height * pipe.vae_scale_factor


def model_id(pipe: StableDiffusionPipeline) -> str:
    """The hub id a pipeline was loaded from, or the name of its folder (never a private path)."""
    name = str(pipe.name_or_path or "unnamed")
    return Path(name).name if os.path.isdir(name) else name


def weight_sample(module: torch.nn.Module) -> np.ndarray:
    """One weight from the middle of each matrix and kernel of a module: a few hundred numbers that identify it.

    Returns:
        float32 array. Two formats of one model agree to half a per cent; another training run does not.
    """
    weights = sorted(module.state_dict().items())
    return np.array([w.flatten()[w.numel() // 2].float().item() for _, w in weights if w.ndim > 1], dtype=np.float32)


def pipeline_fingerprint(pipe: StableDiffusionPipeline) -> str:
    """16 hexadecimal digits that change when the U-Net, the text encoder or the VAE changes.

    They are of the weights as they lie in the files; a U-Net with a LoRA in it is known by its base and that LoRA.
    """
    digest = hashlib.sha256((getattr(pipe.unet, "source", None) or "").encode())
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        if not getattr(part, "source", None):
            digest.update(weight_sample(part).tobytes())
    return digest.hexdigest()[:16]


def random_sd15(*, dtype: torch.dtype = torch.float32, tokenizer=None) -> StableDiffusionPipeline:
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


def _dtype_keyword():
    """diffusers below 0.40 ignores `dtype=` with no more than a log line; above, `torch_dtype=` is deprecated."""
    return "dtype" if Version(diffusers.__version__) >= Version("0.40.0.dev0") else "torch_dtype"
