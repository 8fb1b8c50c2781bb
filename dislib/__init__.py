"""Diffusion in Style, small enough to read: what the notebooks of the course import.

Nothing heavy is imported here. `import dislib` costs a fraction of a second; torch and diffusers arrive with the
first name that needs them:

    from dislib import load_pipeline, StylePrior, generate
"""

import importlib

__version__ = "0.1.0"

# Public name -> the module that holds it.
_HOME = {
    "load_pipeline": "models",
    "data_dir": "models",
    "encode": "latents",
    "decode": "latents",
    "white_noise": "latents",
    "StylePrior": "prior",
    "generate": "sampling",
    "TrainingSet": "training_set",
    "finetune": "training",
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
