"""The shipped guidance sweeps, by the paper's protocol: `python -m recipes sweeps`.

Takes the U-Nets that `baselines` trained. Eleven methods on five styles at 12 guidance weights: few pictures a point
first, for all of them, then 800 for the methods of the paper's comparison. Into `data/results` go

- `sweeps.csv`, every metric with its band at every point of the methods of the comparison, and the floors;
- `sweeps_few.csv`, the same of all methods, each on the same few pictures: a metric depends on how many pictures and how
  many prompts it sees, so points of different ones are never put into one table;
- `sweeps.json`, how both were made;
- `strips/STYLE.webp`, one prompt and initial latent by every method at every weight, of three styles;
- `ballots/STYLE.webp`, eight prompts by eight methods at one weight, for the user study, of the same three.

An interrupted run goes on, and what is new is shipped after every round. One process a core.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from dislib.core.pipeline import pipeline_fingerprint
from dislib.errors import DislibError
from dislib.evaluation.judge import fingerprint, load_judge
from dislib.evaluation.measure import floors, measure
from dislib.evaluation.metrics import fid
from dislib.evaluation.reference import Reference
from dislib.evaluation.sweep import GUIDANCE, read_sweep, sweep
from dislib.evaluation.sweep_folder import Plan
from dislib.evaluation.table import write_results
from dislib.files import data_dir, make_folder, sha256, write_json
from dislib.images.prompts import read_prompts
from dislib.images.sheets import Sheet, write_sheet
from dislib.loading import load_pipeline
from dislib.training.methods import METHODS
from dislib.training.result import read

from .baselines import MEDIUM, everywhere, examples, tuned
from .fast import hasten, native

COMMAND = "python -m recipes sweeps"
STYLES = ("sketch", "sticker", "comic", "neon", "blueprint")
SHEETS = STYLES[:3]  # styles of which pictures are shipped
FULL = ("base", "plain", "plain-leak", "style", "style-matched")
SWEPT = tuple(name for name in METHODS if name not in ("offset", "style-lora"))  # `baselines` has these at one weight
FEW, ALL, IMAGES_PER_PROMPT, BATCH_SIZE, SEED = 200, 800, 4, 16, 0
SHOWN, BALLOT_GUIDANCE = 8, 3.0  # prompts of which a picture is kept; weight of the user study
VOTED = (*FULL, "leak", "dreambooth-leak", "style-lora-matched")  # methods of the user study
QUALITY = 60  # of WebP: all sheets together stay below a megabyte


class Job(NamedTuple):
    """A sweep of one method on one style, of n pictures a point; `exact` leaves the U-Net in float32."""

    style: str
    method: str
    n: int
    tuned: Path | None
    out: Path
    guidance: tuple
    exact: bool = False


def place(folder: Path, style: str, name: str) -> Path:
    """Where a sweep lies; the base model's is one for all styles."""
    return folder / ("base" if name == "base" else f"{style}/{name}")


def prompts() -> list[str]:
    return read_prompts(data_dir() / "prompts" / "prompts.jsonl")


def plan() -> Plan:
    return Plan(prompts(), IMAGES_PER_PROMPT, SEED, BATCH_SIZE)


def do(job: Job) -> dict:
    """Sweep, or go on with it."""
    torch.set_num_threads(1)
    method, made = METHODS[job.method], 0
    pipe = load_pipeline(job.tuned or "tiny", device="cpu")
    prior = None if method.start == "white" else examples(pipe, job.style).prior(pipe)
    work = sweep(
        pipe if job.exact else hasten(pipe), load_judge(device="cpu"), prompts(), out=job.out, method=job.method,
        style="" if job.method == "base" else job.style, guidance=job.guidance, images_per_prompt=IMAGES_PER_PROMPT,
        n=job.n, prior=prior, start=method.start, template=method.template.replace("{word}", MEDIUM[job.style]),
        seed=SEED, batch_size=BATCH_SIZE, pictures=SHOWN, workers=1,
    )  # fmt: skip
    for progress in work:
        made = progress.done
    return {"swept": job.method, "style": job.style, "pictures a point": job.n, "new": made > 0}


def rounds(folder: Path) -> list[list[Job]]:
    """What is swept before the results are shipped again: first few pictures of every method, then all of some."""
    trained = folder.parent / "baselines"
    job = lambda style, name, n: Job(style, name, n, tuned(trained, style, name), place(folder, style, name), GUIDANCE)
    exact = job(STYLES[0], "base", FEW)._replace(out=folder / "base-float32", guidance=(2.0,), exact=True)
    few = lambda style: [job(style, name, FEW) for name in SWEPT if name != "base"]
    many = [[job(style, name, ALL) for name in FULL if name != "base"] for style in STYLES]
    many[0].insert(0, job(STYLES[0], "base", ALL))
    return [[job(STYLES[0], "base", FEW), exact], *map(few, STYLES), *many]


# --- what is shipped ------------------------------------------------------------------------------------------------


def swept(folder: Path, style: str, n: int, names: Iterable[str]) -> dict:
    """From method to its points of n pictures, for those that have as many at all weights."""
    found = {}
    for name in names:
        try:
            found[name] = read_sweep(place(folder, style, name), guidance=list(GUIDANCE), n=n)
        except DislibError:  # not yet
            continue
    return found


def table(task: tuple[Path, str, int, tuple]) -> list:
    """The rows of a style: of all methods named that have n pictures a point, and the floors of as many."""
    folder, style, n, names = task
    torch.set_num_threads(1)
    points, reference = swept(folder, style, n, names), Reference.of(style, load_judge(device="cpu"))
    if len(points) < 2:  # the base alone, which all styles share
        return []
    rows = floors(reference, n)
    for name, found in points.items():
        rows += measure(found, reference, method=name, base=points["base"])
    return rows


def picture(folder: Path, style: str, name: str, weight: float, row: int):
    path = place(folder, style, name) / "pictures" / f"w{weight:g}" / f"{row:05d}.png"
    return Image.open(path).convert("RGB")


def ship_sheets(folder: Path, style: str, out: Path) -> None:
    """The strip and the ballots of a style."""
    names, shown = list(swept(folder, style, FEW, SWEPT)), sorted(plan().shown(SHOWN))
    text = lambda row: plan().prompts[row // IMAGES_PER_PROMPT]
    facts, first = {"command": COMMAND, "style": style}, shown[0]
    strip = [[picture(folder, style, name, weight, first) for weight in GUIDANCE] for name in names]
    about = {**facts, "prompt": text(first), "seed": SEED + first}
    keep = lambda kind, sheet: write_sheet(make_folder(out / kind) / f"{style}.webp", sheet, quality=QUALITY)
    keep("strips", Sheet(names, list(GUIDANCE), strip, about))
    names = [name for name in names if name in VOTED]
    ballots = [[picture(folder, style, name, BALLOT_GUIDANCE, row) for row in shown] for name in names]
    about = {**facts, "guidance": BALLOT_GUIDANCE, "seeds": [SEED + row for row in shown]}
    keep("ballots", Sheet(names, [text(row) for row in shown], ballots, about))


def rounding(folder: Path) -> dict:
    """What bfloat16 does: FID of the base model to a style, in both formats, and FID between them."""
    exact, fast = (read_sweep(folder / name, guidance=[2.0], n=FEW)[2.0] for name in ("base-float32", "base"))
    reference = Reference.of(STYLES[0], load_judge(device="cpu"))
    found = {"float32": fid(exact.pooled, reference.pooled), "bfloat16": fid(fast.pooled, reference.pooled)}
    return {"style": STYLES[0], "guidance": 2.0, "n": FEW, **found, "between": fid(exact.pooled, fast.pooled)}


def facts(folder: Path) -> dict:
    """How the table was made."""
    pipe, trained = load_pipeline("tiny", device="cpu"), folder.parent / "baselines"
    settings = read(tuned(trained, STYLES[0], "style"))["settings"]
    kept = ("max_train_steps", "train_batch_size", "use_ema", "caption_dropout", "lr_scheduler")
    return {
        "command": COMMAND, "precision": "bfloat16" if native() else "float32", "rounding": rounding(folder),
        "base": pipeline_fingerprint(pipe), "judge": fingerprint(load_judge(device="cpu")),
        "prompts_sha256": sha256(data_dir() / "prompts" / "prompts.jsonl"), "images_per_prompt": IMAGES_PER_PROMPT,
        "seed": SEED, "batch_size": BATCH_SIZE, "guidance": list(GUIDANCE), "images": 50,
        "training": {key: settings[key] for key in kept},
    }  # fmt: skip


def ship(folder: Path, out: Path) -> None:
    """Write all that the sweeps say so far."""
    make_folder(out)
    for name, n, methods in (("sweeps_few", FEW, SWEPT), ("sweeps", ALL, FULL)):
        tables = everywhere(table, [(folder, style, n, methods) for style in STYLES])
        write_results(out / f"{name}.csv", [row for rows in tables for row in rows])
    for style in SHEETS:
        if len(swept(folder, style, FEW, SWEPT)) > 1:
            ship_sheets(folder, style, out)
    write_json(out / "sweeps.json", facts(folder))


def run(*, folder: Path, out: Path = Path("data/results")) -> Iterator[dict]:
    """All sweeps; yields a record for each."""
    for jobs in rounds(folder):
        new = False
        for record in everywhere(do, jobs):
            new |= record["new"]
            yield record
        if new or not (out / "sweeps.json").exists():
            ship(folder, out)
