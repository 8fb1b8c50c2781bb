"""The shell around the course: commands, addresses, links, imports, sizes."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import conftest
import pytest
import yaml
from conftest import ROOT
from test_environment import project, requirements

import dislib
from tools.stamp import colab_link, repository, setup_cell, stamp

MODULE_OF = {"ipython": "IPython", "pillow": "PIL", "scikit-image": "skimage", "py-rattler": "rattler", "pyyaml": "yaml",
             "torch-fidelity": "torch_fidelity", "import-linter": "importlinter", "huggingface-hub": "huggingface_hub"}


def python(*arguments, **environment):
    """Run Python on the checkout; its output."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, check=True,
                          capture_output=True, text=True).stdout


# --- the package ------------------------------------------------------------------------------------------------------

def test_dislib_is_ours():
    assert conftest.foreign_dislib() is None


def test_a_foreign_dislib_is_named(tmp_path):
    assert "not from" in conftest.foreign_dislib(root=tmp_path)


def test_importing_dislib_loads_nothing_heavy():
    heavy = "torch diffusers transformers matplotlib numpy PIL"
    loaded = python("-c", f"import sys, dislib; print([m for m in '{heavy}'.split() if m in sys.modules])")
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("name", dislib.__all__)
def test_public_names_resolve(name):
    assert getattr(dislib, name).__name__ == name


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'StylePriors'"):
        _ = dislib.StylePriors


def imported_modules(path):
    """Top-level names that a file imports from outside its own package, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_everything_imported_is_declared():
    declared = {MODULE_OF.get(name, name) for name in requirements("lab", "test", "eval", "gpu")}
    allowed = declared | set(sys.stdlib_module_names) | {"dislib"}
    stray = {f"{path.relative_to(ROOT)}: {module}" for folder in ("dislib", "recipes") for path in ROOT.glob(f"{folder}/**/*.py")
             for module in imported_modules(path) if module not in allowed}
    assert stray == set()


# --- commands ---------------------------------------------------------------------------------------------------------

TARGETS = "help lab test test-all test-colab lint docs course bench cost stamp clean".split()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize("target", TARGETS)
def test_make_knows(target):
    assert subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^timeout .* make test\b", script.read_text(encoding="utf-8"), re.MULTILINE)


# --- the address ------------------------------------------------------------------------------------------------------

SHIELD = "https://colab.research.google.com/assets/colab-badge.svg"
BADGE = f"[![Open in Colab]({SHIELD})]({colab_link('a/b', 'c.ipynb')})"


@pytest.fixture
def copy(tmp_path):
    """The files that carry the address, and one small notebook as its author wrote it."""
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": [f"# T\n{BADGE}\n", "https://github.com/a/c"]},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": 'REPO = ""', "execution_count": 1, "outputs": []}]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_x.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return tmp_path


def test_everything_is_in_step_with_the_address():
    assert stamp(write=False) == [], "run `make stamp`"


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebook_has_setup_cell_and_badge(path):
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert setup_cell(repository()) in cells
    assert colab_link(repository(), f"notebooks/{path.name}") in cells[0]


def test_stamp_changes_every_place(copy):
    changed = stamp(copy, "ada/course-2")
    assert {path.name for path in changed} == {"pyproject.toml", "README.md", "CITATION.cff", "01_x.ipynb"}
    assert repository(copy) == "ada/course-2"
    old = repository(ROOT)
    assert not [path for path in copy.rglob("*.*") if path.is_file() and old in path.read_text(encoding="utf-8")]
    first, setup = json.loads((copy / "notebooks" / "01_x.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "".join(setup["source"]) == setup_cell("ada/course-2")
    assert colab_link("ada/course-2", "notebooks/01_x.ipynb") in "".join(first["source"])
    assert "https://github.com/a/c" in "".join(first["source"])  # somebody else's repository


def test_stamp_twice_changes_nothing_more(copy):
    stamp(copy, "ada/course")
    assert stamp(copy, "ada/course") == []
    assert stamp(copy) == []


def test_a_notebook_out_of_step_is_found(copy):
    assert [path.name for path in stamp(copy, write=False)] == ["01_x.ipynb"]


@pytest.mark.parametrize("wrong", ["course", "https://github.com/ada/course", "ada/course/", "ada/cou rse", "/"])
def test_stamp_refuses_what_is_no_address(copy, wrong):
    with pytest.raises(ValueError, match="written owner/name"):
        stamp(copy, wrong)


def test_setup_cell_does_nothing_at_home(monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager

    setup = setup_cell("ada/course")
    assert len(setup.splitlines()) <= 6
    path = list(sys.path)
    exec(compile(TransformerManager().transform_cell(setup), "setup", "exec"), {})
    assert sys.path == path


@pytest.mark.parametrize("have_it", [False, True])
def test_setup_cell_fetches_the_course_on_colab(monkeypatch, have_it):
    from types import ModuleType

    from IPython.core.inputtransformer2 import TransformerManager

    done = []

    class Shell:
        def system(self, command):
            done.append(command)

        def run_line_magic(self, name, line):
            done.append(f"{name} {line}")

    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: have_it or None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = TransformerManager().transform_cell(setup_cell("ada/course"))
    exec(compile(code, "setup", "exec"), {"get_ipython": Shell})
    assert len(done) == (0 if have_it else 2)
    assert ("/content/course" in sys.path) is not have_it
    assert have_it or "https://github.com/{REPO} /content/course" in done[0] and "pip install -q -e" in done[1]


# --- texts and data ---------------------------------------------------------------------------------------------------

def texts():
    kinds = (".md", ".py", ".ipynb", ".toml", ".yml", ".cff")
    folders = [ROOT, *(ROOT / name for name in ("dislib", "tests", "docs", "notebooks", "data"))]
    paths = {p for f in folders for p in (f.glob("*") if f == ROOT else f.rglob("*"))}
    return sorted(path for path in paths if path.suffix in kinds and path != Path(__file__))


def test_nobody_is_sent_to_the_other_dislib():
    told = re.compile(r"pip install (?:-\S+ )*dislib\b")
    assert [str(p) for p in texts() if told.search(p.read_text(encoding="utf-8"))] == []


def test_readme_has_commands_alt_text_and_working_links():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for needed in ("make lab", "make test", "-m venv .venv", "conda env create -f environment.yml", "WO2024251351A1"):
        assert needed in readme
    assert all(len(alt.split()) >= 3 for alt in re.findall(r"!\[([^\]]*)\]", readme))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", readme) if not link.startswith(("http", "#"))]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_citation_file():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == project()["license"]
    assert citation["repository-code"] == project()["urls"]["Repository"]
    names = [author["family-names"] for author in citation["preferred-citation"]["authors"]]
    assert names == ["Everaert", "Bocchio", "Arpa", "Süsstrunk", "Achanta"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(name.replace("ü", '{\\"u}') in readme for name in names)


def test_data_stays_small():
    size = sum(path.stat().st_size for path in (ROOT / "data").rglob("*") if path.is_file())
    assert size <= 35e6, f"data/ holds {size / 1e6:.1f} MB, at most 35"
