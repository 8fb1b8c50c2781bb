"""Guidance sweeps: what a model makes at every guidance weight, kept as features, resumable to the batch.

    prompts --(sweep)--> pictures --(judge)--> OUT/features/w3/00007.safetensors --(read_sweep)--> {3.0: Point}

Pictures are looked at once and forgotten; `evaluation.measure` turns the points into numbers. The protocol is the
paper's: 12 weights, 200 prompts x 4 pictures, 800 different initial latents, and the same 800 at every weight and for
every method (seed of picture i = base seed + i), so that curves differ by the method and by nothing else.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..core.latents import check_seeds
from ..core.pipeline import latent_shape, model_id, pipeline_fingerprint
from ..core.sampling import check_generation, check_guidance
from ..errors import DislibError, PromptError, shorten
from ..files import sha256
from .judge import look, looked_at_by, open_picture
from .sweep_folder import Plan, SweepFolder

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from ..core.prior import StylePrior
    from .judge import Judge

GUIDANCE = (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20)  # of the paper


@dataclass(frozen=True)
class Progress:
    """One batch is done and safe on the disk.

    `done` of `total` pictures in this process, `seconds` since the record before, `left` still to go (a guess).
    """

    method: str
    style: str
    guidance: float
    batch: int
    done: int
    total: int
    seconds: float
    left: float


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
        return _work(self.store, units, self.make, self.see, self.plan.shown(self.pictures), self.workers)

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
    told = [fill(template, prompt) for prompt in plan.texts()]
    checked = check_generation(
        pipe, told, [seed], prior=prior, start=start, steps=steps, scheduler=scheduler, batch_size=batch_size
    )
    identity = checked.prior.identity() if checked.prior else None
    made_with = {"start": checked.start, "prior": identity, "template": template}
    made_with |= {"steps": steps, "scheduler": scheduler}
    settings = {**_of_pipeline(pipe), **made_with, **looked_at_by(judge, features), **plan.settings()}
    twin = _twins(pipe)

    def make(weight, rows):
        at_weight = replace(checked, pipe=twin(), guidance=weight)
        return [sample.image for sample in at_weight.make([(i, told[i], seed + i) for i in rows])]

    store = SweepFolder(out, settings, plan, labels={"method": method, "style": style})
    see = functools.partial(look, judge=judge, features=features)
    workers = _default_workers(pipe) if workers is None else workers
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


# --- the work ---------------------------------------------------------------------------------------------------


def _work(store, units, make, see, shown, workers):
    """The generator behind a sweep: share out what is missing of `units`, (weight, batch) each, and do it."""
    state = _processes()
    missing = [unit for unit in units if not store.path(*unit).is_file()]
    state.wait_for_everyone()  # before another process adds to what is there
    if state.is_main_process:
        store.begin()
    state.wait_for_everyone()
    there = _size(store, units) - _size(store, missing)
    with state.split_between_processes(missing) as mine:
        do = functools.partial(_do, store, make, see, shown)
        yield from _progress(store, mine, there, _in_parallel(do, mine, workers))
    state.wait_for_everyone()


def _processes():
    """What accelerate knows of the processes of this run: one, unless it was launched as several."""
    import torch
    from accelerate import PartialState

    # Several processes without a GPU must be told so; alone, the choice stays open for whatever comes after.
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=several and not torch.cuda.is_available())


def _do(store, make, see, shown, unit):
    """Make a batch, look at it and keep what was seen."""
    weight, batch = unit
    rows = store.plan.rows(batch)
    images = make(weight, rows)
    try:
        arrays = see(images, [store.plan.prompts[i // store.plan.images_per_prompt] for i in rows])
    except DislibError as error:
        raise type(error)(f"w = {weight:g}, pictures {rows[0]} to {rows[-1]}: {error}") from error
    for image, i in zip(images, rows):
        if i in shown:
            store.show(weight, i, image)
    store.write(weight, batch, arrays)
    return unit


def _progress(store, units, there, finished):
    """A record for each finished unit."""
    total, clock = there + _size(store, units), _Clock(store, units)
    for weight, batch in finished:
        there += len(store.plan.rows(batch))
        seconds, left = clock.tick((weight, batch))
        yield Progress(
            **store.labels, guidance=weight, batch=batch, done=there, total=total, seconds=seconds, left=left
        )


def _in_parallel(do, units, workers):
    """`do(unit)` of every unit, in order; several at a time in threads, each on one core."""
    import torch

    if workers == 1:
        yield from map(do, units)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for future in [pool.submit(do, unit) for unit in units]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # part of that setting is shared by all threads


def _default_workers(pipe):
    """As many as PyTorch may use cores, for small pictures on a CPU; launched as several, processes share them."""
    import torch

    if pipe.device.type != "cpu" or latent_shape(pipe)[-1] > 16:
        return 1
    return min(max(torch.get_num_threads() // int(os.environ.get("WORLD_SIZE", "1")), 1), 4)


# A fast tokenizer refuses two threads at a time.
_ALONE = threading.RLock()


def _twins(pipe):
    """A function that returns copies of the pipeline, weights shared, for threads to use at the same time: a call
    changes the pipeline's scheduler. All of them know the prompts that one has encoded."""
    known = {}

    def encode(prompt, *rest, **embedded):
        if embedded:  # the pipeline itself, which hands over what is encoded already
            return pipe.encode_prompt(prompt, *rest, **embedded)
        with _ALONE:
            if prompt not in known:
                known[prompt] = pipe.encode_prompt(prompt, *rest)
        return known[prompt]

    def twin():
        other = copy.copy(pipe)
        other.encode_prompt = encode
        return other

    return twin


class _Clock:
    """Tells how long a batch took and how long the rest will: at w = 1 a picture needs half of the U-Net calls."""

    def __init__(self, store, units):
        self.cost = {unit: len(store.plan.rows(unit[1])) * (1 if unit[0] == 1 else 2) for unit in units}
        self.rest, self.paid, self.begun = sum(self.cost.values()), 0, time.perf_counter()
        self.last = self.begun

    def tick(self, unit):
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        self.paid, self.rest = self.paid + self.cost[unit], self.rest - self.cost[unit]
        return seconds, self.rest * (now - self.begun) / self.paid


def _size(store, units):
    return sum(len(store.plan.rows(batch)) for _, batch in units)


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


def _list(weights):
    return ", ".join(f"{w:g}" for w in weights) or "(none)"
