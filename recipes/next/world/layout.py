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


def place(
    thing: str, colour: str | None, x: float, foot: float, height: float, flip: bool = False, room: float = 104.0
) -> Placed:
    """Put a thing of the given height with its foot at ``(x, foot)``, all in pixels; never wider than ``room``."""
    parts = SHAPES[thing]()
    across = np.concatenate([points[:, 0] for points, _ in parts])
    tall = min(height * WIDE.get(thing, 1.0), room / np.ptp(across))
    ground, foot = foot, foot - max(min(LIFT.get(thing, 0.0) * tall, foot - tall - 4), 0)
    scale = np.array([-tall if flip else tall, -tall])
    left, right = sorted(tall * (-across if flip else across)[[across.argmin(), across.argmax()]])
    x = min(max(x, -6 - left), SIDE + 6 - right)  # cut off a little at most
    return Placed([(points * scale + (x, foot), role) for points, role in parts], colour or "white", x, foot, tall, ground)


def arrange(scene: Scene, top: float = 0.0, bottom: float = 0.0) -> Layout:
    """The layout of a scene, its things clear of ``top`` and ``bottom`` pixels that a style needs for itself.

    Small details come from ``scene.seed``, so the same scene is always the same picture.
    """
    rng = np.random.default_rng(scene.seed)
    horizon = scene.horizon * SIDE
    street = scene.ground == "street"
    return Layout(
        horizon,
        skyline(rng, horizon) if street else hills(rng, horizon, flat=scene.ground == "sea"),
        clouds(rng, horizon),
        np.stack([(np.arange(9) + rng.uniform(0.2, 0.8, 9)) * SIDE / 9, rng.uniform(6, max(0.7 * horizon, 20), 9)], axis=1),
        marks(rng, scene.ground, horizon),
        (scene.sun[0] * SIDE, scene.sun[1] * SIDE + top, float(rng.uniform(10, 14))),
        things(scene, horizon, top, bottom),
    )


def centred(scene: Scene, height: float = 104.0) -> Layout:
    """A layout that shows the main thing alone, large, in the middle of the picture."""
    base = arrange(replace(scene, second=None, count=1))
    thing = place(scene.thing, scene.colour, SIDE / 2, 0, height, scene.flip)
    points = np.concatenate([p for p, _ in thing.parts])
    middle = (points.min(0) + points.max(0)) / 2
    zoom = min(1.0, 106 / np.ptp(points[:, 0]))
    parts = [((p - middle) * zoom + SIDE / 2, role) for p, role in thing.parts]
    return replace(base, things=[replace(thing, parts=parts, foot=SIDE / 2 + height / 2, height=height)])


def things(scene: Scene, horizon: float, top: float, bottom: float) -> list[Placed]:
    """The main thing or things and the second one, the smaller first."""
    height = min(scene.size * SIDE, SIDE - top - bottom - 10)
    foot = max(min(0.45 * horizon + 0.55 * SIDE + 4, SIDE - bottom - 4), height + top + 4)
    if scene.count > 1:
        gap = SIDE / scene.count
        xs = [(i + 0.5) * gap + (scene.x - 0.5) * 16 for i in range(scene.count)]
        height = min(height, 0.58 * SIDE if scene.count == 2 else 0.45 * SIDE)
        return [
            place(scene.thing, scene.colour, x, foot - (2, 10)[i % 2], height, scene.flip, gap + 6)
            for i, x in sorted(enumerate(xs), key=lambda pair: -(pair[0] % 2))  # far to near
        ]
    if not scene.second:
        return [place(scene.thing, scene.colour, scene.x * SIDE, foot, height, scene.flip)]
    side = -1 if scene.relation == "left" else 1
    x, away = scene.x * SIDE, side * SIDE / 4
    main = place(scene.thing, scene.colour, x + away, foot, height, scene.flip, 64)
    return [place(scene.second, scene.second_colour, x - away, foot - 4, 0.95 * height, not scene.flip, 62), main]


def hills(rng: np.random.Generator, horizon: float, flat: bool) -> list[np.ndarray]:
    """Two ranges of hills (one low one behind the sea), each a polygon that reaches down to the horizon."""
    x = np.linspace(-4, SIDE + 4, 40)
    layers = []
    for high in (9,) if flat else (22, 11):
        waves = sum(
            rng.uniform(0.3, 1) * np.sin(x / SIDE * np.pi * rng.uniform(1.0, 3.0) + rng.uniform(0, 6.3))
            for _ in range(3)
        )
        top = horizon - 1 - high * (waves - waves.min()) / (np.ptp(waves) + 1e-6) * rng.uniform(0.5, 1)
        layers.append(np.concatenate([np.stack([x, top], 1), [(SIDE + 4, horizon + 1), (-4, horizon + 1)]]))
    return layers


def skyline(rng: np.random.Generator, horizon: float) -> list[np.ndarray]:
    """Houses far away behind a street, as one polygon."""
    edge, points = -4.0, [(-4.0, horizon + 1)]
    while edge < SIDE + 4:
        width, top = rng.uniform(18, 32), horizon - rng.uniform(8, 30)
        points += [(edge, top), (edge + width, top)]
        edge += width
    return [np.array([*points, (edge, horizon + 1)])]


def clouds(rng: np.random.Generator, horizon: float) -> list[list[tuple[float, float, float, float]]]:
    """Up to two clouds, each a handful of ellipses on a flat base."""
    out = []
    for _ in range(int(rng.integers(3))):
        cx, cy, w = rng.uniform(8, SIDE - 8), rng.uniform(12, max(0.5 * horizon, 18)), rng.uniform(16, 24)
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
        (side * SIDE + rng.uniform(-18, 18), horizon + depth * d, 0.7 + 0.6 * d)
        for d in (0.3, 0.62, 0.92)
        for side in (0.18, 0.82)
    ]
    if ground == "meadow":
        return [
            np.array([(x - 7 * s, y - 7 * s), (x - 2 * s, y), (x, y - 11 * s), (x + 2 * s, y), (x + 7 * s, y - 7 * s)])
            for x, y, s in spots
        ]
    if ground == "street":
        dashes = ((0.12, 0.36), (0.62, 0.98))
        lane = [np.array([(SIDE / 2, horizon + depth * a), (SIDE / 2, horizon + depth * b)]) for a, b in dashes]
        sides = [np.array([(SIDE * (0.5 + 0.1 * s), horizon), (SIDE * (0.5 + 0.62 * s), SIDE)]) for s in (-1, 1)]
        return [*lane, *sides]
    t = np.linspace(-1, 1, 17)
    shape = {
        "desert": lambda: np.stack([30 * t, -6 * (1 - t**2)], 1),
        "snow": lambda: np.stack([16 * t, -9 * (1 - t**2)], 1),
        "sea": lambda: np.stack([18 * t, 3.4 * np.sin(2 * np.pi * t)], 1),
    }
    return [shape[ground]() * s + (x, y) for x, y, s in spots] if ground in shape else []
