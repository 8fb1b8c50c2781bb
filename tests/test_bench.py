"""The benchmarks measure what they say; how fast this machine is, no test asks."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools" / "bench"))

import measure
import notebook_costs

from tools.notebook_lint import measured_cost


def test_a_line_has_name_value_and_aim():
    line = str(measure.Measurement("import dislib", 0.25, "s", "<= 0.3"))
    assert line.split() == ["import", "dislib", "0.25", "s", "aim", "<=", "0.3"]
    assert str(measure.Measurement("prior", 1234.5, "s")).split() == ["prior", "1234", "s"]


def test_time_and_peak_memory_of_a_program_and_its_children():
    slow = measure.run("-c", "import time; time.sleep(0.5); print('hello')")
    grandchild = "x = bytearray(300 * 2**20)"
    large = measure.run("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])")
    assert slow.output == "hello\n"
    assert slow.seconds >= 0.5 > slow.processor
    assert large.gib >= 300 / 1024


def test_a_program_that_fails_is_reported():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        measure.run("-c", "1 / 0")


def test_an_unknown_benchmark_is_named():
    done = subprocess.run(
        [sys.executable, "tools/bench", "speed"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no benchmark 'speed'; choose from import, generate, busy, prior, " in done.stderr


def test_costs_are_kept_notebook_by_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook_costs, "COSTS", tmp_path / "cost.json")
    notebook_costs.keep("02_b", measure.Run(12.34, 1.234, ""))
    notebook_costs.keep("01_a", measure.Run(60, 1, ""))
    costs = json.loads((tmp_path / "cost.json").read_text())
    assert list(costs) == ["01_a", "02_b"]
    assert (costs["02_b"]["seconds"], costs["02_b"]["gib"]) == (12.3, 1.23)
    monkeypatch.setattr("tools.notebook_lint.COSTS", tmp_path / "cost.json")
    assert measured_cost("notebooks/01_a.ipynb")["seconds"] == 60
    assert measured_cost("notebooks/03_c.ipynb") is None


@pytest.mark.parametrize("others, seconds", [(0.1, 600), (1.5, 45)])
def test_the_clock_of_a_busy_machine_is_not_trusted(tmp_path, monkeypatch, others, seconds):
    monkeypatch.setattr(notebook_costs, "COSTS", tmp_path / "cost.json")
    notebook_costs.keep("01_a", measure.Run(600, 1, "", processor=45, others=others))
    assert json.loads((tmp_path / "cost.json").read_text())["01_a"]["seconds"] == seconds


def test_other_programs_are_noticed():
    before = measure.busy_seconds()
    sum(range(10**7))
    assert measure.busy_seconds() >= before
