"""The recipes behind ``data/``, one command each: ``python -m recipes NAME``."""

from __future__ import annotations

import argparse
from pathlib import Path

RECIPES = (
    *("data", "vae", "unet", "judge", "ship", "references", "report", "day_one"),
    *("baselines", "race", "sweeps", "lora_layers", "learning", "own_leak", "loras", "findings", "hero", "grid"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes", description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--steps", type=int, help="optimiser steps in all; a run goes on from its last checkpoint")
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"), help="where checkpoints and caches lie")
    warm = "begin with the weights in FOLDER (by default the shipped ones, in data), not with random ones"
    parser.add_argument("--warm", type=Path, nargs="?", const=Path("data"), metavar="FOLDER", help=warm)
    parser.add_argument("--whole", action="store_true", help="of the autoencoder: with --warm, train the encoder, too")
    arguments = parser.parse_args()
    from importlib import import_module

    recipe = import_module(f"recipes.{arguments.recipe}")
    options = {"steps": arguments.steps} if arguments.steps else {}
    options |= {"warm": arguments.warm} if arguments.warm else {}
    options |= {"whole": True} if arguments.whole else {}
    if arguments.warm and (arguments.folder / arguments.recipe / "checkpoint.safetensors").exists():
        parser.error(
            f"{arguments.folder / arguments.recipe} holds a checkpoint, which would take the place of the shipped "
            "weights; go on from it without --warm, or name another --folder"
        )
    for record in recipe.run(folder=arguments.folder / arguments.recipe, **options):
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in record.items()), flush=True)


if __name__ == "__main__":
    main()
