"""What the lessons claim, each as a function: a number, the threshold it has to pass, and a negative control.

A claim measures its own threshold and its own control on the data it is given; none of them is typed in. It holds if
the number passes and the control does not: where the control passes too, the number proves nothing.
The lessons print these claims and the tests assert them.
"""

from dataclasses import dataclass

import numpy as np

from .analysis import (
    centroids,
    mean_lab,
    measure_grid,
    name_the_seed,
    readability,
    rgb_to_lab,
    seed_share,
    shuffle_pairing,
    subset_errors,
    thumbnails,
)
from .errors import DislibError


@dataclass(frozen=True, repr=False)
class Claim:
    """A sentence with its evidence. `bool(claim)` says whether it holds; as the last line of a cell it shows itself."""

    name: str
    value: float
    threshold: float
    control: float
    holds: bool
    text: str

    def __bool__(self):
        return self.holds

    def __str__(self):
        verdict = "HOLDS" if self.holds else "DOES NOT HOLD"
        return f"{verdict}: {self.name}. {self.text} ({self._numbers()})"

    __repr__ = __str__

    def _repr_markdown_(self):
        verdict = "Holds" if self.holds else "Does not hold"
        return f"> **{verdict}: {self.name}.** {self.text} *({self._numbers()})*"

    def _numbers(self):
        return f"value {self.value:.3g}, threshold {self.threshold:.3g}, negative control {self.control:.3g}"


def _above(name, value, threshold, control, text):
    """A claim whose number has to lie above the threshold, and its control not."""
    return Claim(name, value, threshold, control, bool(value > threshold >= control), text)


def _below(name, value, threshold, control, text):
    """A claim whose number has to lie below the threshold, and its control not."""
    return Claim(name, value, threshold, control, bool(value < threshold <= control), text)


def claim_seed_share(grid, *, measure="thumbnail", shuffles=200):
    """The initial latent explains far more of what the prompt leaves open than chance.

    Value: the seed's share (`analysis.seed_share`). Threshold: twice chance, or the largest share among shuffled
    pairings if that is more. Control: the mean share of shuffled pairings.

    Args:
        grid: rows of prompts, columns of seeds, PIL pictures; at least 3 x 3.
        measure: "thumbnail", "colour", "centroid" or "horizon".
    """
    found = seed_share(_grid(grid, measure), shuffles=shuffles)
    text = (f"Of the {measure} variance that the prompt leaves open, the initial latent explains {found.share:.0%} "
            f"[{found.low:.0%}, {found.high:.0%}]; with the pictures of each prompt shuffled among the seeds it is "
            f"{found.shuffled.mean():.1%}, and chance is {found.chance:.1%}.")
    threshold = max(2 * found.chance, found.shuffled.max())
    return _above("The initial latent decides the look", found.share, float(threshold),
                  float(found.shuffled.mean()), text)


def claim_shuffled_is_chance(grid, *, measure="thumbnail", shuffles=200):
    """With the pairing shuffled, the seed explains what chance explains.

    Value: distance of the mean shuffled share from chance, 1 / prompts. Threshold: three times the spread (standard
    deviation) of the shuffled shares. Control: the distance of the true pairing's share, which has to be larger.
    """
    found = seed_share(_grid(grid, measure), shuffles=shuffles)
    text = (f"Shuffled among the seeds, the pictures give a share of {found.shuffled.mean():.3f} +- "
            f"{found.shuffled.std(ddof=1):.3f}, where chance is {found.chance:.3f}; the true pairing gives "
            f"{found.share:.3f}.")
    return _below("Shuffled pairing falls to chance", float(abs(found.shuffled.mean() - found.chance)),
                  3 * float(found.shuffled.std(ddof=1)), abs(found.share - found.chance), text)


def claim_name_the_seed(grid, *, measure="thumbnail", shuffles=100):
    """The seed of a picture can be told from the picture alone, on prompts not seen before.

    Value: accuracy of `analysis.name_the_seed`. Threshold: the best accuracy among shuffled pairings. Control: their
    mean accuracy.
    """
    values = _grid(grid, measure)
    found = name_the_seed(values)
    rng = np.random.default_rng(0)
    blind = np.array([name_the_seed(shuffle_pairing(values, rng), draws=2).accuracy for _ in range(shuffles)])
    text = (f"From the {measure} alone, the right one of {values.shape[1]} seeds is named in {found.accuracy:.0%} "
            f"[{found.low:.0%}, {found.high:.0%}] of pictures with prompts not seen before; with shuffled seeds in "
            f"{blind.mean():.0%}, at best {blind.max():.0%}, and chance is {found.chance:.0%}.")
    return _above("A picture tells its seed", found.accuracy, float(blind.max()), float(blind.mean()), text)


def claim_constant_moves_colour(plain, wide, fine):
    """A constant added to a channel of the initial latent changes the picture's colour; the same energy in fine grain
    does not.

    Value: how far the mean colour moves, in L*a*b* (dE), on average over pictures. Threshold: the farthest it moves
    under the fine pattern. Control: how far that moves it on average.

    Args:
        plain: pictures from untouched initial latents.
        wide: pictures from the same latents with a constant added.
        fine: pictures from the same latents with a checkerboard as strong as the constant.
    """
    if not len(plain) == len(wide) == len(fine) > 0:
        raise DislibError(f"{len(plain)} plain, {len(wide)} wide and {len(fine)} fine pictures; give as many of each")
    moved, control = (np.linalg.norm(mean_lab(pictures) - mean_lab(plain), axis=1) for pictures in (wide, fine))
    text = (f"A constant moves the mean colour of {len(plain)} pictures by {moved.mean():.1f} (L*a*b* units, of which "
            f"about 2 are just visible); a checkerboard as strong moves it by {control.mean():.1f}, at most "
            f"{control.max():.1f}.")
    return _above("Wide patterns in the initial latent set the colour", float(moved.mean()), float(control.max()),
                  float(control.mean()), text)


def claim_blob_moves_thing(places, wide, fine, *, colour=None, shuffles=200):
    """The foreground of a picture follows a wide blob in the initial latent.

    Value: slope of the foreground's place against the blob's, both from the left in 0..1 (1: it goes all the way
    along). Threshold: the largest slope when the pictures of each row are shuffled among the places. Control: the
    slope for blobs of the same place and energy in fine grain.

    Args:
        places: the blob's middle in each column `(k,)`, at least three different ones.
        wide: rows of pictures; a row starts from one noise, column j has the blob at `places[j]`.
        fine: the same with each blob multiplied by a checkerboard.
        colour: the thing's colour (sRGB in 0..255), to tell it from all else; see `analysis.centroids`.
    """
    places = np.asarray(places, dtype=np.float64)
    if len(np.unique(places)) < 3:
        raise DislibError(f"the blob lies at {places.tolist()}; a slope needs at least three different places")
    found, control = (np.stack([centroids(row, colour=colour)[:, 0] for row in rows]) for rows in (wide, fine))
    slope = _slope(places, found)
    rng = np.random.default_rng(0)
    largest = max(_slope(places, np.stack([rng.permutation(row) for row in found])) for _ in range(shuffles))
    text = (f"When the blob moves by the picture's width, the foreground moves by {slope:.2f} of it (mean of "
            f"{len(found)} noises); with the pictures shuffled among the places by {largest:.2f} at most, and by "
            f"{_slope(places, control):.2f} with the blob in fine grain.")
    return _above("The thing follows the blob", slope, largest, _slope(places, control), text)


def _slope(places, found):
    """Slope of `found (n, k)` against `places (k,)` by least squares, each row with an intercept of its own."""
    x = places - places.mean()
    return float(np.mean(found @ x) / np.sum(x**2))


def claim_plain_starts_are_middling(generated, real, *, draws=200):
    """Pictures from plain noise vary less in lightness than the pictures that the model has learnt from.

    Value: spread of the mean lightness L* within a prompt, generated over real. Threshold: the smallest such ratio of
    random subsets of the real pictures, as many as were generated, to all of them. Control: their mean ratio.

    Args:
        generated: rows of pictures, one row a prompt, all from plain noise.
        real: as many rows of the world's own pictures that fit the prompt; more of them in a row than in `generated`.
    """
    count = len(generated[0])
    if len(generated) != len(real) or min(map(len, real)) <= count:
        raise DislibError(f"{len(generated)} rows of {count} generated pictures against {len(real)} rows of real ones; "
                          "give as many rows, and more real pictures in each")
    made, true = (np.stack([mean_lab(row)[:, 0] for row in rows]) for rows in (generated, real))
    spread, whole = _spread_within(made), _spread_within(true)
    rng = np.random.default_rng(0)
    subsets = [_spread_within(rng.permuted(true, axis=1)[:, :count]) / whole for _ in range(draws)]
    text = (f"Within a prompt, the lightness L* of pictures from plain noise spreads by {spread:.1f}, that of real ones "
            f"by {whole:.1f}; subsets of {count} real ones reach {min(subsets):.2f} of that at least.")
    return _below("Plain noise gives middling pictures", spread / whole, min(subsets), float(np.mean(subsets)), text)


def _spread_within(values):
    """Standard deviation within the rows of `values (rows, k)`, rms over rows."""
    return float(np.sqrt(np.mean(values.var(axis=1, ddof=1))))


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


def _palette(pictures):
    """Mean thumbnail of pictures in L*a*b*: `(8, 8, 3)`."""
    return rgb_to_lab(thumbnails(pictures)).mean(axis=0)


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


def _between_prompts(grid):
    """Spread between the prompts of every seed `(seeds,)`."""
    looks = rgb_to_lab(measure_grid(grid, "thumbnail"))  # (prompts, seeds, 8, 8, 3)
    if len(looks) < 2:
        raise DislibError("pictures of one prompt are given; how prompts differ needs at least two")
    return np.sqrt(looks.var(axis=0, ddof=1).sum(axis=-1).mean(axis=(1, 2)))


def _rms(lab):
    """Root mean square over positions of a colour difference `(8, 8, 3)`: what the eye sees (dE)."""
    return float(np.sqrt(np.mean(np.sum(lab**2, axis=-1))))


def claim_readable_leak(latents, *, sqrt_abar):
    """The mean of a picture can still be read in the last training step's noise.

    Value: `analysis.readability`, rms over channels. Threshold: the noise's own spread of channel means in the same
    units. Control: the same number of white-noise latents in place of the pictures.

    Args:
        latents: scaled latents of pictures `(n, c, h, w)`.
        sqrt_abar: sqrt(alpha_bar) at the last training timestep.
    """
    found = readability(latents, sqrt_abar=sqrt_abar)
    white = np.random.default_rng(0).standard_normal(np.shape(latents))
    noise = readability(white, sqrt_abar=np.sqrt(1 - sqrt_abar**2)).rms
    control = readability(white, sqrt_abar=sqrt_abar).rms
    channels = ", ".join(f"{c:.2f}" for c in found.channels)
    text = (f"With sqrt(alpha_bar_T) = {sqrt_abar:.3f} the means of pictures spread by {found.rms:.2f} in units of the "
            f"noise's own (by channel {channels}); pictures without a mean of their own would spread by {control:.2f}.")
    return _above("The last noise still tells the picture's mean", found.rms, noise, control, text)


def _grid(grid, measure):
    if len(grid) < 3 or min(map(len, grid)) < 3:
        raise DislibError(f"a grid of {len(grid)} prompts is given; this claim needs at least 3 prompts and 3 seeds")
    return measure_grid(grid, measure)
