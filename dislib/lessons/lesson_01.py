"""Lesson 01, the initial latent decides what the prompt leaves open: its claims and the checks of its exercises."""

import numpy as np

from ..core.latents import blob, checkerboard
from ..core.prior import first_timestep
from ..core.signal import readability, scaled_linear_abar, signal_by_frequency
from ..errors import DislibError
from ..figures.plots import bars, curve
from ..images.images import prepare_image
from ..images.looks import MEASURES, centroids, horizons, mean_lab, measure_grid, thumbnails
from .claim import _above, _below, _grid
from .exercise import as_array, right, still_open, wrong
from .seed_share import name_the_seed, seed_share, shuffle_pairing, variance_shares


def claim_seed_share(grid, *, measure="thumbnail", shuffles=200):
    """The initial latent explains far more of what the prompt leaves open than chance.

    Value: the seed's share (`seed_share`). Threshold: twice chance, or the largest share among shuffled
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

    Value: accuracy of `name_the_seed`. Threshold: the best accuracy among shuffled pairings. Control: their
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
        colour: the thing's colour (sRGB in 0..255), to tell it from all else; see `looks.centroids`.
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


def claim_readable_leak(latents, *, sqrt_abar):
    """The mean of a picture can still be read in the last training step's noise.

    Value: `signal.readability`, rms over channels. Threshold: the noise's own spread of channel means in the same
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
    from ..images.looks import mean_lab

    if after is None or after is Ellipsis:
        return still_open("Add something to the initial latent, and generate.")
    change = float((mean_lab([after]) - mean_lab([before]))[0, 0])
    if change <= -by:
        return right(f"The mean lightness L* fell by {-change:.0f}, and the prompt never said so.")
    if abs(change) < 1:
        return wrong("The picture is as light as before: is your latent handed on as `latents=`?")
    if change > 0:
        return wrong(f"The picture became lighter, by {change:.0f} in L*: try the other sign, or another channel.")
    return wrong(f"L* fell by {-change:.0f}; {by:.0f} is asked for. Push harder, or in more than one channel.")
