"""*Will it fit?*: what a training at the size of Stable Diffusion 1.5 keeps in memory, before any activation."""

import ipywidgets as widgets

from ..figures.plots import bars, png_bytes
from ..lessons.lesson_06 import T4, WEIGHTS, training_memory
from .panel import Panel, caption, markup, picture

WAYS = {"all weights": None, "a LoRA": 16}
STATES = {"32 bits": 8, "8 bits": 2}  # bytes a weight, of Adam's two numbers


def fit_figure(way, states, *, weights=WEIGHTS, gpu=T4):
    """The parts as bars, with the GPU's memory as a line; (figure, their sum in GiB)."""
    parts = training_memory(weights, rank=WAYS[way], adam_bytes=STATES[states])
    total = sum(parts.values())
    figure = bars({**parts, "together": total}, lines={"this GPU has": gpu}, xlabel="GiB",
                  title=f"Training {way}, Adam in {states}")
    return figure, total


class WillItFit(Panel):
    """Choose what is trained, Adam's number format and the GPU, and see what fits, by arithmetic alone.

    Args:
        weights: of the U-Net; by default those of Stable Diffusion 1.5.
        way, states, gpu: where the controls begin.
        on_error: see `Panel`.
    """

    def __init__(self, *, weights=WEIGHTS, way="all weights", states="8 bits", gpu=15, on_error=None):
        super().__init__(on_error)
        self.weights, options = weights, {"style": {"description_width": "90px"}}
        self.way = widgets.ToggleButtons(options=list(WAYS), value=way, description="Train", **options)
        self.states = widgets.ToggleButtons(options=list(STATES), value=states, description="Adam in", **options)
        self.gpu = widgets.IntSlider(gpu, min=4, max=80, description="GPU, GiB", continuous_update=False, **options)
        self.view, self.told = picture(720), widgets.HTML()
        for control in (self.way, self.states, self.gpu):
            control.observe(lambda _: self.act(self.draw), "value")
        self.ui = widgets.VBox(
            [caption("Will it fit?", bold=True), self.way, self.states, self.gpu, self.told, self.message, self.view]
        )
        self.draw()

    def draw(self):
        """Bring the figure and the sentence up to date."""
        figure, total = self._figure()
        self.view.value, left = png_bytes(figure), self.gpu.value - total
        self.told.value = markup(
            f"{left:.1f} GiB are left for activations, which no arithmetic tells: run and see." if left > 0
            else f"It does not fit: {-left:.1f} GiB too much, before the first activation."
        )

    def twin(self):
        """The present figure."""
        return self._figure()[0]

    def _figure(self):
        return fit_figure(self.way.value, self.states.value, weights=self.weights, gpu=self.gpu.value)
