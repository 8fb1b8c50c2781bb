"""The grid of rates and iterations: whole trainings are the unit of work, and cells are compared in pairs."""

import csv
import json

import numpy as np
import pytest

from dislib.evaluation.apart import MEASURES, Measured, compare
from dislib.files import load_arrays
from recipes import grid

SMALL = {"styles": ("sketch",), "rates": (1e-4,), "seeds": (0,), "pictures": 6, "reference": 12}
CELLS = 2 * 2 * 2 + 5  # noises x iterations x starts, and the base model's starts and the floor


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of the work, folder of the results, records) of a grid of two iterations."""
    before, grid.AT = grid.AT, (1, 2)
    folder, out = tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("results")
    yield folder, out, list(grid.run(folder=folder, out=out, **SMALL))
    grid.AT = before


def rows(out):
    with open(out / "grid.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_cell_has_every_measure_with_its_band_and_draws(made):
    _, out, records = made
    table, (draws, _) = rows(out), load_arrays(out / "grid.safetensors", ())
    assert records[-1]["cells shipped"] == CELLS and len(table) == CELLS * len(MEASURES) == len(draws)
    for row in table:
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"]), row
    starts = {(row["noise"], row["start"]) for row in table}
    assert {("white", "leak"), ("style", "matched"), ("base", "white"), ("base", "floor")} <= starts


def test_cells_compare_in_pairs(made):
    folder, out, _ = made
    draws, _ = load_arrays(out / "grid.safetensors", ())
    values = json.loads((folder / "sketch-base-0-0.json").read_text())["cells"]
    cell = lambda start: f"sketch base 0 0 0 {start}"  # noqa: E731
    of = lambda start: Measured(values[cell(start)]["page"], draws[f"{cell(start)} page"].astype(float))  # noqa: E731
    assert compare(of("floor"), of("white"), "page")[0] == "ahead"  # sketches have whiter pages than the base model's
    assert compare(of("floor"), of("floor"), "page")[0] == "level"


def test_a_finished_training_is_kept_and_a_missing_one_made_again(made):
    folder, out, _ = made
    before = (out / "grid.csv").read_text()
    assert list(grid.run(folder=folder, out=out, **SMALL)) == []
    (folder / "sketch-style-0.0001-0.json").unlink()  # as after a kill: the draws were written, the record was not
    again = list(grid.run(folder=folder, out=out, **SMALL))
    assert [record["trained"] for record in again] == ["sketch-style-0.0001-0"]
    assert len((out / "grid.csv").read_text().splitlines()) == len(before.splitlines())


def test_cells_of_another_recipe_do_not_count(made, tmp_path):
    folder, _, _ = made
    assert grid.ship(folder, tmp_path, "another") == 0


def test_the_plan_is_the_whole_grid_default_rate_first():
    runs = grid.plan()
    assert len(runs) == len(set(runs)) == 5 * 2 * (3 + 2)
    assert {run.rate for run in runs[:10]} == {grid.DEFAULT_RATE}
    assert {run.seed for run in runs[30:]} == {1, 2} and {run.rate for run in runs[30:]} == {grid.DEFAULT_RATE}
    assert len(np.unique(grid.spread([str(i) for i in range(200)], 104))) == 104
