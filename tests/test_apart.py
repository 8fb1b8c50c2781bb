"""Colours and drawing apart: each measure sees what it is for, and comparisons are paired."""

import doctest

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from dislib.errors import DislibError
from dislib.evaluation import apart
from dislib.evaluation.apart import Looks, Measured, compare, looks_of, measure_apart, pooled_over, speed_up
from dislib.evaluation.judge import load_judge

THINGS = ("house", "cat", "tree")
PROMPTS = [f"a {THINGS[i % 3]} number {i}" for i in range(24)]


def drawing(i, page=(250, 250, 250)):
    picture = Image.new("RGB", (128, 128), page)
    at = 20 + 3 * (i % 12)
    ImageDraw.Draw(picture).rectangle((at, 30, at + 50, 100), outline=(60, 60, 70), width=4)
    ImageDraw.Draw(picture).ellipse((at + 8, 44, at + 40, 80 + i % 7), outline=(60, 60, 70), width=4)
    return picture


@pytest.fixture(scope="module")
def judge():
    return load_judge(device="cpu")


@pytest.fixture(scope="module")
def found(judge):
    """All measures of three sets against the same reference: good ones, on a tinted page, and with ruined lines."""
    good = [drawing(i) for i in range(24)]
    sets = {
        "good": good,
        "tinted": [drawing(i, (226, 206, 240)) for i in range(24)],
        "ruined": [picture.filter(ImageFilter.GaussianBlur(5)) for picture in good],
    }
    reference = looks_of([drawing(i) for i in range(24, 60)], judge)
    return {k: measure_apart(looks_of(v, judge), PROMPTS, reference, judge, things=THINGS, draws=40) for k, v in sets.items()}


def test_a_tinted_page_costs_colours_and_ruined_lines_cost_drawing(found):
    for name, measure in (("tinted", "colours"), ("tinted", "page"), ("ruined", "grey"), ("ruined", "fid")):
        assert compare(found[name][measure], found["good"][measure], measure)[0] == "behind", (name, measure)
    # what each is blind to: blurring moves no colour, and grey pictures have no tint
    assert found["ruined"]["colours"].value < 0.2 * found["tinted"]["colours"].value
    assert found["ruined"]["page"].value < 0.2 * found["tinted"]["page"].value
    assert found["tinted"]["grey"].value < found["ruined"]["grey"].value


def test_a_set_is_level_with_itself_and_the_verdict_turns_round(found):
    for measure in apart.MEASURES:
        verdict, difference = compare(found["good"][measure], found["good"][measure], measure)
        assert verdict == "level" and difference.value == 0
    assert compare(found["good"]["page"], found["tinted"]["page"], "page")[0] == "ahead"


def test_pairs_find_a_difference_that_overlapping_bands_overlook():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 5, 200)  # what the prompts do to both alike
    one, other = Measured(50.0, 50 + shared), Measured(47.0, 47 + shared + rng.normal(0, 0.5, 200))
    assert one.band().low < other.band().high  # the bands overlap
    assert compare(one, other, "fid")[0] == "behind" and compare(one, other, "clip")[0] == "ahead"
    with pytest.raises(DislibError, match="200 draws against 40"):
        compare(one, Measured(1.0, np.ones(40)), "fid")


def test_things_are_asked_for_where_a_prompt_has_just_one(judge):
    n = 4
    looks = Looks(*(np.zeros((n, 2)),) * 4, projected=looks_of([drawing(i) for i in range(n)], judge).projected)
    right = apart.things_right(looks, ["a house", "two cats", "a house and a tree", "the sea"], THINGS, judge)
    assert np.isnan(right[2:]).all() and set(right[:2]) <= {0.0, 1.0}


def test_prompts_must_be_in_step(judge):
    looks = looks_of([drawing(0), drawing(1)], judge)
    with pytest.raises(DislibError, match="2 pictures but 3 prompts"):
        measure_apart(looks, ["a", "b", "c"], looks, judge, things=THINGS)


def test_trainings_are_pooled_in_pairs():
    one = [Measured(v, np.full(300, v)) for v in (10.0, 20.0, 30.0)]
    other = [Measured(v + 1, np.full(300, v + 1)) for v in (10.0, 20.0, 30.0)]
    assert pooled_over(one).value == 20 and np.ptp(pooled_over(one).draws) > 10  # trainings differ
    verdict, difference = compare(pooled_over(one), pooled_over(other), "fid")
    assert verdict == "ahead" and difference.low == pytest.approx(-1) and difference.high == pytest.approx(-1)


def test_speed_up_in_closed_form():
    steps = [10, 100, 1000]
    assert speed_up([100, 50, 25], [50, 25, 10], iterations=steps) == (10.0, True)
    assert speed_up([100, 50, 25], [20, 10, 5], iterations=steps) == (100.0, False)  # at least
    assert speed_up([50, 25, 10], [100, 50, 25], iterations=steps) == (0.0, False)  # never
    assert speed_up([100, 50, 25], [75, 35, 25], iterations=steps) == (1.0, True)
    assert doctest.testmod(apart).failed == 0
