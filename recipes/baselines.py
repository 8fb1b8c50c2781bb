"""All methods on all drawn styles, same images, same budget: `python -m recipes baselines`.

1. Rates: every training is begun with each of its three learning rates on one style. Each method keeps the one with its
   lowest FID, so that two starts of one training may ask for two U-Nets. All trainings keep a moving average of their
   weights (`use_ema`), which is what is looked at: at a constant rate the latest weights jump about, and at the higher
   rates FID with them.
2. Trainings: each once on every style, with that rate.
3. Measurements: 200 pictures of each method at one guidance weight; a table, and a sheet of pictures a style.

What has been trained and measured is kept in the folder, and an interrupted run goes on. One process a core.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Callable, Iterator

import torch

from dislib.evaluation.judge import load_judge
from dislib.evaluation.measure import floors, measure
from dislib.evaluation.metrics import fid
from dislib.evaluation.reference import Reference
from dislib.evaluation.sweep import read_sweep, sweep
from dislib.evaluation.table import write_results
from dislib.files import data_dir, make_folder, write_json
from dislib.images.prompts import read_prompts
from dislib.loading import load_pipeline
from dislib.training.checkpoints import checkpoints
from dislib.training.examples import TrainingSet
from dislib.training.methods import METHODS, TRAININGS, train
from dislib.training.result import read
from dislib.world import STYLES

from .fast import hasten

RATE_STYLE = "sketch"
STEPS, RATE_STEPS, CHECKPOINT, GUIDANCE, PICTURES = 1000, 400, 200, 2.0, 200
MEDIUM = {  # the word of the base's training captions that comes nearest to each style
    "sketch": "pencil drawing",
    "sticker": "poster",
    "comic": "poster",
    "blueprint": "chalk drawing",
    "neon": "chalk drawing",
}


def examples(pipe, style: str, n: int = 50) -> TrainingSet:
    return TrainingSet.from_folder(pipe, data_dir() / "styles" / style / "train", n=n)


def train_one(job: tuple[str, str, float, int, Path]) -> dict:
    """Tune one U-Net, or go on with it."""
    style, training, rate, steps, out = job
    torch.set_num_threads(1)
    done = read(out) if out.exists() else None
    if done is None or done["settings"]["max_train_steps"] < steps:
        pipe = load_pipeline("tiny", device="cpu")
        options = {"max_train_steps": steps, "checkpointing_steps": CHECKPOINT, "use_ema": True}
        for _ in train(pipe, examples(pipe, style), training, out=out, rate=rate, **options):
            pass
    losses = read(out)["losses"]
    return {"trained": training, "style": style, "rate": rate, "loss": sum(losses[-100:]) / 100}


def paint_one(job: tuple[str, str, Path | None, Path]) -> dict:
    """Make and look at one method's pictures, or go on with it."""
    style, name, tuned, out = job
    torch.set_num_threads(1)
    method, made = METHODS[name], 0
    pipe = load_pipeline(tuned or "tiny", device="cpu")
    prior = None if method.start == "white" else examples(pipe, style).prior(pipe)
    hasten(pipe)
    prompts = read_prompts(data_dir() / "prompts" / "prompts.jsonl")
    work = sweep(
        pipe, load_judge(), prompts, out=out, method=name, style=style, guidance=[GUIDANCE], images_per_prompt=1,
        prior=prior, start=method.start, workers=1, template=method.template.replace("{word}", MEDIUM[style]),
    )  # fmt: skip
    for progress in work:
        made = progress.done
    return {"painted": name, "style": style, "new pictures": made}


def fid_of(style: str, out: Path) -> float:
    return round(fid(read_sweep(out)[GUIDANCE].pooled, Reference.of(style, load_judge()).pooled), 3)


def everywhere(work: Callable[[tuple], dict], jobs: list[tuple]) -> Iterator[dict]:
    """The jobs' results as they come, one process a core."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, jobs)


def shown_by(training: str) -> list[str]:
    """The methods that sample from a training's U-Net."""
    return [name for name, method in METHODS.items() if method.training == training]


def rates(folder: Path) -> dict[str, float]:
    """From method to the learning rate that was best for it; methods without a training are left out.

    As tried in this folder, or else as shipped.
    """
    path = folder / "rates.json"
    found = json.loads((path if path.exists() else data_dir() / "results" / path.name).read_text())["fid"]
    fids = {name: found[method.training] for name, method in METHODS.items() if method.training}
    return {name: float(min(of, key=lambda rate: of[rate][name])) for name, of in fids.items()}  # noqa: B023


def tuned(folder: Path, style: str, name: str) -> Path | None:
    """Where the U-Net of a method lies, if it has one; methods of one training whose rates agree share it."""
    training = METHODS[name].training
    return folder / style / f"{training}-{rates(folder)[name]:g}" if training else None


def choose_rates(folder: Path) -> Iterator[dict]:
    """Try every rate on one style; the choice goes to `rates.json`."""
    tried = [(name, rate) for name, way in TRAININGS.items() for rate in way.rates]
    where = {(name, rate): folder / "rates" / f"{name}-{rate:g}" for name, rate in tried}
    yield from everywhere(train_one, [(RATE_STYLE, name, rate, RATE_STEPS, where[name, rate]) for name, rate in tried])
    shown = [(name, rate, method) for name, rate in tried for method in shown_by(name)]
    jobs = [
        (RATE_STYLE, method, where[name, rate], where[name, rate] / f"sweep-{method}") for name, rate, method in shown
    ]
    found: dict[str, dict] = {name: {f"{rate:g}": {} for rate in TRAININGS[name].rates} for name in TRAININGS}
    for (name, rate, method), job, record in zip(shown, jobs, everywhere(paint_one, jobs)):
        found[name][f"{rate:g}"][method] = fid_of(RATE_STYLE, job[-1])
        yield record | {"rate": rate, "fid": found[name][f"{rate:g}"][method]}
    best = {name: float(min(fids, key=lambda rate: mean(fids[rate].values()))) for name, fids in found.items()}
    choice = {"style": RATE_STYLE, "steps": RATE_STEPS, "guidance": GUIDANCE, "pictures": PICTURES}
    write_json(folder / "rates.json", {**choice, "fid": found, "chosen": best})
    for name, rate in rates(folder).items():
        tried = where[METHODS[name].training, rate]
        if checkpoints(tried):  # and go on from there
            ignore = shutil.ignore_patterns("sweep-*")
            shutil.copytree(tried, tuned(folder, RATE_STYLE, name), dirs_exist_ok=True, ignore=ignore)


def run(*, folder: Path, out: Path = Path("data/results")) -> Iterator[dict]:
    """All three parts, style by style; yields a record for each training and measurement."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rates.json").exists():
        yield from choose_rates(folder)
    chosen = rates(folder)
    for count, style in enumerate(STYLES, 1):
        at = {name: tuned(folder, style, name) for name in METHODS}
        jobs = {at[name]: (style, METHODS[name].training, rate, STEPS, at[name]) for name, rate in chosen.items()}
        yield from everywhere(train_one, list(jobs.values()))
        jobs = [(style, name, at[name], folder / style / "sweeps" / name) for name in METHODS]
        yield from everywhere(paint_one, jobs)
        write_results(make_folder(out) / "baselines.csv", table(folder, STYLES[:count]))
        write_json(out / "rates.json", json.loads((folder / "rates.json").read_text()) | {"of methods": chosen})


def table(folder: Path, styles: tuple) -> list:
    """The rows of the styles that have been measured."""
    rows = []
    for style in styles:
        points = {name: read_sweep(folder / style / "sweeps" / name, n=PICTURES) for name in METHODS}
        reference = Reference.of(style, load_judge())
        rows += floors(reference, PICTURES)
        for name, found in points.items():
            rows += measure(found, reference, method=name, base=points["base"])
    return rows
