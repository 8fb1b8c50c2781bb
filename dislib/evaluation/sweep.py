"""Guidance sweeps: what a model makes at every guidance weight, kept as features, resumable to the batch.

    prompts --(sweep)--> pictures --(judge)--> OUT/features/w3/00007.safetensors --(read_sweep)--> {3.0: Point}

Pictures are looked at once and forgotten; `evaluation.measure` turns the points into numbers. The protocol is the
paper's: 12 weights, 200 prompts x 4 pictures, 800 different initial latents, and the same 800 at every weight and for
every method (seed of picture i = base seed + i), so that curves differ by the method and by nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..core.latents import check_seeds
from ..core.pipeline import model_id, pipeline_fingerprint
from ..core.sampling import check_generation, check_guidance
from ..errors import DislibError, DislibWarning, PromptError, shorten
from ..files import sha256
from .judge import look, looked_at_by, open_picture
from .sweep_folder import Plan, SweepFolder
from .workers import Progress, default_workers, do_missing, twins

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from ..core.prior import StylePrior
    from .judge import Judge

GUIDANCE = (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20)  # of the paper


@dataclass(frozen=True)
class Point:
    """The features of all pictures at one weight, n rows: `pooled (n, d)` for FID and KID, `projected (n, p)` of
    length 1 for MMD, `clip (n,)` the CLIP scores; `rows (n,)` says which pictures of the plan they are and `prompts
    (n,)` which prompt each shows (the block of the bootstrap)."""

    pooled: np.ndarray
    projected: np.ndarray
    clip: np.ndarray
    rows: np.ndarray
    prompts: np.ndarray
    meta: dict


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is to be made or opened and looked at, found fit: its `plan`, and all the `settings` that numbers depend on.

    `run()`, or a loop over the sweep itself, does what is missing and yields a Progress for each batch.
    """

    store: SweepFolder
    guidance: list
    n: int | None
    make: Callable  # (weight, rows) -> pictures
    see: Callable  # (pictures, prompts) -> arrays of features
    pictures: int = 0
    workers: int = 1

    def __post_init__(self):
        self.plan.batches(self.n), self.plan.shown(self.pictures)  # their checks, before the first batch

    @property
    def plan(self):
        """The `Plan`: which pictures a point consists of."""
        return self.store.plan

    @property
    def settings(self):
        """As JSON values: the model, how it is sampled, who looks, the plan."""
        return self.store.settings

    def rows(self) -> list[int]:
        """The pictures of a point that this sweep makes, in the order of its batches."""
        return [row for batch in self.plan.batches(self.n) for row in self.plan.rows(batch)]

    def run(self) -> Iterator[Progress]:
        """Do what is missing; a generator of Progress."""
        units = [(weight, batch) for batch in self.plan.batches(self.n) for weight in self.guidance]
        return do_missing(self.store, units, self.make, self.see, self.plan.shown(self.pictures), self.workers)

    __iter__ = run


def sweep(
    pipe: StableDiffusionPipeline,
    judge: Judge,
    prompts: list[str],
    *,
    out: str | os.PathLike,
    method: str = "method",
    style: str = "",
    guidance: Iterable[float] = GUIDANCE,
    images_per_prompt: int = 4,
    n: int | None = None,
    prior: StylePrior | None = None,
    start: str | None = None,
    template: str = "{}",
    seed: int = 0,
    steps: int = 12,
    scheduler="dpm",
    batch_size: int = 16,
    features=None,
    pictures: int = 8,
    workers: int | None = None,
) -> Sweep:
    """Make and look at the pictures of every weight; a `Sweep`, which yields a `Progress` for each batch.

    `for progress in sweep(...): ...` What a killed sweep has finished is kept, and the same call goes on from there with
    the same numbers. Launched by `torchrun` or `accelerate`, the processes share the batches among them.

    Picture i of a point shows prompt i // images_per_prompt from the initial latent of seed `seed` + i. Batches are
    made in an order that spreads them over the list of prompts, and each at all weights in turn, so that an unfinished
    sweep is a whole curve of fewer pictures.

    Args:
        pipe: a StableDiffusionPipeline.
        judge: see `load_judge`; for real runs `load_judge("openai/clip-vit-large-patch14")`.
        prompts: list of strings. The CLIP score is taken with these very words.
        out: folder of the features and of `settings.json`; of this model and these settings only.
        method, style: names for the records and tables; nothing depends on them.
        guidance: the weights; more can be added to a finished sweep. At 1 the U-Net is called once a step, not twice.
        images_per_prompt: different pictures of a prompt.
        n: pictures a point, if fewer than all; rounded up to whole batches. A larger n goes on from a smaller one.
        prior: a StylePrior to start from; by default the one the model was fine-tuned with, if it was.
        start: "white", or "paper", "matched", "leak" (see `StylePrior.start`); by default "paper" with a prior and
            "white" without. The white draws are the same for all of them.
        template: what the model is told, such as "a pencil drawing of {}" for prompt engineering.
        seed: base seed.
        steps, scheduler: as in `generate`.
        batch_size: pictures made at once. The last bits of a picture depend on it, so it is one of the settings.
        features: what FID and KID look at if not the judge, such as `Fidelity("inception-v3-compat")`: called with a
            list of pictures, it returns (b, d); its `name` is noted.
        pictures: of how many prompts, spread over the list, one picture is kept as PNG in `OUT/pictures/w3/`.
        workers: batches made at the same time, each on a core of its own; by default `torch.get_num_threads()` (at
            most 4) for small pictures on a CPU, else one. Two workers on two cores are faster than one that
            uses both, since large batches leave no time for cores to wait for each other.

    Returns:
        Sweep.

    Raises:
        DislibError: at the call, before anything is computed: bad settings, or a prior of another model.
        OutputError: `out` holds a sweep of other settings (they are named), or cannot be written to.
    """
    plan = Plan(prompts, images_per_prompt, seed, batch_size)
    check_seeds([seed + len(plan) - 1])
    _tell_rounding(plan, n)
    told = [fill(template, prompt) for prompt in plan.texts()]
    checked = check_generation(
        pipe, told, [seed], prior=prior, start=start, steps=steps, scheduler=scheduler, batch_size=batch_size
    )
    identity = checked.prior.identity() if checked.prior else None
    made_with = {"start": checked.start, "prior": identity, "template": template}
    made_with |= {"steps": steps, "scheduler": scheduler}
    settings = {**_of_pipeline(pipe), **made_with, **looked_at_by(judge, features), **plan.settings()}
    twin = twins(pipe)

    def make(weight, rows):
        at_weight = replace(checked, pipe=twin(), guidance=weight)
        return [sample.image for sample in at_weight.make([(i, told[i], seed + i) for i in rows])]

    store = SweepFolder(out, settings, plan, labels={"method": method, "style": style})
    see = functools.partial(look, judge=judge, features=features)
    workers = default_workers(pipe) if workers is None else workers
    return Sweep(store, check_weights(guidance), n, make, see, pictures, workers)


def sweep_pictures(
    files: list, judge: Judge, prompts: list[str], *, out: str | os.PathLike, method: str = "method", style: str = "",
    guidance: float = 1.0, batch_size: int = 64, features=None,
) -> Sweep:
    """Look at pictures made elsewhere, as `sweep` does at its own; a `Sweep`.

    Args:
        files: image files in step with `prompts`: all pictures of the first prompt, then those of the second...
        guidance: the one weight they were made with (a name for the point).

    Raises:
        DislibError: the number of files is not a multiple of that of the prompts.
    """
    prompts, files = list(prompts), list(files)
    if not prompts or not files or len(files) % len(prompts):
        raise DislibError(
            f"{len(files)} images but {len(prompts)} prompts: pass as many images for every prompt, in step (sorted by"
            " name, all of the first prompt, then all of the second)"
        )
    plan = Plan(prompts, len(files) // len(prompts), 0, batch_size)
    digest = hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
    settings = {"images_sha256": digest, **looked_at_by(judge, features), **plan.settings()}
    store = SweepFolder(out, settings, plan, labels={"method": method, "style": style})
    make = lambda _, rows: [open_picture(files[i]) for i in rows]
    return Sweep(store, check_weights([guidance]), None, make, functools.partial(look, judge=judge, features=features))


def read_sweep(
    folder: str | os.PathLike, *, guidance: Iterable[float] | None = None, n: int | None = None,
) -> dict[float, Point]:
    """The points of a sweep: dict of weight to `Point`, weights in order, all of the same pictures.

    Args:
        folder: the `out` of `sweep`.
        guidance: which weights; by default all that are there.
        n: pictures a point; by default all that are there at every weight, so that an unfinished sweep can be read.

    Raises:
        DislibError: no sweep there, nothing finished, or not `n` pictures at every weight.
    """
    store = SweepFolder.open(folder)
    weights = store.weights() if guidance is None else check_weights(guidance)
    wanted = store.plan.batches(n)
    batches = sorted(b for b in wanted if all(store.path(w, b).is_file() for w in weights))
    if not weights or not batches or (n and len(batches) < len(wanted)):
        have = sum(len(store.plan.rows(b)) for b in batches) if weights else 0
        raise DislibError(
            f"{folder} holds {have} pictures at {'each of ' if weights else ''}the weights {_list(weights)}"
            f"{f', not {n}' if n else ''}; run the same sweep to go on with it"
        )
    return {w: _point(store, w, batches) for w in weights}


def _point(store, weight, batches):
    parts = [store.read(weight, batch) for batch in batches]
    rows = np.concatenate([np.array(store.plan.rows(batch)) for batch in batches])
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in ("pooled", "projected", "clip")}
    return Point(**arrays, rows=rows, prompts=rows // store.plan.images_per_prompt, meta=store.settings)


def check_weights(guidance):
    """Guidance weights as sorted floats, each once.

    Raises:
        DislibError: none, one below 1, or one named twice.
    """
    weights = sorted(check_guidance(weight) for weight in guidance)
    if not weights:
        raise DislibError("no guidance weights; give at least one, such as [1, 3, 7.5]")
    twice = [w for w, after in itertools.pairwise(weights) if f"{w:g}" == f"{after:g}"]
    if twice:
        raise DislibError(f"the guidance weight {twice[0]:g} occurs twice; name each once")
    return weights


def fill(template, prompt):
    """What the model is told: `template` with `prompt` for its {}.

    Raises:
        PromptError: the template does not hold {} just once.
    """
    if template.count("{}") != 1:
        raise PromptError(f'the template must hold {{}} once, such as "a sketch of {{}}", got {shorten(template)!r}')
    return template.replace("{}", prompt)


# --- settings ---------------------------------------------------------------------------------------------------


def _of_pipeline(pipe):
    return {
        "model": model_id(pipe),
        "fingerprint": pipeline_fingerprint(pipe),
        "device": pipe.device.type,
        "dtype": str(pipe.unet.dtype).removeprefix("torch."),
    }


def _tell_rounding(plan, n):
    made = sum(len(plan.rows(batch)) for batch in plan.batches(n))
    if n and made != n:
        warnings.warn(
            f"n = {n} becomes {made}, whole batches of {plan.batch_size}; for {n} pictures choose a batch size that"
            f" divides {n}, such as {math.gcd(n, plan.batch_size)}",
            DislibWarning,
            stacklevel=3,
        )


def _list(weights):
    return ", ".join(f"{w:g}" for w in weights) or "(none)"
