"""A style prior whose elements go together: some patterns that vary jointly, and independent noise for the rest.

`StylePrior` knows every channel and position by itself, so its draws are confetti. Here

    z = mu + sigma y,    y ~ N(0, B^T S B + r (1 - B^T B))

with orthonormal patterns B (k, 4 h w), their covariance S (k, k), and one variance r for all that is left. The patterns
are either the style's own (its principal ones) or the waves of lowest frequency, as in the signal-leak paper.
"""

import dataclasses
import math

import torch

from ..errors import PriorError
from .latents import check_finite, white_noise
from .prior import StylePrior, first_timestep, second_stream


@dataclasses.dataclass(frozen=True, eq=False)
class CorrelatedPrior:
    """A Gaussian of a style's latents with covariance.

    Attributes:
        base: the StylePrior whose mu and sigma it keeps.
        patterns: float64 (k, 4 h w), orthonormal rows.
        cov: float64 (k, k), covariance along the patterns, in units of sigma.
        rest: variance of every direction that no pattern covers.
    """

    base: StylePrior
    patterns: torch.Tensor
    cov: torch.Tensor
    rest: float

    @property
    def shape(self):
        """Shape (4, h, w) of one latent."""
        return self.base.shape

    @classmethod
    def low_rank(cls, latents, rank, *, shrink=0.1, base=None):
        """Along the `rank` principal patterns of the latents themselves.

        Args:
            latents: (n, 4, h, w), scaled latents of the style.
            rank: how many patterns, from 1 to n - 2.
            shrink: from 0 to 1; how much of the correlations between patterns is taken away.
            base: the StylePrior to build on; by default that of the latents.

        Raises:
            PriorError: too few latents for so many patterns.
        """
        base, y = _in_sigmas(latents, base)
        if not 1 <= rank <= len(y) - 2:
            raise PriorError(f"{len(y)} latents have room for 1 to {len(y) - 2} patterns, got rank {rank}")
        return cls._along(base, y, torch.linalg.svd(y, full_matrices=False)[2][:rank], shrink)

    @classmethod
    def low_frequencies(cls, latents, side, *, shrink=0.1, base=None):
        """Along the `side` x `side` cosine waves of lowest frequency in each channel, all channels together.

        Args:
            latents, shrink, base: as in `low_rank`.
            side: from 1 (the mean of each channel alone) to the side of the latent.

        Raises:
            PriorError: no such side.
        """
        base, y = _in_sigmas(latents, base)
        if not 1 <= side <= min(base.shape[1:]) or side**2 >= math.prod(base.shape[1:]):
            raise PriorError(f"a latent {base.shape} has no {side} x {side} waves of low frequency beside others")
        return cls._along(base, y, low_waves(base.shape, side), shrink)

    @classmethod
    def _along(cls, base, y, patterns, shrink):
        if not 0 <= shrink <= 1:
            raise PriorError(f"shrink must lie between 0 and 1, got {shrink}")
        along = y @ patterns.T
        n, (k, d) = len(y), patterns.shape
        cov = along.T @ along / (n - 1)
        rest = float((y.square().sum() - along.square().sum()) / ((n - 1) * (d - k)))
        cov = (1 - shrink) * cov + shrink * torch.diag(cov.diagonal())
        if not torch.linalg.cholesky_ex(cov).info == 0:
            raise PriorError(f"{n} latents do not tell the covariance of {k} patterns; use fewer, or more shrink")
        return cls(base, patterns, cov, rest)

    def log_prob(self, latents):
        """log density of each latent (n, 4, h, w) under this prior, in nats: float64 (n,)."""
        y = ((latents.double() - self.base.mean) / self.base.std).flatten(1)
        along, root = y @ self.patterns.T, torch.linalg.cholesky(self.cov)
        inside = torch.linalg.solve_triangular(root, along.T, upper=False).square().sum(0)
        outside = (y.square().sum(1) - along.square().sum(1)).clamp(min=0) / self.rest
        k, d = self.patterns.shape
        volume = 2 * root.diagonal().log().sum() + (d - k) * math.log(self.rest) + d * math.log(2 * math.pi)
        return -0.5 * (inside + outside + volume) - self.base.std.double().log().sum()

    def sample(self, seeds):
        """Draw from the prior, one latent a seed: float32 (len(seeds), 4, h, w)."""
        u = white_noise(seeds, self.shape).double().flatten(1)
        along = u @ self.patterns.T
        joint = along @ torch.linalg.cholesky(self.cov).T @ self.patterns
        y = math.sqrt(self.rest) * (u - along @ self.patterns) + joint
        return (self.base.mean + self.base.std * y.reshape(-1, *self.shape)).float()

    def leak(self, seeds, scheduler, steps=12):
        """The start "leak" of `StylePrior.start` with a crude picture from this prior: a x + b u."""
        _, a, b = first_timestep(scheduler, steps)
        return a * self.sample([second_stream(seed) for seed in seeds]) + b * white_noise(seeds, self.shape)


def _in_sigmas(latents, base):
    """(the StylePrior, latents less their mean in units of its sigma, float64 (n, 4 h w))."""
    check_finite(latents, "the latents of a prior")
    if latents.ndim != 4 or len(latents) < 3:
        raise PriorError(f"a covariance needs at least three latents (n, 4, h, w), got {tuple(latents.shape)}")
    base = base or StylePrior.from_latents([latents])
    y = (latents.double() - base.mean) / base.std
    return base, (y - y.mean(0)).flatten(1)


def low_waves(shape, side):
    """The side x side lowest cosine waves (orthonormal DCT-II) of each channel: float64 (c side^2, c h w)."""
    c, h, w = shape
    flat = torch.einsum("ah,bw->abhw", _waves(h)[:side], _waves(w)[:side]).reshape(side**2, h * w)
    return torch.block_diag(*[flat] * c)


def _waves(n):
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)[None]
    waves = math.sqrt(2 / n) * torch.cos(math.pi * (2 * i + 1) * k / (2 * n))
    waves[0] /= math.sqrt(2)
    return waves
