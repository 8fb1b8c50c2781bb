"""Lesson 04, what the metrics see: pictures of a style spoilt in one way at a time, FID of too few pictures, and the
checks of its exercises.

cases(style, other) -> {"blurred": (images, prompts), ...} --(measure_cases)--> {"blurred": Measured(...), ...}
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from ..errors import DislibError
from ..evaluation.bands import Band, FrechetDraws, KernelDraws, all_draws, band, draw_counts
from ..evaluation.judge import image_features, load_judge, look, text_features
from ..evaluation.measure import measure
from ..evaluation.memorisation import copying, distances
from ..evaluation.metrics import check_features, cubic_kernel, gaussian_kernel
from ..evaluation.ranking import agreement, bradley_terry
from ..evaluation.reference import Reference
from ..evaluation.robots import robot_votes
from ..evaluation.sweep import read_sweep, sweep
from ..evaluation.table import FLOOR, over_styles, read_results, standings
from ..evaluation.votes import QUESTIONS, read_votes, select
from ..figures.curves import against_guidance, paper_curve, ranking_plot
from ..figures.plots import COLOURS, GUIDE, INK, CourseFigure
from ..figures.plots import style as course_style
from ..files import data_dir
from ..images.images import list_images, load_image
from ..images.prompts import read_captions, read_prompts
from ..images.sheets import read_sheet
from ..training.methods import METHODS
from ..training.result import read
from .claim import DRAWS, above, chance, check
from .exercise import as_number, call, right, wrong

METRICS = ("fid", "kid", "mmd", "clip")
INTACT = "as they are"


class Number(NamedTuple):
    """A metric's value and its 95 % band."""

    value: float
    low: float
    high: float


def shipped_pictures(style, part="test"):
    """Pictures of a shipped style with their captions.

    Returns:
        (list of PIL images, list of captions).

    Raises:
        DislibError: the course has no such style.
    """
    folder = data_dir() / "styles" / style / part
    if not folder.is_dir():
        there = ", ".join(sorted(path.parent.name for path in folder.parent.parent.glob(f"*/{part}")))
        raise DislibError(f"the course has no style {style!r}; choose one of {there}")
    captions, files = read_captions(folder), list_images(folder).files
    return [load_image(file, 128) for file in files], [captions[file.name] for file in files]


def blurred(image, radius=1.5):
    """The picture out of focus."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def shifted(image, pixels=24):
    """The picture moved to the right; what leaves it there comes in on the left."""
    return Image.fromarray(np.roll(np.asarray(image), pixels, axis=1))


def dimmed(image, factor=0.8):
    """The picture with less light."""
    return image.point(lambda value: round(factor * value))


def cases(style, other):
    """Held-out pictures of `style` with their captions, intact and spoilt in seven ways.

    Args:
        style, other: names of two shipped styles; the second one's pictures are the wrong style.

    Returns:
        dict of name to (images, prompts), the intact ones first.
    """
    images, prompts = shipped_pictures(style)
    wrong_images, wrong_prompts = shipped_pictures(other)
    turned = prompts[len(prompts) // 2 :] + prompts[: len(prompts) // 2]
    copies, their_prompts = shipped_pictures(style, "train")
    few = len(images) // 10
    return {
        INTACT: (images, prompts),
        "blurred": ([blurred(image) for image in images], prompts),
        "shifted": ([shifted(image) for image in images], prompts),
        "dimmed": ([dimmed(image) for image in images], prompts),
        "wrong style": (wrong_images, wrong_prompts),
        "wrong content": (images, turned),
        "ten pictures, over and over": (images[:few] * 10, prompts[:few] * 10),
        "copies of the training set": (copies, their_prompts),
    }


def measure_cases(cases, judge, reference, *, draws=100):
    """All metrics of all cases, with bands over the pictures.

    Args:
        cases: dict of name to (images, prompts).
        judge: see `load_judge`.
        reference: a results.Reference of the style, taken by the same judge.

    Returns:
        dict of name to {metric: Number}; MMD times 1,000, as elsewhere.
    """
    found = {}
    for name, (images, prompts) in cases.items():
        seen, first = look(images, prompts, judge), {}
        blocks = [first.setdefault(image.tobytes(), k) for k, image in enumerate(images)]  # the same picture again is no new one
        counts = draw_counts(blocks, draws=draws, least=2)
        mmd, mmd_draws = all_draws(KernelDraws(seen["projected"], reference.projected, gaussian_kernel), counts)
        pairs = {
            "fid": all_draws(FrechetDraws(seen["pooled"], reference.pooled), counts),
            "kid": all_draws(KernelDraws(seen["pooled"], reference.pooled, cubic_kernel), counts),
            "mmd": (1000 * mmd, 1000 * mmd_draws),
            "clip": (float(seen["clip"].mean()), counts @ seen["clip"] / counts.sum(axis=1)),
        }
        found[name] = {metric: Number(*band(*pair)) for metric, pair in pairs.items()}
    return found


def verdict(found, metric):
    """From case to "worse", "better" or "blind": whether the bands of a case and of the intact pictures lie apart."""
    intact, sign = found[INTACT][metric], -1 if metric == "clip" else 1
    told = {}
    for name, numbers in found.items():
        number = numbers[metric]
        apart = number.low > intact.high or number.high < intact.low
        worse = sign * (number.value - intact.value) > 0
        told[name] = ("worse" if worse else "better") if apart else "blind"
    return told


def verdict_figure(found, *, title=None):
    """A case a row, a metric a column: its value, and in colour whether the metric saw the damage.

    Args:
        found: of `measure_cases`.
    """
    from ..figures.plots import COLOURS, INK, PAPER, CourseFigure, style

    verdicts = {metric: verdict(found, metric) for metric in METRICS}
    grounds = {"worse": COLOURS[4], "better": COLOURS[5], "blind": PAPER}
    with style():
        fig = CourseFigure(figsize=(8.4, 0.42 * len(found) + 1.2), layout="constrained")
        ax = fig.add_subplot()
    for y, (name, numbers) in enumerate(found.items()):
        for x, metric in enumerate(METRICS):
            told = verdicts[metric][name]
            ax.axvspan(x - 0.48, x + 0.48, *_share(y, len(found)), color=grounds[told], lw=0)
            value = f"{numbers[metric].value:.{2 if metric in ('kid', 'mmd') else 1}f}".replace("-0.00", "0.00")
            bold = "bold" if told != "blind" else "normal"
            ax.text(x, y, value, ha="center", va="center", weight=bold, color=INK)
    ax.set(xlim=(-0.5, len(METRICS) - 0.5), ylim=(len(found) - 0.5, -0.5))
    ax.set_xticks(range(len(METRICS)), ["FID", "KID", "MMD", "CLIP score"])
    ax.set_yticks(range(len(found)), list(found))
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title(title or "Orange: this metric calls it worse. No colour: the bands overlap.", pad=28)
    seen = {metric: [name for name, told in verdicts[metric].items() if told != "blind"] for metric in METRICS}
    fig.alt = "; ".join(f"{metric} sees {', '.join(names) or 'nothing'}" for metric, names in seen.items())
    return fig


def places_figure(rows, weights, *, labels=None, metric="fid", title=None):
    """A method a row, a style and weight a column: its number, in colour where no other method beats it.

    Args:
        rows: of `read_results`; all methods, at all of `weights`.
        weights: guidance weights.
        labels: from method to words.
    """
    styles = list(dict.fromkeys(row.style for row in rows))
    columns = [(style, weight) for style in styles for weight in weights]
    found = [_placed(rows, style, weight, metric) for style, weight in columns]
    methods = sorted({name for column in found for name in column}, key=lambda name: (-_firsts(found, name), name))
    with course_style():
        fig = CourseFigure(figsize=(2.6 + 0.62 * len(columns), 0.42 * len(methods) + 1.3), layout="constrained")
        ax = fig.add_subplot()
    for x, column in enumerate(found):
        for y, name in enumerate(methods):
            place, row = column.get(name, (None, None))
            if place == 1:
                ax.axvspan(x - 0.48, x + 0.48, *_share(y, len(methods)), color=COLOURS[5], lw=0)
            told, bold = ("", "normal") if row is None else (f"{row.value:.0f}", "bold" if place == 1 else "normal")
            ax.text(x, y, told, ha="center", va="center", weight=bold, color=INK, fontsize=11)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    ax.set_xticks(range(len(columns)), [f"{style}\nw = {weight:g}" for style, weight in columns], fontsize=9)
    ax.set_yticks(range(len(methods)), [(labels or {}).get(name, name) for name in methods], fontsize=11)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title(title or f"{metric.upper()}; in colour: no other method beats it with bands apart", pad=42)
    first = [", ".join(name for name in methods if column.get(name, (0,))[0] == 1) for column in found]
    told = (f"{style} at w = {weight:g}: {names}" for (style, weight), names in zip(columns, first))
    fig.alt = f"Who is first by {metric.upper()}. {'; '.join(told)}"
    return fig


def _placed(rows, style, weight, metric):
    """From method to (place, row)."""
    return {row.method: (place, row) for place, row in standings(rows, style=style, guidance=weight, metric=metric)}


def _firsts(found, name):
    """In how many columns a method is first."""
    return sum(column.get(name, (0,))[0] == 1 for column in found)


def enough(votes, *, voters=3, each=12):
    """Whether people's votes can stand for themselves: of some voters, and enough of each on each question.

    One careless voter is no crowd, so the robots stay until there are three.
    """
    def given(voter, question):
        return sum(vote.voter == voter and vote.question == question for vote in votes)

    names = {vote.voter for vote in votes}
    return sum(all(given(name, question) >= each for question in QUESTIONS) for name in names) >= voters


def _share(row, rows):
    """Bottom and top of a row, as shares of the axes' height."""
    return 1 - (row + 0.95) / rows, 1 - (row + 0.05) / rows


# --- claims -----------------------------------------------------------------------------------------------------------


def claim_clip_reads_the_prompt(images, prompts, judge, *, control=None):
    """The CLIP score is higher with a picture's own caption than with another's.

    Value: mean score. Threshold: what is reached once in a hundred times with the captions shuffled. Control: captions
    that stand under the wrong pictures.

    Args:
        images: pictures.
        prompts: one a picture, in the same order.
        judge: see `load_judge`.
        control: captions in a wrong order, such as those of the case "wrong content"; by default one shuffle.
    """
    if len(images) != len(prompts):
        raise DislibError(f"{len(images)} pictures and {len(prompts)} captions; give one for each")
    wrong_ones = np.random.default_rng([0, 1]).permutation(prompts) if control is None else control
    seen = image_features(images, judge, kind="projected")
    scores = [100 * seen @ text_features([str(text) for text in texts], judge).T for texts in (prompts, wrong_ones)]
    return check(
        "The CLIP score reads the prompt", _own_score, scores[:1], scores[1:], unit="{:.1f}",
        text=f"With its own caption, a picture of {len(images)} scores {{value}} on average.",
        against="with the captions under the wrong pictures", why="shuffled captions get there once in a hundred times",
    )  # fmt: skip


def _own_score(scores):
    """`scores (n, n)`: of picture i with caption j."""
    rng, all_of_them = np.random.default_rng(0), np.arange(len(scores))
    shuffled = [scores[all_of_them, rng.permutation(len(scores))].mean() for _ in range(DRAWS)]
    return above(np.diag(scores).mean(), chance(shuffled))


def claim_fid_sees(case, intact, control, reference, *, name):
    """By FID, spoilt pictures are farther from the style than intact ones.

    Value: FID of the spoilt pictures less that of the intact ones. Threshold: what is reached once in a hundred times
    when both heaps are dealt out anew. Control: other pictures with nothing wrong in them, in place of the spoilt ones.

    Args:
        case, intact, control: pooled features `(n, d)` of as many pictures each, see `look`.
        reference: pooled features of the style.
        name: what was done to the pictures.
    """
    if not len(case) == len(intact) == len(control):
        raise DislibError(f"{len(case)}, {len(intact)} and {len(control)} pictures; FID needs as many of each")
    return check(
        f"FID sees this: {name}", lambda case, intact: _farther(case, intact, reference), (case, intact),
        (control, intact), text=f"FID is {{value}} higher for these {len(case)} pictures than for intact ones.",
        against="with other intact pictures in place of the spoilt ones", unit="{:.1f}",
        why="chance gets there once in a hundred times, when both heaps are dealt out anew",
    )  # fmt: skip


def _farther(case, intact, reference, draws=199):
    fid = FrechetDraws(np.concatenate([case, intact]), reference)
    counts = np.repeat([1.0, 0.0], [len(case), len(intact)])
    more = lambda counts: fid(counts) - fid(1 - counts)
    rng = np.random.default_rng(0)
    return above(more(counts), chance([more(rng.permutation(counts)) for _ in range(draws)]))


def claim_too_large(reference, *, n=25, metric="fid", control="kid", draws=50, seed=0):
    """FID of few faultless pictures is too large; KID is not.

    Value: the share of sets of n fresh pictures of the style whose distance to it comes out above the truth, 0.
    Threshold: the share that an honest metric, too large as often as too small, reaches once in a hundred times.
    Control: the other metric on the same sets.

    Args:
        reference: a `reference.Reference` that holds a "floor".
        n: pictures in a set.
        metric, control: "fid" or "kid".
        draws: number of sets.
        seed: of the sets.
    """
    found = {name: _of_sets(reference, n, name, draws, seed) for name in (metric, control)}
    return check(
        f"Of {n} faultless pictures, {metric.upper()} is too large", _too_often_above, (found[metric],), (found[control],),
        text=f"Of {draws} sets of {n} fresh pictures of the style, {metric.upper()} puts {{value}} above the truth, 0.",
        against=f"by {control.upper()}, on the same sets", unit="{:.0%}",
        why="a metric that is too large as often as too small gets there once in a hundred times",
    )  # fmt: skip


def _too_often_above(values):
    honest = np.random.default_rng(0).binomial(len(values), 0.5, size=9999) / len(values)
    return above(np.mean(np.asarray(values) > 0), chance(honest))


def _of_sets(reference, n, metric, draws, seed):
    fresh = _fresh(reference)
    _check_numbers([n], len(fresh), draws)
    distance = FrechetDraws(fresh, reference.pooled) if metric == "fid" else KernelDraws(fresh, reference.pooled, cubic_kernel)
    rng = np.random.default_rng(seed)
    return np.array([distance(_chosen(len(fresh), n, rng)) for _ in range(draws)])


def claim_copies(made, fresh, training, held_out, judge=None):
    """A model's pictures lie nearer to the images it was trained on than to as many others of the style.

    Value: share of pictures whose nearest image is one of training. Threshold: the share that is reached once in a
    hundred times when it is drawn by lot which images count as those of training. Control: fresh pictures of the style.

    Args:
        made: pictures by the model.
        fresh: pictures of the style that no model made.
        training, held_out: as many images of the style each.
        judge: see `copying`.
    """
    if not training or len(training) != len(held_out):
        raise DislibError(f"{len(training)} training and {len(held_out)} held-out images; give as many of both")
    far = [distances(pictures, [*training, *held_out], judge) for pictures in (made, fresh)]
    by = "layout (pixels of a thumbnail)" if judge is None else "content (the judge's features)"
    return check(
        "The model leans on its training images", _leaning, far[:1], far[1:], unit="{:.0%}",
        text=f"By {by}, the nearest image is one of training for {{value}} of {len(made)} pictures; half would be fair.",
        against="with fresh pictures of the style in place of the model's",
        why="chance gets there once in a hundred times, when lots are drawn which images were trained on",
    )  # fmt: skip


def _leaning(far):
    """`far (pictures, images)`, the first half of the images those of training."""
    rng, nearest = np.random.default_rng(0), far.argmin(axis=1)
    trained = np.arange(far.shape[1]) < far.shape[1] // 2
    share = lambda trained: trained[nearest].mean()
    return above(share(trained), chance([share(rng.permutation(trained)) for _ in range(DRAWS)]))


# --- the checks of the exercises ----------------------------------------------------------------------------------------


def check_frechet(function):
    """Exercise 1: `function(mean_a, std_a, mean_b, std_b)` is the squared Fréchet distance of two Gaussians on a line."""
    given = (1.0, 2.0, 4.0, 0.5)
    answer, verdict = call(function, *given)
    if verdict is not None:
        return verdict
    value, verdict = as_number(answer)
    if verdict is not None:
        return verdict
    (m, s, n, t) = given
    if abs(value - ((m - n) ** 2 + (s - t) ** 2)) < 1e-6:
        return right("FID is this with vectors: means are 128 (our judge) or 2,048 (Inception) numbers long, and spreads are "
                     "covariance matrices.")
    mistakes = {
        "The means are compared; the spreads are missing.": (m - n) ** 2,
        "The spreads are compared; the means are missing.": (s - t) ** 2,
        "FID is the *squared* distance: take no root.": math.hypot(m - n, s - t),
        "Compare standard deviations, not variances: (std_a - std_b) squared.": (m - n) ** 2 + (s**2 - t**2) ** 2,
        "Differences are squared before they are added.": abs(m - n) + abs(s - t),
        "That is the first half of it without its last term: s² + t² - 2 s t.": (m - n) ** 2 + s**2 + t**2,
        "The spreads are subtracted; both parts add to the distance.": (m - n) ** 2 - (s - t) ** 2,
        "The difference of the means is not squared yet.": abs(m - n) + (s - t) ** 2,
    }
    near = [text for text, wrong_value in mistakes.items() if abs(value - wrong_value) < 1e-6]
    return wrong((near or ["The square of the difference of means, plus that of the standard deviations."])[0])


def check_lowest(answer, rows, *, method, style, metric="nfid"):
    """Exercise 2: the guidance weight at which a method's metric is lowest."""
    value, verdict = as_number(answer)
    if verdict is not None:
        return verdict
    points = {row.guidance: row for row in rows if (row.method, row.style, row.metric) == (method, style, metric)}
    points.pop(None, None)
    if value not in points:
        return wrong(f"The sweep has no such weight; it has {', '.join(f'{w:g}' for w in sorted(points))}.")
    best = min(points.values(), key=lambda row: row.value)
    if value == best.guidance:
        return right(f"{best.value:.2f} at w = {value:g}, with a band from {best.low:.2f} to {best.high:.2f}.")
    return _lower_elsewhere(points[value], best, points)


def _lower_elsewhere(mine, best, points):
    """Right, if the value lies in the band of the lowest one; else wrong, with the likeliest mistake.

    All weights share prompts and initial latents, so what other prompts would do to one they do to its neighbour. The
    band of a difference is narrower than the two bands. That two bands overlap says little, then; a value within the
    lowest one's own band is asked for.
    """
    told = f"At w = {mine.guidance:g} it is {mine.value:.2f}"
    if mine.value <= best.high:
        return right(
            f"{told}, and {best.value:.2f} at w = {best.guidance:g}. Your value lies within the band of the lowest one, up to"
            f" {best.high:.2f}: these two we do not tell apart."
        )
    if mine.value == max(row.value for row in points.values()):
        return wrong(f"{told}: that is the highest point of the curve. Lower is nearer to the style.")
    if mine.guidance == min(points):
        return wrong(f"{told}: the curve begins there and falls at first. Follow it to where it turns.")
    if mine.guidance == max(points):
        return wrong(f"{told}: the curve ends there, and has long been rising. Follow it back to where it turns.")
    side = "right" if mine.guidance < best.guidance else "left"
    return wrong(f"{told}, above the band of the lowest point. The bottom lies farther to the {side}.")


def check_strength(answer, wins, losses):
    """Exercise 3: by how much a method is stronger than another after `wins` and `losses` against it: their log odds."""
    value, verdict = as_number(answer)
    if verdict is not None:
        return verdict
    truth = math.log(wins / losses)
    if abs(value - truth) < 0.01:
        return right(f"log({wins}/{losses}). Bradley and Terry's strengths are such logs, fitted to all pairs at once.")
    mistakes = {
        "That is the share of wins. Strengths are logs of the odds, wins against losses.": wins / (wins + losses),
        "These are the odds; take their logarithm.": wins / losses,
        "Mind the sign: the winner is the stronger one.": -truth,
        "Take the natural logarithm.": math.log10(wins / losses),
        "That is the difference of wins and losses; strengths are logs of their ratio.": wins - losses,
        "That is the log of the share of wins. Take that of the odds: wins over losses.": math.log(wins / (wins + losses)),
        "Take the natural logarithm, to the base e; yours is to the base 2.": math.log2(wins / losses),
    }
    near = [text for text, wrong_value in mistakes.items() if abs(value - wrong_value) < 0.01]
    return wrong((near or ["P(a beats b) = 1 / (1 + exp(b - a)); set it to the share of wins and solve for a - b."])[0])


NUMBERS = (10, 15, 25, 40, 60, 100, 150, 250, 400, 600, 800)
LEVEL = 0.95


class SmallSample(NamedTuple):
    """FID and KID of sets of `n` pictures: the mean over the sets, and between which ends 95 % of them lie."""

    n: int
    fid: Band
    kid: Band


def fid_against_n(reference, numbers=NUMBERS, draws=50, seed=0):
    """FID and KID of N of the reference's "floor" (fresh renders of the style) against the reference itself.

    Each draw is N different pictures of the floor. Sets of more than half of it share most of their pictures, so there
    the bands become too narrow; of all of it there is one set only.

    Args:
        reference: a `reference.Reference` that holds a "floor".
        numbers: the sizes N, each at least 2 and at most the number of pictures in the floor.
        draws: sets for each N.
        seed: of the draws.

    Returns:
        list of SmallSample, N rising.

    Raises:
        DislibError: a wrong N, no draws, or a reference without a floor.
    """
    fresh = _fresh(reference)
    _check_numbers(numbers, len(fresh), draws)
    distances = FrechetDraws(fresh, reference.pooled), KernelDraws(fresh, reference.pooled, cubic_kernel)
    rng, found = np.random.default_rng(seed), []
    for n in sorted(set(numbers)):
        sets = [_chosen(len(fresh), n, rng) for _ in range(draws if n < len(fresh) else 1)]
        found.append(SmallSample(n, *(_spread([distance(chosen) for chosen in sets]) for distance in distances)))
    return found


def _fresh(reference):
    """Features of the reference's fresh pictures of the style."""
    if FLOOR not in reference.others:
        raise DislibError(
            f"the reference {reference.style!r} has no {FLOOR!r}: no fresh pictures of the style to draw from; take the"
            " reference of a style that the course ships"
        )
    return check_features(reference.others[FLOOR]["pooled"], FLOOR)


def _check_numbers(numbers, most, draws):
    wrong = [n for n in numbers if not (n == int(n) and 2 <= n <= most)]
    if wrong or not len(numbers):
        told = f"N = {', '.join(f'{n:g}' for n in wrong)}" if wrong else "no N is given"
        raise DislibError(f"{told}; a distance needs from 2 pictures to the {most} that there are")
    if draws < 1:
        raise DislibError(f"{draws} draws; at least 1 is needed")


def _chosen(total, n, rng):
    """Counts `(total,)`: 1 for n rows, 0 for the others."""
    counts = np.zeros(total)
    counts[rng.choice(total, size=n, replace=False)] = 1
    return counts


def _spread(values):
    return Band(float(np.mean(values)), *map(float, np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])))


def small_samples_plot(found, *, style="", at=None, alt=None):
    """FID on the left, KID on the right, against N, with their bands; dashed: the true distance, 0.

    Args:
        found: what `fid_against_n` returned.
        style: its name, for the title.
        at: an N to be marked.
    """
    sizes = [sample.n for sample in found]
    with course_style():
        fig = CourseFigure(figsize=(9, 4.2), layout="constrained")
        for k, (ax, metric) in enumerate(zip(fig.subplots(1, 2), ("fid", "kid"))):
            _panel(ax, sizes, [getattr(sample, metric) for sample in found], COLOURS[k], at)
            ax.set(xlabel="number of pictures N", ylabel=f"{metric.upper()} to the style")
            ax.set_title({"fid": "FID: falls with N", "kid": "KID: 0 on average"}[metric])
        fig.suptitle(
            f"{style + ': ' if style else ''}fresh pictures of the very style", x=0.01, ha="left", weight="bold"
        )
    ends = found[0], found[-1]
    told = [f"{m.upper()} from {_at(ends[0], m)} to {_at(ends[1], m)}" for m in ("fid", "kid")]
    fig.alt = (
        alt or f"Fresh pictures of {style or 'a style'} against the style itself, where 0 is true: {'; '.join(told)}"
    )
    return fig


def _panel(ax, sizes, bands, colour, at):
    ax.set_xscale("log")
    ax.fill_between(sizes, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.2, linewidth=0)
    ax.plot(sizes, [b.value for b in bands], color=colour, marker="o")
    ax.axhline(0, color=GUIDE, linestyle="--", linewidth=1.6)
    ticks = [n for n in (2, 5, 10, 25, 60, 150, 400, 1000) if sizes[0] <= n <= sizes[-1]]
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    if at in sizes:
        chosen = bands[sizes.index(at)]
        ax.plot([at, at], [chosen.low, chosen.high], color=INK, linewidth=2.5, marker="_", markersize=14)
        ax.plot(at, chosen.value, color=INK, marker="o", markersize=11)


def _at(sample, metric):
    return f"{getattr(sample, metric)} at N = {sample.n}"
