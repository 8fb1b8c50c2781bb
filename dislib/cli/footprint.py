"""What fine-tuning takes at full size: peak memory and seconds a step, `python -m dislib.cli.footprint`.

The weights and pictures are random, in the exact shapes of Stable Diffusion 1.5, which is all that memory and time
depend on, so that nothing has to be downloaded. Each way of training runs in a process of its own; in another one runs
the bare loop, forward, backward and optimiser of the same U-Net on one batch, to see what everything else costs.
"""

import argparse
import dataclasses
import importlib.util
import itertools
import json
import platform
import resource
import statistics
import subprocess
import sys
import time

from ..errors import DislibError, shorten

LIMIT = 15.0  # GiB, what a T4 of 16 GB has to give
AIM = 1.1  # a step against the bare loop


@dataclasses.dataclass(frozen=True)
class Way:
    """One way of training: `rank` of a LoRA or None for all weights, `batch` images a step; always with gradient
    checkpointing, and with 8-bit Adam for all weights."""

    rank: int | None
    batch: int

    def __str__(self):
        return f"{'all weights' if self.rank is None else f'LoRA of rank {self.rank}'}, batch {self.batch}"


WAYS = {str(way): way for way in (Way(rank, batch) for rank in (None, 8) for batch in (1, 4))}


def measure(way, *, model="sd15", device="cuda", steps=10, resolution=None, bare=False):
    """Train for some steps and measure; in a process of its own, since peak memory is counted from its beginning.

    Args:
        way: a Way.
        model: "sd15" for random weights in the shapes of Stable Diffusion 1.5, else what `load_pipeline` takes.
        device: "cuda", in fp16 mixed precision as on a T4, or "cpu", in float32.
        steps: how many to time, after two to warm up. A single step is timed cold, the making ready included.
        resolution: side of the pictures in pixels; by default the model's own.
        bare: time the bare loop in place of `finetune`.

    Returns:
        dict: `seconds` of a step (the median), `peak_gib` (what torch reserved on the GPU; on a CPU the resident memory
        of the process), `loss` of the last step, `optimizer` and `device` in words.
    """
    pipe = _pipeline(model, device, resolution)
    warm = min(steps - 1, 2)
    examples, settings = _examples(pipe, way.batch), _settings(way, device, steps + warm)
    times, losses = [time.perf_counter()], []
    for loss in (bare_losses if bare else _losses)(pipe, examples, settings):
        _wait(device)
        times.append(time.perf_counter())
        losses.append(loss)
    seconds = [b - a for a, b in itertools.pairwise(times)][warm:]
    return {
        "seconds": statistics.median(seconds), "peak_gib": peak_gib(device), "loss": float(losses[-1]),
        "optimizer": "8-bit AdamW" if settings.use_8bit_adam and _has_8bit_adam(device) else "AdamW",
        "device": _name_of(device),
    }  # fmt: skip


def peak_gib(device):
    """The most memory in GiB that this process has held, on the GPU or, on a CPU, in all."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _pipeline(model, device, resolution):
    import torch

    from ..core.pipeline import random_sd15, set_resolution
    from ..loading import load_pipeline

    if device == "cuda" and not torch.cuda.is_available():
        raise DislibError("there is no CUDA GPU here; try --device cpu, best with --model tiny")
    if model == "sd15":
        pipe = random_sd15(dtype=torch.float16 if device == "cuda" else torch.float32).to(device)
        pipe.style_prior = None
    else:
        pipe = load_pipeline(model, device=device)
    if resolution:
        set_resolution(pipe, resolution)
    return pipe


def _examples(pipe, batch):
    """Random latents and embeddings in the model's shapes."""
    import torch

    from ..core.pipeline import latent_shape
    from ..training.examples import TrainingSet

    text, n = pipe.text_encoder.config, max(batch, 8)
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(n + 1, text.max_position_embeddings, text.hidden_size, generator=generator)
    latents = torch.randn(n, *latent_shape(pipe), generator=generator)
    return TrainingSet(latents, context[1:], context[:1], [f"picture {i}" for i in range(n)])


def _settings(way, device, steps):
    from ..training.settings import Settings

    return Settings(
        max_train_steps=steps, train_batch_size=way.batch, learning_rate=1e-5, rank=way.rank,
        gradient_checkpointing=True, use_8bit_adam=way.rank is None,
        mixed_precision="fp16" if device == "cuda" else "no",
    )  # fmt: skip


def _losses(pipe, examples, settings):
    """The loss of every step of `finetune` with style noise."""
    from ..core.prior import StylePrior
    from ..training.finetune import finetune

    for record in finetune(pipe, examples, noise=StylePrior.from_latents([examples.latents]), settings=settings):
        yield record.loss


def bare_losses(pipe, examples, settings):
    """The same U-Net and optimiser on one batch that lies ready: what no trainer can do without."""
    import torch

    from ..training.objective import draw_batch
    from ..training.settings import build_optimizer
    from ..training.trainer import make_trainable, park

    unet, device = pipe.unet, pipe.unet.device.type
    trained = list(make_trainable(unet, settings).values())
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    park(pipe, "cpu")
    optimizer = build_optimizer(trained, settings)
    half = settings.mixed_precision == "fp16"
    scaler = torch.amp.GradScaler(device, enabled=half)
    timesteps = pipe.scheduler.config.num_train_timesteps
    batch = draw_batch(examples, settings.train_batch_size, 1, "white", settings, timesteps=timesteps)
    z, eps, t, context = (part.to(device) for part in batch)
    z_t = pipe.scheduler.add_noise(z, eps, t)
    for _ in range(settings.max_train_steps):
        with torch.autocast(device, dtype=torch.float16, enabled=half):
            guess = unet.train()(z_t, t, context).sample
        loss = (guess.float() - eps).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        yield loss.detach()


def _wait(device):
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def _has_8bit_adam(device):
    return device == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def _name_of(device):
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"


# --- the command --------------------------------------------------------------------------------------------------


def table(found):
    """Markdown: a line for each way, from its name to (measurements of `finetune`, of the bare loop or None)."""
    heads = ("training", "optimiser", f"peak memory in GiB (aim <= {LIMIT:g})", "seconds a step", "bare loop")
    lines = [f"| {' | '.join(heads)} | ratio (aim <= {AIM:g}) |", "|---" * 6 + "|"]
    for name, (ours, bare) in found.items():
        beside = f"{bare['seconds']:.3g} | {ours['seconds'] / bare['seconds']:.2f}" if bare else "- | -"
        lines.append(f"| {name} | {ours['optimizer']} | {ours['peak_gib']:.1f} | {ours['seconds']:.3g} | {beside} |")
    return "\n".join(lines)


def in_a_process(name, options, *, bare):
    """`measure` in a process of its own.

    Raises:
        DislibError: it failed; the last line of what it said.
    """
    words = ["--way", name, *(str(word) for key, value in options.items() if value for word in (f"--{key}", value))]
    command = [sys.executable, "-m", "dislib.cli.footprint", "--one", *words, *(["--bare"] if bare else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was killed: is there enough memory?"])[-1]
        raise DislibError(f"{name}{' (bare loop)' if bare else ''}: {shorten(last, 300)}")
    return json.loads(done.stdout.splitlines()[-1])


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m dislib.cli.footprint", description=__doc__.partition("\n")[0])
    parser.add_argument("--way", choices=WAYS, action="append", help="default: all four")
    parser.add_argument("--model", default="sd15", help="sd15 (default: random weights), or what load_pipeline takes")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default cuda")
    parser.add_argument("--steps", type=int, default=10, help="steps to time (default 10)")
    parser.add_argument("--resolution", type=int, help="default the model's own, 512")
    parser.add_argument("--no-bare", action="store_true", help="leave the bare loop out")
    parser.add_argument("--one", action="store_true", help="measure a single way in this process and print JSON")
    parser.add_argument("--bare", action="store_true", help="with --one: the bare loop")
    chosen = parser.parse_args(words)
    options = {key: getattr(chosen, key) for key in ("model", "device", "steps", "resolution")}
    names = chosen.way or list(WAYS)
    if chosen.one:
        print(json.dumps(measure(WAYS[names[0]], bare=chosen.bare, **options)))
        return 0
    found, failed = {}, []
    for name in names:
        try:
            found[name] = [in_a_process(name, options, bare=False)]
            found[name].append(None if chosen.no_bare else in_a_process(name, options, bare=True))
        except DislibError as error:  # out of memory, say: the others may fit
            found.pop(name, None)
            failed.append(str(error))
    if found:
        print(f"{next(iter(found.values()))[0]['device']}, {chosen.model}, the median of {chosen.steps} steps\n")
        print(table(found))
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
