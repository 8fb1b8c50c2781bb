"""*Design a style*: a look in six numbers, painted on scenes of the course's world."""

import dataclasses

import ipywidgets as widgets

from ..escaping import for_html
from ..figures.plots import image_grid
from ..lessons.lesson_07 import Look, Workshop, paint_set
from .paint_latent import PAUSE, side_by_side
from .panel import Panel, beside, caption, markup, picture, png

SHOWN = 4  # scenes of the preview
WORDS = {"paper": "Paper", "ink": "Ink", "wash": "Colour", "line": "Outline", "tones": "Tones", "border": "Border"}


class DesignStyle(Panel):
    """Sliders and colours of a `Look`, four scenes in it, and a button that paints the set into the workshop.

    Args:
        workshop: the lesson's `Workshop`.
        look: where the controls begin.
        n: pictures of the set.
        pause: seconds of rest before the preview is painted; 0 paints at every change.
        on_error: see `Panel`.
    """

    def __init__(self, workshop: Workshop, look: Look | None = None, *, n=24, pause=PAUSE, on_error=None):
        super().__init__(on_error)
        self.workshop, self.n = workshop, n
        self._build(look or Look())
        self._draw_soon = self.later(pause)
        self.draw()

    @property
    def look(self) -> Look:
        """The present look."""
        return Look(**{name: control.value for name, control in self.controls.items()})

    def draw(self):
        """Paint the preview."""
        self.images = [image for image, _ in paint_set(self.look, SHOWN)]
        self.view.value = png(side_by_side(self.images))
        self.recipe.value = markup(str(self.look))

    def paint(self):
        """Paint the whole set into `painted/` of the workshop."""
        self.workshop.paint(self.look, self.n)
        self.told.value = markup(f"{self.n} pictures are in {for_html(self.workshop.painted)}; run the next cells with them.")

    def twin(self):
        """The preview as a figure."""
        told = ", ".join(f"{WORDS[name].lower()} {value}" for name, value in dataclasses.asdict(self.look).items())
        return image_grid(self.images, rows=1, title="A style in six numbers", width=560,
                          alt=f"Four small scenes, all drawn in one look: {told}.")

    def _build(self, look):
        common = {"layout": widgets.Layout(width="320px"), "style": {"description_width": "70px"}}
        slider = {"continuous_update": False, **common}
        self.controls = {
            "paper": widgets.ColorPicker(value=look.paper, description="Paper", **common),
            "ink": widgets.ColorPicker(value=look.ink, description="Ink", **common),
            "wash": widgets.FloatSlider(look.wash, min=0, max=1, step=0.05, description="Colour", **slider),
            "line": widgets.IntSlider(look.line, min=0, max=6, description="Outline", **slider),
            "tones": widgets.IntSlider(look.tones, min=2, max=16, description="Tones", **slider),
            "border": widgets.FloatSlider(look.border, min=0, max=0.4, step=0.01, description="Border", **slider),
        }
        for control in self.controls.values():
            control.observe(lambda _: self._draw_soon(), "value")
        self.button = widgets.Button(description=f"Paint {self.n} pictures", icon="paint-brush")
        self.button.on_click(lambda _: self.press(self.paint))
        self.view, self.recipe, self.told = picture(SHOWN * 132), widgets.HTML(), widgets.HTML()
        side = widgets.VBox([caption("Design a style", bold=True), *self.controls.values(), self.button, self.told,
                             self.message], layout=widgets.Layout(margin="0 16px 0 0"))
        self.ui = beside(side, widgets.VBox([self.view, self.recipe]))
