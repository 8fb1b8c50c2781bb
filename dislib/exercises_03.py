"""Checks of the exercises of lesson 03, see `exercises`."""

import numpy as np

from .exercises import as_array, close, right, still_open, wrong


def _inputs(*, names=4):
    """Made-up float32 tensors (4, 2, 2) of the lesson's kind, and abar: the first is a spread, so above 0."""
    import torch

    draw = torch.Generator().manual_seed(3)
    std, *others = (torch.randn(4, 2, 2, generator=draw) for _ in range(names))
    return std.abs() + 0.1, *others, 0.04


def _call(function, *arguments):
    """(what the function returns, None), or (None, verdict) if it stops or returns nothing yet."""
    try:
        found = function(*arguments)
    except Exception as error:  # a reader's function may raise anything
        return None, wrong(f"Your function stopped with {type(error).__name__}: {error}")
    if any(part is None or part is Ellipsis for part in (found if isinstance(found, tuple) else (found,))):
        return None, still_open("Your function returns nothing yet.")
    return found, None


def check_training_pair(function):
    """Exercise 1: `function(z, mean, std, u, abar)` is (z_t, target) of training with style noise."""
    std, z, mean, u, abar = _inputs()
    found, verdict = _call(function, z, mean, std, u, abar)
    if verdict is not None:
        return verdict
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return wrong("Two things are asked for: return z_t, target")
    arrays = [np.asarray(x, dtype=np.float64) for x in (z, mean, std, u)]
    return _pair_verdict(as_array(found[0]), as_array(found[1]), *arrays, abar)


def _pair_verdict(z_t, target, z, mean, std, u, abar):
    a, b, eps = np.sqrt(abar), np.sqrt(1 - abar), mean + std * u
    if close(target, u):
        return wrong("Your target is u. The loss is on eps as it is, not normalised: the U-Net has to learn the mean.")
    if not close(target, eps):
        return wrong("The target is not eps = mu + sigma u yet.")
    mistakes = {
        "In your z_t the noise is still white: put the same eps in as in the target.": a * z + b * u,
        "abar is a share of *variance*: take square roots.": abar * z + (1 - abar) * eps,
        "The weights have changed places: the picture gets sqrt(abar).": b * z + a * eps,
        "Picture and noise must be weighted, or z_t is too large.": z + eps,
    }
    if close(z_t, a * z + b * eps):
        return right("That is all of it: `noise_loss` does no more, and plain fine-tuning differs in one line.")
    near = [text for text, answer in mistakes.items() if close(z_t, answer)]
    return wrong((near or ["The target is right; z_t has other values than expected."])[0])


def check_share_of_mean(answer, a, b):
    """Exercise 2: how many times mu is the mean of z_T in training? a + b."""
    if answer is None or answer is Ellipsis:
        return still_open("Put your number in place of the dots.")
    try:
        answer = float(answer)
    except (TypeError, ValueError):
        return wrong("One number is asked for.")
    if abs(answer - (a + b)) < 0.005:
        return right(f"a + b = {a + b:.3f}. The paper's start has 1, so its mean is short by {a + b - 1:.1%}.")
    mistakes = {
        "That is the noise's part; the picture has a mean as well.": b,
        "That is the picture's part; the noise has a mean as well.": a,
        "That is what the paper's start has. In training a picture is in there too.": 1.0,
        "Means are added, not multiplied.": a * b,
    }
    near = [text for text, value in mistakes.items() if abs(answer - value) < 0.005]
    return wrong((near or ["E[z_T] = a E[z_0] + b E[eps]; both means on the right are mu."])[0])


def check_matched(function):
    """Exercise 3: `function(mean, std, n, u, abar)` is a start with the law of z_T in training.

    Right are a (mean + std n) + b (mean + std u), and (a + b) mean + std u, which has the same law.
    """
    std, mean, n, u, abar = _inputs()
    found, verdict = _call(function, mean, std, n, u, abar)
    if verdict is not None:
        return verdict
    return _matched_verdict(as_array(found), *(np.asarray(x, dtype=np.float64) for x in (mean, std, n, u)), abar)


def _matched_verdict(found, mean, std, n, u, abar):
    a, b = np.sqrt(abar), np.sqrt(1 - abar)
    if close(found, a * (mean + std * n) + b * (mean + std * u)) or close(
        found, a * (mean + std * u) + b * (mean + std * n)
    ):
        return right(
            "A crude picture and style noise, weighted as in training. There is a shorter way, see the solution."
        )
    if close(found, (a + b) * mean + std * u) or close(found, (a + b) * mean + std * n):
        return right("The same law in one draw: the variances a^2 and b^2 add up to 1, so the spread is sigma.")
    mistakes = {
        "That is the paper's start; it has the mean mu, and training showed (a + b) mu.": mean + std * u,
        "That is the leak: for a U-Net that was tuned with style noise, the noise has its mean and spread too.":
            a * (mean + std * n) + b * u,
        "Picture and noise are independent: draw one with `n`, the other with `u`. Yours spreads too wide.":
            (a + b) * (mean + std * u),
        "abar is a share of *variance*: take square roots.": abar * (mean + std * n) + (1 - abar) * (mean + std * u),
        "The style's mean is not in the noise yet: both draws have it.": a * (mean + std * n) + b * std * u,
    }  # fmt: skip
    near = [text for text, answer in mistakes.items() if close(found, answer)]
    return wrong((near or ["Other values than expected: z = a (crude picture) + b (style noise)."])[0])
