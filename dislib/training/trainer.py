"""The machinery of one fine-tuning run on accelerate: made ready, stepped, saved, restored, put back."""

import contextlib
import math
import warnings

import numpy as np
import torch

from ..core.sampling import paint
from ..errors import TrainingError, check_processes, shorten
from . import checkpoints
from .examples import seeded
from .lora_support import torchao_put_aside
from .objective import draw_batch, loss_for, prior_of
from .settings import LORA_TARGETS, build_optimizer
from .timesteps import style_friendly


class Trainer:
    """One run: the U-Net made trainable, its optimiser, its average, and what is put back when it ends."""

    def __init__(self, pipe, examples, noise, out, preserve, settings):
        self.pipe, self.examples, self.noise, self.preserve = pipe, examples, noise, preserve
        self.settings, self.out, self.device = settings, out, pipe.device
        self.accelerator = accelerator(pipe, settings, out)
        self.batch_size = self.accelerator.num_processes * settings.train_batch_size
        self.batch_size *= settings.gradient_accumulation_steps
        self.chances = None
        if settings.log_snr_mean is not None:
            abars = pipe.scheduler.alphas_cumprod
            self.chances = style_friendly(abars, settings.log_snr_mean, settings.log_snr_std)

    def __enter__(self):
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        unet, settings = self.pipe.unet, self.settings
        self.dtype, self.trained = unet.dtype, make_trainable(unet, settings)
        unet.source = None  # from here on it is no longer what it was loaded as
        if settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        optimizer = build_optimizer(self.trained.values(), settings)
        self.schedule = get_scheduler(
            settings.lr_scheduler, optimizer, num_warmup_steps=settings.lr_warmup_steps,
            num_training_steps=settings.max_train_steps,
        )
        self.ema = EMAModel(self.trained.values()) if settings.use_ema else None
        park(self.pipe, "cpu")
        self.model, self.optimizer = self.accelerator.prepare(unet.train(), optimizer)
        return self

    def __exit__(self, *_):
        unet = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.pipe.unet = unet.eval().requires_grad_(False).to(self.dtype)
        if self.settings.gradient_checkpointing:
            unet.disable_gradient_checkpointing()
        self.model = self.optimizer = None  # so that the memory is free for pictures
        park(self.pipe, self.device)
        self.pipe.style_prior = prior_of(self.noise)
        self.accelerator.end_training()

    @property
    def rate(self):
        """The learning rate of the coming step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, step):
        """One optimiser step; returns its loss, the mean over all processes."""
        draws, rate = self._draw(step), self.rate
        total = torch.zeros((), device=self.accelerator.device)
        try:
            for micro in range(self.settings.gradient_accumulation_steps):
                with self.accelerator.accumulate(self.model):
                    loss = sum(weight * self._loss(draw, micro) for draw, weight in draws)
                    self.accelerator.backward(loss)
                    if self.accelerator.sync_gradients:
                        self.accelerator.clip_grad_norm_(self.trained.values(), self.settings.max_grad_norm)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                total += loss.detach() / self.settings.gradient_accumulation_steps
        except torch.OutOfMemoryError as error:
            raise TrainingError(_out_of_memory(self.settings)) from error
        self._check_loss(value := float(self.accelerator.gather(total[None]).mean()), step)
        with warnings.catch_warnings():  # under fp16 the first steps may be left out, which it takes for a mistake
            warnings.simplefilter("ignore")
            self.schedule.step()
        if self.ema:
            self.ema.step(self.trained.values())
        if self.settings.report_to:
            self.accelerator.log({"loss": value, "learning_rate": rate}, step=step)
        return value

    def _draw(self, step):
        """The batch of this step for all processes, [(batch, weight of its loss)], drawn from (seed, step) alone."""
        options = {"timesteps": self.pipe.scheduler.config.num_train_timesteps, "chances": self.chances}
        draws = [(draw_batch(self.examples, self.batch_size, step, self.noise, self.settings, **options), 1.0)]
        if self.preserve:
            kept = draw_batch(self.preserve, self.batch_size, step, "white", self.settings, stream=1, **options)
            draws.append((kept, self.settings.prior_loss_weight))
        return draws

    def _loss(self, draw, micro):
        """The loss of this process's share of one round of accumulation."""
        size, processes = self.settings.train_batch_size, self.accelerator.num_processes
        begin = (micro * processes + self.accelerator.process_index) * size
        z, eps, t, context = (part[begin : begin + size].to(self.accelerator.device) for part in draw)
        gamma = self.settings.snr_gamma
        loss = loss_for(self.pipe.scheduler)
        return loss(self.model, self.pipe.scheduler, z, eps, t, context, snr_gamma=gamma).mean()

    def _check_loss(self, value, step):
        if not math.isfinite(value):
            self._refuse(f"the loss became {value} at step {step}")

    @torch.no_grad()
    def _check_weights(self):
        """Refuse to keep weights that the last update has driven out of all bounds: no loss has been told of them."""
        values = [value.float() for value in self.trained.values()]
        norms = torch.stack([norm.to(values[0].device) for norm in torch._foreach_norm(values)])
        if not torch.isfinite(norms).all():
            first = list(self.trained)[int((~torch.isfinite(norms)).nonzero()[0])]
            self._refuse(f"the weights are no longer finite, {first} the first of them")

    def _refuse(self, what):
        there = checkpoints.checkpoints(self.out)[-1:] if self.out else []
        kept = f"the last good checkpoint, {there[0]}, is kept" if there else "there is no checkpoint yet"
        raise TrainingError(
            f"{what}; lower learning_rate (now {self.rate:g})"
            f"{' or set mixed_precision to no' * (self.settings.mixed_precision != 'no')}; {kept}"
        )

    def sheet(self, step):
        """Pictures of the validation prompts, always from the same seed, at the steps that are due; else None."""
        due = step % self.settings.validation_steps == 0 or step == self.settings.max_train_steps
        if not (self.settings.validation_prompts and due and self.accelerator.is_main_process):
            return None
        prior = prior_of(self.noise)
        start = {"prior": prior, "start": "paper"} if prior else {"start": "white"}
        park(self.pipe, self.device)
        self.pipe.unet.eval()
        with self._averaged(), torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            made = paint(self.pipe, list(self.settings.validation_prompts), [0], **start)
            images = [row[0] for row in made]
        self.pipe.unet.train()
        park(self.pipe, "cpu")
        self._report(images, step)
        return images

    def _report(self, images, step):
        """Send a sample sheet to the tracker."""
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                pixels = np.stack([np.asarray(image) for image in images])
                tracker.log_images({"validation": pixels}, step=step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({"validation": images}, step=step)

    @contextlib.contextmanager
    def _averaged(self):
        """The averaged weights in the place of the latest ones, for a while."""
        if self.ema:
            self.ema.store(self.trained.values())
            self.ema.copy_to(self.trained.values())
        yield
        if self.ema:
            self.ema.restore(self.trained.values())

    def finish(self):
        """The averaged weights become the result."""
        self._check_weights()
        if self.ema:
            self.ema.copy_to(self.trained.values())

    def save(self, step, state):
        """Write a checkpoint (the main process alone)."""
        self._check_weights()
        if self.accelerator.is_main_process:
            tensors, plain = checkpoints.pack_optimizer(self.optimizer)
            tensors |= {f"unet.{name}": value for name, value in self.trained.items()}
            if self.ema:
                tensors |= {f"ema.{i}": value for i, value in enumerate(self.ema.shadow_params)}
            scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else None
            state = {**state, "settings": self.settings.to_json(), "optimizer": plain, "scaler": scaler}
            state |= {"batch_size": self.batch_size, "ema_step": self.ema.optimization_step if self.ema else None}
            checkpoints.save(self.out, step, tensors, state, keep=self.settings.checkpoints_total_limit)
        self.accelerator.wait_for_everyone()

    def restore(self, start):
        """Go on from a checkpoint (tensors, state); returns the losses so far."""
        tensors, state = start
        if state["batch_size"] != self.batch_size:
            raise TrainingError(
                f"the checkpoint was made with {state['batch_size']} images a step, all processes together, and this"
                f" run would take {self.batch_size}; change train_batch_size or the number of processes"
            )
        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(tensors[f"unet.{name}"])
            for i, value in enumerate(self.ema.shadow_params if self.ema else []):
                value.copy_(tensors[f"ema.{i}"])
        if self.ema:
            self.ema.optimization_step = state["ema_step"]
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        checkpoints.unpack_optimizer(self.optimizer, tensors, state["optimizer"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it thinks that no step has been made
            for _ in state["losses"]:
                self.schedule.step()
        return list(state["losses"])


def make_trainable(unet, settings):
    """Turn on the gradients of what is trained, in float32; returns it by name."""
    if settings.rank is None:
        unet.to(torch.float32).requires_grad_(True)
    else:
        from diffusers.training_utils import cast_training_params
        from peft import LoraConfig

        unet.requires_grad_(False)
        with torchao_put_aside(), torch.random.fork_rng(devices=[]):  # the random numbers of peft are replaced, the user's kept
            unet.add_adapter(LoraConfig(
                r=settings.rank, lora_alpha=settings.rank, init_lora_weights="gaussian",
                target_modules=list(settings.lora_targets),
            ))
        cast_training_params(unet, torch.float32)
        _begin_lora(unet, settings)
    return {name: value for name, value in unet.named_parameters() if value.requires_grad}


def check_lora(unet, settings):
    """Refuse a LoRA whose rank no layer has, or that names a layer which is not there or can have none."""
    layers = {name: module for name, module in unet.named_modules() if name}
    ranks = []
    for target in settings.lora_targets:
        found = [module for name, module in layers.items() if name == target or name.endswith(f".{target}")]
        if not found and target not in LORA_TARGETS:
            raise TrainingError(f"lora_targets: this U-Net has no layer {shorten(target)!r}; name others")
        if any(not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) for module in found):
            raise TrainingError(f"lora_targets: {shorten(target)!r} is no linear layer or convolution; name others")
        ranks += [min(len(module.weight), module.weight[0].numel()) for module in found]
    if not ranks:
        raise TrainingError("lora_targets names no layer of this U-Net; name some, such as to_q")
    if settings.rank > max(ranks):
        raise TrainingError(f"rank {settings.rank} is more than any layer of this U-Net has; take at most {max(ranks)}")


@torch.no_grad()
def _begin_lora(unet, settings):
    """peft's "gaussian" first weights, N(0, 1 / rank^2) for A and 0 for B, drawn from the seed and each layer's name."""
    for name, value in unet.named_parameters():
        if "lora_A" in name:
            value.copy_(torch.randn(value.shape, generator=seeded(settings.seed, "LoRA", name)) / settings.rank)


def accelerator(pipe, settings, out):
    """An Accelerator on the pipeline's device; several may follow one another in one process."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # It remembers the precision of the first one for good, and refuses another.
    AcceleratorState._reset_state()
    check_processes()
    made = Accelerator(
        mixed_precision=settings.mixed_precision, gradient_accumulation_steps=settings.gradient_accumulation_steps,
        cpu=pipe.unet.device.type == "cpu", log_with=settings.report_to, project_dir=out,
    )
    if settings.report_to:
        made.init_trackers("dislib", {k: str(v) for k, v in settings.to_json().items()})
    return made


def check_tracker(name, out):
    """Refuse a tracker that accelerate would leave out without a word."""
    from accelerate.tracking import get_available_trackers

    if name is not None and name not in [str(getattr(one, "value", one)) for one in get_available_trackers()]:
        raise TrainingError(f"report_to {name} needs the package {name}; pip install {name}, or leave report_to out")
    if name is not None and out is None:
        raise TrainingError(f"report_to {name} needs a folder to write in; pass out=")


def park(pipe, device):
    """Move everything but the U-Net to `device`."""
    for part in (pipe.vae, pipe.text_encoder):
        part.to(device)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _out_of_memory(settings):
    ways = [
        f"lower train_batch_size (now {settings.train_batch_size}) and raise gradient_accumulation_steps"
        if settings.train_batch_size > 1 else "",
        "" if settings.gradient_checkpointing else "set gradient_checkpointing",
        "" if settings.use_8bit_adam else "set use_8bit_adam",
        "train a LoRA (rank=8)" if settings.rank is None else "",
    ]
    return f"the GPU is out of memory; {', or '.join(filter(None, ways)) or 'use a larger GPU'}"
