"""How pictures look, in numbers: colours in L*a*b*, thumbnails, the middle of what is painted, the horizon.

Everything is numpy; a grid of pictures is laid out `(prompts, seeds, ...)`: every prompt painted from every seed.
"""


import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from ..errors import DislibError
from .images import upright_rgb

# Linear sRGB to CIE XYZ for the white point D65 (IEC 61966-2-1).
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])


def rgb_to_lab(rgb):
    """sRGB in [0, 1] to CIE L*a*b* (D65), `(..., 3)`: L in 0..100, a and b about -128..127."""
    rgb = np.asarray(rgb, dtype=np.float64)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _XYZ.T / _WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def thumbnails(images, *, size=8):
    """Pictures averaged down to `size` x `size` blocks: `(n, size, size, 3)`, sRGB in [0, 1]."""
    small = [np.asarray(upright_rgb(image).resize((size, size), Image.Resampling.BOX)) for image in images]
    return np.stack(small) / 255.0


def mean_lab(images):
    """Mean colour of every picture in L*a*b*: `(n, 3)`. The distance of two such colours is what the eye sees (dE)."""
    return np.stack([_lab(image).mean(axis=(0, 1)) for image in images])


def centroids(images, *, colour=None):
    """Where the foreground lies: `(n, 2)`, x from the left and y from the top, both in 0..1.

    Foreground is what differs in colour from the middle (median) colour of its own row: sky, ground and fog change
    from row to row, things do not fill a row. Only the strongest differences count (over half of the largest).
    With a `colour` (sRGB in 0..255) it is what lies nearer to that one than to the picture's median colour.
    """
    return np.stack([_centroid(_lab(image), colour) for image in images])


def _centroid(lab, colour):
    if colour is None:
        salience = np.linalg.norm(lab - np.median(lab, axis=1, keepdims=True), axis=-1)
        least = np.quantile(salience, 0.999) / 2
    else:
        middle = np.median(lab, axis=(0, 1))
        towards = rgb_to_lab(np.asarray(colour) / 255) - middle
        salience, least = (lab - middle) @ towards / max(towards @ towards, 1e-12), 0.5
    weight = np.where(salience > least, salience, 0.0)
    if weight.sum() == 0:  # a picture without foreground: say the middle, which moves nothing
        return np.array([0.5, 0.5])
    y, x = ((np.arange(n) + 0.5) / n for n in weight.shape)
    return np.array([weight.sum(axis=0) @ x, weight.sum(axis=1) @ y]) / weight.sum()


def horizons(images):
    """Height of the horizon: `(n,)`, 0 is the top edge and 1 the bottom; sought in the middle half.

    The height where most columns take the same step in colour: clouds, things and a skyline fill only some of the
    columns, and a sky changes slowly. On 259 painted scenes 86 % are within 0.05 of the truth, correlation 0.86.
    """
    return np.array([_horizon(_lab(image)) for image in images])


def _horizon(lab):
    height = len(lab)
    window = max(1, height // 64)
    total = np.concatenate([np.zeros_like(lab[:1]), np.cumsum(lab, axis=0)])
    cuts = np.arange(max(height // 4, window), height - max(height // 4, window) + 1)
    steps = 2 * total[cuts] - total[cuts - window] - total[cuts + window]  # rows above minus rows below, (cuts, w, 3)
    return float(cuts[np.linalg.norm(np.median(steps, axis=1), axis=-1).argmax()] / height)


def _lab(image):
    return rgb_to_lab(np.asarray(upright_rgb(image)) / 255.0)


# --- prompts x seeds: what does the seed decide? ---------------------------------------------------------------


MEASURES = {"thumbnail": thumbnails, "colour": mean_lab, "centroid": centroids, "horizon": horizons}


def measure_grid(grid, measure="thumbnail"):
    """Measure pictures laid out as rows of prompts and columns of seeds: `(prompts, seeds, ...)`.

    Args:
        grid: a list of rows, one a prompt; each a list of pictures, one a seed, in the same order.
        measure: "thumbnail", "colour" (mean L*a*b*), "centroid" or "horizon".
    """
    if measure not in MEASURES:
        raise DislibError(f"there is no measure {measure!r}; choose one of {', '.join(MEASURES)}")
    lengths = sorted({len(row) for row in grid})
    if len(lengths) != 1:
        raise DislibError(f"rows of the grid hold {lengths} pictures; every prompt needs one picture of every seed")
    return np.stack([MEASURES[measure](row) for row in grid])


# --- how it is drawn, whatever the colours -----------------------------------------------------------------------------

STEPS = (1.0, 3.0, 8.0, 16.0, 32.0)  # steps of lightness L* from pixel to pixel, that tell flat from soft from hard


def strokes(images):
    """How pictures are drawn: shares of their pixels by how steeply the lightness changes there, `(n, 12)`.

    Six classes from flat to a hard edge, each split in two: does the pixel lie darker than its surroundings or lighter?
    Thin dark lines on a ground fill other classes than soft shading does. No colour is left in it, and no lightness:
    a picture that is made lighter or redder all over keeps its strokes.
    """
    return np.stack([_strokes(_lab(image)[..., 0]) for image in images])


def _strokes(light):
    down, across = np.gradient(light)
    steep = np.digitize(np.hypot(down, across), STEPS)
    darker = light < _blurred(light) - 0.5  # by less it is rounding
    counts = np.bincount((2 * steep + darker).ravel(), minlength=2 * (len(STEPS) + 1))
    return counts / light.size


def _blurred(light, radius=3):
    """Means over squares of 2 radius + 1 pixels; the border is continued."""
    width = 2 * radius + 1
    for axis in (0, 1):
        padded = np.pad(light, [(radius, radius) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
        light = sliding_window_view(padded, width, axis=axis).mean(axis=-1)
    return light
