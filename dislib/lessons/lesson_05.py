"""Lesson 05, beyond the paper: what its claims measure, and the checks of its exercises.

Each claim is `measure_...(data) -> (value, verdict)` with a threshold that stands below, fixed before anything was
measured. Its control is the same function on data of which the sentence is false.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import DDIMScheduler

from ..core.correlated import CorrelatedPrior
from ..core.empirical import draw_perfectly
from ..core.gaussian import WHITE, Law, follow, mixture, noisy, on_the_line, own_leak, share_of, start_law, wasserstein
from ..core.pipeline import separate, set_resolution
from ..core.prior import StylePrior
from ..core.signal import readability
from ..core.stochastic import abars_of, generate_stochastic
from ..errors import DislibError
from ..evaluation.memorisation import copying
from ..evaluation.table import read_results
from ..figures.plots import bars, curve
from ..images.images import list_images
from ..images.looks import mean_lab, rgb_to_lab, thumbnails
from ..training.objective import draw_noise
from ..training.result import read
from ..training.timesteps import log_snr, style_friendly
from .claim import above, below, check
from .exercise import as_array, close, right, still_open, wrong
from .live import together

# Thresholds, the same for every style, model and control.
SURE = 3.0  # standard errors
ARRIVED = 0.25  # share of mu by which a heap of pictures may be off
ALONG = 0.8  # correlation with the way along the line
LOUD = 30.0  # times an error of 3 % that fills a whole picture
QUIETER = 1.25  # times
COPIES = 0.6  # share of pictures nearer to the training images; half is chance
BY_CHANCE = "three standard errors are reached by chance once in some hundred times"


def judge_claim(name, measure, data, control, text, *, against, why):
    """`claim.check` of a measure that takes its data as one argument."""
    return check(name, measure, (data,), (control,), text=text, against=against, why=why)


class Scoreboard:
    """All verdicts of the lesson in one table, as they came out on this run."""

    def __init__(self, claims):
        self.claims = dict(claims)

    def rows(self):
        """[(section, sentence, number, threshold, control, verdict)], as text."""
        said = {True: "holds", False: "**does not hold**"}
        return [(where, c.name, f"{c.value:.3g}", f"{c.threshold:.3g}", f"{c.control.value:.3g}", said[bool(c)])
                for where, c in self.claims.items()]

    def _repr_markdown_(self):
        head = ["section", "sentence", "value", "threshold", "control", "verdict"]
        lines = [head, ["---"] * len(head), *self.rows()]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def __repr__(self):
        return "\n".join("  ".join(row) for row in self.rows())


def latents_of(samples):
    """The latents of finished pictures (`sampling.Sample`), stacked: (n, 4, h, w)."""
    return torch.stack([sample.latent for sample in samples])


# --- 1, 2: the start and the sampler ------------------------------------------------------------------------------------


def shares(latents, mean):
    """How much of mu each latent holds, <z, mu> / <mu, mu>: float64 (n,); 1 on average for the style's own."""
    mean = mean.double()
    return (latents.double() * mean).flatten(1).sum(1) / mean.square().sum()


def measure_more_of_mean(pair):
    """Does one heap of latents hold more of mu than the other, seed by seed?

    Value: mean of the paired differences in standard errors. Threshold: SURE.

    Args:
        pair: (shares of one heap, shares of the other), of the same seeds and prompts.
    """
    off = np.asarray(pair[0], dtype=np.float64) - np.asarray(pair[1], dtype=np.float64)
    if off.ndim != 1 or len(off) < 4:
        raise DislibError(f"two lists of at least 4 numbers are needed, got shapes {[np.shape(p) for p in pair]}")
    value = float(off.mean() / max(off.std(ddof=1) / math.sqrt(len(off)), 1e-12))
    return above(value, SURE)


def claim_matched_holds_more(matched, paper, mean):
    """Pictures from the matched start hold more of the style's mean than those from the paper's start.

    Control: the matched heap parted in two at random.

    Args:
        matched, paper: latents of finished pictures (n, 4, h, w), same seeds and prompts in one order.
        mean: mu (4, h, w).
    """
    ours, theirs = shares(matched, mean), shares(paper, mean)
    text = (f"Pictures from the matched start hold {ours.mean():.2f} times the style's mean, from the paper's start "
            f"{theirs.mean():.2f} times; a picture of the style holds 1.")
    return judge_claim("The matched start brings more of the mean", measure_more_of_mean, (ours, theirs),
                       _two_halves(ours), text, against="with the matched heap parted in two at random", why=BY_CHANCE)


def _two_halves(values):
    """Neighbours parted into two heaps by the toss of a coin: they differ by chance alone, whatever their seeds do."""
    pairs = np.asarray(values)[: len(values) // 2 * 2].reshape(-1, 2).copy()
    tossed = np.random.default_rng(0).random(len(pairs)) < 0.5
    pairs[tossed] = pairs[tossed, ::-1]
    return pairs[:, 0], pairs[:, 1]


def measure_arrives(heap):
    """Do pictures arrive at the style's mean? Value: how far the heap is off along mu, as a share of mu.

    Args:
        heap: (latents (n, 4, h, w), mu (4, h, w)).
    """
    value = abs(float(shares(*heap).mean()) - 1)
    return below(value, ARRIVED)


def kept_samplers(path):
    """What a longer measurement (`python -m recipes own_leak`) found of the samplers: FID by style, as lines."""
    styles = json.loads(Path(path).read_text(encoding="utf-8"))["styles"]
    numbers = [(style, {name: row["fid"] for name, row in found.items() if "fid" in row}) for style, found in styles.items()]
    return [f"{style:10} " + ", ".join(f"{name} {fid['value']:.0f}" for name, fid in found.items())
            + f" (floor {next(iter(found.values()))['floor']:.0f})" for style, found in numbers]


def claim_centred_arrives(centred, unit, mean):
    """A stochastic sampler whose fresh noise has the style's mean and spread arrives at the style.

    Control: the same sampler with fresh noise from N(0, 1).
    """
    value, control = (float(shares(heap, mean).mean()) for heap in (centred, unit))
    text = (f"With centred fresh noise the pictures hold {value:.2f} times the style's mean, with N(0, 1) {control:.2f} "
            f"times. Off by less than {ARRIVED:g} counts as arrived.")
    return judge_claim("The corrected step arrives", measure_arrives, (centred, mean), (unit, mean), text,
                       against="with fresh noise from N(0, 1)", why="a quarter of the mean is what one still sees")


# --- 3: priors with and without covariance ------------------------------------------------------------------------------


def bits(prior, latents):
    """How well a prior foretells latents: median log2 density a number of a latent. More is better; one bit more is a
    density twice as high, for every single number."""
    return float(prior.log_prob(latents).median()) / (math.log(2) * latents[0].numel())


def measure_likelier(trial):
    """Are held-out pictures likelier under one prior than under another?

    Value: share of them. Threshold: SURE standard errors of a coin above one half.

    Args:
        trial: (prior, rival, latents (n, 4, h, w)); both priors have `log_prob`.
    """
    prior, rival, latents = trial
    share = float((prior.log_prob(latents) > rival.log_prob(latents)).double().mean())
    return above(share, likelier_threshold(len(latents)))


def likelier_threshold(n):
    """The share of n pictures that a coin does not reach: one half and SURE standard errors."""
    if n < 9:
        raise DislibError(f"{n} latents are too few to tell a preference from a coin's; give at least 9")
    return 0.5 + SURE * 0.5 / math.sqrt(n)


def torn_apart(latents, *, seed=0):
    """Every number of a latent taken from another picture: each keeps its law, and nothing goes together any more."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(latents.shape, generator=draw).argsort(0)
    return latents.gather(0, order)


def moved_about(latents, *, seed=0):
    """The positions of each latent in an order of its own: the colours stay, the layout is gone."""
    draw = torch.Generator().manual_seed(seed)
    n, c, h, w = latents.shape
    order = torch.rand((n, 1, h * w), generator=draw).argsort(2).expand(n, c, h * w)
    return latents.flatten(2).gather(2, order).reshape(latents.shape)


def claim_covariance_foretells(prior, diagonal, latents):
    """Pictures of the style that no prior has seen are likelier when the prior knows what goes together.

    Control: the same pictures torn apart, so that nothing goes together.

    Args:
        prior: a CorrelatedPrior. diagonal: a StylePrior.
        latents: held-out pictures (n, 4, h, w).
    """
    gain = bits(prior, latents) - bits(diagonal, latents)
    text = (f"Of {len(latents)} held-out pictures, {{share:.0%}} are likelier under the prior with covariance; it gains "
            f"{gain:.2f} bits on each of the {latents[0].numel()} numbers. Torn apart, {{other:.0%}} are.")
    return _likelier("Covariance foretells new pictures", (prior, diagonal, latents),
                     (prior, diagonal, torn_apart(latents)), text, "on pictures torn apart")


def claim_shrinking_helps_the_few(shrunk, plain, latents):
    """With few pictures, a prior that is shrunk toward its channels foretells new ones better.

    Control: draws from the plain prior itself, which it foretells best.

    Args:
        shrunk, plain: StylePrior of the same few pictures.
        latents: held-out pictures (n, 4, h, w).
    """
    text = (f"Of {len(latents)} held-out pictures, {{share:.0%}} are likelier under the shrunk prior of "
            f"{plain.meta['n']} pictures than under the plain one; of the plain prior's own draws, {{other:.0%}}.")
    return _likelier("With few pictures, shrink", (shrunk, plain, latents),
                     (shrunk, plain, plain.sample(range(len(latents)))), text,
                     "on draws from the plain prior itself")


def claim_layout_survives(resized, plain, latents):
    """A prior computed at one size and resized foretells pictures of another size better than one colour a channel.

    Control: the same pictures with their positions moved about, so that there is no layout.

    Args:
        resized: StylePrior, resized to the latents' size. plain: one of the same size without layout (shrink = 1).
        latents: held-out pictures at that size (n, 4, h, w).
    """
    text = (f"Of {len(latents)} held-out pictures at the other size, {{share:.0%}} are likelier under the resized prior "
            "than under one colour a channel; with their positions moved about, {other:.0%}.")
    return _likelier("A layout survives resizing", (resized, plain, latents), (resized, plain, moved_about(latents)),
                     text, "with their positions moved about")


def _likelier(name, data, control, text, against):
    share, other = measure_likelier(data).value, measure_likelier(control).value
    told = text.format(share=share, other=other)
    return judge_claim(name, measure_likelier, data, control, told, against=against,
                       why="a half is what a tossed coin gives, and so many pictures by chance once in a thousand times")


def seed_spread(samples):
    """How far the mean colours (L*a*b*) of one prompt's pictures lie apart from seed to seed, rms over the prompts."""
    by_prompt = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt, []).append(sample.image)
    return float(np.sqrt(np.mean([colour_spread(heap) ** 2 for heap in by_prompt.values()])))


def colour_spread(pictures):
    """Standard deviation of the mean colours (L*a*b*) of pictures, as a distance."""
    return float(np.sqrt(mean_lab(pictures).var(axis=0, ddof=1).sum()))


# --- 4: from style to style ---------------------------------------------------------------------------------------------


def detour(one, other, middle):
    """How much longer the way is through `middle`: (W(one, middle) + W(middle, other)) / W(one, other); 1 is straight."""
    return (wasserstein(one, middle) + wasserstein(middle, other)) / wasserstein(one, other)


def measure_along(walk):
    """Do pictures move with their prior? Value: correlation of t with the place of each picture between the two ends.

    The place of a picture is that of its thumbnail (L*a*b*) on the straight line from the mean of the first column to
    that of the last, less the mean place of its row. Threshold: ALONG.

    Args:
        walk: (t (k,), rows of k PIL pictures).
    """
    t, rows = np.asarray(walk[0], dtype=np.float64), walk[1]
    looks = np.stack([rgb_to_lab(thumbnails(list(row))).reshape(len(row), -1) for row in rows])  # (rows, k, features)
    ends = looks.mean(axis=0)
    way = ends[-1] - ends[0]
    place = (looks - ends[0]) @ way / max(float(way @ way), 1e-12)
    place = place - place.mean(axis=1, keepdims=True)  # a prompt may ask for the night
    value = float(np.corrcoef(np.broadcast_to(t, place.shape).ravel(), place.ravel())[0, 1])
    return above(value, ALONG)


def claim_pictures_follow(t, rows):
    """Pictures from priors on the line between two styles move along, too.

    Control: each row in an order of its own, drawn at random.

    Args:
        t: where on the line each column starts, (k,).
        rows: of k PIL pictures, at least 3 of each.
    """
    if len(rows) < 3 or len(t) < 3:
        raise DislibError(f"{len(rows)} rows at {len(t)} places of the line; give at least three of both")
    rng = np.random.default_rng(0)
    shuffled = [[row[i] for i in rng.permutation(len(row))] for row in rows]
    value = measure_along((t, rows)).value
    text = (f"The place of {len(rows) * len(t)} pictures between the two ends goes with t at a correlation of "
            f"{value:.2f}; in random order, at {measure_along((t, shuffled)).value:.2f}.")
    return judge_claim("Pictures follow the line", measure_along, (t, rows), (t, shuffled), text,
                       against="with each row in a random order", why="1 is a straight walk, 0 none")


# --- 5: another size ----------------------------------------------------------------------------------------------------


def at_size(pipe, height, width=None):
    """A pipeline with the same weights for pictures of `height` x `width` px (square by default).

    Raises:
        DislibError: not multiples of what the VAE and the U-Net need.
    """
    twin, width = separate(pipe), width or height
    for side in (height, width):
        set_resolution(twin, side)  # refuses what does not fit
    twin.unet.register_to_config(sample_size=tuple(side // pipe.vae_scale_factor for side in (height, width)))
    if height == width:
        set_resolution(twin, height)
    return twin


class SizeTrial(NamedTuple):
    """Three priors for pictures of another size: `computed` there, `resized` from the own size, `flat` (one colour a
    channel, also from the own size)."""

    computed: StylePrior
    resized: StylePrior
    flat: StylePrior

    @classmethod
    def of(cls, own, there):
        """From latents at the model's own size and at the other one, both (n, 4, h, w)."""
        height, width = there.shape[2:]
        two = (StylePrior.from_latents([own], shrink=s).resized(height, width) for s in (0, 1))
        return cls(StylePrior.from_latents([there]), *two)

    def bits(self, latents):
        """`bits` of the three on held-out latents at the other size."""
        return [bits(prior, latents) for prior in self]


# --- 6: no signal at the end --------------------------------------------------------------------------------------------


def picture_from_eps(z, eps, abar):
    """x_0 from z_t and the noise: (z - b eps) / a."""
    return (z - math.sqrt(1 - abar) * eps) / math.sqrt(abar)


def picture_from_v(z, v, abar):
    """x_0 from z_t and v = a eps - b x_0: a z - b v."""
    return math.sqrt(abar) * z - math.sqrt(1 - abar) * v


def measure_loud(model):
    """Is a small error of the U-Net's answer loud in the picture? Value: by how much it grows.

    Args:
        model: (x_0 as a function of z, the answer and abar; abar at the last timestep).
    """
    picture, abar = model
    value = abs(picture(0.0, 1.0, abar) - picture(0.0, 0.0, abar))
    return above(value, LOUD)


def claim_eps_is_deaf(abar):
    """With hardly any signal left in z_T, a small error of a predicted eps fills the picture.

    Control: a model that predicts v.
    """
    loud, calm = (measure_loud((picture, abar)).value for picture in (picture_from_eps, picture_from_v))
    text = (f"At abar = {abar:.1e}, an error of 1 % in eps is one of {loud:.0f} % in the picture; in v, one of "
            f"{calm:.1f} %.")
    return judge_claim("At zero SNR an epsilon model cannot be heard", measure_loud, (picture_from_eps, abar),
                       (picture_from_v, abar), text, against="for a model that predicts v",
                       why="an error of 3 % then fills a whole picture")


def ending_at(pipe, abar):
    """DDIM on the pipeline's schedule, bent so that abar at the last timestep is `abar` (Lin and others 2024, algorithm 1).

    sqrt(abar_t) is shifted and scaled so that its first value stays and its last becomes sqrt(abar).

    Raises:
        DislibError: not between 0 and 1; 0 itself leaves no number to divide by.
    """
    root = pipe.scheduler.alphas_cumprod.double().sqrt()
    if not 0 < abar < float(root[0]) ** 2:
        raise DislibError(f"abar at the end must lie above 0 and below {float(root[0]) ** 2:.3f}, got {abar}")
    root = math.sqrt(abar) + (root - root[-1]) * (root[0] - math.sqrt(abar)) / (root[0] - root[-1])
    kept = root.square()
    betas = 1 - torch.cat([kept[:1], kept[1:] / kept[:-1]])
    options = {"trained_betas": betas.tolist(), "rescale_betas_zero_snr": False, "timestep_spacing": "trailing"}
    return DDIMScheduler.from_config(pipe.scheduler.config, **options)


# --- 7: which noise, and when -------------------------------------------------------------------------------------------


def measure_quieter(draws):
    """Is the mean of a picture harder to read in this noise than in white noise?

    Value: the std of a channel's mean, times the side N: 1 for white noise. Threshold: QUIETER.

    Args:
        draws: noise (n, 4, h, w).
    """
    value = float(draws.double().mean((2, 3)).std()) * math.sqrt(math.prod(draws.shape[2:]))
    return above(value, QUIETER)


def claim_offset_hides_the_mean(shape, *, offset=0.1, n=2000):
    """Noise with a random constant a channel hides the mean of a picture.

    Control: white noise.
    """
    draw = torch.Generator().manual_seed(0)
    u, constants = torch.randn((n, *shape), generator=draw), torch.randn((n, shape[0], 1, 1), generator=draw)
    noises = [draw_noise(kind, u, constants, offset) for kind in ("offset", "white")]
    value = measure_quieter(noises[0]).value
    text = (f"With an offset of {offset:g}, the mean of a channel of noise varies {value:.2f} times as much as in white "
            f"noise, so a picture's mean is that much harder to read; the formula says "
            f"{math.sqrt(1 + math.prod(shape[1:]) * offset**2):.2f}.")
    return judge_claim("Offset noise hides the mean", measure_quieter, *noises, text, against="for white noise",
                       why="a quarter more is heard easily, and white noise varies by a few per cent")


def told_apart(rows, method, rival, *, guidance, metric="fid"):
    """Style by style, which of two methods has the lower number, or that their bands overlap: a list of sentences.

    Args:
        rows: of `read_results`; styles without both methods are left out.
        method, rival: names of methods.
        guidance, metric: which rows.
    """
    found = {(r.style, r.method): r for r in rows if r.guidance == guidance and r.metric == metric}
    lines = []
    for style in dict.fromkeys(style for style, name in found if name == method and (style, rival) in found):
        ours, theirs = found[style, method], found[style, rival]
        verdict = "closer" if ours.high < theirs.low else "farther" if ours.low > theirs.high else "bands overlap"
        lines.append(f"{style:10} {method} {ours.value:5.0f} [{ours.low:.0f}, {ours.high:.0f}]   "
                     f"{rival} {theirs.value:5.0f} [{theirs.low:.0f}, {theirs.high:.0f}]   {verdict}")
    return lines


def style_distances(pictures, images):
    """How far each picture is from the style's mean thumbnail, rms of L*a*b* over positions: (n,)."""
    style = rgb_to_lab(thumbnails(images)).mean(axis=0)
    return np.sqrt(np.mean(np.sum((rgb_to_lab(thumbnails(pictures)) - style) ** 2, axis=-1), axis=(1, 2)))


def measure_nearer(pair):
    """Is one heap nearer to the style than another, picture by picture? Value: standard errors. Threshold: SURE.

    Args:
        pair: (distances of one heap, distances of the other), of the same prompts.
    """
    return measure_more_of_mean((pair[1], pair[0]))


def claim_nearer(ours, rival, images, *, names):
    """Pictures of one training are nearer to the style's colours and layout than those of another.

    Control: our own pictures parted in two at random.

    Args:
        ours, rival: pictures of the same prompts and seeds, in one order.
        images: pictures of the style.
        names: what the two are called.
    """
    near, far = style_distances(ours, images), style_distances(rival, images)
    text = (f"A picture by {names[0]} is {near.mean():.1f} away from the style's mean picture (L*a*b*), by {names[1]} "
            f"{far.mean():.1f}.")
    return judge_claim(f"Nearer to the style: {names[0]}", measure_nearer, (near, far), _two_halves(near), text,
                       against="with our own pictures parted in two at random", why=BY_CHANCE)


# --- 8: copies ----------------------------------------------------------------------------------------------------------


def measure_copies(heap):
    """Are pictures copies of training images? Value: the low end of the share that is nearer to training than to
    held-out images, by pixels. Threshold: COPIES.

    Args:
        heap: (pictures, training images, as many held-out images).
    """
    found = copying(*heap)
    return above(found.low, COPIES)


def claim_copies(pictures, training, held_out, fresh, *, name="The perfect U-Net copies"):
    """Pictures lean on the training images.

    Control: fresh pictures of the style, which nobody trained on.
    """
    found = copying(pictures, training, held_out)
    text = (f"{found.share:.0%} of {len(pictures)} pictures are nearer to a training image than to any of as many "
            f"held-out ones [{found.low:.0%}, {found.high:.0%}]; the median distance is {np.median(found.distance):.0f} "
            f"grey levels, where {found.usual:.0f} is usual.")
    return judge_claim(name, measure_copies, (pictures, training, held_out), (fresh, training, held_out), text,
                       against="for fresh pictures of the style", why="a half is chance")


def training_pictures(model, folder, load):
    """(the pictures a model was tuned on, as many others): lists of PIL pictures from the style's folder.

    Args:
        model: name or folder of a fine-tuning, whose `training.json` names its pictures.
        folder: the style's pictures.
        load: function from a file to a picture.
    """
    record = read(model)
    files = list_images(folder).files
    used = set(record["files"]) if record else {file.name for file in files[: len(files) // 2]}
    train, others = ([load(file) for file in files if (file.name in used) == side] for side in (True, False))
    n = min(len(train), len(others))
    return train[:n], others[:n]


# --- exercises ----------------------------------------------------------------------------------------------------------


def _number(answer):
    """(the answer as a float, None), or (None, what to say)."""
    if answer is None or answer is Ellipsis:
        return None, still_open("Put your number in place of the dots.")
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return None, wrong("One number is asked for.")
    return (value, None) if math.isfinite(value) else (None, wrong(f"Your answer is {value}, which is not finite."))


def _call(function, *arguments):
    """(what the function returns, None), or (None, what to say)."""
    try:
        found = function(*arguments)
    except Exception as error:  # a reader's function may raise anything
        return None, wrong(f"Your function stopped with {type(error).__name__}: {error}")
    if any(part is None or part is Ellipsis for part in (found if isinstance(found, tuple) else (found,))):
        return None, still_open("Your function returns nothing yet.")
    return found, None


def check_log_density(function):
    """Exercise 1: `function(z, mean, std)` is the log density of a latent under N(mean, diag(std^2)), in nats."""
    draw = torch.Generator().manual_seed(5)
    z, mean, std = (torch.randn(4, 3, 3, generator=draw) for _ in range(3))
    std = std.abs() + 0.3
    found, verdict = _call(function, z, mean, std)
    if verdict is not None:
        return verdict
    value = as_array(found)
    if value is None or value.shape != ():
        shape = "no number" if value is None else f"the shape {value.shape}"
        return wrong(f"One number for the whole latent is asked for, yours has {shape}: sum over all elements.")
    half, logs, circle = ((z - mean) / std).square().sum() / 2, std.log().sum(), z.numel() * math.log(2 * math.pi) / 2
    answer = -(half + logs + circle)
    if close(value, as_array(answer)):
        return right("The first term asks how near the latent is to the mean, the second how much the prior claimed to "
                     "know. `StylePrior.log_prob` does no more.")
    mistakes = {
        "log sigma is missing: without it, the prior that spreads widest always wins.": -(half + circle),
        "The constant log(2 pi) / 2 an element is missing.": -(half + logs),
        "The square is divided by 2.": -(2 * half + logs + circle),
        "Divide by sigma *inside* the square: sigma squared is the variance.":
            -((z - mean).square() / std).sum() / 2 - logs - circle,
        "The sign is the other way round: far from the mean is *less* likely.": -answer,
        "That is the mean over elements; log densities of independent elements add up.": answer / z.numel(),
        "log sigma counts once: its half belongs to log sigma squared.": -(half + logs / 2 + circle),
    }  # fmt: skip
    near = [text for text, value_then in mistakes.items() if close(value, as_array(value_then))]
    return wrong((near or ["-((z - mean) / std)^2 / 2 - log(std) - log(2 pi) / 2, summed over all elements."])[0])


def check_midpoint(function):
    """Exercise 2: `function(one, other, t)` is (mean, std) a share t along the Wasserstein line; one, other have both."""
    draw = torch.Generator().manual_seed(6)
    m, s, n, r = (torch.randn(4, 2, 2, generator=draw) for _ in range(4))
    one, other, t = Law(m, s.abs() + 0.2), Law(n, r.abs() + 0.2), 0.3
    found, verdict = _call(function, one, other, t)
    if verdict is not None:
        return verdict
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return wrong("Two things are asked for: return mean, std")
    mean, std = map(as_array, found)
    line, back = on_the_line(one, other, t), on_the_line(other, one, t)
    if close(mean, as_array(back.mean)) and close(std, as_array(back.std)):
        return wrong("The way round: t = 0 is the first style, t = 1 the other.")
    if not close(mean, as_array(line.mean)):
        return wrong("The mean is not right yet: a share 1 - t of the first and t of the other.")
    if close(std, as_array(line.std)):
        return right("Means and stds move evenly. Every number of the noise takes the shortest way there is.")
    mistakes = {
        "That averages *variances*, and then the way is no longer the shortest: average the stds.":
            ((1 - t) * one.std**2 + t * other.std**2) ** 0.5,
        "That is the spread of a heap of both styles' pictures, with the gap between their means in it.":
            mixture(one, other, t).std,
        "That is the geometric mean; here sums of stds are asked for.": one.std ** (1 - t) * other.std**t,
        "The std has to move along with t.": one.std,
        "The weights of the two stds have changed places.": back.std,
        "That is the spread of a *sum* of two independent draws; the line takes one draw for both.":
            (((1 - t) * one.std) ** 2 + (t * other.std) ** 2) ** 0.5,
    }  # fmt: skip
    near = [text for text, value in mistakes.items() if close(std, as_array(value))]
    return wrong((near or ["The mean is right; the std is a share 1 - t of the first and t of the other."])[0])


def check_growth(answer, abar):
    """Exercise 3: by what factor an error of eps grows in x_0 = (z - b eps) / a: b / a."""
    value, verdict = _number(answer)
    if verdict is not None:
        return verdict
    a, b = math.sqrt(abar), math.sqrt(1 - abar)
    near = lambda number: abs(value - number) <= 1e-3 * abs(number)
    if near(b / a):
        return right(f"b / a = {b / a:.1f}. It grows without limit as a goes to 0, whatever the U-Net has learnt.")
    mistakes = {
        "A factor has no sign here; take its size.": -b / a,
        "That is a / b; eps is multiplied by b, and then all is divided by a.": a / b,
        "That is 1 / a: z is divided by a, but eps was multiplied by b first.": 1 / a,
        "That is the noise-to-signal ratio of *variances*; errors need its root.": (1 - abar) / abar,
        "That is b alone; x_0 is divided by a.": b,
        "abar is a share of variance: take square roots.": 1 / abar,
    }
    told = [text for text, number in mistakes.items() if near(number)]
    return wrong((told or ["x_0 = (z - b eps) / a: what stands before eps?"])[0])


def check_log_snr(function):
    """Exercise 4: `function(abar)` is the log signal-to-noise ratio, log(abar / (1 - abar))."""
    abar = 0.2
    found, verdict = _call(function, abar)
    if verdict is not None:
        return verdict
    value, verdict = _number(found)
    if verdict is not None:
        return verdict
    answer = math.log(abar / (1 - abar))
    mistakes = {
        "The sign: signal over noise, not noise over signal.": -answer,
        "That is the ratio of amplitudes; SNR is one of variances, so twice as much in the logarithm.": answer / 2,
        "That is the ratio; its natural logarithm is asked for.": math.exp(answer),
        "Take the natural logarithm.": answer / math.log(10),
        "That is log abar; divide by the noise's variance first.": math.log(abar),
        "The noise has the variance 1 - abar, not its root.": math.log(abar / math.sqrt(1 - abar)),
        "Take the base e, not 2.": answer / math.log(2),
    }
    near = lambda number: abs(value - number) <= 1e-3 * max(abs(number), 1)
    if near(answer):
        return right("0 is as much signal as noise; every picture passes it once on its way into noise.")
    told = [text for text, number in mistakes.items() if near(number)]
    return wrong((told or ["The variance of the signal is abar, that of the noise 1 - abar."])[0])
