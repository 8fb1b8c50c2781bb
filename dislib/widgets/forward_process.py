"""*Forward process*: a slider for t, and what becomes of a picture in white noise and in the noise of its style."""

import ipywidgets as widgets
import torch

from ..core.latents import decode, encode, white_noise
from ..core.pipeline import image_size, latent_shape
from ..errors import DislibError
from ..figures.plots import image_grid
from ..images.images import prepare_image
from .paint_latent import MAP, channel_maps, side_by_side
from .panel import Panel, beside, caption, heading, markup, picture, png

PAUSE = 0.1  # seconds of rest before the pictures are decoded
SHOWN_T = (0, 250, 500, 750, 999)  # of the static twin
NOISES = ("white", "style")


def noised(scheduler, z, eps, t):
    """z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps, as in training.

    Args:
        scheduler: a diffusers scheduler, for its abar.
        z, eps: latent and noise (c, h, w).
        t: timestep, from 0 to 999.

    Returns:
        (z_t, a, b) with a = sqrt(abar_t) and b = sqrt(1 - abar_t).
    """
    abar = float(scheduler.alphas_cumprod[t])
    a, b = abar**0.5, (1 - abar) ** 0.5
    return a * z + b * eps, a, b


def both_noises(prior, u):
    """From noise to eps: white u, and the same u dressed in the style's mean and spread."""
    return {"white": u, "style": prior.mean + prior.std * u}


class ForwardProcess(Panel):
    """A slider for t: one picture on its way into white noise and into the noise of its style, side by side.

    Args:
        pipe: a StableDiffusionPipeline.
        pictures: from style to a PIL picture of it.
        priors: from style to its StylePrior; the same styles.
        style: the one shown at first; by default the first of them.
        t: where the slider begins.
        seed: of the white noise u, which both noises are made of.
        pause: seconds of rest before the pictures are decoded; 0 decodes at every change.
        on_error: see `Panel`.

    Raises:
        DislibError: pictures and priors of different styles.
    """

    def __init__(self, pipe, pictures, priors, *, style=None, t=999, seed=0, pause=PAUSE, on_error=None):
        super().__init__(on_error)
        if not priors or set(pictures) != set(priors):
            raise DislibError(
                f"pictures of {', '.join(pictures) or 'no style'} and priors of {', '.join(priors) or 'no style'};"
                " give one of each for the same styles"
            )
        for prior in priors.values():
            prior.check(pipe)
        self.pipe, self.priors = pipe, priors
        ready = [prepare_image(pictures[name], image_size(pipe)) for name in priors]
        self.pictures, self.z = dict(zip(priors, ready)), dict(zip(priors, encode(pipe, ready)))
        self._build(style or next(iter(priors)), t, seed)
        self._draw_soon = self.later(pause)
        self.draw()

    def draw(self):
        """Show z_t for the present style, seed and t."""
        self.latents, a, b = self._at(self.t.value)
        self.clean_view.value = png(self.pictures[self.style.value])
        self.images = dict(zip(NOISES, decode(self.pipe, torch.stack([self.latents[name] for name in NOISES]))))
        for name in NOISES:
            self.views[name].value = png(self.images[name])
            self.strips[name].value = png(side_by_side(channel_maps(self.latents[name], side=MAP)))
        self.sums["white"].value = markup(f"z<sub>t</sub> = {a:.2f} z + {b:.2f} u")
        self.sums["style"].value = markup(f"z<sub>t</sub> = {a:.2f} z + {b:.2f} (μ + σ u)")
        self.mean_line.value = markup(self._means())

    def twin(self):
        """The present style's way into both noises as a figure."""
        rows = [[self._at(t)[0][name] for t in SHOWN_T] for name in NOISES]
        images = decode(self.pipe, torch.stack([z for row in rows for z in row]))
        return image_grid(
            images,
            rows=2,
            row_labels=["white noise: eps = u", "style noise: eps = μ + σ u"],
            col_labels=[f"t = {t}" for t in SHOWN_T],
            title=f"Forward process of a {self.style.value}: z_t, decoded",
        )

    def _at(self, t):
        """From noise to z_t; and the weights a and b."""
        name = self.style.value
        u = white_noise([self.seed_box.value], latent_shape(self.pipe))[0]
        made = {
            k: noised(self.pipe.scheduler, self.z[name], eps, t) for k, eps in both_noises(self.priors[name], u).items()
        }
        return {k: z_t for k, (z_t, _, _) in made.items()}, *made["white"][1:]

    def _means(self):
        """What is left of the style's mean in both, as a share of it."""
        mu = self.priors[self.style.value].mean
        left = {name: float((z * mu).sum() / mu.square().sum()) for name, z in self.latents.items()}
        return (
            f"Of the style's mean μ, z<sub>t</sub> holds {left['white']:.2f} in white noise"
            f" and {left['style']:.2f} in style noise."
        )

    def _build(self, style, t, seed):
        layout, label = widgets.Layout(width="360px"), {"description_width": "60px"}
        common = {"layout": layout, "style": label}
        self.t = widgets.IntSlider(t, min=0, max=len(self.pipe.scheduler.alphas_cumprod) - 1, description="t", **common)
        self.style = widgets.Dropdown(options=list(self.priors), value=style, description="Style", **common)
        self.seed_box = widgets.BoundedIntText(seed, min=0, max=9999, description="Seed", **common)
        for control in (self.t, self.style, self.seed_box):
            control.observe(lambda _: self._draw_soon(), "value")
        self.views, self.strips = ({name: picture(width) for name in NOISES} for width in (216, 4 * MAP + 12))
        self.sums, self.mean_line = {name: widgets.HTML() for name in NOISES}, widgets.HTML()
        controls = [
            heading("Forward process"),
            self.t,
            self.style,
            self.seed_box,
            self.mean_line,
            self.message,
        ]
        side = widgets.VBox(controls, layout=widgets.Layout(width="376px", margin="0 16px 0 0"))
        self.clean_view = picture(216)
        words = widgets.VBox([caption("the picture itself", bold=True)], layout=_beside())
        clean = widgets.HBox([self.clean_view, words], layout=_below())
        self.ui = beside(side, widgets.VBox([clean, *map(self._row, NOISES)]))

    def _row(self, name):
        words = [caption(f"{name} noise", bold=True), self.sums[name], self.strips[name]]
        return widgets.HBox([self.views[name], widgets.VBox(words, layout=_beside())], layout=_below())


def _beside():
    return widgets.Layout(margin="0 0 0 12px")


def _below():
    return widgets.Layout(margin="0 0 10px 0")
