"""Anti-aliased drawing: a transparent layer drawn at several times its size with Pillow and box-filtered down."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .layout import SIDE

ZOOM = 4  # oversampling of every layer

Colour = tuple[int, int, int]


class Layer:
    """An RGBA layer of 128 x 128 px; coordinates and widths are in its pixels, fractions allowed."""

    def __init__(self):
        self.image = Image.new("RGBA", (SIDE * ZOOM, SIDE * ZOOM), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def fill(self, points: np.ndarray, colour: Colour, alpha: int = 255) -> None:
        self.draw.polygon([tuple(p) for p in np.asarray(points) * ZOOM], fill=(*colour, alpha))

    def line(self, points: np.ndarray, colour: Colour, width: float, closed: bool = False) -> None:
        """A line with round joints and ends."""
        p = [tuple(q) for q in np.asarray(points) * ZOOM]
        p = p + p[:2] if closed else p
        self.draw.line(p, fill=(*colour, 255), width=max(int(round(width * ZOOM)), 1), joint="curve")
        r = width * ZOOM / 2
        for x, y in [] if closed else [p[0], p[-1]]:
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=(*colour, 255))

    def disc(self, x: float, y: float, rx: float, colour: Colour, ry: float | None = None, alpha: int = 255) -> None:
        ry = rx if ry is None else ry
        self.draw.ellipse(tuple(ZOOM * v for v in (x - rx, y - ry, x + rx, y + ry)), fill=(*colour, alpha))

    def array(self) -> tuple[np.ndarray, np.ndarray]:
        """Colour (128, 128, 3) in 0..255 and coverage (128, 128, 1) in 0..1."""
        a = np.asarray(self.image.convert("RGBa").reduce(ZOOM), dtype=np.float32)
        cover = a[..., 3:] / 255
        return a[..., :3] / np.maximum(cover, 1 / 255), cover


def blend(below: np.ndarray, layer: Layer, light: np.ndarray | float = 1.0) -> np.ndarray:
    """The layer, its colours times ``light``, over an array (128, 128, 3)."""
    colour, cover = layer.array()
    return below * (1 - cover) + np.clip(colour * light, 0, 255) * cover


def gradient(top: Colour, bottom: Colour, height: float = SIDE) -> np.ndarray:
    """A vertical gradient (128, 128, 3) that reaches ``bottom`` at ``height`` pixels and stays there."""
    t = np.clip(np.arange(SIDE) / max(height, 1), 0, 1)[:, None, None]
    return np.broadcast_to((1 - t) * np.array(top) + t * np.array(bottom), (SIDE, SIDE, 3)).astype(np.float32)


def noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Smooth noise (128, 128, 1), about -1 to 1, with the given number of cells."""
    cells = Image.fromarray(rng.normal(size=(rows, columns)).astype(np.float32))
    return np.asarray(cells.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., None].clip(-2, 2) / 1.5


def to_image(array: np.ndarray) -> Image.Image:
    """An array (128, 128, 3) in 0..255 as a Pillow RGB image."""
    return Image.fromarray(np.clip(array + 0.5, 0, 255).astype(np.uint8), "RGB")
