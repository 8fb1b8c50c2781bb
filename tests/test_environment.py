"""pyproject.toml is the truth about dependencies; environment.yml and both files of constraints keep step with it."""

import importlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

CONDA_NAME = {"huggingface-hub": "huggingface_hub", "torch": "pytorch", "matplotlib": "matplotlib-base",
              "playwright": "playwright-python"}
# The oldest releases that readers meet: Colab and conda-forge in August 2026.
COLAB = {"torch": "2.11.0", "diffusers": "0.39.0", "transformers": "5.15.0", "accelerate": "1.14.0", "peft": "0.20.0",
         "safetensors": "0.8.0", "numpy": "2.1.3", "pillow": "11.3.0", "matplotlib": "3.10.0", "ipywidgets": "7.7.1",
         "ipykernel": "6.17.1"}
CONDA_FORGE = {"torch": "2.13.0", "diffusers": "0.39.0", "transformers": "5.15.1", "accelerate": "1.13.0",
               "torchmetrics": "1.9.0", "nbval": "0.11.0"}

FILES = ("constraints.txt", "constraints-colab.txt")
ENVIRONMENTS = {str(ROOT / ".venv"): FILES[0], str(ROOT / ".venv-colab"): FILES[1]}  # made by `make`


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(*extras):
    """The runtime dependencies and those of the named extras, as {name: Requirement}."""
    lines = [*project()["dependencies"]]
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def constraints(file="constraints.txt"):
    """A file of constraints as a list of Requirements; one that is not a plain requirement raises."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


# --- environment.yml --------------------------------------------------------------------------------------------------

def environment_problems(environment, wanted):
    """What is wrong with a parsed environment.yml, measured against the requirements `wanted`; a list of sentences."""
    rattler = importlib.import_module("rattler")
    invalid = importlib.import_module("rattler.exceptions").InvalidMatchSpecError
    problems = [f"unknown key '{key}'" for key in environment.keys() - {"name", "channels", "dependencies"}]
    if environment.get("channels") != ["conda-forge", "nodefaults"]:
        problems.append("channels are not conda-forge and nodefaults")
    specs = {}
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            problems += _pip_problems(entry)
            continue
        try:
            spec = rattler.MatchSpec(entry)
            specs[spec.name.normalized] = entry
        except invalid as error:
            problems.append(f"'{entry}' is no conda spec: {error}")
    return problems + _step_problems(specs, wanted)


def _pip_problems(section):
    if list(section) != ["pip"]:
        return [f"unknown section {sorted(section)}"]
    problems = []
    for line in section["pip"]:
        if line != "-e .":
            Requirement(line)
            problems.append(f"'{line}' comes from pip; only the course itself should")
    return problems


def _step_problems(specs, wanted):
    """Compare conda specs {name: text} with what pyproject.toml asks for, name by name and floor by floor."""
    problems = []
    if "pip" not in specs:
        problems.append("a pip section needs 'pip' among the dependencies")
    if not specs.get("python", "").startswith("python=3."):
        problems.append("write python=3.x: Binder reads nothing else")  # a range falls back to an old Python
    for name, requirement in wanted.items():
        conda = CONDA_NAME.get(name, name)
        if requirement.marker and not requirement.marker.evaluate({"python_version": "3.12"}):
            continue
        expected = f"{conda} {requirement.specifier}"
        if specs.get(conda) != expected:
            problems.append(f"expected '{expected}', found {specs.get(conda)!r}")
    known = {"pip", "python", *(CONDA_NAME.get(name, name) for name in wanted)}
    return problems + [f"'{name}' is not in pyproject.toml" for name in specs.keys() - known]


def test_environment_yml_is_in_step_and_parses():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment_problems(environment, requirements("lab", "test")) == []


@pytest.mark.parametrize("spoil, complaint", [
    (lambda e: e["dependencies"].remove("diffusers >=0.39"), "expected 'diffusers >=0.39', found None"),
    (lambda e: e["dependencies"].append("diffusers >>0.39"), "is no conda spec"),
    (lambda e: e["dependencies"].append("torchvision"), "'torchvision' is not in pyproject.toml"),
    (lambda e: e["dependencies"].remove("pip"), "a pip section needs 'pip'"),
    (lambda e: e["dependencies"].__setitem__(0, "python >=3.10"), "write python=3.x"),
    (lambda e: e["dependencies"][-1]["pip"].append("diffusers"), "comes from pip"),
    (lambda e: e.update(prefix="/somewhere"), "unknown key 'prefix'"),
    (lambda e: e.update(channels=["defaults"]), "channels"),
], ids=["missing", "no spec", "one too many", "no pip", "Python as a range", "library by pip", "key", "channel"])
def test_environment_check_notices(spoil, complaint):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    spoil(environment)
    assert any(complaint in problem for problem in environment_problems(environment, requirements("lab", "test")))


# --- floors and pins --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("versions", [COLAB, CONDA_FORGE], ids=["Colab", "conda-forge"])
def test_floors_admit_what_readers_have(versions):
    wanted = requirements("lab", "test")
    too_high = [f"{wanted[name]} but {version}" for name, version in versions.items()
                if version not in wanted[name].specifier]
    assert too_high == []


def test_pyproject_has_floors_only():
    every = requirements("lab", "test", "eval")
    assert [str(r) for r in every.values() if [s.operator for s in r.specifier] != [">="]] == []


def pins(file):
    """{name: version} of a file of constraints."""
    return {canonicalize_name(r.name): next(iter(r.specifier)).version for r in constraints(file)}


@pytest.mark.parametrize("file", FILES)
def test_torchvision_never_enters(file):
    assert "torchvision" not in requirements("lab", "test")
    assert "torchvision" not in (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert [str(r.specifier) for r in constraints(file) if r.name == "torchvision"] == ["<0"]


@pytest.mark.parametrize("file", FILES)
def test_constraints_pin_exactly(file):
    loose = [str(r) for r in constraints(file) if r.name != "torchvision"
             and (r.url or r.extras or [s.operator for s in r.specifier] != ["=="] or "+" in str(r.specifier))]
    assert loose == []
    assert len(constraints(file)) == len(pins(file))
    assert pins(file)["torch"] == "2.13.0"


@pytest.mark.parametrize("file, extras", [("constraints.txt", ["lab", "test"]), ("constraints-colab.txt", ["test"])])
def test_every_dependency_is_pinned_within_its_floor(file, extras):
    known = pins(file)
    wanted = {name: r for name, r in requirements(*extras).items()}
    assert [name for name in wanted if name not in known] == []
    assert [name for name, r in wanted.items() if known[name] not in r.specifier] == []


def test_colab_constraints_are_colabs():
    known = pins("constraints-colab.txt")
    assert known["torchao"] == "0.10.0"  # which no library of ours asks for, and which peft refuses
    assert {name: known[name] for name in COLAB if name != "torch"} == {n: v for n, v in COLAB.items() if n != "torch"}


def test_colab_constraints_differ_only_where_they_must():
    text = (ROOT / "constraints-colab.txt").read_text(encoding="utf-8")
    rest = [Requirement(line) for line in text.partition("# All else as in constraints.txt")[2].splitlines()[1:]]
    plain = pins("constraints.txt")
    assert rest and [str(r) for r in rest if plain.get(canonicalize_name(r.name)) not in r.specifier] == []


@pytest.mark.skipif(sys.prefix not in ENVIRONMENTS, reason="in none of the environments that make keeps")
def test_environment_holds_the_pinned_set():
    assert importlib.util.find_spec("torchvision") is None, "uninstall torchvision: it breaks diffusers here"
    # Not all of sys.path: setuptools puts copies of its own on it, in other versions, as soon as somebody imports it.
    places = sorted({sysconfig.get_paths()[key] for key in ("purelib", "platlib")})
    found = importlib.metadata.distributions(path=places)
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in found}
    wrong = [f"{r} but {installed[name]} is installed" for r in constraints(ENVIRONMENTS[sys.prefix])
             if (name := canonicalize_name(r.name)) in installed and (r.marker is None or r.marker.evaluate())
             and Version(installed[name]).public not in r.specifier]
    assert wrong == []
