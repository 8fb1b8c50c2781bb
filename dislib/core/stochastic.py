"""Stochastic sampling with style noise: DDIM's fresh noise, given the mean and the spread it has to have.

Deterministic samplers need no change for style noise, since the U-Net predicts the noise with its mean. A stochastic
one replaces a part of the predicted noise by fresh noise, and with N(0, I), or even with N(0, Sigma), the mean mu fades
from step to step.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch

from ..errors import PriorError, SamplerError
from .latents import decode
from .pipeline import latent_shape
from .prediction import eps_of, kind_of
from .prior import StylePrior, second_stream
from .sampling import Sample, check_generation

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

FRESH = ("centred", "zero-mean", "unit")


def stochastic_step(
    z: torch.Tensor, eps: torch.Tensor, n: torch.Tensor, abar: float, abar_next: float, *, eta: float = 1.0, mu=0.0,
    sigma=1.0,
) -> torch.Tensor:
    """One step of DDIM of which a share is fresh noise from N(mu, sigma^2).

        x0 = (z - sqrt(1 - abar) eps) / sqrt(abar)
        s  = eta sqrt((1 - abar') / (1 - abar)) sqrt(1 - abar / abar')
        z' = sqrt(abar') x0 + sqrt(1 - abar') mu + sqrt(1 - abar' - s^2) (eps - mu) + s sigma n

    With mu = 0 and sigma = 1 this is DDIM's own step (Song et al. 2021, equations 12 and 16). The predicted noise is
    shrunk around mu, not around 0, so that old and new noise together have the mean mu and the variance sigma^2 again.

    Args:
        z: latents at abar, any shape; as eps.
        eps: the predicted noise, with its mean.
        n: fresh draws of N(0, 1).
        abar, abar_next: of this timestep and of the next, nearer to the picture: abar < abar_next <= 1.
        eta: 0 for deterministic DDIM, whatever mu and sigma are; 1 for as much fresh noise as DDPM.
        mu, sigma: of the noise that the U-Net was trained with; numbers, or tensors (4, h, w).

    Returns:
        z' at abar_next.
    """
    b, b_next = math.sqrt(1 - abar), math.sqrt(1 - abar_next)
    x0 = (z - b * eps) / math.sqrt(abar)
    s = eta * b_next / b * math.sqrt(1 - abar / abar_next)
    return math.sqrt(abar_next) * x0 + b_next * mu + math.sqrt(b_next**2 - s**2) * (eps - mu) + s * sigma * n


def abars_of(scheduler, steps):
    """[abar at each of the steps, and at last where they end], for a DDIM scheduler; and its timesteps."""
    scheduler.set_timesteps(steps)
    timesteps = [int(t) for t in scheduler.timesteps]
    return [*(float(scheduler.alphas_cumprod[t]) for t in timesteps), float(scheduler.final_alpha_cumprod)], timesteps


def fresh_noise(prior: StylePrior, kind: str = "centred"):
    """(mu, sigma) of the fresh noise: "centred" is right, the other two show what goes wrong.

    - "centred":   N(mu_style, sigma_style^2)
    - "zero-mean": N(0, sigma_style^2): the right spread, but the mean fades
    - "unit":      N(0, 1), as every stochastic sampler of diffusers draws it
    """
    if kind not in FRESH:
        raise SamplerError(f"there is no fresh noise {kind!r}; choose one of {', '.join(FRESH)}")
    return {"centred": (prior.mean, prior.std), "zero-mean": (0.0, prior.std), "unit": (0.0, 1.0)}[kind]


def generate_stochastic(
    pipe: StableDiffusionPipeline, prompts: list[str], seeds: Iterable[int], *, prior: StylePrior | None = None,
    start: str = "matched", eta: float = 1.0, fresh: str = "centred", guidance: float = 2.0, steps: int = 50,
    batch_size: int = 8, **old,
) -> Iterator[list[Sample]]:
    """Make every seed's picture for every prompt by DDIM with fresh noise; a generator of batches, as `generate`.

    A picture depends on its own seed and prompt only: the fresh noise of all its steps comes from a stream of its seed.

    Args:
        pipe: a StableDiffusionPipeline whose U-Net was tuned with the prior's noise.
        prompts, seeds, guidance, batch_size: as in `generate`.
        prior: the StylePrior; by default the one the model was fine-tuned with (`pipe.style_prior`).
        eta: share of fresh noise, from 0 (deterministic DDIM) to 1 (DDPM).
        fresh: "centred", "zero-mean" or "unit", see `fresh_noise`.
        start: "paper", "matched" or "leak", where z_T is drawn from, see `StylePrior.start`.
        steps: inference steps; fresh noise wants more of them than `generate` does.

    Yields:
        lists of at most `batch_size` `sampling.Sample`.

    Raises:
        PromptError, SamplerError, PriorError, DislibError: at the call, before anything is computed.
    """
    prior = prior or getattr(pipe, "style_prior", None)
    if not isinstance(prior, StylePrior):
        raise PriorError("stochastic sampling with style noise needs a style; pass prior=StylePrior.load(FILE)")
    if not 0 <= eta <= 1:
        raise SamplerError(f"eta must lie between 0 (deterministic) and 1 (DDPM), got {eta}")
    checked = check_generation(
        pipe, prompts, seeds, prior=prior, start=start, guidance=guidance, steps=steps, batch_size=batch_size,
        scheduler="ddim", **old,
    )
    law, plan = fresh_noise(prior, fresh), itertools.product(checked.prompts, checked.seeds)
    rows = [(i, prompt, seed) for i, (prompt, seed) in enumerate(plan)]
    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return (_batch(checked, batch, law, eta) for batch in batches)


@torch.no_grad()
def _batch(checked, rows, law, eta):
    """Make one batch of pictures; rows of (index, prompt, seed)."""
    pipe, device = checked.pipe, checked.pipe.device
    seeds = [seed for _, _, seed in rows]
    mu, sigma = (torch.as_tensor(part, dtype=torch.float32, device=device) for part in law)
    streams = [torch.Generator("cpu").manual_seed(second_stream(second_stream(seed))) for seed in seeds]
    z = checked.z_T(rows).to(device)
    predict = _predictor(pipe, [prompt for _, prompt, _ in rows], checked.guidance)
    abars, timesteps = abars_of(copy.deepcopy(checked.scheduler), checked.steps)
    for t, abar, abar_next in zip(timesteps, abars, abars[1:]):
        n = torch.stack([torch.randn(latent_shape(pipe), generator=stream) for stream in streams]).to(device)
        z = stochastic_step(z, predict(z, t), n, abar, abar_next, eta=eta, mu=mu, sigma=sigma)
    images = decode(pipe, z, batch_size=min(len(rows), 4))
    return [Sample(*row, image, latent) for row, image, latent in zip(rows, images, z.cpu())]


def _predictor(pipe, prompts, guidance):
    """A function (z, t) -> eps = eps_0 + w (eps_text - eps_0), both float32 (b, 4, h, w); of v, eps = b z + a v."""
    kind = kind_of(pipe.scheduler)
    text, empty = (
        torch.cat([pipe.encode_prompt(prompt, pipe.device, 1, False)[0] for prompt in texts])
        for texts in (prompts, [""] * len(prompts))
    )

    def predict(z, t):
        abar = float(pipe.scheduler.alphas_cumprod[t])
        return eps_of(said(z, t), z, math.sqrt(abar), math.sqrt(1 - abar), kind=kind)

    def said(z, t):
        if guidance == 1:
            return pipe.unet(z.to(text.dtype), t, encoder_hidden_states=text, return_dict=False)[0].float()
        both = pipe.unet(
            torch.cat([z, z]).to(text.dtype), t, encoder_hidden_states=torch.cat([empty, text]), return_dict=False
        )[0]
        eps_0, eps_text = both.float().chunk(2)
        return eps_0 + guidance * (eps_text - eps_0)

    return predict
