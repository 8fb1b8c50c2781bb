"""Few iterations with style noise against many of plain fine-tuning from white noise.

Both were measured by recipes: `python -m dislib.tiny race` and `baselines`, each method at its own best learning rate.
"""

from typing import NamedTuple

from .results import Row

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
