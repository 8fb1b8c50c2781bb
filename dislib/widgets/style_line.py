"""*From style to style*: one slider along the Wasserstein line between two priors, and the picture that starts there."""

import ipywidgets as widgets
import torch

from ..core.gaussian import wasserstein
from ..core.latents import decode
from ..core.prior import StylePrior
from ..errors import DislibError
from ..figures.plots import image_grid
from .panel import Panel, beside, caption, debounce, markup, picture, png
from .style_mixer import paint

PAUSE = 0.2  # seconds of rest before a picture is painted
PLACES = (0, 0.2, 0.4, 0.6, 0.8, 1)  # of the twin


def along(one, other, t):
    """The prior a share t of the way from one to the other: means and stds move evenly.

    Raises:
        PriorError: priors of different models or shapes, see `StylePrior.mix`.
    """
    return StylePrior.mix([one, other], [1 - t, t])


class StyleLine(Panel):
    """Two styles, a slider from one to the other, and what a model paints from there.

    Args:
        pipe: a StableDiffusionPipeline, the base model for the start "leak".
        priors: from style to StylePrior, at least two.
        one, other: the ends at first; by default the first two styles.
        prompt, seed: what is painted, and from which noise.
        start: "paper", "matched" or "leak", see `StylePrior.start`.
        pause: seconds of rest before a picture is painted; 0 paints at every change.
        on_error: see `Panel`.

    Raises:
        DislibError: fewer than two priors, or an end that is none of them.
        PriorError: a prior of another model.
    """

    def __init__(
        self, pipe, priors, one=None, other=None, *, prompt="a red house in the meadow", seed=3, start="leak",
        pause=PAUSE, on_error=None,
    ):  # fmt: skip
        super().__init__(on_error)
        if len(priors) < 2:
            raise DislibError(f"a line has two ends; got {len(priors)} prior")
        for prior in priors.values():
            prior.check(pipe)
        one, other = one or list(priors)[0], other or list(priors)[1]
        if missing := {one, other} - set(priors):
            raise DislibError(f"there is no prior of {', '.join(sorted(missing))}; there are {', '.join(priors)}")
        self.pipe, self.priors, self.start = pipe, priors, start
        self._build(one, other, prompt, seed)
        self._draw_soon = debounce(pause, lambda: self.act(self.draw))
        self.draw()

    def draw(self):
        """Paint the picture of the present place, and decode its mean."""
        self.prior = along(*self._ends(), self.slider.value)
        (self.image,) = paint(self.pipe, self.prompt_box.value, self.seed_box.value, [self.prior], self.start)
        (self.ground,) = decode(self.pipe, self.prior.mean)
        self.view.value, self.ground_view.value = png(self.image), png(self.ground)
        self.told.value = markup(self.distances(), bold=True)

    def distances(self):
        """How far it is to either end, in words."""
        names, ends = (self.one_box.value, self.other_box.value), self._ends()
        far = [wasserstein(self.prior, end) for end in ends]
        return f"W = {far[0]:.1f} from {names[0]}, {far[1]:.1f} from {names[1]}"

    def swap(self):
        """Go the other way: the two ends change places, and the picture stays where it is."""
        one, other, t = self.one_box.value, self.other_box.value, self.slider.value
        self.one_box.value, self.other_box.value, self.slider.value = other, one, 1 - t

    def twin(self):
        """The whole line as a figure: pictures above, decoded means below."""
        line = [along(*self._ends(), t) for t in PLACES]
        pictures = paint(self.pipe, self.prompt_box.value, self.seed_box.value, line, self.start)
        names = self.one_box.value, self.other_box.value
        return image_grid(
            [pictures, decode(self.pipe, torch.stack([prior.mean for prior in line]))],
            row_labels=[f'"{self.prompt_box.value}"', "mu, decoded"],
            col_labels=[names[0], *(f"t = {t:g}" for t in PLACES[1:-1]), names[1]],
            title=f"From {names[0]} to {names[1]}: one prompt, one seed, an untouched model",
        )

    def _ends(self):
        return self.priors[self.one_box.value], self.priors[self.other_box.value]

    def _build(self, one, other, prompt, seed):
        common = {"layout": widgets.Layout(width="340px"), "style": {"description_width": "60px"}}
        self.one_box = widgets.Dropdown(options=list(self.priors), value=one, description="From", **common)
        self.other_box = widgets.Dropdown(options=list(self.priors), value=other, description="To", **common)
        self.slider = widgets.FloatSlider(0.5, min=0, max=1, step=0.05, description="t", continuous_update=False, **common)
        self.prompt_box = widgets.Text(prompt, description="Prompt", continuous_update=False, **common)
        self.seed_box = widgets.BoundedIntText(seed, min=0, max=9999, description="Seed", **common)
        self.swap_button = widgets.Button(description="The other way", icon="exchange", layout=widgets.Layout(width="140px"))
        self.swap_button.on_click(lambda _: self.act(self.swap))
        controls = (self.one_box, self.other_box, self.slider, self.prompt_box, self.seed_box)
        for control in controls:
            control.observe(lambda _: self._draw_soon(), "value")
        self.view, self.ground_view, self.told = picture(216), picture(216), widgets.HTML()
        left = [caption("From style to style", bold=True), *controls, self.swap_button, self.message]
        right = widgets.HBox([_under("from there", self.view), _under("its μ, decoded", self.ground_view)])
        self.ui = beside(
            widgets.VBox(left, layout=widgets.Layout(width="356px", margin="0 16px 0 0")), widgets.VBox([self.told, right])
        )


def _under(text, view):
    return widgets.VBox([caption(text), view], layout=widgets.Layout(margin="0 8px 8px 0"))
