"""Samplers by name, on the pipeline's own noise schedule: deterministic ones, and the reason why others are refused."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import diffusers
import torch

from ..errors import (
    SamplerError,
)

if TYPE_CHECKING:
    from diffusers import SchedulerMixin, StableDiffusionPipeline


# Short names of the deterministic samplers. Heun and DPM2 call the U-Net twice a step, PNDM once more in all.
SCHEDULERS = {
    "dpm": ("DPMSolverMultistepScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm-single": ("DPMSolverSinglestepScheduler", {"lower_order_final": True}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
}
DETERMINISTIC = frozenset(class_name for class_name, _ in SCHEDULERS.values())
# Names a reader may know from elsewhere, so that the refusal can give its reason.
STOCHASTIC = {
    "ddpm": "DDPMScheduler", "euler_a": "EulerAncestralDiscreteScheduler", "lcm": "LCMScheduler",
    "dpm2_a": "KDPM2AncestralDiscreteScheduler", "dpm-sde": "DPMSolverSDEScheduler", "tcd": "TCDScheduler",
    "sa": "SASolverScheduler",
}
_WHY = (
    "adds fresh N(0, 1) noise at every step, which takes a sample away from the style's noise N(mu, sigma^2);"
    f" choose a deterministic sampler: {', '.join(SCHEDULERS)}"
)


def make_scheduler(pipe: StableDiffusionPipeline, scheduler="dpm", *, eta: float = 0.0) -> SchedulerMixin:
    """A deterministic scheduler on the pipeline's own noise schedule.

    Those made by name use the "trailing" spacing, so that each starts at t = T (999), where the start's noise
    belongs, however few the steps; diffusers' default for DDIM and PNDM would start 12 steps at t = 914. With few
    steps the noise is then spread as evenly as "linspace" does it.

    Args:
        pipe: the pipeline whose noise schedule is used.
        scheduler: a name in `SCHEDULERS`, a diffusers scheduler (used with its own settings), or None for the
            pipeline's own.
        eta: DDIM's share of fresh noise; only 0 is deterministic.

    Raises:
        SamplerError: not known, or stochastic.
    """
    if eta != 0:
        raise SamplerError(
            f"eta = {eta}: DDIM with eta above 0 {_WHY}, with eta = 0; or use stochastic.generate_stochastic"
        )
    if scheduler is None or not isinstance(scheduler, str):
        return _check_deterministic(copy.deepcopy(pipe.scheduler if scheduler is None else scheduler))
    if scheduler in STOCHASTIC:
        raise SamplerError(f"the sampler {scheduler!r} ({STOCHASTIC[scheduler]}) {_WHY}")
    if scheduler not in SCHEDULERS:
        raise SamplerError(f"there is no sampler {scheduler!r}; choose one of {', '.join(SCHEDULERS)}")
    class_name, options = SCHEDULERS[scheduler]
    # As the values stand: `from_config` would put another class's defaults where the model's file is silent.
    config = {key: pipe.scheduler.config[key] for key in _SCHEDULE if key in pipe.scheduler.config} | _PLAIN
    try:
        made = getattr(diffusers, class_name).from_config(config, timestep_spacing="trailing", **options)
    except ImportError as error:
        raise SamplerError(f"the sampler {scheduler!r} needs scipy; pip install scipy, or use another") from error
    _check_schedule(made, pipe.scheduler, scheduler)
    return made


# What a sampler by name takes from the pipeline's scheduler: the noise schedule and what the U-Net predicts (eps or v).
_SCHEDULE = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr",
)
# Everything else is the same for all models, and nothing is clipped, since latents are no pixels.
_PLAIN = {
    "algorithm_type": "dpmsolver++", "use_karras_sigmas": False, "use_exponential_sigmas": False,
    "use_beta_sigmas": False, "final_sigmas_type": "zero", "clip_sample": False, "thresholding": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}


def _check_schedule(made, own, name):
    """Refuse a sampler that does not know the way this model's noise grows."""
    abar = getattr(own, "alphas_cumprod", None)
    if abar is None or not torch.allclose(made.alphas_cumprod.double(), abar.double(), atol=1e-6):
        raise SamplerError(
            f"the sampler {name!r} ({type(made).__name__}) cannot follow the noise schedule of this model's"
            f" {type(own).__name__}; use another, such as ddim or dpm"
        )


def latent_scale(scheduler: SchedulerMixin, steps: int) -> float:
    """What unit-scale latents are multiplied by before diffusers multiplies them by `init_noise_sigma`.

    1 for DDIM, PNDM, DPM-Solver++, UniPC and DEIS. The Euler family with "trailing" or "linspace" spacing shows the
    U-Net z * sigma / sqrt(1 + sigma^2) in place of z: 0.2 % too little on Stable Diffusion, a few per cent on a
    shifted schedule. This factor is the inverse, so that all samplers start from the same z_T.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    one = torch.ones(1, dtype=torch.float64) * scheduler.init_noise_sigma
    return 1 / float(scheduler.scale_model_input(one, scheduler.timesteps[0]))


def _check_deterministic(scheduler):
    name = type(scheduler).__name__
    algorithm = scheduler.config.get("algorithm_type", "")
    if name in DETERMINISTIC and not algorithm.startswith("sde"):
        return scheduler
    if algorithm.startswith("sde"):
        raise SamplerError(f"{name} with algorithm_type={algorithm!r} {_WHY}")
    if name in STOCHASTIC.values() or "Ancestral" in name or "SDE" in name:
        raise SamplerError(f"{name} {_WHY}")
    raise SamplerError(f"{name} is not known to be deterministic; choose one of {', '.join(SCHEDULERS)}")
