"""What fine-tuning minimises, and the one line in which "Diffusion in Style" differs from plain fine-tuning."""

import torch

from ..core.prediction import check_kind, kind_of, velocity
from ..core.prior import StylePrior
from ..errors import TrainingError
from .examples import seeded
from .timesteps import draw_timesteps

NOISES = ("white", "offset")


def draw_noise(noise, u, constants, offset=0.1):
    """The noise eps of the forward process, from white noise u ~ N(0, I).

    - "white":      eps = u                                plain fine-tuning
    - a StylePrior: eps = mu_style + sigma_style u         "Diffusion in Style", section 3: the one change
    - "offset":     eps = u + offset c                     offset noise: c ~ N(0, 1), one a channel

    Args:
        noise: "white", "offset" or a StylePrior.
        u: white noise (b, 4, h, w).
        constants: white noise (b, 4, 1, 1).
        offset: strength of the constants.
    """
    if isinstance(noise, StylePrior):
        return noise.mean + noise.std * u
    return u + offset * constants if noise == "offset" else u


def prior_of(noise):
    """The StylePrior that a noise is, or None of white and offset noise."""
    return noise if isinstance(noise, StylePrior) else None


def name_of(noise):
    """"white", "offset" or "style"."""
    return "style" if prior_of(noise) else noise


def id_of(noise):
    """"white", "offset", or for a prior 16 digits of what it was made from (see `StylePrior.identity`)."""
    return noise.identity()[:16] if prior_of(noise) else noise


def noise_loss(unet, schedule, z, eps, t, context, *, snr_gamma=None):
    """|| eps - eps_theta(z_t, t, text) ||^2 with z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps, one number an example.

    eps is not normalised: the U-Net learns to predict noise that has the style's mean and spread, and so a
    deterministic sampler needs no change.

    Args:
        unet: the U-Net.
        schedule: a diffusers scheduler, for its abar alone.
        z, eps: latents and noise (b, 4, h, w).
        t: timesteps (b,), long.
        context: text embeddings (b, tokens, d).
        snr_gamma: weigh by min(SNR, gamma) / SNR (Hang et al. 2023).

    Returns:
        tensor (b,), the mean over a latent's elements.
    """
    abar = schedule.alphas_cumprod.to(t.device)[t]
    # Not by `schedule.add_noise`: with the samplers of the Euler family that is z + sigma eps.
    a, b = (part.sqrt().to(z.dtype)[:, None, None, None] for part in (abar, 1 - abar))
    z_t = a * z + b * eps
    error = (eps - unet(z_t, t, context).sample.float()).square().mean((1, 2, 3))
    if snr_gamma is None:
        return error
    abar = abar.clamp(1e-6, 1 - 1e-6)
    snr = abar / (1 - abar)
    return error * snr.clamp(max=snr_gamma) / snr


def velocity_loss(unet, schedule, z, eps, t, context, *, snr_gamma=None):
    """|| v - v_theta(z_t, t, text) ||^2 with v = sqrt(abar_t) eps - sqrt(1 - abar_t) z, for models that predict v.

    The noise eps has the style's mean and spread here too, and so v has them. Since z = a z_t - b v, this is a weighted
    loss on z or on eps, and the minimum is the same mean given z_t.

    Args, Returns:
        as `noise_loss`; the weights of Min-SNR are min(SNR, gamma) / (SNR + 1) for v.
    """
    abar = schedule.alphas_cumprod.to(z.device, z.dtype)[t][:, None, None, None]
    v = velocity(z, eps, abar.sqrt(), (1 - abar).sqrt())
    error = (v - unet(schedule.add_noise(z, eps, t), t, context).sample.float()).square().mean((1, 2, 3))
    if snr_gamma is None:
        return error
    abar = abar.flatten().clamp(1e-6, 1 - 1e-6)
    snr = abar / (1 - abar)
    return error * snr.clamp(max=snr_gamma) / (snr + 1)


def loss_for(schedule):
    """The loss of what a model predicts, as its scheduler says: `noise_loss` or `velocity_loss`.

    Raises:
        TrainingError: it predicts something else.
    """
    kind = check_kind(kind_of(schedule), TrainingError)
    return {"epsilon": noise_loss, "v_prediction": velocity_loss}[kind]


def draw_batch(examples, size, step, noise, settings, *, timesteps=1000, chances=None, stream=0):
    """(z, eps, t, context) of one step: `size` examples, drawn from the seed, the step and the stream alone.

    `timesteps` is the schedule's `num_train_timesteps`; `chances (timesteps,)` are those of `timesteps.style_friendly`,
    or None to draw all alike.
    """
    random = seeded(settings.seed, stream, step)
    flips, dropped = (torch.rand(size, generator=random) < share for share in (0.5, settings.caption_dropout))
    rows = torch.arange((step - 1) * size, step * size)
    z, context = examples.batch(rows, seed=settings.seed, flips=flips, dropped=dropped)
    t = draw_timesteps(size, random, chances, steps=timesteps)
    u, constants = torch.randn(z.shape, generator=random), torch.randn(size, z.shape[1], 1, 1, generator=random)
    return z, draw_noise(noise, u, constants, settings.noise_offset), t, context
