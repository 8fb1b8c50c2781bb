"""The recipe of the shipped sweeps, in miniature."""

import json
import warnings

import pytest
from small_course import WORDS, small_course

from dislib.errors import DislibWarning
from dislib.evaluation.table import read_results
from dislib.images.sheets import read_sheet
from recipes import sweeps

NAMES = ("base", "prompt", "leak")  # what needs no training


@pytest.fixture
def small(tmp_path, monkeypatch):
    data = small_course(tmp_path / "data")
    monkeypatch.setenv("DISLIB_DATA", str(data))
    sizes = {"STYLES": ("sketch",), "SHEETS": ("sketch",), "FULL": ("base", "leak"), "FEW": 8, "ALL": 12, "IMAGES_PER_PROMPT": 2}
    sizes |= {"BATCH_SIZE": 4, "SHOWN": 2, "GUIDANCE": (1.0, 2.0, 3.0), "SWEPT": NAMES}
    few = sweeps.examples
    sizes |= {"examples": lambda pipe, style: few(pipe, style, n=6)}
    sizes |= {"tuned": lambda folder, style, name: None, "native": lambda: False, "hasten": lambda pipe: pipe}
    kept = ("max_train_steps", "train_batch_size", "use_ema", "caption_dropout", "lr_scheduler")
    sizes |= {"read": lambda _: {"settings": dict.fromkeys(kept, 1)}}
    sizes |= {"everywhere": lambda work, jobs: map(work, jobs)}
    for name, value in sizes.items():
        monkeypatch.setattr(sweeps, name, value)
    warnings.simplefilter("ignore", DislibWarning)  # few pictures
    return tmp_path


def test_few_pictures_of_all_then_all_of_some_and_nothing_twice(small):
    run = lambda: list(sweeps.run(folder=small / "build" / "results", out=small / "out"))
    swept = [(r["swept"], r["pictures a point"], r["new"]) for r in run()]
    assert swept == [
        *[("base", 8, True), ("base", 8, True), ("prompt", 8, True), ("leak", 8, True)],
        *[("base", 12, True), ("leak", 12, True)],
    ]
    for table, methods, pictures in (("sweeps", ("base", "leak"), 12), ("sweeps_few", NAMES, 8)):
        rows = read_results(small / "out" / f"{table}.csv")
        n = {(r.method, r.guidance): r.n for r in rows if r.metric == "fid" and r.guidance}
        assert n == {(m, w): pictures for m in methods for w in (1.0, 2.0, 3.0)}
        assert all(r.value == 1 for r in rows if r.metric == "nfid" and r.method == "base")

    strip, ballots = (read_sheet(small / "out" / kind / "sketch.webp") for kind in ("strips", "ballots"))
    assert strip.rows == list(NAMES) and ballots.rows == ["base", "leak"] and strip.columns == [1.0, 2.0, 3.0]
    assert len(ballots.columns) == 2 and set(ballots.columns) <= set(WORDS) and ballots.facts["guidance"] == 3.0
    facts = json.loads((small / "out" / "sweeps.json").read_text())
    assert facts["rounding"]["between"] == pytest.approx(0, abs=1e-3) and facts["precision"] == "float32"

    text = (small / "out" / "sweeps.csv").read_text()
    assert not any(record["new"] for record in run()) and (small / "out" / "sweeps.csv").read_text() == text


def test_few_pictures_of_every_style_come_before_all_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "tuned", lambda folder, style, name: None)
    sizes = [{job.n for job in jobs} for jobs in sweeps.rounds(tmp_path)]
    assert sizes == [{200}] * 6 + [{800}] * 5
    swept = {(job.style, job.n) for jobs in sweeps.rounds(tmp_path) for job in jobs}
    assert swept == {(style, n) for style in sweeps.STYLES for n in (200, 800)}
