"""How FID lies about few pictures: fresh pictures of the very style, measured against it, in sets of N.

In truth the distance is 0. FID is far above 0 for small N and falls; KID, which is unbiased, is 0 on average at any N.
"""

from typing import NamedTuple

import numpy as np

from .bands import FrechetDraws, KernelDraws
from .errors import DislibError
from .metrics import Band, check_features, cubic_kernel
from .plots import COLOURS, GUIDE, INK, CourseFigure
from .plots import style as course_style
from .results import FLOOR

NUMBERS = (10, 15, 25, 40, 60, 100, 150, 250, 400, 600, 800)
LEVEL = 0.95


class SmallSample(NamedTuple):
    """FID and KID of sets of `n` pictures: the mean over the sets, and between which ends 95 % of them lie."""

    n: int
    fid: Band
    kid: Band


def fid_against_n(reference, numbers=NUMBERS, draws=50, seed=0):
    """FID and KID of N of the reference's "floor" (fresh renders of the style) against the reference itself.

    Each draw is N different pictures of the floor. Sets of more than half of it share most of their pictures, so there
    the bands become too narrow; of all of it there is one set only.

    Args:
        reference: a `results.Reference` that holds a "floor".
        numbers: the sizes N, each at least 2 and at most the number of pictures in the floor.
        draws: sets for each N.
        seed: of the draws.

    Returns:
        list of SmallSample, N rising.

    Raises:
        DislibError: a wrong N, no draws, or a reference without a floor.
    """
    if FLOOR not in reference.others:
        raise DislibError(
            f"the reference {reference.style!r} has no {FLOOR!r}: no fresh pictures of the style to draw from; take the"
            " reference of a style that the course ships"
        )
    fresh = check_features(reference.others[FLOOR]["pooled"], FLOOR)
    _check_numbers(numbers, len(fresh), draws)
    distances = FrechetDraws(fresh, reference.pooled), KernelDraws(fresh, reference.pooled, cubic_kernel)
    rng, found = np.random.default_rng(seed), []
    for n in sorted(set(numbers)):
        sets = [_chosen(len(fresh), n, rng) for _ in range(draws if n < len(fresh) else 1)]
        found.append(SmallSample(n, *(_spread([distance(chosen) for chosen in sets]) for distance in distances)))
    return found


def _check_numbers(numbers, most, draws):
    wrong = [n for n in numbers if not (n == int(n) and 2 <= n <= most)]
    if wrong or not len(numbers):
        told = f"N = {', '.join(f'{n:g}' for n in wrong)}" if wrong else "no N is given"
        raise DislibError(f"{told}; a distance needs from 2 pictures to the {most} that there are")
    if draws < 1:
        raise DislibError(f"{draws} draws; at least 1 is needed")


def _chosen(total, n, rng):
    """Counts `(total,)`: 1 for n rows, 0 for the others."""
    counts = np.zeros(total)
    counts[rng.choice(total, size=n, replace=False)] = 1
    return counts


def _spread(values):
    return Band(float(np.mean(values)), *map(float, np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])))


def small_samples_plot(found, *, style="", at=None, alt=None):
    """FID on the left, KID on the right, against N, with their bands; dashed: the true distance, 0.

    Args:
        found: what `fid_against_n` returned.
        style: its name, for the title.
        at: an N to be marked.
    """
    sizes = [sample.n for sample in found]
    with course_style():
        fig = CourseFigure(figsize=(9, 4.2), layout="constrained")
        for k, (ax, metric) in enumerate(zip(fig.subplots(1, 2), ("fid", "kid"))):
            _panel(ax, sizes, [getattr(sample, metric) for sample in found], COLOURS[k], at)
            ax.set(xlabel="number of pictures N", ylabel=f"{metric.upper()} to the style")
            ax.set_title({"fid": "FID: falls with N", "kid": "KID: 0 on average"}[metric])
        fig.suptitle(
            f"{style + ': ' if style else ''}fresh pictures of the very style", x=0.01, ha="left", weight="bold"
        )
    ends = found[0], found[-1]
    told = [f"{m.upper()} from {_at(ends[0], m)} to {_at(ends[1], m)}" for m in ("fid", "kid")]
    fig.alt = (
        alt or f"Fresh pictures of {style or 'a style'} against the style itself, where 0 is true: {'; '.join(told)}"
    )
    return fig


def _panel(ax, sizes, bands, colour, at):
    ax.set_xscale("log")
    ax.fill_between(sizes, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.2, linewidth=0)
    ax.plot(sizes, [b.value for b in bands], color=colour, marker="o")
    ax.axhline(0, color=GUIDE, linestyle="--", linewidth=1.6)
    ticks = [n for n in (2, 5, 10, 25, 60, 150, 400, 1000) if sizes[0] <= n <= sizes[-1]]
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    if at in sizes:
        chosen = bands[sizes.index(at)]
        ax.plot([at, at], [chosen.low, chosen.high], color=INK, linewidth=2.5, marker="_", markersize=14)
        ax.plot(at, chosen.value, color=INK, marker="o", markersize=11)


def _at(sample, metric):
    return f"{getattr(sample, metric)} at N = {sample.n}"
