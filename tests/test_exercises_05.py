"""The checks of lesson 05: right answers pass, typical mistakes are named."""

import json
import math
import re

import numpy as np
import pytest
import torch

from dislib.lessons import lesson_05 as lesson

LOG2PI = math.log(2 * math.pi)


@pytest.mark.parametrize(
    "function, state, message",
    [
        (lambda z, m, s: (-(((z - m) / s) ** 2) / 2 - s.log() - LOG2PI / 2).sum(), "right", "claimed to know"),
        (lambda z, m, s: torch.distributions.Normal(m, s).log_prob(z).sum(), "right", "claimed to know"),
        (lambda z, m, s: float(torch.distributions.Normal(m, s).log_prob(z).sum()), "right", "claimed to know"),
        (lambda z, m, s: (-(((z - m) / s) ** 2) / 2 - LOG2PI / 2).sum(), "wrong", "log sigma is missing"),
        (lambda z, m, s: (-(((z - m) / s) ** 2) / 2 - s.log()).sum(), "wrong", "constant"),
        (lambda z, m, s: (-(((z - m) / s) ** 2) - s.log() - LOG2PI / 2).sum(), "wrong", "divided by 2"),
        (lambda z, m, s: (-((z - m) ** 2) / s / 2 - s.log() - LOG2PI / 2).sum(), "wrong", "inside"),
        (lambda z, m, s: -torch.distributions.Normal(m, s).log_prob(z).sum(), "wrong", "sign"),
        (lambda z, m, s: torch.distributions.Normal(m, s).log_prob(z).mean(), "wrong", "mean over elements"),
        (lambda z, m, s: (-(((z - m) / s) ** 2) / 2 - s.log() / 2 - LOG2PI / 2).sum(), "wrong", "counts once"),
        (lambda z, m, s: torch.distributions.Normal(m, s).log_prob(z), "wrong", "sum over all"),
        (lambda z, m, s: 7.0, "wrong", "summed over all"),
        (lambda z, m, s: "near", "wrong", "no number"),
        (lambda z, m, s: ..., "open", "nothing yet"),
        (lambda z, m: 0, "wrong", "TypeError"),
    ],
)
def test_log_density(function, state, message):
    verdict = lesson.check_log_density(function)
    assert verdict.state == state and message in verdict.text


def mean(a, b, t):
    return (1 - t) * a.mean + t * b.mean


@pytest.mark.parametrize(
    "function, state, message",
    [
        (lambda a, b, t: (mean(a, b, t), (1 - t) * a.std + t * b.std), "right", "shortest way"),
        (lambda a, b, t: (a.mean + t * (b.mean - a.mean), a.std + t * (b.std - a.std)), "right", "shortest way"),
        (lambda a, b, t: [mean(a, b, t).numpy(), ((1 - t) * a.std + t * b.std).numpy()], "right", "shortest way"),
        (lambda a, b, t: (mean(a, b, t), ((1 - t) * a.std**2 + t * b.std**2) ** 0.5), "wrong", "variances"),
        (lambda a, b, t: (mean(a, b, t), ((1 - t) * a.std**2 + t * b.std**2 + t * (1 - t) * (a.mean - b.mean) ** 2) ** 0.5),
         "wrong", "heap of both"),
        (lambda a, b, t: (mean(a, b, t), a.std ** (1 - t) * b.std**t), "wrong", "geometric"),
        (lambda a, b, t: (mean(a, b, t), a.std), "wrong", "move along"),
        (lambda a, b, t: (mean(a, b, t), t * a.std + (1 - t) * b.std), "wrong", "changed places"),
        (lambda a, b, t: (mean(a, b, t), (((1 - t) * a.std) ** 2 + (t * b.std) ** 2) ** 0.5), "wrong", "independent draws"),
        (lambda a, b, t: (mean(a, b, 1 - t), t * a.std + (1 - t) * b.std), "wrong", "way round"),
        (lambda a, b, t: (a.mean, (1 - t) * a.std + t * b.std), "wrong", "mean is not right"),
        (lambda a, b, t: (mean(a, b, t), a.std * 9), "wrong", "The mean is right"),
        (lambda a, b, t: mean(a, b, t), "wrong", "Two things"),
        (lambda a, b, t: (..., ...), "open", "nothing yet"),
        (lambda a, b, t: a.nothing, "wrong", "AttributeError"),
    ],
)  # fmt: skip
def test_midpoint(function, state, message):
    verdict = lesson.check_midpoint(function)
    assert verdict.state == state and message in verdict.text


@pytest.mark.parametrize("abar", [0.0295, 0.0047])
@pytest.mark.parametrize(
    "answer, state, message",
    [
        (lambda a, b: b / a, "right", "without limit"),
        (lambda a, b: np.float32(b / a), "right", "without limit"),
        (lambda a, b: -b / a, "wrong", "no sign"),
        (lambda a, b: a / b, "wrong", "multiplied by b"),
        (lambda a, b: 1 / a, "wrong", "1 / a"),
        (lambda a, b: (b / a) ** 2, "wrong", "variances"),
        (lambda a, b: b, "wrong", "b alone"),
        (lambda a, b: 1 / a**2, "wrong", "square roots"),
        (lambda a, b: 77.0, "wrong", "what stands before"),
        (lambda a, b: math.inf, "wrong", "not finite"),
        (lambda a, b: "loud", "wrong", "One number"),
        (lambda a, b: ..., "open", "dots"),
    ],
)
def test_growth(answer, state, message, abar):
    verdict = lesson.check_growth(answer(math.sqrt(abar), math.sqrt(1 - abar)), abar)
    assert verdict.state == state and message in verdict.text


@pytest.mark.parametrize(
    "function, state, message",
    [
        (lambda abar: math.log(abar / (1 - abar)), "right", "as much signal as noise"),
        (lambda abar: np.log(abar) - np.log(1 - abar), "right", "as much signal as noise"),
        (lambda abar: math.log((1 - abar) / abar), "wrong", "sign"),
        (lambda abar: math.log(abar / (1 - abar)) / 2, "wrong", "amplitudes"),
        (lambda abar: abar / (1 - abar), "wrong", "natural logarithm is asked"),
        (lambda abar: math.log10(abar / (1 - abar)), "wrong", "Take the natural"),
        (lambda abar: math.log(abar), "wrong", "log abar"),
        (lambda abar: math.log(abar / math.sqrt(1 - abar)), "wrong", "not its root"),
        (lambda abar: math.log2(abar / (1 - abar)), "wrong", "base e"),
        (lambda abar: 5.0, "wrong", "variance of the signal"),
        (lambda abar: math.nan, "wrong", "not finite"),
        (lambda abar: "low", "wrong", "One number"),
        (lambda abar: None, "open", "nothing yet"),
        (lambda: 0, "wrong", "TypeError"),
    ],
)
def test_log_snr(function, state, message):
    verdict = lesson.check_log_snr(function)
    assert verdict.state == state and message in verdict.text


def test_the_solutions_that_the_notebook_folds_away_are_right(root):
    cells = json.loads((root / "notebooks" / "05_beyond_the_paper.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    names = {"np": np, "torch": torch, "abars": [0.03]}
    solutions = re.findall(r"<summary>Solution</summary>\s*```python\n(.*?)```", text, re.DOTALL)
    for solution in solutions:
        exec(solution, names)
    verdicts = [
        lesson.check_log_density(names["my_log_density"]), lesson.check_midpoint(names["my_place"]),
        lesson.check_growth(names["my_growth"], 0.03), lesson.check_log_snr(names["my_log_snr"]),
    ]  # fmt: skip
    assert len(solutions) == 4 and [verdict.state for verdict in verdicts] == ["right"] * 4
