"""What the checks of the exercises share. Each tells a right answer from a wrong one and says what is wrong.

No check raises: an exercise that is still open, or wrong, never stops a notebook. A check returns a `Verdict`, which
shows itself as the last line of a cell.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """What a check found. `bool(verdict)` is True for a right answer only."""

    state: str  # "right", "wrong" or "open"
    text: str

    def __bool__(self):
        return self.state == "right"

    def __str__(self):
        return f"{_HEADS[self.state]} {self.text}"

    def _repr_markdown_(self):
        return f"> **{_HEADS[self.state]}** {self.text}"


_HEADS = {"right": "Right.", "wrong": "Not yet.", "open": "Still open."}


def right(text):
    return Verdict("right", text)


def wrong(text):
    return Verdict("wrong", text)


def still_open(text):
    return Verdict("open", text)


def as_array(answer):
    """The answer as a float array; None if it is none (a string, a list of unequal rows, None)."""
    try:
        return np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def close(a, b, *, tolerance=1e-3):
    """Whether two arrays are of one shape and agree to `tolerance` of the second one's rms."""
    if a is None or b is None or a.shape != b.shape or not np.isfinite(a).all():
        return False
    return bool(np.sqrt(np.mean((a - b) ** 2)) <= tolerance * max(np.sqrt(np.mean(b**2)), 1e-12))
