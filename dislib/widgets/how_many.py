"""*How many images*: a slider for n, and what the mean and the spread of n pictures of a style look like."""

import ipywidgets as widgets
import numpy as np
import torch

from ..core.latents import decode
from ..core.pipeline import latent_shape
from ..errors import DislibError
from ..figures.plots import image_grid
from .paint_latent import channel_maps
from .panel import Panel, beside, caption, heading, markup, picture, png

PAUSE = 0.1  # seconds of rest before the mean is decoded
SHOWN = (2, 5, 15, 50, 100)  # of the static twin
SIDE = 216


def prior_of(latents, n, seed=0):
    """(mu, sigma) of n of the latents `(m, c, h, w)`; which come first is decided by the seed."""
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(seed))
    chosen = latents[order[:n]]
    return chosen.mean(0), chosen.std(0)


def how_far(prior, whole):
    """(error of mu, error of sigma) in units of sigma, rms over channels and positions."""
    unit = whole[1].square().mean().sqrt()
    return [float((part - other).square().mean().sqrt() / unit) for part, other in zip(prior, whole)]


class HowManyImages(Panel):
    """A slider for n: mu of n pictures, decoded, and sigma as a map. With more pictures both settle.

    Args:
        pipe: a StableDiffusionPipeline, for its decoder.
        latents: of a style's pictures `(m, c, h, w)`, m at least 4.
        name: of the style.
        n: where the slider begins.
        seed: decides which pictures come first.
        pause: seconds of rest before the mean is decoded; 0 decodes at every move.
        on_error: see `Panel`.

    Raises:
        DislibError: too few latents, of another shape, or an n that they do not allow.
    """

    def __init__(self, pipe, latents, *, name="the style", n=2, seed=0, pause=PAUSE, on_error=None):
        super().__init__(on_error)
        latents = torch.as_tensor(np.asarray(latents), dtype=torch.float32)
        if latents.ndim != 4 or len(latents) < 4 or tuple(latents.shape[1:]) != latent_shape(pipe):
            raise DislibError(f"latents of shape {tuple(latents.shape)}; give at least 4 of shape {latent_shape(pipe)}")
        if not 2 <= n <= len(latents):
            raise DislibError(f"n = {n}; a spread needs from 2 pictures to the {len(latents)} that there are")
        self.pipe, self.latents, self.name = pipe, latents, name
        self.whole = latents.mean(0), latents.std(0)
        self._build(n, seed)
        self._draw_soon = self.later(pause)
        self.draw()

    def draw(self):
        """Show mu and sigma of the present n."""
        n = self.n.value
        self.prior = prior_of(self.latents, n, self.seed_box.value)
        self.image, self.map = self._pictures(self.prior)
        self.views[0].value, self.views[1].value = png(self.image), png(self.map)
        self.told.value = markup(self._told(n, *how_far(self.prior, self.whole)))

    def twin(self):
        """Some n as a figure: mu, decoded, above; sigma below."""
        counts = [n for n in SHOWN if n <= len(self.latents)]
        pairs = [self._pictures(prior_of(self.latents, n, self.seed_box.value)) for n in counts]
        return image_grid(
            list(zip(*pairs)), row_labels=["mu, decoded", "sigma (white: 1)"], col_labels=[f"n = {n}" for n in counts],
            title=f"{self.name}: a prior of n pictures",
        )  # fmt: skip

    def _pictures(self, prior):
        mean, std = prior
        (image,) = decode(self.pipe, mean[None])
        return image, channel_maps(std.square().mean(0).sqrt()[None] - 1, side=image.width, limit=1.0)[0]

    def _told(self, n, of_mean, of_std):
        m = len(self.latents)
        theory = (1 / n - 1 / m) ** 0.5
        return (
            f"From the prior of all {m} pictures, μ of {n} is <b>{of_mean:.2f}</b> sigmas away (theory: {theory:.2f}),"
            f" and σ <b>{of_std:.2f}</b>."
        )

    def _build(self, n, seed):
        common = {"layout": widgets.Layout(width="420px"), "style": {"description_width": "110px"}}
        self.n = widgets.IntSlider(n, min=2, max=len(self.latents), description="n pictures", **common)
        self.seed_box = widgets.BoundedIntText(seed, min=0, max=9999, description="Which first", **common)
        for control in (self.n, self.seed_box):
            control.observe(lambda _: self._draw_soon(), "value")
        self.views, self.told = [picture(SIDE) for _ in range(2)], widgets.HTML()
        words = ("μ, decoded", "σ, rms over the channels (white: 1, violet: less)")
        shown = [
            widgets.VBox([caption(text), view], layout=widgets.Layout(margin="0 12px 0 0", width=f"{SIDE + 8}px"))
            for text, view in zip(words, self.views)
        ]
        self.ui = widgets.VBox([heading("How many images"), self.n, self.seed_box, self.told, self.message, beside(*shown)])
