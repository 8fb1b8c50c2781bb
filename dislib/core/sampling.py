"""Pictures from a pipeline: every seed for every prompt, each depending on its own seed and prompt alone."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import math
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ..errors import (
    DislibWarning,
    PriorError,
    PromptError,
    SamplerError,
    check_text,
    check_whole,
    check_words,
    shorten,
)
from ..progress import watch
from .latents import check_finite, check_seeds, decode, white_noise
from .pipeline import latent_shape
from .prior import STARTS, StylePrior
from .schedulers import latent_scale, make_scheduler

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One picture: `image` (PIL RGB) and `latent` (float32 (4, h, w) on the CPU) of `prompt` and `seed`.

    `index` counts from 0: prompts in order, seeds within a prompt.
    """

    index: int
    prompt: str
    seed: int
    image: Image.Image
    latent: torch.Tensor


def generate(
    pipe: StableDiffusionPipeline, prompts: list[str], seeds: Iterable[int], *, prior: StylePrior | None = None,
    start: str | None = None, latents: torch.Tensor | Callable | None = None, guidance: float = 3.0, steps: int = 12,
    scheduler="dpm", batch_size: int = 8, negative: str | None = None, eta: float = 0.0, first: int = 0, **old,
) -> Iterator[list[Sample]]:
    """Make every seed's picture for every prompt; a generator of batches. `paint` gives the pictures alone.

    `for batch in generate(...): for sample in batch: ...` A picture depends on its own seed and prompt only, not on
    the batch it is made in (up to rounding: at most one grey level). Each distinct prompt is encoded once.

    Args:
        pipe: a StableDiffusionPipeline; it is left as it was.
        prompts: list of strings.
        seeds: whole numbers from 0; all are used for each prompt.
        prior: the StylePrior of the style to start from; by default the one the model was fine-tuned with
            (`pipe.style_prior`), if it was.
        start: "white", "paper", "matched" or "leak", see `StylePrior.start`; by default "paper" with a prior, and
            "white" without.
        latents: z_T itself in place of both: a tensor, one latent a seed (used for every prompt) or one an image,
            (n, 4, h, w), or a function of the list of seeds returning such a tensor. Of unit scale, as diffusers'
            `latents=`; no scaling by `init_noise_sigma` is needed.
        guidance: weight w of classifier-free guidance, eps = eps_0 + w (eps_text - eps_0), at least 1. With 1 the
            U-Net is called once a step instead of twice.
        steps: inference steps.
        scheduler: a name in `SCHEDULERS`, a deterministic diffusers scheduler, or None for the pipeline's own.
        batch_size: pictures made at once.
        negative: negative prompt, in place of the empty one.
        eta: only 0. It is here to be refused with the reason.
        first: index of the first picture to make; earlier ones are left out (to go on after an interruption).

    Yields:
        lists of at most `batch_size` Sample.

    Raises:
        PromptError, SamplerError, PriorError, DislibError: at the call, before anything is computed.
    """
    return check_generation(
        pipe, prompts, seeds, prior=prior, start=start, latents=latents, guidance=guidance, steps=steps,
        scheduler=scheduler, batch_size=batch_size, negative=negative, eta=eta, **old,
    ).batches(first)


def paint(pipe: StableDiffusionPipeline, prompts: list[str], seeds: Iterable[int], **how) -> list[list[Image.Image]]:
    """Every prompt from every seed: rows of prompts, columns of seeds, PIL pictures; `how` as for `generate`."""
    seeds = list(seeds)
    batches = watch(generate(pipe, prompts, seeds, **how), len(prompts) * len(seeds), unit="pictures")
    images = [sample.image for batch in batches for sample in batch]
    return [images[i : i + len(seeds)] for i in range(0, len(images), len(seeds))]


@dataclasses.dataclass(frozen=True, eq=False)
class Generation:
    """What `generate` was asked for, found fit. `start` says where z_T comes from ("latents" where it was given), with
    `prior` (None from white noise); `z_T` makes it for rows of (index, prompt, seed)."""

    pipe: Any
    prompts: list
    seeds: list
    start: str
    prior: StylePrior | None
    z_T: Callable
    guidance: float
    steps: int
    scheduler: Any
    batch_size: int
    negative: str | None

    def batches(self, first: int = 0) -> Iterator[list[Sample]]:
        """The pictures from number `first` on, batch by batch."""
        plan = [(i, *pair) for i, pair in enumerate(itertools.product(self.prompts, self.seeds))][first:]
        batches = [plan[i : i + self.batch_size] for i in range(0, len(plan), self.batch_size)]
        embed = _embedder(self.pipe)
        return (self.make(rows, embed) for rows in batches)

    def make(self, rows: list[tuple[int, str, int]], embed=None) -> list[Sample]:
        """One batch by the pipeline itself; rows of (index, prompt, seed), not only those of the plan."""
        pipe, embed, scheduler = self.pipe, embed or _embedder(self.pipe), copy.deepcopy(self.scheduler)
        z = self.z_T(rows) * latent_scale(scheduler, self.steps)
        embeds = torch.cat([embed(prompt) for _, prompt, _ in rows])
        empty = torch.cat([embed(self.negative or "")] * len(rows)) if self.guidance > 1 else None
        height, width = (side * pipe.vae_scale_factor for side in z.shape[-2:])
        with scheduler_of(pipe, scheduler):
            z = pipe(
                prompt_embeds=embeds, negative_prompt_embeds=empty, latents=z.to(embeds.dtype),
                guidance_scale=self.guidance, num_inference_steps=self.steps, output_type="latent",
                height=height, width=width,
            ).images
        if not torch.isfinite(z).all():
            raise SamplerError(
                f"the sampler gave NaN or infinite latents (guidance {self.guidance:g}, {self.steps} steps,"
                f" {embeds.dtype}); lower the guidance, load the model with dtype=torch.float32, or get its files again"
            )
        images = decode(pipe, z, batch_size=min(len(rows), 4))
        return [Sample(*row, image, latent) for row, image, latent in zip(rows, images, z.float().cpu())]


def check_generation(
    pipe: StableDiffusionPipeline, prompts: list[str], seeds: Iterable[int], *, prior: StylePrior | None = None,
    start: str | None = None, latents: torch.Tensor | Callable | None = None, guidance: float = 3.0, steps: int = 12,
    scheduler="dpm", batch_size: int = 8, negative: str | None = None, eta: float = 0.0, **old,
) -> Generation:
    """Find out before long work whether `generate` can do what is asked, and say what will be lost; a Generation.

    Args, Raises:
        as `generate`.
    """
    check_words(old, kind='start=: one of "white", "paper", "matched", "leak"')
    prompts, seeds = _check_prompts(prompts), check_seeds(seeds)
    steps = check_whole(steps, "steps", most=pipe.scheduler.config.num_train_timesteps, error=SamplerError)
    batch_size = check_whole(batch_size, "batch_size", error=SamplerError)
    guidance, scheduler = check_guidance(guidance), make_scheduler(pipe, scheduler, eta=eta)
    if latents is None:
        prior, start = resolve_start(pipe, prior, start)
        z_T = _drawn(prior, start, scheduler, steps, latent_shape(pipe))
    else:
        z_T = _given(pipe, prior, start, latents, seeds, len(prompts))
        prior, start = None, "latents"
    _say_what_is_lost(pipe, prompts, negative, guidance)
    return Generation(pipe, prompts, seeds, start, prior, z_T, guidance, steps, scheduler, batch_size, negative)


def resolve_start(
    pipe: StableDiffusionPipeline, prior: StylePrior | None = None, start: str | None = None,
) -> tuple[StylePrior | None, str]:
    """What `prior=` and `start=` mean for a pipeline: (a StylePrior that fits it, or None from white noise; the start).

    Raises:
        SamplerError: no such start.
        PriorError: a start that needs a style and has none, or a prior of another model.
    """
    if start is not None and not isinstance(start, str):
        new = "prior=" if isinstance(start, StylePrior) else "latents="
        raise SamplerError(f"a {type(start).__name__} is passed as {new} now; start= is one of {', '.join(STARTS)}")
    if prior is not None and not isinstance(prior, StylePrior):
        raise PriorError(f"prior is a {type(prior).__name__}; give a StylePrior, such as StylePrior.load(FILE)")
    prior = prior or getattr(pipe, "style_prior", None)
    start = start or ("paper" if prior else "white")
    if start not in STARTS:
        raise SamplerError(f"there is no start {start!r}; choose one of {', '.join(STARTS)}")
    if start == "white":
        return None, start
    if prior is None:
        raise PriorError(f"the start {start!r} needs a style; pass --prior FILE (in Python, prior=StylePrior.load(FILE))")
    prior.check(pipe)
    return prior, start


def truncated_part(pipe: StableDiffusionPipeline, prompt: str) -> str:
    """The end of a prompt that the text encoder does not read; "" if it reads all of it."""
    limit = pipe.tokenizer.model_max_length - 2  # begin and end of text take a place each
    ids = pipe.tokenizer(prompt, add_special_tokens=False).input_ids
    return pipe.tokenizer.decode(ids[limit:]).strip()


def tell_truncated(reader, texts: list[str], kind: str, names: Iterable[str] = ()) -> None:
    """Warn once of all texts that are longer than what reads them, a pipeline or the processor of a judge.

    Args:
        reader: what has the `tokenizer`.
        texts: of which each is told once.
        kind: what they are, such as "captions".
        names: as many names to tell them by; by default their own beginnings.
    """
    names = list(names) if names else [shorten(text, 40) for text in texts]
    lost = {name: part for name, text in zip(names, texts) if (part := truncated_part(reader, text))}
    told = [f"{name} without {shorten(part, 40)!r}" for name, part in lost.items()]
    if told:
        more = f"; and {len(told) - 10} more" if len(told) > 10 else ""
        warnings.warn(
            f"{len(told)} {kind} are longer than the {reader.tokenizer.model_max_length - 2} tokens that are read:"
            f" {'; '.join(told[:10])}{more}", DislibWarning, stacklevel=3,
        )


def check_guidance(guidance: float) -> float:
    """The guidance weight as a float.

    Raises:
        SamplerError: not a number of at least 1.
    """
    try:
        value = float(guidance)
    except (TypeError, ValueError):
        value = math.nan
    if not 1 <= value < math.inf:
        raise SamplerError(f"guidance must be a number of at least 1 (1 means no guidance), got {guidance}")
    return value


# JupyterLab runs a widget's callbacks in a thread of their own, beside the cell that runs: one widget at a time.
ALONE = threading.RLock()
_LENT, _LENDING = weakref.WeakKeyDictionary(), threading.Lock()


@contextlib.contextmanager
def scheduler_of(pipe, scheduler):
    """Lend the pipeline a scheduler for one call, so that a caller may use it between batches.

    One caller at a time for each pipeline; copies of it, as a sweep's threads have, do not wait for each other.
    """
    with _LENDING:
        lock = _LENT.setdefault(pipe, threading.RLock())
    with lock:
        before, pipe.scheduler = pipe.scheduler, scheduler
        try:
            yield
        finally:
            pipe.scheduler = before


def _embedder(pipe):
    """A function prompt -> (1, tokens, d) that encodes each distinct prompt once, and on its own: in a batch the
    last digits of an embedding would depend on its neighbours."""
    known, device = {}, pipe.unet.device

    @torch.no_grad()
    def embed(prompt):
        if prompt not in known:
            known[prompt] = pipe.encode_prompt(prompt, device, 1, False)[0]
        return known[prompt]

    return embed


def _drawn(prior, start, scheduler, steps, shape):
    """A function of rows (index, prompt, seed) that draws their z_T, (len(rows), 4, h, w)."""
    if prior is None:
        return lambda rows: white_noise(_seeds(rows), shape)
    return lambda rows: prior.start(_seeds(rows), start, scheduler=scheduler, steps=steps)


def _given(pipe, prior, start, latents, seeds, n_prompts):
    """The same function, of latents that the caller has, or a function that makes them."""
    if prior is not None or start is not None:
        raise SamplerError("latents= is z_T itself; leave out prior= and start=")
    shape = latent_shape(pipe)
    if torch.is_tensor(latents):
        _check_latents(latents, shape, (len(seeds), len(seeds) * n_prompts))
        return lambda rows: latents.float().cpu()[[i % len(latents) for i, _, _ in rows]]
    if callable(latents):
        return lambda rows: _check_latents(latents(_seeds(rows)), shape, (len(rows),)).float().cpu()
    raise SamplerError(f"latents is a {type(latents).__name__}; give a tensor or a function of the seeds")


def _seeds(rows):
    return [seed for _, _, seed in rows]


def _check_latents(latents, shape, counts):
    # The pipeline itself takes any height and width in silence and makes a picture of another size.
    if tuple(latents.shape[1:]) != shape or len(latents) not in counts:
        wanted = " or ".join(str((n, *shape)) for n in dict.fromkeys(counts))
        raise SamplerError(f"the start's latents have the shape {tuple(latents.shape)}; this model needs {wanted}")
    check_finite(latents, "the start's latents")
    return latents


def _check_prompts(prompts):
    if isinstance(prompts, str):
        raise PromptError(f'prompts must be a list; write ["{shorten(prompts)}"]')
    prompts = list(prompts)
    if not prompts:
        raise PromptError("no prompts; give at least one")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise PromptError(f"prompts must be strings, got {shorten(repr(prompt))}")
        check_text(prompt)
    return prompts


def _say_what_is_lost(pipe, prompts, negative, guidance):
    for prompt in dict.fromkeys([*prompts, *([negative] if negative else [])]):
        if lost := truncated_part(pipe, prompt):
            limit = pipe.tokenizer.model_max_length - 2
            warnings.warn(
                f"the prompt {shorten(prompt)!r} is longer than the {limit} tokens the text encoder reads;"
                f" truncated, without {shorten(lost)!r}",
                DislibWarning, stacklevel=4,
            )
    if negative and guidance == 1:
        warnings.warn("a negative prompt has no effect at guidance 1", DislibWarning, stacklevel=4)
