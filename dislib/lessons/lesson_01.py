"""Lesson 01, the initial latent decides what the prompt leaves open: its claims and the checks of its exercises."""

import numpy as np

from ..core.latents import blob, checkerboard
from ..core.prior import first_timestep
from ..core.signal import readability, scaled_linear_abar, signal_by_frequency
from ..errors import DislibError
from ..figures.plots import bars, curve
from ..images.images import prepare_image
from ..images.looks import MEASURES, centroids, horizons, mean_lab, measure_grid, thumbnails
from .claim import DRAWS, VISIBLE, _grid, above, below, chance, check
from .exercise import as_array, call, right, still_open, wrong
from .seed_share import name_the_seed, seed_share, shuffle_pairing, variance_shares


def claim_seed_share(grid, *, measure="thumbnail", shuffles=DRAWS):
    """The initial latent explains far more of what the prompt leaves open than chance.

    Value: the seed's share (`seed_share`). Threshold: what shuffled pairings reach once in a hundred times, and twice
    chance at least. Control: the same pictures, those of each prompt dealt to the seeds at random.

    Args:
        grid: rows of prompts, columns of seeds, PIL pictures; at least 3 x 3.
        measure: "thumbnail", "colour", "centroid" or "horizon".
    """
    values = _grid(grid, measure)
    found = seed_share(values, shuffles=2)
    text = (f"Of the {measure} variance that the prompt leaves open, the initial latent explains {{value}} "
            f"[{found.low:.0%}, {found.high:.0%}]; chance is {found.chance:.1%}.")
    return check("The initial latent decides the look", lambda values: _share_found(values, shuffles), (values,),
                 (shuffle_pairing(values, np.random.default_rng([0, 1])),), text=text, against=SHUFFLED,
                 why="twice chance, or what shuffled pictures reach once in a hundred times if that is more",
                 unit="{:.1%}")


SHUFFLED = "with the pictures of each prompt dealt to the seeds at random"


def _share_found(values, shuffles):
    found = seed_share(values, shuffles=shuffles, draws=2)
    return above(found.share, max(2 * found.chance, chance(found.shuffled)))


def claim_name_the_seed(grid, *, measure="thumbnail", shuffles=199):
    """The seed of a picture can be told from the picture alone, on prompts not seen before.

    Value: accuracy of `name_the_seed`. Threshold: the accuracy that shuffled pairings reach once in a hundred times.
    Control: the same pictures, those of each prompt dealt to the seeds at random.
    """
    values = _grid(grid, measure)
    found = name_the_seed(values)
    text = (f"From the {measure} alone, the right one of {values.shape[1]} seeds is named in {{value}} "
            f"[{found.low:.0%}, {found.high:.0%}] of pictures, with prompts not seen before; chance is "
            f"{found.chance:.0%}.")
    return check("A picture tells its seed", lambda values: _naming_found(values, shuffles), (values,),
                 (shuffle_pairing(values, np.random.default_rng([0, 1])),), text=text, against=SHUFFLED,
                 why="shuffled pictures get there once in a hundred times", unit="{:.0%}")


def _naming_found(values, shuffles):
    rng = np.random.default_rng(0)
    blind = [name_the_seed(shuffle_pairing(values, rng), draws=2).accuracy for _ in range(shuffles)]
    return above(name_the_seed(values, draws=2).accuracy, chance(blind))


def claim_constant_moves_colour(plain, wide, fine):
    """A constant added to a channel of the initial latent changes the picture's colour; the same energy in fine grain
    does not.

    Value: how far the mean colour moves, in L*a*b* (dE), on average over pictures. Threshold: a difference that can
    just be seen. Control: the fine pattern.

    Args:
        plain: pictures from untouched initial latents.
        wide: pictures from the same latents with a constant added.
        fine: pictures from the same latents with a checkerboard as strong as the constant.
    """
    if not len(plain) == len(wide) == len(fine) > 0:
        raise DislibError(f"{len(plain)} plain, {len(wide)} wide and {len(fine)} fine pictures; give as many of each")
    text = f"A constant moves the mean colour of {len(plain)} pictures by {{value}} on average (units of L*a*b*)."
    return check("Wide patterns in the initial latent set the colour", _colour_moved, (plain, wide), (plain, fine),
                 text=text, against="with a checkerboard as strong as the constant",
                 why="so large a difference can just be seen", unit="{:.1f}")


def _colour_moved(before, after):
    return above(np.linalg.norm(mean_lab(after) - mean_lab(before), axis=1).mean(), VISIBLE)


def claim_blob_moves_thing(places, wide, fine, *, colour=None, shuffles=DRAWS):
    """The foreground of a picture follows a wide blob in the initial latent.

    Value: slope of the foreground's place against the blob's, both from the left in 0..1 (1: it goes all the way
    along). Threshold: the slope that is reached once in a hundred times when the pictures of each row are shuffled among
    the places. Control: blobs of the same place and energy in fine grain.

    Args:
        places: the blob's middle in each column `(k,)`, at least three different ones.
        wide: rows of pictures; a row starts from one noise, column j has the blob at `places[j]`.
        fine: the same with each blob multiplied by a checkerboard.
        colour: the thing's colour (sRGB in 0..255), to tell it from all else; see `looks.centroids`.
    """
    places = np.asarray(places, dtype=np.float64)
    if len(np.unique(places)) < 3:
        raise DislibError(f"the blob lies at {places.tolist()}; a slope needs at least three different places")
    text = (f"When the blob moves by the picture's width, the foreground moves by {{value}} of it (mean of {len(wide)} "
            "noises; 1 would be all the way).")
    return check("The thing follows the blob", lambda rows: _slope_found(places, rows, colour, shuffles), (wide,), (fine,),
                 text=text, against="with the blob in fine grain", unit="{:.2f}",
                 why="with the pictures of a row in random order, chance gets there once in a hundred times")


def _slope_found(places, rows, colour, shuffles):
    found = np.stack([centroids(row, colour=colour)[:, 0] for row in rows])
    rng = np.random.default_rng(0)
    return above(_slope(places, found), chance([_slope(places, rng.permuted(found, axis=1)) for _ in range(shuffles)]))


def _slope(places, found):
    """Slope of `found (n, k)` against `places (k,)` by least squares, each row with an intercept of its own."""
    x = places - places.mean()
    return float(np.mean(found @ x) / np.sum(x**2))


def claim_plain_starts_are_middling(generated, real, *, draws=DRAWS):
    """Pictures from plain noise vary less in lightness than the pictures that the model has learnt from.

    Value: spread of the mean lightness L* within a prompt, generated over real. Threshold: the ratio that is reached
    once in a hundred times when generated and real pictures of a prompt are dealt out anew. Control: some of the real
    pictures in place of the generated ones, against the rest.

    Args:
        generated: rows of pictures, one row a prompt, all from plain noise.
        real: as many rows of the world's own pictures that fit the prompt; at least two more in a row than in
            `generated`.
    """
    count = len(generated[0])
    if len(generated) != len(real) or min(map(len, real)) < count + 2:
        raise DislibError(f"{len(generated)} rows of {count} generated pictures against {len(real)} rows of real ones; "
                          "give as many rows, and more real pictures in each")
    made, true = (np.stack([mean_lab(row)[:, 0] for row in rows]) for rows in (generated, real))
    mixed = np.random.default_rng([0, 1]).permuted(true, axis=1)
    text = (f"Within a prompt, the lightness L* of pictures from plain noise spreads by {_spread_within(made):.1f}, that "
            f"of real ones by {_spread_within(true):.1f}: a ratio of {{value}}.")
    return check("Plain noise gives middling pictures", lambda made, true: _ratio_found(made, true, draws), (made, true),
                 (mixed[:, :count], mixed[:, count:]), text=text, unit="{:.2f}",
                 against=f"with {count} real pictures a prompt in place of the generated ones",
                 why="chance gets there once in a hundred times, when all pictures of a prompt are dealt out anew")


def _ratio_found(made, true, draws):
    ratio = lambda made, true: _spread_within(made) / max(_spread_within(true), 1e-12)
    rng, count = np.random.default_rng(0), made.shape[1]
    # Only how far they vary is compared, so each heap's own middle is taken away first.
    heap = np.concatenate([values - values.mean(axis=1, keepdims=True) for values in (made, true)], axis=1)
    mixed = [rng.permuted(heap, axis=1) for _ in range(draws)]
    return below(ratio(made, true), -chance([-ratio(values[:, :count], values[:, count:]) for values in mixed]))


def _spread_within(values):
    """Standard deviation within the rows of `values (rows, k)`, rms over rows."""
    return float(np.sqrt(np.mean(values.var(axis=1, ddof=1))))


def claim_readable_leak(latents, *, sqrt_abar):
    """The mean of a picture can still be read in the last training step's noise.

    Value: `signal.readability`, rms over channels. Threshold: 1, where the pictures' means are as loud as the noise's.
    Control: as many latents of white noise in place of the pictures.

    Args:
        latents: scaled latents of pictures `(n, c, h, w)`.
        sqrt_abar: sqrt(alpha_bar) at the last training timestep.
    """
    channels = ", ".join(f"{c:.2f}" for c in readability(latents, sqrt_abar=sqrt_abar).channels)
    white = np.random.default_rng(0).standard_normal(np.shape(latents))
    text = (f"At the last time the picture has the weight {sqrt_abar:.3f}, and the means of pictures spread {{value}} times "
            f"as far as those of the noise (by channel {channels}).")
    return check("The last noise still tells the picture's mean",
                 lambda latents: above(readability(latents, sqrt_abar=sqrt_abar).rms, 1.0), (latents,), (white,), text=text,
                 against="with white noise in place of the pictures", why="there a picture is as loud as the noise",
                 unit="{:.2f}")


# --- lesson 01: what the initial latent decides -------------------------------------------------------------------


def check_pairing(answer, truth):
    """Exercise 2: `answer[i]` is the seed the reader gives to picture i, `truth[i]` the right one."""
    truth = np.asarray(truth).tolist()
    answer, verdict = _as_seeds(answer, truth)
    if verdict is not None:
        return verdict
    hits = sum(a == b for a, b in zip(answer, truth))
    if hits == len(truth):
        return right(f"All {hits}. Nothing but the starting noise links these pictures to the portraits.")
    if answer == sorted(truth):
        return wrong("These are the seeds in their order, but the pictures are not in it: guess each one by its look.")
    if [truth.index(k) for k in answer] == sorted(truth) or all(answer[seed] == k for k, seed in enumerate(truth)):
        return wrong("The other way round: the first number is the seed of picture A, not the picture that seed 0 made.")
    twice = sorted(seed for seed in set(answer) if answer.count(seed) > 1)
    hint = f" Seed {twice[0]} is named more than once, but each has one picture." if twice else ""
    return wrong(f"{hits} of {len(truth)} are right; blind guessing gets 1 on average.{hint}")


def _as_seeds(answer, truth):
    """(the answer as a list of whole numbers, None), or (None, verdict)."""
    if answer is None or answer is Ellipsis:
        return None, still_open(f"Write a list of {len(truth)} seeds, one for each picture in order.")
    if isinstance(answer, str) or not hasattr(answer, "__iter__"):
        return None, wrong(f"A list of {len(truth)} seeds is asked for, such as [3, 0, ...], got {answer!r}.")
    answer = [seed.item() if hasattr(seed, "item") else seed for seed in answer]
    if not answer or Ellipsis in answer:
        return None, still_open(f"Write a list of {len(truth)} seeds, one for each picture in order.")
    if len(answer) != len(truth):
        return None, wrong(f"{len(answer)} seeds for {len(truth)} pictures; give one for each.")
    if text := [seed for seed in answer if isinstance(seed, str)]:
        return None, wrong(f"There is no seed {text[0]!r} here: write numbers without quotation marks.")
    if unknown := [seed for seed in answer if seed not in truth]:
        return None, wrong(f"There is no seed {unknown[0]!r} here; the seeds are {sorted(truth)}.")
    return answer, None


def check_seed_share(function):
    """Exercise 1: `function(values)` takes measurements (prompts, seeds) and returns the seed's share."""
    rng = np.random.default_rng(0)
    values = 3 * rng.normal(size=(6, 1)) + rng.normal(size=(1, 4)) + rng.normal(size=(6, 4)) + 5
    found, verdict = call(function, values.copy())
    if verdict is not None:
        return verdict
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


def check_darker(before, after, push=None, *, by=15.0):
    """Exercise 3: the PIL picture `after` is darker than `before` by at least `by` in mean L*.

    Args:
        before, after: two pictures; the first is from the untouched latent.
        push: what was added to the channels; zeros mean that the exercise is open.
    """
    if after is None or after is Ellipsis or (push is not None and not np.any(np.asarray(push, dtype=np.float64))):
        return still_open("Add something to the initial latent, and generate.")
    change = float((mean_lab([after]) - mean_lab([before]))[0, 0])
    if change <= -by:
        return right(f"The mean lightness L* fell by {-change:.0f}, and the prompt never said so.")
    if np.array_equal(np.asarray(before), np.asarray(after)):
        return wrong("The picture is the very same: is your latent handed on as `latents=`?")
    if abs(change) < 1:
        return wrong("The picture has changed, but is as light as before: another channel may do more.")
    if change >= by:
        return wrong(f"The picture became lighter, by {change:.0f} in L*: that is the right channel, with the wrong sign.")
    if change > 0:
        return wrong(f"The picture became lighter, by {change:.0f} in L*: try the other sign, or another channel.")
    return wrong(f"L* fell by {-change:.0f}; {by:.0f} is asked for. Push harder, or in more than one channel.")
