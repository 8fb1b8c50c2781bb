"""Bars on a terminal, lines in a log, nothing that a stored notebook would keep; the stop button."""

import os
import struct
import subprocess
import sys
import types

import pytest
from conftest import ROOT

from dislib import progress
from dislib.progress import Bar, Smoothed, short_time, watch


class Terminal:
    """A stderr that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def records(n, first=1):
    return [types.SimpleNamespace(step=k, loss=1.0 if k % 2 else 0.0) for k in range(first, first + n)]


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by ten seconds whenever it is asked."""
    now = iter(range(0, 10**6, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.delenv("DISLIB_STATIC", raising=False)
    # Not sys.stderr itself, which pytest puts back before the test begins.
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=Terminal(), modules=sys.modules))
    return progress.sys.stderr


def test_a_terminal_gets_a_bar_with_the_time_left_and_a_smoothed_loss(terminal):
    assert list(watch(records(20), 20)) == records(20)
    assert "20/20" in terminal.text and "100%" in terminal.text and "<" in terminal.text
    last = terminal.text.rpartition("loss ")[2][:4]
    assert 0.45 < float(last) < 0.55
    assert terminal.text.count("\n") == 1


def test_a_run_that_goes_on_begins_where_it_was(terminal):
    list(watch(records(5, first=96), 100))
    assert "100/100" in terminal.text and terminal.text.startswith("\r 96%")


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    list(watch(records(100), 100))
    lines = capsys.readouterr().err.splitlines()
    assert 20 < len(lines) < 40  # every 30 of a thousand seconds
    assert lines[0].startswith("2 of 100 steps, ") and "left, loss 0." in lines[0]


def test_what_is_soon_over_says_nothing_in_a_log(capsys):
    bar = Bar("pictures", 3)
    for k in range(3):
        bar(k + 1)
    assert capsys.readouterr().err == ""


def test_the_records_place_is_believed(terminal):
    told = [types.SimpleNamespace(done=k, total=64) for k in (16, 32, 64)]
    list(watch(told, unit="pictures"))
    assert "64/64" in terminal.text and "pictures" in terminal.text


def test_batches_of_pictures_know_their_place(terminal):
    batches = [[types.SimpleNamespace(index=i) for i in rows] for rows in (range(8), range(8, 12))]
    assert list(watch(batches, 12, unit="pictures")) == batches
    assert "8/12" in terminal.text and "12/12" in terminal.text


def test_nothing_is_shown_by_other_processes_or_while_pages_are_made(terminal, monkeypatch):
    list(watch(records(3), 3, quiet=True))
    monkeypatch.setenv("DISLIB_STATIC", "1")
    list(watch(records(3), 3))
    assert terminal.text == ""


def test_a_bar_is_closed_when_the_work_breaks_off(terminal):
    def broken():
        yield from records(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(watch(broken(), 10))
    assert terminal.text.endswith("\n")


@pytest.mark.parametrize("seconds, text", [(40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_times(seconds, text):
    assert short_time(seconds) == text


def test_smoothing_begins_at_the_first_value_and_follows():
    mean = Smoothed()
    assert mean.add(3.0) == pytest.approx(3.0)
    for _ in range(500):
        last = mean.add(1.0)
    assert last == pytest.approx(1.0, abs=1e-3)


# --- in a kernel ------------------------------------------------------------------------------------------------------


def executed(*cells, **environment):
    """The cells of a notebook after a run in a kernel of its own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}, allow_errors=True)
        client.store_widget_state = False
        client.execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return [cell.outputs for cell in notebook.cells]


def test_a_notebook_keeps_no_bar():
    slowly = "import time\nfrom dislib.progress import watch\nfor k in watch(range(5), 5): time.sleep(0.7)\nprint(k)"
    [outputs] = executed(slowly)
    assert any(output.output_type == "display_data" for output in outputs)  # there was one
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert any("4" in output.get("text", "") for output in outputs)
    [static] = executed(slowly, DISLIB_STATIC="1")
    assert [output.output_type for output in static] == ["stream"]


def test_the_stop_button_ends_a_cell_with_one_sentence():
    outputs = executed(
        "from dislib.progress import stop_with_a_sentence\nstop_with_a_sentence()",
        "import _thread, time\n_thread.interrupt_main()\ntime.sleep(20)\nprint('went on')",
    )[1]
    assert [output.output_type for output in outputs] == ["stream"]
    assert outputs[0].text == "Stopped. Run the cell again when you like; what it keeps in a folder goes on from there.\n"


def test_commands_have_bars_on_a_terminal(tmp_path):
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))  # not on Windows
    from helpers import image_folder, save_pipeline

    model, images = save_pipeline(tmp_path / "model"), image_folder(tmp_path / "images", 16)
    command = [sys.executable, "-m", "dislib", "prior", "--model", model, "--images", images, "--out", tmp_path / "p.safetensors"]
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    done = subprocess.run([str(c) for c in command], cwd=ROOT, stderr=there, stdout=subprocess.PIPE, check=True)
    os.close(there)
    said = os.read(here, 10**5).decode()
    os.close(here)
    assert "16/16" in said and "images" in said and b"16 images of" in done.stdout
