"""Scenes, captions and painters: deterministic by seed, and no caption tells what the course says it leaves open."""

import hashlib
import importlib.metadata as metadata
import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from dislib.world import COLOURS, GROUNDS, MEDIA, STYLES, THINGS, TIMES, Scene, caption, paint, sample, vocabulary
from dislib.world.layout import arrange
from dislib.world.scene import GROUND_PHRASES, TIME_PHRASES

CAPTIONED = {"thing", "colour", "count", "second", "second_colour", "relation", "ground", "time", "medium"}
FREE = {"x", "size", "flip", "horizon", "sun", "tint", "seed"}
LONGEST = 22  # words of a caption: the tokenizer's 24 places without start and end
FULL = Scene("cat", "orange", second="house", second_colour="orange", relation="left", ground="snow", time="day",
             medium="pencil drawing", seed=5)
# What `fingerprints` gives on the libraries of constraints.txt.
PINNED = {
    "scenes": "069377ac", "natural": "fa5d938d", "pencil drawing": "b3b78180", "watercolour": "b49bfe0c",
    "poster": "4c08a5e2", "chalk drawing": "e15be174", "sketch": "cfcd2b46", "sticker": "6f45cbb1",
    "comic": "05477b74", "blueprint": "7bee6b78", "neon": "5be4dab8",
}


def scenes(n, *, seed=0):
    rng = np.random.default_rng(seed)
    return [sample(rng) for _ in range(n)]


def captions(scene, n=40, *, seed=0):
    rng = np.random.default_rng(seed)
    return [caption(scene, rng) for _ in range(n)]


def pixels(scene, style=None):
    return np.asarray(paint(scene, style)).astype(float)


@pytest.fixture(scope="module")
def many():
    """A crowd of scenes, to count in."""
    return scenes(1500)


@pytest.fixture(scope="module")
def texts(many):
    """A caption of each of them."""
    rng = np.random.default_rng(1)
    return [caption(s, rng) for s in many]


# --- the same seed is the same scene and the same picture -----------------------------------------------------------


def fingerprints():
    """Eight digits of a few scenes with their captions, and of a picture by every painter."""
    rng = np.random.default_rng(7)
    first, second = sample(rng), sample(rng)
    told = [repr((s, caption(s, rng))) for s in (first, second)]
    pictures = {"natural": paint(first)} | {medium: paint(replace(second, medium=medium)) for medium in MEDIA}
    pictures |= {style: paint(second, style) for style in STYLES}
    return {"scenes": _digits("".join(told).encode())} | {k: _digits(p.tobytes()) for k, p in pictures.items()}


def _digits(data):
    return hashlib.sha256(data).hexdigest()[:8]


def test_the_same_seed_is_the_same_scene_and_another_seed_another():
    assert scenes(50) == scenes(50)
    assert not set(map(repr, scenes(50))) & set(map(repr, scenes(50, seed=1)))


def test_scenes_and_pictures_are_the_same_in_another_process_on_another_kind_of_processor():
    # Another hash seed, and numpy's routines for plain processors in place of this one's widest vectors.
    code = "import sys; sys.path.insert(0, 'tests'); import test_world; print(test_world.fingerprints())"
    plain = {"PYTHONHASHSEED": "5", "NPY_DISABLE_CPU_FEATURES": _vector_features()}
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | plain, capture_output=True,
                           text=True, check=True)
    assert found.stdout.strip() == str(fingerprints())


def _vector_features():
    from numpy._core import _multiarray_umath as core

    return " ".join(name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name))


def other_libraries():
    """Which of the libraries that draw are not those of constraints.txt; None when all are."""
    pinned = [Requirement(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
              if line.startswith(("numpy==", "pillow=="))]
    other = [f"{r.name} {metadata.version(r.name)}" for r in pinned
             if not r.specifier.contains(metadata.version(r.name), prereleases=True)]
    return ", ".join(other)


def test_pictures_are_the_pinned_ones():
    if other_libraries():
        pytest.skip(f"pixels are promised for the pinned libraries only, and here is {other_libraries()}")
    changed = {k: v for k, v in fingerprints().items() if PINNED[k] != v}
    assert not changed, f"these draw other pictures now: undo it, or make data/ and the models again and pin {changed}"


def test_one_scene_is_one_picture_and_every_small_detail_has_its_seed():
    scene = scenes(1)[0]
    assert np.array_equal(pixels(scene), pixels(scene))
    assert not np.array_equal(pixels(scene), pixels(replace(scene, seed=scene.seed + 1)))


# --- what there is in the world -------------------------------------------------------------------------------------


def test_the_world_is_rich_enough():
    assert len(set(THINGS)) >= 10 and len(set(COLOURS)) >= 8 and len(set(GROUNDS)) >= 5 and len(set(TIMES)) >= 4
    assert STYLES == ("sketch", "sticker", "comic", "blueprint", "neon")
    assert not set(STYLES) & {word for medium in MEDIA for word in medium.split()}


def test_everything_comes_up_about_equally_often(many):
    for name, options in {"thing": THINGS, "colour": COLOURS, "ground": GROUNDS, "time": TIMES}.items():
        counts = np.array([sum(getattr(s, name) == option for s in many) for option in options])
        expected = len(many) / len(options)
        assert np.all(abs(counts - expected) < 5 * np.sqrt(expected)), (name, counts)


def test_about_a_tenth_is_in_a_medium_and_every_medium_is_among_them(many):
    found = [s.medium for s in many if s.medium]
    assert 0.07 < len(found) / len(many) < 0.13
    assert set(found) == set(MEDIA)


def test_second_things_and_numbers_come_with_what_they_need(many):
    seconds, several = [s for s in many if s.second], [s for s in many if s.count > 1]
    assert 0.15 < len(seconds) / len(many) < 0.25 and 0.06 < len(several) / len(many) < 0.14
    assert {s.count for s in many} == {1, 2, 3}
    for s in seconds:
        assert s.second != s.thing and s.second_colour != s.colour and s.relation in ("left", "right") and s.count == 1
    assert all(s.relation is None and s.second_colour is None for s in many if not s.second)


def test_every_attribute_is_known_to_be_captioned_or_free():
    assert {f.name for f in fields(Scene)} == CAPTIONED | FREE


# --- captions -------------------------------------------------------------------------------------------------------


def test_captions_never_tell_a_free_variable(many):
    one, other = replace(FULL), replace(many[0], **{name: getattr(FULL, name) for name in CAPTIONED})
    assert all(getattr(one, name) != getattr(other, name) for name in FREE - {"flip"})
    assert captions(one) == captions(other) == captions(replace(other, flip=not other.flip))


def test_captions_come_in_several_wordings_some_short(texts):
    told = captions(replace(FULL, medium=None), 300)
    assert len(set(told)) > 100
    lengths = [len(t.split()) for t in told]
    assert max(lengths) - min(lengths) >= 10
    assert min(len(t.split()) for t in texts) <= 3


def test_no_caption_is_longer_than_the_tokenizer_reads(texts):
    longest = max(len(t.split()) for t in captions(FULL, 3000))
    assert longest == LONGEST  # the longest that the wordings can give, and they do give it
    assert all(len(t.split()) <= LONGEST for t in texts)


def test_every_word_of_a_caption_is_in_the_vocabulary(texts):
    words, told = vocabulary(), {word for text in texts for word in text.split()}
    assert words == sorted(set(words)) and all(w.isascii() and w.isalpha() and w.islower() for w in words)
    assert told <= set(words)
    assert set(STYLES) <= set(words) and not told & {*STYLES, "style"}  # prompts may name a style, captions do not


def test_a_caption_never_tells_what_is_not_so(many, texts):
    for scene, told in zip(many, texts):
        words = set(told.split())
        assert words & {x for t in THINGS for x in (t, t + "s")} <= {scene.thing, scene.thing + "s", scene.second}, told
        assert words & set(COLOURS) <= {scene.colour, scene.second_colour}, told
        assert words & {"left", "right"} <= {scene.relation}, told
        for options, truth in ((GROUND_PHRASES, scene.ground), (TIME_PHRASES, scene.time)):
            assert not any(f" {p} " in f" {told} " for k, ps in options.items() if k != truth for p in ps), told


def test_the_main_thing_is_always_told_and_the_rest_mostly():
    told = captions(replace(FULL, medium=None), 400)
    assert all("cat" in t for t in told)
    share = np.mean([any(f" {p} " in f" {t} " for p in GROUND_PHRASES["snow"]) for t in told])
    assert 0.7 < share < 0.9
    assert all(t.startswith("a pencil drawing of ") for t in captions(FULL))


@pytest.mark.parametrize("first, second, article", [("orange", "red", "an"), ("red", "orange", "a")])
def test_articles_fit_the_word_that_follows(first, second, article):
    for told in captions(replace(FULL, medium=None, colour=first, second_colour=second), 200):
        words = told.split()
        for here, after in zip(words, words[1:]):
            assert here not in ("a", "an") or here == ("an" if after[0] in "aeiou" else "a"), told
    assert any(f"{article} {first} cat" in t for t in captions(replace(FULL, colour=first)))


def test_numbers_are_words_before_a_plural():
    assert all("three orange cats" in t or "three cats" in t for t in captions(Scene("cat", "orange", count=3)))
    assert all("one" not in t and "cats" not in t for t in captions(Scene("cat", "orange")))


# --- painters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [None, *STYLES])
def test_every_style_paints_small_rgb_pictures_of_every_scene(style, many):
    rare = (FULL, Scene("car"), replace(many[0], count=3, second=None, medium=None))
    for scene in rare:
        picture = paint(scene, style)
        assert (picture.mode, picture.size) == ("RGB", (128, 128))
        assert np.asarray(picture).std() > 5


@pytest.mark.parametrize("medium", MEDIA)
def test_every_medium_paints_in_its_own_way(medium):
    scene = replace(scenes(1)[0], medium=None)
    picture = paint(replace(scene, medium=medium))
    assert (picture.mode, picture.size) == ("RGB", (128, 128))
    assert abs(np.asarray(picture).astype(float) - pixels(scene)).mean() > 8


def test_an_unknown_style_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="no style 'cubism'; the styles are sketch, sticker, comic, blueprint, neon"):
        paint(scenes(1)[0], "cubism")


@pytest.mark.parametrize("thing", THINGS)
def test_the_colour_of_a_caption_is_in_the_picture(thing):
    scene = Scene(thing, "red", ground="street", time="day", seed=3)
    red, blue = pixels(scene), pixels(replace(scene, colour="blue"))
    changed = abs(red - blue).sum(-1) > 60
    assert changed.mean() > 0.01  # 160 pixels; a rocket is slender
    assert (red[changed] - blue[changed]).mean(0)[0] > 50 > -50 > (red[changed] - blue[changed]).mean(0)[2]


def _places(scene):
    """Where things in red and in blue are found in the picture, from the left in pixels."""
    bare = pixels(replace(scene, colour="white", second_colour="white"))
    red = abs(pixels(replace(scene, second_colour="white")) - bare).sum(-1)
    blue = abs(pixels(replace(scene, colour="white")) - bare).sum(-1)
    return [float((weight.sum(0) @ np.arange(128)) / weight.sum()) for weight in (red, blue)]


@pytest.mark.parametrize("thing, second", [("house", "cat"), ("balloon", "boat")])
def test_left_and_right_are_as_told(thing, second):
    scene = Scene(thing, "red", second=second, second_colour="blue", relation="left", size=0.4, seed=2)
    main, other = _places(scene)
    assert main < other - 20
    main, other = _places(replace(scene, relation="right"))
    assert main > other + 20


def test_the_main_thing_is_the_nearer_one_on_the_side_that_is_told(many):
    for scene in [s for s in many if s.second][:100]:
        second, main = arrange(scene).things  # far to near
        assert ("left" if main.x < second.x else "right") == scene.relation
        assert main.foot > second.foot - 26 and main.ground > second.ground and main.height > 0


def test_two_and_three_things_stand_apart():
    for count in (2, 3):
        layout = arrange(Scene("cat", "red", count=count, size=0.6))
        assert len(layout.things) == count
        assert np.all(np.diff([t.x for t in layout.things]) > 30)
