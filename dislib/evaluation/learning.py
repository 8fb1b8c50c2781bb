"""The table of what was learnt when: style match and prompt match by iterations, images, seed and kind of prior.

`python -m recipes learning` measures it; `data/results/learning.csv` holds a line for each number of each seed, and
`over_seeds` makes one of all seeds.
"""

import csv
import io
from typing import NamedTuple

from ..errors import DislibError, shorten
from ..escaping import for_csv, from_csv
from ..files import read_text, write_atomic
from .table import Row

BOTH = "mu and sigma"  # the prior as the paper has it
VARIANTS = (BOTH, "mu only", "sigma only", "per channel")
METHODS = ("plain", "plain-leak", "style", "style-matched", "style-white")
METRICS = ("fid", "kid", "clip")


class Learnt(NamedTuple):
    """One number: the fields of `table.Row`, and after how many iterations on how many images, in which training run
    (`seed`; None for all of them together), with which variant of the prior."""

    method: str
    style: str
    guidance: float | None
    metric: str
    value: float
    low: float
    high: float
    n: int
    iterations: int | None
    images: int | None
    seed: int | None
    variant: str


# How each column is written and read; None is an empty cell.
_TEXT = {"method", "style", "metric", "variant"}
_NUMBERS = {"guidance", "value", "low", "high"}


def write_learning(path, rows):
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Learnt._fields)
    for row in rows:
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else "" if v is None else for_csv(v) for v in row)
    write_atomic(path, text.getvalue().encode())


def read_learning(path):
    """The rows of a learning.csv.

    Raises:
        DislibError: no such file, other columns, or a line that cannot be read; it is named.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text(path), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DislibError(
            f"cannot read {path} ({shorten(error)}); `python -m recipes learning` makes it"
        ) from error
    if not lines or tuple(lines[0]) != Learnt._fields:
        raise DislibError(f"{path}: expected the columns {', '.join(Learnt._fields)}")
    rows = []
    for number, line in enumerate(filter(None, lines[1:]), start=2):
        try:
            rows.append(Learnt(*(_read(name, cell) for name, cell in zip(Learnt._fields, line, strict=True))))
        except ValueError as error:
            raise DislibError(f"{path}, line {number}: {shorten(error)}; see {shorten(','.join(line))!r}") from error
    return rows


def _read(name, cell):
    if name in _TEXT:
        return from_csv(cell)
    kind = float if name in _NUMBERS else int
    return kind(cell) if cell else None


def over_seeds(rows):
    """One row for all seeds of the same thing: the mean, and the band from the lowest to the highest of their bands.

    Such a band covers both what other prompts and what another training run would have given.
    """
    same = {}
    for row in rows:
        key = row._replace(value=0.0, low=0.0, high=0.0, seed=None)
        same.setdefault(key, []).append(row)
    return [
        key._replace(
            value=sum(row.value for row in group) / len(group),
            low=min(row.low for row in group),
            high=max(row.high for row in group),
        )
        for key, group in same.items()
    ]


def pick(rows, **wanted):
    """The rows whose fields have these values: `pick(rows, style="comic", metric="fid", images=50)`."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


EARLY, LATE = 100, 1000  # iterations


class Race(NamedTuple):
    """FID of style noise after `EARLY` iterations, and of plain fine-tuning after `LATE`, on one style."""

    early: Row
    late: Row

    @property
    def verdict(self):
        """"ahead" or "behind" where the bands are apart, else "level"."""
        if self.early.high < self.late.low:
            return "ahead"
        return "behind" if self.early.low > self.late.high else "level"

    def __str__(self):
        told = (f"{row.value:.0f} ({row.low:.0f} to {row.high:.0f})" for row in self)
        runners = zip(self, (EARLY, LATE), told)
        early, late = (f"{row.method} after {iterations}: {text}" for row, iterations, text in runners)
        return f"{self.early.style:9} {early:42} {late:36} {self.verdict}"


def races(early, late, method="style"):
    """A Race on every style that has both runners.

    Args:
        early: rows of `results.read_results("race.csv")`.
        late: rows of "baselines.csv".
        method: whose few iterations are looked at, "style" or "style-matched".
    """
    fids = lambda rows, name: {row.style: row for row in rows if (row.method, row.metric) == (name, "fid")}
    ahead, behind = fids(early, method), fids(late, "plain")
    return [Race(ahead[style], behind[style]) for style in ahead if style in behind]
