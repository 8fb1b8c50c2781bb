"""*Paint the latent*: sliders that add a constant, a soft blob or a checkerboard to channels of the initial latent."""

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import torch
from PIL import Image

from ..core import sampling
from ..core.latents import blob, checkerboard, white_noise
from ..core.pipeline import latent_shape
from ..errors import DislibError
from ..figures.plots import DIVERGING, image_grid
from .panel import Panel, beside, caption, heading, markup, picture, png

EVERYWHERE, BLOB, BOARD = "everywhere", "soft blob", "checkerboard"
PATTERNS = (EVERYWHERE, BLOB, BOARD)
MAP = 80  # px a channel's map: five a position of the embedded model
PAUSE = 0.15  # seconds of rest before a picture is painted


def pattern(kind, shape, *, x=0.5, y=0.5, radius=0.25):
    """What is added to a channel: 1 everywhere, a bump of height 1 at (x, y), or +1 and -1 in turn.

    Args:
        kind: one of `PATTERNS`.
        shape: shape (c, h, w) of a latent.
        x, y, radius: as for `core.latents.blob`; only the blob uses them.

    Returns:
        float32 tensor (h, w).

    Raises:
        DislibError: no such pattern.
    """
    if kind == EVERYWHERE:
        return torch.ones(shape[-2:])
    if kind == BLOB:
        return blob(shape, x, y, radius=radius)
    if kind == BOARD:
        return checkerboard(shape)
    raise DislibError(f"there is no pattern {kind!r}; choose one of {', '.join(PATTERNS)}")


def addition(amounts, kind, shape, **where):
    """What is added to an initial latent: on channel k, `amounts[k]` / N times the pattern.

    1 / N is the natural spread of a channel's mean, for N x N positions of white noise.

    Args:
        amounts: one number for each channel.
        kind, shape, where: see `pattern`.

    Returns:
        float32 tensor (c, h, w).

    Raises:
        DislibError: not one amount for each channel.
    """
    if len(amounts) != shape[0]:
        raise DislibError(f"{len(amounts)} amounts for a latent of {shape[0]} channels; give one each")
    return torch.tensor(amounts, dtype=torch.float32)[:, None, None] / shape[-1] * pattern(kind, shape, **where)


def channel_maps(latent, *, side, limit=3.0):
    """The channels of a latent (c, h, w) as PIL pictures of `side` px: purple below 0, white at 0, orange above.

    `limit` is where the colours end; white noise hardly ever goes farther than 3.
    """
    colours = mpl.colormaps[DIVERGING](0.5 + np.asarray(latent) / (2 * limit), bytes=True)  # (c, h, w, 4)
    maps = (Image.fromarray(np.ascontiguousarray(channel[..., :3])) for channel in colours)
    return [image.resize((side, side), Image.Resampling.NEAREST) for image in maps]


def side_by_side(images, *, gap=4):
    """Pictures of one size in a row, with nothing (transparent) between them."""
    width, height = images[0].size
    row = Image.new("RGBA", (len(images) * (width + gap) - gap, height))
    for k, image in enumerate(images):
        row.paste(image, (k * (width + gap), 0))
    return row


def paint(pipe, prompt, starts):
    """Pictures of one prompt from the given initial latents (n, c, h, w)."""
    return sampling.paint(pipe, [prompt], range(len(starts)), latents=starts)[0]


class PaintTheLatent(Panel):
    """Sliders that add a constant, a soft blob or a checkerboard to the channels of an initial latent.

    Args:
        pipe: a StableDiffusionPipeline.
        prompt, seed: what is painted, and from which noise.
        amounts: where the sliders of the channels begin, in units of 1 / N; by default +6 on channel 1.
        pause: seconds of rest before a picture is painted; 0 paints at every change.
        on_error: see `Panel`.
    """

    def __init__(self, pipe, prompt="a red house in the meadow", seed=1, *, amounts=None, pause=PAUSE, on_error=None):
        super().__init__(on_error)
        self.pipe, self.shape, self._before_of = pipe, latent_shape(pipe), None
        self._build(prompt, seed, amounts or [6 * (k == 1) for k in range(self.shape[0])])
        self._draw_soon = self.later(pause)
        self.draw()

    def draw(self):
        """Paint from noise + addition, and from the noise alone when prompt or seed is new."""
        prompt, seed = self.prompt_box.value, self.seed_box.value
        self.name_unknown(self.pipe, [prompt])
        noise, added = white_noise([seed], self.shape)[0], self._addition()
        starts = torch.stack([noise + added, noise])
        if self._before_of == (prompt, seed):
            (self.after,) = paint(self.pipe, prompt, starts[:1])
        else:
            self.after, self.before = paint(self.pipe, prompt, starts)
            self._before_of = prompt, seed
        self.latents = noise, added, starts[0]
        self._show()

    def reset(self):
        """Take away whatever was added."""
        for slider in self.sliders:
            slider.value = 0

    def twin(self):
        """The present state as a figure: the noise + what is added = the start, and the pictures."""
        rows = [channel_maps(z, side=self.before.width) for z in self.latents]
        amounts = ", ".join(f"{slider.value:+d}" for slider in self.sliders)
        told = f"{amounts} (in 1/N, {self.kind.value}) added to the channels: {self.prompt_box.value}"
        return image_grid(
            [[*maps, None, image] for maps, image in zip(rows, (self.before, None, self.after))],
            row_labels=["the noise", "+ what is added", "= the new start"],
            col_labels=[*self._channels(), "", "the picture"],
            title=told,
            alt=f"{told}. Maps of the noise, of what is added, and of their sum, channel by channel; beside the first"
            " and the last, the picture that starts from it.",
        )

    def _channels(self):
        return [f"channel {k}" for k in range(self.shape[0])]

    def _addition(self):
        where = {name: slider.value for name, slider in self.place.items()}
        return addition([slider.value for slider in self.sliders], self.kind.value, self.shape, **where)

    def _changed(self, _):
        for slider in self.place.values():
            slider.disabled = self.kind.value != BLOB
        self._draw_soon()

    def _show(self):
        self.image_before.value, self.image.value = png(self.before), png(self.after)
        for strip, latent in zip(self.strips, self.latents):
            strip.value = png(side_by_side(channel_maps(latent, side=MAP)))
        for line, latent in zip(self.means, self.latents):
            line.value = _line(f"{mean * self.shape[-1]:+.1f}" for mean in latent.mean(dim=(1, 2)).tolist())

    def _build(self, prompt, seed, amounts):
        layout, style = widgets.Layout(width="360px"), {"description_width": "80px"}
        common = {"layout": layout, "style": style}
        self.prompt_box = widgets.Text(prompt, description="Prompt", continuous_update=False, **common)
        self.seed_box = widgets.BoundedIntText(seed, min=0, max=9999, description="Seed", **common)
        self.kind = widgets.ToggleButtons(
            options=PATTERNS, layout=widgets.Layout(margin="0 0 4px 0"), style={"button_width": "112px"}
        )
        self.sliders = [
            widgets.IntSlider(amount, min=-16, max=16, description=name, **common)
            for name, amount in zip(self._channels(), amounts)
        ]
        self.place = {
            name: widgets.FloatSlider(value, min=low, max=high, step=0.05, description=text, disabled=True, **common)
            for name, text, value, low, high in (
                ("x", "left-right", 0.25, 0, 1),
                ("y", "top-bottom", 0.5, 0, 1),
                ("radius", "radius", 0.25, 0.05, 0.5),
            )
        }
        self.reset_button = widgets.Button(description="Add nothing", icon="undo", layout=widgets.Layout(width="140px"))
        self.reset_button.on_click(lambda _: self.press(self.reset))
        for control in (self.prompt_box, self.seed_box, self.kind, *self.sliders, *self.place.values()):
            control.observe(self._changed, "value")
        self.ui = beside(self._controls(), self._views())

    def _controls(self):
        children = [
            heading("Paint the latent"),
            self.prompt_box,
            self.seed_box,
            caption("What is added to each channel, in units of 1/N:"),
            *self.sliders,
            caption("How it is spread over the channel:"),
            self.kind,
            *self.place.values(),
            self.reset_button,
            self.message,
        ]
        return widgets.VBox(children, layout=widgets.Layout(width="376px", margin="0 16px 0 0"))

    def _views(self):
        self.image_before, self.image = picture(216), picture(216)
        self.strips, self.means = [picture(4 * MAP + 12) for _ in range(3)], [widgets.HTML() for _ in range(3)]
        pictures = widgets.HBox(
            [
                widgets.VBox([caption(text), image], layout=widgets.Layout(margin="0 8px 0 0"))
                for text, image in (("from the noise alone", self.image_before), ("from the new start", self.image))
            ]
        )
        rows = [
            widgets.HBox([caption(text, width="108px"), widgets.VBox([strip, line])])
            for text, strip, line in zip(("the noise", "+ what you add", "= the new start"), self.strips, self.means)
        ]
        head = widgets.HBox([caption("", width="108px"), widgets.HTML(_line(self._channels()))])
        under = caption("Under each map, its mean in units of 1/N. In noise it is seldom beyond ±2.")
        return widgets.VBox([pictures, head, *rows, under])


def _line(texts):
    """Texts under the maps of a strip."""
    cells = (f'<span style="display:inline-block;width:{MAP + 4}px;text-align:center">{text}</span>' for text in texts)
    return markup(f'<div style="white-space:nowrap">{"".join(cells)}</div>')
