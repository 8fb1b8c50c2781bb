"""What the lessons claim, each as a function: a number, the threshold it has to pass, and a negative control.

A claim measures its own threshold and its own control on the data it is given; none of them is typed in. It holds if
the number passes and the control does not: where the control passes too, the number proves nothing.
The lessons print these claims and the tests assert them.
"""

from dataclasses import dataclass

import numpy as np

from .analysis import (
    measure_grid,
    name_the_seed,
    readability,
    rgb_to_lab,
    seed_share,
    shuffle_pairing,
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
