"""Generic media: a tenth of the base model's pictures, with the medium's word in their captions.

They are what prompt engineering can ask for. None of them is a target style: pencil is grey and toned where *sketch* is
bare line, chalk is loose on a green board where *blueprint* is ruled on a blue grid.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .canvas import Layer, blend, noise, to_image
from .ink import draw_land, draw_sky, draw_things
from .layout import SIDE, arrange
from .natural import PAINT, paint_natural, role_colour
from .scene import Scene


def _plain(scene: Scene) -> tuple[np.ndarray, np.random.Generator]:
    return np.asarray(paint_natural(scene), dtype=np.float32), np.random.default_rng(scene.seed + 2)


def pencil_drawing(scene: Scene) -> Image.Image:
    """Graphite on warm paper: soft grey tones under broken outlines."""
    picture, rng = _plain(scene)
    tone = picture.mean(axis=2, keepdims=True) / 255
    paper = np.array((243, 238, 226)) * (0.52 + 0.48 * np.clip(tone + 0.06 * noise(rng, 20, 50), 0, 1) ** 0.8)
    layer = Layer()
    layout = arrange(scene)
    draw_land(layer, layout, (112, 108, 106), 1.6, 0.8)

    def grey(role, thing):
        depth = 0.55 + 0.4 * sum(role_colour(role, thing.colour)) / 765
        return tuple(int(v * depth) for v in (243, 238, 226))

    draw_things(layer, layout, grey, lambda role, thing: (82, 78, 80), 1.7, 0.6)
    return to_image(blend(paper.astype(np.float32), layer, 1 + 0.06 * noise(rng, 20, 50)))


def watercolour(scene: Scene) -> Image.Image:
    """Pale washes that run into each other and leave a white border of paper."""
    picture, rng = _plain(scene)
    wet = np.asarray(
        to_image(picture).filter(ImageFilter.ModeFilter(5)).filter(ImageFilter.GaussianBlur(1.1)), np.float32
    )
    paper = np.array((252, 249, 242), dtype=np.float32)
    wash = paper - (paper - wet) * (0.72 + 0.1 * noise(rng, 9, 9))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    edge = np.minimum.reduce([rows, columns, SIDE - 1 - rows, SIDE - 1 - columns])[..., None] + 3.5 * noise(rng, 12, 12)
    return to_image(paper + (wash - paper) * np.clip((edge - 5) / 3, 0, 1))


def poster(scene: Scene) -> Image.Image:
    """Few flat tones inside a cream border, like a printed travel poster."""
    picture, _ = _plain(scene)
    smooth = np.asarray(to_image(picture).filter(ImageFilter.MedianFilter(5)), np.float32)
    flat = np.round(smooth / 51) * 51 * 0.94 + 8
    rows, columns = np.mgrid[:SIDE, :SIDE]
    edge = np.minimum.reduce([rows, columns, SIDE - 1 - rows, SIDE - 1 - columns])[..., None]
    return to_image(np.where(edge < 9, np.array((240, 228, 200)), flat))


def chalk_drawing(scene: Scene) -> Image.Image:
    """Loose pastel lines on a green board that was wiped many times."""
    rng = np.random.default_rng(scene.seed + 2)
    board = np.array((46, 66, 56)) + 7 * noise(rng, 5, 7)
    layer, layout = Layer(), arrange(scene)
    draw_sky(layer, layout, scene.time, (214, 206, 160), 2.0)
    draw_land(layer, layout, (188, 198, 190), 1.9, 1.2)

    def pastel(role, thing):
        return tuple(int(0.62 * c + 0.38 * 250) for c in PAINT[thing.colour])

    def smear(role, thing):
        return tuple(int(0.3 * p + 0.7 * b) for p, b in zip(PAINT[thing.colour], (46, 66, 56)))

    draw_things(layer, layout, smear, pastel, 2.3, 1.0)
    return to_image(blend(board.astype(np.float32), layer, 1 + 0.08 * noise(rng, 50, 50)))


PAINTERS = {
    "pencil drawing": pencil_drawing,
    "watercolour": watercolour,
    "poster": poster,
    "chalk drawing": chalk_drawing,
}
