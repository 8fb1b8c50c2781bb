"""What lesson 02 claims: a style's prior holds its palette and layout, and a start brings them."""

import numpy as np

from ..analysis import rgb_to_lab, subset_errors, thumbnails
from ..errors import DislibError
from .claim import _above, _below, _between_prompts, _palette, _rms


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

    Value: distance of the measured exponent (slope of log error over log n, `analysis.subset_errors`) from -1/2.
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
