"""Figures of the course: readable on a projector and on a dark page, in colours that colour-blind eyes tell apart.

Every function returns a matplotlib Figure that carries a text alternative and shows itself, as a picture of at
most 150 kB, as the last line of a cell. Nothing here draws through pyplot, so no figure is shown twice or kept open.
"""

import base64
import io
import itertools
import textwrap
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from PIL import Image

from ..errors import DislibError
from ..escaping import for_html
from ..files import write_atomic
from ..images.images import upright_rgb

LIMIT = 150_000  # bytes: a notebook full of figures stays under 2 MB
DPI = 100  # one tile pixel of an image grid is one pixel of the PNG
WIDTH = 960  # px, the width of a notebook page
INK, PAPER, GUIDE, BAR = "#1b1b1b", "#fbfbf8", "#767676", "#56B4E9"
# Okabe and Ito 2008, without its yellow, which is lost on a light ground.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "osD^vPX"
DIVERGING = "PuOr_r"

RC = {
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER, "savefig.transparent": False,
    "figure.dpi": DPI, "font.size": 12, "axes.titlesize": 13, "axes.labelsize": 12, "figure.titlesize": 14,
    "xtick.labelsize": 11, "ytick.labelsize": 11, "legend.fontsize": 11, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.prop_cycle": mpl.cycler(color=COLOURS), "lines.linewidth": 2.2, "lines.markersize": 6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "text.parse_math": False,  # prompts and names may hold a $
    "axes.axisbelow": True, "axes.titlelocation": "left", "image.interpolation": "nearest",
}


@contextmanager
def style():
    """The course's look for figures of your own: `with style(): fig, ax = plt.subplots()`."""
    with mpl.rc_context(RC):
        yield


class CourseFigure(Figure):
    """A matplotlib Figure with a text alternative, `alt`, that a notebook shows as a small picture."""

    alt = ""

    def _ipython_display_(self):
        from IPython.display import display

        data, metadata = shown(self)
        display(data, metadata=metadata, raw=True)


def shown(fig, *, limit=LIMIT):
    """What IPython's `display(data, metadata=metadata, raw=True)` takes, a picture of at most `limit` bytes.

    PNG, which keeps lines and letters sharp; where that is too large, as with many pictures in a grid, JPEG. It is
    an <img> in HTML, the one form in which JupyterLab, Voila and nbconvert's pages hand the text alternative on to
    those who need it: of a plain `image/png` they forget it.
    """
    picture = _drawn(fig)
    kind, data = "image/png", _png(picture)
    if len(data) > limit:
        kind, data = "image/jpeg", _jpeg(picture, limit)
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"text/html": f'<img alt="{for_html(fig.alt)}" src="{source}">', "text/plain": fig.alt}, {}


def png_bytes(fig, *, limit=LIMIT):
    """The figure as PNG of at most `limit` bytes: in full colour, else in 256 colours, else smaller as well."""
    picture = _drawn(fig)
    data, scale = _png(picture), 1.0
    while len(data) > limit and scale > 0.05:
        size = [max(1, round(scale * side)) for side in picture.size]
        small = picture if scale == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)
        data = _png(small.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))
        scale *= min(0.95, (limit / len(data)) ** 0.5)
    return data


def _drawn(fig):
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=fig.dpi, facecolor=fig.get_facecolor())
    return Image.open(buffer).convert("RGB")


def _jpeg(picture, limit):
    """The best quality that fits; below 65 letters grow fringes, and a smaller picture is the better choice."""
    for scale, quality in itertools.product((1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1), (88, 80, 72, 65)):
        small = picture.resize([max(1, round(scale * side)) for side in picture.size], Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=quality, subsampling=0)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


def _png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=picture.mode == "P")  # full colour: a second for nothing
    return buffer.getvalue()


def save_png(fig, path, *, limit=LIMIT):
    """Write the figure to `path` as PNG of at most `limit` bytes, whole or not at all."""
    write_atomic(path, png_bytes(fig, limit=limit))


# --- pictures ---------------------------------------------------------------------------------------------------


def image_grid(
    images, *, rows=None, cols=None, row_labels=None, col_labels=None, title=None, alt=None, width=WIDTH, tile=None,
):
    """Pictures in rows and columns, pixel for pixel where they fit.

    Args:
        images: PIL pictures of one size, either rows of lists or one flat list in reading order; None leaves a gap.
        rows, cols: the layout of a flat list; one of them is enough, without both it is one row.
        row_labels, col_labels: texts, wrapped to fit.
        alt: text alternative; by default it is made of title and labels.
        width: the whole figure's, in px.
        tile: a picture's width in px, if not as large as `width` allows.
    """
    grid = _grid(images, rows, cols)
    for name, labels, count in (("row_labels", row_labels, len(grid)), ("col_labels", col_labels, len(grid[0]))):
        if labels is not None and len(labels) != count:
            raise DislibError(f"{len(labels)} {name} for {count} {name.split('_')[0]}s; give one each")
    layout = _Tiles(grid, row_labels, col_labels, title, width, tile)
    with style():
        fig = layout.draw()
    size = f"{len(grid)} x {len(grid[0])} pictures"
    labels = [f"{name}: {', '.join(map(str, t))}" for name, t in (("Rows", row_labels), ("Columns", col_labels)) if t]
    fig.alt = alt or ". ".join([f"{title} ({size})" if title else size, *labels])
    return fig


def strip(images, labels, *, title=None, alt=None, width=WIDTH):
    """Pictures side by side, each under its label."""
    return image_grid([list(images)], col_labels=labels, title=title, alt=alt, width=width)


def _grid(images, rows, cols):
    images = list(images)
    if not images:
        raise DislibError("there are no pictures to show: the list is empty")
    if not isinstance(images[0], (list, tuple)):
        cols = cols or -(-len(images) // (rows or 1))
        images = [images[k : k + cols] for k in range(0, len(images), cols)]
    cols = max(map(len, images))
    return [[*row, *[None] * (cols - len(row))] for row in images]


class _Tiles:
    """Where everything of an image grid lies, in px; the arithmetic that keeps the pictures sharp."""

    gap, line, label_width = 4, 18, 160

    def __init__(self, grid, row_labels, col_labels, title, width, tile):
        self.grid, self.row_labels = grid, row_labels
        first = next((image for row in grid for image in row if image is not None), None)
        if first is None:
            raise DislibError("there are no pictures to show: all of them are None")
        self.left = self.label_width if row_labels else self.gap
        room = (width - self.left) // len(grid[0]) - self.gap
        self.tile = self._tile(first.size, min(tile or room, room))
        self.size = [self.left + len(grid[0]) * (self.tile[0] + self.gap), 0]
        self.title = _wrap(title, self.size[0], char=11.5) if title else []
        self.col_labels = [_wrap(t, self.tile[0]) for t in col_labels or []]
        self.head = 26 * len(self.title) + self.line * max(map(len, self.col_labels), default=0) + 2 * self.gap
        self.size[1] = self.head + len(grid) * (self.tile[1] + self.gap)

    @staticmethod
    def _tile(native, room):
        """Own size where that fits, up to one and a half of it where there is room, smaller where there is not."""
        scale = room / native[0]
        scale = min(scale, 1.5) if scale < 1 or scale >= 1.5 else 1.0
        return max(round(native[0] * scale), 8), max(round(native[1] * scale), 8)

    def draw(self):
        fig = CourseFigure(figsize=[side / DPI for side in self.size], dpi=DPI)
        for k, line in enumerate(self.title):
            self._text(fig, self.gap, 26 * k + 4, line, va="top", fontsize=14, fontweight="bold")
        for k, lines in enumerate(self.col_labels):
            x = self.left + k * (self.tile[0] + self.gap) + self.tile[0] / 2
            self._text(fig, x, self.head - self.gap - 4, "\n".join(lines), ha="center", va="baseline")
        for k, label in enumerate(self.row_labels or []):
            y = self.head + k * (self.tile[1] + self.gap) + self.tile[1] / 2
            most = max(self.tile[1] // self.line, 1)  # a longer one would run into its neighbours
            self._text(fig, self.left - 8, y, "\n".join(_wrap(label, self.left - 16, lines=most)), ha="right", va="center")
        for r, row in enumerate(self.grid):
            for c, image in enumerate(row):
                if image is not None:
                    self._picture(fig, image, self.left + c * (self.tile[0] + self.gap),
                                  self.head + r * (self.tile[1] + self.gap))
        return fig

    def _text(self, fig, x, y, text, *, fontsize=11, **kwargs):
        fig.text(x / self.size[0], 1 - y / self.size[1], text, fontsize=fontsize, linespacing=1.1, **kwargs)

    def _picture(self, fig, image, x, y):
        image = upright_rgb(image)
        if image.size != self.tile:
            image = image.resize(self.tile, Image.Resampling.LANCZOS)
        # figimage puts array pixels on canvas pixels; its origin is the lower left corner.
        fig.figimage(np.asarray(image), x, self.size[1] - y - self.tile[1])


def _wrap(text, width, *, char=8.6, lines=None):
    """Lines of `text` for `width` px at 11 pt, at most so many."""
    return textwrap.wrap(str(text), max(4, int(width / char)), max_lines=lines, placeholder=" ...") or [""]


def latent_maps(latent, *, title=None, centre=0.0, limit=None, labels=None, alt=None):
    """The channels of one latent (mu or sigma of a prior) side by side, in one diverging colour scale.

    Args:
        latent: `(c, h, w)`, array or tensor.
        centre: the value shown white: 0 for mu, 1 for sigma (white noise has mean 0 and sigma 1).
        limit: largest distance from the centre that is told apart; by default the largest there is.
        labels: a title for each channel; by default its mean and its rms.
    """
    maps = np.asarray(latent, dtype=np.float64)
    if maps.ndim != 3:
        raise DislibError(f"a latent of shape {maps.shape} is given; expected (channels, h, w), one latent")
    labels = labels or [f"channel {k}\nmean {m.mean():.2f}, rms {np.sqrt(np.mean(m**2)):.2f}"
                        for k, m in enumerate(maps)]
    limit = limit or float(np.abs(maps - centre).max()) or 1.0
    with style():
        fig = CourseFigure(figsize=(WIDTH / DPI, 3.1 if title else 2.8), layout="constrained")
        for k, (ax, label) in enumerate(zip(fig.subplots(1, len(maps)), labels)):
            shown = ax.imshow(maps[k], cmap=DIVERGING, vmin=centre - limit, vmax=centre + limit)
            ax.set(xticks=[], yticks=[])
            ax.set_title(label, fontsize=11, loc="center")
            ax.spines[:].set_visible(False)
        fig.colorbar(shown, cax=fig.axes[-1].inset_axes([1.06, 0, 0.07, 1]))  # as high as the maps
        fig.suptitle(title or "", x=0.01, ha="left", fontweight="bold")
    fig.alt = alt or ". ".join([title or "Channels of a latent", *(str(t).replace("\n", ": ") for t in labels)])
    return fig


# --- numbers ----------------------------------------------------------------------------------------------------


def curve(x, ys, *, bands=None, lines=None, xlabel="", ylabel="", title=None, xscale="linear", yscale="linear",
          alt=None):
    """One or several curves, each with its band.

    Args:
        x: `(n,)`, numbers or words, shared by all curves, or a dict from label to its own.
        ys: from label to values `(n,)`.
        bands: from label to `(low, high)`, each `(n,)`.
        lines: from label to the height of a dashed guide, e.g. `{"chance": 0.125}`.
    """
    with style():
        fig = CourseFigure(figsize=(8, 4.6), layout="constrained")
        ax = fig.subplots()
        ax.set(xscale=xscale, yscale=yscale)  # first: setting a scale takes the names off an axis of words
        for k, (label, y) in enumerate(ys.items()):
            at = x[label] if isinstance(x, dict) else x
            colour = COLOURS[k % len(COLOURS)]
            ax.plot(at, y, color=colour, marker=MARKERS[k % len(MARKERS)], label=label)
            if bands and label in bands:
                ax.fill_between(at, *bands[label], color=colour, alpha=0.2, linewidth=0)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        for axis in (axis for axis, scale in ((ax.xaxis, xscale), (ax.yaxis, yscale)) if scale == "log"):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))  # 20, not 2 x 10^1
            axis.set_minor_formatter(NullFormatter())
        for name, height in (lines or {}).items():
            ax.axhline(height, color=GUIDE, linestyle="--", linewidth=1.6, label=name)
        if len(ys) + len(lines or {}) > 1:
            ax.legend(frameon=True, facecolor=PAPER, edgecolor="none", framealpha=0.9)  # readable where a guide runs under it
        ax.set_title(title or "", fontweight="bold")
    told = [f"{label} from {np.asarray(y)[0]:.3g} to {np.asarray(y)[-1]:.3g}" for label, y in ys.items()]
    fig.alt = alt or f"{title or 'Curves'}: {ylabel or 'y'} against {xlabel or 'x'}; " + "; ".join(told)
    return fig


def bars(values, *, intervals=None, lines=None, xlabel="", title=None, digits=2, alt=None):
    """Horizontal bars with intervals and their numbers, first one on top.

    Args:
        values: from label to number.
        intervals: from label to `(low, high)`.
        lines: from label to the place of a dashed guide, e.g. `{"chance": 0.125}`.
    """
    names, numbers = list(values), np.array(list(values.values()), dtype=float)
    place = np.arange(len(names))
    with style():
        fig = CourseFigure(figsize=(8, 1.3 + 0.5 * len(names) + 0.3 * bool(lines)), layout="constrained")
        ax = fig.subplots()
        ax.barh(place, numbers, height=0.62, color=BAR)
        ends = numbers.copy()
        for k, (low, high) in ((names.index(n), i) for n, i in (intervals or {}).items()):
            ax.plot([low, high], [k, k], color=INK, linewidth=2, marker="|", markersize=10)
            ends[k] = max(high, numbers[k])
        for k, number in enumerate(numbers):
            at = (max(ends[k], 0), k)
            text = ax.annotate(f"{number:.{digits}f}", at, (6, 0), textcoords="offset points", va="center")
            text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 1.5})  # no guide runs through a number
        for k, (name, at) in enumerate((lines or {}).items()):
            ax.axvline(at, color=COLOURS[1 + k], linestyle="--", linewidth=2, label=f"{name} {at:.3g}")
        ax.set(yticks=place, yticklabels=names, xlabel=xlabel)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.margins(x=0.12)
        if lines:
            fig.legend(loc="outside lower right", ncols=len(lines))
        ax.set_title(title or "", fontweight="bold")
    told = [f"{name} {number:.{digits}f}" for name, number in values.items()]
    guides = [f"{name} {at:.3g}" for name, at in (lines or {}).items()]
    fig.alt = alt or f"{title or xlabel or 'Bars'}: " + ", ".join(told + guides)
    return fig
