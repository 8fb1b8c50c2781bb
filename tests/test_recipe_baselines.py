"""The recipe of the baselines, in miniature: two methods, two rates."""

import json
import warnings

import pytest
from small_course import small_course

from dislib.errors import DislibWarning
from dislib.evaluation.table import read_results
from dislib.training.examples import TrainingSet
from dislib.training.methods import METHODS, TRAININGS
from recipes import baselines, lora_layers


@pytest.fixture
def small(tmp_path, monkeypatch):
    data = small_course(tmp_path / "data")
    monkeypatch.setenv("DISLIB_DATA", str(data))
    style = TRAININGS["style"].__class__("style", (1e-4, 1e-3))
    sizes = {"STEPS": 3, "RATE_STEPS": 2, "CHECKPOINT": 2, "PICTURES": 6, "STYLES": ("sketch",), "TRAININGS": {"style": style}}
    sizes |= {"METHODS": {name: METHODS[name] for name in ("base", "style", "style-matched")}}
    sizes |= {"hasten": lambda pipe: pipe, "everywhere": lambda work, jobs: map(work, jobs)}
    few = lambda pipe, style: TrainingSet.from_folder(pipe, data / "styles" / style / "train", n=6)
    for name, value in {**sizes, "examples": few}.items():
        monkeypatch.setattr(baselines, name, value)
    warnings.simplefilter("ignore", DislibWarning)  # few pictures
    return tmp_path


def test_rates_are_chosen_once_and_the_trainings_go_on_from_them(small):
    run = lambda: list(baselines.run(folder=small / "build" / "baselines", out=small / "out"))
    first = run()
    choice = json.loads((small / "out" / "rates.json").read_text())
    fids, own = choice["fid"]["style"], choice["of methods"]
    best = min(fids, key=lambda rate: fids[rate]["style"] + fids[rate]["style-matched"])
    assert choice["chosen"]["style"] == float(best) and len(fids) == 2
    assert own == {name: float(min(fids, key=lambda rate: fids[rate][name])) for name in ("style", "style-matched")}
    assert [r["rate"] for r in first if "trained" in r] == [1e-4, 1e-3, *dict.fromkeys(own.values())]

    for name, rate in own.items():
        trained = baselines.tuned(small / "build" / "baselines", "sketch", name)
        assert trained.name == f"style-{rate:g}" and baselines.tuned(trained.parents[1], "sketch", "base") is None
        record = json.loads((trained / "training.json").read_text())
        assert len(record["losses"]) == 3 and record["settings"]["use_ema"] and record["settings"]["learning_rate"] == rate
        tried = small / "build" / "baselines" / "rates" / trained.name / "training.json"
        assert json.loads(tried.read_text())["losses"] == record["losses"][:2]

    rows = read_results(small / "out" / "baselines.csv")
    assert {r.method for r in rows} == {"base", "style", "style-matched"}
    assert all(r.value == 1 for r in rows if r.method == "base" and r.metric == "nfid")
    again = run()
    assert not any(record.get("new pictures") for record in again) and len(again) == 3 + len(set(own.values()))


def test_the_layers_of_a_lora_are_compared(small, monkeypatch):
    for name in ("examples", "everywhere", "PICTURES"):
        monkeypatch.setattr(lora_layers, name, getattr(baselines, name))
    monkeypatch.setattr(lora_layers, "RATE_STEPS", 1)
    rates = small / "build" / "baselines" / "rates.json"
    rates.parent.mkdir(parents=True)
    rates.write_text('{"chosen": {"style-lora": 0.001}}')
    monkeypatch.setitem(baselines.METHODS, "style-lora", METHODS["style-lora"])
    monkeypatch.setitem(baselines.METHODS, "style-lora-matched", METHODS["style-lora-matched"])
    list(lora_layers.run(folder=small / "build" / "lora_layers", out=small / "out"))
    found = json.loads((small / "out" / "lora_layers.json").read_text())["layers"]
    sizes = [numbers["megabytes in float32"] for numbers in found.values()]
    assert list(found) == list(lora_layers.LAYERS) and sizes == sorted(set(sizes))
    for numbers in found.values():
        assert numbers["style-lora"]["fid"] > 0 and numbers["style-lora-matched"]["clip"] > -100
