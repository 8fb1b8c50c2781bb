"""The recipe of what lesson 03 loads, on a small model trained for one step; and the figure of the learning curves."""

import pytest
import torch
from helpers import build_pipeline
from PIL import Image
from safetensors.torch import load_file

from dislib.errors import DislibError
from dislib.evaluation import learning
from dislib.figures.learning_curves import images_figure, learning_figure, parts_figure
from dislib.images.sheets import read_sheet
from dislib.training.examples import TrainingSet
from dislib.training.finetune import finetune
from dislib.training.result import LORA, PRIOR, read
from recipes import loras


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder like `build/tiny/baselines` with a LoRA of one step."""
    folder, pipe = tmp_path_factory.mktemp("build") / "baselines", build_pipeline()
    learnt = TrainingSet.from_latents(pipe, torch.randn(4, 4, 16, 16), ["a"] * 4)
    how = {"max_train_steps": 1, "train_batch_size": 2, "rank": 2, "out": folder / "sketch" / "style-lora-0.003"}
    list(finetune(pipe, learnt, noise=learnt.prior(pipe), **how))
    return folder


def test_a_lora_is_shipped_once_in_half_precision(trained, tmp_path):
    source, out = trained / "sketch" / "style-lora-0.003", tmp_path / "finetuned" / "sketch"
    assert loras.ship_lora(source, out) and not loras.ship_lora(source, out)
    ours, theirs = load_file(out / LORA), load_file(source / LORA)
    assert ours.keys() == theirs.keys() and {x.dtype for x in ours.values()} == {torch.float16}
    assert all(torch.allclose(ours[name].float(), theirs[name], rtol=1e-3, atol=1e-6) for name in ours)
    assert (out / PRIOR).read_bytes() == (source / PRIOR).read_bytes()
    assert read(out)["settings"] == read(source)["settings"]


def test_nothing_shipped_tells_of_a_machine(trained, tmp_path, root):
    loras.ship_lora(trained / "sketch" / "style-lora-0.003", tmp_path / "sketch")
    card = (tmp_path / "sketch" / "README.md").read_text()
    assert "data/finetuned/sketch" in card
    assert str(root) not in card and str(tmp_path) not in card


def test_a_short_training_counts_as_missing(trained, tmp_path):
    told = [record["state"] for record in loras.run(folder=trained.parent / "x", out=tmp_path)]
    assert all(state.startswith("missing") for state in told) and len(told) == 4 + 3
    assert not any(tmp_path.iterdir())
    assert "plain-0.0003, plain-0.001, style-0.0003" in loras.ship_sheet("sketch", trained, tmp_path)


def test_with_enough_steps_the_recipe_ships_and_is_then_up_to_date(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(loras, "STEPS", 1)
    told = [next(iter(loras.run(folder=trained.parent / "x", out=tmp_path))) for _ in range(2)]
    assert [record["state"] for record in told] == ["written", "up to date"]


def test_a_sheet_is_drawn_once(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(loras, "is_whole", lambda path: True)
    monkeypatch.setattr(loras, "read", lambda path: {"base": "x", "settings": {"seed": 0}})
    grid = [[Image.new("RGB", (8, 8), (40 * y, 50 * x, 0)) for x in range(5)] for y in range(6)]
    monkeypatch.setattr(loras, "draw", lambda style, tuned: drawn.append(sorted(tuned)) or grid)
    assert [loras.ship_sheet("comic", tmp_path, tmp_path) for _ in range(2)] == ["written", "up to date"]
    assert drawn == [["plain", "plain-leak", "style", "style-matched"]]
    sheet = read_sheet(tmp_path / "comic.webp")
    assert sheet.facts["command"] == "python -m recipes loras" and sheet.at("style", loras.PROMPTS[0]).size == (8, 8)


def row(method, iterations, value, *, style="comic", seed=0, images=50, variant=learning.BOTH):
    return learning.Learnt(
        method, style, 2.0, "fid", value, value - 1, value + 1, 200, iterations, images, seed, variant
    )


def test_learning_curves_have_a_line_for_each_method_and_the_floor():
    rows = [row("plain", i, 90.0 - i / 10, seed=s) for i in (100, 0, 10) for s in (0, 1)]
    rows += [row("style", 0, 95.0), row("style", 100, 30.0), row("style", 100, 1.0, images=5)]
    rows += [row("floor", None, 12.0, seed=None, images=None, variant="")]
    figure = learning_figure(rows, "comic")
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["plain fine-tuning", "style noise, paper's start", "as near as can be"]
    assert axes.lines[0].get_ydata().tolist() == [90, 89, 80] and axes.lines[1].get_ydata().tolist() == [95, 30]
    with pytest.raises(DislibError, match="no fid of sketch with 50 images"):
        learning_figure(rows, "sketch")


def test_curves_over_images_and_bars_for_the_parts_of_the_prior():
    rows = [row("style", 100, 40.0 - n / 10, images=n) for n in (50, 1, 10)] + [row("style", 300, 5.0)]
    rows += [row("style-matched", 300, 20.0 + s, seed=s, variant="mu only") for s in (0, 2)]
    (line,) = images_figure(rows, "comic").axes[0].lines
    assert line.get_ydata().tolist() == pytest.approx([39.9, 39, 35]) and line.get_xdata().tolist() == ["1", "10", "50"]
    (axes,) = parts_figure(rows, "comic").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["mu and sigma, paper's start", "mu only, matched start"]
    assert [bar.get_width() for bar in axes.patches] == [5, 21]
    for figure in (images_figure, parts_figure):
        with pytest.raises(DislibError, match="of sketch with"):
            figure(rows, "sketch")
