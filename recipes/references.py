"""Recipe of ``data/results/reference``: what FID, KID and MMD compare pictures of a style with.

800 fresh renders of each style as features, never the training images; 800 more for the floor; and the training
images, to see what copying them would be worth. To be made anew whenever the judge is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dislib.evaluation.judge import both_features, load_judge, looked_at_by
from dislib.evaluation.metrics import fid
from dislib.evaluation.reference import Reference
from dislib.evaluation.table import FLOOR, TRAINING
from dislib.files import data_dir, make_folder
from dislib.images.images import list_images, load_image
from dislib.world import STYLES, paint, shown
from dislib.world.layout import SIDE

from .pictures import scene

STREAM = 500  # streams 500, 501, ...: one per style, shared with no picture of any training
COUNT = 800


def renders(style: str, start: int, count: int):
    """Fresh pictures of a style, drawn as its training images are."""
    stream = STREAM + STYLES.index(style)
    return (paint(shown(scene(i, stream), style), style) for i in range(start, start + count))


def reference(style: str, judge, *, data: Path, count: int = COUNT) -> Reference:
    """The reference of a style with its floor and its training images."""
    training = (load_image(file, SIDE) for file in list_images(data / "styles" / style / "train").files)
    sets = {"reference": renders(style, 0, count), FLOOR: renders(style, count, count), TRAINING: training}
    seen = {name: both_features(pictures, judge) for name, pictures in sets.items()}
    return Reference(style, **seen.pop("reference"), meta=looked_at_by(judge), others=seen)


def run(*, folder: Path, out: Path = Path("data"), count: int = COUNT) -> Iterator[dict]:
    """Write ``data/results/reference/<style>.safetensors``; yields a record for each style."""
    judge, target = load_judge(out / "judge"), make_folder(out / "results" / "reference")
    for style in STYLES:
        made = reference(style, judge, data=out, count=count)
        made.save(target / f"{style}.safetensors")
        distances = {name: round(fid(seen["pooled"], made.pooled), 4) for name, seen in made.others.items()}
        yield {"style": style, "pictures": len(made.pooled), "width": np.shape(made.pooled)[1], **distances}


def reference_features(style: str) -> np.ndarray:
    """The shipped pooled features of a style, (800, 128), to take a FID to."""
    return Reference.load(data_dir() / "results" / "reference" / f"{style}.safetensors").pooled
