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
        (rect(0.2, 0.7, 0.3, 0.98), "shade"),
        (rect(-0.42, 0, 0.42, 0.56), "body"),
        (poly((-0.54, 0.54), (0.54, 0.54), (0, 1)), "shade"),
        (rect(-0.1, 0, 0.1, 0.34), "wood"),
        (rect(-0.35, 0.2, -0.18, 0.42), "glass"),
        (rect(0.18, 0.2, 0.35, 0.42), "glass"),
    ]


def tree() -> list[Part]:
    tiers = [
        (poly((-w, low), (w, low), (0, top)), role)
        for w, low, top, role in ((0.38, 0.16, 0.58, "shade"), (0.32, 0.38, 0.8, "body"), (0.24, 0.6, 1.0, "body"))
    ]
    return [(rect(-0.07, 0, 0.07, 0.2), "wood"), *tiers]


def car() -> list[Part]:
    hull = smooth((-0.78, 0.16), (-0.8, 0.4), (-0.5, 0.5), (0.5, 0.5), (0.8, 0.38), (0.78, 0.16), (0, 0.13))
    cabin = poly((-0.48, 0.46), (-0.3, 0.82), (0.28, 0.82), (0.5, 0.46))
    wheels = [(ellipse(x, 0.16, r, r), role) for x in (-0.45, 0.45) for r, role in ((0.17, "dark"), (0.07, "cream"))]
    return [
        (cabin, "shade"),
        (poly((-0.38, 0.5), (-0.26, 0.75), (-0.04, 0.75), (-0.04, 0.5)), "glass"),
        (poly((0.04, 0.5), (0.04, 0.75), (0.24, 0.75), (0.38, 0.5)), "glass"),
        (hull, "body"),
        *wheels,
    ]


def boat() -> list[Part]:
    return [
        (rect(-0.03, 0.24, 0.03, 1), "wood"),
        (poly((0.06, 0.34), (0.06, 0.97), (0.5, 0.34)), "cream"),
        (poly((-0.06, 0.34), (-0.06, 0.86), (-0.4, 0.34)), "light"),
        (poly((-0.62, 0.28), (0.62, 0.28), (0.42, 0), (-0.42, 0)), "body"),
        (rect(-0.56, 0.19, 0.56, 0.25), "shade"),
    ]


def cat() -> list[Part]:
    tail = smooth((0.24, 0.06), (0.5, 0.14), (0.55, 0.42), (0.46, 0.58), (0.4, 0.5), (0.44, 0.36), (0.36, 0.2))
    body = smooth((-0.24, 0.0), (-0.26, 0.26), (-0.14, 0.54), (0.14, 0.54), (0.3, 0.26), (0.28, 0.0))
    ears = [(poly((s * 0.26, 0.72), (s * 0.24, 1.0), (s * 0.04, 0.86)), "body") for s in (-1, 1)]
    eyes = [(ellipse(s * 0.11, 0.72, 0.045, 0.06), "dark") for s in (-1, 1)]
    return [
        (tail, "shade"),
        (body, "body"),
        (ellipse(0.02, 0.2, 0.12, 0.18), "light"),
        *ears,
        (ellipse(0, 0.7, 0.28, 0.23), "body"),
        *eyes,
        (poly((-0.04, 0.62), (0.04, 0.62), (0, 0.58)), "dark"),
    ]


def bird() -> list[Part]:
    body = smooth(
        (-0.4, 0.36),
        (-0.34, 0.62),
        (-0.08, 0.68),
        (0.12, 0.86),
        (0.32, 0.94),
        (0.44, 0.78),
        (0.34, 0.5),
        (0.1, 0.24),
        (-0.2, 0.22),
    )
    legs = [(poly((x, 0), (x + 0.05, 0), (x + 0.05, 0.28), (x, 0.28)), "wood") for x in (-0.08, 0.08)]
    return [
        *legs,
        (poly((-0.3, 0.5), (-0.66, 0.72), (-0.6, 0.42)), "shade"),
        (body, "body"),
        (smooth((-0.3, 0.5), (0.0, 0.58), (0.16, 0.44), (-0.06, 0.32)), "shade"),
        (poly((0.42, 0.84), (0.62, 0.74), (0.42, 0.7)), "gold"),
        (ellipse(0.3, 0.8, 0.04, 0.045), "dark"),
    ]


def flower() -> list[Part]:
    a = np.linspace(0, 2 * np.pi, 6, endpoint=False) + np.pi / 2
    petals = [(ellipse(0.23 * np.cos(t), 0.7 + 0.2 * np.sin(t), 0.15, 0.14, 24), "body") for t in a]
    leaf = smooth((0.0, 0.14), (0.14, 0.32), (0.36, 0.34), (0.2, 0.14))
    return [
        (rect(-0.03, 0, 0.03, 0.6), "leaf"),
        (leaf, "leaf"),
        (leaf * (-1, 1), "leaf"),
        *petals,
        (ellipse(0, 0.7, 0.12, 0.12), "gold"),
    ]


def mushroom() -> list[Part]:
    cap = smooth((-0.54, 0.48), (-0.42, 0.8), (0, 0.98), (0.42, 0.8), (0.54, 0.48), (0.25, 0.42), (-0.25, 0.42))
    spots = [
        (ellipse(x, y, r, 0.85 * r), "cream") for x, y, r in ((-0.26, 0.64, 0.09), (0.06, 0.78, 0.1), (0.3, 0.6, 0.08))
    ]
    return [(smooth((-0.16, 0), (-0.12, 0.46), (0.12, 0.46), (0.16, 0)), "cream"), (cap, "body"), *spots]


def balloon() -> list[Part]:
    skin = smooth((-0.1, 0.3), (-0.4, 0.62), (-0.26, 0.94), (0, 1.0), (0.26, 0.94), (0.4, 0.62), (0.1, 0.3))
    stripe = smooth((-0.05, 0.3), (-0.14, 0.64), (-0.08, 0.94), (0.08, 0.94), (0.14, 0.64), (0.05, 0.3))
    ropes = [(poly((s * 0.1, 0.3), (s * 0.08, 0.14), (s * 0.06, 0.14), (s * 0.07, 0.3)), "wood") for s in (-1, 1)]
    return [*ropes, (skin, "body"), (stripe, "light"), (rect(-0.11, 0, 0.11, 0.15), "wood")]


def rocket() -> list[Part]:
    hull = smooth((-0.17, 0.16), (-0.21, 0.5), (-0.1, 0.84), (0, 0.99), (0.1, 0.84), (0.21, 0.5), (0.17, 0.16))
    fins = [(poly((s * 0.16, 0.42), (s * 0.4, 0.14), (s * 0.36, 0.0), (s * 0.13, 0.16)), "shade") for s in (-1, 1)]
    return [
        *fins,
        (rect(-0.1, 0.06, 0.1, 0.18), "dark"),
        (hull, "body"),
        (ellipse(0, 0.6, 0.1, 0.1), "cream"),
        (ellipse(0, 0.6, 0.07, 0.07), "glass"),
    ]


SHAPES = {f.__name__: f for f in (house, tree, car, boat, cat, bird, flower, mushroom, balloon, rocket)}
LIFT = {"balloon": 0.3}  # how far a thing hovers above its place, in parts of its height
WIDE = {"car": 0.72, "boat": 0.95, "house": 0.9, "mushroom": 0.92}  # wide things are drawn a little lower
