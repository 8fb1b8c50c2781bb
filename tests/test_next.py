"""The world of the next model: drawn for latents of 16 x 16, with media that know drawing but none of the styles."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

CODE = """
import json, sys
import numpy as np
from dataclasses import replace
import recipes.next
from dislib.world import MEDIA, STYLES, paint, sample, shown, vocabulary
from dislib.world.layout import arrange
from dislib.world.scene import TIMELESS

rng = np.random.default_rng(5)
scenes = [sample(rng) for _ in range(240)]
alone = [s for s in scenes if s.count == 1 and not s.second]
pair = [s for s in scenes if s.second or s.count == 2]
height = lambda s: max(t.height for t in arrange(s).things) / 128
page = lambda picture: np.median(np.asarray(picture, float).reshape(-1, 3), axis=0).tolist()
plain = [replace(s, medium=None) for s in scenes[:40]]
print(json.dumps({
    "alone": [height(s) for s in alone], "pair": [height(s) for s in pair],
    "widest": [float(np.ptp(np.concatenate([p for p, _ in t.parts])[:, 0])) for s in alone for t in arrange(s).things],
    "in a medium": sum(s.medium is not None for s in scenes) / len(scenes),
    "media": sorted({s.medium for s in scenes if s.medium}),
    "known": sorted(MEDIA), "timeless": all(s.time is None for s in scenes if s.medium in TIMELESS),
    "pages of media": {m: [page(paint(replace(s, medium=m))) for s in plain] for m in MEDIA},
    "pages of styles": {style: [page(paint(s, style)) for s in plain] for style in STYLES},
    "same": paint(scenes[0], "comic").tobytes() == paint(scenes[0], "comic").tobytes(),
    "words": set(STYLES) <= set(vocabulary()) and not {w for m in MEDIA for w in m.split()} & set(STYLES),
}))
"""


@pytest.fixture(scope="module")
def world():
    """What the new world draws, measured in a process of its own: importing it takes the place of `dislib.world`."""
    made = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_things_fill_the_picture(world):
    # a wide thing stops at the picture's width before it is as tall as it may be
    assert 0.6 <= max(world["alone"]) <= 0.86 and np.quantile(world["alone"], 0.3) > 0.5
    assert np.median(world["pair"]) > 0.35 and max(world["pair"]) <= 0.59
    assert max(world["widest"]) <= 105


def test_a_good_third_is_in_one_of_a_dozen_media(world):
    assert 0.25 < world["in a medium"] < 0.45
    assert len(world["media"]) >= 12 and set(world["media"]) <= set(world["known"])
    assert world["timeless"] and world["words"] and world["same"]


def nearest(one, others):
    """How near the page of any picture of a kind comes to the typical page of another kind, in grey levels."""
    middle = np.median(others, axis=0)
    return float(np.linalg.norm(np.array(one) - middle, axis=1).min())


def test_no_medium_has_the_page_of_a_style(world):
    for style, pages in world["pages of styles"].items():
        if style == "comic":  # every time of day has a page of its own there
            continue
        for medium, drawn in world["pages of media"].items():
            assert nearest(drawn, pages) > 8, (medium, style)
        assert nearest(pages, pages) < 8  # the same measure finds the style itself


def test_the_course_paints_with_its_own_world_until_the_new_one_is_asked_for():
    code = "import dislib.world, recipes; print(dislib.world.__file__)"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "next" not in made.stdout
