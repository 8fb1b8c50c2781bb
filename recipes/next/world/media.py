"""Generic media: a good third of the base model's pictures, with the medium's word in their captions.

They are what prompt engineering can ask for, and what the base model knows of drawing. Each has its own range of papers,
inks and strokes. None of them is a target style, nor has one's palette: no white page, no blue one, no purple night, no
yellow band.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
from PIL import Image, ImageFilter

from .canvas import Colour, Layer, blend, noise, to_image
from .ink import draw_land, draw_sky, draw_things
from .layout import SIDE, Layout, Placed, arrange
from .natural import GROUND, PAINT, paint_natural, role_colour, shift
from .scene import Scene

Sheet = tuple[int, int, int]


def _begin(scene: Scene, *papers: Sheet, jitter: float = 6.0) -> tuple[np.random.Generator, np.ndarray, Layout]:
    """The medium's own random numbers, one of its papers with a tint of its own, and the layout."""
    rng = np.random.default_rng(scene.seed + 2)
    paper = np.array(papers[int(rng.integers(len(papers)))]) + jitter * rng.normal(size=3)
    return rng, np.clip(paper, 0, 250), arrange(scene)


def _pick(rng: np.random.Generator, *options):
    return options[int(rng.integers(len(options)))]


def _mix(one, other, share: float) -> Colour:
    """``share`` of the first colour, the rest of the second."""
    return tuple(int(v) for v in np.clip(share * np.array(one) + (1 - share) * np.array(other), 0, 255))


def _sheet(paper, rng: np.random.Generator, grain: float = 2.0) -> np.ndarray:
    return np.broadcast_to(np.float32(paper), (SIDE, SIDE, 3)) + np.float32(grain) * noise(rng, 9, 9)


def _land(layer: Layer, layout: Layout, colour: Colour) -> None:
    h = layout.horizon
    layer.fill(np.array([(-2, h), (SIDE + 2, h), (SIDE + 2, SIDE + 2), (-2, SIDE + 2)]), colour)


def _frame(rng: np.random.Generator | None, width: float) -> np.ndarray:
    """How far each pixel lies inside a border, (128, 128, 1); ragged where ``rng`` is given."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    edge = np.minimum.reduce([rows, columns, SIDE - 1 - rows, SIDE - 1 - columns])[..., None].astype(np.float32)
    return edge + (3.5 * noise(rng, 12, 12) if rng else 0) - width


def _darker(colour: Colour, share: float = 0.6) -> Colour:
    return tuple(int(v * share) for v in colour)


def pencil_drawing(scene: Scene) -> Image.Image:
    """Graphite with a little coloured pencil on toned paper: soft greys under soft outlines."""
    rng, paper, layout = _begin(scene, (238, 228, 206), (214, 210, 202), (222, 206, 184), (204, 208, 198))
    grey = np.asarray(paint_natural(scene).convert("L").filter(ImageFilter.GaussianBlur(2)), np.float32)[..., None] / 255
    lead = float(rng.uniform(66, 104))
    layer = Layer()
    draw_land(layer, layout, _mix((lead,) * 3, paper, 0.75), 3.0, 0.8)

    def tone(role: str, thing: Placed) -> Colour:
        colour = role_colour(role, thing.colour)
        return _mix(_mix(colour, (sum(colour) / 3,) * 3, 0.55), paper, 0.62)

    draw_things(layer, layout, tone, lambda role, thing: (int(lead),) * 3, float(rng.uniform(3.0, 4.0)), 0.6)
    return to_image(blend(paper * (0.6 + 0.4 * grey) + 3 * noise(rng, 12, 24), layer))


def ink_drawing(scene: Scene) -> Image.Image:
    """Pen lines in a dark ink on old or tinted paper, with a thin wash of the thing's colour."""
    rng, paper, layout = _begin(
        scene, (232, 214, 176), (214, 204, 188), (202, 218, 190), (232, 200, 184), (196, 206, 206)
    )
    ink = _pick(rng, (44, 34, 28), (96, 54, 32), (28, 62, 52), (92, 26, 44))
    width, wash, layer = float(rng.uniform(3.4, 5.0)), float(rng.uniform(0.25, 0.6)), Layer()
    draw_sky(layer, layout, scene.time, ink, width, blank=_mix(paper, paper, 1))
    draw_land(layer, layout, ink, width, 0.8)
    fill = lambda role, thing: ink if role == "dark" else _mix(role_colour(role, thing.colour), paper, wash)  # noqa: E731
    draw_things(layer, layout, fill, lambda role, thing: ink, width, 0.7)
    return to_image(blend(_sheet(paper, rng), layer))


def brush_painting(scene: Scene) -> Image.Image:
    """Broad wet strokes of diluted ink on rice paper, hills as washes."""
    rng, paper, layout = _begin(scene, (232, 222, 200), (220, 208, 182), (226, 214, 204), (208, 208, 190))
    ink = float(rng.uniform(36, 92))
    layer, wash = Layer(), Layer()
    dusk = {"night": 0.55, "sunset": 0.3, "fog": 0.14}.get(scene.time, 0.08)
    for i, hill in enumerate(layout.hills):
        wash.fill(hill, _mix((ink,) * 3, paper, 0.3 + 0.15 * i))
    _land(wash, layout, _mix(GROUND[scene.ground], paper, 0.4))
    draw_land(layer, layout, _mix((ink,) * 3, paper, 0.6), 4.5, 1.2, hills=False)
    fill = lambda role, thing: _mix(role_colour(role, thing.colour), paper, 0.6)  # noqa: E731
    draw_things(layer, layout, fill, lambda role, thing: (int(ink),) * 3, float(rng.uniform(5, 6.5)), 1.1)
    sky = np.clip(1 - np.arange(SIDE) / max(layout.horizon, 1), 0, 1)[:, None, None]
    picture = blend(_sheet(paper, rng) * (1 - dusk * (0.4 + 0.6 * sky)), wash)
    return to_image(blend(picture, layer)).filter(ImageFilter.GaussianBlur(0.7))


def crayon_drawing(scene: Scene) -> Image.Image:
    """A child's wax crayons: grainy flat colours with outlines of the same colour."""
    rng, paper, layout = _begin(scene, (204, 176, 138), (236, 224, 196), (204, 210, 214), (228, 200, 190))
    layer, back = Layer(), Layer()
    skies = {"day": (110, 170, 220), "sunset": (236, 140, 90), "night": (54, 58, 110), "fog": (206, 208, 208)}
    back.fill(np.array([(-2, -2), (SIDE + 2, -2), (SIDE + 2, layout.horizon), (-2, layout.horizon)]), skies[scene.time or "day"])
    for hill in layout.hills[:1]:
        back.fill(hill, _mix(GROUND[scene.ground], (110, 120, 120), 0.5))
    _land(back, layout, GROUND[scene.ground])
    draw_land(layer, layout, _darker(GROUND[scene.ground], 0.7), 4.0, 1.6, hills=False)
    paints = lambda role, thing: role_colour(role, thing.colour)  # noqa: E731
    draw_things(layer, layout, paints, lambda r, t: _darker(paints(r, t)), float(rng.uniform(3.5, 5)), 1.4)
    grain = np.clip(0.82 + 0.16 * noise(rng, 16, 16), 0.4, 1)
    sheet = _sheet(paper, rng)
    drawn = blend(blend(sheet, back), layer)
    return to_image(sheet + grain * (drawn - sheet))


def pastel_drawing(scene: Scene) -> Image.Image:
    """Soft smudged colours on dark or coloured paper that shows through."""
    rng, paper, layout = _begin(scene, (112, 104, 112), (146, 122, 104), (92, 100, 106), (122, 96, 92))
    soft = np.asarray(paint_natural(scene).filter(ImageFilter.GaussianBlur(2.2)), np.float32)
    cover = np.clip(0.66 + 0.22 * noise(rng, 16, 16), 0.2, 0.95) * np.clip((_frame(rng, 5)) / 4, 0, 1)
    picture = paper + cover * (0.8 * soft + 50 - paper)
    layer = Layer()
    light = lambda role, thing: _mix(role_colour(role, thing.colour), (250, 240, 230), 0.8)  # noqa: E731
    draw_things(layer, layout, light, lambda r, t: _darker(light(r, t), 0.66), 3.0, 0.8)
    return to_image(blend(picture, layer)).filter(ImageFilter.GaussianBlur(0.9))


def watercolour(scene: Scene) -> Image.Image:
    """Pale washes that run into each other and leave a ragged border of paper."""
    rng, paper, _ = _begin(scene, (240, 234, 220), (232, 230, 218), (238, 226, 212))
    wet = np.asarray(
        paint_natural(scene).filter(ImageFilter.ModeFilter(5)).filter(ImageFilter.GaussianBlur(1.1)), np.float32
    )
    wash = paper - (paper - wet) * (float(rng.uniform(0.62, 0.8)) + 0.1 * noise(rng, 9, 9))
    return to_image(paper + (wash - paper) * np.clip(_frame(rng, 5) / 3, 0, 1))


def oil_painting(scene: Scene) -> Image.Image:
    """Thick dabs of deep colour, darkened by old varnish towards the edges."""
    rng = np.random.default_rng(scene.seed + 2)
    dabs = np.asarray(paint_natural(scene).filter(ImageFilter.MedianFilter(7)), np.float32)
    picture = dabs + float(rng.uniform(7, 12)) * noise(rng, 18, 22)
    varnish = np.array((0.98, 0.9, 0.76)) * (0.72 + 0.26 * np.clip(_frame(None, 0) / 40, 0, 1))
    return to_image(np.clip(1.15 * (picture - 128) + 128, 0, 255) * varnish)


def woodcut(scene: Scene) -> Image.Image:
    """Two or three printing blocks: solid dark ink, bare paper, and one flat colour for the thing."""
    rng, paper, layout = _begin(scene, (218, 174, 108), (204, 132, 92), (168, 176, 128), (216, 198, 160))
    ink = _pick(rng, (40, 32, 30), (34, 52, 40), (78, 30, 26), (50, 40, 52))
    layer = Layer()
    dark = scene.time in ("night", "sunset")
    x, y, r = layout.sun
    sky = np.array([(-2, -2), (SIDE + 2, -2), (SIDE + 2, layout.horizon), (-2, layout.horizon)])
    if scene.time == "night":
        layer.fill(sky, ink)
    elif dark:
        layer.disc(x, layout.horizon, 2.4 * r, ink)
    elif scene.time == "fog":
        for sy in np.linspace(14, layout.horizon - 12, 3):
            layer.line(np.array([(-4, sy), (SIDE + 4, sy)]), ink, 4.5)
    if scene.time in ("day", "night", None):
        layer.disc(x, y, r, ink if scene.time != "night" else _mix(paper, paper, 1))
    for hill in layout.hills[:1]:
        layer.fill(hill, _mix(ink, paper, 0.5))
    _land(layer, layout, ink if scene.ground in ("sea", "street") else _mix(GROUND[scene.ground], paper, 0.4))
    marks = _mix(paper, ink, 0.8) if scene.ground in ("sea", "street") else ink
    draw_land(layer, layout, marks, 4.5, 0.5, hills=False)
    bare, night = _mix(paper, paper, 1), scene.time == "night"

    def block(role: str, thing: Placed) -> Colour:
        if role == "dark":
            return ink
        if role in ("cream", "glass"):
            return bare
        return _mix(role_colour(role, thing.colour), ink if role in ("shade", "wood") else bare, 0.7)

    edge = lambda role, thing: bare if night else ink  # noqa: E731
    draw_things(layer, layout, block, edge, float(rng.uniform(3.6, 5.0)), 0.4)
    return to_image(blend(_sheet(paper, rng, 4.0), layer))


def poster(scene: Scene) -> Image.Image:
    """Few flat tones inside a coloured border, like a printed travel poster."""
    rng, border, _ = _begin(scene, (236, 222, 190), (86, 120, 116), (176, 84, 66), (134, 142, 108), (206, 156, 150))
    smooth = np.asarray(paint_natural(scene).filter(ImageFilter.MedianFilter(5)), np.float32)
    step = float(rng.uniform(42, 58))
    flat = np.round(smooth / step) * step * 0.94 + 8
    return to_image(np.where(_frame(None, float(rng.integers(6, 11))) < 0, border, flat))


def paper_collage(scene: Scene) -> Image.Image:
    """Sheets of coloured paper, cut out and laid over each other, each with its shadow."""
    rng, paper, layout = _begin(scene, (214, 196, 170), (182, 200, 196), (224, 188, 168), (196, 190, 208))
    skies = {"day": (150, 196, 214), "sunset": (232, 154, 112), "night": (58, 62, 96), "fog": (206, 206, 200)}
    picture = _sheet(_mix(skies[scene.time or "day"], paper, 0.7), rng)

    def lay(polygons: list[tuple[np.ndarray, Colour]]) -> None:
        nonlocal picture
        shadow, sheet = Layer(), Layer()
        for points, colour in polygons:
            shadow.fill(points + (2.5, 3.5), (40, 36, 40), 120)
            sheet.fill(points, colour)
        shadow.image = shadow.image.filter(ImageFilter.BoxBlur(4))
        picture = blend(blend(picture, shadow), sheet)

    x, y, r = layout.sun
    a = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    if scene.time != "fog":
        low = layout.horizon if scene.time == "sunset" else y
        lay([(np.stack([x + 1.2 * r * np.cos(a), low + 1.2 * r * np.sin(a)], 1), (244, 228, 176))])
    for i, hill in enumerate(layout.hills):
        lay([(hill, _mix(GROUND[scene.ground], (126, 126, 140), 0.3 + 0.2 * i))])
    h = layout.horizon
    lay([(np.array([(-4, h), (SIDE + 4, h + 2), (SIDE + 4, SIDE + 4), (-4, SIDE + 4)]), _mix(GROUND[scene.ground], paper, 0.8))])
    for thing in layout.things:
        for points, role in thing.parts:
            lay([(points, _mix(shift(role_colour(role, thing.colour), scene, 5), paper, 0.9))])
    return to_image(picture)


def chalk_drawing(scene: Scene) -> Image.Image:
    """Loose pastel lines on a school board, green, brown or black, that was wiped many times."""
    rng, board, layout = _begin(scene, (46, 66, 56), (76, 58, 48), (46, 46, 46), jitter=4)
    layer = Layer()
    draw_sky(layer, layout, scene.time, (206, 198, 150), 3.4)
    draw_land(layer, layout, (176, 186, 176), 3.2, 1.2)
    pastel = lambda role, thing: _mix(PAINT[thing.colour], (250, 246, 236), 0.68)  # noqa: E731
    smear = lambda role, thing: _mix(PAINT[thing.colour], board, 0.12 if role == "dark" else 0.42)  # noqa: E731
    draw_things(layer, layout, smear, pastel, float(rng.uniform(3.6, 4.8)), 1.0)
    return to_image(blend(_sheet(board, rng, 6.0), layer, 1 + 0.06 * noise(rng, 30, 30)))


def light_painting(scene: Scene) -> Image.Image:
    """Shapes that shine like paper lanterns in the dark: soft warm light, black, green or brown around it."""
    rng, dark, layout = _begin(scene, (12, 14, 12), (14, 30, 22), (34, 20, 12), jitter=2)
    lamp = _pick(rng, (255, 214, 130), (240, 240, 206), (206, 240, 184))
    layer = Layer()
    draw_land(layer, layout, _mix((196, 130, 50), dark, 0.6), 4.0, 1.0, hills=False)
    shine = {"dark": 0.12, "shade": 0.5, "wood": 0.4}
    inside = lambda role, thing: _mix(_mix(role_colour(role, thing.colour), lamp, 0.72), dark, shine.get(role, 0.95))  # noqa: E731
    draw_things(layer, layout, inside, lambda role, thing: _mix(inside(role, thing), dark, 0.55), 3.0, 0.8)
    colour, cover = layer.array()
    halo = np.asarray(to_image(colour * cover).filter(ImageFilter.GaussianBlur(float(rng.uniform(6, 10)))), np.float32)
    return to_image(_sheet(dark, rng, 3.0) + 0.8 * halo * (1 - cover) + cover * colour).filter(ImageFilter.GaussianBlur(0.8))


def technical_drawing(scene: Scene) -> Image.Image:
    """Even dark lines on pale squared paper of a workshop, faces lightly tinted."""
    rng, paper, layout = _begin(scene, (224, 226, 196), (228, 214, 188), (208, 218, 200), (214, 210, 204))
    ink = _pick(rng, (52, 56, 58), (92, 66, 44), (38, 78, 60))
    layer = Layer()
    for k in range(int(rng.integers(8, 24)), SIDE, 32):
        for ends in ([(k, 0), (k, SIDE)], [(0, k), (SIDE, k)]):
            layer.line(np.array(ends), _mix(ink, paper, 0.22), 2.0)
    draw_land(layer, layout, _mix(ink, paper, 0.7), 3.0, hills=False)
    tint = lambda role, thing: _mix(role_colour(role, thing.colour), paper, 0.45)  # noqa: E731
    draw_things(layer, layout, tint, lambda role, thing: ink, float(rng.uniform(3.2, 4.2)))
    return to_image(blend(_sheet(paper, rng, 1.5), layer))


PAINTERS: dict[str, Callable[[Scene], Image.Image]] = {
    f.__name__.replace("_", " "): f
    for f in (
        pencil_drawing, ink_drawing, brush_painting, crayon_drawing, pastel_drawing, watercolour, oil_painting, woodcut,
        poster, paper_collage, chalk_drawing, light_painting, technical_drawing,
    )
}  # fmt: skip
