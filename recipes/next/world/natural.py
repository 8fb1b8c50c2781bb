"""The natural painter: sky, hills, ground, light and shadow. It paints the pictures the base model learns from."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .canvas import Layer, blend, gradient, noise, to_image
from .layout import SIDE, Layout, Placed, arrange
from .scene import Scene

PAINT = {
    "red": (214, 42, 42),
    "orange": (240, 130, 28),
    "yellow": (246, 212, 48),
    "green": (30, 150, 76),
    "blue": (44, 92, 214),
    "purple": (134, 62, 180),
    "pink": (246, 130, 184),
    "white": (246, 246, 244),
}
MATERIAL = {
    "dark": (36, 34, 40),
    "glass": (168, 212, 235),
    "wood": (122, 82, 52),
    "leaf": (62, 138, 62),
    "cream": (248, 240, 222),
    "gold": (248, 196, 60),
}
GROUND = {
    "meadow": (104, 168, 76),
    "desert": (228, 192, 122),
    "snow": (234, 240, 248),
    "sea": (44, 112, 172),
    "street": (118, 118, 124),
    None: (170, 160, 150),
}
#          sky above,      sky below,       light on ground,    light on things
TIME = {
    "day": ((72, 144, 220), (196, 226, 242), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "sunset": ((92, 62, 128), (255, 164, 92), (0.86, 0.62, 0.56), (0.98, 0.86, 0.8)),
    "night": ((8, 12, 38), (44, 54, 104), (0.3, 0.34, 0.54), (0.84, 0.84, 0.94)),
    "fog": ((204, 208, 212), (226, 228, 228), (0.86, 0.88, 0.9), (0.97, 0.97, 0.97)),
}
TIME[None] = TIME["day"]


def role_colour(role: str, colour: str, at_night: bool = False) -> tuple[int, int, int]:
    """The paint of a part: the thing's own colour for its body, a material's colour otherwise."""
    body = np.array(PAINT[colour], dtype=float)
    if role == "glass" and at_night:
        return (255, 226, 130)
    if role in MATERIAL:
        return MATERIAL[role]
    mixed = {"body": body, "shade": body * 0.72, "light": body * 0.62 + 255 * 0.38}[role]
    return tuple(int(v) for v in mixed)


def paint_natural(scene: Scene) -> Image.Image:
    """Paint a scene as a small picture-book landscape, 128 x 128 px."""
    rng = np.random.default_rng(scene.seed + 1)
    layout = arrange(scene)
    picture = sky(scene, layout)
    picture = blend(picture, hill_layer(scene, layout))
    picture = ground(scene, layout, picture, rng)
    picture = blend(picture, shadows(scene, layout))
    picture = blend(picture, thing_layer(scene, layout), lighting(scene, layout))
    if scene.time == "fog":
        far = np.clip(1 - np.abs(np.arange(SIDE) - layout.horizon) / 60, 0, 1)[:, None, None]
        picture = picture + (0.12 + 0.24 * far) * (np.array((222, 225, 226)) - picture)
    return to_image(picture + 1.2 * noise(rng, 32, 32))


def shift(colour, scene: Scene, amount: float = 10.0) -> tuple[int, int, int]:
    """A colour moved by the scene's own tint, so that no two scenes share a palette exactly."""
    return tuple(int(v) for v in np.clip(np.array(colour) + amount * np.array(scene.tint), 0, 255))


def sky(scene: Scene, layout: Layout) -> np.ndarray:
    above, below, *_ = TIME[scene.time]
    picture = gradient(shift(above, scene, 8 if scene.time == "night" else 14), shift(below, scene, 8), layout.horizon)
    x, y, r = layout.sun
    y = layout.horizon - 6 if scene.time == "sunset" else y
    lamp = {"night": (240, 238, 214), "sunset": (255, 236, 170), "fog": (244, 244, 240)}.get(
        scene.time, (255, 246, 190)
    )
    rows, columns = np.mgrid[:SIDE, :SIDE]
    glow = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (2.6 * r) ** 2))[..., None]
    picture = picture + (0.3 if scene.time == "night" else 0.55) * glow * (np.array(lamp) - picture)
    layer = Layer()
    if scene.time == "night":
        for sx, sy in layout.stars:
            layer.disc(sx, sy, 2.0, (226, 230, 250))
    layer.disc(x, y, r, lamp)
    if scene.time == "night":
        layer.disc(
            x + 0.45 * r, y - 0.2 * r, 0.8 * r, tuple(int(v) for v in picture[int(y), int(min(x + 5, SIDE - 1))])
        )
    bright = {"day": (250, 252, 255), "sunset": (255, 200, 160), "night": (52, 60, 104), "fog": (234, 236, 236)}
    for cloud in layout.clouds:
        for cx, cy, rx, ry in cloud:
            layer.disc(cx, cy, rx, bright[scene.time or "day"], ry)
    return blend(picture, layer)


def lit_ground(scene: Scene) -> np.ndarray:
    return np.array(shift(GROUND[scene.ground], scene, 7)) * TIME[scene.time][2]


def hill_layer(scene: Scene, layout: Layout) -> Layer:
    """Hills or a skyline between ground and sky, the farther the paler."""
    below = np.array(TIME[scene.time][1], dtype=float)
    near = np.array((96, 96, 112) if scene.ground == "street" else (92, 128, 112)) * TIME[scene.time][2]
    layer = Layer()
    for i, hill in enumerate(layout.hills):
        layer.fill(hill, tuple(int(v) for v in near + (0.55 - 0.25 * i) * (below - near)))
    return layer


def ground(scene: Scene, layout: Layout, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    colour = lit_ground(scene)
    depth = (np.arange(SIDE) - layout.horizon)[:, None, None]
    below = np.clip(depth + 0.5, 0, 1)
    shade = 1.1 - 0.24 * np.clip(depth / (SIDE - layout.horizon), 0, 1)
    texture = 1 + 0.05 * noise(rng, 14, 5)
    picture = picture * (1 - below) + np.clip(colour * shade * texture, 0, 255) * below
    layer = Layer()
    tones = {"meadow": 0.82, "desert": 0.9, "snow": 0.92, "sea": 1.3, "street": 1.7}
    for mark in layout.marks:
        layer.line(
            mark,
            tuple(int(v) for v in np.clip(colour * tones[scene.ground], 0, 255)),
            3.0 if scene.ground != "street" else 4.0,
        )
    return blend(picture, layer)


def shadows(scene: Scene, layout: Layout) -> Layer:
    layer = Layer()
    dark = tuple(int(v) for v in lit_ground(scene) * 0.5)
    for thing in layout.things:
        x0, x1 = extent(thing)
        layer.disc((x0 + x1) / 2, thing.ground + 0.5, 0.52 * (x1 - x0), dark, 0.1 * (x1 - x0), alpha=150)
    layer.image = layer.image.filter(ImageFilter.BoxBlur(5))
    return layer


def extent(thing: Placed) -> tuple[float, float]:
    xs = np.concatenate([p[:, 0] for p, _ in thing.parts])
    return float(xs.min()), float(xs.max())


def thing_layer(scene: Scene, layout: Layout) -> Layer:
    light = np.array(TIME[scene.time][3])
    layer = Layer()
    for thing in layout.things:
        for points, role in thing.parts:
            colour = np.array(shift(role_colour(role, thing.colour, scene.time == "night"), scene, 5))
            colour = colour * (1 if role == "glass" else light)
            layer.fill(points, tuple(int(v) for v in colour))
            layer.line(points, tuple(int(v) for v in colour * 0.66), 2.0, closed=True)
    return layer


def lighting(scene: Scene, layout: Layout) -> np.ndarray:
    """Light that falls from the side of the sun, (128, 128, 1)."""
    columns = np.arange(SIDE)[None, :, None]
    rows = np.arange(SIDE)[:, None, None]
    middle = np.mean([t.x for t in layout.things])
    towards = np.sign(layout.sun[0] - middle) or 1.0
    strength = 0.06 if scene.time == "fog" else 0.16
    return (
        1.0
        + strength * np.clip(towards * (columns - middle) / 32, -1, 1)
        + 0.05 * np.clip((layout.horizon - rows) / 64, -1, 1)
    )
