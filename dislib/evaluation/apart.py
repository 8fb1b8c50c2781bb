"""Colours and drawing measured apart: what the start is responsible for, and what training is.

A picture in the right colours with ruined lines and a perfect drawing on a tinted page can have one FID. So pictures
are looked at four times: by the judge as they are, by the judge in grey, as thumbnails (colours and layout), and by
asking the judge which thing they show. Every number comes with its bootstrap draws. Draws of the same prompts belong
together, so two methods are compared by the differences of their draws (paired), not by whether two bands overlap.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import DislibError
from ..images.looks import mean_lab, thumbnails
from .bands import FrechetDraws, all_draws, band, draw_counts
from .judge import both_features, clip_scores, zero_shot

THUMBNAIL = 4  # blocks along a side: 4 x 4 mean colours, a Gaussian of 48 numbers
MEASURES = ("fid", "grey", "colours", "page", "clip", "thing")
LOWER_IS_BETTER = ("fid", "grey", "colours", "page")


@dataclass(frozen=True)
class Looks:
    """What was seen of n pictures.

    Attributes:
        pooled, grey: the judge's features `(n, d)` of the pictures and of the same pictures in grey.
        colours: thumbnails `(n, 48)`, sRGB in 0..1.
        page: mean colour in L*a*b* `(n, 3)`.
        projected: the judge's vectors `(n, p)` in the space shared with text.
    """

    pooled: np.ndarray
    grey: np.ndarray
    colours: np.ndarray
    page: np.ndarray
    projected: np.ndarray


def looks_of(pictures, judge):
    """`Looks` of PIL pictures."""
    pictures = list(pictures)
    seen = both_features(pictures, judge)
    grey = both_features([picture.convert("L").convert("RGB") for picture in pictures], judge)["pooled"]
    small = thumbnails(pictures, size=THUMBNAIL).reshape(len(pictures), -1)
    return Looks(seen["pooled"], grey, small.astype(np.float32), mean_lab(pictures), seen["projected"])


def things_right(looks, prompts, things, judge):
    """1.0 where the judge names the prompt's thing, 0.0 where it names another, NaN where the prompt has not just one.

    Args:
        looks: `Looks` of the pictures.
        prompts: one text a picture; a thing counts in singular and plural.
        things: all that there can be.
    """
    told = [[t for t in things if {t, t + "s"} & set(prompt.split())] for prompt in prompts]
    answers = zero_shot(looks.projected, [f"a {thing}" for thing in things], judge).choices
    right = [float(things[a] == t[0]) if len(t) == 1 else np.nan for a, t in zip(answers, told)]
    return np.array(right)


@dataclass(frozen=True)
class Measured:
    """A number with its bootstrap draws `(draws,)`; draws of the same prompts belong together."""

    value: float
    draws: np.ndarray

    def band(self, *, level=0.95):
        """`Band`: value, low, high."""
        return band(self.value, self.draws, level=level)


def measure_apart(looks, prompts, reference, judge, *, things, draws=200, seed=0):
    """All of `MEASURES` of some pictures, a dict of `Measured`.

    - "fid", "grey": Fréchet distance of the judge's features to the reference's, of the pictures as they are and in grey.
    - "colours": Fréchet distance of 4 x 4 thumbnails, times 1000: colours and layout without any drawing.
    - "page": distance (dE) of the mean colour from the reference's mean colour.
    - "clip": mean CLIP score; "thing": share of pictures, in per cent, whose thing the judge names right.

    Args:
        looks: `Looks` of n pictures.
        prompts: one text a picture: the blocks of the bootstrap. Pictures of other methods that are to be compared must
            show the same prompts in the same order.
        reference: `Looks` of many real pictures of the style.
        things: names of all things, see `things_right`.

    Raises:
        DislibError: not one prompt a picture, or fewer than two different ones.
    """
    if len(prompts) != len(looks.pooled):
        raise DislibError(f"{len(looks.pooled)} pictures but {len(prompts)} prompts: pass one prompt a picture")
    counts = draw_counts(prompts, draws=draws, seed=seed, least=2)
    target = reference.page.mean(0)
    away = lambda c: float(np.linalg.norm(c @ looks.page / c.sum() - target))  # noqa: E731
    right = things_right(looks, prompts, things, judge)
    asked = ~np.isnan(right)
    named = lambda c: 100 * float(c[asked] @ right[asked] / max(c[asked].sum(), 1))  # noqa: E731
    clip = clip_scores(looks.projected, prompts, judge)
    small = FrechetDraws(looks.colours, reference.colours)
    statistics = {
        "fid": FrechetDraws(looks.pooled, reference.pooled),
        "grey": FrechetDraws(looks.grey, reference.grey),
        "colours": lambda c: 1000 * small(c),
        "page": away,
        "clip": lambda c: float(c @ clip / c.sum()),
        "thing": named,
    }
    found = {name: all_draws(statistic, counts) for name, statistic in statistics.items()}
    return {name: Measured(float(value), np.asarray(drawn)) for name, (value, drawn) in found.items()}


def compare(one, other, measure, *, level=0.95):
    """("ahead", "level" or "behind", `Band` of one - other) of two `Measured` of the same prompts.

    The band is that of the differences draw by draw. Which direction is better depends on the measure: distances
    are better when they are lower, scores when they are higher.

    Raises:
        DislibError: the two have different numbers of draws, so that they cannot belong together.
    """
    if len(one.draws) != len(other.draws):
        raise DislibError(f"{len(one.draws)} draws against {len(other.draws)}: these were not measured together")
    found = band(one.value - other.value, one.draws - other.draws, level=level)
    if found.low <= 0 <= found.high:
        return "level", found
    better = found.high < 0 if measure in LOWER_IS_BETTER else found.low > 0
    return ("ahead" if better else "behind"), found


def pooled_over(trainings):
    """One `Measured` of several trainings of the same thing: its draws vary over trainings and prompts.

    Draw k takes the k-th draw of a training drawn with replacement, the same choice for every method, so that
    comparisons stay paired.
    """
    trainings = list(trainings)
    n = len(trainings)
    rng = np.random.default_rng(n)
    picks = rng.integers(n, size=(len(trainings[0].draws), n))
    stacked = np.stack([one.draws for one in trainings])
    draws = np.array([stacked[row, k].mean() for k, row in enumerate(picks)])
    return Measured(float(np.mean([one.value for one in trainings])), draws)


def speed_up(plain, styled, *, iterations):
    """How many times fewer iterations `styled` needs for what `plain` has after its last, by interpolation in the logarithm.

    Args:
        plain, styled: values at `iterations`, lower is better.
        iterations: increasing, such as (10, 30, 100, 300, 1000).

    Returns:
        (ratio, exact): `exact` is False where the ratio is only a bound: styled has it at its first iterations already
        ("at least"), or never gets there ("below 1" is returned as 0).

    >>> speed_up([90, 60, 30], [60, 30, 10], iterations=[10, 100, 1000])
    (10.0, True)
    """
    target, steps = plain[-1], np.log(np.asarray(iterations, dtype=float))
    if styled[0] <= target:
        return float(iterations[-1] / iterations[0]), False
    for k in range(1, len(styled)):
        if styled[k] <= target:
            share = (styled[k - 1] - target) / (styled[k - 1] - styled[k])
            needed = np.exp(steps[k - 1] + share * (steps[k] - steps[k - 1]))
            return round(float(iterations[-1] / needed), 6), True
    return 0.0, False
