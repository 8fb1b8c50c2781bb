"""Copies are found, fresh pictures are acquitted; and which metric sees which damage."""

import numpy as np
import pytest
from PIL import Image

from dislib.errors import DislibError
from dislib.evaluation.judge import load_judge
from dislib.evaluation.memorisation import copying
from dislib.evaluation.reference import Reference
from dislib.figures.plots import png_bytes
from dislib.lessons.lesson_04 import INTACT, cases, measure_cases, shifted, shipped_pictures, verdict, verdict_figure


@pytest.fixture(scope="module")
def judge():
    return load_judge(device="cpu")


@pytest.fixture(scope="module")
def sketches():
    """Training images, held-out images, and pictures that are neither."""
    train, test = (shipped_pictures("sketch", part)[0] for part in ("train", "test"))
    return train[:30], test[:30], train[60:90]


def spoilt(image):
    """A copy that is not the same to the bit."""
    noise = np.random.default_rng(0).normal(0, 4, (128, 128, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("eyes", ["pixels", "features"])
def test_copies_are_nearer_to_the_training_images_and_fresh_pictures_are_not(judge, sketches, eyes):
    training, held_out, fresh = sketches
    by = judge if eyes == "features" else None
    copied, honest = (copying(list(made), training, held_out, by) for made in (map(spoilt, training), fresh))
    assert copied.share == 1 and copied.nearest.tolist() == list(range(30))
    assert np.median(copied.distance) < honest.usual / 3
    assert honest.low <= 0.5 <= honest.high
    assert honest.usual == pytest.approx(np.median(honest.distance), rel=0.3)


def test_a_tie_is_half_and_unequal_sets_are_refused(sketches):
    training, held_out, fresh = sketches
    assert copying(fresh, training, training).share == 0.5
    with pytest.raises(DislibError, match="30 training and 29 held-out"):
        copying(fresh, training, held_out[1:])
    with pytest.raises(DislibError, match="got 0 pictures"):
        copying([], training, held_out)


def test_no_metric_sees_everything(judge):
    found = measure_cases(cases("sketch", "comic"), judge, Reference.of("sketch", judge))
    fid, clip = verdict(found, "fid"), verdict(found, "clip")
    assert fid[INTACT] == clip[INTACT] == "blind"
    assert {fid[name] for name in ("blurred", "dimmed", "wrong style", "ten pictures, over and over")} == {"worse"}
    # What FID cannot see: it never reads the prompt, and the best it can wish for is the training set.
    assert fid["wrong content"] == fid["copies of the training set"] == "blind"
    # What the CLIP score cannot see: style and variety.
    assert clip["wrong content"] == "worse"
    assert clip["wrong style"] == clip["ten pictures, over and over"] == "blind"
    fig = verdict_figure(found)
    assert len(png_bytes(fig)) <= 150_000 and "clip sees blurred" in fig.alt


def test_a_shift_goes_round_and_unknown_styles_are_named():
    image = Image.fromarray(np.arange(128 * 128 * 3, dtype=np.uint32).reshape(128, 128, 3).astype(np.uint8))
    assert shifted(image, 128) == image
    assert shifted(image, 5).getpixel((5, 7)) == image.getpixel((0, 7))
    with pytest.raises(DislibError, match="no style 'oil'; choose one of blueprint, comic"):
        shipped_pictures("oil")
