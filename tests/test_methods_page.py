"""The page that describes the methods, held against the table in code."""

import pytest
from conftest import ROOT

from dislib.training.methods import FULL, LORA, METHODS, TRAININGS

PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")][
    1:
]


def test_every_method_has_a_row_and_no_row_is_left_over():
    assert [row[0] for row in ROWS] == [method.label for method in METHODS.values()]


@pytest.mark.parametrize("row, method", list(zip(ROWS, METHODS.values())), ids=METHODS)
def test_a_row_says_what_the_method_does(row, method):
    training = TRAININGS.get(method.training)
    what = "none" if training is None else f"LoRA of rank {training.rank}" if training.rank else "all weights"
    assert row[1:4] == [what, training.noise if training else "", method.start]
    assert (row[4] == "as it is") == (method.template == "{}")


def test_every_recipe_and_rate_is_told():
    for method in METHODS.values():
        assert f"**{method.label.partition(', matched')[0]}".lower() in PAGE.lower()
    for rates in (FULL, LORA):
        told = [f"{rate:.0e}".replace("e-0", "e-") for rate in rates]
        assert f"{told[0]}, {told[1]} and {told[2]}" in " ".join(PAGE.split())
