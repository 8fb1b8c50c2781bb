"""What each metric sees and does not see: pictures of a style, spoilt in one way at a time, measured by all of them.

cases(style, other) -> {"blurred": (images, prompts), ...} --(measure_cases)--> {"blurred": Measured(...), ...}
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from .bands import FrechetDraws, KernelDraws, all_draws, draw_counts
from .datasets import list_images, load_image, read_captions
from .errors import DislibError
from .judge import look
from .metrics import band, cubic_kernel, gaussian_kernel
from .models import data_dir

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
    from .plots import COLOURS, INK, PAPER, CourseFigure, style

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


def _share(row, rows):
    """Bottom and top of a row, as shares of the axes' height."""
    return 1 - (row + 0.95) / rows, 1 - (row + 0.05) / rows
