"""The checks of lesson 01 take right answers, by more than one way, and tell typical wrong ones what is wrong."""

import re

import numpy as np
import pytest
from PIL import Image

from dislib.lessons.lesson_01 import check_darker, check_pairing, check_seed_share
from dislib.lessons.seed_share import seed_share, variance_shares


def flat(level):
    return Image.new("RGB", (16, 16), (level,) * 3)


@pytest.mark.parametrize("answer", [[2, 0, 1], (2, 0, 1), np.array([2, 0, 1])])
def test_the_right_pairing(answer):
    assert check_pairing(answer, [2, 0, 1])


@pytest.mark.parametrize("answer, words", [
    ([2, 0], "2 seeds for 3 pictures"), ([2, 0, 7], "no seed 7 here; the seeds are [0, 1, 2]"),
    (["2", "0", "1"], "without quotation marks"), (5, "A list of 3 seeds"), ("201", "A list of 3 seeds"),
    ([0, 1, 2], "in their order"), ([1, 2, 0], "other way round"), ([2, 1, 0], "1 of 3 are right; blind guessing gets 1"),
    ([2, 2, 1], "Seed 2 is named more than once")])
def test_pairings_that_are_wrong(answer, words):
    verdict = check_pairing(answer, [2, 0, 1])
    assert verdict.state == "wrong" and words in str(verdict)


def test_the_seeds_in_their_order_are_all_wrong_in_the_notebook(root):
    """Typing 0 to 7 must not score by luck."""
    text = (root / "notebooks" / "01_latent_statistics.ipynb").read_text(encoding="utf-8")
    [line] = re.findall(r"truth = (np\.random\.default_rng.*?)\\n", text)
    truth = eval(line, {"np": np, "len": len, "seeds": list(range(8))})
    assert not any(truth == np.arange(8))


def by_the_book(values):
    left = values - values.mean(axis=1, keepdims=True)
    return left.mean(axis=0).var() / left.var()


def by_the_decomposition(values):
    shares = variance_shares(values)
    return shares.seed / (shares.seed + shares.rest)


def by_dislib(values):
    return seed_share(values, shuffles=2, draws=2).share


def rudely(values):
    values -= values.mean(axis=1, keepdims=True)
    return np.array([values.mean(axis=0).var() / values.var()])


@pytest.mark.parametrize("function", [by_the_book, by_the_decomposition, by_dislib, rudely])
def test_the_right_share(function):
    assert check_seed_share(function)


@pytest.mark.parametrize("function, words", [
    (lambda v: v.nope, "stopped with AttributeError"),
    (lambda v: v.mean(axis=0), "array of shape (4,)"),
    (lambda v: "half", "returns a str"),
    (lambda v: variance_shares(v).seed, "take away each prompt's mean first"),
    (lambda v: 1 - by_the_book(v), "subtract it from 1"),
    (lambda v: by_the_book(v) ** 0.5, "one of variances"),
    (lambda v: by_the_book(v) / (1 - by_the_book(v)), "divide by the sum"),
    (lambda v: by_the_book(v.T), "prompts are axis 0"),
    (lambda v: 0.0, "over axis 0"),
    (lambda v: 4 / 3 * by_the_book(v), "same ddof"),
    (lambda v: 0.123, "Take away each prompt's mean; then")])
def test_shares_that_are_wrong(function, words):
    verdict = check_seed_share(function)
    assert verdict.state == "wrong" and words in str(verdict)


@pytest.mark.parametrize("after, state, words", [
    (flat(200), "wrong", "the very same"), (flat(201), "wrong", "as light as before"),
    (flat(215), "wrong", "the other sign"), (flat(250), "wrong", "with the wrong sign"),
    (flat(180), "wrong", "Push harder"), (flat(60), "right", "never said so")])
def test_darker(after, state, words):
    verdict = check_darker(flat(200), after)
    assert verdict.state == state and words in str(verdict)


@pytest.mark.parametrize("verdict", [
    check_pairing(None, [0, 1]), check_pairing(..., [0, 1]), check_pairing([..., ...], [0, 1]),
    check_seed_share(lambda values: None), check_seed_share(lambda values: ...),
    check_darker(flat(9), None), check_darker(flat(9), ...), check_darker(flat(9), flat(9), [0, 0, 0, 0])])
def test_what_is_not_answered_yet_is_open(verdict):
    assert verdict.state == "open"
