"""What does the initial latent decide? How much of what prompts leave open the seed explains.

Pictures are measured first, see `images.looks`, then compared in a two-way layout `(prompts, seeds, ...)`.
"""

from typing import NamedTuple

import numpy as np

from ..errors import DislibError
from ..evaluation.bands import block_bootstrap


class VarianceShares(NamedTuple):
    """Shares of the whole variance: told by the prompt, by the seed, and by neither alone. They add up to 1."""

    prompt: float
    seed: float
    rest: float


def variance_shares(values):
    """Two-way decomposition of measurements `(prompts, seeds, ...)`, summed over whatever follows."""
    values = _layout(values)
    centred = values - values.mean(axis=(0, 1))
    prompt, seed = centred.mean(axis=1, keepdims=True), centred.mean(axis=0, keepdims=True)
    total = np.sum(centred**2)
    if total <= 1e-24 * np.sum(values**2):  # rounding, not variance
        raise DislibError("all pictures measure the same: there is no variance to share out")
    parts = (np.broadcast_to(part, centred.shape) for part in (prompt, seed, centred - prompt - seed))
    return VarianceShares(*(float(np.sum(part**2) / total) for part in parts))


class SeedShare(NamedTuple):
    """Share of the variance left by the prompt that the seed explains, with its interval and its controls.

    `chance` is the share expected of independent pictures, 1 / prompts. `shuffled` holds the shares found when the
    seeds of every prompt are paired at random.
    """

    share: float
    low: float
    high: float
    chance: float
    shuffled: np.ndarray

    def __str__(self):
        return (f"seed share {self.share:.3f} [{self.low:.3f}, {self.high:.3f}], chance {self.chance:.3f}, "
                f"shuffled pairing {self.shuffled.mean():.3f}")


def seed_share(values, *, shuffles=200, draws=500, seed=0):
    """How much of what the prompt leaves open is decided by the seed (eta squared), with controls.

    Each prompt's own mean is removed; what remains is split into the seeds' means over prompts and the rest:
    `share = SS_seed / (SS_seed + SS_rest)`.

    Args:
        values: measurements `(prompts, seeds, ...)`, e.g. thumbnails; at least 2 prompts and 2 seeds.
        shuffles: random pairings for the control.
        draws: bootstrap draws over prompts, for the 95 % interval.
    """
    flat = _layout(values)
    prompts, seeds = flat.shape[:2]
    residual = (flat - flat.mean(axis=1, keepdims=True)).reshape(prompts, seeds, -1)
    gram = _gram(residual)
    if np.trace(gram) <= 1e-24 * np.sum(flat**2):  # rounding, not variance
        raise DislibError("every prompt gives the same picture for all seeds: the prompt leaves no variance")
    band = block_bootstrap(lambda rows: _share(gram, rows), np.arange(prompts), draws=draws, seed=seed)
    rng = np.random.default_rng(seed)
    shuffled = np.array([_share(_gram(shuffle_pairing(residual, rng)), np.arange(prompts)) for _ in range(shuffles)])
    return SeedShare(*band, 1.0 / prompts, shuffled)


def _gram(residual):
    """Products of the prompts' residuals `(p, s, f)` with each other: `(p, p)`."""
    return np.einsum("psf,qsf->pq", residual, residual)


def _share(gram, rows):
    """The share from the products `gram (p, p)` of the prompts' residuals, for prompts drawn with repeats.

    With `r` the mean product of two *different* prompts over that of a prompt with itself, the share is
    `1/p + (1 - 1/p) r`. A prompt drawn twice is no second prompt: its product with itself stays out of `r`.
    """
    prompts = len(gram)
    weight = np.bincount(rows, minlength=prompts).astype(float)
    pairs = np.outer(weight, weight)
    np.fill_diagonal(pairs, 0.0)
    if pairs.sum() == 0:  # one prompt drawn over and over: it says nothing about two
        return 1.0 / prompts
    r = (np.sum(pairs * gram) / pairs.sum()) / (weight @ np.diag(gram) / weight.sum())
    return float(1 / prompts + (1 - 1 / prompts) * r)


def shuffle_pairing(values, rng):
    """The negative control: every prompt keeps its pictures, but which seed each belongs to is drawn at random.

    `values (prompts, seeds, ...)`, `rng` a numpy Generator.
    """
    return np.stack([row[rng.permutation(len(row))] for row in values])


class Naming(NamedTuple):
    """How often the seed was told from the picture: `accuracy` with interval, `chance`, and the `guesses (p, s)`."""

    accuracy: float
    low: float
    high: float
    chance: float
    guesses: np.ndarray

    def __str__(self):
        return f"seed named right in {self.accuracy:.0%} [{self.low:.0%}, {self.high:.0%}], chance {self.chance:.0%}"


def name_the_seed(values, *, draws=500, seed=0):
    """Tell the seed of a picture from the picture alone, on prompts never seen with it.

    Leave one prompt out: the other prompts give each seed its mean picture; a picture of the left-out prompt gets the
    seed of the nearest one. Distances count each feature in units of its spread within a seed, so that what the
    prompt changes anyway weighs little.

    Args:
        values: measurements `(prompts, seeds, ...)`, e.g. thumbnails; at least 3 prompts and 2 seeds.
    """
    flat = _layout(values, prompts=3)
    flat = flat.reshape(*flat.shape[:2], -1)
    guesses = np.stack([_guess(np.delete(flat, p, axis=0), flat[p]) for p in range(len(flat))])
    hits = (guesses == np.arange(flat.shape[1])).mean(axis=1)
    band = block_bootstrap(lambda rows: hits[rows].mean(), np.arange(len(hits)), draws=draws, seed=seed)
    return Naming(*band, 1.0 / flat.shape[1], guesses)


def _guess(known, unknown):
    """Seed guessed for each row of `unknown (s, f)` from `known (p, s, f)`."""
    centre = known.mean(axis=0)
    spread = np.sqrt(np.mean((known - centre) ** 2, axis=(0, 1)))
    scale = 1.0 / np.maximum(spread, 1e-3 * max(spread.max(), 1e-12))
    distance = np.linalg.norm((unknown[:, None] - centre[None]) * scale, axis=-1)
    return distance.argmin(axis=1)


def _layout(values, *, prompts=2):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 2 or values.shape[0] < prompts or values.shape[1] < 2:
        raise DislibError(f"measurements have shape {values.shape}; expected (prompts, seeds, ...) with at least "
                         f"{prompts} prompts and 2 seeds")
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values))[0][:2]
        raise DislibError(f"the measurement of prompt {where[0]}, seed {where[1]} is not finite; leave that prompt out")
    return values
