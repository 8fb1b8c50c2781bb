"""Lesson 03, which noise lets a U-Net learn a style, and from which start it then has to begin: its claims and the
checks of its exercises.
"""

import numpy as np

from ..core.gaussian import share_of
from ..core.pipeline import separate
from ..core.prior import first_timestep
from ..errors import DislibError
from ..evaluation.judge import load_judge
from ..evaluation.learning import races, read_learning
from ..evaluation.table import read_results
from ..figures.learning_curves import learning_figure, parts_figure
from ..figures.plots import bars, curve
from ..images.looks import mean_lab
from ..images.sheets import read_sheet
from ..training.methods import METHODS
from ..training.objective import draw_noise, noise_loss
from .changes import weight_changes
from .claim import DRAWS, above, chance, check, dealt, more_than, nearer, style_distance
from .denoising import AT, denoise
from .exercise import as_array, as_number, call, close, right, wrong
from .lesson_02 import claim_prompt_survives, claim_things_are_told
from .live import Film, together
from .seed_share import shuffle_pairing


def claim_nearer_to_style(ours, rival, images, *, names=("style noise", "white noise"), look="colour"):
    """One heap of pictures is nearer to a style than another, in its colours and layout, or in its drawing.

    The value is how much nearer, see `claim.nearer`. The threshold is what chance reaches once in a hundred times when a
    coin decides in each pair who is who; the control is one such toss.

    Args:
        ours, rival: pictures of the same prompts and seeds, at least 8.
        images: pictures of the style.
        names: what ours and the rival are called.
        look: "colour" (nearly told by a start that has the style's mean) or "drawing" (without any colour).
    """
    return nearer(ours, rival, images, names=names, look=look)


def claim_colour_hangs_on_seed(grid, free, images, *, draws=DRAWS):
    """In one heap of pictures the colour hangs on the seed; in another it does not.

    Value: how far the seeds' mean colours lie apart (std in L*a*b*, each prompt's own mean taken away). Threshold: twice
    as far as the style's own pictures lie apart, or what is reached once in a hundred times with the pictures of each
    prompt dealt to the seeds at random, if that is more. Control: the other heap.

    Args:
        grid, free: rows of prompts, columns of seeds, PIL pictures; at least two prompts and three seeds. `free` is the
            other heap.
        images: pictures of the style, to compare with: they have no seeds.
    """
    if len(grid) < 2 or len(grid[0]) < 3:
        raise DislibError(f"{len(grid)} prompts with {len(grid[0])} seeds; give at least two prompts and three seeds")
    own = _spread(mean_lab(images))
    heaps = [np.stack([mean_lab(row) for row in rows]) for rows in (grid, free)]
    text = (
        f"From one seed to the next, the mean colour changes by {{value}} (units of L*a*b*, over {len(grid)} prompts). The"
        f" style's own pictures differ by {own:.1f}."
    )
    return check(
        "The colour hangs on the seed", lambda colours: _seeds_apart(colours, 2 * own, draws), heaps[:1], heaps[1:],
        text=text, against="in the other heap", unit="{:.1f}",
        why="twice what the style's own pictures do, or what pictures dealt to the seeds at random reach once in a hundred"
        " times if that is more",
    )  # fmt: skip


def _seeds_apart(colours, least, draws):
    """`colours (prompts, seeds, 3)`."""
    colours, rng = colours - colours.mean(axis=1, keepdims=True), np.random.default_rng(0)
    shuffled = [_spread(shuffle_pairing(colours, rng).mean(axis=0)) for _ in range(draws)]
    return above(_spread(colours.mean(axis=0)), max(least, chance(shuffled)))


def _spread(colours):
    """Standard deviation of colours `(n, 3)` as a distance."""
    return float(np.sqrt(colours.var(axis=0, ddof=1).sum()))


def claim_own_leak(z_T, start, mean, *, control=None, draws=DRAWS):
    """At the last timestep, training shows more of the style's mean than a start has.

    Share of mu in a heap of latents: <their mean, mu> / <mu, mu>. Value: how much more of it the z_T of training have.
    Threshold: what is reached once in a hundred times when both heaps are dealt out anew. Control: another start, such
    as the matched one, or one such deal.

    Args:
        z_T: noisy latents of training at the last timestep `(n, c, h, w)`, made with style noise.
        start: latents that sampling would start from `(n, c, h, w)`.
        mean: mu `(c, h, w)`.
        control: latents of a start that has as much of the mean as training has.
    """
    seen, had = _shares(z_T, mean), _shares(start, mean)
    other = dealt(seen, had, np.random.default_rng([0, 1])) if control is None else (seen, _shares(control, mean))
    text = (
        f"On average the z_T of training hold {seen.mean():.3f} times the style's mean, the start holds {had.mean():.3f}"
        " times: {value} more."
    )
    more = lambda ours, rival: float(np.mean(ours) - np.mean(rival))
    return check(
        "Training saw more of the mean than the start has", lambda a, b: more_than(more, a, b, mix=dealt, draws=draws),
        (seen, had), other, text=text, unit="{:.3f}",
        against="with both heaps dealt out anew" if control is None else "with the other start",
        why="chance gets there once in a hundred times, when both heaps are dealt out anew",
    )  # fmt: skip


def _shares(latents, mean):
    """<z, mu> / <mu, mu> of each latent: `(n,)`."""
    latents, mean = np.asarray(latents, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    return (latents * mean).sum(axis=(1, 2, 3)) / (mean**2).sum()


def _inputs(*, names=4):
    """Made-up float32 tensors (4, 2, 2) of the lesson's kind, and abar: the first is a spread, so above 0."""
    import torch

    draw = torch.Generator().manual_seed(3)
    std, *others = (torch.randn(4, 2, 2, generator=draw) for _ in range(names))
    return std.abs() + 0.1, *others, 0.04


def check_training_pair(function):
    """Exercise 1: `function(z, mean, std, u, abar)` is (z_t, target) of training with style noise."""
    std, z, mean, u, abar = _inputs()
    found, verdict = call(function, z, mean, std, u, abar)
    if verdict is not None:
        return verdict
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return wrong("Two things are asked for: return z_t, target")
    arrays = [np.asarray(x, dtype=np.float64) for x in (z, mean, std, u)]
    return _pair_verdict(as_array(found[0]), as_array(found[1]), *arrays, abar)


def _pair_verdict(z_t, target, z, mean, std, u, abar):
    a, b, eps = np.sqrt(abar), np.sqrt(1 - abar), mean + std * u
    targets = {
        "Your target is u. The loss is on eps as it is, not normalised: the U-Net has to learn the mean.": u,
        "`std` is sigma itself, not its square: eps = mean + std * u.": mean + std**2 * u,
        "`std` is sigma itself; no root is to be taken of it: eps = mean + std * u.": mean + np.sqrt(std) * u,
        "Your target lacks the mean: eps = mean + std * u.": std * u,
        "Your target is the picture. The U-Net is asked for the noise.": z,
        "Your target is z_t. The U-Net is asked for the noise in it.": a * z + b * eps,
    }
    if not close(target, eps):
        near = [text for text, answer in targets.items() if close(target, answer)]
        return wrong((near or ["The target is not eps = mu + sigma u yet."])[0])
    mistakes = {
        "In your z_t the spread is squared: put the same eps in as in the target.": a * z + b * (mean + std**2 * u),
        "In your z_t the noise is still white: put the same eps in as in the target.": a * z + b * u,
        "abar is a share of *variance*: take square roots.": abar * z + (1 - abar) * eps,
        "The weights have changed places: the picture gets sqrt(abar).": b * z + a * eps,
        "Picture and noise must be weighted, or z_t is too large.": z + eps,
    }
    if close(z_t, a * z + b * eps):
        return right("That is all of it: `noise_loss` does no more, and plain fine-tuning differs in one line.")
    near = [text for text, answer in mistakes.items() if close(z_t, answer)]
    return wrong((near or ["The target is right; z_t has other values than expected."])[0])


def check_share_of_mean(answer, a, b):
    """Exercise 2: how many times mu is the mean of z_T in training? a + b.

    Two decimals are enough, rounded or cut; 1.15 and 1.157 are the same answer.
    """
    answer, verdict = as_number(answer)
    if verdict is not None:
        return verdict
    if abs(answer - (a + b)) <= 0.01:
        return right(f"a + b = {a + b:.3f}. The paper's start has 1, so its mean is short by {a + b - 1:.1%}.")
    mistakes = {
        "That is the noise's part; the picture has a mean as well.": b,
        "That is the picture's part; the noise has a mean as well.": a,
        "That is what the paper's start has. In training a picture is in there too.": 1.0,
        "Means are added, not multiplied.": a * b,
        "That is b - a. Both parts have the mean mu, so they add up.": b - a,
        "That is how much *more* it is; how many times mu is it in all?": a + b - 1,
        "Both have the mean mu, but neither in full: they are weighted with a and b.": 2.0,
    }
    near = {text: abs(answer - value) for text, value in mistakes.items() if abs(answer - value) < 0.005}
    return wrong(min(near, key=near.get) if near else "E[z_T] = a E[z_0] + b E[eps]; both means on the right are mu.")


def check_matched(function):
    """Exercise 3: `function(mean, std, n, u, abar)` is a start with the law of z_T in training.

    Right are a (mean + std n) + b (mean + std u), and (a + b) mean + std u, which has the same law.
    """
    std, mean, n, u, abar = _inputs()
    found, verdict = call(function, mean, std, n, u, abar)
    if verdict is not None:
        return verdict
    return _matched_verdict(as_array(found), *(np.asarray(x, dtype=np.float64) for x in (mean, std, n, u)), abar)


def _matched_verdict(found, mean, std, n, u, abar):
    a, b = np.sqrt(abar), np.sqrt(1 - abar)
    if close(found, a * (mean + std * n) + b * (mean + std * u)) or close(
        found, a * (mean + std * u) + b * (mean + std * n)
    ):
        return right(
            "A crude picture and style noise, weighted as in training. There is a shorter way, see the solution."
        )
    if close(found, (a + b) * mean + std * u) or close(found, (a + b) * mean + std * n):
        return right("The same law in one draw: the variances a^2 and b^2 add up to 1, so the spread is sigma.")
    mistakes = {
        "That is the paper's start; it has the mean mu, and training showed (a + b) mu.": mean + std * u,
        "That is the leak: for a U-Net that was tuned with style noise, the noise has its mean and spread too.":
            a * (mean + std * n) + b * u,
        "Picture and noise are independent: draw one with `n`, the other with `u`. Yours spreads too wide.":
            (a + b) * (mean + std * u),
        "abar is a share of *variance*: take square roots.": abar * (mean + std * n) + (1 - abar) * (mean + std * u),
        "The style's mean is not in the noise yet: both draws have it.": a * (mean + std * n) + b * std * u,
        "`std` is sigma itself, not its square: take it as it is.":
            a * (mean + std**2 * n) + b * (mean + std**2 * u),
        "Picture and noise must be weighted, with sqrt(abar) and sqrt(1 - abar).": (mean + std * n) + (mean + std * u),
        "Means are weighted with a and b, which add up to more than 1: here the mean is mu, as in the paper's start.":
            mean + a * std * n + b * std * u,
    }  # fmt: skip
    near = [text for text, answer in mistakes.items() if close(found, answer)]
    return wrong((near or ["Other values than expected: z = a (crude picture) + b (style noise)."])[0])
