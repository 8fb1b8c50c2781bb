"""What the checks of the exercises share. Each tells a right answer from a wrong one and says what is wrong.

No check raises: an exercise that is still open, or wrong, never stops a notebook. A check returns a `Verdict`, which
shows itself as the last line of a cell.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import shorten


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


def as_number(answer, what="One number"):
    """(the answer as a float, None), or (None, verdict) if it is open, or no number."""
    if answer is None or answer is Ellipsis:
        return None, still_open(f"Put your {what.split()[-1]} in place of the dots.")
    try:
        value = float(answer)
    except (TypeError, ValueError, RuntimeError):
        return None, wrong(f"{what} is asked for, got {shorten(repr(answer), 40)}.")
    return (value, None) if math.isfinite(value) else (None, wrong("Your number is not finite."))


def call(function, *arguments):
    """(what the reader's function returns, None), or (None, verdict) if it stops or returns nothing yet."""
    if not callable(function):
        return None, wrong("Hand over the function itself, by its name and without brackets.")
    try:
        found = function(*arguments)
    except Exception as error:  # a reader's function may raise anything
        return None, wrong(_stopped(error))
    if any(part is None or part is Ellipsis for part in (found if isinstance(found, tuple) else (found,))):
        return None, still_open("Your function returns nothing yet.")
    return found, None


def _stopped(error):
    """What a function stopped with, and for the usual mistakes what to do."""
    told = f"Your function stopped with {type(error).__name__}: {shorten(str(error), 200)}"
    if isinstance(error, AttributeError) and "'float'" in str(error):
        return f"{told}. `abar` is a plain number: write abar ** 0.5, or np.sqrt(abar)."
    if isinstance(error, TypeError) and "sqrt()" in str(error):
        return f"{told}. `torch.sqrt` takes tensors, and `abar` is a plain number: write abar ** 0.5."
    if "ellipsis" in str(error):
        return f"{told}. A `...` is still in it: put something in the place of every one."
    return told + "."


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
