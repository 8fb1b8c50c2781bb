"""Few iterations with style noise against many of plain fine-tuning: the verdict, and the recipe in miniature."""

import warnings

import pytest
from small_course import small_course

from dislib.errors import DislibWarning
from dislib.evaluation.learning import races
from dislib.evaluation.table import Row, read_results
from dislib.training.examples import TrainingSet
from dislib.training.result import read
from recipes import baselines, race


def row(value, **changed):
    return Row("plain", "comic", 2.0, "fid", value, value - 1, value + 2, 200)._replace(**changed)


@pytest.mark.parametrize("value, verdict", [(20.0, "ahead"), (28.0, "level"), (40.0, "behind")])
def test_a_race_is_won_only_where_the_bands_are_apart(value, verdict):
    late = [row(30.0), row(1.0, method="style"), row(1.0, metric="kid")]
    (found,) = races([row(value, method="style"), row(1.0, method="style", metric="clip")], late)
    assert found.verdict == verdict and found.late == late[0] and verdict in str(found)
    assert f"style after 100: {value:.0f}" in str(found) and "plain after 1000: 30" in str(found)
    assert races([row(value, method="style", style="neon")], late) == [] == races([row(value)], late, "style-matched")


def test_both_starts_run_at_their_own_rate_and_nothing_twice(tmp_path, monkeypatch):
    data = small_course(tmp_path / "data")
    monkeypatch.setenv("DISLIB_DATA", str(data))
    few = lambda pipe, style: TrainingSet.from_folder(pipe, data / "styles" / style / "train", n=6)
    for name, value in {"hasten": lambda pipe: pipe, "examples": few, "CHECKPOINT": 1}.items():
        monkeypatch.setattr(baselines, name, value)
    own = {"style": 1e-4, "style-matched": 1e-3}
    here = {"STYLES": ("sketch",), "STEPS": 2, "rates": lambda _: own, "everywhere": lambda work, jobs: map(work, jobs)}
    for name, value in here.items():
        monkeypatch.setattr(race, name, value)
    warnings.simplefilter("ignore", DislibWarning)  # few pictures
    run = lambda: list(race.run(folder=tmp_path / "race", out=tmp_path / "out"))
    assert [r["new pictures"] > 0 for r in run() if "painted" in r] == [True, True]
    for name, rate in own.items():
        record = read(tmp_path / "race" / "sketch" / name)
        assert len(record["losses"]) == 2 and record["settings"]["learning_rate"] == rate
    rows = read_results(tmp_path / "out" / "race.csv")
    assert {(r.method, r.style) for r in rows} == {("style", "sketch"), ("style-matched", "sketch")}
    assert not any(r.get("new pictures") for r in run()) and read_results(tmp_path / "out" / "race.csv") == rows
