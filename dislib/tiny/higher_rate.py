"""Would another start have wanted another rate? `python -m dislib.tiny higher_rate`.

`baselines` chooses one rate for a training, by the mean over all its starts. Here plain fine-tuning and style noise are
made at the highest one as well, and measured in the same way. Goes to `data/results/higher_rate.csv`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..evaluation import read_sweep
from ..files import make_folder
from ..judge import load_judge
from ..methods import METHODS, TRAININGS
from ..results import Reference, floors, measure, write_results
from ..world import STYLES
from .baselines import PICTURES, STEPS, everywhere, paint_one, train_one

TRAINED = ("plain", "style")
SHOWN = tuple(name for name, method in METHODS.items() if method.training in TRAINED)


def run(*, folder: Path, out: Path = Path("data/results")) -> Iterator[dict]:
    """Train and measure, or go on with it; yields a record for each."""
    at = lambda style, training: folder / style / training
    rate = {name: max(TRAININGS[name].rates) for name in TRAINED}
    jobs = [(style, name, rate[name], STEPS, at(style, name)) for style in STYLES for name in TRAINED]
    yield from everywhere(train_one, jobs)
    swept = {(style, name): folder / style / "sweeps" / name for style in STYLES for name in SHOWN}
    tuned = lambda style, name: at(style, METHODS[name].training)
    yield from everywhere(paint_one, [(style, name, tuned(style, name), swept[style, name]) for style, name in swept])
    rows = []
    for style in STYLES:
        reference = Reference.of(style, load_judge())
        rows += floors(reference, PICTURES)
        for name in SHOWN:
            rows += measure(read_sweep(swept[style, name], n=PICTURES), reference, method=name)
    write_results(make_folder(out) / "higher_rate.csv", rows)
