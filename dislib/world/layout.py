"""Where everything of a scene lies in the picture: polygons in pixels, shared by all painters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .scene import Scene
from .shapes import LIFT, SHAPES, WIDE, Part

SIDE = 128  # pixels


@dataclass(frozen=True)
class Placed:
    """A thing put into the picture: its parts in pixels (y down), its colour's name, and where it stands."""

    parts: list[Part]
    colour: str
    x: float
    foot: float
    height: float
    ground: float  # where its shadow falls


@dataclass(frozen=True)
class Layout:
    """Everything a painter needs to know of a scene; lengths in pixels."""

    horizon: float
    hills: list[np.ndarray]  # far to near, closed polygons
    clouds: list[list[tuple[float, float, float, float]]]  # ellipses (cx, cy, rx, ry)
    stars: np.ndarray  # (n, 2)
    marks: list[np.ndarray]  # open lines on the ground: tufts, dunes, waves, road marks
    sun: tuple[float, float, float]  # x, y, radius of sun or moon
    things: list[Placed]  # far to near


def place(thing: str, colour: str | None, x: float, foot: float, height: float, flip: bool = False) -> Placed:
    """Put a thing of the given height with its foot at ``(x, foot)``, all in pixels."""
    tall = height * WIDE.get(thing, 1.0)
    ground, foot = foot, foot - LIFT.get(thing, 0.0) * height
    scale = np.array([-tall if flip else tall, -tall])
    parts = [(points * scale + (x, foot), role) for points, role in SHAPES[thing]()]
    return Placed(parts, colour or "white", x, foot, tall, ground)


def arrange(scene: Scene) -> Layout:
    """The layout of a scene. Small details come from ``scene.seed``, so the same scene is always the same picture."""
    rng = np.random.default_rng(scene.seed)
    horizon = scene.horizon * SIDE
    street = scene.ground == "street"
    return Layout(
        horizon,
        skyline(rng, horizon) if street else hills(rng, horizon, flat=scene.ground == "sea"),
        clouds(rng, horizon),
        np.stack([rng.uniform(0, SIDE, 26), rng.uniform(0, max(horizon - 8, 12), 26)], axis=1),
        marks(rng, scene.ground, horizon),
        (scene.sun[0] * SIDE, scene.sun[1] * SIDE, float(rng.uniform(7, 12))),
        things(scene, horizon),
    )


def centred(scene: Scene, height: float = 92.0) -> Layout:
    """A layout that shows the main thing alone, large, in the middle of the picture."""
    base = arrange(replace(scene, second=None, count=1))
    thing = place(scene.thing, scene.colour, SIDE / 2, 0, height, scene.flip)
    points = np.concatenate([p for p, _ in thing.parts])
    middle = (points.min(0) + points.max(0)) / 2
    zoom = min(1.0, 104 / np.ptp(points[:, 0]))
    parts = [((p - middle) * zoom + SIDE / 2, role) for p, role in thing.parts]
    return replace(base, things=[replace(thing, parts=parts, foot=SIDE / 2 + height / 2, height=height)])


def things(scene: Scene, horizon: float) -> list[Placed]:
    """The main thing or things and the second one, the smaller first."""
    foot = min(0.45 * horizon + 0.55 * SIDE, SIDE - 8) + 4
    height = scene.size * SIDE
    foot = max(foot, height + 4)
    if scene.count > 1:
        gap = SIDE / scene.count
        xs = [(i + 0.5) * gap + (scene.x - 0.5) * 24 for i in range(scene.count)]
        height = min(height, 0.42 * SIDE if scene.count == 2 else 0.32 * SIDE)
        return [place(scene.thing, scene.colour, x, foot + 3 * (i % 2), height, scene.flip) for i, x in enumerate(xs)]
    main = place(scene.thing, scene.colour, scene.x * SIDE, foot, height, scene.flip)
    if not scene.second:
        return [main]
    side = -1 if scene.relation == "left" else 1
    x = scene.x * SIDE
    main = place(scene.thing, scene.colour, x + side * 31, foot, height, scene.flip)
    return [place(scene.second, scene.second_colour, x - side * 31, foot - 3, 0.9 * height, not scene.flip), main]


def hills(rng: np.random.Generator, horizon: float, flat: bool) -> list[np.ndarray]:
    """Two ranges of hills (one low one behind the sea), each a polygon that reaches down to the horizon."""
    x = np.linspace(-4, SIDE + 4, 40)
    layers = []
    for high in (7,) if flat else (17, 9):
        waves = sum(
            rng.uniform(0.3, 1) * np.sin(x / SIDE * np.pi * rng.uniform(1.2, 4.5) + rng.uniform(0, 6.3))
            for _ in range(3)
        )
        top = horizon - 1 - high * (waves - waves.min()) / (np.ptp(waves) + 1e-6) * rng.uniform(0.5, 1)
        layers.append(np.concatenate([np.stack([x, top], 1), [(SIDE + 4, horizon + 1), (-4, horizon + 1)]]))
    return layers


def skyline(rng: np.random.Generator, horizon: float) -> list[np.ndarray]:
    """Houses far away behind a street, as one polygon."""
    edge, points = -4.0, [(-4.0, horizon + 1)]
    while edge < SIDE + 4:
        width, top = rng.uniform(11, 20), horizon - rng.uniform(6, 26)
        points += [(edge, top), (edge + width, top)]
        edge += width
    return [np.array([*points, (edge, horizon + 1)])]


def clouds(rng: np.random.Generator, horizon: float) -> list[list[tuple[float, float, float, float]]]:
    """Up to three clouds, each a handful of ellipses on a flat base."""
    out = []
    for _ in range(int(rng.integers(4))):
        cx, cy, w = rng.uniform(8, SIDE - 8), rng.uniform(10, max(0.55 * horizon, 16)), rng.uniform(10, 20)
        out.append(
            [
                (cx + w * dx, cy - w * dy, w * r, w * r * 0.62)
                for dx, dy, r in ((-0.8, 0.0, 0.5), (-0.2, 0.16, 0.66), (0.45, 0.1, 0.56), (0.95, 0.0, 0.4))
            ]
        )
    return out


def marks(rng: np.random.Generator, ground: str | None, horizon: float) -> list[np.ndarray]:
    """Lines which tell the ground: tufts of grass, dunes, drifts of snow, waves, road marks; nearer ones are larger."""
    depth = SIDE - horizon
    spots = [
        (rng.uniform(0, SIDE), horizon + depth * d, 0.5 + 0.7 * d) for d in np.linspace(0.15, 0.92, 7) for _ in range(2)
    ]
    if ground == "meadow":
        return [
            np.array([(x - 3 * s, y - 4 * s), (x - s, y), (x, y - 6 * s), (x + s, y), (x + 3 * s, y - 4 * s)])
            for x, y, s in spots
        ]
    if ground == "street":
        left, right = 0.1 * SIDE, 0.9 * SIDE
        lane = [
            np.array([(SIDE / 2, horizon + depth * a), (SIDE / 2, horizon + depth * b)])
            for a, b in ((0.08, 0.2), (0.32, 0.5), (0.66, 0.95))
        ]
        return [
            *lane,
            np.array([(0.4 * SIDE, horizon), (left - 26, SIDE)]),
            np.array([(0.6 * SIDE, horizon), (right + 26, SIDE)]),
        ]
    t = np.linspace(-1, 1, 13)
    shape = {
        "desert": lambda: np.stack([26 * t, -4 * (1 - t**2)], 1),
        "snow": lambda: np.stack([13 * t, -6 * (1 - t**2)], 1),
        "sea": lambda: np.stack([11 * t, 1.8 * np.sin(2 * np.pi * t)], 1),
    }
    if ground not in shape:
        return []
    return [shape[ground]() * s + (x, y) for x, y, s in (spots[::2] if ground == "desert" else spots)]
