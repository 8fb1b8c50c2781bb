"""*Guidance strip*: a slider for the guidance weight, and what every method paints there, side by side."""


import ipywidgets as widgets

from ..errors import DislibError
from ..escaping import for_html
from ..figures.plots import image_grid
from ..images.sheets import by_style
from ..training.methods import METHODS
from .panel import Panel, beside, caption, heading, markup, picture, png

PAUSE = 0.05  # seconds of rest before the pictures change
SHOWN = 6  # weights of the static twin at most: more of them would be too small to see
SIDE, SMALL, MANY = 128, 72, 6  # px of a picture, and in a twin of more methods than these


def label_of(method):
    """A method's name in words; names that the course does not know stay as they are."""
    return METHODS[method].label if method in METHODS else str(method)


def some(names, count):
    """At most `count` of the names, evenly apart, the first and the last among them.

    >>> some([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    if len(names) <= count:
        return list(names)
    return [names[round(k * (len(names) - 1) / (count - 1))] for k in range(count)]


class GuidanceStrip(Panel):
    """A slider over the guidance weights: the picture of each method, from one prompt and one initial latent.

    Args:
        sheets: from style to Sheet (a method a row, a guidance weight a column), all with the same weights; or one
            Sheet.
        style: the one shown at first; by default the first.
        weight: where the slider begins; by default in the middle.
        methods: which rows are shown; by default all.
        examples: from style to a picture of it, which stands first.
        pause: seconds of rest before the pictures change; 0 changes them at every move.
        on_error: see `Panel`.

    Raises:
        DislibError: sheets of different weights, or a style, weight or method that they do not hold.
    """

    def __init__(
        self, sheets, *, style=None, weight=None, methods=None, examples=None, pause=PAUSE, on_error=None
    ):
        super().__init__(on_error)
        self.examples = examples or {}
        self.sheets = by_style(sheets)
        self.weights = _weights(self.sheets)
        there = list(dict.fromkeys(name for sheet in self.sheets.values() for name in sheet.rows))
        self.methods = list(methods or there)
        style = style or next(iter(self.sheets))
        weight = self.weights[len(self.weights) // 2] if weight is None else weight
        for what, value, known in (
            ("style", style, list(self.sheets)),
            ("weight", weight, self.weights),
            *(("method", name, there) for name in self.methods),
        ):
            if value not in known:
                raise DislibError(f"there is no {what} {value!r}; choose one of {', '.join(map(str, known))}")
        self._build(style, weight)
        self._draw_soon = self.later(pause)
        self.draw()

    def draw(self):
        """Show every method at the present weight; those without a picture of the style are hidden."""
        sheet = self.sheets[self.style.value]
        example = self.examples.get(self.style.value)
        self.example_cell.layout.display = "none" if example is None else ""
        if example is not None:
            self.example.value = png(example)
        for name in self.methods:
            there = name in sheet.rows
            self.cells[name].layout.display = "" if there else "none"
            if there:
                self.views[name].value = png(sheet.at(name, self.weight.value))
        self.told.value = markup(self._told())

    def twin(self):
        """The present style as a figure: a method a row, some of the weights."""
        sheet = self.sheets[self.style.value]
        names = [name for name in self.methods if name in sheet.rows]
        weights = some(self.weights, SHOWN)
        return image_grid(
            [[sheet.at(name, weight) for weight in weights] for name in names],
            row_labels=[label_of(name) for name in names],
            col_labels=[f"w = {weight:g}" for weight in weights],
            title=f"{self.style.value}{self._prompt()}, along the guidance weight",
            tile=SMALL if len(names) > MANY else None,
        )

    def _prompt(self):
        prompt = self.sheets[self.style.value].facts.get("prompt")
        return f': "{prompt}"' if prompt else ""

    def _told(self):
        return for_html(f"w = {self.weight.value:g}, {self.style.value}{self._prompt()}")

    def _build(self, style, weight):
        common = {"layout": widgets.Layout(width="420px"), "style": {"description_width": "110px"}}
        self.weight = widgets.SelectionSlider(
            options=[(f"{w:g}", w) for w in self.weights], value=weight, description="Guidance w", **common
        )
        self.style = widgets.Dropdown(options=list(self.sheets), value=style, description="Style", **common)
        for control in (self.weight, self.style):
            control.observe(lambda _: self._draw_soon(), "value")
        self.views, self.told = {name: picture(SIDE) for name in self.methods}, widgets.HTML()
        self.cells = {name: _cell(name, view) for name, view in self.views.items()}
        self.example = picture(SIDE)
        self.example_cell = _cell("a picture of the style", self.example)
        controls = [heading("Guidance strip"), self.weight, self.style, self.told, self.message]
        self.ui = widgets.VBox([*controls, beside(self.example_cell, *self.cells.values())])


def _cell(name, view):
    words = caption(label_of(name), height="40px", width=f"{SIDE}px", margin="0")
    return widgets.VBox([view, words], layout=widgets.Layout(width=f"{SIDE + 10}px", margin="0 0 4px 0", overflow="hidden"))


def _weights(sheets):
    weights = [list(sheet.columns) for sheet in sheets.values()]
    for style, other in zip(sheets, weights):
        if other != weights[0]:
            raise DislibError(
                f"the sheet of {style!r} has the weights {other}, the first one {weights[0]}; give sheets of the same"
            )
    return weights[0]
