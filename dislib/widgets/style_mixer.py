"""*Style mixer*: two or three priors, weights of their own for mu and for sigma, and the picture that starts there."""

import ipywidgets as widgets
import torch

from ..core import sampling
from ..core.latents import decode
from ..core.prior import STARTS as ALL_STARTS
from ..core.prior import StylePrior
from ..core.schedulers import make_scheduler
from ..errors import DislibError, check_words
from ..figures.plots import image_grid
from ..files import digest_of
from .panel import Panel, beside, caption, described, heading, markup, picture, png

PAUSE = 0.2  # seconds of rest before a picture is painted
STARTS = ALL_STARTS[1:]  # those that hold something of the mixture
STEPS = 12
HALF = 0.5  # where all weights begin: there is room on both sides
SIDE = 150  # px of a picture


def mixed(priors, mean_weights, std_weights):
    """A prior whose mean and spread are mixed apart: mu = sum_i v_i mu_i, sigma = sum_i w_i sigma_i.

    Args:
        priors: at least one StylePrior, all of one model.
        mean_weights, std_weights: as many numbers each, not negative; both are divided by their sums.

    Raises:
        PriorError: wrong weights, or priors of different models; see `StylePrior.mix`.
    """
    of_mean, of_std = StylePrior.mix(priors, mean_weights), StylePrior.mix(priors, std_weights)
    more = {"mix of std": of_std.meta["mix"], "source": digest_of(of_mean.identity(), of_std.identity())}
    return StylePrior(of_mean.mean, of_std.std, {**of_mean.meta, **more})


def paint(pipe, prompt, seed, priors, start):
    """One picture of the prompt and seed from that start of each prior."""
    scheduler = make_scheduler(pipe)
    starts = torch.cat([prior.start([seed], start, scheduler=scheduler, steps=STEPS) for prior in priors])
    return sampling.paint(pipe, [prompt], range(len(starts)), latents=starts, steps=STEPS, scheduler=scheduler)[0]


class StyleMixer(Panel):
    """Sliders that mix two or three priors, mean and spread apart, and the picture that starts from the mixture.

    Args:
        pipe: a StableDiffusionPipeline: the base model for the start "leak", a tuned one for "paper" and "matched".
        priors: from style to StylePrior, two or three of them.
        prompt, seed: what is painted, and from which noise.
        start: "paper", "matched" or "leak", see `StylePrior.start`.
        pause: seconds of rest before a picture is painted; 0 paints at every change.
        on_error: see `Panel`.

    Raises:
        DislibError: not two or three priors, or no such start.
        PriorError: a prior of another model.
    """

    def __init__(
        self, pipe, priors, prompt="a red house in the meadow", seed=3, *, start="leak", pause=PAUSE, on_error=None,
        **old,
    ):
        check_words(old, kind="start=")
        super().__init__(on_error)
        if not 2 <= len(priors) <= 3:
            raise DislibError(f"the mixer takes two or three priors, got {len(priors)}")
        for prior in priors.values():
            prior.check(pipe)
        self.pipe, self.priors, self._pure_of = pipe, priors, None
        self._build(prompt, seed, start)
        self._draw_soon = self.later(pause)
        self.draw()

    def draw(self):
        """Mix, paint from the mixture, and from each prior alone when prompt, seed or start is new."""
        mixture, chosen = self._mixture(), (self.prompt_box.value, self.seed_box.value, self.start.value)
        self.name_unknown(self.pipe, chosen[:1])
        if self._pure_of == chosen:
            (self.image,) = paint(self.pipe, *chosen[:2], [mixture], chosen[2])
        else:
            self.image, *self.pure = paint(self.pipe, *chosen[:2], [mixture, *self.priors.values()], chosen[2])
            self._pure_of = chosen
        self.mixture, (self.ground,) = mixture, decode(self.pipe, mixture.mean)
        self._show()

    def even(self):
        """Equal weights for all."""
        for slider in (*self.of_mean.values(), *self.of_std.values()):
            slider.value = HALF

    def twin(self):
        """The present mixture as a figure: the styles alone, mu decoded, and the picture."""
        return image_grid(
            [[*self.pure, None, self.image], [*decode(self.pipe, self._means()), None, self.ground]],
            row_labels=[f'"{self.prompt_box.value}" from the {self.start.value} start', "mu, decoded"],
            col_labels=[*self.priors, "", "the mixture"],
            title=f"{' : '.join(self.priors)} = {self._recipe()}",
        )

    def _means(self):
        return torch.stack([prior.mean for prior in self.priors.values()])

    def _weights(self, sliders):
        return [sliders[name].value for name in self.priors]

    def _mixture(self):
        for part, sliders in (("μ", self.of_mean), ("σ", self.of_std)):
            if not sum(self._weights(sliders)):
                raise DislibError(f"all weights of {part} are 0; give one of the styles some")
        return mixed(list(self.priors.values()), self._weights(self.of_mean), self._weights(self.of_std))

    def _recipe(self):
        """The mixture in words."""
        lines = []
        for part, sliders in (("mu", self.of_mean), ("sigma", self.of_std)):
            weights = self._weights(sliders)
            lines.append(f"{part} " + " : ".join(f"{weight / sum(weights):.0%}" for weight in weights))
        return ", ".join(lines)

    def _show(self):
        self.view.value, self.ground_view.value = png(self.image), png(self.ground)
        for view, image in zip(self.pure_views, self.pure):
            view.value = png(image)
        self.recipe.value = markup(self._recipe(), bold=True)

    def _build(self, prompt, seed, start):
        layout, label = widgets.Layout(width="340px"), {"description_width": "90px"}
        common = {"layout": layout, "style": label}
        if start not in STARTS:
            raise DislibError(f"there is no start {start!r}; choose one of {', '.join(STARTS)}")
        self.prompt_box = widgets.Text(prompt, description="Prompt", continuous_update=False, **common)
        self.seed_box = widgets.BoundedIntText(seed, min=0, max=9999, description="Seed", **common)
        self.start = widgets.Dropdown(options=STARTS, value=start, description="Start", **common)
        self.of_mean, self.of_std = (
            {
                name: widgets.FloatSlider(HALF, min=0, max=1, step=0.05, description=described(f"{part} {name}"), **common)
                for name in self.priors
            }
            for part in "μσ"
        )
        self.even_button = widgets.Button(description="Equal shares", icon="undo", layout=widgets.Layout(width="140px"))
        self.even_button.on_click(lambda _: self.press(self.even))
        for control in (self.prompt_box, self.seed_box, self.start, *self.of_mean.values(), *self.of_std.values()):
            control.observe(lambda _: self._draw_soon(), "value")
        self.ui = beside(self._controls(), self._views())

    def _controls(self):
        children = [
            heading("Style mixer"),
            self.prompt_box,
            self.seed_box,
            self.start,
            caption("How much of each style's mean (its colours and layout):"),
            *self.of_mean.values(),
            caption("How much of each style's spread (what it leaves open):"),
            *self.of_std.values(),
            self.even_button,
            self.message,
        ]
        return widgets.VBox(children, layout=widgets.Layout(width="356px", margin="0 16px 0 0"))

    def _views(self):
        self.view, self.ground_view, self.recipe = picture(216), picture(216), widgets.HTML()
        self.pure_views = [picture(SIDE) for _ in self.priors]
        pure = widgets.HBox([_under(name, view) for name, view in zip(self.priors, self.pure_views)])
        mixture = widgets.HBox([_under("from the mixture", self.view), _under("its μ, decoded", self.ground_view)])
        return widgets.VBox([self.recipe, mixture, caption("From each style alone:"), pure])


def _under(text, view):
    return widgets.VBox([caption(text), view], layout=widgets.Layout(margin="0 8px 8px 0"))
