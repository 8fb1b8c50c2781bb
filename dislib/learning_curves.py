"""The learning curves as a figure: style match against iterations, out of what `learning` keeps."""

from .errors import DislibError
from .learning import BOTH, over_seeds, pick
from .plots import curve

LABELS = {
    "plain": "plain fine-tuning",
    "plain-leak": "plain, signal leak",
    "style": "style noise, paper's start",
    "style-matched": "style noise, matched start",
}


def learning_figure(rows, style, *, metric="fid", images=50, labels=LABELS):
    """A curve for each method against iterations, with the band over training runs and prompts.

    Args:
        rows: of `learning.read_learning`.
        style: one of theirs.
        metric: "fid", "kid" or "clip".
        images: how many were trained on.
        labels: from method to its name; methods that were not measured are left out.

    Raises:
        DislibError: nothing of the kind was measured.
    """
    rows = over_seeds(pick(rows, style=style, metric=metric))
    measured = pick(rows, images=images, variant=BOTH)
    # The base model is the beginning of every curve, and is measured once for each start.
    lines = {name: sorted(pick(measured, method=name), key=lambda row: row.iterations) for name in labels}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        raise DislibError(f"there is no {metric} of {style} with {images} images; run `python -m dislib.tiny learning`")
    floor = pick(rows, method="floor")[:1]
    return curve(
        {labels[name]: [str(row.iterations) for row in line] for name, line in lines.items()},
        {labels[name]: [row.value for row in line] for name, line in lines.items()},
        bands={labels[name]: ([r.low for r in line], [r.high for r in line]) for name, line in lines.items()},
        lines={"as near as can be": floor[0].value} if floor else None,
        xlabel="iterations",
        ylabel="CLIP score" if metric == "clip" else f"{metric.upper()} (less is nearer to the style)",
        title=f"{style}: what was learnt when",
        yscale="linear" if metric == "clip" else "log",
    )
