"""The checks of lesson 03: solutions and other right answers pass, typical mistakes are named."""

import json
import re

import pytest

from dislib.lessons.lesson_03 import check_matched, check_share_of_mean, check_training_pair


def pair(z_t, target):
    return lambda z, mean, std, u, abar: (z_t(z, mean, std, u, abar), target(mean, std, u))


def right_z(z, mean, std, u, abar):
    return abar**0.5 * z + (1 - abar) ** 0.5 * (mean + std * u)


def eps(mean, std, u):
    return mean + std * u


@pytest.mark.parametrize("function", [lambda *_: ..., lambda *_: None, lambda *_: (..., ...)])
@pytest.mark.parametrize("check", [check_training_pair, check_matched])
def test_open(check, function):
    assert check(function).state == "open"


def test_training_pair_right():
    assert check_training_pair(pair(right_z, eps))
    assert check_training_pair(lambda *given: [x.numpy() for x in pair(right_z, eps)(*given)])


@pytest.mark.parametrize(
    "function, message",
    [
        (pair(right_z, lambda mean, std, u: u), "not normalised"),
        (pair(right_z, lambda mean, std, u: std * u), "lacks the mean"),
        (pair(right_z, lambda mean, std, u: mean + std**2 * u), "not its square"),
        (pair(right_z, lambda mean, std, u: mean + std**0.5 * u), "no root"),
        (pair(right_z, lambda mean, std, u: 5 * u), "target is not eps"),
        (lambda z, m, s, u, abar: (right_z(z, m, s, u, abar), z), "target is the picture"),
        (lambda z, m, s, u, abar: (right_z(z, m, s, u, abar),) * 2, "target is z_t"),
        (pair(lambda z, m, s, u, abar: abar**0.5 * z + (1 - abar) ** 0.5 * (m + s**2 * u), eps), "spread is squared"),
        (lambda z, m, s, u, abar: abar.sqrt() * z, "write abar ** 0.5"),
        (pair(lambda z, m, s, u, abar: abar**0.5 * z + (1 - abar) ** 0.5 * u, eps), "noise is still white"),
        (pair(lambda z, m, s, u, abar: abar * z + (1 - abar) * (m + s * u), eps), "square roots"),
        (pair(lambda z, m, s, u, abar: (1 - abar) ** 0.5 * z + abar**0.5 * (m + s * u), eps), "changed places"),
        (pair(lambda z, m, s, u, abar: z + m + s * u, eps), "must be weighted"),
        (pair(lambda z, m, s, u, abar: 2 * z, eps), "The target is right"),
        (lambda z, m, s, u, abar: right_z(z, m, s, u, abar), "Two things"),
        (lambda z, m, s, u, abar: z @ "x", "stopped with TypeError"),
    ],
)
def test_training_pair_wrong(function, message):
    verdict = check_training_pair(function)
    assert verdict.state == "wrong" and message in verdict.text


def test_share_of_mean():
    check = lambda answer: check_share_of_mean(answer, 0.17, 0.985)
    assert check(1.155) and check("1.155")
    assert check(1.15) and check(1.157) and check(1.16)
    assert check(...).state == check(None).state == "open"
    for answer, message in ((0.985, "the picture has"), (0.17, "the noise has"), (1, "paper's start"),
                            (0.167, "multiplied"), (3, "both means"), ("x", "One number"),
                            (0.815, "b - a"), (0.155, "how much *more*"), (2, "neither in full"), ([1, 2], "One number"),
                            (float("nan"), "not finite")):  # fmt: skip
        verdict = check(answer)
        assert verdict.state == "wrong" and message in verdict.text


@pytest.mark.parametrize(
    "function",
    [
        lambda m, s, n, u, abar: abar**0.5 * (m + s * n) + (1 - abar) ** 0.5 * (m + s * u),
        lambda m, s, n, u, abar: (abar**0.5 + (1 - abar) ** 0.5) * m + s * u,
        lambda m, s, n, u, abar: abar**0.5 * (m + s * u) + (1 - abar) ** 0.5 * (m + s * n),
    ],
)
def test_matched_right(function):
    assert check_matched(function)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda m, s, n, u, abar: m + s * u, "paper's start"),
        (lambda m, s, n, u, abar: abar**0.5 * (m + s * n) + (1 - abar) ** 0.5 * u, "the leak"),
        (lambda m, s, n, u, abar: (abar**0.5 + (1 - abar) ** 0.5) * (m + s * u), "spreads too wide"),
        (lambda m, s, n, u, abar: abar * (m + s * n) + (1 - abar) * (m + s * u), "square roots"),
        (lambda m, s, n, u, abar: abar**0.5 * (m + s * n) + (1 - abar) ** 0.5 * s * u, "not in the noise yet"),
        (lambda m, s, n, u, abar: abar**0.5 * (m + s**2 * n) + (1 - abar) ** 0.5 * (m + s**2 * u), "not its square"),
        (lambda m, s, n, u, abar: 2 * m + s * n + s * u, "must be weighted"),
        (lambda m, s, n, u, abar: m + abar**0.5 * s * n + (1 - abar) ** 0.5 * s * u, "add up to more than 1"),
        (lambda m, s, n, u, abar: n, "Other values"),
        (lambda m, s, n, u, abar: m @ "x", "stopped with TypeError"),
    ],
)
def test_matched_wrong(function, message):
    verdict = check_matched(function)
    assert verdict.state == "wrong" and message in verdict.text


def test_the_solutions_that_the_notebook_folds_away_are_right(root):
    cells = json.loads((root / "notebooks" / "03_fine_tuning.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    solutions = re.findall(r"<summary>Solution</summary>\s*```python\n(.*?)```", text, re.DOTALL)
    names = {"a": 0.17, "b": 0.985}
    for solution in solutions:
        exec(solution, names)
    assert len(solutions) == 3
    assert check_training_pair(names["my_training_pair"])
    assert check_share_of_mean(names["my_share"], 0.17, 0.985)
    assert check_matched(names["my_matched"])
