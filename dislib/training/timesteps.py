"""Which timesteps training looks at: all alike, or mostly those where a style is decided.

The style-friendly SNR sampler (Choi and others 2024, arXiv 2411.14793) draws the log signal-to-noise ratio
lambda = log(abar / (1 - abar)) from N(mean, std^2) around a low mean, since a look is settled while there is much noise.
Theirs is continuous (mean -6, std 2, for rectified flows); here it is cut to the schedule's own timesteps.
"""

import torch


def log_snr(abars):
    """log(abar / (1 - abar)) of each timestep: float64 (T,), falling."""
    abars = torch.as_tensor(abars, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    return (abars / (1 - abars)).log()


def style_friendly(abars, mean, std):
    """The chance of each timestep when log-SNR is normal, given that it lies within the schedule.

    Timestep t has the values nearer to its own log-SNR than to its neighbours', so with edges e half-way between them

        p(t) = ( Phi((e_t - m) / s) - Phi((e_{t+1} - m) / s) ) / ( Phi((e_0 - m) / s) - Phi((e_T - m) / s) )

    where e_0 and e_T are the schedule's ends. A std far above the schedule's width leaves log-SNR uniform.

    Args:
        abars: abar of every timestep (T,), falling.
        mean, std: of the normal law of log-SNR.

    Returns:
        float64 (T,), sums to 1.
    """
    values = log_snr(abars)
    edges = torch.cat([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    z = (edges - mean) / std
    # In logarithms, and on the side where both Phi are small, or far from the mean all digits would be lost.
    upper = z[:-1] + z[1:] > 0
    high, low = (torch.special.log_ndtr(torch.where(upper, -a, b)) for a, b in ((z[1:], z[:-1]), (z[:-1], z[1:])))
    return torch.softmax(high + torch.log(-torch.expm1(low - high)), dim=0)


def draw_timesteps(size, generator, chances=None, *, steps=1000):
    """`size` timesteps: uniform from 0 to `steps` - 1, or with the `chances (T,)` of `style_friendly`; long (size,)."""
    if chances is None:
        return torch.randint(steps, (size,), generator=generator)
    at = torch.rand(size, generator=generator, dtype=torch.float64)
    return torch.searchsorted(chances.cumsum(0), at).clamp(max=len(chances) - 1)
