"""Which torch `make` takes: the small one where it fits and can be had, else pip's usual one, and never an error."""

import subprocess
import sys
import types

import pytest
from conftest import ROOT

from tools import small_torch as _torch


@pytest.fixture
def calls(monkeypatch):
    """No torch here, no NVIDIA GPU, an index that answers, and a pip that only says what it was asked."""
    asked = []
    monkeypatch.setattr(_torch.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(_torch.platform, "system", lambda: "Linux")
    monkeypatch.setattr(_torch.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(_torch.shutil, "which", lambda name: None)
    monkeypatch.setattr(_torch, "reachable", lambda: True)
    run = lambda command, **_: asked.append(command) or types.SimpleNamespace(returncode=0)
    monkeypatch.setattr(_torch.subprocess, "run", run)
    return asked


def test_the_small_torch_without_a_gpu(calls):
    assert _torch.main(["-c", "constraints.txt"]) == 0
    [command] = calls
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and command[-1] == "torch"
    assert _torch.INDEX in command and "constraints.txt" in command


@pytest.mark.parametrize("where, name, value", [
    ("platform", "system", lambda: "Darwin"), ("platform", "system", lambda: "Windows"),
    ("platform", "machine", lambda: "riscv64"), ("shutil", "which", lambda name: "/usr/bin/nvidia-smi"),
    ("importlib.util", "find_spec", lambda name: "there already"),
])
def test_pips_own_elsewhere(calls, monkeypatch, where, name, value):
    module = _torch
    for part in where.split("."):
        module = getattr(module, part)
    monkeypatch.setattr(module, name, value)
    assert _torch.main([]) == 0 and calls == []


def test_one_line_where_the_index_does_not_answer(calls, monkeypatch, capsys):
    monkeypatch.setattr(_torch, "reachable", lambda: False)
    assert _torch.main([]) == 0 and calls == []
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_failure_of_pip_is_no_error(calls, monkeypatch, capsys):
    monkeypatch.setattr(_torch.subprocess, "run", lambda command, **_: types.SimpleNamespace(returncode=1))
    assert _torch.main([]) == 0 and "usual torch" in capsys.readouterr().out


def test_an_address_that_does_not_answer_is_not_reachable():
    assert not _torch.reachable("http://127.0.0.1:9/", seconds=1)
    assert not _torch.reachable("nonsense")


def test_it_needs_no_library():
    code = "import sys; sys.modules['torch'] = None; import tools.small_torch; print(len(sys.modules))"
    assert subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True, capture_output=True).stdout


@pytest.mark.parametrize("given, small", [([], True), (["PIP_ARGS=--pre"], False), (["PIP_ARGS="], False)])
def test_options_for_pip_win(given, small, tmp_path):
    dry = subprocess.run(["make", "-n", "lab", f"VENV={tmp_path / 'env'}", *given], cwd=ROOT, capture_output=True,
                         text=True, check=True).stdout
    assert ("tools/small_torch.py" in dry) is small
    assert ("--pre" in dry) is ("PIP_ARGS=--pre" in given)
