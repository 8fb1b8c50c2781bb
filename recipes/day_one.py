"""The check that comes before anything is frozen: can this small model tell the paper's story truthfully?

Two styles, a few hundred iterations, every start: `python -m recipes day_one` writes `docs/day-one.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import Image

from dislib.core import sampling
from dislib.core.latents import decode, encode
from dislib.core.pipeline import separate
from dislib.core.prior import StylePrior
from dislib.evaluation.judge import image_features, load_judge
from dislib.evaluation.metrics import fid
from dislib.figures.plots import image_grid, save_png
from dislib.files import data_dir, write_atomic, write_json
from dislib.images.prompts import read_prompts
from dislib.loading import load_pipeline
from dislib.training.examples import TrainingSet
from dislib.training.finetune import finetune
from dislib.world import paint

from . import vae
from .cards import day_one_page, style_section
from .pictures import scene
from .report import leak, seeds_and_prompts, vae_quality

STYLES = ("sketch", "comic")
IMAGES = 50
STARTS = {"base": ("white", "paper", "leak"), "plain": ("white", "leak"), "style noise": ("paper", "matched")}
ITERATIONS = (25, 100, 300)
SHOWN = ("a red house in the meadow", "a blue car on the street", "a yellow boat on the sea", "a pink cat in the snow")
REFERENCE = 800  # stream and number of fresh renders that a style is compared with


def pictures(pipe, prior: StylePrior, start: str, prompts: list[str], seeds: list[int]) -> list[Image.Image]:
    """Picture i shows prompt i from seed i."""
    z_T = prior.start(seeds, start, scheduler=sampling.make_scheduler(pipe), steps=12)
    return [row[0] for row in sampling.paint(pipe, prompts, [0], latents=z_T, guidance=2.0, batch_size=16)]


def spread(prompts: list[str], count: int) -> list[str]:
    """``count`` prompts spread over the whole list."""
    return [prompts[i] for i in np.linspace(0, len(prompts) - 1, count).astype(int)]


def compare(
    base, judge, style: str, count: int, reference: np.ndarray
) -> tuple[list[dict], dict[str, list[Image.Image]]]:
    """FID of every method and start at 0 to 300 iterations, and pictures of the shown prompts."""
    learnt = TrainingSet.from_folder(base, data_dir() / "styles" / style / "train", n=IMAGES)
    prior = learnt.prior(base)
    prompts = spread(read_prompts(data_dir() / "prompts" / "prompts.jsonl"), count)
    rows, shown = [], {}

    def measure(pipe, method: str, steps: int) -> None:
        for start in STARTS[method]:
            made = pictures(pipe, prior, start, prompts, range(count))
            distance = fid(image_features(made, judge), reference)
            rows.append(
                {
                    "style": style,
                    "method": method,
                    "start": start,
                    "iterations": steps,
                    "fid": round(distance, 2),
                }
            )
            if steps in (0, ITERATIONS[-1]):
                shown[f"{method}\n{start} start"] = pictures(
                    pipe, prior, start, list(SHOWN), range(len(SHOWN))
                )

    measure(base, "base", 0)
    for method, noise in (("plain", "white"), ("style noise", prior)):
        pipe = separate(base)
        options = dict(max_train_steps=ITERATIONS[-1], train_batch_size=16, learning_rate=3e-4)
        for record in finetune(pipe, learnt, noise=noise, **options):
            if record.step in ITERATIONS:
                pipe.unet.eval()
                measure(pipe, method, record.step)
                pipe.unet.train()
    return rows, shown


def table(rows: list[dict]) -> str:
    """Markdown: a line a method and start, a column an iteration count."""
    columns = (0, *ITERATIONS)
    cell = {(r["method"], r["start"], r["iterations"]): str(r["fid"]) for r in rows}
    lines = [
        f"| {m}, {s} start | " + " | ".join(cell.get((m, s, i), "") for i in columns) + " |"
        for m, s in dict.fromkeys((r["method"], r["start"]) for r in rows)
    ]
    return "\n".join(["| FID | " + " | ".join(map(str, columns)) + " |", "|---" * (len(columns) + 1) + "|", *lines])


def measure_style(base, judge, style: str, count: int, images: Path) -> tuple[str, list[dict]]:
    """One style's table and picture."""
    stream = REFERENCE + STYLES.index(style)
    renders = [paint(scene(i, stream), style) for i in range(400 + count)]
    reference = image_features(renders[:400], judge)
    floor = fid(image_features(renders[400:], judge), reference)
    coded = fid(image_features(decode(base, encode(base, renders[400:])), judge), reference)
    rows, shown = compare(base, judge, style, count, reference)
    figure = image_grid(
        [p for row in shown.values() for p in row],
        rows=len(shown),
        cols=len(SHOWN),
        row_labels=list(shown),
        col_labels=list(SHOWN),
    )
    save_png(figure, images / f"day-one-{style}.png")
    facts = {"style": style, "floor": floor, "autoencoder": coded, "pictures": count}
    return style_section(table(rows), facts, ITERATIONS[-1]), [*rows, facts]


def run(*, folder: Path, out: Path = Path("docs"), count: int = 96) -> Iterator[dict]:
    """Measure and write the page; yields one record a section."""
    base, judge = load_pipeline("tiny"), load_judge()
    quality, share, readable = vae_quality(base), seeds_and_prompts(base), leak(base)
    checks = vae.checks()
    vae.sheet(
        [row for x in checks.values() for row in (x[:8], vae.reconstruct(base.vae, x[:8]))],
        out / "images" / "day-one-vae.png",
    )
    yield {"vae": quality, "seeds": share["seed share"]["share"], "readability": readable["rms"]}
    sections, numbers = [], {"vae psnr": quality, "seeds": share, "readability": readable, "rows": []}
    for style in STYLES:
        text, rows = measure_style(base, judge, style, count, out / "images")
        sections.append(text)
        numbers["rows"] += rows
        yield {"style": style, "rows": rows}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "day-one.json", numbers)
    write_atomic(out / "day-one.md", day_one_page(numbers, sections).encode())
