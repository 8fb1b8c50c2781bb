"""What the recipes of the embedded model stand on: tokenizer, checkpoints, a loop that can be stopped anywhere."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from dislib.world import caption, sample, vocabulary
from recipes import checkpoint, loop
from recipes.tokenizer import LENGTH, WordTable, build_tokenizer

PROBE = ("a red house", "", "zebra xylophone", "two green cats on the sea in the evening", "A RED House!")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(vocabulary())


def captions(n, *, seed=0):
    rng = np.random.default_rng(seed)
    return [caption(sample(rng), rng) for _ in range(n)]


# --- the tokenizer --------------------------------------------------------------------------------------------------


def test_the_tokenizer_is_the_same_in_another_process(tokenizer):
    code = ("from recipes.tokenizer import build_tokenizer; from dislib.world import vocabulary\n"
            f"words = build_tokenizer(vocabulary()); print(len(words), words(list({PROBE})).input_ids)")
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"},
                           capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"{len(tokenizer)} {tokenizer(list(PROBE)).input_ids}"


def test_every_word_of_the_world_is_one_token_of_its_own(tokenizer):
    ids = [tokenizer(word, add_special_tokens=False).input_ids for word in vocabulary()]
    assert {len(i) for i in ids} == {1} and len({i[0] for i in ids}) == len(vocabulary())
    for told in captions(50):
        assert len(tokenizer(told).input_ids) == len(told.split()) + 2
        assert tokenizer.decode(tokenizer(told).input_ids, skip_special_tokens=True).strip() == told


@pytest.mark.parametrize("word", ["zebra", "qqq", "x", "unicorn", "houseboat"])
def test_unknown_words_fall_back_to_smaller_pieces(tokenizer, word):
    pieces = tokenizer.tokenize(word)
    assert "".join(pieces) == word + "</w>" and tokenizer.unk_token not in pieces
    assert len(pieces) > 1 or len(word) == 1


def test_digits_and_signs_are_read_too(tokenizer):
    pieces = tokenizer.tokenize("2 houses, 30% off!")
    assert tokenizer.unk_token not in pieces and "houses</w>" in pieces


def test_the_order_of_words_does_not_split_one(tokenizer):
    for words in (vocabulary()[::-1], [*vocabulary(), "catnip", "nightingale"]):
        other = build_tokenizer(words)
        assert all(len(other.tokenize(word)) == 1 for word in words)


def test_long_texts_are_cut_to_the_length_of_the_text_encoder(tokenizer):
    ids = tokenizer(" ".join(["cat"] * 40), truncation=True).input_ids
    assert tokenizer.model_max_length == len(ids) == LENGTH and ids[-1] == tokenizer.eos_token_id


def test_the_fast_table_gives_the_tokenizers_ids(tokenizer):
    long = "a comic of a picture of a red house to the left of a blue tree in a snowy field on a sunny day"
    texts = ["", *captions(80), long]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(WordTable(tokenizer, vocabulary())(texts), ids)


def test_the_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path, local_files_only=True)
    assert again(list(PROBE)).input_ids == tokenizer(list(PROBE)).input_ids
    assert again.model_max_length == LENGTH


# --- averages, checkpoints, learning rate ---------------------------------------------------------------------------


def test_the_moving_average_has_the_known_values():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    ema, expected = checkpoint.EMA(module, decay=0.3), 0.0
    torch.nn.init.ones_(module.weight)
    for count in range(1, 8):  # the decay warms up as (1 + n) / (10 + n) until it reaches its value
        ema.update(module)
        decay = min(0.3, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay)
        assert float(ema.shadow["weight"]) == pytest.approx(expected, abs=1e-6)
    assert 1 - expected == pytest.approx(2 / 11 * 3 / 12 * 0.3**5)
    other = torch.nn.Linear(1, 1, bias=False)
    ema.copy_to(other)
    assert float(other.weight.detach()) == pytest.approx(expected)
    assert float(module.weight.detach()) == 1.0  # the trained weights are left alone


def toy(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))


def toy_loss(module, step):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return (module(x) - x[:, :2] ** 2).pow(2).mean()


def run_toy(folder, *, steps, every=2, seed=0, fail_at=None, save_minutes=0.0, peak=1e-2):
    """Train the toy; returns it with its average and the records. Raises where `fail_at` is reached."""
    module, records = toy(seed), []

    def loss(step):
        if step == fail_at:
            raise KeyboardInterrupt
        return toy_loss(module, step)

    for record in loop.train(module, loss, steps=steps, peak=peak, folder=folder, every=every,
                             save_minutes=save_minutes):
        ema = record.pop("ema")
        records.append(record)
    return module, ema, records


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


def test_a_checkpoint_gives_back_everything(tmp_path):
    path, parts = tmp_path / "checkpoint.safetensors", []
    for seed in (0, 1):
        module = toy(seed)
        parts.append((module, checkpoint.EMA(module), torch.optim.AdamW(module.parameters(), lr=0.1)))
    (module, ema, optimiser), (other, other_ema, other_optimiser) = parts
    for step in range(3):
        toy_loss(module, step).backward()
        optimiser.step()
        ema.update(module)
    checkpoint.save(path, 3, module, ema, optimiser)
    assert checkpoint.load(path, other, other_ema, other_optimiser) == 3
    assert same(module, other) and other_ema.count == 3
    assert all(torch.equal(v, other_ema.shadow[k]) for k, v in ema.shadow.items())
    for key, state in optimiser.state_dict()["state"].items():
        assert all(torch.equal(v, other_optimiser.state_dict()["state"][key][k]) for k, v in state.items())
    assert sorted(f.name for f in tmp_path.iterdir()) == ["checkpoint.safetensors"]
    load_file(path)  # safetensors and nothing else


def test_no_checkpoint_is_step_0(tmp_path):
    module = toy()
    found = checkpoint.load(tmp_path / "none", module, checkpoint.EMA(module), torch.optim.AdamW(module.parameters()))
    assert found == 0 and same(module, toy())


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    curve = np.array([loop.rate(step, 1000, 2.0, warmup=100) for step in range(1001)])
    assert curve[[0, 49, 99, 100]] == pytest.approx([0.02, 1.0, 2.0, 2.0])
    assert curve[550] == pytest.approx(2.0 * (0.02 + 0.98 / 2)) and curve[1000] == pytest.approx(0.04)
    assert np.all(np.diff(curve[:100]) > 0) and np.all(np.diff(curve[100:]) <= 0)
    assert loop.rate(5000, 1000, 2.0, warmup=100) == pytest.approx(0.04)


# --- the loop -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_toy(tmp_path_factory.mktemp("undisturbed"), steps=12)


@pytest.mark.parametrize("fail_at", [1, 6, 11])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(undisturbed, tmp_path, fail_at):
    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path, steps=12, fail_at=fail_at)
    module, ema, records = run_toy(tmp_path, steps=12, seed=5)  # other first weights: the checkpoint's count
    assert same(module, undisturbed[0]) and not same(module, toy())
    assert all(torch.equal(v, undisturbed[1].shadow[k]) for k, v in ema.shadow.items())
    assert records[-1]["rate"] == undisturbed[2][-1]["rate"]


def test_records_hold_the_mean_loss_of_their_steps(tmp_path):
    module = toy()
    values = []

    def loss(step):
        values.append(toy_loss(module, step))
        return values[-1]

    found = [r["loss"] for r in loop.train(module, loss, steps=7, peak=1e-2, folder=tmp_path, every=3)]
    values = [float(v.detach()) for v in values]
    assert found == pytest.approx([np.mean(values[:3]), np.mean(values[3:6]), values[6]])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [3, 6, 7] and [row["loss"] for row in log] == found


def test_the_mean_loss_counts_only_the_steps_since_a_restart(undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path, steps=12, every=6, fail_at=4)
    found = run_toy(tmp_path, steps=12, every=6)[2][0]["loss"]
    module, values = toy(), []
    list(loop.train(module, lambda step: values.append(toy_loss(module, step)) or values[-1], steps=12, peak=1e-2,
                    folder=tmp_path / "again", every=6))
    assert found == pytest.approx(float(torch.stack(values[4:6]).detach().mean()))


def test_a_loss_that_is_not_finite_stops_with_a_word_of_advice_and_spares_the_checkpoint(tmp_path):
    run_toy(tmp_path, steps=2)
    module = toy()
    bad = lambda step: toy_loss(module, step) * (math.nan if step == 4 else 1)  # noqa: E731
    with pytest.raises(RuntimeError, match="the loss is nan by step 5; lower the rate"):
        list(loop.train(module, bad, steps=9, peak=1e-2, folder=tmp_path, every=2, save_minutes=0))
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(v).all() for v in kept.values())


def test_a_run_killed_before_its_results_were_kept_makes_them_again(undisturbed, tmp_path):
    module = toy()
    run = loop.train(module, lambda step: toy_loss(module, step), steps=12, peak=1e-2, folder=tmp_path, every=12,
                     save_minutes=0)
    assert next(run)["step"] == 12
    run.close()  # killed while the caller was about to write what it had learnt
    again, _, records = run_toy(tmp_path, steps=12)
    assert [r["step"] for r in records] == [12] and same(again, undisturbed[0])
    assert list(loop.train(module, None, steps=12, peak=1e-2, folder=tmp_path)) == []  # and now it is finished


def test_a_kill_while_writing_leaves_the_last_whole_checkpoint(tmp_path, monkeypatch):
    run_toy(tmp_path, steps=4)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def torn(tensors, path, metadata):
        path.write_bytes(before[:200])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save_file", torn)
        run_toy(tmp_path, steps=12)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert (tmp_path / "checkpoint.part").exists()
    module, _, records = run_toy(tmp_path, steps=12, seed=5)
    assert records[-1]["step"] == 12 and not (tmp_path / "checkpoint.part").exists()


KILLED = """
import sys, time, torch
from pathlib import Path
from recipes import loop
torch.manual_seed(0)  # the same toy
module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
def loss(step):
    time.sleep(0.02)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return (module(x) - x[:, :2] ** 2).pow(2).mean()
list(loop.train(module, loss, steps=200, peak=1e-2, folder=Path(sys.argv[1]), every=100, save_minutes=0))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_killed_without_warning_goes_on_as_if_nothing_had_happened(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    deadline = time.time() + 120
    while not (tmp_path / "checkpoint.safetensors").exists() and child.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    reached = _step(tmp_path)
    assert 0 < reached < 200
    options = {"steps": 200, "every": 100, "save_minutes": 10}
    resumed, plain = run_toy(tmp_path, seed=5, **options), run_toy(tmp_path / "plain", **options)
    assert same(resumed[0], plain[0]), f"killed after step {reached}"


def _step(folder):
    module = toy()
    return checkpoint.load(folder / "checkpoint.safetensors", module, checkpoint.EMA(module),
                           torch.optim.AdamW(module.parameters()))
