"""Drawing with lines: the part that all line-based painters share."""

from __future__ import annotations

from typing import Callable

import numpy as np

from .canvas import Colour, Layer
from .layout import SIDE, Layout, Placed

Paint = Callable[[str, Placed], Colour]  # (role, thing) -> colour


def wobble(points: np.ndarray, amount: float = 0.7) -> np.ndarray:
    """A hand's small, smooth errors; the same points always move the same way."""
    x, y = points[:, 0], points[:, 1]
    return points + amount * np.stack([np.sin(0.21 * y + 0.13 * x), np.sin(0.19 * x - 0.11 * y)], 1)


def draw_things(
    layer: Layer, layout: Layout, fill: Paint | None, line: Paint | None, width: float, shake: float = 0.0
) -> None:
    """Each part filled, then outlined, far to near."""
    for thing in layout.things:
        for points, role in thing.parts:
            points = wobble(points, shake) if shake else points
            if fill:
                layer.fill(points, fill(role, thing))
            if line:
                layer.line(points, line(role, thing), width, closed=True)


def draw_land(
    layer: Layer, layout: Layout, colour: Colour, width: float, shake: float = 0.0, hills: bool = True
) -> None:
    """The horizon, the hills or houses on it, and half of the marks that tell the ground: lines crowd sooner than tones."""
    for hill in layout.hills[:1] if hills else []:
        layer.line(wobble(hill[:-2], shake), colour, width)
    layer.line(wobble(np.stack([np.linspace(-2, SIDE + 2, 24), np.full(24, layout.horizon)], 1), shake), colour, width)
    for mark in layout.marks if len(layout.marks) < 6 else layout.marks[2:]:
        layer.line(wobble(mark, shake), colour, width)


def draw_sky(
    layer: Layer, layout: Layout, time: str | None, colour: Colour, width: float, blank: Colour | None = None
) -> None:
    """What tells the time in lines: a sun with rays, a sun on the horizon, moon and stars, or banks of fog."""
    x, y, r = layout.sun
    circle = lambda cx, cy, radius: np.stack([cx + radius * np.cos(a), cy + radius * np.sin(a)], 1)  # noqa: E731
    a = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    if time in ("day", "sunset") and blank:
        for cloud in layout.clouds:
            for cx, cy, rx, ry in cloud:
                layer.disc(cx, cy, rx + width, colour, ry + width)
            for cx, cy, rx, ry in cloud:
                layer.disc(cx, cy, rx, blank, ry)
    if time in ("day", None):
        if blank:
            layer.disc(x, y, r + 11, blank)
        layer.line(circle(x, y, 0.8 * r), colour, width, closed=True)
        for t in a[::5]:
            ray = np.array([(np.cos(t), np.sin(t))])
            layer.line(np.concatenate([ray * (r + 3), ray * (r + 9)]) + (x, y), colour, width)
    elif time == "sunset":
        a = np.linspace(np.pi, 2 * np.pi, 24)
        for radius in (1.4 * r, 2.3 * r):
            layer.line(circle(x, layout.horizon, radius), colour, width)
    elif time == "night":
        a = np.linspace(0.9, 2 * np.pi - 0.9, 30)
        inner = circle(x + 0.7 * r, y, 0.86 * r)[::-1]
        layer.line(np.concatenate([circle(x, y, 1.15 * r), inner]), colour, width, closed=True)
        for sx, sy in layout.stars[::2]:
            layer.line(np.array([(sx - 4, sy), (sx + 4, sy)]), colour, 0.8 * width)
            layer.line(np.array([(sx, sy - 4), (sx, sy + 4)]), colour, 0.8 * width)
    else:
        for i, sy in enumerate(np.linspace(16, layout.horizon - 14, 3)):
            for start in np.arange(-20 + 44 * (i % 2), SIDE, 88):
                layer.line(np.array([(start + x / 4, sy), (start + 52 + x / 4, sy)]), colour, width)
