"""What the recipes learn from: cached pictures of the world, doodles in random colours, crops of free photographs."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image, ImageFilter

from dislib.world import Scene, paint, sample
from dislib.world.canvas import Layer, blend, gradient, to_image
from dislib.world.ink import draw_land, draw_sky, draw_things
from dislib.world.layout import SIDE, arrange, centred
from dislib.world.styles import halftone

TRAIN, FRESH = 0, 1  # first word of the seed: scenes for training, and scenes that training never saw


def scene(index: int, stream: int = TRAIN) -> Scene:
    """Scene number ``index`` of a stream; streams never share a seed."""
    return sample(np.random.default_rng([stream, index]))


def picture(index: int) -> np.ndarray:
    return np.asarray(paint(scene(index)))


def doodle(index: int) -> np.ndarray:
    """A drawing in random colours on a random ground: what the autoencoder must keep, but no style of the course."""
    rng = np.random.default_rng([2, index])
    layout = (centred if rng.random() < 0.25 else arrange)(sample(rng))
    some = lambda: tuple(int(v) for v in rng.integers(0, 256, 3))  # noqa: E731
    light, dark = int(rng.integers(225, 256)), int(rng.integers(0, 40))
    back = ((light,) * 3, (dark,) * 3, some(), some())[rng.integers(4)]
    line = ((dark,) * 3, (light,) * 3, some())[rng.integers(3)]
    if abs(np.mean(line) - np.mean(back)) < 60:
        line = tuple(255 - c for c in back)
    paints = {
        role: some() if rng.random() < 0.6 else back
        for role in ("body", "shade", "light", "dark", "glass", "wood", "leaf", "cream", "gold")
    }
    width, layer = rng.uniform(2.5, 7.0), Layer()
    if rng.random() < 0.25:
        for k in range(int(rng.integers(4, 30)), SIDE, int(rng.integers(14, 44))):
            mark = some() if rng.random() < 0.1 else line
            layer.line(np.array([(k, 0), (k, SIDE)]), mark, rng.uniform(1.5, 3))
            layer.line(np.array([(0, k), (SIDE, k)]), mark, rng.uniform(1.5, 3))
    if rng.random() < 0.6:
        draw_sky(layer, layout, ("day", "sunset", "night", "fog")[rng.integers(4)], line, width, blank=back)
    if rng.random() < 0.7:
        draw_land(layer, layout, line, width, rng.uniform(0, 1.2))
    outline = (lambda role, thing: line) if rng.random() < 0.9 else None
    draw_things(layer, layout, lambda role, thing: paints[role], outline, width, rng.uniform(0, 1))
    if rng.random() < 0.3:
        top, mark = rng.uniform(10, 34), some()
        layer.fill(np.array([(0, 0), (SIDE, 0), (SIDE, top), (0, top)]), some())
        layer.line(np.array([(8, top / 2), (rng.uniform(40, 120), top / 2)]), mark, rng.uniform(3, 7))
    under = gradient(back, some() if rng.random() < 0.3 else back)
    if rng.random() < 0.25:
        screen = halftone(rng.uniform(0.15, 0.5), int(rng.integers(4, 20)) * 2)
        under = under * (1 - screen) + np.array(some()) * screen
    out = blend(under.astype(np.float32), layer)
    if rng.random() < 0.25:  # light that spreads beyond the lines
        colour, cover = layer.array()
        halo = to_image(colour * cover).filter(ImageFilter.GaussianBlur(rng.uniform(3, 10)))
        out = out + rng.uniform(0.3, 1.6) * np.asarray(halo, np.float32)
    return np.asarray(to_image(out))


def photographs(names: tuple[str, ...]) -> list[np.ndarray]:
    """Photographs that scikit-image carries, (h, w, 3) uint8, the short side reduced to about 400 px."""
    from skimage import data

    out = []
    for name in names:
        image = Image.fromarray(getattr(data, name)()).convert("RGB")
        image.thumbnail((700, 700))
        out.append(np.asarray(image))
    return out


TRAINING_PHOTOS = (
    "hubble_deep_field",
    "retina",
    "immunohistochemistry",
    "camera",
    "grass",
    "gravel",
    "brick",
    "moon",
    "coins",
)
HELD_OUT_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def cached(paint_one: Callable[[int], np.ndarray], count: int, folder: Path) -> np.ndarray:
    """Pictures 0 .. count-1 (count, 128, 128, 3) uint8, painted once by all cores and kept as a memory-mapped file."""
    path = folder / f"{paint_one.__name__}-{count}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".part")
        store = np.lib.format.open_memmap(half, "w+", np.uint8, (count, SIDE, SIDE, 3))
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for i, pixels in enumerate(pool.map(paint_one, range(count), chunksize=64)):
                store[i] = pixels
                if i % 2000 == 0:
                    print(f"painted {i} of {count}: {paint_one.__name__}", flush=True)
        store.flush()
        half.replace(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)
