"""The page of all measurements, held against the tables it was made of."""

import pytest
from conftest import ROOT

from dislib.evaluation.learning import BOTH, Learnt
from dislib.evaluation.table import Row
from recipes import findings


def test_the_page_is_what_its_tables_say():
    told = (ROOT / findings.PAGE).read_text(encoding="utf-8")
    assert told == findings.page(ROOT / "data" / "results"), "run: python -m recipes findings"


def test_a_table_of_methods_marks_all_that_share_the_first_place():
    row = lambda method, value, style: Row(method, style, 2.0, "fid", value, value - 3, value + 3, 200)
    rows = [row(name, 50.0 + k, s) for k, name in enumerate(findings.METHODS) for s in ("comic", "neon")]
    rows += [Row(name, s, None, "fid", 5.0, 4.0, 6.0, 200) for name in ("floor", "training images") for s in ("comic", "neon")]
    lines = findings.of_methods(rows, "fid").splitlines()
    assert lines[0] == "| FID | comic | neon |" and lines[2] == "| base model | **50.0** | **50.0** |"
    assert [line.count("**") // 4 for line in lines[2:15]] == [1] * 7 + [0] * 6
    assert lines[-1] == "| *floor* | *5.0* | *5.0* |"
    assert findings.firsts(rows, 2.0, ("style",)) == [] and findings.firsts(rows, 2.0, ("base",)) == ["comic", "neon"]


def test_the_best_point_of_each_method_is_marked():
    row = lambda name, w, metric, value: Row(name, "comic", w, metric, value, value - 1, value + 1, 200)
    rows = [row("base", w, m, v) for w, m, v in ((1.0, "fid", 9), (3.0, "fid", 7), (1.0, "clip", 50), (3.0, "clip", 40))]
    rows += [row("plain", 3.0, "fid", 5)]
    head, _, base = findings.along_guidance(rows[:4], "comic", "fid").splitlines()
    assert head == "| FID | n | w = 1 | w = 3 |" and base == "| base model | 200 | 9 | **7** |"
    assert findings.along_guidance(rows[:4], "comic", "clip").splitlines()[2] == "| base model | 200 | **50** | 40 |"


def test_first_places_are_shared_where_bands_overlap():
    row = lambda name, w, value: Row(name, "comic", w, "fid", value, value - 1, value + 1, 200)
    rows = [row("base", 1.0, 5), row("plain", 1.0, 6.5), row("base", 3.0, 5), row("plain", 3.0, 1)]
    rows.append(row("floor", None, 0))
    assert findings.of_places(rows).splitlines()[2:] == ["| base model | 1 |", "| plain fine-tuning | all |"]


def test_counts_are_told_in_words():
    assert findings.count(["comic", "neon"], 5) == "2 of 5 styles (comic, neon)"
    assert findings.count([], 5) == "0 of 5 styles" and findings.count(["comic", "neon"], 2) == "all 2 styles"


def test_rows_of_several_seeds_are_one_line():
    made = Learnt("plain", "comic", 2.0, "fid", 40.0, 38.0, 43.0, 200, 100, 50, 0, BOTH)
    rows = [made, made._replace(seed=1, value=44.0, high=48.0), made._replace(iterations=0, value=70.0, low=69, high=71)]
    head, _, first, *_ = findings.along(rows, "iterations", style="comic", images=50).splitlines()
    assert head == "| FID | 0 | 100 |" and first == "| plain fine-tuning | 70 (69 to 71) | 42 (38 to 48) |"


def test_without_its_folder_it_says_so(tmp_path):
    with pytest.raises(findings.DislibError, match="no folder"):
        list(findings.run(folder=tmp_path, out=tmp_path / "nowhere" / "page.md"))
