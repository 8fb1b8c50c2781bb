"""The runners of the ablations, in miniature, and their tables."""

import json
import warnings

import pytest
import torch
from helpers import images, shared_pipeline
from small_course import WORDS, small_course

from dislib.errors import DislibError, DislibWarning
from dislib.evaluation.learning import BOTH, METHODS, VARIANTS, Learnt, over_seeds, pick, read_learning, write_learning
from dislib.training.examples import TrainingSet
from recipes import learning, own_leak


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return small_course(tmp_path_factory.mktemp("data"))


@pytest.fixture
def small(course, monkeypatch):
    """All sizes small, and everything in this process."""
    monkeypatch.setenv("DISLIB_DATA", str(course))
    sizes = {"ITERATIONS": (2,), "FEW": 2, "PARTS_AT": 2, "IMAGES": 6, "NUMBERS": (1,), "PARTS": ("mu only",)}
    for name, value in sizes.items():
        monkeypatch.setattr(learning, name, value)
    monkeypatch.setattr(learning, "everywhere", lambda work, jobs: map(work, jobs))
    monkeypatch.setattr(learning, "hasten", lambda pipe: pipe)
    warnings.simplefilter("ignore", DislibWarning)  # few pictures
    return course


def run(folder):
    options = {"out": folder / "results", "styles": ("sketch",), "seeds": (0,), "pictures": 6}
    return list(learning.run(folder=folder / "learning", **options))


def test_all_is_measured_once_kept_and_made_again_where_it_is_missing(small, tmp_path):
    measured = [record["measured"] for record in run(tmp_path)]
    assert measured == [4, 2, 3, 2, 2, 2]
    table = tmp_path / "results" / "learning.csv"
    text, rows = table.read_text(), read_learning(table)
    points = {(r.method, r.iterations, r.images, r.variant) for r in rows if r.iterations is not None}
    assert len(points) == sum(measured) and {r.metric for r in rows} == {"fid", "kid", "clip"}
    assert {r.n for r in rows if r.iterations is not None} == {6}
    assert not list(tmp_path.rglob("*.sweep")) and not list(tmp_path.rglob("*.safetensors"))  # no snapshot stays
    [pictures] = tmp_path.rglob("*plain-mu_and_sigma-6/0002-plain.pictures")
    assert len(list(pictures.glob("*.png"))) == 6

    assert [record["measured"] for record in run(tmp_path)] == [0] * 6
    [lost] = tmp_path.rglob("*style-mu_only-6/0002-style.json")
    lost.unlink()
    assert [record["measured"] for record in run(tmp_path)] == [0, 0, 0, 1, 0, 0]
    assert table.read_text() == text  # the same training, to the last digit


def test_numbers_of_another_judge_or_rate_are_measured_again(small, tmp_path):
    made = {"base": "x", "judge": "y", "rate": 1e-3, "prompts": 4}
    path = tmp_path / "0002-plain.json"
    path.write_text(json.dumps({"made with": made, "rows": []}))
    assert learning._is_there(path, made)
    assert not learning._is_there(path, made | {"rate": 1e-4}) and not learning._is_there(path, made | {"judge": "z"})


def test_the_plan_holds_every_claim():
    jobs = learning.plan()
    points = {(j.style, j.seed, j.variant, j.images, *point) for j in jobs for point in j.points}
    assert len(points) == sum(len(j.points) for j in jobs) and len({j.name for j in jobs}) == len(jobs)
    order = [("sketch", 0), ("comic", 0), ("sketch", 1), ("sketch", 2)]
    assert [(j.style, j.seed) for j in jobs][:: len(jobs) // 4] == order
    for style, seed in order:
        for method in METHODS[:4]:
            for iterations in (0, 10, 30, 100, 300, 1000):
                assert (style, seed, BOTH, 50, iterations, method) in points
            for n in (1, 5, 10, 25, 50, 100):
                assert (style, seed, BOTH, n, 100, method) in points
        assert (style, seed, BOTH, 50, 1000, "style-white") in points
        assert {v for s, k, v, *_ in points if (s, k) == (style, seed)} == set(VARIANTS)


def test_the_rate_is_the_chosen_one(tmp_path, course, monkeypatch):
    monkeypatch.setenv("DISLIB_DATA", str(course))
    assert learning.rate_of("style", tmp_path / "learning") == 3e-4
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "rates.json").write_text('{"chosen": {"style": 0.002}}')
    assert learning.rate_of("style", tmp_path / "learning") == 0.002


def test_parts_of_a_prior():
    latents = TrainingSet.from_images(shared_pipeline(), images(6), WORDS).latents
    both, mu, sigma, flat = (learning.prior_of(latents, variant) for variant in VARIANTS)
    assert torch.equal(mu.mean, both.mean) and (mu.std == 1).all()
    assert torch.equal(sigma.std, both.std) and (sigma.mean == 0).all()
    assert torch.allclose(flat.mean[:, 0, 0], both.mean.mean((1, 2)), atol=1e-5) and (flat.std > 0).all()
    assert flat.mean.flatten(1).std(1).max() < 1e-6 < float(both.mean.flatten(1).std(1).min())
    one = learning.prior_of(latents[:1], BOTH)
    assert torch.isfinite(one.std).all() and float(one.mean.flatten(1).std(1).min()) > 0


# --- the table ----------------------------------------------------------------------------------------------------


def row(value, seed, **changed):
    made = Learnt("plain", "comic", 2.0, "fid", value, value - 1, value + 2, 200, 100, 50, seed, BOTH)
    return made._replace(**changed)


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = [row(12.5, 0), row(3.0, None, method="floor", guidance=None, iterations=None, images=None, variant="")]
    write_learning(tmp_path / "learning.csv", rows)
    assert read_learning(tmp_path / "learning.csv") == rows


def test_seeds_are_put_together_with_the_widest_band():
    rows = [row(10.0, 0), row(14.0, 1), row(30.0, 0, images=5)]
    together, alone = over_seeds(rows)
    assert (together.value, together.low, together.high, together.seed) == (12.0, 9.0, 16.0, None)
    assert (alone.value, alone.low, alone.images) == (30.0, 29.0, 5)
    assert pick(rows, images=5) == rows[2:] and pick(rows, metric="kid") == []


def test_a_broken_table_is_named(tmp_path):
    path = tmp_path / "learning.csv"
    with pytest.raises(DislibError, match="python -m recipes learning"):
        read_learning(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DislibError, match="expected the columns method, style"):
        read_learning(path)
    write_learning(path, [row(1.0, 0)])
    path.write_text(path.read_text() + "plain,comic,two\n")
    with pytest.raises(DislibError, match="learning.csv, line 3"):
        read_learning(path)


# --- the own leak and stochastic samplers -------------------------------------------------------------------------


def test_own_leak_writes_both_files(small, tmp_path, monkeypatch):
    options = {"styles": ("sketch",), "steps": 2, "count": 4, "fresh": (1, 2)}
    monkeypatch.setattr(own_leak, "IMAGES", 6)
    records = list(own_leak.run(folder=tmp_path / "own_leak", out=tmp_path / "results", **options))
    leak, stochastic = (
        json.loads((tmp_path / "results" / f"{n}.json").read_text()) for n in ("own_leak", "stochastic")
    )
    assert leak["command"] == own_leak.COMMAND and len(records) == 3
    found = leak["styles"]["sketch"]
    assert found["a + b"] == pytest.approx(1.066, abs=1e-3)  # the test model has Stable Diffusion's schedule
    assert found["predicted"]["element by element"] == pytest.approx(-0.066, abs=1e-3)
    assert found["predicted"]["read in full"] == pytest.approx(-0.97, abs=0.01)  # times 1 / sqrt(abar_T)
    assert found["paper"]["pictures"] == 4 and found["paper"]["fid"] is None  # no reference is shipped here
    assert found["paper"]["share of mu"] != found["matched"]["share of mu"]
    one = stochastic["one dimension"]
    assert {name: (round(v["mean"], 2), round(v["std"], 2)) for name, v in one.items()} == {
        "deterministic": (1.63, 0.44), "unit noise": (-0.5, 0.94), "zero-mean style noise": (-0.5, 0.43),
        "centred step": (1.74, 0.43), "deterministic, matched start": (1.75, 0.44), "target": (1.7, 0.45),
    }  # fmt: skip
    assert set(stochastic["styles"]["sketch"]) == {*own_leak.VARIANTS, "held-out pictures"}
    assert (tmp_path / "own_leak" / "sketch" / "training.json").is_file()
