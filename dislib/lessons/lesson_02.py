"""Lesson 02, a style's prior holds its palette and layout, and a start brings them: claims, checks, and the errors of a
prior of few pictures.
"""

from typing import NamedTuple

import numpy as np

from ..core.prior import first_timestep
from ..core.signal import check_latents
from ..errors import DislibError
from ..evaluation.judge import load_judge, zero_shot
from ..figures.plots import bars, curve, latent_maps
from ..images.looks import measure_grid, rgb_to_lab
from ..world import THINGS
from .claim import DRAWS, RATE, VISIBLE, _palette, above, below, chance, check, nearer, style_distance
from .exercise import as_array, call, close, right, still_open, wrong
from .seed_share import shuffle_pairing


def claim_prior_mean_not_zero(prior, *, n=None):
    """The mean of a style's latents is many standard errors from 0, the mean of white noise.

    Value: rms over channels of `mean / (std / sqrt(n))`, at a typical (median) position. Threshold: what one position of
    white noise exceeds once in two hundred times. Where neighbours say the same, as in pictures, half of all positions
    exceed it once in a hundred times at most. Control: the prior of n latents of white noise.

    Args:
        prior: has `mean` and `std (c, h, w)` and knows its number of pictures (`meta["n"]`).
        n: number of pictures, for a prior that does not know it.
    """
    n = int(prior.meta["n"] if n is None else n)
    if n < 2:
        raise DislibError(f"a prior of {n} picture has no standard error; use one of at least 2")
    noise = np.random.default_rng(0).standard_normal((n, *np.shape(prior.mean)))
    return check("A style's latents are not centred on 0", lambda mean, std: _not_zero(mean, std, n),
                 (prior.mean, prior.std), (noise.mean(axis=0), noise.std(axis=0, ddof=1)), unit="{:.1f}",
                 text=f"At a typical position the mean of the style's {n} latents lies {{value}} standard errors from 0.",
                 against=f"with {n} latents of white noise in place of the style's",
                 why="white noise gets there once in a hundred times")


def _not_zero(mean, std, n):
    mean, std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    errors = np.sqrt(np.mean((mean * np.sqrt(n) / np.maximum(std, 1e-12)) ** 2, axis=0))  # (h, w)
    white = np.random.default_rng(0).standard_t(n - 1, size=(20_000, len(mean)))
    return above(np.median(errors), np.quantile(np.sqrt(np.mean(white**2, axis=1)), 1 - RATE / 2))


def claim_prior_shows_palette(decoded, images):
    """The decoded mean of every style shows that style's colours, and where they lie.

    Pictures are compared as 8 x 8 thumbnails in L*a*b*. Value: distance of the decoded mean to the style's own mean
    thumbnail over the distance to the nearest other style's; the worst style counts. Threshold: 1, where another style
    is as near. Control: the decoded means handed to the wrong styles.

    Args:
        decoded: from style to the picture its prior's mean decodes to; at least five, since in any random order of them
            all are right once in 120 times.
        images: from style to pictures of it, all of `decoded` among them.
    """
    missing = sorted(set(decoded) - set(images))
    if missing or len(decoded) < 5:
        raise DislibError(f"{len(decoded)} decoded means against {len(images)} styles: give at least five styles, and "
                          "pictures of each that is decoded" + f" (none of {missing})" * bool(missing))
    palettes = {style: _palette(pictures) for style, pictures in images.items()}
    means = {style: _palette([picture]) for style, picture in decoded.items()}
    ratios = {style: _ratio(means[style], palettes, style) for style in means}
    handed_on = dict(zip(means, [*list(means.values())[1:], next(iter(means.values()))]))
    text = (f"{sum(r < 1 for r in ratios.values())} of {len(ratios)} decoded prior means are nearest to the mean "
            f"picture of their own style. The closest call is {max(ratios, key=ratios.get)}, at {{value}} of the distance "
            "to the next style (thumbnails in L*a*b*).")
    return check("A prior shows its style's palette", lambda means: _worst_ratio(means, palettes), (means,), (handed_on,),
                 text=text, against="with every mean handed to the next style",
                 why="at 1 another style is as near", unit="{:.2f}")


def _worst_ratio(means, palettes):
    return below(max(_ratio(means[style], palettes, style) for style in means), 1.0)


def _ratio(palette, palettes, style):
    """Distance to the style's own palette over the distance to the nearest other one."""
    distance = {name: float(np.linalg.norm(palette - other)) for name, other in palettes.items()}
    own = distance.pop(style)
    return own / max(min(distance.values()), 1e-12)


BAND_STEP = 0.5  # of the unit in which latents are measured


def claim_band_in_mean(means, style="comic", *, band=0.2):
    """A caption band that every picture has is written in the top rows of the style's mean.

    Value: how far mu steps at the band's lower edge, from the rows of the band to as many rows below it (norm over
    channels), in the column where it steps least: a band goes all the way across, a figure on a ground does not.
    Threshold: `BAND_STEP`, fixed beforehand. Control: of the other styles, which have no band, the one that steps
    most.

    Args:
        means: from style to mu `(c, h, w)`; `style` and at least two others.
        style: the one with the band.
        band: height of the band as a share of the picture's.
    """
    if style not in means or len(means) < 3:
        raise DislibError(f"means of {', '.join(means) or 'no style'} are given; give {style} and at least two others")
    others = {name: _step(mean, band) for name, mean in means.items() if name != style}
    nearest = max(others, key=others.get)
    return check(f"The {style}'s caption band is in its mean", lambda mean: above(_step(mean, band), BAND_STEP),
                 (means[style],), (means[nearest],), unit="{:.2f}",
                 text=f"At the lower edge of the band the mean of {style} steps by {{value}} or more in every column.",
                 against=f"on {nearest}, which steps most of the {len(others)} styles without a band",
                 why="half the spread of white noise, fixed beforehand")


def _step(mean, band):
    mean = np.asarray(mean, dtype=np.float64)
    rows = max(1, round(band * mean.shape[1]))
    step = mean[:, :rows].mean(axis=1) - mean[:, rows : 2 * rows].mean(axis=1)  # (c, w)
    return float(np.linalg.norm(step, axis=0).min())


EXPONENT_OFF = 0.12  # how far from -1/2 still counts as the square root


def claim_error_shrinks(latents, *, sizes=(3, 6, 12, 25), repeats=100, frames=10):
    """The error of a style's mean falls with the square root of the number of different pictures.

    Value: distance of the measured exponent (slope of log error over log n, `run_errors`) from -1/2. Threshold:
    `EXPONENT_OFF`, fixed beforehand. Control: a film, in which each picture is seen for `frames` frames: as many
    pictures, but not different ones.

    Args:
        latents: scaled latents of one style, twice the largest of `sizes` at least, in any order.
    """
    latents = check_latents(latents)
    film = latents[: -(-len(latents) // frames)].repeat(frames, axis=0)[: len(latents)]
    exponent = _exponent(sizes, run_errors(latents, sizes, repeats=repeats))
    text = (f"Measured on sets of {min(sizes)} to {max(sizes)} pictures, the error of mu goes with n to the power "
            f"{exponent:.2f}: {{value}} from the -0.5 of theory. Four times the pictures give {4**exponent:.2f} times the "
            "error.")
    return check("Four times the pictures, half the error",
                 lambda latents: below(abs(_exponent(sizes, run_errors(latents, sizes, repeats=repeats)) + 0.5), EXPONENT_OFF),
                 (latents,), (film,), text=text, unit="{:.2f}",
                 against=f"with a film in place of the pictures, {frames} frames of each",
                 why="so near, four times the pictures give 0.42 to 0.59 times the error")


def run_errors(latents, sizes, *, repeats=100, seed=0):
    """Error of mu from n pictures that follow each other: `(repeats, sizes)`, in units of sigma.

    As `subset_errors`, but the two sets are runs of neighbours, half of the latents apart. For different pictures that is
    as good as drawing lots. In a film neighbours are alike, and lots would hide it.
    """
    latents, rng = check_latents(latents), np.random.default_rng(seed)
    _check_sizes(sizes, len(latents))
    half, sigma = len(latents) // 2, np.sqrt(np.mean(latents.var(axis=0, ddof=1)))
    rolled = (np.roll(latents, rng.integers(len(latents)), axis=0) for _ in range(repeats))
    off = [[turned[:n].mean(axis=0) - turned[half : half + n].mean(axis=0) for n in sizes] for turned in rolled]
    return np.sqrt(np.mean(np.square(off), axis=(2, 3, 4)) / 2) / max(sigma, 1e-12)


def _exponent(sizes, errors):
    """Slope of the log of the rms error over log n."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(np.mean(errors**2, axis=0), 1e-24)) / 2, 1)[0])


def claim_start_brings_style(white, started, images, *, look="colour"):
    """Pictures of one model and the same prompts come closer to a style when they start from its prior.

    The value is how much nearer, see `claim.nearer`. The threshold is what chance reaches once in a hundred times when a
    coin decides in each pair who is who; the control is one such toss. Colours are nearly told by the start itself. Look
    at the "drawing", in which there is no colour: a start alone brings little of that.

    Args:
        white, started: pictures from white noise and from the style's start; the same prompts and seeds, at least 8.
        images: pictures of the style.
        look: "colour" or "drawing".
    """
    return nearer(started, white, images, names=("the style's start", "white noise"), look=look)


def claim_prompt_survives(kept, lost, *, draws=DRAWS):
    """From one start, pictures of one model still tell their prompts apart; from another they no longer do.

    Value: how far the mean pictures of the prompts lie apart (std over prompts of 8 x 8 thumbnails in L*a*b*, rms over
    positions). Threshold: a difference that can just be seen, or what is reached once in a hundred times with the
    pictures of each seed dealt to the prompts at random, if that is more. Control: the other start.

    Args:
        kept, lost: rows of prompts, columns of seeds, PIL pictures of the two starts; at least 3 prompts and 3 seeds,
            and 4 of one of them.
    """
    kept, lost = (_prompts_and_seeds(grid) for grid in (kept, lost))
    text = f"From the first start, the mean pictures of {len(kept)} prompts lie {{value}} apart (units of L*a*b*)."
    return check("One start leaves room for the prompt, the other does not", lambda grid: _apart(grid, draws), (kept,),
                 (lost,), text=text, against="from the second start", unit="{:.1f}",
                 why="so large a difference can be seen, and chance gets there once in a hundred times at most")


def _apart(looks, draws):
    between = lambda looks: float(np.sqrt(looks.mean(axis=1).var(axis=0, ddof=1).sum(axis=-1).mean()))
    rng = np.random.default_rng(0)
    dealt = [between(shuffle_pairing(looks.swapaxes(0, 1), rng).swapaxes(0, 1)) for _ in range(draws)]
    return above(between(looks), max(VISIBLE, chance(dealt)))


def _prompts_and_seeds(grid):
    if min(len(grid), len(grid[0])) < 3 or len(grid) + len(grid[0]) < 7:
        raise DislibError(f"{len(grid)} prompts with {len(grid[0])} seeds; give at least 3 of both, and 4 of one")
    return rgb_to_lab(measure_grid(grid, "thumbnail"))  # (prompts, seeds, 8, 8, 3)


def claim_things_are_told(pictures, prompts, judge, *, control=None, draws=DRAWS):
    """A judge who sees the pictures alone can say which thing each prompt asked for.

    It knows nothing of the style's colours: it is about what is drawn. Value: share of pictures whose thing is named
    rightly, of all things in the prompts. Threshold: what is reached once in a hundred times with the prompts shuffled.
    Control: other pictures of the same prompts, or the same pictures with the prompts shuffled.

    Args:
        pictures: PIL pictures.
        prompts: one a picture; each with one of `world.THINGS` in it, four different ones at least.
        judge: see `load_judge`.
        control: pictures of the same prompts that should not tell, such as another start's.
    """
    asked = np.array([next((word for word in prompt.split() if word in THINGS), "") for prompt in prompts])
    things = sorted(set(asked))
    if "" in things or len(things) < 4 or len(pictures) != len(prompts):
        raise DislibError(f"{len(pictures)} pictures of {len(prompts)} prompts with {len(things)} things; name one thing in "
                          "each prompt, at least four different ones")
    see = lambda images: np.array(things)[zero_shot(images, [f"a {thing}" for thing in things], judge).choices]
    said, shuffled = see(pictures), np.random.default_rng([0, 1]).permutation(asked)
    other = (said, shuffled) if control is None else (see(control), asked)
    return check("The things can be told", lambda said, asked: _named(said, asked, draws), (said, asked), other,
                 text=f"Of {len(said)} pictures, the judge names the right one of {len(things)} things in {{value}}.",
                 against="with the prompts shuffled" if control is None else "in the other pictures",
                 why="shuffled prompts get there once in a hundred times", unit="{:.0%}")


def _named(said, asked, draws):
    rng = np.random.default_rng(0)
    return above(np.mean(said == asked), chance([np.mean(said == rng.permutation(asked)) for _ in range(draws)]))


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
    mistakes = {
        "That is the median; the prior takes the mean.": np.median(z, axis=0),
        "That is the sum; divide by the number of pictures.": z.sum(axis=0),
        "That is sigma: have the two changed places?": z.std(axis=0, ddof=1),
        "That is one picture's latent; average over all of them.": z[0],
    }
    for text, answer in mistakes.items():
        if close(mean, answer):
            return text
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
    """Exercise 3: pictures for a standard error of mu of 5 % of sigma (400), and of sigma of 10 % (51).

    Whole pictures, and enough of them: 399 miss the mark by a hair, and are told so.
    """
    if for_mean in (None, Ellipsis) or for_std in (None, Ellipsis):
        return still_open("Put your two numbers in place of the dots.")
    try:
        for_mean, for_std = float(for_mean), float(for_std)
    except (TypeError, ValueError):
        return wrong("Two numbers are asked for.")
    for name, value, least, mistakes in (
        ("for_mean", for_mean, 400, _MEAN_MISTAKES), ("for_std", for_std, 51, _STD_MISTAKES)
    ):  # fmt: skip
        if value == least:
            continue
        if text := mistakes.get(round(value, 6)):
            return wrong(text)
        if least - 1.5 < value < least:
            return wrong(f"`{name}` is nearly right: with {value:g} pictures the error is still above the mark. Count on.")
        if least < value < least + 1.5:
            return wrong(f"`{name}` is nearly right: one picture fewer is enough. No rounding up is needed here.")
        return wrong(f"Not `{name}` yet: solve {_SOLVE[name]} for n.")
    return right("So the 50 pictures of `StylePrior.from_images` are a tenth off in sigma, and a seventh of a sigma in "
                 "mu; ten times better would take a hundred times the pictures.")


_SOLVE = {"for_mean": "1 / sqrt(n) = 0.05", "for_std": "1 / sqrt(2 (n - 1)) = 0.10"}
_MEAN_MISTAKES = {
    20: "`for_mean`: 20 = 1 / 0.05, but the error falls with the *square root* of n.",
    100: "`for_mean`: 100 is for an error of 10 %; the mean is to be known to 5 %.",
    51: "The two have changed places: `for_mean` is about the mean.",
    0.0025: "`for_mean`: 0.0025 is 0.05 squared; n is 1 over that.",
    4.472136: "`for_mean`: the root is on the wrong side. sqrt(n) = 20, so n is 20 squared.",
}
_STD_MISTAKES = {
    100: "`for_std`: 100 is right for the mean. Sigma's relative error is 1 / sqrt(2 (n - 1)): note the 2.",
    50: "`for_std`: 50 is n - 1. The formula has n - 1 in it, so n is one more.",
    101: "`for_std`: n - 1 is right in it, the factor 2 is not there yet.",
    201: "`for_std`: 201 is for an error of 5 %; sigma is to be known to 10 %.",
    10: "`for_std`: 10 = 1 / 0.10, but the error falls with the *square root* of n.",
    6: "`for_std`: 6 leaves out the square: 2 (n - 1) is 1 / 0.10 squared.",
}


def check_band(mine, host, donor, rows):
    """Exercise 2: `mine` is `host (c, h, w)` with the top `rows` rows of `donor`."""
    if mine is None or mine is Ellipsis:
        return still_open("Put your latent in place of the dots.")
    mine, host, donor = as_array(mine), as_array(host), as_array(donor)
    if mine is None or mine.shape != host.shape:
        return wrong(f"A latent of shape {host.shape} is asked for" + ("." if mine is None else f", got {mine.shape}."))
    if close(host[:, :rows], donor[:, :rows]):
        return wrong("The first style's own mean has changed under your hands: run the cells above again, and change a "
                     "`.clone()` of it.")
    if close(mine[:, :rows], donor[:, :rows]) and close(mine[:, rows:], host[:, rows:]):
        return right("mu is a picture: it can be cut and pasted like one.")
    return wrong(_band_mistake(mine, host, donor, rows))


def _band_mistake(mine, host, donor, rows):
    def pasted(where, onto=host, what=donor):
        latent = onto.copy()
        latent[where] = what[where]
        return latent

    all_channels = " Did you write `[:rows]`? That takes channels, and there are no more." if rows >= len(host) else ""
    mistakes = {
        "That is the first style's mean, unchanged: paste the other's top rows in.": host,
        f"That is the other style's mean from top to bottom; take its top rows only.{all_channels}": donor,
        "Those are *channels*. A latent is (channel, row, column), so rows are the second index: `[:, :rows]`.":
            pasted(np.s_[:rows]),
        "Those are the left *columns*. A latent is (channel, row, column), so rows are the second index.":
            pasted(np.s_[:, :, :rows]),
        "The other way round: the band comes from the second style, the rest from the first.":
            pasted(np.s_[:, :rows], donor, host),
        "Those are the *bottom* rows; row 0 is the top of the picture.": pasted(np.s_[:, -rows:]),
        "Only the first channel has the band: take all of them, `[:, :rows]`.": pasted(np.s_[0, :rows]),
    }  # fmt: skip
    near = [text for text, answer in mistakes.items() if close(mine, answer)]
    if near:
        return near[0]
    if not close(mine[:, :rows], donor[:, :rows]):
        return f"The top {rows} rows are not the other style's yet, in all channels."
    return f"The top {rows} rows are right, but below them something else has changed too."


def check_leak(function):
    """Exercise 4: `function(mean, std, n, u, abar)` is `sqrt(abar) (mean + std n) + sqrt(1 - abar) u`.

    It is tried on inputs of the lesson's kind: float32 tensors (4, 2, 2) and a float.
    """
    import torch

    draw = torch.Generator().manual_seed(0)
    mean, std, n, u = (torch.randn(4, 2, 2, generator=draw) for _ in range(4))
    std, abar = std.abs() + 0.1, 0.04
    found, verdict = call(function, mean, std, n, u, abar)
    if verdict is not None:
        return verdict
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
        "The picture is `mean + std * n`; here the mean was left out.": a * std * n + b * u,
        "`std` is sigma itself, not its square: take it as it is.": a * (mean + std**2 * n) + b * u,
        "Picture and noise must be weighted: with sqrt(abar) and sqrt(1 - abar).": x + u,
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
    _check_sizes(sizes, len(latents))
    rng = np.random.default_rng(seed)
    sigma = latents.std(axis=0, ddof=1)
    errors = np.array([[_pair_errors(latents, n, sigma, rng) for n in sizes] for _ in range(repeats)])
    return SubsetErrors(sizes, errors[..., 0], errors[..., 1])


def _check_sizes(sizes, pictures):
    sizes = list(map(int, sizes))
    if not sizes or min(sizes) < 2 or 2 * max(sizes) > pictures:
        raise DislibError(f"sizes {sizes} are out of range: two sets without a common picture are drawn from "
                         f"{pictures}, so each may hold 2 to {pictures // 2}")


def _pair_errors(latents, n, sigma, rng):
    """(error of mu, error of sigma) from one pair of disjoint sets, rms over channels and positions."""
    one, two = (latents[half] for half in np.split(rng.permutation(len(latents))[: 2 * n], 2))
    off = (one.mean(axis=0) - two.mean(axis=0), one.std(axis=0, ddof=1) - two.std(axis=0, ddof=1))
    return [np.sqrt(np.mean(d**2) / 2 / np.mean(sigma**2)) for d in off]
