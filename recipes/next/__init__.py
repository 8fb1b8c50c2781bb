"""The next model in the making: a world drawn larger, for latents of 16 x 16, and weights trained on it so far.

Nothing of the course uses it yet. Importing this package puts its world in the place of `dislib.world` for the whole
process, so that every recipe paints with it:

    python -m recipes.next vae --warm ...      as `python -m recipes vae`, on the new world
    recipes/gpu.sh                             all of it on a GPU

When the model is ready, `recipes/next/world` takes the place of `dislib/world`, and everything in `data/` is made anew
(README.md beside this file has the order).
"""

import importlib
import pkgutil
import sys

from . import world

for _name in ("", *(f".{m.name}" for m in pkgutil.iter_modules(world.__path__))):
    sys.modules[f"dislib.world{_name}"] = importlib.import_module(f"{__name__}.world{_name}")
