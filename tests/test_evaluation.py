"""The sweep: the protocol, what a kill leaves behind, and what must never be mixed."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch
from helpers import build_pipeline, images, shared_pipeline
from small_judge import save_judge

from dislib import files
from dislib.core import sampling
from dislib.core.latents import white_noise
from dislib.core.prior import StylePrior
from dislib.core.sampling import generate
from dislib.core.schedulers import make_scheduler
from dislib.errors import DislibError, DislibWarning, OutputError, PromptError, SamplerError
from dislib.evaluation.judge import clip_scores, image_features, load_judge
from dislib.evaluation.sweep import GUIDANCE, read_sweep, sweep, sweep_pictures
from dislib.evaluation.sweep_folder import Plan
from dislib.files import load_arrays, save_arrays

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")
PROMPTS = ["a b", "c", "d e f"]
SHORT = {
    "guidance": [1, 3],
    "images_per_prompt": 2,
    "steps": 1,
    "batch_size": 4,
    "pictures": 0,
    "workers": 1,
}  # 6 pictures, 2 x 2 batches


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    return save_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def judge(judge_folder):
    return load_judge(judge_folder, device="cpu")


@pytest.fixture(scope="module")
def done(judge, tmp_path_factory):
    """A finished sweep: its folder and its records."""
    out = tmp_path_factory.mktemp("sweep") / "done"
    options = {**SHORT, "pictures": 2}
    return out, list(sweep(shared_pipeline(), judge, PROMPTS, out=out, method="base", style="none", **options))


@pytest.fixture
def quick(monkeypatch):
    """The sweep without a model: pictures that depend on prompt, start and weight; returns the calls."""
    calls = []

    def make(self, rows):
        latents, made = self.z_T(rows), []
        calls.append({"prompts": [prompt for _, prompt, _ in rows], "latents": latents, "guidance": self.guidance})
        for (_, prompt, _), z in zip(rows, latents):
            seed = int(1e6 * abs(float(z[0, 0, 0]))) + len(prompt) + round(10 * self.guidance)
            made.append(type("Sample", (), {"image": images(1, size=32, seed=seed)[0]}))
        return made

    monkeypatch.setattr(sampling.Generation, "make", make)
    return calls


def same(a, b):
    assert a.keys() == b.keys()
    for weight in a:
        for name in ("pooled", "projected", "clip", "rows", "prompts"):
            np.testing.assert_array_equal(getattr(a[weight], name), getattr(b[weight], name))


# --- the protocol -----------------------------------------------------------------------------------------------


def test_the_papers_protocol():
    assert GUIDANCE == (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20)
    plan = Plan(tuple(map(str, range(200))), 4, 0, 16)
    assert len(plan) == 800 and sorted(i for b in plan.batches() for i in plan.rows(b)) == list(range(800))


def test_the_features_are_those_of_the_pictures_of_generate(done, judge):
    out, records = done
    points = read_sweep(out)
    assert list(points) == [1.0, 3.0] and len(records) == 4
    texts = [prompt for prompt in PROMPTS for _ in range(2)]
    for weight, point in points.items():
        made = [
            s.image
            for i, text in enumerate(texts)
            for b in generate(shared_pipeline(), [text], [i], guidance=weight, steps=1)
            for s in b
        ]
        # A picture differs by at most a grey level from the same one made in another batch.
        np.testing.assert_allclose(point.pooled, image_features(made, judge), atol=2e-3)
        np.testing.assert_allclose(point.clip, clip_scores(made, texts, judge), atol=0.05)
        assert point.prompts.tolist() == [0, 0, 1, 1, 2, 2] and point.rows.tolist() == list(range(6))


def test_the_same_initial_latents_at_every_weight_and_for_every_method(quick, judge, tmp_path):
    mean, std = torch.full((4, 16, 16), 0.5), torch.full((4, 16, 16), 2.0)
    pipe, prior = shared_pipeline(), StylePrior(mean, std)
    u = white_noise(range(7, 13), (4, 16, 16))
    for kind in ("white", "paper", "matched", "leak"):
        quick.clear()
        list(sweep(pipe, judge, PROMPTS, out=tmp_path / kind, seed=7, prior=prior, start=kind, **SHORT))
        expected = (
            u if kind == "white" else prior.start(range(7, 13), kind, scheduler=make_scheduler(pipe), steps=1)
        )
        batches = {w: [c["latents"] for c in quick if c["guidance"] == w] for w in (1, 3)}
        assert {w: torch.equal(torch.cat(found), expected) for w, found in batches.items()} == {1: True, 3: True}
        if kind == "paper":
            assert torch.equal(expected, mean + std * u)


def test_all_initial_latents_differ():
    u = white_noise(range(12), (4, 16, 16)).flatten(1)
    assert torch.cdist(u, u).fill_diagonal_(9).min() > 1


def test_without_guidance_the_unet_is_called_once(judge, tmp_path):
    pipe, sizes = build_pipeline(), []
    pipe.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    list(sweep(pipe, judge, ["a"], out=tmp_path, **{**SHORT, "steps": 3}))
    assert sizes == [2] * 3 + [4] * 3


def test_a_fine_tuned_model_starts_from_its_own_prior(quick, judge, tmp_path):
    pipe = build_pipeline()
    pipe.style_prior = StylePrior(torch.ones(4, 16, 16), torch.ones(4, 16, 16))
    list(sweep(pipe, judge, ["a"], out=tmp_path / "own", **SHORT))
    list(sweep(pipe, judge, ["a"], out=tmp_path / "white", start="white", **SHORT))
    own, white = [c["latents"] for c in quick if c["guidance"] == 1]
    assert torch.equal(own, white + 1)


def test_a_template_changes_what_is_told_but_not_what_is_scored(quick, judge, tmp_path):
    list(sweep(shared_pipeline(), judge, ["a b"], out=tmp_path, template="f of {}", **SHORT))
    assert quick[-1]["prompts"] == ["f of a b"] * 2
    point = read_sweep(tmp_path)[1.0]
    np.testing.assert_allclose(point.clip, clip_scores(point.projected, ["a b"] * 2, judge), rtol=1e-6)


# --- progress ---------------------------------------------------------------------------------------------------


def test_records_say_how_far_it_is(done):
    _, records = done
    assert [r.done for r in records] == [4, 8, 10, 12] and {r.total for r in records} == {12}
    assert [(r.guidance, r.batch) for r in records] == [(1.0, 0), (3.0, 0), (1.0, 1), (3.0, 1)]
    assert {(r.method, r.style) for r in records} == {("base", "none")}
    assert all(r.seconds > 0 for r in records) and records[-1].left == 0 < records[0].left


def test_a_few_pictures_are_kept(done):
    out, _ = done
    kept = sorted(str(f.relative_to(out / "pictures")) for f in out.glob("pictures/*/*"))
    assert kept == ["w1/00000.png", "w1/00004.png", "w3/00000.png", "w3/00004.png"]


def test_an_unfinished_sweep_is_spread_over_the_prompts():
    plan = Plan(tuple(map(str, range(200))), 4, 0, 16)
    first = plan.batches(n=200)
    assert len(first) == 13 and first == plan.batches()[:13]
    quarters = np.bincount([batch * 4 // 50 for batch in first])
    assert quarters.min() >= 3
    assert Plan(("a",), 1, 0, 16).batches() == [0]
    assert np.diff(sorted(first)).max() <= 5 and np.diff(sorted(plan.shown(8))).max() <= 8 * 16
    assert plan.shown(8) <= {row for batch in first for row in plan.rows(batch)}
    assert Plan(("a", "b"), 4, 0, 16).shown(8) == {0, 4}


def test_more_pictures_and_more_weights_go_on_from_fewer(quick, judge, tmp_path):
    options = {**SHORT, "batch_size": 2}
    with pytest.warns(DislibWarning, match="n = 3 becomes 4"):
        assert len(list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / "a", n=3, **options))) == 4
    assert len(read_sweep(tmp_path / "a")[1.0].rows) == 4  # whole batches
    assert len(list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / "a", **options))) == 2
    assert (
        len(list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / "a", **{**options, "guidance": [1, 3, 5]})))
        == 3
    )
    list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / "b", **{**options, "guidance": [1, 3, 5]}))
    same(read_sweep(tmp_path / "a"), read_sweep(tmp_path / "b"))
    assert read_sweep(tmp_path / "a", n=3, guidance=[5])[5.0].rows.tolist() == [0, 1, 4, 5]


# --- interruptions ----------------------------------------------------------------------------------------------


def test_an_interrupted_sweep_goes_on_with_the_same_numbers(done, judge, tmp_path):
    out, _ = done
    run = sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **SHORT).run()
    assert next(run).done == 4
    run.close()
    (tmp_path / "features" / "w3").mkdir()
    (tmp_path / "features" / "w3" / ".00000.safetensors.0123abcd.partial").write_bytes(b"half")
    assert [r.done for r in sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **SHORT)] == [8, 10, 12]
    same(read_sweep(tmp_path), read_sweep(out))
    assert not list(tmp_path.glob("**/.*"))
    assert list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **SHORT)) == []


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    from helpers import build_pipeline
    from dislib.evaluation.judge import load_judge
    from dislib.evaluation.sweep import sweep

    def main():
        judge = load_judge({judge!r}, device="cpu")
        for record in sweep(build_pipeline(), judge, {prompts!r}, out={out!r}, **{options!r}):
            print(f"{{record.guidance}} {{record.batch}}\\n", end="", flush=True)
"""


def script(tmp_path, judge_folder, end, **options):
    path = tmp_path / "run.py"
    fields = {
        "tests": os.path.dirname(__file__),
        "judge": str(judge_folder),
        "prompts": PROMPTS,
        "out": str(tmp_path / "out"),
        "options": {**SHORT, **options},
    }
    path.write_text(textwrap.dedent(SCRIPT).format(**fields) + f"\n\nif __name__ == '__main__':\n    {end}\n")
    return [sys.executable, str(path)]


def test_a_killed_sweep_goes_on_with_the_same_numbers(done, judge, judge_folder, tmp_path):
    out, _ = done
    command = script(tmp_path, judge_folder, "main()")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert 1 <= len(list(tmp_path.glob("out/features/*/*.safetensors"))) < 4
    list(sweep(build_pipeline(), judge, PROMPTS, out=tmp_path / "out", **SHORT))
    same(read_sweep(tmp_path / "out"), read_sweep(out))


def test_two_processes_give_the_points_of_one(done, judge_folder, tmp_path):
    out, _ = done
    command = script(
        tmp_path, judge_folder, "from accelerate import debug_launcher; debug_launcher(main, num_processes=2)"
    )
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    assert sorted(line for line in said.splitlines() if line[:2] in ("1.", "3.")) == [
        "1.0 0",
        "1.0 1",
        "3.0 0",
        "3.0 1",
    ]
    same(read_sweep(tmp_path / "out"), read_sweep(out))


def test_two_workers_give_the_points_of_one(done, judge, tmp_path):
    out, records = done
    threads, scheduler = torch.get_num_threads(), shared_pipeline().scheduler
    found = list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **{**SHORT, "workers": 2}))
    assert [(r.guidance, r.batch, r.done) for r in found] == [(r.guidance, r.batch, r.done) for r in records]
    for weight, point in read_sweep(tmp_path).items():
        # One core or two inside a convolution: pixels may differ by a grey level, which this judge of random weights
        # enlarges. Another picture is far away.
        one = read_sweep(out)[weight].pooled
        np.testing.assert_allclose(point.pooled, one, atol=0.05)
        assert np.abs(one[1:] - one[:-1]).max(axis=1).min() > 0.1
    assert torch.get_num_threads() == threads and shared_pipeline().scheduler is scheduler


def test_workers_stop_when_nobody_waits_for_them_and_when_one_fails(quick, judge, tmp_path):
    options = {**SHORT, "batch_size": 1, "workers": 2}
    run = sweep(shared_pipeline(), judge, ["a"] * 20, out=tmp_path / "left", **options).run()
    next(run)
    run.close()
    assert len(list(tmp_path.glob("left/features/*/*.safetensors"))) < 40
    broken = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(sweep(shared_pipeline(), judge, ["a"] * 20, out=tmp_path / "bad", features=broken, **options))
    assert not list(tmp_path.glob("bad/features/*/*.safetensors"))


class Borrowed:
    """A tokenizer that refuses a second thread, as fast tokenizers do, but reliably."""

    def __init__(self, tokenizer):
        self.tokenizer, self.lent = tokenizer, threading.Lock()

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, *texts, **options):
        if not self.lent.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        try:
            time.sleep(0.005)
            return self.tokenizer(*texts, **options)
        finally:
            self.lent.release()


def test_workers_take_turns_at_the_tokenizers(judge_folder, tmp_path):
    pipe, judge = build_pipeline(), load_judge(judge_folder, device="cpu")
    pipe.tokenizer, judge.processor.tokenizer = Borrowed(pipe.tokenizer), Borrowed(judge.processor.tokenizer)
    prompts = [f"{a} {b}" for a in "abcd" for b in "efgh"]
    list(sweep(pipe, judge, prompts, out=tmp_path, **{**SHORT, "batch_size": 1, "images_per_prompt": 1, "workers": 4}))


def test_a_prompt_is_encoded_once_for_all_weights(judge, tmp_path):
    pipe, asked = build_pipeline(), []
    encode = pipe.encode_prompt

    def count(prompt, *rest, **embedded):
        asked.extend([] if embedded else [prompt])
        return encode(prompt, *rest, **embedded)

    pipe.encode_prompt = count
    list(sweep(pipe, judge, PROMPTS, out=tmp_path, **SHORT))
    assert sorted(asked) == sorted(["", *PROMPTS])


def test_a_full_disk_leaves_whole_files(quick, judge, tmp_path, monkeypatch):
    run = sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **SHORT).run()
    next(run)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full; free some space"):
        next(run)
    monkeypatch.undo()
    assert [f.name for f in tmp_path.glob("features/**/*") if f.is_file()] == ["00000.safetensors"]


# --- never mixed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"steps": 2}, "steps 1, not 2"),
        ({"template": "x {}"}, 'template "{}", not "x {}"'),
        ({"batch_size": 2}, "batch_size 4, not 2"),
        ({"images_per_prompt": 3}, "images_per_prompt 2, not 3"),
        ({"scheduler": "ddim"}, 'scheduler "dpm", not "ddim"'),
        ({"features": type("Other", (), {"name": "inception"})()}, 'features "judge", not "inception"'),
    ],
)
def test_another_setting_is_refused_by_name(done, judge, change, words):
    out, _ = done
    with pytest.raises(OutputError) as error:
        sweep(shared_pipeline(), judge, PROMPTS, out=out, **{**SHORT, **change})
    assert f"holds a sweep of other settings ({words}); choose a new folder" in str(error.value)


def test_another_model_judge_prompt_list_or_prior_is_refused(done, judge, tmp_path):
    out, _ = done
    prior = StylePrior(torch.zeros(4, 16, 16), torch.ones(4, 16, 16))
    other = load_judge(save_judge(tmp_path / "judge", seed=2), device="cpu")
    for words, (pipe, eyes, prompts, options) in {
        "fingerprint": (build_pipeline(seed=1), judge, PROMPTS, {}),
        "judge_fingerprint": (shared_pipeline(), other, PROMPTS, {}),
        "prompts": (shared_pipeline(), judge, [*PROMPTS[:2], "g"], {}),
        'start "white", not "leak"; prior': (
            shared_pipeline(),
            judge,
            PROMPTS,
            {"prior": prior, "start": "leak"},
        ),
    }.items():
        with pytest.raises(OutputError, match="other settings") as error:
            sweep(pipe, eyes, prompts, out=out, **SHORT, **options)
        assert words in str(error.value)


def test_features_of_another_sweep_are_found_out(quick, judge, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / name, seed=seed, **SHORT))
    theirs = (tmp_path / "b" / "features" / "w1" / "00000.safetensors").read_bytes()
    mine = tmp_path / "a" / "features" / "w1" / "00000.safetensors"
    whole = mine.read_bytes()
    for wrong, words in ((theirs, "of another sweep; delete it"), (whole[:-20], "not a safetensors file .*; delete it")):
        mine.write_bytes(wrong)
        with pytest.raises(DislibError, match=words):
            read_sweep(tmp_path / "a")
    mine.unlink()  # the message says so
    list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / "a", **SHORT))
    assert mine.read_bytes() == whole
    arrays, meta = load_arrays(mine, ())
    arrays["pooled"][1] = np.nan
    save_arrays(mine, arrays, meta)
    with pytest.raises(DislibError, match=r"00000.safetensors: the features of the pictures \[1\] at w = 1 are not finite"):
        read_sweep(tmp_path / "a")
    mine.write_bytes(whole)
    mine.with_name("00001.safetensors").write_bytes(whole)  # of another N
    with pytest.raises(DislibError, match="00001.safetensors holds features of another sweep"):
        read_sweep(tmp_path / "a")


def test_a_folder_of_unknown_origin_is_refused(judge, tmp_path):
    (tmp_path / "features").mkdir()
    with pytest.raises(OutputError, match="features of unknown origin"):
        sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **SHORT)
    for text in ("{", "[]"):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(OutputError, match="settings.json cannot be read"):
            sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, **SHORT)


def test_what_is_not_there_cannot_be_read(done, tmp_path):
    out, _ = done
    with pytest.raises(DislibError, match="holds no sweep"):
        read_sweep(tmp_path)
    with pytest.raises(DislibError, match="holds 0 pictures at each of the weights 5; run the same sweep"):
        read_sweep(out, guidance=[5])
    with pytest.raises(DislibError, match="n must lie between 1 and 6"):
        read_sweep(out, n=800)


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"guidance": []}, DislibError, "no guidance weights"),
        ({"guidance": [3, 0.5]}, SamplerError, "at least 1"),
        ({"guidance": [3, 3.0]}, DislibError, "the guidance weight 3 occurs twice"),
        ({"images_per_prompt": 0}, DislibError, "images_per_prompt must be a whole number from 1"),
        ({"seed": -1}, DislibError, "seed must be a whole number from 0"),
        ({"seed": 2**63 - 1}, DislibError, "is out of range"),
        ({"batch_size": 1.5}, DislibError, "batch_size must be"),
        ({"steps": 0}, SamplerError, "steps must be"),
        ({"n": 7}, DislibError, "n must lie between 1 and 6"),
        ({"start": "leak"}, DislibError, "needs a style"),
        ({"start": "hot"}, SamplerError, "there is no start 'hot'"),
        ({"scheduler": "euler_a"}, SamplerError, "fresh"),
        ({"template": "a sketch"}, PromptError, "must hold {} once"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_made(judge, tmp_path, change, error, words):
    with pytest.raises(error) as raised:
        sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path / "new", **{**SHORT, **change})
    assert words in str(raised.value) and not (tmp_path / "new").exists()


@pytest.mark.parametrize("prompts", [[], [1], "a b"])
def test_bad_prompts_are_refused(judge, tmp_path, prompts):
    with pytest.raises(PromptError, match="prompts"):
        sweep(shared_pipeline(), judge, prompts, out=tmp_path / "new", **SHORT)


def test_features_that_are_not_finite_are_named(quick, judge, tmp_path):
    broken = lambda batch: np.full((len(batch), 3), np.nan)
    with pytest.raises(DislibError, match="w = 1, pictures 0 to 3: features of 4 images are not finite"):
        list(sweep(shared_pipeline(), judge, PROMPTS, out=tmp_path, features=broken, **SHORT))
    assert not list(tmp_path.glob("features/**/*.safetensors"))


# --- pictures made elsewhere ------------------------------------------------------------------------------------


def test_pictures_made_elsewhere_are_looked_at(judge, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    made = images(6, size=64)
    for path, image in zip(paths, made):
        image.save(path)
    records = list(sweep_pictures(paths, judge, PROMPTS, out=tmp_path / "out", guidance=7.5, batch_size=4))
    assert [r.done for r in records] == [4, 6]
    [(weight, point)] = read_sweep(tmp_path / "out").items()
    assert weight == 7.5 and point.prompts.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(point.pooled, image_features(made, judge), atol=1e-5)
    made[0].rotate(90).save(paths[0])
    with pytest.raises(OutputError, match="images_sha256"):
        sweep_pictures(paths, judge, PROMPTS, out=tmp_path / "out", guidance=7.5, batch_size=4)
    for wrong in (paths[:4], []):
        with pytest.raises(DislibError, match=f"{len(wrong)} images but 3 prompts: .* in step"):
            sweep_pictures(wrong, judge, PROMPTS, out=tmp_path / "new")
