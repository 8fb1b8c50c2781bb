"""Mean and variance of latents that come in batches, and how few of them borrow from their whole channel."""

from __future__ import annotations

import torch

from ..errors import PriorError
from .latents import check_finite


class RunningMoments:
    """Mean and variance of tensors that come in batches, in float64 (Welford 1962; batches by Chan et al. 1983)."""

    def __init__(self):
        self.n, self.mean, self.m2 = 0, None, None

    def update(self, batch: torch.Tensor) -> None:
        """Take in a batch (b, 4, h, w)."""
        batch = batch.detach().to("cpu", torch.float64)
        check_finite(batch, "latents")
        if len(batch) == 0:
            return
        if self.mean is None:
            self.mean, self.m2 = torch.zeros_like(batch[0]), torch.zeros_like(batch[0])
        if batch.ndim != 4 or batch.shape[1:] != self.mean.shape:
            expected = f"(n, {', '.join(map(str, self.mean.shape))})" if batch.ndim == 4 else "(n, 4, h, w)"
            raise PriorError(f"latents must all have the shape {expected}, got {tuple(batch.shape)}")
        b, mean = len(batch), batch.mean(0)
        delta, total = mean - self.mean, self.n + b
        self.m2 = self.m2 + (batch - mean).square().sum(0) + delta.square() * (self.n * b / total)
        self.mean = self.mean + delta * (b / total)
        self.n = total

    @property
    def var(self):
        """Unbiased variance (4, h, w); zeros after a single latent."""
        return self.m2 / max(self.n - 1, 1)


def shrunk(moments, shrink):
    """(mean, variance), moved by the share `shrink` toward those of their whole channel, see `StylePrior.from_latents`."""
    mean, var, n = moments.mean, moments.var, moments.n
    channel_mean = mean.mean((1, 2), keepdim=True)
    total = ((n - 1) * var + n * (mean - channel_mean).square()).sum((1, 2), keepdim=True)
    channel_var = total / max(n * mean[0].numel() - 1, 1)
    var = channel_var.expand_as(var) if n == 1 else var + shrink * (channel_var - var)
    return mean + shrink * (channel_mean - mean), var
