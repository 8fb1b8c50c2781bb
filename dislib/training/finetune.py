"""Fine-tuning of the U-Net, as a generator of records: with style noise or white, in full or as a LoRA.

"Diffusion in Style" changes one thing about plain fine-tuning: the law of the noise, see `objective.draw_noise`.
Everything else here is what diffusers' own training scripts do, on accelerate.
"""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.pipeline import latent_shape, pipeline_fingerprint
from ..errors import DislibWarning, TrainingError
from . import checkpoints
from .objective import NOISES, id_of, loss_for, prior_of
from .result import IDENTITY, check_identity, check_place, check_same, save
from .settings import Settings
from .trainer import Trainer, check_lora, check_tracker

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

    from ..core.prior import StylePrior
    from .examples import TrainingSet


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """What one step of fine-tuning tells: `step` (from 1), `loss`, `learning_rate`, `images_per_second`.

    `images` holds the sample sheet (a list of PIL images, one a validation prompt) at the steps that make one, else
    None.
    """

    step: int
    loss: float
    learning_rate: float
    images_per_second: float
    images: list | None = None


def finetune(
    pipe: StableDiffusionPipeline, examples: TrainingSet, *, noise: str | StylePrior = "white",
    out: str | os.PathLike | None = None, preserve: TrainingSet | None = None, settings: Settings | None = None,
    about: dict | None = None, **options,
) -> Iterator[Record]:
    """Fine-tune the pipeline's U-Net in place; a generator that yields a Record after every step.

        for record in finetune(pipe, examples, noise=prior, max_train_steps=300):
            print(record.step, record.loss)

    Stop whenever you like: the pipeline holds what has been learnt so far. Afterwards `generate(pipe, ...)` starts
    from the prior it was trained with. All random numbers of step k come from `seed` and k, so a resumed run, and one
    on several processes with the same batch in all, make the steps of an undisturbed run.

    Args:
        pipe: a StableDiffusionPipeline that predicts eps or v. Its other parts are not trained, and leave the GPU
            meanwhile.
        examples: a TrainingSet.
        noise: "white", "offset" or a StylePrior, see `objective.draw_noise`.
        out: folder for checkpoints and the result (`result.save`); None keeps everything in memory.
        preserve: a TrainingSet of the base model's own pictures, for DreamBooth's prior preservation: each batch has
            as many of them, with white noise, and their loss counts `prior_loss_weight`.
        settings: a Settings, in place of single `options`.
        about: dict of further facts for the result's `training.json` and card.
        options: settings by name, see `settings.Settings`.

    Yields:
        Record

    Raises:
        TrainingError, PriorError, OutputError: at the call, before anything is computed.
        TrainingError: later, if the loss is no longer finite or memory runs out; the last checkpoint stays.
    """
    settings = (settings or Settings(**options)).completed(pipe)
    _check(pipe, examples, noise, preserve, settings)
    check_tracker(settings.report_to, out)
    identity = {
        "identity": IDENTITY, "base": pipeline_fingerprint(pipe), "examples": examples.fingerprint(),
        "noise_id": id_of(noise),
        "preserve": preserve.fingerprint() if preserve else None,
    }
    start = None
    if out is not None:
        check_place(out, pipe, examples.files)
        start = _resumption(Path(out), settings, identity)
    return _train(pipe, examples, noise, out and Path(out), preserve, settings, identity, start, about or {})


def _train(pipe, examples, noise, out, preserve, settings, identity, start, about):
    with Trainer(pipe, examples, noise, out, preserve, settings) as trainer:
        losses = trainer.restore(start) if start else []
        first, seconds = len(losses), 0.0
        for step in range(first + 1, settings.max_train_steps + 1):
            begun, rate = time.perf_counter(), trainer.rate
            losses.append(trainer.step(step))
            seconds += time.perf_counter() - begun
            if out and step % settings.checkpointing_steps == 0:
                trainer.save(step, {**identity, "losses": losses})
            yield Record(step, losses[-1], rate, trainer.batch_size * (step - first) / seconds, trainer.sheet(step))
        trainer.finish()
        if out and trainer.accelerator.is_main_process:
            save(out, pipe, noise, settings, {**identity, **about, "losses": losses}, examples)
        trainer.accelerator.wait_for_everyone()


# --- checks ---------------------------------------------------------------------------------------------------


def _check(pipe, examples, noise, preserve, settings):
    if not prior_of(noise) and noise not in NOISES:
        raise TrainingError(f"there is no noise {noise!r}; choose {', '.join(NOISES)} or give a StylePrior")
    if prior := prior_of(noise):
        prior.check(pipe)
    loss_for(pipe.scheduler)
    if getattr(pipe.unet, "peft_config", None):
        raise TrainingError("this U-Net carries a LoRA already; load the pipeline again")
    if settings.rank is not None:
        check_lora(pipe.unet, settings)
    for part in (examples, preserve) if preserve else (examples,):
        if tuple(part.latents.shape[1:]) != latent_shape(pipe):
            raise TrainingError(
                f"the training set has latents {tuple(part.latents.shape[1:])}, this model {latent_shape(pipe)};"
                " encode the images with this model"
            )
    wanted = settings.train_batch_size * settings.gradient_accumulation_steps
    if len(examples) < wanted:
        warnings.warn(
            f"{len(examples)} images and {wanted} to a step: some are seen twice in each", DislibWarning, stacklevel=3
        )


def _resumption(out, settings, identity):
    """(tensors, state) of the checkpoint to go on from, or None; refuses a run of other settings."""
    checkpoints.sweep(out)
    folder = checkpoints.find(out, settings.resume_from_checkpoint)
    if folder is None:
        if settings.resume_from_checkpoint is None and checkpoints.checkpoints(out):
            raise TrainingError(f'{out} holds checkpoints of an earlier run; pass resume_from_checkpoint="latest"')
        check_same(out, settings, identity)
        return None
    tensors, state = checkpoints.load(folder)
    check_identity(folder, state)
    differ = settings.differences(state["settings"]) + [k for k, v in identity.items() if state[k] != v]
    if differ:
        raise TrainingError(
            f"{folder} was made with other settings ({', '.join(differ)} differ); repeat that command, or choose"
            " another folder"
        )
    if len(state["losses"]) > settings.max_train_steps:
        raise TrainingError(
            f"{folder} is beyond max_train_steps ({settings.max_train_steps}); raise it or choose another folder"
        )
    return tensors, state
