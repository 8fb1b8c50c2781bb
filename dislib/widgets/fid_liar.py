"""*FID liar*: a slider for N, and what FID says of N faultless pictures; beside it KID, which says 0."""

import ipywidgets as widgets

from ..errors import DislibError
from ..figures.plots import png_bytes
from ..lessons.lesson_04 import NUMBERS, fid_against_n, small_samples_plot
from .panel import Panel, heading, markup, picture

PAUSE = 0.15  # seconds of rest before the figure is drawn
WIDTH = 760  # px of the figure


class FidLiar(Panel):
    """A slider for N: FID and KID of N fresh pictures of a style against the style itself, where the truth is 0.

    Args:
        reference: a `reference.Reference` that holds a "floor", e.g. `Reference.of("sketch", load_judge())`.
        numbers: the stops of the slider; all are measured once, in seconds.
        n: where the slider begins; by default in the middle.
        draws: sets of pictures for each N.
        seed: of the draws.
        pause: seconds of rest before the figure is drawn; 0 draws at every move.
        on_error: see `Panel`.

    Raises:
        DislibError: see `lesson_04.fid_against_n`; or `n` is none of the numbers.
    """

    def __init__(self, reference, *, numbers=NUMBERS, n=None, draws=50, seed=0, pause=PAUSE, on_error=None):
        super().__init__(on_error)
        self.style_name = reference.style
        self.found = {sample.n: sample for sample in fid_against_n(reference, numbers, draws, seed)}
        n = list(self.found)[len(self.found) // 2] if n is None else n
        if n not in self.found:
            raise DislibError(f"N = {n} was not measured; choose one of {', '.join(map(str, self.found))}")
        self._drawn = {}
        self._build(n)
        self._draw_soon = self.later(pause)
        self.draw()

    def draw(self):
        """Mark the present N in the figure, and say its numbers."""
        n = self.n.value
        if n not in self._drawn:
            self._drawn[n] = png_bytes(self.twin())
        self.view.value = self._drawn[n]
        self.told.value = markup(self._told(self.found[n]))

    def twin(self):
        """The figure with the present N marked."""
        return small_samples_plot(list(self.found.values()), style=self.style_name, at=self.n.value)

    def _told(self, sample):
        fid, kid = (f"<b>{b.value:.3g}</b> ({_spread(b)})" for b in sample[1:])
        return (
            f"{sample.n} fresh pictures of the very style, nothing wrong with them; the true distance is 0.<br>"
            f"FID says {fid}.<br>KID says {kid}."
        )

    def _build(self, n):
        self.n = widgets.SelectionSlider(
            options=[(str(n), n) for n in self.found],
            value=n,
            description="N pictures",
            layout=widgets.Layout(width="420px"),
            style={"description_width": "90px"},
        )
        self.n.observe(lambda _: self._draw_soon(), "value")
        self.view, self.told = picture(WIDTH), widgets.HTML()
        self.ui = widgets.VBox([heading("FID liar"), self.n, self.told, self.message, self.view])


def _spread(band):
    return f"95 % of such sets: {band.low:.2g} to {band.high:.2g}" if band.low < band.high else "one set, all there are"
