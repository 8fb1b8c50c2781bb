"""Lesson 06, the same cells at full size: one switch, what a machine can carry, models that predict v, and how a start
travels to other programs. Its claims and the checks of its exercises.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import math
import shutil
import time
from pathlib import Path

import numpy as np

from ..core.gaussian import Law, ideal_eps, noisy
from ..core.latent_file import KEY, MARK, as_comfyui_reads, as_diffusers_takes, write_latent
from ..core.pipeline import SD15, TINY, separate
from ..core.prediction import eps_of, velocity, x0_of
from ..core.prior import first_timestep
from ..device import pick_device
from ..errors import DislibError, ModelError
from ..evaluation.judge import Fidelity, both_features, load_judge, look
from ..evaluation.metrics import fid
from ..figures.plots import bars
from ..files import data_dir, read_safetensors, write_safetensors
from ..images.captions import captions_of, without, written
from ..loading import check_family
from ..training.objective import velocity_loss
from ..training.result import base_name, plain_code
from .claim import below, check
from .exercise import as_array, as_number, call, close, right, wrong
from .live import Film, together

GIB, T4 = 2**30, 15.0  # what a T4 of 16 GB has to give, in GiB
WEIGHTS = 859_520_964  # of the U-Net of Stable Diffusion 1.5


# --- one switch ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Scale:
    """What differs between a laptop and a GPU; everything else in the lesson is the same cell.

    Attributes:
        rank: of a LoRA, or None for all weights.
        training: further settings of `finetune`, by name.
        steps, batch_size: of sampling.
        pictures: how many are made to measure, from 25 prompts.
        judge, eyes: the CLIP that reads pictures and prompts, and whose features FID is taken on ("judge" or a name
            that torch-fidelity knows).
    """

    rank: int | None
    training: dict
    steps: int
    batch_size: int
    pictures: int
    judge: str | None
    eyes: str


LAPTOP = Scale(None, {"max_train_steps": 100, "train_batch_size": 8, "learning_rate": 3e-4}, 12, 8, 100, None, "judge")
GPU = Scale(
    8,
    {"max_train_steps": 1000, "train_batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": True},
    20, 2, 100, "openai/clip-vit-base-patch32", "inception-v3-compat",
)  # fmt: skip


def scale_of(model, *, full=False, eyes=None):
    """The Scale of a model: LAPTOP for "tiny", GPU for any other.

    Args:
        full: train all weights with 8-bit Adam, in place of a LoRA (on a GPU).
        eyes: whose features FID is taken on, such as "clip-vit-b-32" or "dinov2-vit-b-14".
    """
    scale = LAPTOP if model == TINY else GPU
    if full and scale is GPU:
        scale = dataclasses.replace(scale, rank=None, training={**scale.training, "use_8bit_adam": True})
    return dataclasses.replace(scale, eyes=eyes) if eyes else scale


def check_machine(model, *, cuda=None, memory=None, free=None):
    """Say whether this machine can carry the model; without a GPU, stop and say how to turn one on.

    Args:
        model: as `load_pipeline` takes it.
        cuda, memory, free: name of the GPU (or ""), its memory and the disk's free space in GiB; measured by default.

    Returns:
        str, a line for each thing found; the first word is OK, WAIT or NOTE.

    Raises:
        DislibError: a real Stable Diffusion, and no GPU: nothing is downloaded in vain.
    """
    cuda, memory = _gpu() if cuda is None else (cuda, memory)
    free = shutil.disk_usage(".").free / GIB if free is None else free
    if model == TINY:
        return f"OK    the embedded model runs on any processor{f'; here is also a {cuda}' if cuda else ''}."
    if not cuda and pick_device() == "mps":
        return "NOTE  an Apple GPU, in float32. Nobody has tried this lesson on one: take few pictures first."
    if not cuda:
        raise DislibError(f'no GPU is on. {_how_to_turn_on()} Until then, set MODEL = "tiny": the cells are the same.')
    lines = [f"OK    {cuda}, {memory:.0f} GiB; number format float16."]
    if memory < 10:
        lines.append("WAIT  below 10 GiB we expect no training to fit; sampling and the prior may.")
    elif memory < 20:
        lines.append("NOTE  take a LoRA, or all weights with 8-bit Adam and gradient checkpointing.")
    if free < 8:
        lines.append(f"WAIT  {free:.0f} GiB of disk are free; weights and results want 8.")
    if importlib.util.find_spec("bitsandbytes") is None:
        lines.append("NOTE  8-bit Adam needs bitsandbytes: pip install bitsandbytes")
    return "\n".join(lines)


def _gpu():
    import torch

    if not torch.cuda.is_available():
        return "", 0.0
    found = torch.cuda.get_device_properties(0)
    return found.name, found.total_memory / GIB


def _how_to_turn_on():
    import sys

    if "google.colab" in sys.modules:
        return "In Colab: Runtime > Change runtime type > T4 GPU > Save, then run all cells again."
    if Path("/kaggle").is_dir():
        return "On Kaggle: Settings > Accelerator > GPU T4 x2, then run all cells again."
    return "On a rented or own machine: `nvidia-smi` must list a GPU, and torch must be a CUDA build."


class Clock:
    """How long the parts of a lesson take: `clock("prior")` names the part that ends now."""

    def __init__(self):
        self.parts, self._last = {}, time.perf_counter()

    def __call__(self, name):
        now = time.perf_counter()
        self.parts[name], self._last = self.parts.get(name, 0.0) + now - self._last, now

    def table(self):
        """What this run took, a part a line, with the memory where a GPU counts it."""
        lines = [f"{name:26}{seconds:8.0f} s" for name, seconds in self.parts.items()]
        return "\n".join([*lines, f"{'together':26}{sum(self.parts.values()):8.0f} s", *_gpu_peak()])


def _gpu_peak():
    import torch

    if not torch.cuda.is_available():
        return []
    return [f"{'most GPU memory':26}{torch.cuda.max_memory_reserved() / GIB:8.1f} GiB"]


# --- memory -------------------------------------------------------------------------------------------------------


def training_memory(weights=WEIGHTS, *, rank=None, lora_weights=3_188_736, adam_bytes=8, frozen_bytes=2):
    """GiB that weights, gradients and optimiser states of a training take, without any activation.

    Trained weights are float32 (4 bytes), and so are their gradients; Adam keeps two numbers a weight: 8 bytes, or 2
    with 8-bit states. With a LoRA, the U-Net's own weights are frozen in float16.

    Args:
        weights: of the U-Net.
        rank: None to train all of them.
        lora_weights: of a LoRA (the default is that of rank 16 on the attention of Stable Diffusion 1.5).
        adam_bytes, frozen_bytes: bytes a weight.

    Returns:
        dict of GiB by part.
    """
    trained = weights if rank is None else lora_weights
    frozen = 0 if rank is None else weights
    found = {"frozen weights": frozen * frozen_bytes, "trained weights": trained * 4, "gradients": trained * 4,
             "Adam's states": trained * adam_bytes}
    return {name: size / GIB for name, size in found.items()}


def check_memory(answer, weights=WEIGHTS):
    """Exercise 1: GiB of weights, gradients and 8-bit Adam's states for training all weights: 10 bytes a weight."""
    answer, verdict = as_number(answer)
    if verdict is not None:
        return verdict
    each = {10: None, 16: "That is Adam in 32 bits, 8 bytes a weight for its two states; 8-bit states take 2.",
            8: "That is weights and gradients; Adam's two states are missing, a byte each.",
            4: "That is the weights alone.", 6: "Trained weights and gradients are float32 here: 4 bytes each.",
            9: "Adam keeps two numbers for each weight, not one.", 80: "Bytes, not bits: divide by 8."}
    for bytes_, told in each.items():
        if abs(answer - bytes_ * weights / GIB) < 0.03 * bytes_ * weights / GIB:
            return wrong(told) if told else right(
                f"{10 * weights / GIB:.1f} GiB before the first activation. What the activations add, only a run tells.")
    if abs(answer - 10 * weights) < 0.03 * 10 * weights:
        return wrong("Those are bytes; divide by 2**30.")
    return wrong("Count bytes a weight: 4 for itself, 4 for its gradient, and Adam's two states.")


# --- measuring ----------------------------------------------------------------------------------------------------


def open_eyes(scale):
    """(judge, features) of a scale: a CLIP, and what takes the place of its features for FID, or None.

    Raises:
        ModelError: what is to be downloaded cannot be had; the message says the mend.
    """
    return load_judge(scale.judge), None if scale.eyes == "judge" else Fidelity(scale.eyes)


def with_vae(pipe, dtype):
    """The pipeline with a VAE of its own in another number format; it shares all other parts."""
    twin = copy.copy(pipe)
    twin.vae = copy.deepcopy(pipe.vae).to(dtype)
    return twin


def see(rows, prompts, judge, features=None):
    """What an evaluation needs of rows of pictures, a row for each prompt: `pooled (n, d)` and `clip (n,)`."""
    images, texts = sum(rows, []), [prompt for prompt, row in zip(prompts, rows) for _ in row]
    return look(images, texts, judge, features=features)


def card_lines(pipe, scale, folder="my_model"):
    """The lines of plain diffusers that a fine-tuning's card holds, for a result in `folder`."""
    record = {"model": base_name(pipe), "noise": "style", "settings": {"rank": scale.rank}}
    code = plain_code(folder, pipe, record)
    return code.replace(str(Path(folder).resolve()), folder).replace(str(data_dir()), "data")


def claim_closer(ours, base, again, style, *, threshold=0.8):
    """Pictures of a tuned model are closer to a style than those of the base model, by FID.

    Value: FID of ours over FID of the base. Threshold: 0.8, fixed beforehand. Control: the same with other pictures of
    the base model in the place of ours, which are no closer.

    Args:
        ours, base, again, style: features (n, d); `again` are the base's pictures from other seeds.
    """
    if min(map(len, (ours, base, again, style))) < 2:
        raise DislibError("FID needs at least 2 pictures in each heap")
    distance = {name: fid(x, style) for name, x in {"ours": ours, "base": base, "again": again}.items()}
    text = (f"FID of {len(ours)} pictures against {len(style)} of the style: {distance['ours']:.0f} after tuning,"
            f" {distance['base']:.0f} before, {distance['again']:.0f} before with other seeds.")
    return check("Tuning brings the pictures closer to the style",
                 lambda name: below(distance[name] / distance["base"], threshold), ("ours",), ("again",),
                 text=f"{text} That is {{value}} of what it was.", against="with the base model's pictures from other seeds",
                 why="a fifth less is more than other seeds make of the same model", unit="{:.2f}")


def claim_half_is_enough(half, whole, other, *, threshold=0.1):
    """Half precision moves a prior's mean by far less than another draw of pictures does.

    Value: how far the mean in float16 lies from that in float32, in standard errors of the mean (rms over positions).
    Threshold: 0.1, fixed beforehand. Control: the same of a prior of other pictures, in float32.

    Args:
        half, whole: StylePriors of the same pictures in float16 and float32; `whole` knows its number n.
        other: of other pictures of the style.
    """
    error = whole.std / math.sqrt(whole.meta["n"])
    moved = lambda prior: float(((prior.mean - whole.mean) / error).square().mean().sqrt())
    return check("Half precision is enough for a prior", lambda prior: below(moved(prior), threshold), (half,), (other,),
                 text="Half precision moves the mean by {value} of its standard error.", unit="{:.3f}",
                 against="with other pictures of the same style", why="a tenth of the standard error drowns in it")


# --- models that predict v ----------------------------------------------------------------------------------------


DRAWINGS, INK = Law(1.7, 0.45), Law(1.7, 0.5)  # pictures and style noise of about the size of line art in real latents


def claim_v_needs_no_other_start(abars, *, reads="v_prediction", threshold=0.02):
    """DDIM with the best of all v-models ends where the pictures are, from the very same start.

    In closed form, for Gaussian pictures and noise: each step reads v, makes eps and z of it, and goes on. Value: how
    far the mean ends from that of the pictures, over their spread. Threshold: 0.02, fixed beforehand. Control: the same
    with a sampler that takes v for eps.

    Args:
        abars: abar at each step, rising, and at last 1.
        reads: what the sampler takes the output for.
    """
    return check("A v-model needs no other start",
                 lambda kind: below(_miss(abars, DRAWINGS, INK, kind), threshold), (reads,), ("epsilon",),
                 text="Read as v, the output brings the mean to within {value} of the pictures' spread.",
                 against="with the same output taken for eps", why="a fiftieth of the spread is never seen")


def _miss(abars, data, noise, kind):
    """Follow the mean of z from the matched start (the law of training) to its end, by DDIM."""
    z = noisy(data, noise, abars[0]).mean
    for abar, after in zip(abars, abars[1:]):
        a, b = math.sqrt(abar), math.sqrt(1 - abar)
        eps = ideal_eps(z, abar, data, noise)
        v = velocity((z - b * eps) / a, eps, a, b)  # what the model says
        x0, eps = x0_of(v, z, a, b, kind=kind), eps_of(v, z, a, b, kind=kind)
        z = math.sqrt(after) * x0 + math.sqrt(1 - after) * eps
    return abs(z - data.mean) / data.std


def check_velocity(function):
    """Exercise 2: `function(z_t, v, abar)` is (the picture's latent, the noise) that v tells of z_t."""
    import torch

    z, eps = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(6)).double()
    abar, (a, b) = 0.2, (0.2**0.5, 0.8**0.5)
    z_t, v = a * z + b * eps, velocity(z, eps, a, b)
    found, verdict = call(function, z_t, v, abar)
    if verdict is not None:
        return verdict
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return wrong("Two things are asked for: return z, eps")
    ours, noise = (as_array(part) for part in found)
    if close(ours, z.numpy()) and close(noise, eps.numpy()):
        return right("A turn by an angle and back: a^2 + b^2 = 1 is all that it takes.")
    if close(ours, eps.numpy()) and close(noise, z.numpy()):
        return wrong("The two have changed places: the picture's latent comes first.")
    mistakes = {
        "abar is a share of *variance*: take square roots.": abar * z_t - (1 - abar) * v,
        "Mind the sign: z = a z_t - b v.": a * z_t + b * v,
        "That takes v for eps: z = (z_t - b v) / a is the rule of an eps-model.": (z_t - b * v) / a,
    }
    near = [text for text, value in mistakes.items() if close(ours, value.numpy())]
    if close(ours, z.numpy()):
        return wrong("z is right; the noise is eps = b z_t + a v.")
    return wrong((near or ["Put z_t = a z + b eps and v = a eps - b z together, and solve for z."])[0])


def refusals():
    """What the course says to other families of models, by the class in their `model_index.json`."""
    kinds = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusionInpaintPipeline",
             "StableDiffusion3Pipeline", "FluxPipeline")
    return {kind: _refusal(kind) for kind in kinds}


def _refusal(kind):
    try:
        check_family({"_class_name": kind}, "this model")
    except ModelError as error:
        return str(error)
    return "supported, whether it predicts eps or v"


# --- how a start travels ------------------------------------------------------------------------------------------


def claim_start_travels(path, z, pipe, *, abar, threshold=1e-4):
    """A latent file holds the start: read as ComfyUI reads it, it is z_T again.

    Value: largest difference from z_T, over its spread. Threshold: 1e-4, fixed beforehand. Control: the same file
    without its second key, the mark of the format, which ComfyUI then rescales.

    Args:
        path: of a file that `write_latent` wrote.
        z: z_T (n, 4, h, w); pipe, abar: as for `write_latent`.
    """
    path, tensors = Path(path), read_safetensors(path)[0]
    bare = path.with_name(f"unmarked-{path.name}")
    try:
        write_safetensors(bare, {KEY: tensors[KEY]}, {})
        far = lambda file: as_diffusers_takes(as_comfyui_reads(file), pipe, abar=abar) - z
        return check("The start travels in a latent file",
                     lambda file: below(far(file).abs().max() / z.std(), threshold), (path,), (bare,),
                     text="Read by ComfyUI's rules, the file gives z_T back to within {value} of its spread.", unit="{:.2g}",
                     against=f"without {MARK!r} in the file", why="float32 keeps seven digits, and four are enough")
    finally:
        bare.unlink(missing_ok=True)


def check_raw(function):
    """Exercise 3: `function(z, abar, scaling_factor)` is the `latent_tensor` of ComfyUI for z_T."""
    z, abar, scale = np.linspace(-2, 2, 8).reshape(2, 4), 0.0047, 0.18215
    found, verdict = call(function, z, abar, scale)
    if verdict is not None:
        return verdict
    found, root = as_array(found), math.sqrt(abar)
    if close(found, z / root / scale):
        return right("Both factors are there: k-diffusion's units, and the VAE's own.")
    mistakes = {
        "ComfyUI multiplies by the scaling factor itself: the file is in the VAE's own units, so divide by it.":
            z / root * scale,
        "The scaling factor is right; k-diffusion works with z_T / sqrt(abar).": z / scale,
        "sqrt(abar) is right; the VAE's scaling factor is missing.": z / root,
        "abar is a share of *variance*: take the square root.": z / abar / scale,
        "diffusers' own units are not ComfyUI's: two factors are missing.": z,
    }
    near = [text for text, value in mistakes.items() if close(found, value)]
    return wrong((near or ["Other values than expected: divide z_T by sqrt(abar) and by the scaling factor."])[0])
