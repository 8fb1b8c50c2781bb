"""Sheets: what is written comes back, and a damaged one is named."""

import json

import numpy as np
import pytest
from helpers import images

from dislib.errors import DislibError
from dislib.images.sheets import Sheet, read_sheet, write_sheet


@pytest.fixture
def sheet():
    flat = iter(images(6, size=32))
    return Sheet(["base", "style"], [1.0, 2.0, 7.0], [[next(flat) for _ in range(3)] for _ in range(2)], {"seed": 3})


def test_a_sheet_comes_back_in_its_places(sheet, tmp_path):
    write_sheet(tmp_path / "a.webp", sheet, quality=100)
    found = read_sheet(tmp_path / "a.webp")
    assert (found.rows, found.columns, found.facts) == (sheet.rows, sheet.columns, sheet.facts)
    colour = lambda image: np.asarray(image, float).mean(axis=(0, 1))
    for row in sheet.rows:
        distances = [np.abs(colour(found.at(row, 7.0)) - colour(im)).max() for r in sheet.images for im in r]
        assert int(np.argmin(distances)) == 3 * sheet.rows.index(row) + 2


def test_an_unknown_name_and_a_damaged_sheet_are_named(sheet, tmp_path):
    with pytest.raises(DislibError, match="no 'lora'; choose one of base, style"):
        sheet.at("lora", 1.0)
    with pytest.raises(DislibError, match="no.webp cannot be read"):
        read_sheet(tmp_path / "no.webp")
    write_sheet(tmp_path / "a.webp", sheet)
    facts = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps({**facts, "columns": [1.0] * 5}))
    with pytest.raises(DislibError, match="96 x 64 px are no 2 x 5 pictures"):
        read_sheet(tmp_path / "a.webp")
    (tmp_path / "a.webp").write_bytes((tmp_path / "a.webp").read_bytes()[:50])
    with pytest.raises(DislibError, match="a.webp cannot be read"):
        read_sheet(tmp_path / "a.webp")
