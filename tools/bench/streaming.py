"""The prior of 2,000 pictures: how long, and whether memory stays flat where encoding all and stacking grows."""

import sys
import tempfile
from pathlib import Path

from measure import Measurement, run

FEW, MANY = 200, 2000


def benchmark():
    with tempfile.TemporaryDirectory() as folder:
        run(__file__, "paint", folder, MANY)
        few, many = (run(__file__, "prior", folder, n) for n in (FEW, MANY))
        few_stacked, stacked = (run(__file__, "stack", folder, n) for n in (FEW, MANY))
    yield Measurement(f"prior of {MANY:,} pictures, libraries and model loaded", many.seconds, "s")
    yield Measurement(f"prior of {MANY:,} pictures, peak memory", many.gib, "GiB")
    yield Measurement(f"  as against {FEW} pictures", many.gib / few.gib, "x", "<= 1.05")
    yield Measurement(f"encoding {MANY:,} pictures in batches, then stacking, peak memory", stacked.gib, "GiB")
    yield Measurement(f"  as against {FEW} pictures", stacked.gib / few_stacked.gib, "x")


def paint(folder, n):
    """Pictures of the world, by number."""
    import numpy as np

    from dislib.world import paint, sample

    for i in range(n):
        paint(sample(np.random.default_rng(i))).save(Path(folder) / f"{i:05d}.png")


def prior(folder, n):
    from dislib import StylePrior, load_pipeline

    StylePrior.from_images(load_pipeline("tiny"), folder, n=n)


def stack(folder, n):
    """The straightforward way: all pictures, all latents, then their mean and standard deviation."""
    import torch

    from dislib import load_pipeline
    from dislib.core.pipeline import image_size
    from dislib.images.images import list_images, load_image

    pipe = load_pipeline("tiny")
    images = [load_image(file, image_size(pipe)) for file in list_images(folder).files[:n]]
    pixels = pipe.image_processor.preprocess(images)
    with torch.no_grad():
        latents = torch.cat([pipe.vae.encode(batch).latent_dist.mode() for batch in pixels.split(8)])
    return latents.mean(0), latents.std(0)


if __name__ == "__main__":
    task, folder, n = sys.argv[1:]
    {"paint": paint, "prior": prior, "stack": stack}[task](folder, int(n))
