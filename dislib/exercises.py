"""Checks of the exercises: each tells a right answer from a wrong one and says what is wrong.

No check raises: an exercise that is still open, or wrong, never stops a notebook. A check returns a `Verdict`, which
shows itself as the last line of a cell.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """What a check found. `bool(verdict)` is True for a right answer only."""

    state: str  # "right", "wrong" or "open"
    text: str

    def __bool__(self):
        return self.state == "right"

    def __str__(self):
        return f"{_HEADS[self.state]} {self.text}"

    def _repr_markdown_(self):
        return f"> **{_HEADS[self.state]}** {self.text}"


_HEADS = {"right": "Right.", "wrong": "Not yet.", "open": "Still open."}


def right(text):
    return Verdict("right", text)


def wrong(text):
    return Verdict("wrong", text)


def still_open(text):
    return Verdict("open", text)


def as_array(answer):
    """The answer as a float array; None if it is none (a string, a list of unequal rows, None)."""
    try:
        return np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def close(a, b, *, tolerance=1e-3):
    """Whether two arrays are of one shape and agree to `tolerance` of the second one's rms."""
    if a is None or b is None or a.shape != b.shape or not np.isfinite(a).all():
        return False
    return bool(np.sqrt(np.mean((a - b) ** 2)) <= tolerance * max(np.sqrt(np.mean(b**2)), 1e-12))


# --- lesson 01: what the initial latent decides -------------------------------------------------------------------


def check_pairing(answer, truth):
    """Exercise 2: `answer[i]` is the seed the reader gives to picture i, `truth[i]` the right one."""
    truth, answer = list(truth), [] if answer is None or answer is Ellipsis else list(answer)
    if not answer or Ellipsis in answer:
        return still_open(f"Write a list of {len(truth)} seeds, one for each picture in order.")
    if len(answer) != len(truth):
        return wrong(f"{len(answer)} seeds for {len(truth)} pictures; give one for each.")
    if unknown := [seed for seed in answer if seed not in truth]:
        return wrong(f"There is no seed {unknown[0]!r} here; the seeds are {sorted(truth)}.")
    hits = sum(a == b for a, b in zip(answer, truth))
    if hits == len(truth):
        return right(f"All {hits}. Nothing but the starting noise links these pictures to the portraits.")
    twice = sorted(seed for seed in set(answer) if answer.count(seed) > 1)
    hint = f" Seed {twice[0]} is named more than once, but each has one picture." if twice else ""
    return wrong(f"{hits} of {len(truth)} are right; blind guessing gets 1 on average.{hint}")


def check_seed_share(function):
    """Exercise 1: `function(values)` takes measurements (prompts, seeds) and returns the seed's share."""
    rng = np.random.default_rng(0)
    values = 3 * rng.normal(size=(6, 1)) + rng.normal(size=(1, 4)) + rng.normal(size=(6, 4)) + 5
    try:
        found = function(values.copy())
    except Exception as error:  # a reader's function may raise anything
        return wrong(f"Your function stopped with {type(error).__name__}: {error}")
    if found is None or found is Ellipsis:
        return still_open("Your function returns nothing yet.")
    number = as_array(found)
    if number is None or number.size != 1:
        kind = f"a {type(found).__name__}" if number is None else f"an array of shape {number.shape}"
        return wrong(f"Your function returns {kind}; one number is expected.")
    return _share_verdict(float(number.squeeze()), values)


def _share_verdict(found, values):
    left = values - values.mean(axis=1, keepdims=True)  # what the prompt leaves open
    swapped = values - values.mean(axis=0, keepdims=True)
    share = left.mean(axis=0).var() / left.var()
    told = f"{found:.3f} for a made-up table of 6 prompts and 4 seeds"
    if abs(found - share) < 1e-6:
        return right(f"{told}, as `dislib` finds.")
    mistakes = {
        "That is the seed's share of *all* variance: take away each prompt's mean first.":
            share * left.var() / values.var(),
        "That is the share the seed leaves: subtract it from 1.": 1 - share,
        "That is a ratio of standard deviations; a share is one of variances.": np.sqrt(share),
        "That is the seed's part over the rest: divide by the sum of both.": share / (1 - share),
        "That is the prompt's share: prompts are axis 0, seeds axis 1.": swapped.mean(axis=1).var() / swapped.var(),
        "The means over axis 1 are all 0 by now: take the seeds' means, over axis 0.": 0.0,
        "Count both variances alike: `np.var` with the same ddof.": left.mean(axis=0).var(ddof=1) / left.var(),
    }
    near = [text for text, value in mistakes.items() if abs(found - value) < 1e-6]
    return wrong(f"{told}, where {share:.3f} is expected. "
                 + (near or ["Take away each prompt's mean; then: variance of the seeds' means over all variance."])[0])


def check_darker(before, after, *, by=15.0):
    """Exercise 3: the PIL picture `after` is darker than `before` by at least `by` in mean L*."""
    from .analysis import mean_lab

    if after is None or after is Ellipsis:
        return still_open("Add something to the initial latent, and generate.")
    change = float((mean_lab([after]) - mean_lab([before]))[0, 0])
    if change <= -by:
        return right(f"The mean lightness L* fell by {-change:.0f}, and the prompt never said so.")
    if abs(change) < 1:
        return wrong("The picture is as light as before: is your latent handed on as `start=`?")
    if change > 0:
        return wrong(f"The picture became lighter, by {change:.0f} in L*: try the other sign, or another channel.")
    return wrong(f"L* fell by {-change:.0f}; {by:.0f} is asked for. Push harder, or in more than one channel.")


# --- lesson 02: the style prior -----------------------------------------------------------------------------------


def check_prior_by_hand(mean, std, latents):
    """Exercise 1: element-wise mean and unbiased std of `latents (n, c, h, w)`."""
    if mean is None or std is None or mean is Ellipsis or std is Ellipsis:
        return still_open("Put your tensors in place of the dots.")
    z, mean, std = np.asarray(latents, dtype=np.float64), as_array(mean), as_array(std)
    for name, found in (("mean", mean), ("std", std)):
        if found is None or found.shape != z.shape[1:]:
            shape = "no array" if found is None else f"the shape {found.shape}"
            return wrong(f"Your {name} has {shape}, a latent has {z.shape[1:]}: average over the pictures (the first "
                         "axis), and over nothing else.")
    for mistake in (_mean_mistake(mean, z), _std_mistake(std, z)):
        if mistake:
            return wrong(mistake)
    return right("Two lines, and the whole prior is there. `StylePrior.from_latents` gives the same.")


def _mean_mistake(mean, z):
    if close(mean, z.mean(axis=0)):
        return None
    if close(mean, np.median(z, axis=0)):
        return "That is the median; the prior takes the mean."
    return "The mean has the right shape but other values: is it the mean over all pictures of `latents`?"


def _std_mistake(std, z):
    sigma = z.std(axis=0, ddof=1)
    mistakes = {
        "That is the variance; sigma is its square root.": sigma**2,
        "Your std divides by n. The prior divides by n - 1, as `torch.std` does by itself, so that few pictures do not "
        "make sigma too small.": z.std(axis=0),
        "That is the standard error of the mean; sigma is the spread of the pictures.": sigma / len(z) ** 0.5,
    }
    if close(std, sigma):
        return None
    other = "The std has the right shape but other values: is it the std over all pictures of `latents`?"
    return next((text for text, answer in mistakes.items() if close(std, answer)), other)


def check_how_many(for_mean, for_std):
    """Exercise 2: pictures for a standard error of mu of 5 % of sigma (400), and of sigma of 10 % (51)."""
    if for_mean in (None, Ellipsis) or for_std in (None, Ellipsis):
        return still_open("Put your two numbers in place of the dots.")
    try:
        for_mean, for_std = float(for_mean), float(for_std)
    except (TypeError, ValueError):
        return wrong("Two numbers are asked for.")
    if for_mean == 20:
        return wrong("20 = 1 / 0.05, but the error falls with the *square root* of n.")
    if not 399 <= for_mean <= 401:
        return wrong("Not `for_mean` yet: solve 1 / sqrt(n) = 0.05 for n.")
    if for_std == 100:
        return wrong("100 is right for the mean. Sigma's relative error is 1 / sqrt(2 (n - 1)): note the 2.")
    if not 50 <= for_std <= 52:
        return wrong("`for_mean` is right. Now solve 1 / sqrt(2 (n - 1)) = 0.10 for n.")
    return right("So the 50 pictures of `StylePrior.from_images` are a tenth off in sigma, and a seventh of a sigma in "
                 "mu; ten times better would take a hundred times the pictures.")


def check_band(mine, host, donor, rows):
    """Exercise 3: `mine` is `host (c, h, w)` with the top `rows` rows of `donor`."""
    if mine is None or mine is Ellipsis:
        return still_open("Put your latent in place of the dots.")
    mine, host, donor = as_array(mine), as_array(host), as_array(donor)
    if mine is None or mine.shape != host.shape:
        return wrong(f"A latent of shape {host.shape} is asked for" + ("." if mine is None else f", got {mine.shape}."))
    if close(host[:, :rows], donor[:, :rows]):
        return wrong("The first style's own mean has changed under your hands: run the cells above again, and change a "
                     "`.clone()` of it.")
    if close(mine[:, :, :rows], donor[:, :, :rows]) and not close(mine[:, :rows], donor[:, :rows]):
        return wrong("Those are the left *columns*. A latent is (channel, row, column), so rows are the second index.")
    if close(mine, donor):
        return wrong("That is the other style's mean from top to bottom; take its top rows only.")
    if not close(mine[:, :rows], donor[:, :rows]):
        return wrong(f"The top {rows} rows are not the other style's yet, in all channels.")
    if not close(mine[:, rows:], host[:, rows:]):
        return wrong(f"The top {rows} rows are right, but below them something else has changed too.")
    return right("mu is a picture: it can be cut and pasted like one.")


def check_leak(function):
    """Exercise 4: `function(mean, std, n, u, abar)` is `sqrt(abar) (mean + std n) + sqrt(1 - abar) u`.

    It is tried on inputs of the lesson's kind: float32 tensors (4, 2, 2) and a float.
    """
    import torch

    draw = torch.Generator().manual_seed(0)
    mean, std, n, u = (torch.randn(4, 2, 2, generator=draw) for _ in range(4))
    std, abar = std.abs() + 0.1, 0.04
    try:
        found = function(mean, std, n, u, abar)
    except Exception as error:  # a reader's function may raise anything
        return wrong(f"Your function stopped with {type(error).__name__}: {error}")
    if found is None or found is Ellipsis:
        return still_open("Your function returns nothing yet.")
    return _leak_verdict(as_array(found), *(np.asarray(x, dtype=np.float64) for x in (mean, std, n, u)), abar)


def _leak_verdict(found, mean, std, n, u, abar):
    a, b, x = np.sqrt(abar), np.sqrt(1 - abar), mean + std * n
    if close(found, a * x + b * u):
        return right("This is the start the base model was trained to see: a little picture, and a lot of noise.")
    mistakes = {
        "abar is a share of *variance*; the picture is weighted with its square root.": abar * x + (1 - abar) * u,
        "The weights have changed places: the picture gets sqrt(abar), which is small.": b * x + a * u,
        "That is the matched start: here the noise `u` stays white.": a * x + b * (mean + std * u),
        "That is the paper's start, with no leak in it: it needs `n`, and `abar`.": mean + std * u,
        "Picture and noise must differ: draw the picture with `n`, the noise is `u`.": a * (mean + std * u) + b * u,
        "The mean alone leaks in; add the style's own spread, `std * n`.": a * mean + b * u,
    }
    for text, answer in mistakes.items():
        if close(found, answer):
            return wrong(text)
    return wrong("Other values than expected; go through the line of the formula piece by piece.")
