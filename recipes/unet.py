"""Recipe of the U-Net and its text encoder: the base model of the course, trained on latents of the natural painter.

Epsilon prediction on the scaled-linear schedule of Stable Diffusion, with ``beta_end`` calibrated so that the mean of a
picture is as readable in z_T as it is on the real model (see ``dislib.core.signal.readability``). The text encoder trains
along and is frozen afterwards. One caption in ten is left empty, for classifier-free guidance.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dislib.core.signal import calibrate_beta_end
from dislib.world import Scene, caption, vocabulary

from . import loop
from .pictures import cached, picture, scene
from .tokenizer import WordTable, build_tokenizer, text_settings
from .vae import sheet, to_tensor

WIDTH = 128  # of the text encoder
TARGET_READABILITY = 1.65  # rms over channels, Stable Diffusion on natural pictures
PROMPTS = (
    "a red house in the meadow at day",
    "a blue car on the street at night",
    "a yellow boat on the sea at sunset",
    "a purple mushroom in the snow",
    "a white cat in the desert in the fog",
    "an orange balloon",
    "two green trees in the snow at night",
    "a pencil drawing of a pink flower",
)


def build_text_encoder(tokenizer) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**text_settings(tokenizer, width=WIDTH, layers=2, heads=4)))


CHANNELS = (64, 96, 96)


def build_unet(channels: tuple[int, ...] = CHANNELS) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def build_scheduler(beta_end: float) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=beta_end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@torch.no_grad()
def latents(vae: AutoencoderKL, pictures: np.ndarray, path: Path) -> torch.Tensor:
    """Unscaled posterior modes of all pictures and their mirror images, (2, n, 4, 16, 16) float16, kept in a file."""
    if path.exists():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    where, out = next(vae.parameters()).device, []
    for flip in (False, True):
        for start in range(0, len(pictures), 64):
            x = to_tensor(pictures[start : start + 64, :, ::-1] if flip else pictures[start : start + 64]).to(where)
            with loop.swift(where):
                out.append(vae.encode(x).latent_dist.mode().half().cpu())
            if start % 6400 == 0:
                print(f"encoded {start} of {len(pictures)} pictures{' (mirrored)' * flip}", flush=True)
    stacked = torch.cat(out).unflatten(0, (2, len(pictures)))
    np.save(path.with_suffix(".part.npy"), stacked.numpy())
    path.with_suffix(".part.npy").replace(path)
    return stacked


def mirrored(s: Scene) -> Scene:
    """The scene of the mirror image: left and right change places."""
    return replace(s, relation={"left": "right", "right": "left"}.get(s.relation)) if s.relation else s


def fingerprint(vae: AutoencoderKL) -> str:
    """Eight characters that change with the encoder, so that latents of another one are never taken for its own."""
    digest = hashlib.sha256()
    for value in vae.encoder.state_dict().values():
        digest.update(value.half().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


class Model(torch.nn.Module):
    """U-Net and text encoder, so that one optimiser and one average hold both."""

    def __init__(self, tokenizer, channels: tuple[int, ...] = CHANNELS):
        super().__init__()
        self.unet, self.text = build_unet(channels), build_text_encoder(tokenizer)


def loss(model: Model, scheduler: DDIMScheduler, z: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Epsilon loss with Min-SNR weights (Hang et al. 2023, gamma = 5)."""
    t = torch.randint(0, 1000, (len(z),), device=z.device)
    eps = torch.randn_like(z)
    with loop.swift(z.device):
        guess = model.unet(scheduler.add_noise(z, eps, t), t, model.text(tokens)[0]).sample
    abar = scheduler.alphas_cumprod.to(z.device)[t]
    snr = abar / (1 - abar)
    return ((guess.float() - eps).pow(2).mean(dim=(1, 2, 3)) * snr.clamp(max=5) / snr.clamp(min=1e-3)).mean()


def assemble(vae: AutoencoderKL, model: Model, tokenizer, scheduler: DDIMScheduler) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def samples(pipe: StableDiffusionPipeline, seeds: int = 6) -> list[torch.Tensor]:
    """A row of pictures for each seed, the same prompts in every row."""
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    rows = []
    for seed in range(seeds):
        start = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed))
        made = pipe(
            list(PROMPTS),
            latents=start.expand(len(PROMPTS), -1, -1, -1).to(pipe.device),
            num_inference_steps=12,
            guidance_scale=4.0,
            output_type="pt",
        ).images
        rows.append(made.cpu() * 2 - 1)
    return rows


@torch.no_grad()
def inherit(new: CLIPTextModel, old: CLIPTextModel, tokenizer, known) -> None:
    """Take over a text encoder of another vocabulary: tokens keep their embeddings, new words begin at random."""
    state, ids = old.state_dict(), known.get_vocab()
    key = next(k for k in state if k.endswith("token_embedding.weight"))
    rows = new.state_dict()[key].clone()
    for token, i in tokenizer.get_vocab().items():
        if token in ids:
            rows[i] = state[key][ids[token]].to(rows)
    new.load_state_dict(state | {key: rows})


def run(
    *,
    steps: int = 9000,
    peak: float = 1e-3,
    scenes: int = 20000,
    batch: int = 64,
    warm: Path | None = None,
    folder: Path,
) -> Iterator[dict]:
    """Train on cached latents; yields records and leaves a loadable pipeline and a sample sheet. Resumes by itself.

    With ``warm`` (the data folder) it goes on from the shipped weights, and keeps their schedule and scaling factor
    unless there is an autoencoder trained since.
    """
    where, cache = loop.device(), folder.parent / "cache"
    shipped, trained = warm / "tiny-sd" if warm else None, folder.parent / "vae" / "vae"
    kept = warm and not trained.exists()
    trained = shipped / "vae" if kept else trained
    vae = AutoencoderKL.from_pretrained(trained, use_safetensors=True).to(where).eval()
    z = latents(vae, cached(picture, scenes, cache), cache / f"latents-{scenes}-{fingerprint(vae)}.npy")
    if kept:
        scale, scheduler = vae.config.scaling_factor, DDIMScheduler.from_pretrained(shipped / "scheduler")
    else:
        scale = 1 / float(z[0, :4000].float().std())
        vae.register_to_config(scaling_factor=scale)
        natural = z[0, [i for i in range(min(scenes, 6000)) if scene(i).medium is None]].float()
        scheduler = build_scheduler(round(calibrate_beta_end(natural * scale, target=TARGET_READABILITY), 6))
    print(f"scaling_factor {scale:.4f}  beta_end {scheduler.config.beta_end}", flush=True)
    words = vocabulary()
    tokenizer = build_tokenizer(words)
    table, described = WordTable(tokenizer, words), [scene(i) for i in range(scenes)]
    torch.manual_seed(0)
    model = Model(tokenizer).to(where)
    if warm:
        unet = UNet2DConditionModel.from_pretrained(shipped / "unet", use_safetensors=True)
        text = CLIPTextModel.from_pretrained(shipped / "text_encoder", dtype=torch.float32, use_safetensors=True)
        model.unet = unet.to(where).train()
        inherit(model.text, text, tokenizer, CLIPTokenizer.from_pretrained(shipped / "tokenizer"))

    def step_loss(step: int) -> torch.Tensor:
        rng = np.random.default_rng([4, step])
        torch.manual_seed(step)
        flips, picks = rng.integers(2, size=batch), rng.integers(scenes, size=batch)
        told = [
            caption(mirrored(described[i]) if f else described[i], rng) if rng.random() > 0.1 else ""
            for f, i in zip(flips, picks)
        ]
        return loss(model, scheduler, z[flips, picks].float().to(where) * scale, table(told).to(where))

    for record in loop.train(model, step_loss, steps=steps, peak=peak, folder=folder, decay=0.9995, every=500):
        average = Model(tokenizer).to(where).eval()
        record.pop("ema").copy_to(average)
        pipe = assemble(vae, average, tokenizer, scheduler)
        pipe.save_pretrained(folder / "pipeline", safe_serialization=True)
        sheet(samples(pipe), folder / "sheet.png")
        yield record
