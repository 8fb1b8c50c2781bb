"""Everything in closed form when the data are Gaussian: what the ideal U-Net says, and where a sampler ends.

Data z_0 ~ N(m, s^2) and noise eps ~ N(mu, sigma^2), independent, element by element. With a = sqrt(abar),
b = sqrt(1 - abar):

    z_t = a z_0 + b eps ~ N(a m + b mu, a^2 s^2 + b^2 sigma^2)

A style's own latents have m = mu and s = sigma, so training shows the U-Net z_T of mean (a + b) mu, and the paper's
start has the mean mu: the method's own leak. Here one sees what comes of it, without any network.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import torch

from ..errors import check_words
from .stochastic import stochastic_step


class Law(NamedTuple):
    """A Gaussian: `mean` and `std`, numbers or tensors of one shape."""

    mean: Any
    std: Any


WHITE = Law(0.0, 1.0)


def noisy(data, noise, abar):
    """The law of z_t = sqrt(abar) z_0 + sqrt(1 - abar) eps, in training."""
    a, b = math.sqrt(abar), math.sqrt(1 - abar)
    return Law(a * data.mean + b * noise.mean, (a**2 * data.std**2 + b**2 * noise.std**2) ** 0.5)


def ideal_eps(z, abar, data, noise):
    """What the best of all U-Nets predicts, the mean of eps given z_t:

        E[eps | z_t] = mu + b sigma^2 / (a^2 s^2 + b^2 sigma^2) (z_t - a m - b mu)

    Args:
        z: z_t, a number or a tensor.
        abar: of its timestep.
        data, noise: two `Law`.
    """
    law = noisy(data, noise, abar)
    return noise.mean + math.sqrt(1 - abar) * noise.std**2 / law.std**2 * (z - law.mean)


def start_law(start, data, noise, abar):
    """The law of z_T of a start whose prior is the noise's law: "paper", "matched" or "leak" (`StylePrior.start`)."""
    return {"paper": noise, "matched": noisy(noise, noise, abar), "leak": noisy(noise, WHITE, abar)}[start]


def follow(start, abars, data, noise, *, eta=0.0, fresh=WHITE):
    """The law of what DDIM makes of z_T ~ `start` with the ideal U-Net: exact, since each step is affine.

    Args:
        start: `Law` of z_T.
        abars: abar of each step, and at last where the steps end (`stochastic.abars_of`).
        data, noise: what the U-Net was trained with.
        eta: share of fresh noise.
        fresh: `Law` of the fresh noise; `noise` is right, see `stochastic.stochastic_step`.

    Returns:
        Law.
    """
    mean, var = start.mean, start.std**2
    for pair in itertools.pairwise(abars):
        step = functools.partial(_step, pair=pair, data=data, noise=noise, eta=eta, fresh=fresh)
        old, new = step(1.0, 0.0) - step(0.0, 0.0), step(0.0, 1.0) - step(0.0, 0.0)
        mean, var = step(mean, 0.0), old**2 * var + new**2
    return Law(mean, var**0.5)


def _step(z, n, pair, data, noise, eta, fresh):
    """One step of the ideal sampler, an affine function of z and of the fresh noise n."""
    eps = ideal_eps(z, pair[0], data, noise)
    return stochastic_step(z, eps, n, *pair, eta=eta, mu=fresh.mean, sigma=fresh.std)


def gain(data, noise, abar):
    """How far the picture moves if z_T is moved by 1, under deterministic sampling in infinitely small steps:

        z_0 = m + gain (z_T - a m - b mu),  gain = s / sqrt(a^2 s^2 + b^2 sigma^2)

    At most 1 / a: a pattern whose spread over pictures (s) is far above that of the noise (sigma) is read from z_T as
    it stands there.
    """
    return data.std / noisy(data, noise, abar).std


# --- a style's latents, whose elements go together ----------------------------------------------------------------


def modes(latents, prior):
    """A style's latents as independent Gaussians: their principal patterns, in units of the noise.

    y = (z - mu) / sigma makes the noise white in all directions; along the principal patterns of y the data are
    uncorrelated too, so that each of them is a case of the formulas above with m = mu and sigma = 1.

    Args:
        latents: (n, 4, h, w), scaled latents of the style, the more the better.
        prior: its StylePrior.

    Returns:
        (std (k,), patterns (k, 4 h w)), float64, the widest first. Most patterns of a style are flat and smooth, and a
        std far above 1 says that pictures differ along them more than the noise does.
    """
    y = ((latents - prior.mean) / prior.std).flatten(1).double()
    _, values, patterns = torch.linalg.svd(y - y.mean(0), full_matrices=False)
    return values / math.sqrt(len(y) - 1), patterns


def own_leak(latents, prior, abar, *, start="paper", **old):
    """How far the mean of the pictures lies from mu for a Gaussian with the style's own correlations, (4, h, w).

    The mean of z_T is off by E[start] - (a + b) mu; along each of the `modes` the sampler hands it on with its `gain`.
    For the start "matched" this is 0.

    Args:
        latents: (n, 4, h, w) of the style.
        prior: its StylePrior: the noise of training and the start.
        abar: at the sampler's first timestep.
        start: "paper" or "matched".
    """
    check_words(old, kind="start=")
    noise = Law(prior.mean.double(), prior.std.double())
    off = (start_law(start, noise, noise, abar).mean - noisy(noise, noise, abar).mean) / noise.std
    std, patterns = modes(latents, prior)
    along = gain(Law(0.0, std), WHITE, abar) * (patterns @ off.flatten())
    return (noise.std * (patterns.T @ along).reshape(prior.shape)).float()


def share_of(shift, mu):
    """A shift (4, h, w) as a share of mu: <shift, mu> / <mu, mu>; -0.1 is a mean that is a tenth too weak."""
    return float((shift * mu).sum() / mu.square().sum())


# --- between two styles -------------------------------------------------------------------------------------------


def wasserstein(one, other):
    """How far two Gaussians with diagonal covariance lie apart: the Wasserstein-2 distance, a number.

        W^2 = || m_1 - m_2 ||^2 + || s_1 - s_2 ||^2

    Args:
        one, other: two `Law`, or two StylePrior of one shape.
    """
    parts = [torch.as_tensor(a - b, dtype=torch.float64) for a, b in ((one.mean, other.mean), (one.std, other.std))]
    return math.sqrt(sum(float(part.square().sum()) for part in parts))


def on_the_line(one, other, t):
    """The law a share t of the way from one to the other on the shortest line: means and stds move evenly."""
    return Law((1 - t) * one.mean + t * other.mean, (1 - t) * one.std + t * other.std)


def mixture(one, other, t):
    """Mean and std of a heap of which a share t comes from `other`: the pictures of both styles, shuffled.

        m = (1 - t) m_1 + t m_2,    s^2 = (1 - t) s_1^2 + t s_2^2 + t (1 - t) (m_1 - m_2)^2
    """
    spread = (1 - t) * one.std**2 + t * other.std**2 + t * (1 - t) * (one.mean - other.mean) ** 2
    return Law((1 - t) * one.mean + t * other.mean, spread**0.5)
