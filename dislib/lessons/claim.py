"""A claim: a sentence with its evidence, and the same measurement where the sentence is false.

    measure(*data) -> Found(value, threshold, passes)

The threshold never comes from the control. Either it was fixed beforehand, or it is what chance reaches once in a
hundred times on the very data that are measured (`RATE`). The control is `measure` once more, on data made to lack what
is claimed: pictures dealt out at random, white noise in place of a style, another start. A claim holds if the data pass
and the control does not. So on data that lack it, a claim holds falsely once in a hundred times at most.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import DislibError
from ..images.looks import measure_grid, rgb_to_lab, strokes, thumbnails

RATE = 0.01  # of false alarms: how often chance alone may pass
DRAWS = 399  # of chance; with them RATE is 4 in 400
VISIBLE = 2.3  # a just noticeable difference of colours in L*a*b* (Mahy and others, 1994)


class Found(NamedTuple):
    """What a measure finds: the number, what it is held against, and on which side of it is better."""

    value: float
    threshold: float
    better: str  # "higher" or "lower"

    @property
    def passes(self):
        """Whether the number lies on the better side."""
        return bool(self.value > self.threshold if self.better == "higher" else self.value < self.threshold)


def above(value, threshold):
    """Found, where more is better."""
    return Found(float(value), float(threshold), "higher")


def below(value, threshold):
    """Found, where less is better."""
    return Found(float(value), float(threshold), "lower")


@dataclass(frozen=True, repr=False)
class Claim:
    """A sentence with its evidence. `bool(claim)` says whether it holds; as the last line of a cell it shows itself.

    `found` is of the data, `control` of data where the sentence is false; `of` and `against` say what these are.
    """

    name: str
    found: Found
    control: Found
    text: str
    against: str
    why: str
    unit: str = "{:.3g}"

    @property
    def holds(self):
        return self.found.passes and not self.control.passes

    @property
    def value(self):
        return self.found.value

    @property
    def threshold(self):
        return self.found.threshold

    def __bool__(self):
        return self.holds

    def __str__(self):
        verdict = "HOLDS" if self.holds else "DOES NOT HOLD"
        return f"{verdict}: {self.name}. {self.text} {self._asked()} {self._controlled()}"

    __repr__ = __str__

    def _repr_markdown_(self):
        verdict, name = "Holds" if self.holds else "Does not hold", _literal(self.name)
        return (
            f"> **{verdict}: {name}.** {_literal(self.text)} {_literal(self._asked())}\n>\n"
            f"> *Control:* {_literal(self._controlled().removeprefix('Control: '))}"
        )

    def _asked(self):
        more = "more" if self.found.better == "higher" else "less"
        return f"To pass, it has to be {more} than {self._number(self.threshold)}: {self.why}."

    def _controlled(self):
        told = f"Control: {self.against}, the same measurement gives {self._number(self.control.value)}"
        if self.control.threshold != self.threshold:
            told += f", where {self._number(self.control.threshold)} is asked for"
        if self.control.passes:
            return f"{told}. It passes too, so the number above proves nothing."
        return f"{told}. It does not pass, and must not."

    def _number(self, value):
        return self.unit.format(value)


def _literal(text):
    """Text that Markdown leaves as it is: L*a*b* would come out in italics."""
    return "".join(f"\\{letter}" if letter in "\\*_`$<" else letter for letter in text)


def check(name, measure, data, control, *, text, against, why, unit="{:.3g}"):
    """A claim from one measurement, made twice.

    Args:
        name: the sentence.
        measure: takes data, returns Found.
        data, control: tuples of arguments for `measure`; the sentence is false of the second.
        text: what was compared, as a format string; `{value}`, `{threshold}` and `{control}` are numbers in `unit`.
        against: what the control is, as in "with the pictures dealt out at random".
        why: of the threshold.
        unit: how numbers are written.
    """
    found, failing = measure(*data), measure(*control)
    numbers = {"value": found.value, "threshold": found.threshold, "control": failing.value}
    told = text.format(**{key: unit.format(number) for key, number in numbers.items()})
    return Claim(name, found, failing, told, against, why, unit)


# --- what chance reaches ----------------------------------------------------------------------------------------------


def chance(draws):
    """What chance exceeds in `RATE` of its draws at most, the value itself counted as one of them."""
    draws = np.sort(np.asarray(draws, dtype=np.float64))[::-1]
    return float(draws[max(int(RATE * (len(draws) + 1)) - 1, 0)])


def swapped(ours, rival, rng):
    """The control for "ours, more than the rival": in each pair, a coin decides who is called ours."""
    keep = rng.random(len(ours)) < 0.5
    pairs = zip(keep, ours, rival)
    ours, rival = zip(*((a, b) if same else (b, a) for same, a, b in pairs))
    return list(ours), list(rival)


def dealt(ours, rival, rng):
    """The same where there are no pairs: all in one heap, dealt out anew."""
    heap = np.concatenate([ours, rival])[rng.permutation(len(ours) + len(rival))]
    return heap[: len(ours)], heap[len(ours) :]


def more_than(statistic, ours, rival, *, mix=swapped, draws=DRAWS, seed=0):
    """`statistic(ours, rival)` against what it reaches when a coin decides who is who.

    Args:
        statistic: of two arrays; the larger, the better for ours.
        ours, rival: arrays, pairs in the same order.
        mix: `swapped` for pairs, `dealt` for two heaps.
    """
    rng, pack = np.random.default_rng(seed), lambda heaps: map(np.asarray, heaps)
    mixed = [statistic(*pack(mix(ours, rival, rng))) for _ in range(draws)]
    return above(statistic(np.asarray(ours), np.asarray(rival)), chance(mixed))


SWAPPED = "with a coin deciding in each pair which picture counts for whom"
BY_COIN = "chance gets there once in a hundred times, when a coin decides in each pair who is who"


# --- which heap of pictures is nearer to a style ----------------------------------------------------------------------


def nearer(ours, rival, images, *, names, look="colour", draws=DRAWS, seed=0):
    """A claim: one heap of pictures is nearer to a style than another, in its colours or in its drawing.

    Args:
        ours, rival: PIL pictures of the same prompts and seeds, at least 8.
        images: pictures of the style.
        names: what ours and the rival are called.
        look: "colour" compares mean 8 x 8 thumbnails; "drawing" compares `looks.strokes`, which know no colour.
    """
    if len(ours) != len(rival) or len(ours) < 8:
        raise DislibError(f"{len(ours)} pictures against {len(rival)}; give as many of both, at least 8")
    if look not in LOOKS:
        raise DislibError(f"there is no look {look!r}; choose one of {', '.join(LOOKS)}")
    see, far, what, unit = LOOKS[look]
    style, heaps = see(images).mean(axis=0), [see(pictures) for pictures in (ours, rival)]
    gain = lambda a, b: far(b.mean(axis=0) - style) - far(a.mean(axis=0) - style)
    text = (
        f"The mean {what} of {len(ours)} pictures is {far(heaps[0].mean(axis=0) - style):{unit}} away from the style's for"
        f" {names[0]}, and {far(heaps[1].mean(axis=0) - style):{unit}} for {names[1]}: nearer by {{value}}."
    )
    return check(
        f"{'Nearer to the style' if look == 'colour' else 'Drawn more like the style'}: {names[0]}",
        lambda a, b: more_than(gain, a, b, draws=draws),
        heaps, swapped(*heaps, np.random.default_rng([seed, 1])),
        text=text, against=SWAPPED, why=BY_COIN, unit=f"{{:{unit}}}",
    )  # fmt: skip


def _rms(lab):
    """Root mean square over positions of a colour difference `(8, 8, 3)`: what the eye sees (dE)."""
    return float(np.sqrt(np.mean(np.sum(lab**2, axis=-1))))


def _shares(difference):
    """How far two lists of shares lie apart: what part of one has to be moved to get the other."""
    return float(np.abs(difference).sum() / 2)


LOOKS = {
    "colour": (lambda pictures: rgb_to_lab(thumbnails(pictures)), _rms, "8 x 8 thumbnail (colours in L*a*b*)", ".1f"),
    "drawing": (strokes, _shares, "share of flat places, soft slopes and hard edges (no colour)", ".3f"),
}


def style_distance(pictures, images, *, look="colour"):
    """How far the mean look of pictures is from a style's; see `nearer`."""
    see, far, *_ = LOOKS[look]
    return far(see(pictures).mean(axis=0) - see(images).mean(axis=0))


def _palette(pictures):
    """Mean thumbnail of pictures in L*a*b*: `(8, 8, 3)`."""
    return rgb_to_lab(thumbnails(pictures)).mean(axis=0)


def _grid(grid, measure):
    if len(grid) < 3 or min(map(len, grid)) < 3:
        raise DislibError(f"a grid of {len(grid)} prompts is given; this claim needs at least 3 prompts and 3 seeds")
    return measure_grid(grid, measure)
