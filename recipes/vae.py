"""Recipe of the autoencoder: a small AutoencoderKL with Stable Diffusion's factor of 8 and four latent channels.

It learns from scenes, doodles in random colours and crops of photographs, so that it can keep what nobody here drew:
an autoencoder that never saw line art turns every sketch blue.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from dislib.world import STYLES, paint

from . import loop
from .pictures import FRESH, HELD_OUT_PHOTOS, TRAINING_PHOTOS, cached, doodle, photographs, picture, scene

CHANNELS = (24, 48, 96, 96)


def build(channels: tuple[int, ...] = CHANNELS) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=128,
    )


def part(folder: Path, name: str) -> Path:
    """Where a part of a model lies: in the folder itself, or in the ``tiny-sd`` of the course's data."""
    return folder / name if (folder / name).is_dir() else folder / "tiny-sd" / name


def to_tensor(pictures: np.ndarray | list) -> torch.Tensor:
    """Pictures (n, h, w, 3) uint8 -> (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def photo_crop(photo: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """A square crop of a photograph at a random place and scale, half of the time with its channels mixed or tinted."""
    span = int(rng.integers(side, min(photo.shape[:2]) + 1))
    y, x = rng.integers(photo.shape[0] - span + 1), rng.integers(photo.shape[1] - span + 1)
    crop = np.asarray(Image.fromarray(photo[y : y + span, x : x + span]).resize((side, side), Image.Resampling.LANCZOS))
    crop = crop[..., rng.permutation(3)] if rng.random() < 0.5 else crop
    tint = rng.uniform(0.5, 1.2, 3) if rng.random() < 0.5 else 1.0
    return np.clip(crop * tint, 0, 255).astype(np.uint8)


def batches(sources: list[np.ndarray], seed: int, count: int = 16, side: int = 64) -> torch.Tensor:
    """One batch of random crops, flipped half of the time: doodles most of all, since lines are hardest."""
    rng = np.random.default_rng([3, seed])
    crops = []
    for kind in rng.choice(3, size=count, p=(0.3, 0.58, 0.12)):
        whole = sources[kind][rng.integers(len(sources[kind]))]
        y, x = rng.integers(128 - side + 1, size=2)
        crop = whole[y : y + side, x : x + side]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return to_tensor(np.stack(crops))


def loss(vae: AutoencoderKL, x: torch.Tensor) -> torch.Tensor:
    """Squared and absolute error, the error of the picture's slopes (for closed outlines), and a light KL term."""
    with loop.swift(x.device):
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
    y, error = y.float(), y.float() - x
    slopes = sum((error.diff(dim=d)).abs().mean() for d in (2, 3))
    kl = 0.5 * (posterior.mean.float() ** 2 + posterior.logvar.float().exp() - 1 - posterior.logvar.float()).mean()
    return 4 * error.pow(2).mean() + 0.2 * error.abs().mean() + 0.2 * slopes + 4e-4 * kl


def checks() -> dict[str, torch.Tensor]:
    """Pictures that training never sees, by kind: fresh scenes, each style, photographs; each (n, 3, 128, 128)."""
    fresh = [scene(i, FRESH) for i in range(24)]
    out = {"natural": np.stack([np.asarray(paint(s)) for s in fresh])}
    out |= {style: np.stack([np.asarray(paint(s, style)) for s in fresh]) for style in STYLES}
    photos = [Image.fromarray(p) for p in photographs(HELD_OUT_PHOTOS)]
    squares = [p.crop(((p.width - min(p.size)) // 2, 0, (p.width + min(p.size)) // 2, min(p.size))) for p in photos]
    out["photographs"] = np.stack([np.asarray(p.resize((128, 128), Image.Resampling.LANCZOS)) for p in squares])
    return {kind: to_tensor(pictures) for kind, pictures in out.items()}


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, x: torch.Tensor) -> torch.Tensor:
    """Posterior mode, decoded, clamped to [-1, 1]."""
    vae = vae.eval()
    where = next(vae.parameters()).device
    return torch.cat(
        [vae.decode(vae.encode(b.to(where)).latent_dist.mode()).sample.clamp(-1, 1).cpu() for b in x.split(8)]
    )


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB, over pixels in [-1, 1], averaged over pictures."""
    return float((10 * torch.log10(4 / (x - y).pow(2).flatten(1).mean(1))).mean())


def sheet(rows: list[torch.Tensor], path: Path) -> None:
    """Save rows of pictures (n, 3, h, w) in [-1, 1] as one PNG, eight to a row."""
    grid = torch.cat([torch.cat([r[i % len(r)] for i in range(8)], dim=2) for r in rows], dim=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((grid + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()).save(path)


def run(
    *,
    steps: int = 5000,
    peak: float = 8e-4,
    scenes: int = 20000,
    doodles: int = 4000,
    warm: Path | None = None,
    whole: bool = False,
    folder: Path,
) -> Iterator[dict]:
    """Train the autoencoder; yields records with the PSNR of every kind in ``checks``. Resumes by itself.

    The last seventh of the steps sees whole pictures, not crops, so that the middle attention meets its real size.
    With ``warm`` (the data folder) it goes on from the shipped weights and trains the decoder alone: the latents, which
    the U-Net and every prior were made for, stay what they are; with ``whole`` it trains all of it.
    """
    torch.manual_seed(0)
    vae, where = build().to(loop.device()), loop.device()
    if warm:
        vae = AutoencoderKL.from_pretrained(part(warm, "vae"), use_safetensors=True).to(where)
        if not whole:
            vae.encoder.requires_grad_(False), vae.quant_conv.requires_grad_(False)
    photos, rng = photographs(TRAINING_PHOTOS), np.random.default_rng(5)
    crops = np.stack([photo_crop(photos[i % len(photos)], rng, 128) for i in range(2000)])
    sources = [*(cached(kind, n, folder.parent / "cache") for kind, n in ((picture, scenes), (doodle, doodles))), crops]
    held_out = checks()

    def step_loss(step: int) -> torch.Tensor:
        vae.train()
        torch.manual_seed(step)  # of the posterior's draws: a resumed run is the undisturbed one
        size = {} if step < steps * 6 // 7 else {"count": 4, "side": 128}
        return loss(vae, batches(sources, step, **size).to(where))

    for record in loop.train(vae, step_loss, steps=steps, peak=peak, folder=folder, every=500):
        average = copy.deepcopy(vae)
        record.pop("ema").copy_to(average)
        made = {kind: reconstruct(average, x) for kind, x in held_out.items()}
        sheet([row for kind, x in held_out.items() for row in (x, made[kind])], folder / "sheet.png")
        average.save_pretrained(folder / "vae")
        yield record | {kind: round(psnr(x, made[kind]), 2) for kind, x in held_out.items()}
