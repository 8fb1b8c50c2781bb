"""Lesson 02, a style's prior holds its palette and layout, and a start brings them: claims, checks, and the errors of a
prior of few pictures.
"""

from typing import NamedTuple

import numpy as np

from ..core.prior import first_timestep
from ..core.signal import check_latents
from ..errors import DislibError
from ..figures.plots import bars, curve, latent_maps
from ..images.looks import rgb_to_lab, thumbnails
from .claim import _above, _below, _between_prompts, _palette, _rms
from .exercise import as_array, close, right, still_open, wrong


def claim_prior_mean_not_zero(prior, *, n=None):
    """The mean of a style's latents is many standard errors from 0, the mean of white noise.

    Value: rms over channels of `mean / (std / sqrt(n))`, at a typical (median) position. Threshold: the same at the
    most extreme position of the control. Control: white noise in place of the n pictures, at a typical position.

    Args:
        prior: has `mean` and `std (c, h, w)` and knows its number of pictures (`meta["n"]`).
        n: number of pictures, for a prior that does not know it.
    """
    n = int(prior.meta["n"] if n is None else n)
    if n < 2:
        raise DislibError(f"a prior of {n} picture has no standard error; use one of at least 2")
    found = _standard_errors(prior.mean, prior.std, n)
    noise = np.random.default_rng(0).standard_normal((n, *np.shape(prior.mean)))
    white = _standard_errors(noise.mean(axis=0), noise.std(axis=0, ddof=1), n)
    text = (f"At a typical position the mean of the style's {n} latents lies {np.median(found):.1f} standard errors "
            f"from 0; the mean of {n} white-noise latents lies {np.median(white):.1f} from it, and at most "
            f"{white.max():.1f}.")
    return _above("A style's latents are not centred on 0", float(np.median(found)), float(white.max()),
                  float(np.median(white)), text)


def _standard_errors(mean, std, n):
    """rms over channels of mean / standard error: `(h, w)`."""
    mean, std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    return np.sqrt(np.mean((mean * np.sqrt(n) / np.maximum(std, 1e-12)) ** 2, axis=0))


def claim_prior_shows_palette(decoded, images, *, blank):
    """The decoded mean of every style shows that style's colours, and where they lie.

    Pictures are compared as 8 x 8 thumbnails in L*a*b*. Value: distance of the decoded mean to the style's own mean
    thumbnail over the distance to the nearest other style's; the worst style counts. Threshold: 1. Control: the
    decoded mean of white noise in place of every style's, which cannot be nearest to all of them.

    Args:
        decoded: from style to the picture its prior's mean decodes to.
        images: from style to pictures of it; at least two styles, all of `decoded` among them.
        blank: the picture that a latent of zeros decodes to.
    """
    missing = sorted(set(decoded) - set(images))
    if missing or len(images) < 2 or not decoded:
        raise DislibError(f"{len(decoded)} decoded means against {len(images)} styles: give pictures of at least two "
                          f"styles, and of each style that is decoded" + f" (none of {missing})" * bool(missing))
    palettes = {style: _palette(pictures) for style, pictures in images.items()}
    ratios = {style: _ratio(_palette([picture]), palettes, style) for style, picture in decoded.items()}
    control = max(_ratio(_palette([blank]), palettes, style) for style in decoded)
    worst = max(ratios, key=ratios.get)
    text = (f"{sum(r < 1 for r in ratios.values())} of {len(ratios)} decoded prior means are nearest to the mean "
            f"picture of their own style; the closest call is {worst}, at {ratios[worst]:.2f} of the distance to the "
            f"next style. The decoded mean of white noise reaches {control:.2f} for the style it fits least.")
    return _below("A prior shows its style's palette", ratios[worst], 1.0, control, text)


def _ratio(palette, palettes, style):
    """Distance to the style's own palette over the distance to the nearest other one."""
    distance = {name: float(np.linalg.norm(palette - other)) for name, other in palettes.items()}
    own = distance.pop(style)
    return own / max(min(distance.values()), 1e-12)


def claim_band_in_mean(means, style="comic", *, band=0.2):
    """A caption band that every picture has is written in the top rows of the style's mean.

    Value: how far mu steps at the band's lower edge, from the rows of the band to as many rows below it (norm over
    channels), in the column where it steps least: a band goes all the way across, a figure on a ground does not.
    Threshold: the largest such step of another style. Control: the middle (median) one of the others.

    Args:
        means: from style to mu `(c, h, w)`; `style` and at least two others.
        style: the one with the band.
        band: height of the band as a share of the picture's.
    """
    if style not in means or len(means) < 3:
        raise DislibError(f"means of {', '.join(means) or 'no style'} are given; give {style} and at least two others")
    steps = {name: _step(mean, band) for name, mean in means.items()}
    value = steps.pop(style)
    nearest = max(steps, key=steps.get)
    text = (f"At the lower edge of the band the mean of {style} steps by {value:.2f} or more in every column; the most "
            f"another style does at that height is {steps[nearest]:.2f} ({nearest}).")
    return _above(f"The {style}'s caption band is in its mean", value, steps[nearest],
                  float(np.median(list(steps.values()))), text)


def _step(mean, band):
    mean = np.asarray(mean, dtype=np.float64)
    rows = max(1, round(band * mean.shape[1]))
    step = mean[:, :rows].mean(axis=1) - mean[:, rows : 2 * rows].mean(axis=1)  # (c, w)
    return float(np.linalg.norm(step, axis=0).min())


def claim_error_shrinks(latents, *, sizes=(3, 6, 12, 25, 50), repeats=100):
    """The error of a style's mean falls with the square root of the number of pictures.

    Value: distance of the measured exponent (slope of log error over log n, `subset_errors`) from -1/2.
    Threshold: four times the exponent's own standard error (bootstrap over the repeats). Control: n copies of one
    picture in place of n pictures, whose error does not fall at all.

    Args:
        latents: scaled latents of one style, twice the largest of `sizes` at least.
    """
    found = subset_errors(latents, sizes, repeats=repeats)
    exponent = _exponent(sizes, found.mean)
    rng = np.random.default_rng(0)
    draws = [_exponent(sizes, found.mean[rng.integers(repeats, size=repeats)]) for _ in range(200)]
    spread = float(np.std(draws, ddof=1))
    copies = _exponent(sizes, np.ones_like(found.mean))
    text = (f"Measured on sets of {min(sizes)} to {max(sizes)} pictures, the error of mu goes with n to the power "
            f"{exponent:.2f} +- {spread:.2f}, where theory says -0.5; for n copies of one picture it would be "
            f"{abs(copies):.0f}.")
    return _below("Four times the pictures, half the error", abs(exponent + 0.5), 4 * spread, abs(copies + 0.5), text)


def _exponent(sizes, errors):
    """Slope of the log of the rms error over log n."""
    return float(np.polyfit(np.log(sizes), np.log(np.mean(errors**2, axis=0)) / 2, 1)[0])


def claim_start_brings_style(white, started, images, *, draws=200):
    """Pictures of one model and the same prompts come closer to a style when they start from its prior.

    Distance of mean 8 x 8 thumbnails in L*a*b*, rms over positions. Value: from the pictures of the style's start to
    the style. Threshold: the least that resampled pictures of the white start reach. Control: the white start itself.

    Args:
        white, started: pictures from white noise and from the style's start; the same prompts and seeds.
        images: pictures of the style.
        draws: how often the white pictures are drawn again, with replacement.
    """
    style = _palette(images)
    looks = rgb_to_lab(thumbnails(white))
    rng = np.random.default_rng(0)
    again = [_rms(looks[rng.integers(len(looks), size=len(looks))].mean(axis=0) - style) for _ in range(draws)]
    value, control = _rms(_palette(started) - style), _rms(looks.mean(axis=0) - style)
    text = (f"The mean picture of {len(started)} from the style's start is {value:.1f} away from the style's own; of "
            f"{len(white)} from white noise, {control:.1f}, and {min(again):.1f} at the least when they are resampled.")
    return _below("The start brings the style's colours", value, float(min(again)), control, text)


def claim_prompt_survives(kept, lost):
    """From one start, pictures of one model still tell their prompts apart; from another they no longer do.

    Value: how far pictures of different prompts from the same seed differ (std over prompts of 8 x 8 thumbnails in
    L*a*b*, rms over positions; mean over seeds) for the first start. Threshold: the largest such number of any seed
    for the second. Control: the second's mean over seeds.

    Args:
        kept, lost: rows of prompts, columns of seeds, PIL pictures of the two starts; at least 2 prompts.
    """
    value, control = (_between_prompts(grid) for grid in (kept, lost))
    text = (f"From the first start, pictures of {len(kept)} prompts differ by {value.mean():.1f} (L*a*b*), seed by "
            f"seed; from the second by {control.mean():.1f}, and by {control.max():.1f} at most.")
    return _above("One start leaves room for the prompt, the other does not", float(value.mean()),
                  float(control.max()), float(control.mean()), text)


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


# --- how many pictures does a prior need? ---------------------------------------------------------------------------


class SubsetErrors(NamedTuple):
    """Errors of a prior made from n pictures: `sizes (k,)`; `mean (repeats, k)` of mu in units of sigma, `std
    (repeats, k)` of sigma as a share of it. `rms()` gives both over the repeats."""

    sizes: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def rms(self):
        """(error of mu, error of sigma), each `(k,)`."""
        return np.sqrt(np.mean(self.mean**2, axis=0)), np.sqrt(np.mean(self.std**2, axis=0))


def subset_errors(latents, sizes, *, repeats=20, seed=0):
    """How far a prior of n pictures is off, measured on two sets of n different pictures each.

    The difference of two such priors carries the error of both, so it is divided by sqrt(2). Theory: mu is off by
    `1 / sqrt(n)` sigmas, and sigma, for Gaussian latents, by a share of `1 / sqrt(2 (n - 1))`. Because the two sets
    have no picture in common, the first holds exactly on average, however few pictures there are to draw from.

    Args:
        latents: `(m, c, h, w)`, the pictures to draw from.
        sizes: values of n, each from 2 to m / 2.
        repeats: pairs of sets drawn for each n, by `seed`.
    """
    latents, sizes = check_latents(latents), np.asarray(sizes, dtype=int)
    if not len(sizes) or sizes.min() < 2 or 2 * sizes.max() > len(latents):
        raise DislibError(f"sizes {sizes.tolist()} are out of range: two sets without a common picture are drawn from "
                         f"{len(latents)}, so each may hold 2 to {len(latents) // 2}")
    rng = np.random.default_rng(seed)
    sigma = latents.std(axis=0, ddof=1)
    errors = np.array([[_pair_errors(latents, n, sigma, rng) for n in sizes] for _ in range(repeats)])
    return SubsetErrors(sizes, errors[..., 0], errors[..., 1])


def _pair_errors(latents, n, sigma, rng):
    """(error of mu, error of sigma) from one pair of disjoint sets, rms over channels and positions."""
    one, two = (latents[half] for half in np.split(rng.permutation(len(latents))[: 2 * n], 2))
    off = (one.mean(axis=0) - two.mean(axis=0), one.std(axis=0, ddof=1) - two.std(axis=0, ddof=1))
    return [np.sqrt(np.mean(d**2) / 2 / np.mean(sigma**2)) for d in off]
