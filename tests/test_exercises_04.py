"""The checks of lesson 04: right answers pass, typical mistakes are named."""

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dislib import data_dir
from dislib.evaluation.table import Row, read_results
from dislib.lessons import lesson_04 as lesson


@pytest.mark.parametrize(
    "function, state, message",
    [
        (lambda m, s, n, t: (m - n) ** 2 + (s - t) ** 2, "right", "with vectors"),
        (lambda m, s, n, t: (m - n) ** 2 + s**2 + t**2 - 2 * (s * s * t * t) ** 0.5, "right", "with vectors"),
        (lambda m, s, n, t: (m - n) ** 2, "wrong", "spreads are missing"),
        (lambda m, s, n, t: (s - t) ** 2, "wrong", "means are missing"),
        (lambda m, s, n, t: ((m - n) ** 2 + (s - t) ** 2) ** 0.5, "wrong", "no root"),
        (lambda m, s, n, t: (m - n) ** 2 + (s**2 - t**2) ** 2, "wrong", "not variances"),
        (lambda m, s, n, t: abs(m - n) + abs(s - t), "wrong", "squared before"),
        (lambda m, s, n, t: (m - n) ** 2 + s**2 + t**2, "wrong", "last term"),
        (lambda m, s, n, t: (m - n) ** 2 - (s - t) ** 2, "wrong", "subtracted"),
        (lambda m, s, n, t: abs(m - n) + (s - t) ** 2, "wrong", "not squared yet"),
        (lambda m, s, n, t: 7.0, "wrong", "plus that of"),
        (lambda m, s, n, t: ..., "open", "returns nothing yet"),
        (lambda m, s, n, t: "near", "wrong", "One number"),
        (lambda m, s, n, t: math.nan, "wrong", "not finite"),
        (lambda m, s: 0, "wrong", "TypeError"),
    ],
)
def test_frechet(function, state, message):
    verdict = lesson.check_frechet(function)
    assert verdict.state == state and message in verdict.text


def row(guidance, value, **changed):
    made = Row("plain", "sketch", guidance, "nfid", value, value - 0.1, value + 0.1, 800)
    return made._replace(**changed)


ROWS = [row(1.0, 0.9), row(1.5, 0.7), row(2.0, 0.4), row(3.0, 0.45), row(5.0, 0.55), row(10.0, 0.95), row(20.0, 0.92),
        row(7.0, 0.1, method="style"), row(None, 0.0)]  # fmt: skip


@pytest.mark.parametrize(
    "answer, state, message",
    [(2, "right", "0.40 at w = 2"), (3, "right", "within the band"), (1, "wrong", "begins there"), (7, "wrong", "1, 1.5, 2, 3"),
     (1.5, "wrong", "farther to the right"), (5, "wrong", "farther to the left"), (10, "wrong", "highest point"),
     (20, "wrong", "ends there"), (0.4, "wrong", "no such weight"),
     (..., "open", "dots"), ("two", "wrong", "One number")],
)  # fmt: skip
def test_lowest(answer, state, message):
    verdict = lesson.check_lowest(answer, ROWS, method="plain", style="sketch")
    assert verdict.state == state and message in verdict.text


def test_one_careless_voter_is_no_crowd():
    def votes(voter, count):
        return [SimpleNamespace(voter=voter, question=question) for question in lesson.QUESTIONS for _ in range(count)]

    assert not lesson.enough(votes("a", 100)) and not lesson.enough([])
    assert not lesson.enough(votes("a", 12) + votes("b", 12) + votes("c", 11))
    assert lesson.enough(votes("a", 12) + votes("b", 12) + votes("c", 12))


def test_who_is_first_is_in_colour_and_in_words():
    rows = [row(1.0, value, method=name, metric="fid") for name, value in (("plain", 0.9), ("style", 0.2), ("base", 0.25))]
    figure = lesson.places_figure(rows, [1.0], labels={"style": "Style noise"})
    assert figure.alt == "Who is first by FID. sketch at w = 1: base, style"


@pytest.mark.parametrize(
    "answer, state, message",
    [(math.log(3), "right", "log(30/10)"), (0.75, "wrong", "share of wins"), (3.0, "wrong", "logarithm"),
     (-math.log(3), "wrong", "sign"), (math.log10(3), "wrong", "natural"), (9, "wrong", "solve"),
     (20, "wrong", "difference of wins"),     (math.log(0.75), "wrong", "log of the share"),
     (math.log2(3), "wrong", "base 2"), (None, "open", "dots")],
)  # fmt: skip
def test_strength(answer, state, message):
    verdict = lesson.check_strength(answer, 30, 10)
    assert verdict.state == state and message in verdict.text


def test_the_solutions_that_the_notebook_folds_away_are_right(root):
    cells = json.loads((root / "notebooks" / "04_evaluation.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    solutions = re.findall(r"<summary>Solution</summary>\s*```python\n(.*?)```", text, re.DOTALL)
    given = {"rows": read_results(data_dir() / "results" / "sweeps.csv"), "STYLE": "sketch", "np": np}
    states = []
    for solution in solutions:
        *lines, last = solution.strip().splitlines()
        names = {**given, "lesson": lesson}
        exec("\n".join([*lines, f"verdict = {last}"] if last.startswith("lesson.") else [*lines, last]), names)
        states.append(names.get("verdict") or lesson.check_frechet(names["frechet"]))
    assert [verdict.state for verdict in states] == ["right"] * 3
