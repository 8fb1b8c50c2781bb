"""A claim: a sentence with its evidence, a number, the threshold it has to pass, and a negative control.

A claim measures its own threshold and its own control on the data it is given; none of them is typed in. It holds if
the number passes and the control does not: where the control passes too, the number proves nothing.
The lessons print these claims and the tests assert them. Here is what the claims of several lessons share.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import DislibError
from ..images.looks import measure_grid, rgb_to_lab, thumbnails


@dataclass(frozen=True, repr=False)
class Claim:
    """A sentence with its evidence. `bool(claim)` says whether it holds; as the last line of a cell it shows itself."""

    name: str
    value: float
    threshold: float
    control: float
    holds: bool
    text: str

    def __bool__(self):
        return self.holds

    def __str__(self):
        verdict = "HOLDS" if self.holds else "DOES NOT HOLD"
        return f"{verdict}: {self.name}. {self.text} ({self._numbers()})"

    __repr__ = __str__

    def _repr_markdown_(self):
        verdict = "Holds" if self.holds else "Does not hold"
        return f"> **{verdict}: {self.name}.** {self.text} *({self._numbers()})*"

    def _numbers(self):
        return f"value {self.value:.3g}, threshold {self.threshold:.3g}, negative control {self.control:.3g}"


def _above(name, value, threshold, control, text):
    """A claim whose number has to lie above the threshold, and its control not."""
    return Claim(name, value, threshold, control, bool(value > threshold >= control), text)


def _below(name, value, threshold, control, text):
    """A claim whose number has to lie below the threshold, and its control not."""
    return Claim(name, value, threshold, control, bool(value < threshold <= control), text)


def _palette(pictures):
    """Mean thumbnail of pictures in L*a*b*: `(8, 8, 3)`."""
    return rgb_to_lab(thumbnails(pictures)).mean(axis=0)


def _rms(lab):
    """Root mean square over positions of a colour difference `(8, 8, 3)`: what the eye sees (dE)."""
    return float(np.sqrt(np.mean(np.sum(lab**2, axis=-1))))


def _grid(grid, measure):
    if len(grid) < 3 or min(map(len, grid)) < 3:
        raise DislibError(f"a grid of {len(grid)} prompts is given; this claim needs at least 3 prompts and 3 seeds")
    return measure_grid(grid, measure)


def _between_prompts(grid):
    """Spread between the prompts of every seed `(seeds,)`."""
    looks = rgb_to_lab(measure_grid(grid, "thumbnail"))  # (prompts, seeds, 8, 8, 3)
    if len(looks) < 2:
        raise DislibError("pictures of one prompt are given; how prompts differ needs at least two")
    return np.sqrt(looks.var(axis=0, ddof=1).sum(axis=-1).mean(axis=(1, 2)))
