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
    allowed = declared | set(sys.stdlib_module_names) | {"dislib", "recipes"}
    stray = {f"{path.relative_to(ROOT)}: {module}" for folder in ("dislib", "recipes") for path in ROOT.glob(f"{folder}/**/*.py")
             for module in imported_modules(path) if module not in allowed}
    assert stray == set()


# --- commands ---------------------------------------------------------------------------------------------------------

TARGETS = "help lab test test-all test-other-cpu test-colab test-colab-313 hostile".split()
TARGETS += "lint docs course bench cost stamp clean".split()


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

WAY = "[Open in Colab](c.ipynb)"


@pytest.fixture
def copy(tmp_path):
    """The files that carry the address, and one small notebook as its author wrote it."""
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": [f"# T\n{WAY}\n", "https://github.com/a/c"]},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": 'REPO = ""', "execution_count": 1, "outputs": []}]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_x.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return tmp_path


def test_everything_is_in_step_with_the_address():
    assert stamp(write=False) == [], "run `make stamp`"


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebook_has_setup_cell_and_way_to_colab(path):
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert setup_cell(repository()) in cells
    assert colab_link(repository(), f"notebooks/{path.name}") in cells[0]
    assert not [cell for cell in cells if "](https://colab.research.google.com/assets" in cell]  # broken offline


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


def test_stamp_leads_to_the_other_lessons_in_colab_and_lists_them(copy):
    first = json.loads((copy / "notebooks" / "01_x.ipynb").read_text(encoding="utf-8"))
    promise = "**What one\nlearns.**"
    first["cells"][0]["source"] = f"# 02 Another\n{promise}\n\n[![Open in Colab](a.svg)](b)\n\nTakes about ten minutes."
    first["cells"].append({**first["cells"][0], "id": "c", "source": "<!-- lessons -->\nold\n<!-- end -->\nmore"})
    (copy / "notebooks" / "02_y.ipynb").write_text(json.dumps(first), encoding="utf-8")
    stamp(copy, "ada/course")
    cells = json.loads((copy / "notebooks" / "02_y.ipynb").read_text(encoding="utf-8"))["cells"]
    assert f"[01]({colab_link('ada/course', 'notebooks/01_x.ipynb')})" in "".join(cells[0]["source"])
    listed = "".join(cells[-1]["source"])
    assert "| [01 T](01_x.ipynb) |  |  |" in listed and "| [02 Another](02_y.ipynb) | What one learns. | 10 |" in listed
    assert "old" not in listed and listed.endswith("<!-- end -->\nmore")
    assert stamp(copy) == []


def test_every_notebook_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in ROOT.glob("notebooks/*.ipynb") if f"](notebooks/{path.name})" not in readme] == []


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


def run_setup(repo, folder, *, have_it=False, failing="", **environment):
    """Run the setup cell in an IPython of its own, in `folder`; what a reader sees. Commands are told to `asked`.

    Args:
        have_it: whether dislib can be found.
        failing: the command ("git" or "pip") that fails, as without a network.
        environment: variables that say where we are.
    """
    shown = folder / "shown.py"
    cell = setup_cell(repo)
    shown.write_text(f"""
import importlib.util, os, subprocess, sys, types
from IPython.core.interactiveshell import InteractiveShell
if os.environ.get("COLAB"):
    sys.modules["google.colab"] = types.ModuleType("google.colab")
importlib.util.find_spec = lambda name: {have_it} or None
def run(command, **options):
    print("asked", command)
    return types.SimpleNamespace(returncode=int({failing!r} in command) if {failing!r} else 0)
subprocess.run = run
shell = InteractiveShell.instance(colors="NoColor")
result = shell.run_cell({cell!r})
print("failed" if result.error_in_exec else "done", os.path.abspath("course") in sys.path, os.environ["OMP_WAIT_POLICY"])
""")
    clean = {k: v for k, v in os.environ.items() if k not in ("KAGGLE_KERNEL_RUN_TYPE", "OMP_WAIT_POLICY")}
    return subprocess.run([sys.executable, shown], cwd=folder, env={**clean, **environment}, capture_output=True,
                          text=True, check=True).stdout


HOSTS = {"Colab": {"COLAB": "1"}, "Kaggle": {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}}


def test_setup_cell_only_calms_threads_at_home(tmp_path):
    assert len(setup_cell("ada/course").splitlines()) <= 12
    assert run_setup("ada/course", tmp_path) == "done False PASSIVE\n"
    assert run_setup("ada/course", tmp_path, OMP_WAIT_POLICY="ACTIVE") == "done False ACTIVE\n"


@pytest.mark.parametrize("host", HOSTS)
def test_setup_cell_fetches_the_course(tmp_path, host):
    seen = run_setup("ada/course", tmp_path, **HOSTS[host])
    assert "git clone -q --depth 1 https://github.com/ada/course course" in seen and "pip install -q -e course" in seen
    assert seen.endswith("done True PASSIVE\n")
    assert run_setup("ada/course", tmp_path, have_it=True, **HOSTS[host]) == "done False PASSIVE\n"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("repo, failing, sentence", [
    ("OWNER/course", "", 'Write the GitHub address of the course into line 1, REPO = "owner/name", and run this cell again.'),
    ("ada/course", "git", "github.com/ada/course cannot be fetched (PyPI's dislib is not it): switch the internet on"
     " (Kaggle: Settings) or correct line 1, and run this cell again."),
    ("ada/course", "pip", "The course cannot be installed: restart the session, and run this cell again."),
])
def test_setup_cell_fails_with_one_sentence(tmp_path, host, repo, failing, sentence):
    seen = [line for line in run_setup(repo, tmp_path, failing=failing, **HOSTS[host]).splitlines() if "asked" not in line]
    assert seen == [sentence, "failed False PASSIVE"]


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
    assert len(readme.splitlines()) < 130, "the first five minutes; all else goes to docs/"


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s#]+)(?:#([^)\s]+))?\)", (ROOT / page).read_text(encoding="utf-8"))
    local = [((ROOT / page).parent / link, part) for link, part in links if not link.startswith("http")]
    assert [link for link, _ in local if not link.exists()] == []
    headings = lambda path: {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
                             for title in re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert [(link, part) for link, part in local if part and part not in headings(link)] == []


def test_whoever_installs_is_told_how_on_each_system():
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for needed in ("python3 -m venv .venv", "py -m venv .venv", "Set-ExecutionPolicy -Scope Process RemoteSigned",
                   "download.pytorch.org/whl/cpu", "conda env create", "OMP_WAIT_POLICY=PASSIVE"):
        assert needed in text


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
