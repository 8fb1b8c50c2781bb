"""The widgets without a browser: what they compute, their controls moved by hand, their errors, their sweep."""

import asyncio
import io
import math
import os
import subprocess
import sys
import warnings

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers import images, shared_pipeline
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from sweep import controls, sweep, walk

from dislib.core.latents import white_noise
from dislib.core.sampling import generate, paint
from dislib.errors import DislibError, DislibWarning
from dislib.figures.plots import CourseFigure
from dislib.widgets import PaintTheLatent, SameLatent, paint_latent, same_latent
from dislib.widgets.panel import Panel, caption, debounce, note, png

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy|ipywidgets|traitlets)")

SHAPE = (4, 16, 16)


def reraise(error):
    raise error


def same(pipe=None, **options):
    """A small game, two prompts from three latents, that raises its errors."""
    options = {"prompts": ["a b", "c d e"], "seeds": [1, 2, 3], "on_error": reraise, **options}
    game = SameLatent(pipe or shared_pipeline(), **options)
    game.rest = 0  # a test presses fast
    return game


def painting(**options):
    return PaintTheLatent(shared_pipeline(), **{"prompt": "a b", "pause": 0, "on_error": reraise, **options})


def opened(widget):
    """The picture that a `widgets.Image` shows."""
    assert widget.value[:4] == b"\x89PNG"
    return Image.open(io.BytesIO(widget.value))


def shows(widget, image):
    """Whether a widget shows an image, up to one grey level: batches of one and of two round differently."""
    return np.abs(np.asarray(opened(widget), dtype=int) - np.asarray(image)).max() <= 1


# --- plain functions --------------------------------------------------------------------------------------------------


def test_deal_gives_the_first_row_away_and_shuffles_the_others():
    orders = [same_latent.deal(3, 4, np.random.default_rng(k)) for k in range(20)]
    assert all(order.shape == (3, 4) and order[0].tolist() == [0, 1, 2, 3] for order in orders)
    assert all(sorted(row) == [0, 1, 2, 3] for order in orders for row in order.tolist())
    assert len({tuple(order[1]) for order in orders}) > 5


def test_unlike_latents_differ_more_than_others():
    rng = np.random.default_rng(0)

    def nearest(seeds):
        means = white_noise(seeds, SHAPE).mean(dim=(2, 3))
        return torch.pdist(means).min().item()

    chosen = [same_latent.unlike(3, SHAPE, rng) for _ in range(10)]
    assert all(len(set(seeds)) == 3 and all(type(seed) is int for seed in seeds) for seeds in chosen)
    by_chance = [nearest(rng.choice(1000, size=3, replace=False)) for _ in range(40)]
    assert min(map(nearest, chosen)) > np.quantile(by_chance, 0.8)


def test_score_leaves_out_the_given_row_and_open_guesses():
    order = np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0]])
    assert same_latent.score([[None] * 3, [2, 0, 1], [1, 2, 0]], order) == 6
    assert same_latent.score([[0, 1, 2], [None] * 3, [None, 2, 1]], order) == 1


def test_squint_keeps_the_light_and_loses_the_detail():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    blurred = np.asarray(same_latent.squint(image), dtype=float)
    assert blurred.shape == (96, 96, 3)
    assert blurred.mean() == pytest.approx(np.asarray(image).mean(), abs=2)
    assert blurred.std() < 15


def test_patterns():
    everywhere, bump, board = (paint_latent.pattern(kind, SHAPE, x=0.25, y=0.75) for kind in paint_latent.PATTERNS)
    assert everywhere.shape == bump.shape == board.shape == (16, 16)
    assert (everywhere == 1).all()
    assert board.mean() == 0 and (board.abs() == 1).all()
    row, column = divmod(int(bump.argmax()), 16)
    assert row in (11, 12) and column in (3, 4) and 0.9 < bump.max() <= 1


def test_addition_is_in_units_of_one_over_n():
    added = paint_latent.addition([0, 6, -16, 1], paint_latent.EVERYWHERE, SHAPE)
    assert added.dtype == torch.float32 and added.shape == SHAPE
    assert (added.mean(dim=(1, 2)) * 16).tolist() == [0, 6, -16, 1]


def test_wrong_patterns_and_amounts_are_named():
    with pytest.raises(DislibError, match="no pattern 'stripes'; choose one of everywhere, soft blob"):
        paint_latent.pattern("stripes", SHAPE)
    with pytest.raises(DislibError, match="3 amounts for a latent of 4 channels"):
        paint_latent.addition([1, 2, 3], paint_latent.EVERYWHERE, SHAPE)


def test_channel_maps_show_the_sign_in_colour():
    latent = torch.zeros(3, 2, 2)
    latent[0], latent[2] = -3, 3
    low, middle, high = (np.asarray(image, dtype=int) for image in paint_latent.channel_maps(latent, side=10))
    assert low.shape == (10, 10, 3)
    assert low[0, 0, 2] > low[0, 0, 0] and high[0, 0, 0] > high[0, 0, 2]  # purple, orange
    assert middle.min() > 240
    latent[:] = 1e9
    assert paint_latent.channel_maps(latent, side=4)[0].getpixel((0, 0)) == tuple(high[0, 0])


def test_side_by_side_leaves_gaps_you_can_see_through():
    row = paint_latent.side_by_side(images(3, size=8), gap=4)
    assert row.size == (32, 8)
    assert [row.getpixel((x, 0))[3] for x in (0, 7, 8, 11, 12, 31)] == [255, 255, 0, 0, 255, 255]


def test_paint_starts_where_it_is_told():
    pipe, starts = shared_pipeline(), white_noise([5, 6], SHAPE)
    [expected] = paint(pipe, ["a b"], [5, 6])
    painted = paint_latent.paint(pipe, "a b", starts)
    assert len(painted) == 2 and all(map(np.array_equal, painted, expected))


# --- patience ---------------------------------------------------------------------------------------------------------


def test_debounce_answers_once_after_the_last_call():
    calls = []

    async def drag():
        ask = debounce(0.05, lambda: calls.append("drawn"))
        for _ in range(5):
            ask()
            await asyncio.sleep(0)
        assert calls == []
        while not calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert calls == ["drawn"]
        ask()
        await asyncio.sleep(0.2)

    asyncio.run(drag())
    assert calls == ["drawn"] * 2


@pytest.mark.parametrize("seconds", [0, 0.2])
def test_without_a_loop_the_answer_comes_at_once(seconds):
    calls = []
    ask = debounce(seconds, lambda: calls.append(1))
    ask()
    ask()
    assert calls == [1, 1]


def test_no_pause_inside_a_loop():
    calls = []

    async def in_a_cell():
        ask = debounce(0, lambda: calls.append(1))
        ask()
        assert calls == [1]

    asyncio.run(in_a_cell())


def test_an_error_in_the_answer_is_not_taken_for_a_missing_loop():
    calls = []

    def act():
        calls.append(1)
        raise RuntimeError("no running event loop")

    with pytest.raises(RuntimeError):
        debounce(0.1, act)()
    assert calls == [1]


# --- errors are told --------------------------------------------------------------------------------------------------


class Broken(Panel):
    def __init__(self, error=None, **options):
        super().__init__(**options)
        self.button, self.slider = widgets.Button(description="Go"), widgets.IntSlider(2, min=0, max=4)
        self.button.on_click(lambda _: self.act(lambda: reraise(error)))
        self.slider.observe(lambda change: self.act(lambda: 1 / change.new), "value")
        self.ui = widgets.VBox([self.button, self.slider, self.message])


def test_an_error_is_told_in_red_and_does_not_stop_the_notebook():
    heard = []
    panel = Broken(on_error=heard.append)
    panel.slider.value = 0
    assert "That did not work. ZeroDivisionError: division by zero" in panel.message.value
    assert "#c62828" in panel.message.value and 'role="alert"' in panel.message.value
    assert [type(error) for error in heard] == [ZeroDivisionError] and panel.error is heard[0]
    panel.slider.value = 1
    assert panel.message.value == "" and panel.error is None


def test_our_own_errors_need_no_class_name_and_no_markup_gets_through():
    panel = Broken(DislibError("write <b>0-3</b>"))
    panel.button.click()
    assert "That did not work. write &lt;b&gt;0-3&lt;/b&gt;" in panel.message.value


def test_on_error_can_raise_again():
    with pytest.raises(ZeroDivisionError):
        Broken(on_error=reraise).slider.value = 0


def test_a_warning_of_ours_is_told_and_others_are_not():
    panel = Broken()
    panel.act(lambda: warnings.warn("the prompt is too long", DislibWarning, stacklevel=1))
    assert "Note: the prompt is too long" in panel.message.value and panel.error is None
    panel.act(lambda: warnings.warn("something inside a library", FutureWarning, stacklevel=1))
    assert panel.message.value == ""


# --- Same latent ------------------------------------------------------------------------------------------------------


def test_the_board_shows_the_shuffled_rows():
    game = same()
    assert len(game.pictures) == 2 and all(len(row) == 3 for row in game.pictures)
    for r, row in enumerate(game.cards):
        assert all(shows(card.image, game.pictures[r][game.order[r, c]]) for c, card in enumerate(row))
    assert [card.guess.layout.display for row in game.cards for card in row] == ["none"] * 3 + [""] * 3
    assert [card.guess.description for card in game.cards[1]] == ["A", "B", "C"]


def test_a_round_played_rightly():
    game = same()
    for card, truth in zip(game.cards[1], game.order[1]):
        card.guess.value = int(truth)
    game.reveal_button.click()
    assert "3 of 3 right" in game.status.value
    assert all(
        shows(card.image, image) for row, kept in zip(game.cards, game.pictures) for card, image in zip(row, kept)
    )
    assert ["✓ right" in card.verdict.value for card in game.cards[1]] == [True] * 3
    assert game.reveal_button.disabled and game.cards[1][0].guess.layout.display == "none"


def test_a_verdict_follows_its_picture():
    game = same()
    order = game.order[1].tolist()
    game.cards[1][0].guess.value = (order[0] + 1) % 3  # wrong
    game.cards[1][1].guess.value = order[1]  # right
    game.reveal_button.click()
    assert "1 of 3 right" in game.status.value and "gets 1 on average" in game.status.value
    verdicts = [card.verdict.value for card in game.cards[1]]
    assert f"✗ you said {(order[0] + 1) % 3 + 1}" in verdicts[order[0]]
    assert "✓ right" in verdicts[order[1]] and "not guessed" in verdicts[order[2]]


def test_new_latents_ask_anew_on_the_same_cards():
    game = same()
    cards, before = game.cards, game.cards[0][0].image.value
    game.cards[1][0].guess.value = 1
    game.reveal_button.click()
    game.new_button.click()
    assert game.cards is cards and cards[0][0].image.value != before
    assert game.guesses == [[None] * 3] * 2
    assert not game.reveal_button.disabled and "Which latent" in game.status.value
    assert len(set(game.seed_box.value.split(", "))) == 3 and game.seed_box.value != "1, 2, 3"


def test_own_prompts_and_seeds():
    game = same()
    game.prompt_box.value, game.seed_box.value = "\n a b <i> \n\nc\nd\n", "7-8"
    game.play_button.click()
    assert game.prompts == ["a b <i>", "c", "d"] and game.order.shape == (3, 2)
    assert len(game.board.children) == 4
    assert "a b &lt;i&gt;" in game.board.children[1].children[0].value
    expected = [s.image for batch in generate(shared_pipeline(), game.prompts, [7, 8]) for s in batch]
    assert np.array_equal(game.pictures[2][1], expected[5])


@pytest.mark.parametrize(
    "prompts, seeds, told",
    [
        ("a\nb", "7", "2 to 4 seeds; the box has 1"),
        ("a\nb", "0-9", "2 to 4 seeds; the box has 10"),
        ("a", "1,2", "2 to 5 prompts, a line each; the box has 1"),
        ("", "1,2", "the box has 0"),
        ("a\nb", "1,2,x", "seeds &#x27;1,2,x&#x27;"),
        ("a\nb", "", "seeds"),
    ],
)
def test_what_cannot_be_played_is_told_and_the_round_stays(prompts, seeds, told):
    game = same(on_error=None)
    before = game.status.value, game.cards[1][0].image.value
    game.prompt_box.value, game.seed_box.value = prompts, seeds
    game.play_button.click()
    assert told in game.message.value and isinstance(game.error, DislibError)
    assert (game.status.value, game.cards[1][0].image.value) == before
    game.reveal_button.click()
    assert game.message.value == "" and "of 3 right" in game.status.value


def test_a_game_that_cannot_begin_raises():
    with pytest.raises(DislibError, match="2 to 4 seeds"):
        same(seeds=[1])


def test_a_failure_of_the_model_is_told(monkeypatch):
    game = same(on_error=None)
    monkeypatch.setattr(same_latent, "generate", lambda *_: reraise(MemoryError("no memory left")))
    game.new_button.click()
    assert "MemoryError: no memory left" in game.message.value


def test_squinting_is_undone():
    game = same()
    sharp = game.cards[1][2].image.value
    game.squint_box.value = True
    assert game.cards[1][2].image.value != sharp
    game.squint_box.value = False
    assert game.cards[1][2].image.value == sharp


# --- Paint the latent -------------------------------------------------------------------------------------------------


def test_what_is_painted_is_noise_plus_addition():
    panel = painting(seed=3, amounts=[0, 0, 9, 0])
    noise = white_noise([3], SHAPE)
    assert shows(panel.image_before, paint_latent.paint(shared_pipeline(), "a b", noise)[0])
    pushed = noise.clone()
    pushed[:, 2] += 9 / 16
    assert torch.equal(panel.latents[2], pushed[0])
    assert shows(panel.image, paint_latent.paint(shared_pipeline(), "a b", pushed)[0])


def test_a_slider_changes_the_picture_and_not_the_one_before():
    panel = painting()
    before, after, maps = panel.image_before.value, panel.image.value, [s.value for s in panel.strips]
    panel.sliders[0].value = -16
    assert panel.image.value != after and panel.image_before.value == before
    assert [s.value != old for s, old in zip(panel.strips, maps)] == [False, True, True]
    assert "-16.0" in panel.means[1].value


def test_nothing_added_gives_the_picture_of_the_noise():
    panel = painting()
    panel.reset_button.click()
    assert [slider.value for slider in panel.sliders] == [0] * 4
    assert shows(panel.image, panel.before)
    assert torch.equal(panel.latents[0], panel.latents[2])


def test_the_place_matters_for_the_blob_only():
    panel = painting()
    assert all(slider.disabled for slider in panel.place.values())
    panel.kind.value = paint_latent.BLOB
    assert not any(slider.disabled for slider in panel.place.values())
    left = panel.latents[1][1].argmax() % 16
    panel.place["x"].value = 0.75
    assert panel.latents[1][1].argmax() % 16 > left
    panel.kind.value = paint_latent.BOARD
    assert panel.latents[1].mean() == 0 and all(slider.disabled for slider in panel.place.values())


@pytest.mark.parametrize("change", [("prompt_box", "c"), ("seed_box", 9)])
def test_a_new_prompt_or_seed_paints_both(change):
    panel = painting()
    before = panel.image_before.value
    name, value = change
    getattr(panel, name).value = value
    assert panel.image_before.value != before


def test_a_slider_paints_one_picture(monkeypatch):
    panel, painted = painting(), []
    kept = paint_latent.paint
    monkeypatch.setattr(paint_latent, "paint", lambda pipe, prompt, z: painted.append(len(z)) or kept(pipe, prompt, z))
    panel.sliders[1].value = 3
    panel.seed_box.value = 2
    assert painted == [1, 2]


def test_dragging_paints_once(monkeypatch):
    drawn = []

    async def drag():
        panel = painting(pause=0.05)
        monkeypatch.setattr(panel, "draw", lambda: drawn.append([s.value for s in panel.sliders]))
        for value in range(5):
            panel.sliders[0].value = value
        assert drawn == []
        await asyncio.sleep(0.3)

    asyncio.run(drag())
    assert drawn == [[4, 6, 0, 0]]


def test_a_long_prompt_is_said_to_be_cut():
    panel = painting()
    panel.prompt_box.value = "a " * 60
    assert "Note: " in panel.message.value and "truncated" in panel.message.value
    assert panel.error is None


def test_a_failure_while_painting_is_told(monkeypatch):
    panel = painting(on_error=None)
    before = panel.image.value
    monkeypatch.setattr(paint_latent, "paint", lambda *_: reraise(DislibError("the VAE overflowed")))
    panel.sliders[2].value = 5
    assert "That did not work. the VAE overflowed" in panel.message.value and panel.image.value == before


# --- all of them ------------------------------------------------------------------------------------------------------

ALL = {"same": same, "paint": painting}
# What ipywidgets 7.7 has as well.
CORE = {
    "Box", "HBox", "VBox", "HTML", "Image", "Button", "Checkbox", "Text", "Textarea", "BoundedIntText", "IntSlider",
    "FloatSlider", "ToggleButtons",
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_core_widgets_only_and_all_have_names(name):
    panel = ALL[name]()
    assert {type(w).__name__ for w in walk(panel.ui)} <= CORE
    nameless = [w for w in controls(panel) if not w.description.strip() and w is not getattr(panel, "kind", None)]
    given_away = [card.guess for card in getattr(panel, "cards", [[]])[0]]  # never shown
    assert [w for w in nameless if w not in given_away] == []


@pytest.mark.parametrize("name", ALL)
def test_the_twin_is_a_figure_with_words(name):
    figure = ALL[name]().twin()
    assert isinstance(figure, CourseFigure) and len(figure.alt) > 40


@pytest.mark.parametrize("name", ALL)
def test_a_page_without_a_kernel_gets_the_twin(name, monkeypatch):
    panel, shown = ALL[name](), []
    monkeypatch.setattr("dislib.widgets.panel.display", shown.append)
    panel._ipython_display_()
    monkeypatch.setenv("DISLIB_STATIC", "1")
    panel._ipython_display_()
    assert shown[0] is panel.ui and isinstance(shown[1], CourseFigure)


def test_a_stored_twin_holds_no_widget(monkeypatch, capsys):
    monkeypatch.setenv("DISLIB_STATIC", "1")
    shell = InteractiveShell.instance()
    published = []
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, *_, **__: published.append(set(data)))
    same()._ipython_display_()
    InteractiveShell.clear_instance()
    assert published == [{"text/html", "text/plain"}]


def test_pictures_of_a_widget_are_small():
    assert len(png(images(1)[0])) < 60_000
    assert "<script" not in note("<script>", "red") and "&lt;" in note("<script>", "red")
    assert caption("x", width="10px").layout.width == "10px"


# --- the sweep --------------------------------------------------------------------------------------------------------


def test_the_sweep_moves_everything_and_puts_it_back():
    panel = painting()
    before = [control.value for control in controls(panel)]
    assert sweep(panel, {"Prompt": ["c"]}) == 1 + 3 + 4 * 3 + 3 + 1  # text, seed, channels, pattern, button
    assert [control.value for control in controls(panel)] == before
    game = same()
    assert sweep(game, {"Prompts": ["x"], "Seeds": ["4"]}) == 6 * 3 + 2 + 1 + 1 + 3  # guesses, squint, texts, buttons


@pytest.mark.parametrize("error", [DislibError("wrong"), math.inf])
def test_the_sweep_notices_an_error_behind_a_button_or_a_slider(error):
    panel = Broken(error) if isinstance(error, Exception) else Broken()
    if error is math.inf:
        panel.button.disabled = True
    with pytest.raises((DislibError, ZeroDivisionError)):
        sweep(panel)


def test_the_sweep_refuses_what_it_does_not_know():
    panel = Broken()
    panel.ui.children = [widgets.Text(description="Name")]
    with pytest.raises(TypeError, match="does not know how to move the Text 'Name'"):
        sweep(panel)


# --- without a browser ------------------------------------------------------------------------------------------------


def test_pytest_says_last_that_there_was_no_browser():
    environment = {**os.environ, "PATH": "", "DISLIB_BROWSER": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_browser.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    last, summary = done.stdout.splitlines()[-2:]
    assert "NOT tested in a browser: no Chromium or Chrome was found; on Debian: apt-get install chromium" in last
    assert " skipped" in summary and "passed" not in summary
