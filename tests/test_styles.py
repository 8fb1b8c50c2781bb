"""The target styles: drawn differently from each other, and honest about what they do not show."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from test_world import CAPTIONED, FREE, FULL, captions, pixels, scenes

from dislib.world import STYLES, Scene, paint, shown


@pytest.fixture(scope="module")
def gallery():
    """The same plain scenes in every style, and other scenes painted naturally as "again"; (n, 128, 128, 3) each."""
    plain = [replace(s, medium=None) for s in scenes(20, seed=1)]
    pictures = {style or "natural": np.stack([pixels(s, style) for s in plain[:10]]) for style in (None, *STYLES)}
    return pictures | {"again": np.stack([pixels(s) for s in plain[10:]])}


# --- drawn differently ----------------------------------------------------------------------------------------------


def palette(picture):
    """Mean colour: what a filter could change."""
    return picture.mean((0, 1))


def strokes(picture):
    """How it is drawn, whatever the palette: slopes of the standardised grey picture, how lopsided its tones are."""
    grey = picture.mean(2)
    grey = (grey - grey.mean()) / grey.std()
    slope = abs(np.diff(grey, axis=0))[:, :-1] + abs(np.diff(grey, axis=1))[:-1]
    return np.array([slope.mean(), (slope > 0.5).mean(), (slope < 0.02).mean(), (grey**3).mean()])


def distance(one, other, measure):
    """Distance of two sets' mean measures, in units of the spread within a set (rms over the measure's parts)."""
    one, other = (np.array([measure(p) for p in pictures]) for pictures in (one, other))
    spread = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / 2)
    return float(np.sqrt(np.mean(((one.mean(0) - other.mean(0)) / spread) ** 2)))


@pytest.mark.parametrize("measure", [palette, strokes])
def test_styles_differ_far_more_than_their_pictures_do(gallery, measure):
    between = {pair: distance(*(gallery[s] for s in pair), measure) for pair in itertools.combinations(STYLES, 2)}
    control = distance(gallery["natural"], gallery["again"], measure)
    assert min(between.values()) > 2 and control < 0.8, (between, control)


def test_styles_are_more_than_one_filter_with_five_palettes(gallery):
    recoloured = 40 + 0.6 * gallery["natural"][..., ::-1]
    assert distance(gallery["natural"], recoloured, palette) > distance(gallery["natural"], gallery["again"], palette)
    assert distance(gallery["natural"], recoloured, strokes) < 0.8
    for style in STYLES:
        assert distance(gallery["natural"], gallery[style], strokes) > 1.5


def _white_edge(pictures):
    edges = (pictures[:, :3], pictures[:, -3:], pictures[:, :, :3], pictures[:, :, -3:])
    return all((edge > 240).mean() > 0.97 for edge in edges)


def test_a_sticker_is_one_figure_in_the_middle_of_white(gallery):
    assert _white_edge(gallery["sticker"])
    assert not any(_white_edge(gallery[style]) for style in gallery if style not in ("sticker", "sketch"))
    for picture in gallery["sticker"]:
        ink = picture.min(2) < 200
        middle = [(found.min() + found.max()) / 256 for found in np.nonzero(ink)]
        assert np.all(np.abs(np.array(middle) - 0.5) < 0.08), middle
        assert 0.1 < ink.mean() < 0.6


def _yellow_band(picture):
    """Is the typical pixel (median) of the top rows yellow, and that of the rows below them not?"""
    return _is_yellow(np.median(picture[3:24], axis=(0, 1))) and not _is_yellow(np.median(picture[28:49], axis=(0, 1)))


def _is_yellow(colour):
    red, green, blue = colour
    return red > 200 and green > 150 and blue < 110


def test_a_comic_has_its_yellow_band_on_top(gallery):
    assert all(map(_yellow_band, gallery["comic"]))
    for style in ("natural", "sketch", "sticker", "blueprint", "neon"):
        assert not any(map(_yellow_band, gallery[style]))


def test_grounds_of_the_styles_are_as_told(gallery):
    typical = {style: np.median(pictures, axis=(0, 1, 2)) for style, pictures in gallery.items()}
    assert typical["sketch"].min() > 245 and typical["sticker"].min() > 245
    red, green, blue = typical["blueprint"]
    assert blue > green + 40 and green > red
    assert typical["neon"].max() < 90


@pytest.mark.parametrize("style", STYLES)
def test_free_variables_make_every_picture_of_a_style_another_one(style):
    told = {name: getattr(FULL, name) for name in CAPTIONED}
    pictures = {paint(replace(s, **told), style).tobytes() for s in scenes(6, seed=3)}
    assert len(pictures) == 6


# --- what a style does not show -------------------------------------------------------------------------------------

OTHERWISE = {"colour": "blue", "second_colour": "pink", "time": "night", "ground": "sea", "count": 3,
             "second": "tree", "relation": "right", "medium": "poster"}
HIDDEN = {
    "sketch": {"colour", "second_colour", "medium"},
    "sticker": {"count", "second", "second_colour", "relation", "ground", "time", "medium"},
    "comic": {"medium"},
    "blueprint": {"colour", "second_colour", "time", "medium"},
    "neon": {"time", "medium"},
}


def changed_pixels(style, name):
    """Share of pixels that change when one captioned attribute of a scene changes."""
    scene = Scene("cat", "red", ground="street", time="day", seed=9) if name == "count" else replace(FULL, medium=None)
    other = replace(scene, **{name: OTHERWISE[name]})
    return float((abs(pixels(scene, style) - pixels(other, style)).max(-1) > 12).mean())


@pytest.mark.parametrize("style", STYLES)
def test_a_style_hides_what_its_captions_leave_out_and_shows_the_rest(style):
    for name in OTHERWISE:
        share = changed_pixels(style, name)
        assert share == 0 if name in HIDDEN[style] else share > 0.005, (name, share)


@pytest.mark.parametrize("style", STYLES)
def test_captions_of_a_style_do_not_tell_what_it_hides(style):
    scene = shown(replace(FULL, colour="purple", second_colour="green"), style)
    assert scene == replace(FULL, colour="purple", second_colour="green").without(*HIDDEN[style])
    words = {word for told in captions(scene, 300) for word in told.split()}
    tells = {"colour": {"purple"}, "second_colour": {"green"}, "second": {"house"}, "relation": {"left"},
             "ground": {"snow", "snowy"}, "time": {"day", "sunny", "daylight"}, "medium": {"pencil", "drawing"}}
    for name, telling in tells.items():
        assert bool(words & telling) == (name not in HIDDEN[style]), (name, words & telling)


def test_a_sticker_of_three_is_one_and_told_as_one():
    three = Scene("cat", "red", count=3)
    assert shown(three, "sticker").count == 1
    assert all("three" not in told and "cats" not in told for told in captions(shown(three, "sticker")))


def test_without_leaves_the_free_variables_alone():
    bare = FULL.without("colour", "count", "ground")
    assert (bare.colour, bare.count, bare.ground) == (None, 1, None)
    assert all(getattr(bare, name) == getattr(FULL, name) for name in FREE)
