"""The widgets of lesson 04, *Which is closer?*, *Guidance strip* and *FID liar*: moved by hand, broken, swept."""

import asyncio
import json

import ipywidgets as widgets
import numpy as np
import pytest
from helpers import images
from sweep import controls, sweep, walk
from test_small_samples import reference
from test_widgets import CORE, opened, reraise, shows

from dislib import files
from dislib.errors import DislibError
from dislib.evaluation.votes import QUESTIONS, answer, read_votes, write_votes
from dislib.figures.plots import CourseFigure
from dislib.images.sheets import Sheet, by_style
from dislib.widgets import FidLiar, GuidanceStrip, WhichIsCloser, guidance_strip, vote

ROWS = ["base", "plain", "style"]
PROMPTS = ["a red house", "two <b>blue</b> cats"]
WEIGHTS = [1, 1.5, 3, 7.0, 20]


def sheet(rows, columns, *, seed=0, **facts):
    flat = iter(images(len(rows) * len(columns), size=32, seed=seed))
    return Sheet(list(rows), list(columns), [[next(flat) for _ in columns] for _ in rows], facts)


def ballots(**facts):
    return sheet(ROWS, PROMPTS, style="sketch", guidance=3, seeds=[5, 6], **facts)


def voting(folder, voter="Ann", **options):
    options = {"count": 8, "pause": 0, "on_error": reraise, **options}
    return WhichIsCloser(ballots(), voter, folder / "ann.csv", **options)


def strips():
    one = sheet(ROWS, WEIGHTS, style="sketch", prompt="a red house")
    return {"sketch": one, "comic": sheet([*ROWS[1:], "lora"], WEIGHTS, seed=1, prompt="a <cat>")}


def strip(**options):
    return GuidanceStrip(strips(), **{"pause": 0, "on_error": reraise, **options})


def liar(**options):
    return FidLiar(reference(), **{"numbers": [10, 30, 90], "draws": 5, "pause": 0, "on_error": reraise, **options})


# --- Which is closer? -------------------------------------------------------------------------------------------------


def finish(panel, choice="left"):
    while panel.left_over:
        panel.buttons[choice].click()


def test_the_pair_of_the_ballot_is_shown(tmp_path):
    panel = voting(tmp_path)
    for _ in range(len(panel.plan)):
        ballot = panel.left_over[0]
        shown = [ballots().at(method, ballot.prompt) for method in (ballot.left, ballot.right)]
        assert all(map(shows, panel.views, shown))
        assert ballot.seed == dict(zip(PROMPTS, [5, 6]))[ballot.prompt]
        panel.buttons["tie"].click()


def test_every_vote_is_on_the_disk_at_once(tmp_path):
    panel = voting(tmp_path)
    assert not panel.file.path.exists()
    for k, choice in enumerate(["left", "tie", "right"]):
        ballot = panel.left_over[0]
        panel.buttons[choice].click()
        assert read_votes(panel.file.path)[k] == answer(ballot, choice, voter="Ann")
        assert f"{k + 1} of 8 answered" in panel.progress.value


def readable(panel):
    """All that a page holds of a widget, pictures' bytes included."""
    states = [widget.get_state() for widget in [panel.ui, *walk(panel.ui)]]
    return json.dumps(states, default=lambda v: v.decode("latin-1") if isinstance(v, bytes) else str(v)).lower()


def test_nobody_is_named_before_the_end(tmp_path):
    names = ["zebra", "yak", "xerus"]
    panel = WhichIsCloser(sheet(names, PROMPTS), "Ann", tmp_path / "a.csv", count=8, pause=0, on_error=reraise)
    while panel.left_over:
        page = readable(panel) + panel.twin().alt.lower()
        assert not any(name in page for name in names)
        panel.buttons["left"].click()
    assert all(name in readable(panel) for name in names)


def test_questions_come_one_after_the_other_and_no_markup_gets_through(tmp_path):
    panel, asked = voting(tmp_path, examples={"sketch": images(6, size=200)}), []
    while panel.left_over:
        asked.append(panel.left_over[0].question)
        pictured = [view for view in panel.example_views if view.layout.display != "none"]
        assert len(pictured) == (4 if asked[-1] == "style" else 0)
        assert all(opened(view).size == (96, 96) for view in pictured)
        assert ("and 4 of the style" in panel.twin().alt) == (len(pictured) == 4)
        assert ("of these?" in panel.question.value) == (asked[-1] == "style")
        assert "<b>blue" not in panel.question.value
        panel.buttons["left"].click()
    assert asked == ["style"] * 4 + ["prompt"] * 4


def test_a_voter_goes_on_where_the_file_ends(tmp_path):
    panel = voting(tmp_path)
    for _ in range(3):
        panel.buttons["right"].click()
    again = voting(tmp_path)
    assert again.plan == panel.plan and again.left_over == panel.left_over and len(again.left_over) == 5
    assert "3 of 8" in again.progress.value
    finish(again)
    assert len(read_votes(again.file.path)) == 8
    assert voting(tmp_path).stage.layout.display == "none"  # all done: the ranking at once


def test_voters_get_different_plans_and_share_a_file(tmp_path):
    one, other = voting(tmp_path), voting(tmp_path, "Bo")
    assert one.plan != other.plan
    finish(one)
    finish(other)
    assert [v.voter for v in read_votes(tmp_path / "ann.csv")] == ["Ann"] * 8 + ["Bo"] * 8


def test_the_end_ranks_by_the_votes(tmp_path):
    panel = voting(tmp_path, count=12)
    assert panel.rankings() == {} and isinstance(panel.twin(), CourseFigure)
    worth = ROWS.index
    while panel.left_over:
        ballot = panel.left_over[0]
        panel.buttons["left" if worth(ballot.left) > worth(ballot.right) else "right"].click()
    assert list(panel.rankings()) == list(QUESTIONS)
    assert all([s.method for s in ranking] == ROWS[::-1] for ranking in panel.rankings().values())
    assert "6 votes say, from first to last: Diffusion in Style, plain fine-tuning, base model." in panel.told.value
    assert all(opened(chart).width > 300 and chart.layout.display == "" for chart in panel.charts)
    assert all(button.disabled for button in panel.buttons.values())
    assert "Diffusion in Style" in panel.twin().alt
    panel.buttons["left"].click()
    assert len(panel.file.votes) == 12


def test_the_second_press_of_a_double_click_is_no_vote(tmp_path):
    panel = voting(tmp_path, pause=60)
    panel.buttons["left"].click()
    assert panel.file.votes == []
    panel._shown_at -= 61
    panel.buttons["left"].click()
    panel.buttons["left"].click()
    assert len(panel.file.votes) == 1


def test_a_full_disk_is_told_and_the_vote_can_be_given_again(tmp_path, monkeypatch):
    panel = voting(tmp_path, on_error=None)
    panel.buttons["left"].click()
    before = panel.views[0].value

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        panel.buttons["left"].click()
    assert "the disk is full" in panel.message.value and "1 of 8" in panel.progress.value
    assert panel.views[0].value == before and len(read_votes(panel.file.path)) == 1
    panel.buttons["left"].click()
    assert panel.message.value == "" and "2 of 8" in panel.progress.value


def test_a_file_spoilt_in_the_meantime_is_told(tmp_path):
    panel = voting(tmp_path, on_error=None)
    panel.buttons["left"].click()
    text = panel.file.path.read_text(encoding="utf-8").replace(",left\n", ",lefft\n")
    panel.file.path.write_text(text, encoding="utf-8")
    panel.buttons["right"].click()
    assert "line 2: the choice &#x27;lefft&#x27; is unknown" in panel.message.value
    assert panel.file.path.read_text(encoding="utf-8") == text


def test_methods_of_ones_own_and_several_styles(tmp_path):
    own = sheet(["mine", "yours", "base"], PROMPTS, style="sketch")
    both = {"sketch": own, "comic": sheet(ROWS, PROMPTS)}
    panel = WhichIsCloser(both, "Ann", tmp_path / "a.csv", methods=None, count=9, pause=0, on_error=reraise)
    assert [ballot.style for ballot in panel.plan] == ["sketch"] * 5 + ["comic"] * 4
    finish(panel)
    assert "mine" in panel.told.value
    two = WhichIsCloser(own, "Bo", tmp_path / "b.csv", methods=["mine", "base"], count=4, pause=0)
    assert {ballot.left for ballot in two.plan} | {ballot.right for ballot in two.plan} == {"mine", "base"}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"voter": " "}, "the voter has no name; write one"),
        ({"count": 3}, "3 ballots are too few; give at least 4, two for each question"),
        ({"count": 100}, "100 ballots; choose from 2 to 12"),
        ({"methods": ["base", "lora"]}, "no 'lora'; choose one of base, plain, style"),
        ({"questions": ["beauty"]}, "no question beauty"),
    ],
)
def test_a_vote_that_cannot_begin(tmp_path, options, words):
    with pytest.raises(DislibError, match=words):
        voting(tmp_path, **options)


def test_a_file_of_a_name():
    assert vote.file_of(" Zoë B. ").as_posix() == "votes/zoë_b.csv"
    assert vote.file_of("../..").as_posix() == "votes/voter.csv"


def test_a_votes_file_of_other_methods_is_kept(tmp_path):
    write_votes(tmp_path / "ann.csv", [answer(voting(tmp_path).plan[0]._replace(left="lora"), "tie", voter="Ann")])
    panel = voting(tmp_path)
    panel.buttons["left"].click()
    assert len(read_votes(tmp_path / "ann.csv")) == 2 and len(panel.left_over) == 7


# --- Guidance strip ---------------------------------------------------------------------------------------------------


def test_the_strip_shows_every_method_at_the_weight():
    panel = strip(weight=1)
    for weight in (1, 20, 1.5):
        panel.weight.value = weight
        assert all(shows(panel.views[name], strips()["sketch"].at(name, weight)) for name in ROWS)
        assert f"w = {weight:g}, sketch: &quot;a red house&quot;" in panel.told.value
    assert [panel.cells[name].layout.display for name in panel.methods] == ["", "", "", "none"]
    assert "Diffusion in Style" in panel.cells["style"].children[1].value


def test_another_style_shows_its_own_methods():
    panel = strip()
    views = dict(panel.views)
    panel.style.value = "comic"
    assert panel.views == views  # updated in place
    assert [panel.cells[name].layout.display for name in panel.methods] == ["none", "", "", ""]
    assert shows(panel.views["lora"], strips()["comic"].at("lora", panel.weight.value))
    assert "a &lt;cat&gt;" in panel.told.value
    assert "LoRA" in panel.twin().alt and "base model" not in panel.twin().alt


def test_dragging_changes_the_pictures_once(monkeypatch):
    drawn = []

    async def drag():
        panel = strip(pause=0.05, weight=1)
        monkeypatch.setattr(panel, "draw", lambda: drawn.append(panel.weight.value))
        for weight in WEIGHTS[1:]:
            panel.weight.value = weight
        assert drawn == []
        await asyncio.sleep(0.3)

    asyncio.run(drag())
    assert drawn == [20]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"style": "neon"}, "no style 'neon'; choose one of sketch, comic"),
        ({"weight": 2}, "no weight 2; choose one of 1, 1.5, 3, 7.0, 20"),
        ({"methods": ["base", "offset"]}, "no method 'offset'; choose one of base, plain, style, lora"),
    ],
)
def test_a_strip_that_cannot_be_shown(options, words):
    with pytest.raises(DislibError, match=words):
        strip(**options)


def test_sheets_must_agree():
    with pytest.raises(DislibError, match="the sheet of 'b' has the weights"):
        GuidanceStrip({"a": sheet(ROWS, [1, 2]), "b": sheet(ROWS, [1, 3])})
    with pytest.raises(DislibError, match="no sheets are given"):
        GuidanceStrip({})
    one = sheet(ROWS, [1, 2], style="sketch")
    assert by_style(one) == {"sketch": one} == by_style({"sketch": one})


def test_a_failure_while_drawing_is_told(monkeypatch):
    panel = strip(on_error=None, weight=1)
    before = panel.views["base"].value
    monkeypatch.setattr(guidance_strip, "png", lambda *_: reraise(MemoryError("no memory left")))
    panel.weight.value = 20
    assert "MemoryError: no memory left" in panel.message.value and panel.views["base"].value == before


def test_the_twin_of_many_methods_is_as_wide_as_high():
    panel = GuidanceStrip(sheet([f"method {k}" for k in range(12)], WEIGHTS), pause=0)
    twin = panel.twin()
    width, height = twin.get_size_inches()
    assert "12 x 5 pictures" in twin.alt and 0.5 < width / height < 2


def test_some_are_evenly_apart():
    assert guidance_strip.some(WEIGHTS, 6) == WEIGHTS
    assert guidance_strip.some(list(range(12)), 6) == [0, 2, 4, 7, 9, 11]


# --- FID liar ---------------------------------------------------------------------------------------------------------


def test_the_liar_tells_the_numbers_of_the_present_n():
    panel = liar(n=10)
    pictures = []
    for n in (10, 30, 90):
        panel.n.value = n
        found = panel.found[n]
        assert f"{n} fresh pictures" in panel.told.value
        assert f"FID says <b>{found.fid.value:.3g}</b>" in panel.told.value
        assert f"KID says <b>{found.kid.value:.3g}</b>" in panel.told.value
        pictures.append(panel.view.value)
    assert len(set(pictures)) == 3 and max(map(len, pictures)) <= 150_000
    assert np.asarray(opened(panel.view)).std() > 10
    panel.n.value = 10
    assert panel.view.value == pictures[0]


def test_of_all_pictures_there_is_one_set_only():
    told = liar(numbers=[10, 200], n=200).told.value
    assert told.count("(one set, all there are)") == 2 and "95 %" not in told
    assert liar(numbers=[10, 200], n=10).told.value.count("95 % of such sets") == 2


def test_a_liar_that_cannot_begin():
    with pytest.raises(DislibError, match="N = 11 was not measured; choose one of 10, 30, 90"):
        liar(n=11)
    with pytest.raises(DislibError, match="N = 1; a distance needs"):
        liar(numbers=[1, 10])


# --- all --------------------------------------------------------------------------------------------------------------

ALL = {"vote": lambda folder: voting(folder), "strip": lambda _: strip(), "liar": lambda _: liar()}


@pytest.mark.parametrize("name", ALL)
def test_core_widgets_only_and_all_have_names(name, tmp_path):
    panel = ALL[name](tmp_path)
    assert {type(w).__name__ for w in walk(panel.ui)} <= CORE | {"Dropdown", "SelectionSlider"}
    named = [*controls(panel), *(w for w in walk(panel.ui) if isinstance(w, widgets.Button))]
    assert named and all(control.description.strip() for control in named)


@pytest.mark.parametrize("name", ALL)
def test_the_twin_is_a_figure_with_words(name, tmp_path, monkeypatch):
    panel, shown = ALL[name](tmp_path), []
    monkeypatch.setattr("dislib.widgets.panel.display", shown.append)
    monkeypatch.setenv("DISLIB_STATIC", "1")
    panel._ipython_display_()
    assert isinstance(shown[0], CourseFigure) and len(shown[0].alt) > 40
    assert list(tmp_path.iterdir()) == []  # looking is no vote


def test_the_sweep_moves_everything_and_puts_it_back(tmp_path):
    panels = strip(), liar()
    before = [[control.value for control in controls(panel)] for panel in panels]
    assert [sweep(panel) for panel in panels] == [5 + 2, 3]
    assert [[control.value for control in controls(panel)] for panel in panels] == before
    assert sweep(voting(tmp_path)) == 3 and len(read_votes(tmp_path)) == 3
