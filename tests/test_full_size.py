"""What fine-tuning takes: the measuring on the small model, and one step at full size."""

import json
import math
import os
import subprocess
import sys

import pytest
from helpers import save_pipeline

from dislib.cli import footprint
from dislib.errors import DislibError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("model") / "base")


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("rank", [None, 8])
def test_both_loops_are_measured(base, rank, bare):
    found = footprint.measure(footprint.Way(rank, 2), model=base, device="cpu", steps=2, bare=bare)
    assert found["seconds"] > 0 and 0.1 < found["peak_gib"] < 24 and math.isfinite(found["loss"])
    assert found["optimizer"] == "AdamW" and found["device"].startswith("CPU")  # 8-bit states need a GPU


def test_the_command_measures_in_processes_and_prints_a_table(base, capsys):
    words = ["--model", str(base), "--device", "cpu", "--steps", "1", "--way", "LoRA of rank 8, batch 1"]
    assert footprint.main(words) == 0
    *_, header, _, row = capsys.readouterr().out.strip().splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert header.count("|") == row.count("|") == 7
    assert cells[:2] == ["LoRA of rank 8, batch 1", "AdamW"] and all(float(cell) > 0 for cell in cells[2:])


def test_what_fails_is_named_and_the_rest_is_measured(monkeypatch, capsys):
    def run(command, **_):
        fits = command[command.index("--way") + 1].endswith("batch 1")
        found = {"seconds": 2.0, "peak_gib": 3.0, "loss": 1.0, "optimizer": "AdamW", "device": "a GPU"}
        return subprocess.CompletedProcess(command, 0 if fits else 1, json.dumps(found), "oh\nout of memory\n")

    monkeypatch.setattr(footprint.subprocess, "run", run)
    assert footprint.main([]) == 1
    told = capsys.readouterr()
    assert told.err == "all weights, batch 4: out of memory\nLoRA of rank 8, batch 4: out of memory\n"
    assert told.out.count("batch 1 | AdamW | 3.0 | 2 | 2 | 1.00 |") == 2 and "batch 4" not in told.out


def test_no_gpu_is_said(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DislibError, match="no CUDA GPU here; try --device cpu"):
        footprint.measure(footprint.Way(8, 1), device="cuda")


@pytest.mark.slow
def test_one_lora_step_at_full_size_on_the_cpu_within_24_gib():
    """The exact configuration of Stable Diffusion 1.5 at 512 px, batch 1, in a process whose peak is its own."""
    words = ["--one", "--device", "cpu", "--steps", "1", "--way", "LoRA of rank 8, batch 1"]
    done = subprocess.run(
        [sys.executable, "-m", "dislib.cli.footprint", *words], check=True, capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert 4 < found["peak_gib"] < 24 and math.isfinite(found["loss"])
