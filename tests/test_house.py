"""The rooms of the package: imports run downstairs only, inside functions too, and the wheel holds the package alone."""

import os
import shutil
import subprocess
import sys

from conftest import ROOT
from setuptools import find_packages
from test_environment import tomllib

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(folder):
    """What `lint-imports` says of the packages in a folder: (exit code, its report)."""
    done = subprocess.run([sys.executable, "-c", LINT, "--no-cache"], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"})
    return done.returncode, done.stdout + done.stderr


def test_imports_run_downstairs():
    code, said = lint_imports(ROOT)
    assert code == 0, said


def test_an_import_upstairs_is_found_even_inside_a_function(tmp_path):
    for name in ("dislib", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / "dislib" / "core" / "latents.py", "a", encoding="utf-8") as file:
        file.write("\n\ndef upstairs():\n    from ..training.settings import Settings\n\n    return Settings\n")
    code, said = lint_imports(tmp_path)
    assert code == 1 and "dislib.core.latents -> dislib.training.settings" in said


def test_the_wheel_holds_the_package_and_all_its_rooms():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]
    found = set(find_packages(str(ROOT), **settings))
    rooms = {path.name for path in (ROOT / "dislib").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == {"dislib", *(f"dislib.{room}" for room in rooms)}
