"""Every way to a style that the course compares: what is trained, and where sampling starts.

A *training* is a call of `finetune`; a *method* is a training (or none), a start and a way to word the prompt.
All trainings see the same images for the same number of steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..core.latents import white_noise
from ..core.pipeline import latent_shape, pipeline_fingerprint, separate
from ..core.sampling import generate
from ..errors import TrainingError
from ..files import digest_of
from .examples import TrainingSet
from .finetune import finetune

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from .finetune import Record

TOKEN = "sks"  # DreamBooth's rare token: no word of the captions


@dataclass(frozen=True)
class Training:
    """How a U-Net is tuned.

    Attributes:
        noise: "white", "offset" or "style".
        rates: learning rates to try; the first of them is used until one has been chosen.
        rank: of a LoRA, or None.
        template: what becomes of a caption.
        preserve: number of the base model's own pictures to be preserved (DreamBooth), or 0.
    """

    noise: str
    rates: tuple
    rank: int | None = None
    template: str = "{}"
    preserve: int = 0


@dataclass(frozen=True)
class Method:
    """How a style is reached.

    Attributes:
        label: its name in tables and plots.
        training: key of TRAININGS, or None for the base model.
        start: "white", "paper", "matched" or "leak".
        template: what becomes of a prompt; `{word}` is the medium's word that comes nearest to the style.
    """

    label: str
    training: str | None = None
    start: str = "white"
    template: str = "{}"


FULL, LORA = (1e-4, 3e-4, 1e-3), (1e-3, 3e-3, 1e-2)
DREAMBOOTH = TOKEN + " style {}"  # in front: a causal text encoder then lets it colour every word

TRAININGS = {
    "plain": Training("white", FULL),
    "offset": Training("offset", FULL),
    "dreambooth": Training("white", FULL, template=DREAMBOOTH, preserve=100),
    "lora": Training("white", LORA, rank=8),
    "style": Training("style", FULL),
    "style-lora": Training("style", LORA, rank=8),
}

METHODS = {
    "base": Method("base model"),
    "prompt": Method("prompt engineering", template="a {word} of {}"),
    "leak": Method("base, signal leak", start="leak"),
    "plain": Method("plain fine-tuning", "plain"),
    "plain-leak": Method("plain fine-tuning, signal leak", "plain", "leak"),
    "offset": Method("offset noise", "offset"),
    "dreambooth": Method("DreamBooth", "dreambooth", template=DREAMBOOTH),
    "dreambooth-leak": Method("DreamBooth, signal leak", "dreambooth", "leak", template=DREAMBOOTH),
    "lora": Method("LoRA", "lora"),
    "style": Method("Diffusion in Style", "style", "paper"),
    "style-matched": Method("Diffusion in Style, matched start", "style", "matched"),
    "style-lora": Method("Diffusion in Style as LoRA", "style-lora", "paper"),
    "style-lora-matched": Method("Diffusion in Style as LoRA, matched start", "style-lora", "matched"),
}


def train(
    pipe: StableDiffusionPipeline, examples: TrainingSet, name: str, *, out: str | os.PathLike,
    rate: float | None = None, **options,
) -> Iterator[Record]:
    """Tune a copy of the pipeline's U-Net as `TRAININGS[name]` says; a generator of training.Record.

    Args:
        pipe: the base model, which is left as it is.
        examples: TrainingSet of the style.
        name: key of TRAININGS.
        out: folder of the result; `load_pipeline(out)` opens it.
        rate: learning rate; by default the first of the training's.
        options: further settings, such as `max_train_steps`.

    Raises:
        TrainingError: no such training.
    """
    if name not in TRAININGS:
        raise TrainingError(f"there is no training {name!r}; choose one of {', '.join(TRAININGS)}")
    way = TRAININGS[name]
    noise = examples.prior(pipe) if way.noise == "style" else way.noise
    told = [way.template.format(caption) for caption in examples.captions]
    taught = TrainingSet.from_latents(
        pipe, examples.latents, told, mirrored=examples.mirrored, files=examples.files, source=examples.source
    )
    kept = preserved(pipe, examples.captions, way.preserve) if way.preserve else None
    return finetune(
        separate(pipe), taught, noise=noise, preserve=kept, out=out, learning_rate=rate or way.rates[0],
        rank=way.rank, **options,
    )


def preserved(pipe: StableDiffusionPipeline, captions: list[str], count: int, *, guidance: float = 3.0) -> TrainingSet:
    """The base model's own pictures of the captions, for DreamBooth's prior preservation: picture i from seed i."""
    told = [captions[i % len(captions)] for i in range(count)]
    latents = white_noise(range(count), latent_shape(pipe))
    made = [s for batch in generate(pipe, told, [0], latents=latents, guidance=guidance, batch_size=16) for s in batch]
    source = digest_of("preserved", pipeline_fingerprint(pipe), told, guidance)
    return TrainingSet.from_latents(pipe, torch.stack([s.latent for s in made]), told, source=source)
