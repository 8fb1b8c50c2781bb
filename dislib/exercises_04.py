"""Checks of the exercises of lesson 04, see `exercises`."""

import math

from .exercises import right, still_open, wrong


def _number(answer):
    """(the answer as a float, None), or (None, verdict) if it is no number yet."""
    if answer is None or answer is Ellipsis:
        return None, still_open("Put your number in place of the dots.")
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return None, wrong("One number is asked for.")
    return (value, None) if math.isfinite(value) else (None, wrong("Your number is not finite."))


def check_frechet(function):
    """Exercise 1: `function(mean_a, std_a, mean_b, std_b)` is the squared Fréchet distance of two Gaussians on a line."""
    given = (1.0, 2.0, 4.0, 0.5)
    try:
        answer = function(*given)
    except Exception as error:  # a reader's function may raise anything
        return wrong(f"Your function stopped with {type(error).__name__}: {error}")
    value, verdict = _number(answer)
    if verdict is not None:
        return verdict
    (m, s, n, t) = given
    if abs(value - ((m - n) ** 2 + (s - t) ** 2)) < 1e-6:
        return right("FID is this with vectors: means are 128 (our judge) or 2,048 (Inception) numbers long, and spreads are covariance matrices.")
    mistakes = {
        "The means are compared; the spreads are missing.": (m - n) ** 2,
        "The spreads are compared; the means are missing.": (s - t) ** 2,
        "FID is the *squared* distance: take no root.": math.hypot(m - n, s - t),
        "Compare standard deviations, not variances: (std_a - std_b) squared.": (m - n) ** 2 + (s**2 - t**2) ** 2,
        "Differences are squared before they are added.": abs(m - n) + abs(s - t),
        "That is the first half of it without its last term: s² + t² - 2 s t.": (m - n) ** 2 + s**2 + t**2,
    }
    near = [text for text, wrong_value in mistakes.items() if abs(value - wrong_value) < 1e-6]
    return wrong((near or ["The square of the difference of means, plus that of the standard deviations."])[0])


def check_lowest(answer, rows, *, method, style, metric="nfid"):
    """Exercise 2: the guidance weight at which a method's metric is lowest."""
    value, verdict = _number(answer)
    if verdict is not None:
        return verdict
    points = {row.guidance: row for row in rows if (row.method, row.style, row.metric) == (method, style, metric)}
    points.pop(None, None)
    if value not in points:
        return wrong(f"The sweep has no such weight; it has {', '.join(f'{w:g}' for w in sorted(points))}.")
    best = min(points.values(), key=lambda row: row.value)
    if value == best.guidance:
        return right(f"{best.value:.2f} at w = {value:g}, with a band from {best.low:.2f} to {best.high:.2f}.")
    mine = points[value]
    if mine.low <= best.high:
        return right(
            f"Your w = {value:g} gives {mine.value:.2f}; w = {best.guidance:g} gives {best.value:.2f}. The bands overlap,"
            " so these two we do not tell apart."
        )
    return wrong(f"At w = {value:g} it is {mine.value:.2f}, and elsewhere it is lower. Look along the whole curve.")


def check_strength(answer, wins, losses):
    """Exercise 3: by how much a method is stronger than another after `wins` and `losses` against it: their log odds."""
    value, verdict = _number(answer)
    if verdict is not None:
        return verdict
    truth = math.log(wins / losses)
    if abs(value - truth) < 0.01:
        return right(f"log({wins}/{losses}). Bradley and Terry's strengths are such logs, fitted to all pairs at once.")
    mistakes = {
        "That is the share of wins. Strengths are logs of the odds, wins against losses.": wins / (wins + losses),
        "These are the odds; take their logarithm.": wins / losses,
        "Mind the sign: the winner is the stronger one.": -truth,
        "Take the natural logarithm.": math.log10(wins / losses),
    }
    near = [text for text, wrong_value in mistakes.items() if abs(value - wrong_value) < 0.01]
    return wrong((near or ["P(a beats b) = 1 / (1 + exp(b - a)); set it to the share of wins and solve for a - b."])[0])
