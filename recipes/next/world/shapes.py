"""The things of the world as closed polygons, each with a role; every painter draws the same parts in its own way.

A thing lives in its own box: x from about -0.5 to 0.5 of its height, y from 0 (its foot) up to 1. Roles: ``body``
(takes the captioned colour), ``shade`` and ``light`` (darker and lighter body), ``dark``, ``glass``, ``wood``,
``leaf``, ``cream``, ``gold``.
"""

from __future__ import annotations

import numpy as np

Part = tuple[np.ndarray, str]


def ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 36) -> np.ndarray:
    """Points of an ellipse, shape (n, 2)."""
    a = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([cx + rx * np.cos(a), cy + ry * np.sin(a)], axis=1)


def rect(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Corners of a rectangle, shape (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def poly(*points: tuple[float, float]) -> np.ndarray:
    """A polygon from its corners."""
    return np.array(points, dtype=float)


def smooth(*points: tuple[float, float], n: int = 8) -> np.ndarray:
    """A closed Catmull-Rom curve through the points, shape (n * len(points), 2)."""
    p = np.array(points, dtype=float)
    t = np.linspace(0, 1, n, endpoint=False)[:, None, None]
    p0, p1, p2, p3 = (np.roll(p, k, axis=0)[None] for k in (1, 0, -1, -2))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def house() -> list[Part]:
    return [
        (rect(0.18, 0.7, 0.32, 0.98), "shade"),
        (rect(-0.42, 0, 0.42, 0.56), "body"),
        (poly((-0.56, 0.53), (0.56, 0.53), (0, 1)), "shade"),
        (rect(-0.11, 0, 0.11, 0.36), "wood"),
        (rect(-0.36, 0.18, -0.18, 0.4), "glass"),
        (rect(0.18, 0.18, 0.36, 0.4), "glass"),
    ]


def tree() -> list[Part]:
    tiers = [
        (poly((-w, low), (w, low), (0, top)), role)
        for w, low, top, role in ((0.42, 0.16, 0.6, "shade"), (0.35, 0.4, 0.82, "body"), (0.27, 0.63, 1.0, "body"))
    ]
    return [(rect(-0.09, 0, 0.09, 0.2), "wood"), *tiers]


def car() -> list[Part]:
    hull = smooth((-0.76, 0.18), (-0.78, 0.42), (-0.5, 0.52), (0.5, 0.52), (0.78, 0.4), (0.76, 0.18), (0, 0.15))
    cabin = poly((-0.5, 0.48), (-0.32, 0.9), (0.3, 0.9), (0.52, 0.48))
    wheels = [(ellipse(x, 0.18, r, r), role) for x in (-0.43, 0.43) for r, role in ((0.19, "dark"), (0.08, "cream"))]
    return [
        (cabin, "shade"),
        (poly((-0.38, 0.52), (-0.26, 0.8), (-0.05, 0.8), (-0.05, 0.52)), "glass"),
        (poly((0.05, 0.52), (0.05, 0.8), (0.25, 0.8), (0.39, 0.52)), "glass"),
        (hull, "body"),
        *wheels,
    ]


def boat() -> list[Part]:
    return [
        (rect(-0.045, 0.24, 0.045, 1), "wood"),
        (poly((0.08, 0.36), (0.08, 0.97), (0.54, 0.36)), "cream"),
        (poly((-0.08, 0.36), (-0.08, 0.88), (-0.46, 0.36)), "light"),
        (poly((-0.64, 0.29), (0.64, 0.29), (0.43, 0), (-0.43, 0)), "body"),
    ]


def cat() -> list[Part]:
    tail = smooth((0.22, 0.04), (0.52, 0.12), (0.58, 0.42), (0.48, 0.6), (0.39, 0.5), (0.43, 0.34), (0.34, 0.2))
    body = smooth((-0.25, 0.0), (-0.27, 0.26), (-0.15, 0.54), (0.15, 0.54), (0.31, 0.26), (0.29, 0.0))
    ears = [(poly((s * 0.29, 0.7), (s * 0.27, 1.0), (s * 0.05, 0.86)), "body") for s in (-1, 1)]
    eyes = [(ellipse(s * 0.13, 0.71, 0.055, 0.07), "dark") for s in (-1, 1)]
    return [
        (tail, "shade"),
        (body, "body"),
        (ellipse(0.02, 0.2, 0.13, 0.17), "light"),
        *ears,
        (ellipse(0, 0.68, 0.32, 0.24), "body"),
        *eyes,
        (poly((-0.06, 0.6), (0.06, 0.6), (0, 0.53)), "dark"),
    ]


def bird() -> list[Part]:
    body = smooth(
        (-0.4, 0.36),
        (-0.34, 0.62),
        (-0.08, 0.68),
        (0.1, 0.88),
        (0.32, 0.98),
        (0.48, 0.8),
        (0.36, 0.5),
        (0.1, 0.24),
        (-0.2, 0.22),
    )
    legs = [(rect(x - 0.035, 0, x + 0.035, 0.28), "wood") for x in (-0.1, 0.12)]
    return [
        *legs,
        (poly((-0.28, 0.5), (-0.68, 0.74), (-0.6, 0.4)), "shade"),
        (body, "body"),
        (smooth((-0.3, 0.5), (0.0, 0.58), (0.16, 0.44), (-0.06, 0.3)), "shade"),
        (poly((0.44, 0.88), (0.68, 0.76), (0.44, 0.68)), "gold"),
        (ellipse(0.29, 0.81, 0.055, 0.06), "dark"),
    ]


def flower() -> list[Part]:
    a = np.linspace(0, 2 * np.pi, 5, endpoint=False) + np.pi / 2
    petals = [(ellipse(0.21 * np.cos(t), 0.68 + 0.2 * np.sin(t), 0.135, 0.135, 24), "body") for t in a]
    leaf = smooth((0.0, 0.1), (0.16, 0.3), (0.42, 0.34), (0.24, 0.1))
    return [
        (rect(-0.045, 0, 0.045, 0.6), "leaf"),
        (leaf, "leaf"),
        (leaf * (-1, 1), "leaf"),
        *petals,
        (ellipse(0, 0.68, 0.13, 0.13), "gold"),
    ]


def mushroom() -> list[Part]:
    cap = smooth((-0.54, 0.46), (-0.44, 0.8), (0, 0.99), (0.44, 0.8), (0.54, 0.46), (0.25, 0.4), (-0.25, 0.4))
    spots = [(ellipse(x, y, r, 0.85 * r), "cream") for x, y, r in ((-0.27, 0.62, 0.1), (0.04, 0.8, 0.11), (0.3, 0.6, 0.1))]
    return [(smooth((-0.18, 0), (-0.13, 0.44), (0.13, 0.44), (0.18, 0)), "cream"), (cap, "body"), *spots]


def balloon() -> list[Part]:
    skin = smooth((-0.1, 0.3), (-0.42, 0.62), (-0.28, 0.94), (0, 1.0), (0.28, 0.94), (0.42, 0.62), (0.1, 0.3))
    stripe = smooth((-0.06, 0.31), (-0.17, 0.64), (-0.1, 0.94), (0.1, 0.94), (0.17, 0.64), (0.06, 0.31))
    ropes = [(poly((s * 0.12, 0.32), (s * 0.11, 0.14), (s * 0.07, 0.14), (s * 0.06, 0.32)), "wood") for s in (-1, 1)]
    return [*ropes, (skin, "body"), (stripe, "light"), (rect(-0.14, 0, 0.14, 0.17), "wood")]


def rocket() -> list[Part]:
    hull = smooth((-0.2, 0.16), (-0.26, 0.5), (-0.13, 0.84), (0, 1.0), (0.13, 0.84), (0.26, 0.5), (0.2, 0.16))
    fins = [(poly((s * 0.18, 0.44), (s * 0.48, 0.14), (s * 0.44, 0.0), (s * 0.15, 0.16)), "shade") for s in (-1, 1)]
    return [
        *fins,
        (rect(-0.13, 0.03, 0.13, 0.18), "dark"),
        (hull, "body"),
        (ellipse(0, 0.58, 0.135, 0.135), "cream"),
        (ellipse(0, 0.58, 0.085, 0.085), "glass"),
    ]


SHAPES = {f.__name__: f for f in (house, tree, car, boat, cat, bird, flower, mushroom, balloon, rocket)}
LIFT = {"balloon": 0.2}  # how far a thing hovers above its place, in parts of its height
WIDE = {"car": 0.75, "boat": 0.95, "house": 0.92, "mushroom": 0.92}  # wide things are drawn a little lower
