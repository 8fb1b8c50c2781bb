"""Rates x iterations x styles, white noise against style noise: `python -m recipes grid`.

Each training is made once a rate and style, and looked at on the way, after 10, 30, 100, 300 and 1,000 iterations, from
each of its starts: 104 pictures of 104 prompts, the same prompts and seeds in every cell. Colours and drawing are
measured apart (`dislib.evaluation.apart`), and every number keeps its bootstrap draws, so that cells are compared in
pairs. At the default rate white and style noise are trained three times, since another training moves FID by more than
its band.

    data/results/grid.csv            a line a cell and measure, with its band
    data/results/grid.safetensors    the draws behind them

A training with all its cells is the unit of work: what is finished is kept, also when it was begun on another machine,
as long as base, judge and recipe are the same. On a GPU all trainings of a round run side by side (`fleet`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dislib.core.latents import white_noise
from dislib.core.pipeline import latent_shape, pipeline_fingerprint, separate
from dislib.core.sampling import generate
from dislib.core.schedulers import make_scheduler
from dislib.evaluation.apart import MEASURES, Looks, Measured, looks_of, measure_apart
from dislib.evaluation.judge import fingerprint, load_judge
from dislib.files import data_dir, digest_of, load_arrays, make_folder, save_arrays, write_atomic, write_json
from dislib.images.prompts import read_prompts
from dislib.loading import load_pipeline
from dislib.training.examples import TrainingSet
from dislib.training.settings import Settings
from dislib.world import STYLES, THINGS

from . import references
from .fleet import Member, sail

RATES, DEFAULT_RATE, SEEDS = (3e-5, 1e-4, 3e-4), 3e-5, (0, 1, 2)
AT, PICTURES, IMAGES, GUIDANCE = (10, 30, 100, 300, 1000), 104, 50, 3.0
STARTS = {"white": ("white", "leak"), "style": ("paper", "matched")}
REFERENCE = 800  # pictures


class Run(NamedTuple):
    """One training."""

    style: str
    noise: str  # "white" or "style"
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.style}-{self.noise}-{self.rate:g}-{self.seed}"


class Cell(NamedTuple):
    """One place of the table: a training after some iterations, from a start. Iterations 0 are the base model's."""

    style: str
    noise: str
    rate: float
    seed: int
    iterations: int
    start: str

    @property
    def name(self) -> str:
        return f"{self.style} {self.noise} {self.rate:g} {self.seed} {self.iterations} {self.start}"


def plan(styles=STYLES, rates=RATES, default=DEFAULT_RATE, seeds=SEEDS) -> list[Run]:
    """All trainings: the default rate first, once a style; then the other rates; then the other trainings of the default."""
    order = [default, *(rate for rate in rates if rate != default)]
    first = [Run(style, noise, rate, seeds[0]) for rate in order for style in styles for noise in STARTS]
    return first + [Run(style, noise, default, seed) for seed in seeds[1:] for style in styles for noise in STARTS]


def spread(prompts: list[str], count: int) -> list[str]:
    """``count`` prompts spread over the whole list."""
    return [prompts[i] for i in np.linspace(0, len(prompts) - 1, count).astype(int)]


class Bench:
    """What all cells share: base, judge, prompts, and each style's pictures to learn from and to be measured against."""

    def __init__(self, pictures: int = PICTURES, reference: int = REFERENCE, device: str | None = None):
        self.pipe, self.judge = load_pipeline("tiny", device=device), load_judge(device=device)
        self.painter = separate(self.pipe)
        self.prompts = spread(read_prompts(data_dir() / "prompts" / "prompts.jsonl"), pictures)
        self.reference_size, self.known = reference, {}
        recipe = (AT, IMAGES, GUIDANCE, self.prompts, reference)
        self.made_with = digest_of(pipeline_fingerprint(self.pipe), fingerprint(self.judge), *recipe)[:16]

    def examples(self, run: Run) -> TrainingSet:
        """Every training of another seed learns from other images of the style."""
        folder = data_dir() / "styles" / run.style / "train"
        return TrainingSet.from_folder(self.pipe, folder, n=IMAGES, seed=run.seed)

    def reference(self, style: str) -> Looks:
        if style not in self.known:
            self.known[style] = looks_of(references.renders(style, 0, self.reference_size), self.judge)
        return self.known[style]

    def measure(self, pictures, style: str) -> dict[str, Measured]:
        looks = looks_of(pictures, self.judge)
        return measure_apart(looks, self.prompts, self.reference(style), self.judge, things=THINGS)

    def paint(self, prior, start: str) -> list:
        """Picture i shows prompt i from seed i."""
        seeds, shape = range(len(self.prompts)), latent_shape(self.painter)
        scheduler = make_scheduler(self.painter)
        z_T = white_noise(seeds, shape) if start == "white" else prior.start(seeds, start, scheduler=scheduler)
        batch = len(self.prompts) if self.painter.device.type == "cuda" else 16
        made = generate(self.painter, self.prompts, [0], latents=z_T, guidance=GUIDANCE, batch_size=batch)
        return [sample.image for some in made for sample in some]


def member(bench: Bench, run: Run) -> tuple[Member, object]:
    """A training for the fleet, and its prior."""
    examples = bench.examples(run)
    prior = examples.prior(bench.pipe)
    settings = Settings(max_train_steps=max(AT), learning_rate=run.rate, seed=run.seed).completed(bench.pipe)
    return Member(run.name, examples, prior if run.noise == "style" else "white", settings), prior


def do(bench: Bench, runs: list[Run], folder: Path, pool: Executor) -> Iterator[dict]:
    """Train and measure what is missing; yields a record a finished training.

    Pictures are looked at in threads of ``pool``, while the next ones are made.
    """
    missing = [run for run in runs if not is_there(folder, run, bench.made_with)]
    crew = {run.name: (run, *member(bench, run)) for run in missing}
    found = {name: {} for name in crew}
    for step, one in sail(bench.pipe, [member for _, member, _ in crew.values()], AT):
        run, _, prior = crew[one.name]
        bench.painter.unet.load_state_dict(one.state(), strict=False)
        bench.reference(run.style)  # here and not in a thread, so that it is made once
        for start in STARTS[run.noise]:
            pictures, cell = bench.paint(prior, start), Cell(*run, step, start)
            found[run.name][cell.name] = pool.submit(bench.measure, pictures, run.style)
        if step == max(AT):
            cells = {name: future.result() for name, future in found.pop(run.name).items()}
            keep(folder, run, cells, bench.made_with)
            yield {"trained": run.name, "cells": len(AT) * len(STARTS[run.noise])}


def untrained(bench: Bench, styles, folder: Path) -> Iterator[dict]:
    """The base model from each start, and the floor: as many other renders of the style."""
    for style in styles:
        run = Run(style, "base", 0.0, 0)
        if is_there(folder, run, bench.made_with):
            continue
        prior = bench.examples(run).prior(bench.pipe)
        bench.painter.unet.load_state_dict(bench.pipe.unet.state_dict())
        starts = [start for both in STARTS.values() for start in both]
        cells = {Cell(*run, 0, start).name: bench.measure(bench.paint(prior, start), style) for start in starts}
        fresh = list(references.renders(style, bench.reference_size, len(bench.prompts)))
        keep(folder, run, cells | {Cell(*run, 0, "floor").name: bench.measure(fresh, style)}, bench.made_with)
        yield {"looked at": run.name}


# --- what is kept ---------------------------------------------------------------------------------------------------


def is_there(folder: Path, run: Run, made_with: str) -> bool:
    path = folder / f"{run.name}.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["made with"] == made_with


def keep(folder: Path, run: Run, cells: dict[str, dict[str, Measured]], made_with: str) -> None:
    """Draws first, then the numbers: a training counts as finished when its JSON is there."""
    make_folder(folder)
    draws = {f"{c} {name}": m.draws.astype(np.float16) for c, measures in cells.items() for name, m in measures.items()}
    save_arrays(folder / f"{run.name}.safetensors", draws, {})
    values = {cell: {measure: m.value for measure, m in all_of.items()} for cell, all_of in cells.items()}
    write_json(folder / f"{run.name}.json", {"made with": made_with, "run": list(run), "cells": values})


def ship(folder: Path, out: Path, made_with: str) -> int:
    """One table and one file of draws from all finished trainings; the number of cells."""
    lines, draws = ["style,noise,rate,seed,iterations,start,measure,value,low,high"], {}
    for path in sorted(folder.glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["made with"] != made_with:
            continue
        arrays, _ = load_arrays(path.with_suffix(".safetensors"), ())
        draws |= arrays
        for name, values in kept["cells"].items():
            style, noise, rate, seed, iterations, start = name.rsplit(" ", 5)
            for measure in MEASURES:
                value, low, high = Measured(values[measure], arrays[f"{name} {measure}"].astype(float)).band()
                row = (style, noise, rate, seed, iterations, start, measure, *(f"{v:.5g}" for v in (value, low, high)))
                lines.append(",".join(row))
    make_folder(out)
    save_arrays(out / "grid.safetensors", draws, {"made with": made_with})
    write_atomic(out / "grid.csv", ("\n".join(lines) + "\n").encode())
    return len(draws) // len(MEASURES)


def run(
    *, folder: Path, out: Path = Path("data/results"), styles=STYLES, rates=RATES, seeds=SEEDS,
    pictures: int = PICTURES, reference: int = REFERENCE,
) -> Iterator[dict]:  # fmt: skip
    """All cells; yields a record a training, and keeps the shipped table up to date."""
    bench = Bench(pictures, reference)
    runs = plan(styles, rates, min(rates, key=lambda rate: abs(rate - DEFAULT_RATE)), seeds)
    rounds = [runs] if torch.cuda.is_available() else [[one] for one in runs]
    workers = max((os.cpu_count() or 2) - 2, 1) if torch.cuda.is_available() else 1
    with ThreadPoolExecutor(workers) as pool:
        for records in (untrained(bench, styles, folder), *(do(bench, some, folder, pool) for some in rounds)):
            for record in records:
                yield record | {"cells shipped": ship(folder, out, bench.made_with)}
