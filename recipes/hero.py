"""The picture on top of the README: the same prompts from one white latent, and from it with a trace of three styles."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from dislib.core.prior import StylePrior
from dislib.core.sampling import paint
from dislib.figures.plots import image_grid, save_png
from dislib.files import data_dir
from dislib.loading import load_pipeline

PROMPTS = (
    "a red house in the meadow",
    "a blue car on the street",
    "a yellow boat on the sea",
    "a purple mushroom in the snow",
    "a white cat in the desert",
    "an orange balloon",
)
STYLES = ("sketch", "neon", "blueprint")


def run(*, folder: Path, out: Path = Path("docs/images"), seed: int = 1) -> Iterator[dict]:
    """Make the four rows with the base model, no fine-tuning; writes ``docs/images/hero.png``."""
    pipe = load_pipeline("tiny")
    starts = {"white noise": {}}
    for style in STYLES:
        prior = StylePrior.from_images(pipe, data_dir() / "styles" / style / "train", n=50)
        starts[f"a trace of {style}"] = {"prior": prior, "start": "leak"}
    made = [paint(pipe, PROMPTS, [seed], guidance=3.0, steps=20, **start) for start in starts.values()]
    rows = [[row[0] for row in columns] for columns in made]
    out.mkdir(parents=True, exist_ok=True)
    save_png(image_grid(rows, row_labels=list(starts), col_labels=list(PROMPTS)), out / "hero.png")
    yield {"written": str(out / "hero.png")}
