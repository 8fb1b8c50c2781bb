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


def claim_colour_hangs_on_seed(grid, free, images):
    """In one heap of pictures the colour hangs on the seed, more than in another.

    Value: how far the mean colours (L*a*b*) of a prompt's pictures lie apart from seed to seed (std, rms over
    prompts). Threshold: the same in the other heap, for the prompt where it is largest. Control: the other heap's, rms
    over prompts.

    Args:
        grid, free: rows of prompts, columns of seeds, PIL pictures; at least two of both. `free` is the other heap.
        images: pictures of the style, to compare with: they have no seeds.
    """
    if len(grid) < 2 or len(grid[0]) < 2:
        raise DislibError(f"{len(grid)} prompts with {len(grid[0])} seeds; give at least two of both")
    ours, theirs = (np.array([_spread(mean_lab(row)) for row in rows]) for rows in (grid, free))
    value, control = (float(np.sqrt(np.mean(spreads**2))) for spreads in (ours, theirs))
    text = (
        f"From one seed to the next, the mean colour of a prompt's pictures changes by {value:.1f} (L*a*b*); in the other"
        f" heap by {control:.1f}, and by {theirs.max():.1f} at most. The style's own pictures differ by"
        f" {_spread(mean_lab(images)):.1f}."
    )
    return _above("The colour hangs on the seed", value, float(theirs.max()), control, text)


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
