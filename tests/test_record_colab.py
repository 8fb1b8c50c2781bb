"""The README tells of the last green run with Colab's libraries, and only a green run can write it."""

import pytest
from conftest import ROOT

from tools.record_colab import BEGIN, END, installed, main, replace, summary

VERSIONS = {"Python": "3.11.7", "torch": "2.13.0"}


def report(tests=1005, failures=0, errors=0, skipped=3):
    return (
        f'<testsuites><testsuite name="pytest" errors="{errors}" failures="{failures}" skipped="{skipped}"'
        f' tests="{tests}" time="9.5" timestamp="2026-08-05T14:03:22.123456+00:00"></testsuite></testsuites>'
    )


def test_a_green_run_in_words():
    assert summary(report(), VERSIONS) == (
        "Last green run with Colab's libraries (`make test-colab`): 5 August 2026, 1,002 tests passed, 3 skipped,"
        " with Python 3.11.7, torch 2.13.0."
    )
    assert "3 skipped, 5 notebooks among them, with Python" in summary(report(), VERSIONS, 5)


@pytest.mark.parametrize("numbers", [{"failures": 1}, {"errors": 1}, {"tests": 3}, {"tests": 0, "skipped": 0}])
def test_another_run_is_not_written(tmp_path, numbers):
    (tmp_path / "report.xml").write_text(report(**numbers))
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\nold\n{END}\n")
    assert "not a green run" in main(tmp_path / "report.xml", readme)
    assert "old" in readme.read_text()


def test_only_the_marked_place_changes():
    assert replace(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}" * 2])
def test_the_marks_must_be_there_once(text):
    with pytest.raises(ValueError, match="needs one place"):
        replace(text, "new")


def test_the_readme_has_its_place():
    replace((ROOT / "README.md").read_text(encoding="utf-8"), "new")


def test_versions_are_those_installed():
    import torch

    assert installed()["torch"] == torch.__version__.partition("+")[0]
