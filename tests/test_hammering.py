"""Every control of every widget, twice a second and faster, from several threads: one draw at a time, and the newest wins."""

import asyncio
import threading
import time

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from helpers import shared_pipeline
from sweep import controls, stops, walk
from test_widgets import SHAPE, opened, painting, reraise, same, shows
from test_widgets_03 import forward, mixer
from test_widgets_04 import strip, voting

from dislib.core.latents import white_noise
from dislib.core.sampling import ALONE, generate
from dislib.errors import DislibError
from dislib.widgets import HowManyImages, paint_latent
from dislib.widgets.panel import STALE, Panel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy|ipywidgets|traitlets)")
TEXTS = {"Prompt": ["", "a dragon " * 40, "<b>", "é ☃"], "Prompts": ["a\nb", "", "x"], "Seeds": ["1, 2", "-1", "1-9"]}


def many(**options):
    latents = white_noise(range(12), SHAPE)
    return HowManyImages(shared_pipeline(), latents, **{"pause": 0, "on_error": reraise, **options})


PANELS = {"paint": painting, "forward": forward, "mixer": mixer, "many": many, "strip": strip, "same": same}


def greyed(panel):
    return [STALE in view._dom_classes for view in walk(panel.ui) if isinstance(view, widgets.Image)]


def moves(panel):
    """Every control to every stop, and every button, in turn."""
    for control in controls(panel):
        for value in stops(control, TEXTS):
            yield lambda control=control, value=value: setattr(control, "value", value)
    for button in [w for w in walk(panel.ui) if isinstance(w, widgets.Button)]:
        yield button.click


@pytest.mark.parametrize("name", [name for name in PANELS if name != "same"])
def test_twice_a_second_for_ten_seconds(name):
    """As fast as a reader moves things: nothing breaks, and what is shown in the end is what the controls say."""
    panel, failed = PANELS[name](pause=0.1, on_error=lambda error: failed.append(error)), []

    async def hammer():
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for move in moves(panel):
                move()
                await asyncio.sleep(0.5)
                if time.monotonic() > end:
                    break
        await asyncio.sleep(1)

    asyncio.run(hammer())
    assert [error for error in failed if not isinstance(error, DislibError)] == []
    assert panel.error or not any(greyed(panel))


@pytest.mark.parametrize("name", ["paint", "mixer", "forward"])
def test_from_two_threads_at_a_time(name):
    """JupyterLab calls a widget back beside the cell that runs."""
    pipe, failed = shared_pipeline(), []
    panels = [PANELS[name](on_error=failed.append) for _ in range(2)]
    before = pipe.scheduler

    def hammer(panel):
        for move in list(moves(panel))[:12]:
            move()

    threads = [threading.Thread(target=hammer, args=[panel]) for panel in panels]
    for thread in threads:
        thread.start()
    cell = [s.image for _ in range(3) for batch in generate(pipe, ["a b"], [1, 2]) for s in batch]  # a cell that runs meanwhile
    for thread in threads:
        thread.join()
    assert [error for error in failed if not isinstance(error, DislibError)] == []
    assert pipe.scheduler is before
    assert all(np.array_equal(image, cell[k % 2]) for k, image in enumerate(cell))


def test_the_newest_wins(monkeypatch):
    """While a draw is on its way, others are asked for: only the last of them is drawn."""
    panel, drawn = painting(), []
    kept = paint_latent.paint
    monkeypatch.setattr(paint_latent, "paint", lambda *args: drawn.append(panel.sliders[0].value) or kept(*args))
    with ALONE:  # somebody else is drawing
        threads = [threading.Thread(target=setattr, args=[panel.sliders[0], "value", value]) for value in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        assert all(greyed(panel))
    for thread in threads:
        thread.join()
    assert drawn == [4] and not any(greyed(panel))
    start = panel.latents[2]
    assert shows(panel.image, kept(panel.pipe, "a b", start[None])[0])


def test_a_draw_that_fails_leaves_its_picture_grey(monkeypatch):
    panel = painting(on_error=None)
    kept = paint_latent.paint
    monkeypatch.setattr(paint_latent, "paint", lambda *_: reraise(IndexError("index 3 is out of bounds")))
    panel.sliders[0].value = 5
    assert all(greyed(panel)) and "IndexError" in panel.message.value
    monkeypatch.setattr(paint_latent, "paint", kept)
    panel.sliders[0].value = 6
    assert not any(greyed(panel)) and panel.message.value == ""


def test_three_clicks_deal_one_round(monkeypatch):
    game, rounds = same(), []
    game.rest = 0.3
    monkeypatch.setattr(game, "play", lambda: rounds.append([b.disabled for b in (game.new_button, game.play_button)]))
    game.new_button.click()
    game.new_button.click()
    game.new_button.click()
    assert rounds == [[True, True]] and not game.new_button.disabled
    time.sleep(0.35)
    game.new_button.click()
    assert len(rounds) == 2


def test_a_word_that_the_model_has_never_met_is_named():
    from dislib import load_pipeline

    panel = paint_latent.PaintTheLatent(load_pipeline(), "a red house", pause=0)
    assert panel.message.value == ""
    panel.prompt_box.value = "a dragon in the meadow"
    assert "dragon" in panel.message.value and "meadow" not in panel.message.value.partition("see")[0]
    assert panel.error is None


# --- how many images ----------------------------------------------------------------------------------------------------


def test_mean_and_spread_settle():
    panel = many()
    off = []
    for n in (2, 6, 11, 12):
        panel.n.value = n
        off.append(float((panel.prior[0] - panel.whole[0]).square().mean()))
        assert f"μ of {n}" in panel.told.value
    assert off[0] > off[1] > off[2] > off[3] and off[3] < 1e-10
    assert opened(panel.views[0]).size == (128, 128)


def test_which_pictures_come_first_matters():
    panel = many(n=3)
    before = panel.views[0].value
    panel.seed_box.value = 7
    assert panel.views[0].value != before


def test_how_many_is_checked():
    with pytest.raises(DislibError, match="give at least 4"):
        HowManyImages(shared_pipeline(), torch.zeros(2, *SHAPE))
    with pytest.raises(DislibError, match="n = 13; a spread needs from 2 pictures to the 12"):
        many(n=13)
    assert len(many().twin().alt) > 40


def test_every_panel_says_what_it_draws_with(tmp_path):
    assert all(isinstance(make(), Panel) for make in PANELS.values()) and isinstance(voting(tmp_path), Panel)
