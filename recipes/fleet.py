"""Many fine-tunings side by side: on a GPU in minutes, on a CPU one after the other, by the same steps.

A small U-Net leaves a GPU idle between its thousand small kernels. Here every training's step is recorded once as a
CUDA graph, and all of them are replayed in turn, each on a stream of its own, so that their kernels fill the gaps.

A step is that of `dislib.training.finetune`: the same loss, optimiser, clipping and average. Only its random numbers are
drawn on the device, each example with replacement; `tests/test_fleet.py` holds both against each other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from dislib.core.prior import StylePrior
from dislib.training.examples import TrainingSet
from dislib.training.objective import draw_noise, noise_loss
from dislib.training.settings import Settings
from dislib.training.trainer import make_trainable

from .graphs import captured


@dataclass(eq=False)
class Member:
    """One training of the fleet: what it learns from, with which noise and settings, and its average so far."""

    name: str
    examples: TrainingSet
    noise: str | StylePrior
    settings: Settings
    preserve: TrainingSet | None = None
    draw_t: Callable[[int], torch.Tensor] | None = None  # timesteps of a batch; uniform if None
    average: list[torch.Tensor] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def state(self) -> dict[str, torch.Tensor]:
        """The averaged weights by name: all that is trained."""
        return {name: value.clone() for name, value in zip(self.names, self.average)}


def sail(pipe, members: list[Member], at: tuple[int, ...]) -> Iterator[tuple[int, Member]]:
    """Train all members for ``max(at)`` steps; yields (step, member) for every member at each step in ``at``.

    On a GPU they advance together; on a CPU one finishes before the next begins.
    """
    device = pipe.unet.device
    if device.type == "cpu":
        for member in members:
            yield from _advance([_ready(pipe, member, device)], at)
    else:
        yield from _advance([_ready(pipe, member, device) for member in members], at)


def _advance(ready: list, at: tuple[int, ...]) -> Iterator[tuple[int, Member]]:
    streams = [torch.cuda.Stream() for _ in ready[:16]] if torch.cuda.is_available() else []
    for step in range(1, max(at) + 1):
        for i, (member, replay, trained) in enumerate(ready):
            if streams:
                with torch.cuda.stream(streams[i % len(streams)]):
                    replay()
                    _average(member, trained, step)
            else:
                replay()
                _average(member, trained, step)
        if step in at:
            if streams:
                torch.cuda.synchronize()
            yield from ((step, member) for member, *_ in ready)


@torch.no_grad()
def _average(member: Member, trained: list[torch.Tensor], step: int) -> None:
    """diffusers' EMAModel: decay (1 + k) / (10 + k) after k earlier updates, at most 0.9999."""
    decay = min((1 + step - 1) / (10 + step - 1), 0.9999) if step > 1 else 0.0
    torch._foreach_lerp_(member.average, trained, 1 - decay)


def _ready(pipe, member: Member, device: torch.device):
    """(member, its step as one call, its trained tensors)."""
    settings = member.settings
    torch.manual_seed(settings.seed)  # of its draws
    unet = copy.deepcopy(pipe.unet)
    named = make_trainable(unet.train(), settings)
    trained = list(named.values())
    member.names, member.average = list(named), [p.detach().clone() for p in trained]
    on_gpu = device.type == "cuda"
    adam = torch.optim.AdamW(
        trained, lr=torch.tensor(settings.learning_rate, device=device) if on_gpu else settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2), weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon, fused=True, capturable=on_gpu,
    )  # fmt: skip
    schedule = copy.deepcopy(pipe.scheduler)
    schedule.alphas_cumprod = schedule.alphas_cumprod.to(device)
    pools = [(_pool(member.examples, device), _on(member.noise, device), member.draw_t, 1.0)]
    if member.preserve is not None:
        pools.append((_pool(member.preserve, device), "white", None, settings.prior_loss_weight))

    def step() -> torch.Tensor:
        total = torch.zeros((), device=device)
        for pool, noise, draw_t, weight in pools:
            z, eps, t, context = draw(pool, noise, settings, draw_t, len(schedule.alphas_cumprod))
            total = total + weight * noise_loss(unet, schedule, z, eps, t, context, snr_gamma=settings.snr_gamma).mean()
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        adam.step()
        return total.detach()

    return member, captured(step, adam, warm=0), trained


@dataclass(frozen=True)
class Pool:
    """A training set on the device: latents (2, n, 4, h, w), mirrored second, and embeddings."""

    latents: torch.Tensor
    embeddings: torch.Tensor
    empty: torch.Tensor


def _pool(examples: TrainingSet, device: torch.device) -> Pool:
    z, turned = examples.latents, examples.turned
    both = torch.stack([z, z if turned is None else turned])
    return Pool(both.to(device), examples.embeddings.to(device), examples.empty.to(device))


def _on(noise: str | StylePrior, device: torch.device) -> str | StylePrior:
    return StylePrior(noise.mean.to(device), noise.std.to(device)) if isinstance(noise, StylePrior) else noise


def draw(pool: Pool, noise, settings: Settings, draw_t, T: int) -> tuple[torch.Tensor, ...]:
    """(z, eps, t, context) of a batch, all of it on the device."""
    b, device = settings.train_batch_size, pool.latents.device
    picks = torch.randint(pool.latents.shape[1], (b,), device=device)
    z = pool.latents[torch.randint(2, (b,), device=device), picks]
    dropped = torch.rand(b, 1, 1, device=device) < settings.caption_dropout
    context = torch.where(dropped, pool.empty, pool.embeddings[picks])
    t = draw_t(b) if draw_t else torch.randint(T, (b,), device=device)
    u, constants = torch.randn_like(z), torch.randn(b, z.shape[1], 1, 1, device=device)
    return z, draw_noise(noise, u, constants, settings.noise_offset), t, context
