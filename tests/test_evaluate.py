"""`python -m dislib evaluate`: table, plots and refusals, for a model and for pictures made elsewhere."""

import contextlib
import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from helpers import image_folder, images, save_pipeline
from PIL import Image
from small_judge import save_judge

from dislib.cli import evaluate
from dislib.cli.main import main
from dislib.errors import ModelError, PromptError
from dislib.evaluation.judge import Fidelity, both_features, clip_scores, load_judge
from dislib.evaluation.metrics import fid
from dislib.evaluation.sweep import read_sweep
from dislib.evaluation.table import read_results

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)"),
              pytest.mark.filterwarnings("ignore:the reference:dislib.errors.DislibWarning")]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model, a judge, a style and prompts."""
    home = tmp_path_factory.mktemp("evaluate")
    save_pipeline(home / "model")
    save_judge(home / "judge")
    image_folder(home / "dots", 6, size=64)
    (home / "prompts.csv").write_text('prompt\n"a b"\nc\nd\n')
    return home


def words(home, out, **options):
    given = {"model": home / "model", "style": home / "dots", "judge": home / "judge", "prompts": home / "prompts.csv",
             "guidance": "1,3", "images_per_prompt": 2, "steps": 1, "batch-size": 4, "out": out, "device": "cpu",
             **options}  # fmt: skip
    return ["evaluate", *(str(w) for k, v in given.items() if v is not None for w in (f"--{k}", v))]


@pytest.fixture(scope="module")
def base(home):
    """The base's evaluation, made once: its folder and what it said."""
    out = home / "base"
    with contextlib.redirect_stdout(types.SimpleNamespace(write=lambda _: None, flush=lambda: None)):
        assert main(words(home, out, base=out)) == 0
    return out


def refused(capsys, arguments, words, code=2):
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert "error: " in error and words in error and "Traceback" not in error


# --- a model ----------------------------------------------------------------------------------------------------


def test_it_writes_the_table_the_settings_and_the_plots(base, home):
    assert sorted(f.name for f in base.iterdir()) == [
        "clip-dots.png", "curve-dots.png", "features", "fid-dots.png", "kid-dots.png", "mmd-dots.png", "nfid-dots.png",
        "pictures", "pictures.png", "results.csv", "settings.json"]  # fmt: skip
    rows = read_results(base / "results.csv")
    assert [(r.guidance, r.metric) for r in rows] == [
        (w, m) for w in (1, 3) for m in ("fid", "nfid", "kid", "mmd", "clip")
    ]
    assert {(r.method, r.style, r.n) for r in rows} == {("base", "dots", 6)}
    assert all(r.value == 1 for r in rows if r.metric == "nfid")
    settings = json.loads((base / "settings.json").read_text())
    assert settings["prompts"] == ["a b", "c", "d"] and settings["start"] == "white" and settings["steps"] == 1
    assert Image.open(base / "curve-dots.png").size == (900, 560)


def test_a_method_is_divided_by_the_base(base, home, tmp_path, capsys):
    prior = tmp_path / "p.safetensors"
    assert main(["prior", "--model", str(home / "model"), "--images", str(home / "dots"), "--out", str(prior)]) == 0
    arguments = words(home, tmp_path / "leak", prior=prior, start="leak", base=base, method="leak", guidance="3")
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "'dots' has only 6 pictures" in said.err and "read KID first" in said.err
    assert said.out.index("KID") < said.out.index("FID") and "w = 3" in said.out
    found = {r.metric: r for r in read_results(tmp_path / "leak" / "results.csv")}
    under = {r.metric: r for r in read_results(base / "results.csv") if r.guidance == 3}
    assert found["nfid"].value == pytest.approx(found["fid"].value / under["fid"].value, rel=1e-4)
    assert found["fid"].method == "leak" and found["fid"].value != under["fid"].value


def test_a_second_run_makes_nothing_again_and_gives_the_same_table(base, home, monkeypatch):
    before = (base / "results.csv").read_bytes()
    monkeypatch.setattr("dislib.core.sampling.Generation.make", lambda *_: 1 / 0)
    assert main(words(home, base, base=base)) == 0
    assert (base / "results.csv").read_bytes() == before


def test_several_styles_share_the_pictures(base, home, tmp_path):
    image_folder(home / "other dots", 5, size=40, seed=3)
    arguments = [*words(home, base), "--style", str(home / "other dots")]
    assert main(arguments) == 0
    assert {r.style for r in read_results(base / "results.csv")} == {"dots", "other dots"}
    assert main(words(home, base, base=base)) == 0


@pytest.mark.parametrize("change, said", [
    ({"seed": 3}, "holds a sweep of other settings (seed 0, not 3)"),
    ({"style": "nowhere"}, "there is no style 'nowhere'; give a folder of pictures, or one of blueprint, comic"),
    ({"prompts": "nowhere.txt"}, "there is no file nowhere.txt"),
    ({"prompts": "hub:drawbench"}, "should look like hub:"),
    ({"base": "nowhere"}, "nowhere holds no sweep"),
    ({"start": "leak"}, "the start 'leak' needs a style; pass --prior FILE"),
    ({"judge": "nowhere"}, "no CLIP model can be loaded from nowhere"),
    ({"features": "inception-v3-compat"}, "pip install torch-fidelity"),
    ({"n": "9"}, "n must lie between 1 and 6"),
    ({"batch-size": "0"}, "batch_size must be a whole number from 1"),
])  # fmt: skip
def test_it_refuses(base, home, capsys, change, said):
    refused(capsys, words(home, base, **change), said, code=1 if "seed" in change else 2)


def test_a_weight_half_done_does_not_shrink_the_others(base, home, tmp_path):
    """Neither in the sweep that is measured nor in its base."""
    out = tmp_path / "out"
    shutil.copytree(base, out)
    shutil.copytree(out / "features" / "w3", out / "features" / "w9")
    (out / "features" / "w9" / "00001.safetensors").unlink()
    (out / "features" / "w3 copy").mkdir()
    assert main(words(home, out, base=out)) == 0
    assert {(r.guidance, r.n) for r in read_results(out / "results.csv")} == {(1, 6), (3, 6)}
    assert main(words(home, tmp_path / "new", base=out)) == 0
    assert {(r.guidance, r.n) for r in read_results(tmp_path / "new" / "results.csv")} == {(1, 6), (3, 6)}


@pytest.mark.parametrize("change, said", [
    ({"seed": 3}, "the base is of other settings (seed 0, not 3)"),
    ({"guidance": "1,5"}, "base holds 0 pictures at each of the weights 1, 5"),
    ({"steps": 2}, "other settings (steps 1, not 2)"),
    ({"scheduler": "ddim"}, 'other settings (scheduler "dpm", not "ddim")'),
    ({"judge": "other judge"}, "other settings (judge_fingerprint "),
    ({"images_per_prompt": 1}, "other settings (images_per_prompt 2, not 1)"),
])  # fmt: skip
def test_a_base_that_does_not_fit_is_refused_before_the_work(base, home, tmp_path, capsys, change, said):
    if "judge" in change:
        change = {"judge": save_judge(tmp_path / "judge", seed=2)}
    refused(capsys, words(home, tmp_path / "out", base=base, **change), said)
    refused(capsys, words(home, tmp_path / "out", base=base, **change), "or leave out --base: the same command")
    assert not (tmp_path / "out").exists()


def test_too_few_prompts_for_a_band_are_refused_before_the_work(home, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("a\n")
    said = "at least 3 pictures of 2 prompts are needed, got 2 of 1"
    refused(capsys, words(home, tmp_path / "out", prompts=tmp_path / "one.txt"), said)
    refused(capsys, words(home, tmp_path / "out", n=2, **{"batch-size": 2}), said)
    assert not (tmp_path / "out").exists()


def test_styles_of_one_name_are_refused(home, tmp_path, capsys):
    image_folder(tmp_path / "dots", 3, size=40)
    arguments = [*words(home, tmp_path / "out"), "--style", str(tmp_path / "dots")]
    refused(capsys, arguments, "two styles are called 'dots'")


def test_a_prompt_with_dollars_is_drawn_as_it_stands(home, tmp_path):
    (tmp_path / "p.txt").write_text("a $\\foo$ sign\nb\n")
    assert main(words(home, tmp_path / "out", prompts=tmp_path / "p.txt", method="$\\bar$")) == 0
    assert (tmp_path / "out" / "pictures.png").is_file()


@pytest.mark.parametrize("weights, said", [("1,x", "got x"), ("0.5", "at least 1"), ("3,3", "occurs twice")])
def test_weights_that_are_none_are_refused_by_the_parser(home, tmp_path, capsys, weights, said):
    with pytest.raises(SystemExit):
        main(words(home, tmp_path, guidance=weights))
    assert said in capsys.readouterr().err


# --- pictures made elsewhere ------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    return image_folder(tmp_path / "mine", 6, size=64, seed=5)


def looked(home, out, mine, **options):
    return words(home, out, **{"model": None, "images": mine, "guidance": None, "steps": None, **options})


def test_evaluate_your_own(home, mine, tmp_path):
    assert main(looked(home, tmp_path / "out", mine, guidance="7.5", method="mine")) == 0
    rows = {r.metric: r for r in read_results(tmp_path / "out" / "results.csv")}
    judge = load_judge(home / "judge", device="cpu")
    a, b = (both_features(images(6, size=64, seed=seed), judge)["pooled"] for seed in (5, 0))
    assert rows["fid"].value == pytest.approx(fid(a, b), rel=1e-4)
    assert (rows["clip"].method, rows["clip"].guidance, rows["clip"].n) == ("mine", 7.5, 6)


def test_images_and_prompts_out_of_step_are_refused(home, mine, tmp_path, capsys):
    (tmp_path / "two.txt").write_text("a\nb\nc\nd\n")
    refused(capsys, looked(home, tmp_path / "out", mine, prompts=tmp_path / "two.txt"), "6 images but 4 prompts")
    refused(capsys, looked(home, tmp_path / "out", mine, guidance="1,2"), "a folder of pictures is one point")
    (mine / "003.png").write_bytes(b"cut")
    refused(capsys, looked(home, tmp_path / "out", mine), "images and prompts fall out of step")
    assert not (tmp_path / "out").exists()


def test_an_out_folder_that_holds_the_pictures_is_refused(home, mine, tmp_path, capsys):
    for out in (mine, home / "dots"):
        refused(capsys, looked(home, out, mine), "holds pictures to be measured, and plots would mix with them")
        assert len(list(out.iterdir())) == 6


def test_pictures_are_in_step_as_people_count(home, tmp_path):
    """2.png comes before 10.png, and second prompt before tenth."""
    image_folder(tmp_path / "mine", 12, size=64)
    for k in range(12):
        (tmp_path / "mine" / f"{k:03d}.png").rename(tmp_path / "mine" / f"{k}.png")
    (tmp_path / "p.txt").write_text("\n".join("abcdefghijkl"))
    assert main(looked(home, tmp_path / "out", tmp_path / "mine", prompts=tmp_path / "p.txt")) == 0
    judge, [found] = load_judge(home / "judge", device="cpu"), read_sweep(tmp_path / "out").values()
    scores = clip_scores(images(12, size=64), list("abcdefghijkl"), judge)
    np.testing.assert_allclose(found.clip[np.argsort(found.rows)], scores, rtol=1e-4)


@pytest.mark.parametrize("record", [
    '{"guidance": "x", "images": null}', '{"images": [{"file": "000.png", "prompt": null}]}', "[]",
    '{"images": [{"file": ["a"], "prompt": "a"}]}', '{"guidance": null}',
])  # fmt: skip
def test_a_record_edited_by_hand_is_named(home, mine, tmp_path, capsys, record):
    (mine / "generate.json").write_text(record)
    refused(capsys, looked(home, tmp_path / "out", mine), "generate.json is not as `generate` wrote it; mend it")


def test_of_a_folder_all_pictures_are_measured(home, mine, tmp_path, capsys):
    refused(capsys, looked(home, tmp_path / "out", mine, n=2), "--n is for models")


def test_a_path_is_never_taken_for_a_style_of_the_course(home, mine, tmp_path, monkeypatch):
    asked = []
    ask = lambda path, **how: asked.append((path, how["local_files_only"])) or 1 / 0
    monkeypatch.setattr("dislib.evaluation.judge.load_judge", ask)
    for style in ("sketch", mine):
        with pytest.raises(ZeroDivisionError):
            main([*looked(home, tmp_path / "out", mine, style=style, judge=None), "--offline"])
    assert asked == [(None, True), (evaluate.CLIP, True)]


def test_pictures_of_generate_bring_their_weight_and_are_checked_against_their_prompts(home, tmp_path, capsys):
    made = ["generate", "--model", str(home / "model"), "--prompts", str(home / "prompts.csv"), "--seeds", "0-1",
            "--steps", "1", "--guidance", "4", "--out", str(tmp_path / "made"), "--device", "cpu"]  # fmt: skip
    assert main(made) == 0
    assert main(looked(home, tmp_path / "out", tmp_path / "made")) == 0
    assert {r.guidance for r in read_results(tmp_path / "out" / "results.csv")} == {4.0}
    (tmp_path / "turned.txt").write_text("c\na b\nd\n")
    arguments = looked(home, tmp_path / "new", tmp_path / "made", prompts=tmp_path / "turned.txt")
    refused(capsys, arguments, "00000.png was made with 'a b', but the prompt in its place is 'c'")


# --- other eyes -------------------------------------------------------------------------------------------------


class Extractor(torch.nn.Module):
    """Stands for a feature extractor of torch-fidelity: the mean colours of uint8 pictures (b, 3, h, w)."""

    def __init__(self, name, layers, **_):
        super().__init__()
        self.layers = layers

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"fid": "2048"}[metric]

    def forward(self, x):
        assert x.dtype == torch.uint8 and self.layers == ["2048"]
        return (x.double().mean((2, 3)),)


@pytest.fixture
def fidelity(monkeypatch):
    """A stand-in for torch-fidelity, which brings torchvision and downloads weights."""
    known = {"inception-v3-compat": Extractor, "broken": None}
    registry = types.SimpleNamespace(FEATURE_EXTRACTORS_REGISTRY=known)
    create = lambda name, layers, cuda, verbose: known[name](name, layers)
    utils = types.SimpleNamespace(create_feature_extractor=create)
    for name, module in {"": types.ModuleType("torch_fidelity"), ".registry": registry, ".utils": utils}.items():
        monkeypatch.setitem(sys.modules, f"torch_fidelity{name}", module)


def test_features_of_torch_fidelity(fidelity):
    made = images(3, size=20)
    found = Fidelity("inception-v3-compat", device="cpu")(made)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [np.asarray(i).mean((0, 1)) for i in made], rtol=1e-6)
    mixed = [made[0], made[1].resize((30, 24))]
    np.testing.assert_allclose(
        Fidelity(device="cpu")(mixed), [np.asarray(i).mean((0, 1)) for i in mixed], rtol=1e-6
    )  # fmt: skip
    with pytest.raises(ModelError, match="no features 'vgg'; choose one of broken, inception-v3-compat"):
        Fidelity("vgg", device="cpu")
    with pytest.raises(ModelError, match="cannot be loaded; go online once"):
        Fidelity("broken", device="cpu")


def test_without_torch_fidelity_the_mend_is_named():
    with pytest.raises(ModelError, match="need the extra `eval`.*pip install torch-fidelity"):
        Fidelity(device="cpu")


def test_evaluate_with_features_of_torch_fidelity(fidelity, home, mine, tmp_path):
    assert main(looked(home, tmp_path / "out", mine, features="inception-v3-compat")) == 0
    [point] = read_sweep(tmp_path / "out").values()
    assert point.pooled.shape == (6, 3) and point.projected.shape == (6, 12)
    assert point.meta["features"] == "inception-v3-compat"


# --- prompts ----------------------------------------------------------------------------------------------------


def test_prompts_of_the_course_and_of_the_hub(monkeypatch, tmp_path):
    assert len(evaluate.read_prompt_list(None)) == 200
    (tmp_path / "p.tsv").write_text("prompt\tcategory\na red house\tcolour\n")
    asked = []
    import transformers.utils

    def fetch(name, file, repo_type, local_files_only):
        asked.append((name, file, repo_type, local_files_only))
        return tmp_path / "p.tsv"

    monkeypatch.setattr(transformers.utils, "cached_file", fetch)
    assert evaluate.read_prompt_list("hub:someone/prompts/folder/p.tsv") == ["a red house"]
    evaluate.read_prompt_list("hub:someone/prompts/folder/p.tsv", offline=True)
    assert asked == [("someone/prompts", "folder/p.tsv", "dataset", offline) for offline in (False, True)]


def test_the_hub_without_a_network():
    with pytest.raises(PromptError, match="cannot be fetched; give a file"):
        evaluate.read_prompt_list("hub:nobody/nothing-here/p.tsv")
