"""Every check accepts the solution and another right answer, and tells typical wrong answers what is wrong."""

import numpy as np
import pytest
import torch

from dislib.lessons.exercise import right, still_open, wrong
from dislib.lessons.lesson_02 import check_band, check_how_many, check_leak, check_prior_by_hand

LATENTS = 0.7 + 0.5 * torch.randn(12, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def test_a_verdict_shows_itself():
    assert str(right("Well done.")) == "Right. Well done." and right("")
    assert wrong("Too small.")._repr_markdown_() == "> **Not yet.** Too small."
    assert not wrong("") and not still_open("")


@pytest.mark.parametrize("verdict", [
    check_prior_by_hand(None, None, LATENTS),
    check_prior_by_hand(LATENTS.mean(0), ..., LATENTS),
    check_how_many(..., ...),
    check_band(..., LATENTS[0], LATENTS[1], 3),
    check_leak(lambda mean, std, n, u, abar: ...),
])
def test_an_open_exercise_is_said_to_be_open(verdict):
    assert verdict.state == "open"


# --- lesson 02 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean, std", [
    (LATENTS.mean(0), LATENTS.std(0)),
    (LATENTS.numpy().mean(0), LATENTS.numpy().std(0, ddof=1)),
])
def test_prior_by_hand_right(mean, std):
    assert check_prior_by_hand(mean, std, LATENTS)


@pytest.mark.parametrize("mean, std, message", [
    (LATENTS.mean(), LATENTS.std(), "a latent has"),
    (LATENTS.mean(dim=(0, 2, 3)), LATENTS.std(0), "first axis"),
    (LATENTS.mean(0), LATENTS.var(0), "variance"),
    (LATENTS.mean(0), LATENTS.std(0, correction=0), "n - 1"),
    (LATENTS.mean(0), LATENTS.std(0) / 12**0.5, "standard error"),
    (LATENTS.median(0).values, LATENTS.std(0), "other values"),
    (LATENTS.sum(0), LATENTS.std(0), "divide by the number"),
    (LATENTS.std(0), LATENTS.mean(0), "changed places"),
    (LATENTS[0], LATENTS.std(0), "one picture's"),
    (LATENTS.mean(0) / 0.18, LATENTS.std(0), "other values"),
    (LATENTS.mean(0), LATENTS.std(0) * 2, "other values"),
    ("mean", "std", "no array"),
])
def test_prior_by_hand_wrong(mean, std, message):
    verdict = check_prior_by_hand(mean, std, LATENTS)
    assert verdict.state == "wrong" and message in verdict.text


@pytest.mark.parametrize("answer", [(400, 51), (np.float32(400.0), 51.0)])
def test_how_many_right(answer):
    assert check_how_many(*answer)


@pytest.mark.parametrize("answer, message", [
    ((20, 51), "square root"), ((100, 51), "error of 10 %"), ((51, 400), "changed places"), ((0.0025, 51), "squared"),
    ((399, 51), "still above the mark"), ((401, 51), "one picture fewer"), ((7, 51), "0.05"),
    ((400, 100), "note the 2"), ((400, 50), "one more"), ((400, 101), "factor 2"), ((400, 201), "error of 5 %"),
    ((400, 10), "square root"), ((400, 6), "leaves out the square"), ((400, 50.5), "still above"),
    ((400, 52), "one picture fewer"),    ((400, 5), "0.10"), (("many", 3), "Two numbers"),
])
def test_how_many_wrong(answer, message):
    verdict = check_how_many(*answer)
    assert verdict.state == "wrong" and message in verdict.text


def banded(index):
    latent = LATENTS[0].clone()
    latent[index] = LATENTS[1][index]
    return latent


def test_band_right():
    assert check_band(banded(np.s_[:, :3]), LATENTS[0], LATENTS[1], 3)
    pasted = torch.cat([LATENTS[1][:, :3], LATENTS[0][:, 3:]], dim=1)
    assert check_band(pasted, LATENTS[0], LATENTS[1], 3)


@pytest.mark.parametrize("mine, message", [
    (banded(np.s_[:, :, :3]), "columns"),
    (banded(np.s_[:3]), "Those are *channels*"),
    (banded(np.s_[:, -3:]), "*bottom* rows"),
    (banded(np.s_[0, :3]), "Only the first channel"),
    (torch.cat([LATENTS[0][:, :3], LATENTS[1][:, 3:]], dim=1), "other way round"),
    (banded(np.s_[:, :5]), "below them"),
    (LATENTS[1], "from top to bottom"),
    (LATENTS[0], "unchanged"),
    (LATENTS[5], "not the other style's yet"),
    (LATENTS[:2], "of shape"),
])
def test_band_wrong(mine, message):
    verdict = check_band(mine, LATENTS[0], LATENTS[1], 3)
    assert verdict.state == "wrong" and any(part in verdict.text for part in message.split("|"))


def test_a_band_of_as_many_rows_as_there_are_channels():
    """`mine[:rows] = donor[:rows]` then replaces everything."""
    verdict = check_band(banded(np.s_[:4]), LATENTS[0], LATENTS[1], 4)
    assert verdict.state == "wrong" and "[:rows]" in verdict.text and "channels" in verdict.text


def test_band_notices_that_the_prior_itself_was_changed():
    host = LATENTS[0].clone()
    host[:, :3] = LATENTS[1][:, :3]
    verdict = check_band(host, host, LATENTS[1], 3)
    assert verdict.state == "wrong" and "clone" in verdict.text


def test_leak_right():
    assert check_leak(lambda mean, std, n, u, abar: abar**0.5 * (mean + std * n) + (1 - abar) ** 0.5 * u)
    assert check_leak(lambda m, s, n, u, abar: torch.lerp(u, u, 0.5) * np.sqrt(1 - abar)
                                + np.sqrt(abar) * m + np.sqrt(abar) * s * n)


@pytest.mark.parametrize("function, message", [
    (lambda m, s, n, u, abar: abar * (m + s * n) + (1 - abar) * u, "square root"),
    (lambda m, s, n, u, abar: (1 - abar) ** 0.5 * (m + s * n) + abar**0.5 * u, "changed places"),
    (lambda m, s, n, u, abar: abar**0.5 * (m + s * n) + (1 - abar) ** 0.5 * (m + s * u), "matched"),
    (lambda m, s, n, u, abar: m + s * u, "paper's start"),
    (lambda m, s, n, u, abar: abar**0.5 * m + (1 - abar) ** 0.5 * u, "mean alone"),
    (lambda m, s, n, u, abar: abar**0.5 * (m + s * u) + (1 - abar) ** 0.5 * u, "must differ"),
    (lambda m, s, n, u, abar: abar**0.5 * s * n + (1 - abar) ** 0.5 * u, "mean was left out"),
    (lambda m, s, n, u, abar: abar**0.5 * (m + s**2 * n) + (1 - abar) ** 0.5 * u, "not its square"),
    (lambda m, s, n, u, abar: m + s * n + u, "must be weighted"),
    (lambda m, s, n, u, abar: abar.sqrt() * m, "write abar ** 0.5"),
    (lambda m, s, n, u, abar: torch.sqrt(abar) * m, "takes tensors"),
    (lambda m, s, n, u, abar: ... * m, "put something in the place"),
    (lambda m, s, n, u, abar: 3 * u, "Other values"),
    (lambda m, s, n, u, abar: m @ "x", "stopped with TypeError"),
    (3.0, "function itself"),
])
def test_leak_wrong(function, message):
    verdict = check_leak(function)
    assert verdict.state == "wrong" and message in verdict.text
