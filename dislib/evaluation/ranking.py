"""A ranking out of pairwise votes: the Bradley-Terry model, its bands, and how far it agrees with FID or CLIP score.

P(a is chosen over b) = exp(s_a) / (exp(s_a) + exp(s_b)), with a strength s for each method (Bradley and Terry 1952).
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DislibError, DislibWarning
from .bands import band, draw_counts
from .votes import LEFT, TIE

if TYPE_CHECKING:
    from .votes import Vote

PRIOR = 0.5  # wins, and as many losses, against an imaginary method of average strength
FEW_VOTERS = 5  # fewer cannot tell how much voters differ
TOLERANCE, MOST_STEPS = 1e-10, 1000
SHUFFLES = 5000


class Standing(NamedTuple):
    """A method's place: its strength (log-odds, 0 on average), the ends of its band, and the number of its ballots."""

    method: str
    strength: float
    low: float
    high: float
    n: int

    @property
    def chance(self):
        """Of being chosen over a method of average strength."""
        return chance(self.strength)


def chance(strength, other=0.0):
    """P(one strength is chosen over another) = 1 / (1 + exp(other - strength))."""
    return 0.5 + 0.5 * math.tanh((strength - other) / 2)  # the same, and never too large for a float


def win_table(votes):
    """Who won how often against whom.

    Returns:
        (names of the methods, sorted; array (votes, m, m) that is 1 at [v, winner, loser], and for "can't say" half a
        win each way). Its sum over the votes is the table of wins.
    """
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    table = np.zeros((len(votes), len(names), len(names)))
    for v, vote in enumerate(votes):
        a, b = names.index(vote.left), names.index(vote.right)
        for_a = {LEFT: 1.0, TIE: 0.5}.get(vote.choice, 0.0)
        table[v, a, b], table[v, b, a] = for_a, 1 - for_a
    return names, table


def bradley_terry(
    votes: list[Vote], *, prior: float = PRIOR, by: str | None = None, draws: int = 200, seed: int = 0,
) -> list[Standing]:
    """The methods with their strengths, the strongest first.

    The likelihood's maximum, found by Newton's steps, each shortened so that it cannot overshoot (Bach 2010, Electronic
    Journal of Statistics 4); "can't say" is half a win for each. The prior keeps methods finite that always or never
    won: each gets `prior` wins and as many losses against an imaginary method of average strength. It pulls all a
    little to the middle. The 95 % bands draw voters, or single votes, with replacement, and are centred on the value.
    They are never narrower than the likelihood's curvature allows: of few votes, drawing alone promises too much (of
    12, 82 % instead of 95 %).

    Args:
        votes: list of Vote, on one question.
        prior: such wins; 0 is plain maximum likelihood, then without bands (NaN): drawn votes often have no maximum.
        by: what the bands draw: "voter" or "vote"; by default voters where there are at least five.
        draws: of the bootstrap.

    Returns:
        list of Standing.

    Raises:
        DislibError: fewer than two votes, votes on both questions, too few voters to draw, or without a prior, methods
            that were never compared, or that always won; the groups are named. With a prior, groups that were never
            compared are a DislibWarning: then only ranks within a group mean something.
    """
    blocks = _check_votes(votes, prior, by)
    names, table = win_table(votes)
    _check_connected(names, table.sum(axis=0), prior)
    values = fit(table.sum(axis=0), prior=prior)
    low, high = np.full((2, len(names)), np.nan)
    if prior:
        counts = draw_counts(blocks, draws=draws, seed=seed)
        drawn = fit(np.tensordot(counts, table, axes=1), prior=prior)
        low, high = np.array([band(value, some)[1:] for value, some in zip(values, drawn.T)]).T
        least = 1.96 * standard_errors(table.sum(axis=0), prior=prior)
        low, high = np.minimum(low, values - least), np.maximum(high, values + least)
    shown = (table + table.transpose(0, 2, 1)).sum(axis=(0, 2)).astype(int)
    found = map(Standing, names, values.tolist(), low.tolist(), high.tolist(), shown.tolist())
    return sorted(found, key=lambda standing: -standing.strength)


def fit(wins, *, prior):
    """Strengths `(..., m)` of tables of wins `(..., m, m)`, on average 0; the imaginary method's are not among them.

    Raises:
        DislibError: no maximum is found: it lies at infinity, or nearly so.
    """
    s = _maximum(wins, prior)
    return s - s.mean(axis=-1, keepdims=True)


def standard_errors(wins, *, prior):
    """Of the strengths `(m,)` that `fit` finds, from the curvature of the likelihood with its prior (not 0)."""
    _, curvature = _slope_and_curvature(_maximum(wins, prior), wins, prior)
    centre = np.eye(len(wins)) - 1 / len(wins)
    return np.sqrt(np.diag(centre @ np.linalg.inv(curvature) @ centre))


def _maximum(wins, prior):
    """Strengths `(..., m)`, the imaginary method's being 0; without a prior, 0 on average."""
    s = np.zeros(wins.shape[:-1])
    for _ in range(MOST_STEPS):
        slope, curvature = _slope_and_curvature(s, wins, prior)
        if not prior:  # only differences are determined
            curvature = curvature + 1 / s.shape[-1]
        try:
            step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        except np.linalg.LinAlgError:
            break
        length = np.maximum(np.ptp(step, axis=-1), np.abs(step).max(axis=-1))[..., None]
        s = s + step * np.where(length > 1e-6, np.log1p(length) / np.maximum(length, 1e-300), 1.0)
        if not np.isfinite(length).all():
            break
        if length.max() < TOLERANCE:
            return s
    raise DislibError(f"the strengths of these votes do not settle with prior = {prior}; give a larger one, such as 0.5")


def _slope_and_curvature(s, wins, prior):
    """Of the log likelihood with its prior: the slope `(..., m)`, and the curvature `(..., m, m)` with its sign turned."""
    losses, ahead = np.swapaxes(wins, -1, -2), s[..., :, None] - s[..., None, :]
    won, lost, above, below = (_logistic(x) for x in (ahead, -ahead, s, -s))  # 1 - won would lose all digits near 1
    slope = (wins * lost - losses * won).sum(axis=-1) + prior * (below - above)
    weight = (wins + losses) * won * lost
    diagonal = weight.sum(axis=-1) + 2 * prior * above * below
    return slope, diagonal[..., None] * np.eye(s.shape[-1]) - weight


def _logistic(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _check_votes(votes, prior, by):
    """What the bands draw: a label a vote."""
    asked = sorted({vote.question for vote in votes})
    if len(asked) > 1:
        raise DislibError(f"the votes answer {' and '.join(asked)}; rank each apart: select(votes, question='style')")
    if len(votes) < 2:
        raise DislibError(f"a ranking needs at least 2 votes, got {len(votes)}")
    if not 0 <= prior < math.inf:
        raise DislibError(f"prior = {prior} wins; it must be a number from 0")
    voters = {vote.voter for vote in votes}
    if by not in (None, "voter", "vote") or (by == "voter" and len(voters) < 2):
        raise DislibError(f"by={by!r} with {len(voters)} voters; draw by 'vote', or by 'voter' where there are several")
    if by == "voter" or (by is None and len(voters) >= FEW_VOTERS):
        return [vote.voter for vote in votes]
    return range(len(votes))


def _check_connected(names, wins, prior):
    groups = _groups(wins + wins.T > 0)
    if len(groups) > 1:
        told = f"these groups of methods were never compared: {_tell(names, groups)}"
        if not prior:
            raise DislibError(f"{told}; vote on pairs across them, or rank with a prior")
        warnings.warn(f"{told}; only ranks within a group mean something", DislibWarning, stacklevel=3)
    elif not prior and len(groups := _groups(wins > 0)) > 1:
        told = f"no method of one group ever lost to, or ever beat, another's: {_tell(names, groups)}"
        raise DislibError(f"{told}; without a prior their strengths would be infinite: more votes, or prior=0.5")


def _groups(edges):
    """Sets of indices that reach each other along edges `(m, m)`, both ways."""
    reach = edges | np.eye(len(edges), dtype=bool)
    for _ in range(len(edges).bit_length()):
        reach = reach @ reach  # paths twice as long
    both = reach & reach.T
    return [np.flatnonzero(row) for k, row in enumerate(both) if k == np.flatnonzero(row)[0]]


def _tell(names, groups):
    return " | ".join(", ".join(names[k] for k in group) for group in groups)


# --- against numbers --------------------------------------------------------------------------------------------


class Agreement(NamedTuple):
    """Kendall's tau (1: same order, 0: none, -1: reversed), the share of shuffled orders that agree as well or better,
    and the number of methods."""

    tau: float
    by_chance: float
    n: int

    def __str__(self):
        return f"tau = {self.tau:+.2f} ({self.n} methods; {self.by_chance:.1%} of shuffled orders agree as well)"


def agreement(ranking: list[Standing], numbers: dict[str, float], *, lower_is_better: bool, seed: int = 0) -> Agreement:
    """How far the voters' order agrees with a metric's: Kendall's tau-b.

    Args:
        ranking: what `bradley_terry` returned.
        numbers: from method to number; methods that only one of the two knows are left out.
        lower_is_better: True for FID, KID and MMD, False for CLIP score.
        seed: of the shuffles, 5,000 of them; up to seven methods, all orders are tried.

    Raises:
        DislibError: fewer than three methods in both, a number that is not finite, or all of them equal.
    """
    both = [(s.strength, float(numbers[s.method])) for s in ranking if s.method in numbers]
    if len(both) < 3:
        raise DislibError(f"ranking and numbers share {len(both)} methods; agreement needs at least 3, named alike")
    x, y = np.array(both).T
    if not np.isfinite(y).all() or not np.ptp(y) or not np.ptp(x):
        raise DislibError(f"there is no order in {x.tolist()} or {y.tolist()}: not finite, or all equal")
    y = -y if lower_is_better else y
    tau = kendall(x, y)
    taus = np.array([kendall(x, y[list(order)]) for order in _orders(len(y), seed)])
    return Agreement(tau, float((taus >= tau - 1e-12).mean()), len(y))


def kendall(x, y) -> float:
    """Kendall's tau-b of two lists of numbers: concordant less discordant pairs, corrected for ties.

    >>> round(kendall([1, 2, 3], [1, 3, 2]), 3)
    0.333
    """
    above = np.triu_indices(len(x), 1)
    a, b = (np.sign(np.subtract.outer(z, z))[above] for z in (np.asarray(x), np.asarray(y)))
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def _orders(n, seed):
    if n <= 7:
        return itertools.permutations(range(n))
    rng = np.random.default_rng(seed)
    return (rng.permutation(n) for _ in range(SHUFFLES))
