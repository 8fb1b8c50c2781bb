"""The paper's figures out of a table of results: style against content along the guidance weight, with bands."""

import math
import re
from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ..errors import DislibError, shorten
from ..evaluation.ranking import chance
from ..evaluation.sweep_folder import read_plan, weights_in
from ..evaluation.table import FLOOR
from ..images.images import load_image
from .plots import COLOURS, GUIDE, INK, MARKERS, PAPER, WIDTH, CourseFigure, bars, image_grid
from .plots import style as course_style

NAMES = {
    "fid": "FID to the style (lower is closer)", "nfid": "normalised FID (base at the same w: 1)",
    "kid": "KID to the style (lower is closer)", "mmd": "MMD of CLIP features (lower is closer)",
    "clip": "CLIP score with the prompt (higher is closer)",
}  # fmt: skip
DASHES = ("-", "--", ":")  # a second and third round of colours
FEW = 3  # methods whose ends can be labelled without a muddle


def paper_curve(rows, *, style, metric="fid", yscale="linear", labels=None, title=None, alt=None):
    """The paper's figure: style (FID) over content (CLIP score), a point a guidance weight, with the bands of both.

    Down is closer to the style, right is closer to the prompt. A hollow marker is the lowest weight.

    Args:
        rows: of `measure` or `read_results`.
        style: which style.
        metric: "fid", "nfid", "kid" or "mmd".
        yscale: "log" shows methods of very different distances beside each other.
        labels: from method to the name shown; by default the methods' own.
    """
    points = _points(rows, style, metric, "clip", labels=labels)
    with course_style():
        fig = CourseFigure(figsize=(9, 5.6), layout="constrained")
        ax = fig.subplots()
        ax.set(xlabel=NAMES["clip"], ylabel=NAMES[metric])
        for k, (method, found) in enumerate(points.items()):
            _trace(ax, _look(k), method, found, labelled=len(points) <= FEW)
        ax.margins(0.08)
        _finish(fig, ax, _guides(rows, style, metric), yscale, title or f"{style}: style against content")
        if len(points) > FEW:
            ends = sorted({found[end][0] for found in points.values() for end in (0, -1)})
            ax.set_title(f"hollow: w = {ends[0]:g}, last: w = {ends[-1]:g}", fontsize=11, loc="right")
    told = [f"{method} from {_at(found[0])} to {_at(found[-1])}" for method, found in points.items()]
    fig.alt = alt or f"{style}, {metric} over CLIP score, a point a guidance weight: " + "; ".join(told)
    return fig


def against_guidance(rows, metric, *, style, yscale="linear", labels=None, title=None, alt=None):
    """A metric against the guidance weight, a curve with its band for each method, the floor dashed.

    Args:
        rows: of `measure` or `read_results`.
        metric: one of `table.METRICS`.
        style: which style.
        yscale: "log" shows methods of very different distances beside each other.
        labels: from method to the name shown; by default the methods' own.
    """
    points = _points(rows, style, metric, labels=labels)
    with course_style():
        fig = CourseFigure(figsize=(9, 5.2), layout="constrained")
        ax = fig.subplots()
        ax.set(xlabel="guidance weight w", ylabel=NAMES[metric])
        for k, (method, found) in enumerate(points.items()):
            at, look = [w for w, _ in found], _look(k)
            ax.plot(at, [row.value for _, row in found], label=method, **look)
            low, high = [row.low for _, row in found], [row.high for _, row in found]
            if len(found) == 1:  # a band of one point has no width
                ax.vlines(at, low, high, color=look["color"], alpha=0.5, linewidth=2)
            else:
                ax.fill_between(at, low, high, color=look["color"], alpha=0.2, linewidth=0)
        weights = sorted({w for found in points.values() for w, _ in found})
        if len(weights) > 1:
            _plain_log(ax.xaxis, ax.set_xscale)
        else:
            ax.set(xticks=weights, xlim=(weights[0] - 1, weights[0] + 1))
            ax.margins(y=0.25)  # room for the legend
        _finish(fig, ax, _guides(rows, style, metric), yscale, title or f"{style}: {NAMES[metric].split(' (')[0]}")
    ends = [(method, found[0], found[-1]) for method, found in points.items()]
    spans = [f" (w = {a[0]:g} to {b[0]:g})" if [a[0], b[0]] != [weights[0], weights[-1]] else "" for _, a, b in ends]
    told = [f"{method} from {a[1].value:.3g} to {b[1].value:.3g}{span}" for (method, a, b), span in zip(ends, spans)]
    span = f"from {weights[0]:g} to {weights[-1]:g}"
    fig.alt = alt or f"{style}, {metric} against the guidance weight {span}: " + "; ".join(told)
    return fig


def picture_sheet(folder, *, guidance=None, count=8, title=None):
    """The pictures that a sweep kept: a prompt a row, a guidance weight a column, one initial latent a row.

    Args:
        folder: the `out` of `sweep`.
        guidance: which weights; by default all.
        count: most rows.

    Raises:
        DislibError: the sweep kept no pictures.
    """
    folder, plan = Path(folder), read_plan(folder)
    weights = weights_in(folder / "pictures") if guidance is None else [float(w) for w in guidance]
    kept = [path.name for w in weights for path in (folder / "pictures" / f"w{w:g}").glob("*.png")]
    # A reader's own pictures may lie beside ours, which have five digits.
    files = sorted({name for name in kept if re.fullmatch(r"\d{5,}\.png", name) and int(name[:-4]) < len(plan)})[:count]
    if not files:
        raise DislibError(f"{folder} kept no pictures at the weights {weights}; sweep with pictures=8")
    prompts = [plan.texts()[int(name[:-4])] for name in files]
    grid = [[_open(folder / "pictures" / f"w{w:g}" / name) for w in weights] for name in files]
    columns, width = [f"w = {w:g}" for w in weights], max(WIDTH, 160 + 132 * len(weights))
    return image_grid(grid, row_labels=prompts, col_labels=columns, title=title, width=width)


def _open(path):
    return load_image(path) if path.is_file() else None


def _points(rows, style, *metrics, labels=None):
    """From method, or its label, to [(weight, row of metrics[0], row of metrics[1]...)], weights in order."""
    cells = {(r.method, r.guidance, r.metric): r for r in rows if r.style == style and r.guidance is not None}
    found = {}
    for method, weight in sorted({key[:2] for key in cells}, key=lambda key: key[1]):
        if all((method, weight, metric) in cells for metric in metrics):
            found.setdefault(method, []).append((weight, *(cells[method, weight, metric] for metric in metrics)))
    if not found:
        raise DislibError(f"there are no results of {' and '.join(metrics)} for the style {style!r}")
    order = list(dict.fromkeys(row.method for row in rows))
    return {_label((labels or {}).get(method, method)): found[method] for method in sorted(found, key=order.index)}


def _label(name):
    """Fit for a legend, from which matplotlib leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else shorten(name, 44)


def _guides(rows, style, metric):
    """Dashed lines: from label to height."""
    if metric == "nfid":
        drawn = any((r.style, r.metric, r.value) == (style, metric, 1.0) for r in rows)  # the base, by definition
        return {} if drawn else {"the base itself": 1.0}
    floors = [r for r in rows if (r.style, r.method, r.metric, r.guidance) == (style, FLOOR, metric, None)]
    return {f"floor: fresh renders, n = {row.n}": row.value for row in floors[:1]}


def _look(k):
    """Colour, dash and marker of the k-th method; 21 are told apart."""
    turn = k // len(COLOURS)
    marker = MARKERS[(k + 3 * turn) % len(MARKERS)]
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[turn % len(DASHES)], "marker": marker}


def _trace(ax, look, method, found, *, labelled):
    """One method: its line, faint crosses for the bands, a hollow first marker, and the weights at both ends."""
    x, y = [right.value for _, _, right in found], [row.value for _, row, _ in found]
    faint = {"color": look["color"], "alpha": 0.35, "linewidth": 1.4}
    for (_, row, right), at, height in zip(found, x, y):
        ax.plot([right.low, right.high], [height, height], **faint)
        ax.plot([at, at], [row.low, row.high], **faint)
    ax.plot(x, y, label=method, **look)
    ax.plot(x[0], y[0], **look, markersize=9, markerfacecolor=PAPER, markeredgewidth=2)
    for end in (0, -1) if labelled else ():
        ax.annotate(
            f"w = {found[end][0]:g}", (x[end], y[end]), (7, 7), textcoords="offset points", color=INK, fontsize=11,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},  # no guide runs through it
        )  # fmt: skip


def _finish(fig, ax, guides, yscale, title):
    """Scale, dashed guides, title, and a legend: inside while there is room, a long one below the axes."""
    for name, height in guides.items():
        if yscale == "log" and height <= 0:  # below all that the axis can show
            continue
        ax.axhline(height, color=GUIDE, linestyle="--", linewidth=1.6, label=name)
    if yscale == "log":
        _plain_log(ax.yaxis, ax.set_yscale)
    ax.set_title(title, fontweight="bold")
    count = len(ax.get_legend_handles_labels()[1])
    if count > FEW + 1:
        fig.legend(loc="outside lower center", ncols=3, handlelength=3)
    elif count > 1:
        ax.legend(handlelength=3)


def _plain_log(axis, set_scale):
    """A logarithmic axis whose numbers read 20, not 2 x 10^1."""
    set_scale("log")
    axis.set_major_locator(
        LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)) if axis.axis_name == "x" else LogLocator(subs=(1, 2, 5))
    )
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _at(found):
    weight, row, right = found
    return f"{row.value:.3g} at CLIP score {right.value:.3g} (w = {weight:g})"


def ranking_plot(ranking, *, labels=None, title=None):
    """The ranking as bars: the chance of being chosen over an average method, with its band.

    Args:
        ranking: what `bradley_terry` returned.
        labels: from method to the name shown.
    """
    name = {standing.method: (labels or {}).get(standing.method, standing.method) for standing in ranking}
    bands = {name[s.method]: (chance(s.low), chance(s.high)) for s in ranking if math.isfinite(s.low)}
    fig = bars(
        {name[s.method]: s.chance for s in ranking},
        intervals=bands,
        lines={"average": 0.5},
        xlabel="chance of being chosen over an average method",
        title=title,
    )
    fig.axes[0].set_xlim(0, 1.1)  # the same for every question, with room for the numbers
    return fig
