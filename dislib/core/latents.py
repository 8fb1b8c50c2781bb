"""Images to latents and back, and the white noise every sample begins with."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch

from ..errors import DislibError, ImageError, ModelError
from ..images.images import numbered, upright_rgb
from ..images.prompts import MAX_SEED
from .pipeline import image_size

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from PIL import Image


def encode(pipe: StableDiffusionPipeline, images: list[Image.Image], *, batch_size: int = 8) -> torch.Tensor:
    """Encode images as scaled latents: the posterior's mode times `vae.config.scaling_factor`.

    The mode, not a draw, so that an image always has the same latent (as the authors' follow-up code does).

    Args:
        pipe: a StableDiffusionPipeline.
        images: PIL images of the model's own size (`images.load_image` makes them so); turned and made RGB as files are.
        batch_size: images encoded at once.

    Returns:
        float32 tensor (n, 4, h, w) on the CPU, in scaled latents (the U-Net's units).

    Raises:
        ImageError: there is none, or one is of another size or kind.
        ModelError: the VAE overflowed (float16), or its weights are broken.
    """
    batches = list(encode_batches(pipe, images, batch_size=batch_size))
    if not batches:
        raise ImageError("no images to encode; give a list of at least one PIL image")
    return torch.cat(batches)


def encode_batches(
    pipe: StableDiffusionPipeline, images: Iterable[Image.Image], *, batch_size: int = 8,
) -> Iterator[torch.Tensor]:
    """Like `encode`, but for any iterable of images: yields (b, 4, h, w) batches and holds only one at a time."""
    size, images, done = image_size(pipe), iter(images), 0
    while batch := list(itertools.islice(images, batch_size)):
        batch = [numbered(done + i, upright_rgb, image) for i, image in enumerate(batch)]
        _check_sizes(batch, size, done)
        yield _encode_batch(pipe, batch)
        done += len(batch)


@torch.no_grad()
def _encode_batch(pipe, images):
    pixels = pipe.image_processor.preprocess(images)  # (b, 3, H, W) in [-1, 1]
    mode = pipe.vae.encode(pixels.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mode()
    return _finite(mode.float().cpu() * pipe.vae.config.scaling_factor, pipe, "encoding")


@torch.no_grad()
def decode(pipe: StableDiffusionPipeline, latents: torch.Tensor, *, batch_size: int = 8) -> list[Image.Image]:
    """Decode scaled latents to pictures.

    Args:
        pipe: a StableDiffusionPipeline.
        latents: tensor (n, 4, h, w) or (4, h, w), in scaled latents; any h and w.
        batch_size: latents decoded at once.

    Returns:
        list of n PIL images of mode RGB.

    Raises:
        DislibError: the latents hold NaN or infinity.
        ModelError: the VAE overflowed (float16): the cause of pictures that are black all over.
    """
    latents = latents[None] if latents.ndim == 3 else latents
    check_finite(latents, "latents")
    images = []
    for batch in latents.split(batch_size):
        z = batch.to(pipe.vae.device, pipe.vae.dtype) / pipe.vae.config.scaling_factor
        pixels = _finite(pipe.vae.decode(z, return_dict=False)[0], pipe, "decoding")
        images += pipe.image_processor.postprocess(pixels, output_type="pil")
    return images


def white_noise(seeds: Iterable[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise, one draw an image, from its seed alone.

    `torch.Generator("cpu").manual_seed(seed)` makes each, so an image can be remade with plain diffusers, on any
    device and in any batch.

    Args:
        seeds: whole numbers from 0 to 2**63 - 1.
        shape: shape (4, h, w) of one latent.

    Returns:
        float32 tensor (len(seeds), 4, h, w) on the CPU.
    """
    seeds = check_seeds(seeds)
    noise = [torch.randn(*shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    return torch.stack(noise)


def blob(shape: tuple[int, ...], x: float, y: float, *, radius: float = 0.2) -> torch.Tensor:
    """A smooth bump to add to a channel of a latent: 1 in its middle, falling off as a Gaussian.

    Args:
        shape: shape (c, h, w) of a latent, or (h, w).
        x, y: its middle, from the left and from the top, in 0..1.
        radius: its standard deviation as a share of the picture's sides.

    Returns:
        float32 tensor (h, w).

    Raises:
        DislibError: the radius is not above 0.
    """
    if not radius > 0:
        raise DislibError(f"the radius of a blob is a share of the picture above 0, such as 0.2, got {radius}")
    rows, columns = ((torch.arange(side) + 0.5) / side for side in shape[-2:])
    across, down = (torch.exp(-0.5 * ((at - middle) / radius) ** 2) for at, middle in ((columns, x), (rows, y)))
    return down[:, None] * across[None]


def checkerboard(shape: tuple[int, ...]) -> torch.Tensor:
    """+1 and -1 in turn, float32 (h, w): as strong as a constant of 1 but of the finest grain, with mean 0.

    Multiply a constant or a blob by it, and the same energy sits where the last noise hides it.

    Args:
        shape: shape (c, h, w) of a latent, or (h, w).
    """
    rows, columns = (torch.arange(side) for side in shape[-2:])
    return 1.0 - 2.0 * ((rows[:, None] + columns[None]) % 2)


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """The seeds as a list of ints.

    Raises:
        DislibError: there is none, or one is not a whole number from 0 to 2**63 - 1.
    """
    try:
        seeds = [operator.index(seed) for seed in seeds]
    except TypeError as error:
        raise DislibError(f"seeds must be a list of whole numbers such as range(8), got {seeds!r}") from error
    if not seeds:
        raise DislibError("no seeds; give at least one, such as [0]")
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise DislibError(f"seed {seed} is out of range; seeds go from 0 to 2**63 - 1")
    return seeds


def check_finite(latents: torch.Tensor, name: str) -> None:
    """Refuse latents with NaN or infinity, saying how many and where the first one is."""
    bad = ~torch.isfinite(latents)
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise DislibError(
            f"{name} hold {int(bad.sum())} values that are NaN or infinite, the first at index {first};"
            " look at how they were computed (a division by 0, or an overflow in float16)"
        )


def _check_sizes(images, size, done):
    for i, image in enumerate(images, start=done):
        if image.size != (size, size):
            width, height = image.size
            raise ImageError(
                f"image {i} is {width} x {height} px but this model's pictures are {size} x {size};"
                f" use prepare_image(image, {size}) or load_image(file, {size})"
            )


def _finite(tensor, pipe, verb):
    if torch.isfinite(tensor).all():
        return tensor
    mend = "set pipe.vae.to(torch.float32), or load the pipeline with dtype=torch.float32"
    if pipe.vae.dtype == torch.float32:  # then it is not for want of room
        mend = "the latents are far too large (a high guidance?), or the model's files are broken: get them again"
    raise ModelError(
        f"the VAE overflowed while {verb} (dtype {pipe.vae.dtype}), which would give black pictures; {mend}"
    )
