"""The perfect U-Net of a finite set of pictures: what the training loss would like best, in closed form.

With the n training latents x_i alone, equally likely, and noise eps ~ N(mu, sigma^2), the loss is least for

    E[eps | z_t] = (z_t - a sum_i w_i x_i) / b,    w = softmax_i( -|| (z_t - a x_i - b mu) / (b sigma) ||^2 / 2 )

with a = sqrt(abar) and b = sqrt(1 - abar). Late in sampling one w_i is 1: the perfect U-Net draws nothing but its
training pictures. That real ones draw anything else is due to what they have not learnt.
"""

import itertools
import math

import torch

from .gaussian import WHITE
from .stochastic import stochastic_step


def perfect_eps(z, abar, latents, noise=WHITE):
    """The noise that the perfect U-Net of a training set predicts.

    Args:
        z: z_t (m, 4, h, w).
        abar: of its timestep, below 1.
        latents: the training set (n, 4, h, w).
        noise: `Law` of the noise of training, or a StylePrior.

    Returns:
        eps, as z.
    """
    a, b = math.sqrt(abar), math.sqrt(1 - abar)
    off = (z[:, None] - a * latents[None] - b * noise.mean) / (b * noise.std)
    weights = torch.softmax(-off.flatten(2).square().sum(2) / 2, dim=1)
    return (z - a * torch.einsum("mn,n...->m...", weights, latents)) / b


def draw_perfectly(z, abars, latents, noise=WHITE):
    """Where deterministic DDIM takes z_T with the perfect U-Net, float32.

    Args:
        z: z_T (m, 4, h, w).
        abars: abar of each step, and at last where the steps end (`stochastic.abars_of`).
        latents, noise: as in `perfect_eps`.
    """
    z, latents = z.double(), latents.double()
    for abar, abar_next in itertools.pairwise(abars):
        z = stochastic_step(z, perfect_eps(z, abar, latents, noise), 0.0, abar, abar_next, eta=0.0)
    return z.float()
