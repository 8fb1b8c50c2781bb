"""*Same latent*: guess which pictures of different prompts began with one and the same latent."""

from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from PIL import ImageFilter

from ..core.latents import white_noise
from ..core.pipeline import latent_shape
from ..core.sampling import generate
from ..errors import DislibError, shorten
from ..figures.plots import image_grid
from ..images.prompts import parse_seeds
from .panel import RIGHT, TIGHT, WRONG, Panel, beside, caption, heading, markup, picture, png

PROMPTS = (
    "a red house in the meadow",
    "a blue car on the street",
    "a white cat in the snow",
    "a yellow bird in the desert",
)


ROW = "34px"  # height of the question, and of the verdict in its place


def deal(n_prompts, n_seeds, rng):
    """How the pictures of a game are laid out: place (r, c) shows the picture of latent `order[r, c]`.

    Row 0 is given away and stays in order; all others are shuffled.

    Args:
        rng: numpy Generator.

    Returns:
        int array (n_prompts, n_seeds).
    """
    return np.stack([np.arange(n_seeds), *(rng.permutation(n_seeds) for _ in range(n_prompts - 1))])


def unlike(count, shape, rng, *, drawn=12):
    """Seeds of latents that differ: of `drawn` ones, those whose channels' means are farthest apart.

    Most latents have middling means and give similar pictures; a game of three such would be hard to win.

    Args:
        count: how many are wanted, at least 2.
        shape: shape (c, h, w) of a latent.
        rng: numpy Generator; the seeds are below 1,000.

    Returns:
        list of `count` seeds, in chance order.
    """
    seeds = rng.choice(1000, size=drawn, replace=False).tolist()
    means = white_noise(seeds, shape).mean(dim=(2, 3))
    apart = torch.cdist(means, means)
    chosen = list(divmod(int(apart.argmax()), drawn))
    while len(chosen) < count:  # the one whose nearest neighbour among the chosen is farthest
        chosen.append(int(apart[:, chosen].amin(dim=1).argmax()))
    return [seeds[k] for k in rng.permutation(chosen)]


def score(guesses, order):
    """How many guesses are right. `guesses[r][c]` is a latent as in `order`, or None; row 0 does not count."""
    return sum(guess == truth for row, truths in zip(guesses[1:], order[1:]) for guess, truth in zip(row, truths))


def squint(image):
    """What half-closed eyes see of a picture: light, colours and the broadest shapes."""
    return image.filter(ImageFilter.GaussianBlur(image.width / 12))


class SameLatent(Panel):
    """Guess which pictures of different prompts began with one and the same latent; then see them sorted.

    The first prompt is given away, one picture for each latent. The pictures of all others are shuffled in their row.

    Args:
        pipe: a StableDiffusionPipeline.
        prompts: 2 to 5 of them.
        seeds: of 2 to 4 latents.
        deal_seed: decides how pictures are shuffled, and which latents "New latents" draws.
        on_error: see `Panel`.

    Raises:
        DislibError: at the start; whatever goes wrong later is told in the widget.
    """

    def __init__(self, pipe, prompts=PROMPTS, seeds=(0, 4, 6), *, deal_seed=0, on_error=None):
        super().__init__(on_error)
        self.pipe, self.rng = pipe, np.random.default_rng(deal_seed)
        self.cards = []
        self._build(prompts, seeds)
        self.play()

    def play(self):
        """Paint the prompts and seeds of the boxes, shuffle, and ask."""
        prompts, seeds = self._chosen()
        self.name_unknown(self.pipe, prompts)
        self.stale(True)
        self.pictures = self._paint(prompts, seeds)  # rows of prompts, columns of latents
        self.prompts, self.n_latents = prompts, len(seeds)
        self.order, self.revealed = deal(len(prompts), len(seeds), self.rng), False
        self._lay_cards()
        self._show()
        self.stale(False)

    def draw_latents(self):
        """A new round, from latents that nobody has chosen and that differ well."""
        seeds = unlike(self.n_latents, latent_shape(self.pipe), self.rng)
        self.seed_box.value = ", ".join(map(str, seeds))
        self.play()

    def reveal(self):
        """Sort the pictures, so that every column began with one latent, and count what was right."""
        self.revealed = True
        self._show()

    @property
    def guesses(self):
        """`guesses[r][c]`: the latent that the picture at (r, c) is said to have begun with, or None."""
        return [[card.guess.value for card in row] for row in self.cards]

    def twin(self):
        """The round as a figure: as it is asked, and sorted."""
        asked = [[row[k] for k in order] for row, order in zip(self.pictures, self.order)]
        latents = [f"latent {k + 1}" for k in range(self.n_latents)]
        return image_grid(
            [[*shuffled, None, *row] for shuffled, row in zip(asked, self.pictures)],
            row_labels=self.prompts,
            col_labels=[*"?" * self.n_latents, "", *latents],
            title="Shuffled except the first row (left), and sorted (right)",
            alt="A round of Same latent, rows of pictures of one prompt each: "
            + "; ".join(self.prompts)
            + ". On the left, the rows below the first are shuffled; on the right, each column began with one latent.",
        )

    def _chosen(self):
        prompts = [line.strip() for line in self.prompt_box.value.splitlines() if line.strip()]
        seeds = parse_seeds(self.seed_box.value)
        for what, chosen, most in (("prompts, a line each", prompts, 5), ("seeds", seeds, 4)):
            if not 2 <= len(chosen) <= most:
                raise DislibError(f"the game takes 2 to {most} {what}; the box has {len(chosen)}")
        return prompts, seeds

    def _paint(self, prompts, seeds):
        images, count = [], len(prompts) * len(seeds)
        self.message.value = markup(f"Painting {count} pictures ...")
        for batch in generate(self.pipe, prompts, seeds):
            images += [sample.image for sample in batch]
            self.message.value = markup(f"Painting: {len(images)} of {count} pictures are done ...")
        self.message.value = ""
        return [images[i : i + len(seeds)] for i in range(0, count, len(seeds))]

    def _lay_cards(self):
        """Places for this round: those that are there, if they fit, else new ones."""
        n_rows, n_cols = self.order.shape
        if [len(row) for row in self.cards] != [n_cols] * n_rows:
            letters = iter(" " * n_cols + "ABCDEFGHIJKLMNOP")
            self.cards = [[_Card.make(next(letters), n_cols) for _ in range(n_cols)] for _ in range(n_rows)]
        for card in (card for row in self.cards for card in row):
            card.guess.value = None
        heads = [caption(f"latent {k + 1}", bold=True, width="140px", margin="0") for k in range(n_cols)]
        rows = [widgets.HBox([caption("", width="110px", margin="0"), *heads])]
        for prompt, row in zip(self.prompts, self.cards):
            label = caption(shorten(prompt), width="110px", margin="36px 0 0 0")
            rows.append(widgets.HBox([label, *(card.box for card in row)]))
        self.board.children = rows

    def _show(self):
        """Bring every card up to date: its picture, and under it the question or the verdict."""
        look = squint if self.squint_box.value else lambda image: image
        for r, (row, order) in enumerate(zip(self.cards, self.order)):
            guesses = [card.guess.value for card in row]
            for c, card in enumerate(row):
                latent = c if self.revealed else order[c]
                card.image.value = png(look(self.pictures[r][latent]))
                card.verdict.value = _verdict(guesses[list(order).index(c)], c)
                card.show(question=r > 0 and not self.revealed, verdict=r > 0 and self.revealed)
        self.settle()
        self.status.value = markup(self._result() if self.revealed else self._question())

    def settle(self):
        """Nothing is left to reveal in a round that is over."""
        self.reveal_button.disabled = self.revealed

    def _question(self):
        return (
            "The first row shows what each latent makes of one prompt. Every other row began with the same latents,"
            " <b>in another order</b>.<br>Which latent is behind A, B, C ...? Guess, then reveal."
        )

    def _result(self):
        places = self.order[1:].size
        return (
            f"<b>{score(self.guesses, self.order)} of {places} right</b>; blind guessing gets {len(self.order) - 1} on"
            " average.<br>The rows are sorted now: <b>every column began with one latent</b>. Look down a column, and"
            " squint. What do its pictures share?"
        )

    def _build(self, prompts, seeds):
        wide, label = widgets.Layout(width="310px"), {"description_width": "56px"}
        self.prompt_box = widgets.Textarea("\n".join(prompts), description="Prompts", rows=5, layout=wide, style=label)
        self.seed_box = widgets.Text(", ".join(map(str, seeds)), description="Seeds", layout=wide, style=label)
        self.squint_box = widgets.Checkbox(False, description="Squint (blurs the pictures)", indent=False)
        self.reveal_button = self._button("Reveal", "eye", self.reveal, button_style="primary")
        self.new_button = self._button("New latents", "random", self.draw_latents)
        self.play_button = self._button("Paint these prompts and seeds", "paint-brush", self.play)
        self.squint_box.observe(lambda _: self.act(self._show), "value")
        self.board, self.status = widgets.VBox(), widgets.HTML(layout=wide)
        play = [self.status, self.message, self.reveal_button, self.squint_box, self.new_button]
        choose = [caption("Or choose your own:"), self.prompt_box, self.seed_box, self.play_button]
        controls = [heading("Same latent"), *play, *choose]
        self.ui = beside(self.board, widgets.VBox(controls, layout=widgets.Layout(width="320px")))

    def _button(self, text, icon, callback, **options):
        button = widgets.Button(description=text, icon=icon, layout=widgets.Layout(width="310px"), **options)
        button.on_click(lambda _: self.press(callback))
        return button


@dataclass
class _Card:
    """One place of the game: a picture, the question which latent it began with, and the verdict."""

    image: widgets.Image
    guess: widgets.ToggleButtons
    verdict: widgets.HTML

    @classmethod
    def make(cls, letter, n_latents):
        guess = widgets.ToggleButtons(
            options=[(str(k + 1), k) for k in range(n_latents)],
            value=None,
            description=letter,
            style={"button_width": "26px", "description_width": "16px"},
            layout=widgets.Layout(width="136px", height=ROW, margin="0", overflow="hidden"),
        )
        guess.add_class(TIGHT)
        return cls(picture(128), guess, widgets.HTML(layout=widgets.Layout(height=ROW, margin="0", overflow="hidden")))

    def show(self, *, question, verdict):
        self.guess.layout.display = "" if question else "none"
        self.verdict.layout.display = "" if verdict else "none"

    @property
    def box(self):
        # The place below the picture keeps its height, whatever stands in it.
        below = widgets.VBox([self.guess, self.verdict], layout=widgets.Layout(height=ROW, overflow="hidden"))
        return widgets.VBox([self.image, below], layout=widgets.Layout(width="140px", margin="0 0 6px 0"))


def _verdict(guess, truth):
    if guess is None:
        return markup("not guessed")
    colour, text = (RIGHT, "✓ right") if guess == truth else (WRONG, f"✗ you said {guess + 1}")
    return markup(f'<b style="color:{colour}">{text}</b>')
