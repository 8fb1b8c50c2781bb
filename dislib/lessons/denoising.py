"""The way from z_T to z_0: the latents that a sampler goes through."""

import torch

from ..core.pipeline import latent_shape
from ..core.sampling import check_guidance, scheduler_of
from ..core.schedulers import make_scheduler
from ..errors import DislibError, SamplerError

AT = (1000, 667, 333, 0)  # as on the paper's poster


def denoise(pipe, prompt, z_T, *, at=AT, guidance=3.0, steps=12, scheduler="dpm"):
    """Latents on the way of one picture, nearest to the times asked for.

    Args:
        pipe: a StableDiffusionPipeline; it is left as it was.
        prompt: what is painted.
        z_T: where it starts, (1, 4, h, w) or (4, h, w), of unit scale.
        at: times from 1000 (z_T) to 0 (the picture).
        guidance, steps, scheduler: as for `generate`.

    Returns:
        float32 tensor (len(at), 4, h, w) on the CPU.

    Raises:
        SamplerError, DislibError: a stochastic sampler, a wrong guidance, a latent of another shape, or a time that is
            not between 0 and 1000.
    """
    z_T, scheduler = z_T.reshape(-1, *z_T.shape[-3:]), make_scheduler(pipe, scheduler)
    if tuple(z_T.shape) != (1, *latent_shape(pipe)):
        raise DislibError(f"one latent of shape {latent_shape(pipe)} is needed, got {tuple(z_T.shape)}")
    if not all(0 <= t <= 1000 for t in at):
        raise SamplerError(f"times lie between 0 and 1000, got {list(at)}")
    way = [(1000, z_T.float().cpu())]

    def keep(_, step, __, tensors):
        # After its step the latent belongs to the timestep that comes next; timesteps count from 0.
        times = [int(t) + 1 for t in scheduler.timesteps] + [0]
        way.append((times[step + 1], tensors["latents"].float().cpu()))
        return tensors

    with scheduler_of(pipe, scheduler):
        pipe(
            prompt, latents=z_T.to(pipe.device, pipe.unet.dtype), guidance_scale=check_guidance(guidance),
            num_inference_steps=steps, output_type="latent", callback_on_step_end=keep,
        )  # fmt: skip
    return torch.cat([min(way, key=lambda passed: abs(passed[0] - t))[1] for t in at])
