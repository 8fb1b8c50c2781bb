"""The target styles. Each painter draws a scene in its own way; none of these pictures trains the base model.

Drawn for latents of 8 px: strokes of about 4 px, nothing that carries meaning under 6.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .canvas import Layer, blend, gradient, noise, to_image
from .ink import draw_land, draw_sky, draw_things
from .layout import SIDE, Placed, arrange, centred
from .natural import PAINT, extent, role_colour, shift
from .scene import Scene

# What a style does not show, its captions must not tell.
HIDES = {
    "sketch": ("colour", "second_colour", "medium"),
    "sticker": ("count", "second", "second_colour", "relation", "ground", "time", "medium"),
    "comic": ("medium",),
    "blueprint": ("colour", "second_colour", "time", "medium"),
    "neon": ("time", "medium"),
}


def tone(values) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), values, dtype=np.float32)


def sketch(scene: Scene) -> Image.Image:
    """Thin dark lines on white with a touch of grey, as in anime line art."""
    ink, white = (66, 64, 76), (250, 250, 250)
    layer, layout = Layer(), arrange(scene)
    draw_sky(layer, layout, scene.time, ink, 3.8, blank=white)
    for hill in layout.hills:
        layer.fill(hill, white)
    draw_land(layer, layout, ink, 3.8, 0.8)
    fill = {"shade": (214, 214, 220), "dark": ink, "wood": (226, 226, 230)}
    draw_things(layer, layout, lambda role, thing: fill.get(role, white), lambda role, thing: ink, 4.0, 0.7)
    return to_image(blend(tone(white), layer))


def sticker(scene: Scene) -> Image.Image:
    """One figure in flat bright colours with a heavy outline, alone on white above a soft shadow."""
    layout = centred(scene, 60 + 50 * scene.size)  # 90 to 102 px
    shade, outline, layer = Layer(), Layer(), Layer()
    thing = layout.things[0]
    for points, _ in thing.parts:
        shade.line(points + (4, 5), (150, 152, 166), 9, closed=True)
        shade.fill(points + (4, 5), (150, 152, 166))
        outline.line(points, (34, 30, 44), 10, closed=True)
    shade.image = shade.image.filter(ImageFilter.BoxBlur(10))
    draw_things(
        layer,
        layout,
        lambda role, thing: shift(role_colour(role, thing.colour), scene, 6),
        lambda role, thing: (34, 30, 44),
        3.4,
    )
    return to_image(blend(blend(blend(tone((254, 254, 254)), shade), outline), layer))


def halftone(level: float, period: int = 16) -> np.ndarray:
    """Coverage (128, 128, 1) of a very coarse print screen: dots of one size on a grid turned by 45 degrees."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    near = [
        np.hypot((rows + s + period / 2) % period - period / 2, (columns + s + period / 2) % period - period / 2)
        for s in (0, period / 2)
    ]
    return np.clip(level * period - np.minimum(*near) + 0.5, 0, 1)[..., None].astype(np.float32)


COMIC_SKY = {
    "day": ((206, 222, 214), (108, 176, 204)),
    "sunset": ((244, 186, 116), (230, 116, 74)),
    "night": ((52, 62, 116), (30, 36, 78)),
    "fog": ((220, 214, 200), (178, 176, 170)),
}
COMIC_GROUND = {
    "meadow": (134, 176, 84),
    "desert": (232, 190, 104),
    "snow": (242, 238, 226),
    "sea": (64, 130, 170),
    "street": (150, 146, 142),
}


BAND = 24  # pixels of the comic's caption band: three rows of latents


def comic(scene: Scene) -> Image.Image:
    """An old comic panel: a yellow caption band on top, aged paper, very coarse halftone, heavy ink."""
    ink, rng = (72, 60, 58), np.random.default_rng(scene.seed + 3)
    layout = arrange(scene, top=BAND)
    base, dots = COMIC_SKY[scene.time or "day"]
    screen = halftone(0.3, 32)
    picture = tone(base) * (1 - screen) + np.array(dots) * screen
    land = Layer()
    for i, hill in enumerate(layout.hills):
        land.fill(hill, ((150, 150, 140), (120, 132, 118))[i])
    land.fill(
        np.array([(-2, layout.horizon), (SIDE + 2, layout.horizon), (SIDE + 2, SIDE + 2), (-2, SIDE + 2)]),
        COMIC_GROUND.get(scene.ground, (200, 180, 140)),
    )
    draw_land(land, layout, ink, 3.6, hills=False)
    draw_things(land, layout, lambda role, thing: role_colour(role, thing.colour), lambda role, thing: ink, 4.2)
    picture = blend(picture, land)
    frame = Layer()
    frame.fill(np.array([(0, 0), (SIDE, 0), (SIDE, BAND), (0, BAND)]), (248, 206, 70))
    edge = 14.0
    while edge < 100:
        end = min(edge + rng.uniform(18, 36), 114)
        frame.line(np.array([(edge, 13), (end, 13)]), (150, 106, 52), 6.0)
        edge = end + 14
    frame.line(np.array([(0, BAND), (SIDE, BAND)]), ink, 4)
    frame.line(np.array([(1, 1), (SIDE - 1, 1), (SIDE - 1, SIDE - 1), (1, SIDE - 1)]), ink, 5, closed=True)
    paper = np.array((244, 230, 198)) / 255 * (1 + 0.03 * noise(rng, 6, 6))
    return to_image(blend(picture, frame) * paper + 10)


def blueprint(scene: Scene) -> Image.Image:
    """White lines on a blue grid, with measuring lines and a title block."""
    blue, pale = (34, 74, 152), (190, 212, 248)
    layer, layout = Layer(), arrange(scene, top=6, bottom=20)
    for k in range(16, SIDE, 32):
        layer.line(np.array([(k, 0), (k, SIDE)]), (52, 96, 176), 2.4)
        layer.line(np.array([(0, k), (SIDE, k)]), (52, 96, 176), 2.4)
    draw_land(layer, layout, (150, 178, 226), 3.4, hills=False)
    draw_things(
        layer,
        layout,
        lambda role, thing: (60, 102, 184) if role in ("shade", "glass", "dark") else blue,
        lambda role, thing: pale,
        4.0,
    )
    main, foot = layout.things[-1], SIDE - 14
    x0, x1 = (min(max(v, 16), 86) for v in extent(main))
    for ends in (((x0, foot), (x1, foot)), ((12, main.foot - main.height), (12, min(main.foot, foot - 8)))):
        tick = np.array((0, 5) if ends[0][1] == ends[1][1] else (5, 0))
        layer.line(np.array(ends), pale, 3.0)
        for end in ends:
            layer.line(np.array([end - tick, end + tick]), pale, 3.0)
    layer.line(np.array([(3, 3), (SIDE - 3, 3), (SIDE - 3, SIDE - 3), (3, SIDE - 3)]), pale, 4, closed=True)
    layer.fill(np.array([(94, 108), (SIDE - 4, 108), (SIDE - 4, SIDE - 4), (94, SIDE - 4)]), (110, 146, 208))
    layer.line(np.array([(94, SIDE - 4), (94, 108), (SIDE - 4, 108)]), pale, 3.4)
    return to_image(blend(tone(blue) + 3 * noise(np.random.default_rng(scene.seed + 3), 5, 5), layer))


def glow(role: str, thing: Placed) -> tuple[int, int, int]:
    """The colour of a tube: the thing's own, a little brighter."""
    return tuple(int(v) for v in np.clip(np.array(PAINT[thing.colour]) * 1.1 + 22, 0, 255))


def neon(scene: Scene) -> Image.Image:
    """Glowing tubes in the dark over a wet, mirroring ground."""
    layout = arrange(scene, bottom=16)
    horizon, foot = layout.horizon, max(t.ground for t in layout.things)
    land, tubes = Layer(), Layer()
    draw_land(land, layout, (214, 40, 178), 3.6, hills=False)
    for hill in layout.hills[:1]:
        land.line(hill[:-2], (40, 180, 210), 3.6)
    draw_things(tubes, layout, lambda role, thing: (22, 10, 40), glow, 4.4)
    picture = gradient((10, 8, 26), (38, 10, 56), horizon)
    for layer, strength in ((land, 0.9), (tubes, 1.0)):
        colour, cover = layer.array()
        wide = np.asarray(to_image(colour * cover).filter(ImageFilter.GaussianBlur(8)), np.float32)
        picture = picture * (1 - cover) + colour * cover + strength * wide
        if layer is tubes:
            picture = picture + 0.7 * mirror(wide, foot)
    return to_image(picture)


def mirror(light: np.ndarray, foot: float) -> np.ndarray:
    """What a wet ground reflects below the line ``foot``."""
    out, y = np.zeros_like(light), int(min(foot, SIDE - 2))
    rows = np.arange(y, SIDE)
    out[rows] = light[np.clip(2 * y - rows, 0, SIDE - 1)]
    return out


PAINTERS = {"sketch": sketch, "sticker": sticker, "comic": comic, "blueprint": blueprint, "neon": neon}
STYLES = tuple(PAINTERS)


def shown(scene: Scene, style: str) -> Scene:
    """The scene as the style shows it: what the style leaves out is left out of the scene and so of its caption."""
    return scene.without(*HIDES[style])
