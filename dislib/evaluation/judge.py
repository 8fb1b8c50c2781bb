"""The judge: any CLIP model that looks at pictures and gives features, CLIP scores and zero-shot answers.

It judges and nothing else: no part of it takes part in making the pictures. Features are plain numpy arrays.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import DislibError, ModelError, shorten
from ..images.images import MOST, as_picture, load_image
from .metrics import check_finite


@dataclass(frozen=True)
class Judge:
    """A CLIP model and its processor; made by `load_judge`."""

    model: Any
    processor: Any
    name: str = "judge"

    @property
    def device(self):
        """Where the model runs."""
        return next(self.model.parameters()).device


def load_judge(path: str | os.PathLike | None = None, *, device=None, local_files_only: bool = False) -> Judge:
    """Load a CLIP in float32, ready to judge.

    Args:
        path: a folder, or a hub id such as "openai/clip-vit-large-patch14"; None is the judge shipped in `data/`.
        device: where it runs; by default what `pick_device` finds.
        local_files_only: never ask the hub, use its cache.

    Raises:
        ModelError: no CLIP there, or a hub id that is not in the cache and no network.
    """
    import torch
    from transformers import CLIPModel, CLIPProcessor

    from ..core.pipeline import check_complete, check_device
    from ..files import check_regular, data_dir

    path, device = data_dir() / "judge" if path is None else path, check_device(device)
    try:
        if os.path.isdir(path):
            check_regular(path)
        with _quiet_loading():
            # The dtype is said aloud: "auto" would load half-precision files as half, which CPUs do slowly.
            # The PIL processor is asked for because the torchvision one resizes to slightly other pixels.
            cached = {"local_files_only": local_files_only}
            model, told = CLIPModel.from_pretrained(
                path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **cached
            )
            processor = CLIPProcessor.from_pretrained(path, backend="pil", **cached)
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError, HTTP errors... for one cause each
        raise ModelError(
            f"no CLIP model can be loaded from {path}; give a folder saved by `save_pretrained` (model and processor),"
            f" or a hub id that is cached or reachable ({shorten(error, 200)})"
        ) from error
    check_complete(model, path, told["missing_keys"])
    return Judge(model.eval().requires_grad_(False).to(device), processor, Path(path).name)


@contextmanager
def _quiet_loading():
    """transformers draws a bar per model on stderr, which a notebook would keep for ever."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def image_features(images, judge: Judge, *, kind: str = "pooled", batch_size: int = 64) -> np.ndarray:
    """Features of pictures, `(n, d)` float32.

    Args:
        images: PIL pictures or uint8 arrays `(h, w, 3)`; read batch by batch, so a generator will do.
        kind: "pooled", the vision tower's pooled output (for FID and KID), or "projected", the vector in the space
            shared with text, scaled to length 1 (for MMD, CLIP score, zero-shot).

    Raises:
        DislibError: no images, float pixels, an unknown kind, or features that are not finite.
    """
    import torch

    embed = {"pooled": _pooled, "projected": _projected}.get(kind)
    if embed is None:
        raise DislibError(f"kind='{kind}' is unknown; use 'pooled' (FID, KID) or 'projected' (MMD, CLIP score)")
    batches = []
    with torch.inference_mode():
        for batch in _batches(images, batch_size):
            pixels = judge.processor(images=batch, return_tensors="pt")["pixel_values"]
            batches.append(embed(judge.model, pixels.to(judge.device)).float().cpu().numpy())
    if not batches:
        raise DislibError("no images to take features of: the list is empty")
    features = np.concatenate(batches)
    check_finite(features, "images")
    return features


def look(images, prompts, judge, *, features=None, batch_size=64):
    """All that an evaluation needs of pictures: `both_features` and the CLIP scores `clip (n,)`, as a dict.

    Args:
        images: list of pictures.
        prompts: one text a picture, in the same order.

    Raises:
        DislibError: prompts not in step with the images, or features that are not finite.
    """
    images = list(images)
    _check_step(images, prompts)
    seen = both_features(images, judge, features=features, batch_size=batch_size)
    return {**seen, "clip": clip_scores(seen["projected"], prompts, judge).astype(np.float32)}


def both_features(images, judge, *, features=None, batch_size=64):
    """Both kinds of features from one pass through the vision tower.

    Args:
        images: PIL pictures or uint8 arrays `(h, w, 3)`; read batch by batch, so a generator will do.
        features: what takes the place of the judge's pooled features: called with a list of PIL pictures, returns
            (b, d), such as `Fidelity("inception-v3-compat")`.

    Returns:
        dict of float32 arrays: `pooled (n, d)` for FID and KID, `projected (n, p)` of length 1 for MMD.
    """
    import torch

    pooled, projected = [], []
    with torch.inference_mode():
        for batch in _batches(images, batch_size):
            pixels = judge.processor(images=batch, return_tensors="pt")["pixel_values"]
            vectors = _pooled(judge.model, pixels.to(judge.device))
            projected.append(_unit(judge.model.visual_projection(vectors)).float().cpu().numpy())
            pooled.append(vectors.float().cpu().numpy() if features is None else np.asarray(features(batch)))
    if not pooled:
        raise DislibError("no images to take features of: the list is empty")
    seen = {"pooled": np.concatenate(pooled).astype(np.float32), "projected": np.concatenate(projected)}
    for array in seen.values():
        check_finite(array, "images")
    return seen


def fingerprint(judge: Judge) -> str:
    """16 hexadecimal digits that change when the judge's weights change."""
    from ..core.pipeline import weight_sample

    return hashlib.sha256(weight_sample(judge.model).tobytes()).hexdigest()[:16]


def looked_at_by(judge, features=None):
    """What says whose features they are; two sets can be compared only if these agree."""
    return {
        "judge": judge.name, "judge_fingerprint": fingerprint(judge), "features": getattr(features, "name", "judge"),
    }


def open_picture(file, *, most=MOST):
    """A picture of any origin, cropped square, of at most `most` px: what is compared must be cropped alike.

    Raises:
        ImageError: it cannot be read.
    """
    return load_image(file, most=most)


class Fidelity:
    """Features of torch-fidelity: "inception-v3-compat" (FID's own), "clip-vit-b-32", "dinov2-vit-b-14", ...

    It needs the extra `eval` (torch-fidelity and torchvision) and downloads its weights at first use.

    Args:
        name: of a feature extractor that torch-fidelity knows.
        device: where it runs; by default what `pick_device` finds.

    Raises:
        ModelError: torch-fidelity is not installed, does not know the name, or cannot get the weights.
    """

    def __init__(self, name="inception-v3-compat", *, device=None):
        from ..device import pick_device

        self.name, self.device = name, str(device or pick_device())
        try:
            from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as known
            from torch_fidelity.utils import create_feature_extractor
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit torch
            raise ModelError(
                "features of torch-fidelity need the extra `eval`, where torch and torchvision fit each other (Colab):"
                f" pip install torch-fidelity ({shorten(error, 200)})"
            ) from error
        if name not in known:
            raise ModelError(f"torch-fidelity has no features {name!r}; choose one of {', '.join(sorted(known))}")
        try:
            layer = known[name].get_default_feature_layer_for_metric("fid")
            self.extractor = create_feature_extractor(name, [layer], cuda=False, verbose=False).to(self.device)
        except Exception as error:  # a download that fails ends in HTTP, URL, OS and hub errors
            why = shorten(error, 200)
            raise ModelError(f"the features {name!r} cannot be loaded; go online once ({why})") from error

    def __call__(self, images):
        """Features `(n, d)` float32 of PIL pictures; of different sizes, they are looked at one by one."""
        if len({image.size for image in images}) > 1:
            return np.concatenate([self._of(image[None]) for image in map(_pixels, images)])
        return self._of(np.stack([_pixels(image) for image in images]))

    def _of(self, pixels):
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
            return self.extractor(x)[0].flatten(1).float().cpu().numpy()


def _pixels(image):
    return np.array(image.convert("RGB"))


_ALONE = threading.Lock()  # a fast tokenizer refuses two threads at a time


def text_features(prompts: list[str], judge: Judge, *, batch_size: int = 256) -> np.ndarray:
    """Projected features of texts, of length 1: `(n, d)` float32. Long texts are cut at the tokenizer's limit."""
    import torch

    batches = []
    with torch.inference_mode():
        for start in range(0, len(prompts), batch_size):
            texts = list(prompts[start : start + batch_size])
            with _ALONE:
                tokens = judge.processor(text=texts, padding=True, truncation=True, return_tensors="pt")
            tokens = tokens.to(judge.device)
            batches.append(_unit(_vector(judge.model.get_text_features(**tokens))).float().cpu().numpy())
    return np.concatenate(batches)


def _pooled(model, pixels):
    return model.vision_model(pixel_values=pixels).pooler_output


def _projected(model, pixels):
    return _unit(_vector(model.get_image_features(pixel_values=pixels)))


def _vector(output):
    """transformers 5 wraps the projected vector in an object, transformers 4 returned it bare."""
    return getattr(output, "pooler_output", output)


def _unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def _batches(images, size):
    if isinstance(images, Image.Image):
        raise DislibError("got one picture where a list of pictures is expected; pass [picture]")
    images = iter(images)
    index = 0
    while batch := [as_picture(image, index + k) for k, image in enumerate(islice(images, size))]:
        index += len(batch)
        yield batch


def clip_scores(images, prompts: list[str], judge: Judge, *, batch_size: int = 64) -> np.ndarray:
    """CLIP score of every picture with its own prompt: `100 cos(image, text)`, `(n,)` float64.

    One number a picture and no clipping at 0, so that the mean is the usual score and bands can be drawn from it.

    Args:
        images: pictures, or their projected features `(n, d)` if you have them already.
        prompts: one text a picture, in the same order.

    Raises:
        DislibError: there are not as many prompts as images.
    """
    _check_step(images, prompts)
    pictures = _projected_features(images, judge, batch_size)
    unique, where = np.unique(np.asarray(prompts, dtype=object).astype(str), return_inverse=True)
    texts = text_features(unique.tolist(), judge)[where]
    return 100.0 * np.sum(pictures.astype(np.float64) * texts.astype(np.float64), axis=1)


class ZeroShot(NamedTuple):
    """What the judge answers: `choices (n,)`, the index of the likeliest candidate, and `probabilities (n, k)`."""

    choices: np.ndarray
    probabilities: np.ndarray


def zero_shot(images, candidates: list[str], judge: Judge, *, batch_size: int = 64) -> ZeroShot:
    """Which of `candidates` describes each picture: CLIP's own classifier, softmax of the scaled cosines.

    Args:
        images: pictures, or their projected features `(n, d)`.
        candidates: at least two texts, the same for all pictures.
    """
    if isinstance(candidates, str) or len(candidates) < 2:
        raise DislibError(f"a choice needs at least two candidate prompts, got {candidates!r}")
    pictures = _projected_features(images, judge, batch_size).astype(np.float64)
    scale = float(judge.model.logit_scale.exp())
    logits = scale * pictures @ text_features(candidates, judge).astype(np.float64).T
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return ZeroShot(probabilities.argmax(axis=1), probabilities)


def _check_step(images, prompts):
    if len(images) != len(prompts):
        raise DislibError(f"{len(images)} images but {len(prompts)} prompts: pass one prompt an image, in step")


def _projected_features(images, judge, batch_size):
    if isinstance(images, np.ndarray) and images.ndim == 2:
        if images.dtype.kind != "f":
            raise DislibError(f"features are of the type {images.dtype}; expected real numbers of length 1 a row")
        check_finite(images, "images")
        return images
    return image_features(images, judge, kind="projected", batch_size=batch_size)
