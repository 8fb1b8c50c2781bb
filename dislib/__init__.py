"""Diffusion in Style, small enough to read: what the notebooks of the course import.

Nothing heavy is imported here. `import dislib` costs a fraction of a second; torch and diffusers arrive with the
first name that needs them:

    from dislib import load_pipeline, StylePrior, generate
"""

import importlib
import os

# Without torchvision, importing a pipeline logs lines about image processors that nobody here uses.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

__version__ = "0.1.0"

# Public name -> the module that holds it.
_HOME = {
    "load_pipeline": "loading",
    "data_dir": "files",
    "image_size": "core.pipeline",
    "latent_shape": "core.pipeline",
    "list_images": "images.images",
    "load_image": "images.images",
    "encode": "core.latents",
    "decode": "core.latents",
    "white_noise": "core.latents",
    "StylePrior": "core.prior",
    "make_scheduler": "core.schedulers",
    "generate": "core.sampling",
    "paint": "core.sampling",
    "TrainingSet": "training.examples",
    "finetune": "training.finetune",
    "image_grid": "figures.plots",
    "strip": "figures.plots",
    "watch": "progress",
}

__all__ = sorted(_HOME)


def __getattr__(name):
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'dislib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dislib.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
