"""The settings of a fine-tuning, under the names that diffusers' training scripts give them."""

import dataclasses
import math
import warnings
from pathlib import Path

from ..core.pipeline import TINY
from ..errors import DislibWarning, TrainingError, check_whole, shorten
from ..files import data_dir, read_json, read_text

FULL_RATE, LORA_RATE = 1e-5, 1e-4  # what diffusers' examples use for Stable Diffusion
# Attention, as diffusers' LoRA script; and the two convolutions through which noise enters and leaves the U-Net.
# All layers of a U-Net that hold more than a scale. A LoRA on attention alone cannot learn a shift of the noise, and with
# conv_in and conv_out it still lags behind (docs/methods.md).
LORA_TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "time_emb_proj"),
    *("conv_in", "conv_out", "conv1", "conv2", "conv_shortcut", "conv"),
)
PRECISIONS = ("no", "fp16", "bf16")
LR_SCHEDULERS = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab")
# May differ between a run and its resumption: none of them changes a step that has been made.
FREE = frozenset(
    "checkpointing_steps checkpoints_total_limit gradient_checkpointing report_to resume_from_checkpoint"
    " validation_prompts validation_steps".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How `finetune` trains. Each has the name and the meaning it has in diffusers' scripts.

    Attributes:
        max_train_steps: optimiser steps; the paper makes 1,000.
        train_batch_size: images a step, on each process, in each round of accumulation.
        gradient_accumulation_steps: batches whose gradients are summed before a step.
        gradient_checkpointing: compute activations twice in place of keeping them: less memory, a fifth slower.
        learning_rate: None takes the one from the model's card, or else 1e-5 (1e-4 for a LoRA).
        lr_scheduler: "constant", "linear", "cosine", ... (LR_SCHEDULERS; `diffusers.optimization.get_scheduler`).
        lr_warmup_steps: steps over which the rate rises from 0.
        snr_gamma: Min-SNR weights (Hang et al. 2023) with this gamma; None for none.
        log_snr_mean: draw the timesteps so that log(abar / (1 - abar)) is normal around this (the style-friendly SNR
            sampler, Choi and others 2024: see `timesteps.style_friendly`); None draws all timesteps alike.
        log_snr_std: its standard deviation.
        use_8bit_adam: AdamW with 8-bit states (bitsandbytes): 4 GB less for Stable Diffusion.
        adam_beta1, adam_beta2, adam_weight_decay, adam_epsilon: of AdamW.
        use_ema: keep an exponential moving average of the weights, which becomes the result.
        max_grad_norm: gradients longer than this are shortened to it.
        mixed_precision: "no", "fp16" or "bf16"; None takes "fp16" on CUDA and "no" elsewhere.
        rank: of a LoRA; None trains all weights of the U-Net.
        lora_targets: names of the layers that get one; by default attention, feed-forward and all convolutions.
        caption_dropout: share of captions left empty, so that classifier-free guidance keeps working.
        noise_offset: strength of the random constant a channel in noise="offset".
        prior_loss_weight: of the images to be preserved (DreamBooth).
        seed: of every random number; step k draws the same ones however often the run is interrupted.
        checkpointing_steps: a checkpoint every so many steps.
        checkpoints_total_limit: how many are kept.
        resume_from_checkpoint: "latest", a path, or None to start anew (in a folder without checkpoints).
        validation_prompts: prompts of the sample sheet.
        validation_steps: a sample sheet every so many steps.
        report_to: a tracker that accelerate knows, such as "tensorboard" or "wandb", for the loss and the learning rate
            of every step, and the sample sheets.

    Raises:
        TrainingError: a value out of its range; the message names both.
    """

    max_train_steps: int = 1000
    train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    learning_rate: float | None = None
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0
    snr_gamma: float | None = None
    log_snr_mean: float | None = None
    log_snr_std: float = 2.0
    use_8bit_adam: bool = False
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_weight_decay: float = 1e-2
    adam_epsilon: float = 1e-8
    use_ema: bool = False
    max_grad_norm: float = 1.0
    mixed_precision: str | None = None
    rank: int | None = None
    lora_targets: tuple = LORA_TARGETS
    caption_dropout: float = 0.1
    noise_offset: float = 0.1
    prior_loss_weight: float = 1.0
    seed: int = 0
    checkpointing_steps: int = 500
    checkpoints_total_limit: int | None = 1
    resume_from_checkpoint: str | Path | None = "latest"
    validation_prompts: tuple = ()
    validation_steps: int = 100
    report_to: str | None = None

    def __post_init__(self):
        for name in ("max_train_steps", "train_batch_size", "gradient_accumulation_steps", "checkpointing_steps",
                     "validation_steps"):
            check_whole(getattr(self, name), name, error=TrainingError)
        check_whole(self.seed, "seed", least=0, error=TrainingError)
        check_whole(self.lr_warmup_steps, "lr_warmup_steps", least=0, error=TrainingError)
        for name in ("rank", "checkpoints_total_limit"):
            if getattr(self, name) is not None:
                check_whole(getattr(self, name), name, error=TrainingError)
        for name in ("learning_rate", "snr_gamma"):
            if getattr(self, name) is not None:
                self._number(name, 0, math.inf, above=True)
        if self.log_snr_mean is not None:
            self._number("log_snr_mean", -50, 50)
        for name in ("max_grad_norm", "log_snr_std", "adam_epsilon"):
            self._number(name, 0, math.inf, above=True)
        for name in ("adam_beta1", "adam_beta2"):
            self._number(name, 0, 0.9999999)
        for name in ("adam_weight_decay", "noise_offset"):
            self._number(name, 0, math.inf)
        self._number("caption_dropout", 0, 1)
        self._number("prior_loss_weight", 0, math.inf)
        for name, known in (
            ("mixed_precision", (None, *PRECISIONS)), ("lr_scheduler", LR_SCHEDULERS), ("report_to", (None, *TRACKERS)),
        ):
            if (value := getattr(self, name)) not in known:
                named = ", ".join(filter(None, known))
                raise TrainingError(f"{name} must be one of {named}, got {shorten(repr(value))}")
        for name in ("validation_prompts", "lora_targets"):
            if isinstance(value := getattr(self, name), str):
                raise TrainingError(f'{name} must be a list; write ["{shorten(value)}"]')
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def _number(self, name, least, most, *, above=False):
        value = getattr(self, name)
        right = isinstance(value, (int, float)) and least <= value <= most and value != math.inf
        if not right or (above and value == least):
            wanted = f"a number above {least}" if above else f"a number from {least}"
            raise TrainingError(f"{name} must be {wanted}{f' to {most}' if most < math.inf else ''}, got {value!r}")

    def completed(self, pipe):
        """These settings with every None that stands for "what suits this model and device" filled in."""
        rate = self.learning_rate or card_rate(pipe, lora=self.rank is not None)
        precision = self.mixed_precision or ("fp16" if pipe.unet.device.type == "cuda" else "no")
        return dataclasses.replace(self, learning_rate=rate, mixed_precision=precision)

    def to_json(self):
        """A dict of JSON values."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v for k, v in values.items()}

    def differences(self, theirs):
        """Names of the settings in which another run (`to_json`) made other steps than this one would."""
        mine = self.to_json()
        fixed = set(mine) - FREE
        if self.lr_scheduler.startswith("constant"):
            fixed -= {"max_train_steps"}  # a longer run begins as the shorter one did
        if self.rank is None:
            fixed -= {"lora_targets"}
        if self.log_snr_mean is None:
            fixed -= {"log_snr_std"}
        return sorted(name for name in fixed if mine[name] != theirs.get(name))


def card_rate(pipe, *, lora=False):
    """The learning rate that a model's own card recommends for fine-tuning, or else diffusers' usual one.

    The card is the README.md of the model's folder, or of the one that it was fine-tuned from; its front matter may
    hold `learning_rate` and `lora_learning_rate`.
    """
    key, usual = ("lora_learning_rate", LORA_RATE) if lora else ("learning_rate", FULL_RATE)
    for folder in ancestry(Path(str(pipe.name_or_path or ""))):
        if (folder / "README.md").is_file() and key in (told := _card_data(folder / "README.md")):
            return _rate(told[key], key, folder / "README.md")
    return usual


def ancestry(folder):
    """A model's folder, and those it was fine-tuned from; a result's card is one of the run, not of the model."""
    for _ in range(100):
        yield folder
        try:
            base = read_json(folder / "training.json")["model"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        folder = data_dir() / "tiny-sd" if base == TINY else Path(str(base))


def _card_data(path):
    from huggingface_hub import ModelCard

    try:
        return ModelCard(read_text(path), ignore_metadata_errors=True).data.to_dict()
    except Exception as error:  # of YAML, which has many
        raise TrainingError(f"the head of {path} cannot be read ({shorten(error)}); mend it, or pass learning_rate") from error


def _rate(value, key, path):
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise TrainingError(f"{key} in {path} is {shorten(repr(value))}; mend it, or pass learning_rate")
    return rate


def build_optimizer(parameters, settings):
    """AdamW over `parameters`, with 8-bit states where that is asked for and can be had."""
    import torch

    parameters, kind, options = list(parameters), torch.optim.AdamW, {}
    if settings.mixed_precision != "fp16" and all(p.device.type == "cpu" for p in parameters):
        options = {"fused": True}  # one pass in place of a loop over the weights, which takes three times as long
    if settings.use_8bit_adam:
        try:
            from bitsandbytes.optim import AdamW8bit as kind

            options = {}
        except Exception as error:  # without a usable CUDA it may raise nearly anything
            warnings.warn(
                f"use_8bit_adam: bitsandbytes cannot be used here ({shorten(error)}), so AdamW keeps 32-bit states;"
                " pip install bitsandbytes",
                DislibWarning, stacklevel=2,
            )
    return kind(
        parameters, lr=settings.learning_rate, betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay, eps=settings.adam_epsilon, **options,
    )
