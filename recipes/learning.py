"""The paper's claims on our model, measured: `python -m recipes learning`.

For two styles, FID, KID and CLIP score of 200 pictures at w = 2

- after 0, 10, 30, 100, 300 and 1,000 iterations on 50 images: plain fine-tuning from white noise and from the leak,
  style noise from the paper's start, from the matched one and (at some) from white noise, which makes the 2 x 2;
- after 100 iterations on 1, 5, 10, 25, 50 and 100 images;
- after 300 iterations with mu only, sigma only, or a prior without layout (one mean and std a channel).

The first style is trained three times, each time on other images of it, which shows what one training is worth.

The moving average of the weights is measured, right there inside the training loop, so that no snapshots have to be
kept. An interrupted run goes on: what has been measured stays, and a training is made again, to the same weights, as
far as it is still needed.
The table is written anew after each training. One process a core.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.training_utils import EMAModel

from dislib.core.pipeline import pipeline_fingerprint
from dislib.core.prior import StylePrior
from dislib.evaluation.judge import fingerprint, load_judge
from dislib.evaluation.learning import BOTH, METRICS, Learnt, write_learning
from dislib.evaluation.measure import floors, measure
from dislib.evaluation.reference import Reference
from dislib.evaluation.sweep import read_sweep, sweep
from dislib.files import data_dir, make_folder, write_json
from dislib.images.prompts import read_prompts
from dislib.loading import load_pipeline
from dislib.training.examples import TrainingSet
from dislib.training.finetune import finetune
from dislib.training.methods import TRAININGS

from .baselines import everywhere
from .fast import hasten

STYLES, SEEDS = ("sketch", "comic"), (0, 1, 2)
GUIDANCE, PICTURES = 2.0, 200
ITERATIONS, IMAGES = (10, 30, 100, 300, 1000), 50
FEW, NUMBERS = 100, (1, 5, 10, 25, 100)  # iterations, and numbers of images beside the 50 of the curve
PARTS, PARTS_AT = ("mu only", "sigma only", "per channel"), 300
STARTS = {"plain": "white", "plain-leak": "leak", "style": "paper", "style-matched": "matched", "style-white": "white"}
ONE_IMAGE = 0.1  # how far the mean of a single image is moved towards one colour; its spread is its channels'


class Job(NamedTuple):
    """One training and what is measured on the way, pairs of (iterations, method)."""

    style: str
    seed: int
    noise: str  # "none" (the base model), "plain" or "style"
    variant: str
    images: int
    points: tuple

    @property
    def name(self) -> str:
        return "-".join([self.style, str(self.seed), self.noise, self.variant.replace(" ", "_"), str(self.images)])


def plan(styles=STYLES, seeds=SEEDS) -> list[Job]:
    """All jobs: the first seed of all styles, then the other seeds of the first style."""
    runs = [(style, seeds[0]) for style in styles] + [(styles[0], seed) for seed in seeds[1:]]
    return [job for style, seed in runs for job in _jobs(style, seed)]


def _jobs(style: str, seed: int) -> Iterator[Job]:
    plain, styled = ("plain", "plain-leak"), ("style", "style-matched")
    job = lambda noise, variant, images, *points: Job(style, seed, noise, variant, images, points)
    yield job("none", BOTH, IMAGES, *((0, method) for method in plain + styled))
    yield job("plain", BOTH, IMAGES, *((i, method) for i in ITERATIONS for method in plain))
    white = [(i, "style-white") for i in ITERATIONS if i >= FEW]
    yield job("style", BOTH, IMAGES, *sorted([(i, method) for i in ITERATIONS for method in styled] + white))
    for variant in PARTS:
        yield job("style", variant, IMAGES, *((PARTS_AT, method) for method in styled))
    for images in NUMBERS:
        yield job("plain", BOTH, images, *((FEW, method) for method in plain))
        yield job("style", BOTH, images, *((FEW, method) for method in styled))


def prior_of(latents: torch.Tensor, variant: str) -> StylePrior:
    """The prior of the training images, or a part of it."""
    if variant == "per channel":  # the Gaussian that fits each channel, over all positions and images
        return StylePrior.from_latents([latents], shrink=1.0)
    prior = StylePrior.from_latents([latents], shrink=ONE_IMAGE if len(latents) == 1 else 0.0)
    if variant == "mu only":
        return StylePrior(prior.mean, torch.ones_like(prior.std))
    return StylePrior(torch.zeros_like(prior.mean), prior.std) if variant == "sigma only" else prior


def rate_of(noise: str, folder: Path) -> float:
    """The learning rate that `baselines` chose, or else the middle one of those it tries."""
    for path in (folder.parent / "baselines" / "rates.json", data_dir() / "results" / "rates.json"):
        if path.exists():
            return json.loads(path.read_text())["chosen"][noise]
    rates = TRAININGS[noise].rates
    return rates[len(rates) // 2]


class Work(NamedTuple):
    """A job with all it needs, so that it can be sent to another process."""

    job: Job
    folder: Path
    rate: float | None
    prompts: list

    def file(self, point: tuple) -> Path:
        """Where the numbers of (iterations, method) lie."""
        return self.folder / self.job.name / f"{point[0]:04d}-{point[1]}.json"


def do(work: Work) -> dict:
    """Train and measure what is missing of one job."""
    torch.set_num_threads(1)
    job, judge = work.job, load_judge(device="cpu")
    pipe, painter = load_pipeline("tiny", device="cpu"), hasten(load_pipeline("tiny", device="cpu"))
    same = {"base": pipeline_fingerprint(pipe), "judge": fingerprint(judge), "rate": work.rate}
    same["prompts"] = len(work.prompts)
    missing = [point for point in job.points if not _is_there(work.file(point), same)]
    if missing:
        folder = data_dir() / "styles" / job.style / "train"
        examples = TrainingSet.from_folder(pipe, folder, n=job.images, seed=job.seed)
        prior, reference = prior_of(examples.latents, job.variant), Reference.of(job.style, judge)
        for reached in _reached(work, pipe, painter, examples, prior, max(missing)[0]):
            for point in (p for p in missing if p[0] == reached):
                _measure(work, point, painter, judge, prior, reference, same)
    return {"job": job.name, "measured": len(missing), "there": len(job.points) - len(missing)}


def _reached(work: Work, pipe, painter, examples: TrainingSet, prior: StylePrior, last: int) -> Iterator[int]:
    """Train, and say after which iterations `painter` has been given the averaged weights."""
    if work.job.noise == "none":
        yield 0
        return
    options = {"max_train_steps": last, "learning_rate": work.rate, "seed": work.job.seed}
    noise = "white" if work.job.noise == "plain" else prior
    average = EMAModel(pipe.unet.parameters())
    for record in finetune(pipe, examples, noise=noise, **options):
        average.step(pipe.unet.parameters())
        if any(record.step == iterations for iterations, _ in work.job.points):
            average.copy_to(painter.unet.parameters())
            yield record.step


def _is_there(path: Path, same: dict) -> bool:
    """Whether a point has been measured with the same base, judge, rate and prompts."""
    return path.exists() and json.loads(path.read_text())["made with"] == same


def _measure(work: Work, point: tuple, pipe, judge, prior: StylePrior, reference: Reference, same: dict) -> None:
    iterations, method = point
    path, job = work.file(point), work.job
    around = path.with_suffix(".sweep")
    shutil.rmtree(around, ignore_errors=True)  # of a run that was stopped
    options = {"guidance": [GUIDANCE], "images_per_prompt": 1, "start": STARTS[method], "prior": prior, "workers": 1}
    shown = 8 if job.seed == 0 else 0
    for _ in sweep(pipe, judge, work.prompts, out=around, method=method, style=job.style, pictures=shown, **options):
        pass
    found = [row for row in measure(read_sweep(around), reference, method=method) if row.metric in METRICS]
    rows = [Learnt(*row, iterations, job.images, job.seed, job.variant) for row in found]
    if shown:
        shutil.rmtree(path.with_suffix(".pictures"), ignore_errors=True)
        (around / "pictures" / f"w{GUIDANCE:g}").rename(path.with_suffix(".pictures"))
    write_json(path, {"made with": same, "rows": rows})
    shutil.rmtree(around)


def table(works: list[Work], styles: tuple, pictures: int) -> list[Learnt]:
    """All that has been measured, with each style's floor."""
    rows, judge = [], load_judge(device="cpu")
    for style in styles:
        for row in floors(Reference.of(style, judge), pictures):
            if row.metric in METRICS:
                rows.append(Learnt(*row, None, None, None, ""))
    for work in works:
        for path in map(work.file, work.job.points):
            if path.exists():
                rows += [Learnt(*row) for row in json.loads(path.read_text())["rows"]]
    return rows


def run(
    *,
    folder: Path,
    out: Path = Path("data/results"),
    styles: tuple = STYLES,
    seeds: tuple = SEEDS,
    pictures: int = PICTURES,
) -> Iterator[dict]:
    """Do all jobs; yields a record for each, and keeps `learning.csv` up to date."""
    prompts = read_prompts(data_dir() / "prompts" / "prompts.jsonl")[:pictures]
    rates = {noise: None if noise == "none" else rate_of(noise, folder) for noise in ("none", "plain", "style")}
    works = [Work(job, folder, rates[job.noise], prompts) for job in plan(styles, seeds)]
    make_folder(folder), make_folder(out)
    for record in everywhere(do, works):
        write_learning(out / "learning.csv", table(works, styles, pictures))
        yield record
