"""Pictures from a pipeline: every seed for every prompt, each depending on its own seed and prompt alone."""

import contextlib
import copy
import dataclasses
import itertools
import math
import operator
import threading
import warnings

import diffusers
import torch
from PIL import Image

from ..errors import DislibWarning, PromptError, SamplerError, check_text, shorten
from .latents import check_finite, check_seeds, decode, white_noise
from .pipeline import latent_shape
from .prior import KINDS, StylePrior

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


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One picture: `image` (PIL RGB) and `latent` (float32 (4, h, w) on the CPU) of `prompt` and `seed`.

    `index` counts from 0: prompts in order, seeds within a prompt.
    """

    index: int
    prompt: str
    seed: int
    image: Image.Image
    latent: torch.Tensor


def generate(
    pipe, prompts, seeds, *, guidance=3.0, steps=12, start=None, kind="paper", scheduler="dpm", batch_size=8,
    negative=None, eta=0.0, first=0,
):
    """Make every seed's picture for every prompt; a generator of batches.

    `for batch in generate(...): for sample in batch: ...` A picture depends on its own seed and prompt only, not on
    the batch it is made in (up to rounding: at most one grey level). Each distinct prompt is encoded once.

    Args:
        pipe: a StableDiffusionPipeline; it is left as it was.
        prompts: list of strings.
        seeds: whole numbers from 0; all are used for each prompt.
        guidance: weight w of classifier-free guidance, eps = eps_0 + w (eps_text - eps_0), at least 1. With 1 the
            U-Net is called once a step instead of twice.
        steps: inference steps.
        start: where z_T comes from. None: the prior the model was fine-tuned with (`pipe.style_prior`), or else white
            noise. "white": white noise in any case. A StylePrior: drawn from it, see `kind`. A tensor, one latent
            a seed (used for every prompt) or one an image, (n, 4, h, w). A function of the list of seeds returning
            such a tensor. All of unit scale, as `latents=` of diffusers; no scaling by `init_noise_sigma` is needed.
        kind: "paper", "matched" or "leak", see `StylePrior.start`.
        scheduler: a name in `SCHEDULERS`, a deterministic diffusers scheduler, or None for the pipeline's own.
        batch_size: pictures made at once.
        negative: negative prompt, in place of the empty one.
        eta: only 0. It is here to be refused with the reason.
        first: index of the first picture to make; earlier ones are left out (to go on after an interruption).

    Yields:
        lists of at most `batch_size` Sample.

    Raises:
        PromptError, SamplerError, PriorError, DislibError: at the call, before anything is computed.
    """
    prompts, seeds = _check_prompts(prompts), check_seeds(seeds)
    steps = _check_count(steps, "steps", most=pipe.scheduler.config.num_train_timesteps)
    batch_size, guidance = _check_count(batch_size, "batch_size"), check_guidance(guidance)
    scheduler = make_scheduler(pipe, scheduler, eta=eta)
    z_T = _starter(pipe, start, kind, scheduler, steps, seeds, len(prompts))
    _say_what_is_lost(pipe, prompts, negative, guidance)
    plan = [(i, prompt, seed) for i, (prompt, seed) in enumerate(itertools.product(prompts, seeds))][first:]
    batches = [plan[i : i + batch_size] for i in range(0, len(plan), batch_size)]
    embed, scale = _embedder(pipe), latent_scale(scheduler, steps)
    return (_batch(pipe, rows, z_T(rows) * scale, embed, guidance, steps, scheduler, negative) for rows in batches)


def make_scheduler(pipe, scheduler="dpm", *, eta=0.0):
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
    config = {**pipe.scheduler.config, **_PLAIN}
    try:
        return getattr(diffusers, class_name).from_config(config, timestep_spacing="trailing", **options)
    except ImportError as error:
        raise SamplerError(f"the sampler {scheduler!r} needs scipy; pip install scipy, or use another") from error


# Settings of the pipeline's saved scheduler that would turn another one stochastic or bend its timesteps.
_PLAIN = {
    "algorithm_type": "dpmsolver++", "use_karras_sigmas": False, "use_exponential_sigmas": False,
    "use_beta_sigmas": False, "final_sigmas_type": "zero",
}


def latent_scale(scheduler, steps):
    """What unit-scale latents are multiplied by before diffusers multiplies them by `init_noise_sigma`.

    1 for DDIM, PNDM, DPM-Solver++, UniPC and DEIS. The Euler family with "trailing" or "linspace" spacing shows the
    U-Net z * sigma / sqrt(1 + sigma^2) in place of z: 0.2 % too little on Stable Diffusion, a few per cent on a
    shifted schedule. This factor is the inverse, so that all samplers start from the same z_T.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    one = torch.ones(1, dtype=torch.float64) * scheduler.init_noise_sigma
    return 1 / float(scheduler.scale_model_input(one, scheduler.timesteps[0]))


def truncated_part(pipe, prompt):
    """The end of a prompt that the text encoder does not read; "" if it reads all of it."""
    limit = pipe.tokenizer.model_max_length - 2  # begin and end of text take a place each
    ids = pipe.tokenizer(prompt, add_special_tokens=False).input_ids
    return pipe.tokenizer.decode(ids[limit:]).strip()


def check_guidance(guidance):
    """The guidance weight as a float.

    Raises:
        SamplerError: not a number of at least 1.
    """
    try:
        value = float(guidance)
    except (TypeError, ValueError):
        value = math.nan
    if not 1 <= value < math.inf:
        raise SamplerError(f"guidance must be a number of at least 1 (1 means no guidance), got {guidance}")
    return value


def _batch(pipe, rows, z, embed, guidance, steps, scheduler, negative):
    """Make one batch of pictures by the pipeline itself; rows of (index, prompt, seed)."""
    embeds = torch.cat([embed(prompt) for _, prompt, _ in rows])
    empty = torch.cat([embed(negative or "")] * len(rows)) if guidance > 1 else None
    with scheduler_of(pipe, scheduler):
        z = pipe(
            prompt_embeds=embeds, negative_prompt_embeds=empty, latents=z.to(embeds.dtype), guidance_scale=guidance,
            num_inference_steps=steps, output_type="latent",
        ).images
    if not torch.isfinite(z).all():
        raise SamplerError(
            f"the sampler gave NaN or infinite latents (guidance {guidance:g}, {steps} steps, {embeds.dtype}); lower"
            " the guidance, load the model with dtype=torch.float32, or get its files again"
        )
    images = decode(pipe, z, batch_size=min(len(rows), 4))
    return [Sample(*row, image, latent) for row, image, latent in zip(rows, images, z.float().cpu())]


# JupyterLab runs a widget's callbacks in a thread of their own, beside the cell that runs.
ALONE = threading.RLock()


@contextlib.contextmanager
def scheduler_of(pipe, scheduler):
    """Lend the pipeline a scheduler for one call, so that a caller may use it between batches; one caller at a time."""
    with ALONE:
        before, pipe.scheduler = pipe.scheduler, scheduler
        try:
            yield
        finally:
            pipe.scheduler = before


def _embedder(pipe):
    """A function prompt -> (1, tokens, d) that encodes each distinct prompt once, and on its own: in a batch the
    last digits of an embedding would depend on its neighbours."""
    known, device = {}, pipe._execution_device  # which diffusers finds out anew, in 15 ms, each time it is asked

    @torch.no_grad()
    def embed(prompt):
        if prompt not in known:
            known[prompt] = pipe.encode_prompt(prompt, device, 1, False)[0]
        return known[prompt]

    return embed


def _starter(pipe, start, kind, scheduler, steps, seeds, n_prompts):
    """A function of rows (index, prompt, seed) returning their z_T, (len(rows), 4, h, w)."""
    shape = latent_shape(pipe)
    if kind not in KINDS:
        raise SamplerError(f"there is no start {kind!r}; choose one of {', '.join(KINDS)}")
    if start is None:
        start = getattr(pipe, "style_prior", None) or "white"
    if isinstance(start, str) and start == "white":
        return lambda rows: white_noise(_seeds(rows), shape)
    if isinstance(start, StylePrior):
        start.check(pipe)
        return lambda rows: start.start(_seeds(rows), kind=kind, scheduler=scheduler, steps=steps)
    if torch.is_tensor(start):
        _check_start(start, shape, (len(seeds), len(seeds) * n_prompts))
        return lambda rows: start.float().cpu()[[i % len(start) for i, _, _ in rows]]
    if callable(start):
        return lambda rows: _check_start(start(_seeds(rows)), shape, (len(rows),)).float().cpu()
    raise SamplerError(
        f"start is a {type(start).__name__}; give None, 'white', a StylePrior, a tensor or a function of the seeds"
    )


def _seeds(rows):
    return [seed for _, _, seed in rows]


def _check_start(latents, shape, counts):
    # The pipeline itself takes any height and width in silence and makes a picture of another size.
    if tuple(latents.shape[1:]) != shape or len(latents) not in counts:
        wanted = " or ".join(str((n, *shape)) for n in dict.fromkeys(counts))
        raise SamplerError(f"the start's latents have the shape {tuple(latents.shape)}; this model needs {wanted}")
    check_finite(latents, "the start's latents")
    return latents


def _check_prompts(prompts):
    if isinstance(prompts, str):
        raise PromptError(f'prompts must be a list; write ["{shorten(prompts)}"]')
    prompts = list(prompts)
    if not prompts:
        raise PromptError("no prompts; give at least one")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise PromptError(f"prompts must be strings, got {shorten(repr(prompt))}")
        check_text(prompt)
    return prompts


def _check_count(value, name, *, most=None):
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or (most and count > most):
        raise SamplerError(f"{name} must be a whole number from 1{f' to {most}' if most else ''}, got {value}")
    return count


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


def _say_what_is_lost(pipe, prompts, negative, guidance):
    for prompt in dict.fromkeys([*prompts, *([negative] if negative else [])]):
        if lost := truncated_part(pipe, prompt):
            limit = pipe.tokenizer.model_max_length - 2
            warnings.warn(
                f"the prompt {shorten(prompt)!r} is longer than the {limit} tokens the text encoder reads;"
                f" truncated, without {shorten(lost)!r}",
                DislibWarning, stacklevel=3,
            )
    if negative and guidance == 1:
        warnings.warn("a negative prompt has no effect at guidance 1", DislibWarning, stacklevel=3)
