"""Recipe of ``data/``: style sets, Hubble crops and prompts, all made again from seeds by one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import Image

from dislib.world import COLOURS, GROUNDS, STYLES, THINGS, TIMES, caption, paint, shown
from dislib.world.scene import GROUND_PHRASES, TIME_PHRASES

from .pictures import scene

STYLE_STREAM = 100  # streams 100, 101, ...: one per style, shared with no training picture of the base model
UNUSUAL = (
    ("cat", "sea"),
    ("boat", "desert"),
    ("car", "sea"),
    ("house", "sea"),
    ("boat", "street"),
    ("rocket", "meadow"),
    ("flower", "snow"),
    ("mushroom", "street"),
    ("tree", "sea"),
    ("flower", "sea"),
    ("boat", "snow"),
    ("mushroom", "sea"),
    ("bird", "street"),
    ("cat", "snow"),
    ("boat", "meadow"),
)


def save_set(folder: Path, pictures: list[Image.Image], texts: list[str] | None = None) -> None:
    """Write ``000.png, 001.png, ...`` and, where there are captions, ``metadata.jsonl``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:03d}.png" for i in range(len(pictures))]
    for name, picture in zip(names, pictures):
        picture.save(folder / name, optimize=True)
    if texts:
        rows = [json.dumps({"file_name": name, "text": text}) for name, text in zip(names, texts)]
        (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def style_set(style: str, start: int, count: int) -> tuple[list[Image.Image], list[str]]:
    """Pictures of a style with captions that tell only what the style shows, and no style words."""
    stream = STYLE_STREAM + STYLES.index(style)
    scenes = [shown(scene(i, stream), style) for i in range(start, start + count)]
    rng = np.random.default_rng([stream, start])
    return [paint(s, style) for s in scenes], [caption(s, rng) for s in scenes]


def hubble_crops() -> tuple[list[Image.Image], list[Image.Image]]:
    """Disjoint 128-px crops of the Hubble Deep Field (NASA, public domain): 24 from its left, 18 from its right."""
    from skimage import data

    field = Image.fromarray(data.hubble_deep_field()).convert("RGB")
    crops = [[field.crop((128 * i, 128 * j, 128 * i + 128, 128 * j + 128)) for j in range(6)] for i in range(7)]
    return sum(crops[:4], []), sum(crops[4:], [])


def prompts() -> list[dict]:
    """The 200 prompts of the course, in categories after DrawBench's; every word is one the world can paint."""
    rng = np.random.default_rng(2023)
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    a = lambda words: ("an " if words[0] in "aeiou" else "a ") + words  # noqa: E731
    where = lambda ground=None: GROUND_PHRASES[ground or pick(GROUNDS)][0]  # noqa: E731
    when = lambda: TIME_PHRASES[pick(TIMES)][0]  # noqa: E731
    pair = lambda: [f"{c} {t}" for c, t in zip(rng.permutation(COLOURS)[:2], rng.permutation(THINGS)[:2])]  # noqa: E731
    makers = {
        "colour": (40, lambda: f"{a(pick(COLOURS) + ' ' + pick(THINGS))} {where()}"),
        "count": (30, lambda: f"{pick(('two', 'three'))} {pick(COLOURS)} {pick(THINGS)}s {where()}"),
        "unusual combination": (
            30,
            lambda: (lambda thing, ground: f"{a(pick(COLOURS) + ' ' + thing)} {where(ground)} {when()}")(
                *pick(UNUSUAL)
            ),
        ),
        "position": (30, lambda: (lambda p: f"{a(p[0])} to the {pick(('left', 'right'))} of {a(p[1])}")(pair())),
        "two things": (30, lambda: (lambda p: f"{a(p[0])} and {a(p[1])} {where()}")(pair())),
        "place and time": (20, lambda: f"{a(pick(THINGS))} {where()} {when()}"),
        "short": (20, lambda: pick((a(pick(THINGS)), f"{a(pick(THINGS))} {when()}", f"{a(pick(THINGS))} {where()}"))),
    }
    rows: dict[str, str] = {}
    for category, (count, make) in makers.items():
        wanted = len(rows) + count
        while len(rows) < wanted:
            rows.setdefault(make(), category)
    return [{"prompt": prompt, "category": category} for prompt, category in rows.items()]


def run(*, folder: Path, out: Path = Path("data")) -> Iterator[dict]:
    """Write ``data/styles`` and ``data/prompts``; yields a record for each set."""
    for style in STYLES:
        for split, start in (("train", 0), ("test", 100)):
            save_set(out / "styles" / style / split, *style_set(style, start, 100))
        yield {"set": style, "pictures": 200}
    for split, crops in zip(("train", "test"), hubble_crops()):
        save_set(out / "styles" / "hubble" / split, crops)
    yield {"set": "hubble", "pictures": 42}
    path = out / "prompts" / "prompts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in prompts()), encoding="utf-8")
    yield {"set": "prompts", "prompts": 200}
