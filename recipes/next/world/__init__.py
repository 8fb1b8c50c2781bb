"""The world: scenes, their captions and the painters. Deterministic by seed; needs only numpy and Pillow."""

from __future__ import annotations

from PIL import Image

from . import media, styles
from .natural import paint_natural
from .scene import COLOURS, GROUNDS, MEDIA, THINGS, TIMES, Scene, caption, sample, vocabulary
from .styles import STYLES, shown

__all__ = [
    "COLOURS",
    "GROUNDS",
    "MEDIA",
    "STYLES",
    "THINGS",
    "TIMES",
    "Scene",
    "caption",
    "paint",
    "sample",
    "shown",
    "vocabulary",
]


def paint(scene: Scene, style: str | None = None) -> Image.Image:
    """Paint a scene: in a target style, else in the scene's own medium, else as the natural painter sees it.

    Returns a Pillow RGB image of 128 x 128 px. Raises ``ValueError`` for a style that is not in ``STYLES``.
    """
    if style is None:
        return media.PAINTERS[scene.medium](scene) if scene.medium else paint_natural(scene)
    if style not in styles.PAINTERS:
        raise ValueError(f"no style {style!r}; the styles are {', '.join(STYLES)}")
    return styles.PAINTERS[style](shown(scene, style))
