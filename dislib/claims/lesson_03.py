"""What lesson 03 claims: which noise lets a U-Net learn a style, and from which start it then has to begin."""

import numpy as np

from ..analysis import mean_lab, rgb_to_lab, thumbnails
from ..errors import DislibError
from .claim import _above, _below, _palette, _rms


def claim_nearer_to_style(ours, rival, images, *, names=("style noise", "white noise"), draws=200):
    """One heap of pictures is nearer to a style's colours and layout than another.

    Distance of mean 8 x 8 thumbnails in L*a*b*, rms over positions. Value: from our pictures to the style. Threshold:
    the least that the rival's pictures reach when they are resampled. Control: the rival's pictures as they are.

    Args:
        ours, rival: pictures of the same prompts and seeds.
        images: pictures of the style.
        names: what ours and the rival are called.
        draws: how often the rival's pictures are drawn again, with replacement.
    """
    if len(ours) != len(rival) or len(ours) < 4:
        raise DislibError(f"{len(ours)} pictures against {len(rival)}; give as many of both, at least 4")
    style, looks = _palette(images), rgb_to_lab(thumbnails(rival))
    rng = np.random.default_rng(0)
    again = [_rms(looks[rng.integers(len(looks), size=len(looks))].mean(axis=0) - style) for _ in range(draws)]
    value, control = _rms(_palette(ours) - style), _rms(looks.mean(axis=0) - style)
    text = (
        f"The mean picture of {len(ours)} by {names[0]} is {value:.1f} away from the style's own (L*a*b*); of as many by"
        f" {names[1]}, {control:.1f}, and {min(again):.1f} at the least when they are resampled."
    )
    return _below(f"Nearer to the style: {names[0]}", value, float(min(again)), control, text)


def claim_colour_hangs_on_seed(grid, free, images, *, draws=200):
    """In one heap of pictures the colour still hangs on the seed, more than the style allows; in another it does not.

    Value: how far the mean colours (L*a*b*) of one prompt's pictures lie apart from seed to seed (std, rms over
    prompts). Threshold: the same between pictures of the style, the largest of random subsets of as many. Control: the
    value of the other heap.

    Args:
        grid, free: rows of prompts, columns of seeds, PIL pictures; at least two seeds. `free` is the control.
        images: pictures of the style, more of them than seeds.
    """
    count = len(grid[0])
    if count < 2 or len(images) <= count:
        raise DislibError(f"{count} seeds and {len(images)} pictures of the style; give 2 seeds and more pictures")
    value, control = (_between_seeds(rows) for rows in (grid, free))
    colours, rng = mean_lab(images), np.random.default_rng(0)
    own = [_spread(colours[rng.permutation(len(colours))[:count]]) for _ in range(draws)]
    text = (
        f"From one seed to the next, the mean colour of a prompt's pictures changes by {value:.1f} (L*a*b*), where the"
        f" style's own pictures differ by {np.mean(own):.1f}, and {max(own):.1f} at most; in the other heap it is"
        f" {control:.1f}."
    )
    return _above("The colour still hangs on the seed", value, float(max(own)), control, text)


def _between_seeds(rows):
    return float(np.sqrt(np.mean([_spread(mean_lab(row)) ** 2 for row in rows])))


def _spread(colours):
    """Standard deviation of colours `(n, 3)` as a distance."""
    return float(np.sqrt(colours.var(axis=0, ddof=1).sum()))


def claim_own_leak(z_T, start, mean, *, draws=200):
    """At the last timestep, training shows more of the style's mean than a start has.

    Share of mu in a heap of latents: <their mean, mu> / <mu, mu>. Value: of the z_T of training. Threshold: the
    largest when the starts are resampled. Control: of the starts as they are.

    Args:
        z_T: noisy latents of training at the last timestep `(n, c, h, w)`, made with style noise.
        start: latents that sampling would start from `(n, c, h, w)`.
        mean: mu `(c, h, w)`.
    """
    value, shares = float(np.mean(_shares(z_T, mean))), _shares(start, mean)
    rng = np.random.default_rng(0)
    again = [shares[rng.integers(len(shares), size=len(shares))].mean() for _ in range(draws)]
    text = (
        f"On average the z_T of training holds {value:.3f} times the style's mean; the start holds {shares.mean():.3f}"
        f" times, and {max(again):.3f} at most when it is resampled."
    )
    return _above("Training saw more of the mean than the start has", value, float(max(again)), shares.mean(), text)


def _shares(latents, mean):
    """<z, mu> / <mu, mu> of each latent: `(n,)`."""
    latents, mean = np.asarray(latents, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    return (latents * mean).sum(axis=(1, 2, 3)) / (mean**2).sum()
