"""Scenes and captions: what a picture of the world shows, and the words that tell a part of it.

A scene has *captioned* attributes (thing, colour, ground, time, ...) and *free* ones (position, size, horizon, exact
tint, ...) which no caption ever mentions. What the captions leave open is what a diffusion model must take from its
initial latent: that is what lesson 01 measures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

THINGS = ("house", "tree", "car", "boat", "cat", "bird", "flower", "mushroom", "balloon", "rocket")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
GROUNDS = ("meadow", "desert", "snow", "sea", "street")
TIMES = ("day", "sunset", "night", "fog")
MEDIA = (
    "pencil drawing",
    "ink drawing",
    "brush painting",
    "crayon drawing",
    "pastel drawing",
    "watercolour",
    "oil painting",
    "woodcut",
    "poster",
    "paper collage",
    "chalk drawing",
    "light painting",
    "technical drawing",
)
TIMELESS = ("light painting", "technical drawing")  # media that do not show the time of day

GROUND_PHRASES = {
    "meadow": ("in the meadow", "in a meadow", "on the grass"),
    "desert": ("in the desert", "in a desert", "on the sand"),
    "snow": ("in the snow", "on snow", "in a snowy field"),
    "sea": ("on the sea", "on the water", "in the sea"),
    "street": ("on the street", "on a street", "on the road"),
}
TIME_PHRASES = {
    "day": ("at day", "on a sunny day", "in daylight"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "by night", "under the moon"),
    "fog": ("in the fog", "on a foggy day", "in fog"),
}
NUMBERS = {2: ("two",), 3: ("three",)}
OPENINGS = ("", "", "", "a picture of ", "a view of ")


@dataclass(frozen=True)
class Scene:
    """One picture of the world, as data.

    Captioned attributes may be ``None`` (not drawn and not told). Free attributes are in units of the picture's
    side: ``x`` the main thing's middle, ``size`` its height, ``horizon`` measured from the top, ``sun`` the place of
    sun or moon; ``tint`` shifts the palette (three numbers, standard normal); ``seed`` draws the small details.
    """

    thing: str
    colour: str | None = None
    count: int = 1
    second: str | None = None
    second_colour: str | None = None
    relation: str | None = None  # where the main thing stands, seen from the second: "left" or "right"
    ground: str | None = None
    time: str | None = None
    medium: str | None = None
    x: float = 0.5
    size: float = 0.7
    flip: bool = False
    horizon: float = 0.6
    sun: tuple[float, float] = (0.75, 0.2)
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0

    def without(self, *names: str) -> "Scene":
        """The same scene with the named captioned attributes left out (neither drawn nor told)."""
        return replace(self, **{name: 1 if name == "count" else None for name in names})


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def sample(rng: np.random.Generator) -> Scene:
    """Draw a scene. The same generator state gives the same scene on every machine.

    One scene in five has a second thing, one in ten shows the main thing two or three times, a good third is in one
    of the generic ``MEDIA``. A thing alone takes 60 to 85 % of the picture's height, and sun or moon stand beside it.
    """
    thing, colour, ground, time = (_pick(rng, o) for o in (THINGS, COLOURS, GROUNDS, TIMES))
    company, medium = rng.random(), rng.random()
    count = 1 if company < 0.9 else 2 + int(rng.integers(2))
    second = second_colour = relation = None
    if company < 0.2:
        second = _pick(rng, [t for t in THINGS if t != thing])
        second_colour = _pick(rng, [c for c in COLOURS if c != colour])
        relation = _pick(rng, ("left", "right"))
    alone = count == 1 and second is None
    x = float(rng.uniform(0.3, 0.7) if alone else rng.uniform(0.44, 0.56))
    beside = rng.uniform(0.08, 0.3)
    medium = _pick(rng, MEDIA) if medium < 0.35 else None
    return Scene(
        thing,
        colour,
        count,
        second,
        second_colour,
        relation,
        ground,
        None if medium in TIMELESS else time,
        medium,
        x=x,
        size=float(rng.uniform(0.6, 0.85) if alone else rng.uniform(0.45, 0.58)),
        flip=bool(rng.random() < 0.5),
        horizon=float(rng.uniform(0.42, 0.74)),
        sun=(float(beside if x > 0.5 else 1 - beside), float(rng.uniform(0.12, 0.26))),
        tint=tuple(float(v) for v in rng.normal(size=3).clip(-2, 2)),
        seed=int(rng.integers(2**31)),
    )


def noun(scene: Scene, rng: np.random.Generator, tell_colour: float = 0.92) -> str:
    """The noun phrase of a scene: "a red house", "two cats", "a boat to the left of a green tree"."""
    colour = f"{scene.colour} " if scene.colour and rng.random() < tell_colour else ""
    if scene.count > 1:
        return f"{_pick(rng, NUMBERS[scene.count])} {colour}{scene.thing}s"
    words = f"{_article(colour or scene.thing)} {colour}{scene.thing}"
    if scene.second:
        other = f"{scene.second_colour} {scene.second}" if scene.second_colour else scene.second
        joins = (f"to the {scene.relation} of", "next to", "and", "beside")
        words += f" {_pick(rng, joins)} {_article(other)} {other}"
    return words


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption in one of several wordings, some short; none tells a free variable."""
    what = noun(scene, rng)
    where = _pick(rng, GROUND_PHRASES[scene.ground]) if scene.ground and rng.random() < 0.8 else ""
    when = _pick(rng, TIME_PHRASES[scene.time]) if scene.time and rng.random() < 0.8 else ""
    opening = f"{_article(scene.medium)} {scene.medium} of " if scene.medium else _pick(rng, OPENINGS)
    order = rng.random()
    if order < 0.12 and when and not opening:
        parts = (when, what, where)
    elif order < 0.3:
        parts = (opening + what, when, where)
    else:
        parts = (opening + what, where, when)
    return " ".join(p for p in parts if p)


def vocabulary() -> list[str]:
    """Every word that a caption or a prompt of the world can hold, sorted: the tokenizer gives each one token."""
    text = [
        *THINGS,
        *(t + "s" for t in THINGS),
        *COLOURS,
        *GROUNDS,
        *TIMES,
        *MEDIA,
        "two three a an and next beside",
        "to the left right of in on",
        *(p for ps in (*GROUND_PHRASES.values(), *TIME_PHRASES.values()) for p in ps),
        *OPENINGS,
        "sketch sticker comic blueprint neon style photograph painting drawing sky ground with",
    ]
    return sorted({word for line in text for word in line.split()})
