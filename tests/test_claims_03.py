"""The claims of lesson 03 hold on data made to have their property, and fail on data made to lack it."""

import numpy as np
import pytest
from test_claims import grid, picture, style_pictures

from dislib.errors import DislibError
from dislib.lessons.lesson_03 import claim_colour_hangs_on_seed, claim_nearer_to_style, claim_own_leak


def pale(n, level, *, noise=10.0, rng=0):
    values = level + noise * np.random.default_rng(rng).normal(size=(n, 4, 4, 3))
    return [picture(v) for v in values]


def test_the_nearer_heap_is_named():
    images = pale(12, 230, rng=1)
    claim = claim_nearer_to_style(pale(8, 225), pale(8, 150), images, names=("this", "that"))
    assert claim and "for this" in claim.text and "for that" in claim.text and claim.name.endswith("this")
    assert claim.value > claim.threshold and not claim.control.passes


def test_a_heap_is_not_nearer_than_its_like():
    images = pale(12, 230, rng=1)
    assert not claim_nearer_to_style(pale(8, 200, rng=2), pale(8, 200, rng=3), images)
    assert not claim_nearer_to_style(pale(8, 150), pale(8, 225), images)


def test_a_claim_that_holds_for_every_rival_proves_nothing():
    """The control is the same measurement, so it fails by itself only where there is a difference to see."""
    images = pale(12, 230, rng=1)
    claims = [claim_nearer_to_style(pale(8, 225, rng=k), pale(8, 150, rng=k), images) for k in range(20)]
    assert sum(not claim for claim in claims) <= 1 and sum(claim.control.passes for claim in claims) <= 1


def test_colour_that_hangs_on_the_seed():
    stuck, free = grid(seed=60, noise=5), grid(seed=0, noise=5)
    assert (claim := claim_colour_hangs_on_seed(stuck, free, style_pictures("paper", 20))), str(claim)
    assert not claim_colour_hangs_on_seed(free, stuck, style_pictures("paper", 20))
    assert not claim_colour_hangs_on_seed(stuck, stuck, style_pictures("paper", 20))


@pytest.mark.parametrize("share, holds", [(1.15, True), (1.0, False), (0.9, False)])
def test_own_leak(share, holds):
    rng, mean = np.random.default_rng(0), np.full((4, 8, 8), 1.5)
    heap = lambda share: share * mean + rng.normal(size=(40, 4, 8, 8))
    claim = claim_own_leak(heap(share), heap(1.0), mean)
    assert bool(claim) == holds and claim.value == pytest.approx(share - 1, abs=0.03)
    assert not claim_own_leak(heap(share), heap(1.0), mean, control=heap(0.5))


def test_wrong_heaps_are_named():
    with pytest.raises(DislibError, match="8 pictures against 7"):
        claim_nearer_to_style(pale(8, 200), pale(7, 200), pale(4, 200))
    with pytest.raises(DislibError, match="at least 8"):
        claim_nearer_to_style(pale(7, 200), pale(7, 200), pale(4, 200))
    with pytest.raises(DislibError, match="8 prompts with 1 seeds"):
        claim_colour_hangs_on_seed(grid(seeds=1), grid(seeds=1), pale(9, 200))
