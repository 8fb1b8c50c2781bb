"""What the last noise leaves readable of a picture, and the schedules that decide it.

Latents are `(n, c, h, w)` in scaled units; numpy throughout, torch tensors on the CPU are accepted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import DislibError


class Readability(NamedTuple):
    """Spread of the pictures' channel means in z_T, in units of the noise's own: by channel `(c,)`, and their rms."""

    channels: np.ndarray
    rms: float


def readability(latents: np.ndarray, *, sqrt_abar: float) -> Readability:
    """How well a picture's mean can be read in `z_T = sqrt(abar_T) z_0 + sqrt(1 - abar_T) eps`.

        sqrt(abar_T) * N * std over pictures (mean over positions of a channel),  N = side of the latent

    The mean of `N x N` unit noise has std `1 / N`: at 1 the signal of the mean is as large as the noise of the mean.
    Stable Diffusion 1.5 on photographs: 1.3 to 2.0 by channel, rms 1.65.

    Args:
        latents: scaled latents of at least 2 pictures `(n, c, h, w)`.
        sqrt_abar: sqrt(alpha_bar) at the last training timestep (0.0683 for Stable Diffusion).
    """
    latents = check_latents(latents)
    side = np.sqrt(latents.shape[2] * latents.shape[3])
    channels = sqrt_abar * side * latents.mean(axis=(2, 3)).std(axis=0, ddof=1)
    return Readability(channels, float(np.sqrt(np.mean(channels**2))))


def scaled_linear_abar(beta_end: float, *, beta_start: float = 0.00085, steps: int = 1000) -> np.ndarray:
    """`alpha_bar (steps,)` of Stable Diffusion's schedule: betas whose square roots grow linearly."""
    return np.cumprod(1.0 - np.linspace(np.sqrt(beta_start), np.sqrt(beta_end), steps) ** 2)


def calibrate_beta_end(
    latents: np.ndarray, *, target: float = 1.65, beta_start: float = 0.00085, steps: int = 1000,
) -> float:
    """The `beta_end` of a scaled_linear schedule at which these latents are as readable in z_T as `target`.

    A small latent has few positions, so that noise drowns its mean sooner; a shorter schedule (less noise at the end)
    makes up for it. This is the resolution shift of noise schedules, fixed by what the course is about.

    Raises:
        DislibError: no `beta_end` between `beta_start` and 0.5 gives the target.
    """
    at_one = readability(latents, sqrt_abar=1.0).rms

    def reached(beta_end):
        return at_one * np.sqrt(scaled_linear_abar(beta_end, beta_start=beta_start, steps=steps)[-1])

    low, high = beta_start, 0.5
    if not reached(high) < target < reached(low):
        raise DislibError(f"a readability of {target} is out of reach: from {reached(low):.3g} at beta_end={low} down "
                         f"to {reached(high):.3g} at {high}")
    for _ in range(80):  # readability falls with beta_end; halve the bracket in log scale
        middle = np.sqrt(low * high)
        low, high = (middle, high) if reached(middle) > target else (low, middle)
    return float(np.sqrt(low * high))


class FrequencyBands(NamedTuple):
    """Signal over noise by spatial frequency: `names`, first index of each band, and the amplitude ratio `snr`."""

    names: list[str]
    starts: np.ndarray
    snr: np.ndarray


def signal_by_frequency(latents: np.ndarray, *, abar: float) -> FrequencyBands:
    """How much of the pictures is left in `z_t`, band by band: std of signal over std of noise, each `(bands,)`.

    Latents are taken apart into cosine waves (orthonormal DCT-II); unit noise has variance 1 in every one of them.
    Bands are octaves of the larger of the two indices: the mean alone, index 1 (half a wave across), 2-3, 4-7, ...
    The signal is the spread over pictures, the mean picture taken away. Where the ratio is over 1, the picture's
    waves of that size are still plain to see.

    Args:
        latents: scaled latents of at least 2 pictures `(n, c, h, w)`.
        abar: alpha_bar at the timestep in question.
    """
    latents = check_latents(latents)
    rows, columns = _dct(latents.shape[2]), _dct(latents.shape[3])
    power = (rows @ latents @ columns.T).var(axis=0, ddof=1).mean(axis=0)
    index = np.maximum(*np.indices(power.shape))
    octave = np.where(index > 0, np.floor(np.log2(np.maximum(index, 1))) + 1, 0).astype(int)
    signal = np.array([power[octave == k].mean() for k in range(octave.max() + 1)])
    starts = np.array([0] + [2 ** (k - 1) for k in range(1, len(signal))])
    ends = np.append(starts[1:] - 1, index.max())
    names = ["mean"] + [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts[1:], ends[1:])]
    return FrequencyBands(names, starts, np.sqrt(abar * signal / (1 - abar)))


def _dct(n):
    """Orthonormal DCT-II as a matrix `(n, n)`: row k is the k-th cosine wave."""
    k, i = np.arange(n)[:, None], np.arange(n)[None]
    waves = np.sqrt(2 / n) * np.cos(np.pi * (2 * i + 1) * k / (2 * n))
    waves[0] /= np.sqrt(2)
    return waves


def check_latents(latents: np.ndarray) -> np.ndarray:
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 4 or len(latents) < 2:
        raise DislibError(f"latents have shape {latents.shape}; expected (n, c, h, w) of at least 2 pictures")
    if not np.isfinite(latents).all():
        bad = np.flatnonzero(~np.isfinite(latents).all(axis=(1, 2, 3)))
        raise DislibError(f"latents of pictures {bad[:5].tolist()} are not finite (NaN or inf)")
    return latents
