"""FID against N: it falls, KID stays at 0, and what cannot be drawn is told."""

import time

import numpy as np
import pytest

from dislib.errors import DislibError
from dislib.evaluation.metrics import fid, kid
from dislib.evaluation.reference import Reference
from dislib.figures.plots import CourseFigure
from dislib.lessons.lesson_04 import fid_against_n, small_samples_plot


def reference(n=200, d=6):
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, n, d)).astype(np.float32)
    return Reference("dots", one, one, {}, {"floor": {"pooled": other, "projected": other}})


def test_fid_falls_and_kid_stays():
    found = fid_against_n(reference(), [4, 8, 16, 32, 64, 128], draws=80)
    fids = [sample.fid.value for sample in found]
    assert fids == sorted(fids, reverse=True) and fids[0] > 10 * fids[-1]
    assert all(sample.fid.low > 0 for sample in found)
    assert all(sample.kid.low < 0 < sample.kid.high for sample in found[:-1])
    widths = [sample.kid.high - sample.kid.low for sample in found]
    assert widths == sorted(widths, reverse=True)


def test_of_all_pictures_there_is_one_set():
    ref = reference()
    (found,) = fid_against_n(ref, [200], draws=9)
    assert found.fid == pytest.approx([fid(ref.others["floor"]["pooled"], ref.pooled)] * 3)
    assert found.kid == pytest.approx([kid(ref.others["floor"]["pooled"], ref.pooled)] * 3)


def test_draws_are_seeded_and_sizes_sorted():
    make = lambda seed: fid_against_n(reference(), [20, 10, 20], draws=5, seed=seed)
    assert make(1) == make(1) != make(2)
    assert [sample.n for sample in make(1)] == [10, 20]


def test_a_full_grid_takes_seconds():
    begun = time.process_time()
    fid_against_n(reference(800, 128), [10, 50, 400, 800], draws=10)
    assert time.process_time() - begun < 15


@pytest.mark.parametrize(
    "numbers, draws, words",
    [
        ([1, 10], 5, "N = 1; a distance needs from 2 pictures to the 200 that there are"),
        ([10, 201], 5, "N = 201; a distance"),
        ([2.5], 5, "N = 2.5; a distance"),
        ([], 5, "no N is given; a distance"),
        ([10], 0, "0 draws; at least 1"),
    ],
)
def test_what_cannot_be_drawn(numbers, draws, words):
    with pytest.raises(DislibError, match=words):
        fid_against_n(reference(), numbers, draws=draws)


def test_a_reference_without_fresh_pictures():
    bare = Reference("mine", *[np.eye(3)] * 2, {})
    with pytest.raises(DislibError, match="the reference 'mine' has no 'floor'.*a style that the course ships"):
        fid_against_n(bare)


def test_the_plot_has_words():
    found = fid_against_n(reference(), [10, 50], draws=5)
    figure = small_samples_plot(found, style="dots", at=10)
    assert isinstance(figure, CourseFigure)
    assert figure.alt.startswith("Fresh pictures of dots against the style itself, where 0 is true: FID from ")
    small_samples_plot(found, at=33)
