"""A tenth of the iterations: `python -m recipes race`, after `baselines`.

Style noise from the paper's and from the matched start after 100 iterations on every drawn style, each at the learning
rate that `baselines` chose for it; 200 pictures each. `data/results/race.csv` holds them, to be compared with plain
fine-tuning after 1,000 iterations in `baselines.csv`. An interrupted run goes on. One process a core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dislib.evaluation.judge import load_judge
from dislib.evaluation.measure import measure
from dislib.evaluation.reference import Reference
from dislib.evaluation.sweep import read_sweep
from dislib.evaluation.table import write_results
from dislib.files import make_folder
from dislib.training.methods import METHODS
from dislib.world import STYLES

from .baselines import everywhere, paint_one, rates, train_one

RUNNERS, STEPS = ("style", "style-matched"), 100


def run(*, folder: Path, out: Path = Path("data/results")) -> Iterator[dict]:
    """Train, look and write the table; yields a record for each training and each heap of pictures."""
    own = rates(folder.parent / "baselines")
    at = {(style, name): folder / style / name for style in STYLES for name in RUNNERS}
    yield from everywhere(
        train_one, [(style, METHODS[name].training, own[name], STEPS, net) for (style, name), net in at.items()]
    )
    pictures = {(style, name): folder / style / "sweeps" / name for style, name in at}
    yield from everywhere(paint_one, [(*who, at[who], pictures[who]) for who in at])
    judge, rows = load_judge(), []
    for (style, name), heap in pictures.items():
        rows += measure(read_sweep(heap), Reference.of(style, judge), method=name)
    write_results(make_folder(out) / "race.csv", rows)
