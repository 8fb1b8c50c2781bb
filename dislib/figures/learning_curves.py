"""What `learning` keeps as figures: style match against iterations, against images, and with parts of the prior."""

from ..errors import DislibError
from ..evaluation.learning import BOTH, VARIANTS, over_seeds, pick
from .plots import bars, curve

LABELS = {
    "plain": "plain fine-tuning",
    "plain-leak": "plain, signal leak",
    "style": "style noise, paper's start",
    "style-matched": "style noise, matched start",
}


def learning_figure(rows, style, *, metric="fid", images=50, labels=LABELS):
    """A curve for each method against iterations, with the band over training runs and prompts.

    Args:
        rows: of `read_learning`.
        style: one of theirs.
        metric: "fid", "kid" or "clip".
        images: how many were trained on.
        labels: from method to its name; methods that were not measured are left out.

    Raises:
        DislibError: nothing of the kind was measured.
    """
    title = f"{style}: what was learnt when"
    return _lines(rows, style, metric, "iterations", {"images": images, "variant": BOTH}, labels, title)


def images_figure(rows, style, *, metric="fid", iterations=100, labels=LABELS):
    """A curve for each method against the number of images, after the same number of iterations.

    Arguments and errors as of `learning_figure`.
    """
    title = f"{style}: how many images it takes ({iterations} iterations)"
    return _lines(rows, style, metric, "images", {"iterations": iterations, "variant": BOTH}, labels, title)


def parts_figure(rows, style, *, iterations=300):
    """FID with parts of the prior, as bars: both moments, the mean alone, the spread alone, one value a channel.

    Arguments and errors as of `learning_figure`.
    """
    rows = over_seeds(pick(rows, style=style, metric="fid"))
    found = {
        f"{variant}, {start} start": row
        for variant in VARIANTS
        for method, start in (("style", "paper's"), ("style-matched", "matched"))
        for row in pick(rows, iterations=iterations, images=50, variant=variant, method=method)
    }
    if not found:
        raise DislibError(f"there is no FID of {style} with parts of the prior; run `python -m recipes learning`")
    floor = pick(rows, method="floor")
    return bars(
        {name: row.value for name, row in found.items()},
        intervals={name: (row.low, row.high) for name, row in found.items()},
        lines={"as near as can be": floor[0].value} if floor else {},
        xlabel=f"FID after {iterations} iterations (less is nearer to the style)",
        title=f"{style}: what of the prior matters",
        digits=0,
    )


def _lines(rows, style, metric, axis, same, labels, title):
    """A curve for each method of `labels` along the field `axis` of the rows that have the values of `same`."""
    rows = over_seeds(pick(rows, style=style, metric=metric))
    measured = pick(rows, **same)
    # The base model is the beginning of every curve of iterations, and is measured once for each start.
    lines = {name: sorted(pick(measured, method=name), key=lambda row: getattr(row, axis)) for name in labels}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        told = " and ".join(f"{value} {key}" for key, value in same.items() if key != "variant")
        raise DislibError(f"there is no {metric} of {style} with {told}; run `python -m recipes learning`")
    floor = pick(rows, method="floor")[:1]
    return curve(
        {labels[name]: [str(getattr(row, axis)) for row in line] for name, line in lines.items()},
        {labels[name]: [row.value for row in line] for name, line in lines.items()},
        bands={labels[name]: ([r.low for r in line], [r.high for r in line]) for name, line in lines.items()},
        lines={"as near as can be": floor[0].value} if floor else None,
        xlabel=axis,
        ylabel="CLIP score" if metric == "clip" else f"{metric.upper()} (less is nearer to the style)",
        title=title,
        yscale="linear" if metric == "clip" else "log",
    )
