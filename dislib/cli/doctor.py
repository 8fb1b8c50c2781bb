"""Is this machine ready for the course? One line a question, OK or FAIL, each FAIL with its mend."""

import importlib
import importlib.metadata as metadata
import os
import platform
import re
import sys
import time
from pathlib import Path

from ..errors import DislibError, shorten

DISTRIBUTION, NAMESAKE = "diffusion-in-style-course", "dislib"
INSTALL = "python -m pip install -e . -c constraints.txt"
LIBRARIES = "torch diffusers transformers accelerate peft safetensors numpy pillow matplotlib ipywidgets".split()
MEMORY = 2.0  # GiB that the embedded model and a notebook need at the least


def checks(model="tiny"):
    """Yield (passed, question, answer) for each check; nothing raises. Later ones take some seconds."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # else it logs that torchvision is missing
    yield _ask("Python", _python)
    for name in LIBRARIES:
        yield _ask(name, _library, name)
    yield _ask("torchvision", _torchvision)
    yield _ask("LoRA", _lora)
    yield _ask("dislib", _dislib)
    yield _ask("device", _device)
    yield _ask("load", _load)
    yield _ask("memory", _memory)
    if model == "tiny":
        yield _ask("model files", _model_files)
    yield _ask("generation", _generation, model)


def _ask(question, check, *arguments):
    try:
        return True, question, check(*arguments)
    except DislibError as error:
        return False, question, str(error)
    except Exception as error:  # a doctor does not faint: whatever breaks here is a finding
        return False, question, f"{type(error).__name__}: {shorten(error, 300)}"


def _python():
    if sys.version_info < (3, 11):
        raise DislibError(f"{platform.python_version()} is too old; the course needs 3.11 or newer")
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _library(name):
    try:
        version = metadata.version(name)
        importlib.import_module("PIL" if name == "pillow" else name)
    except (metadata.PackageNotFoundError, ImportError) as error:
        raise DislibError(f"cannot be imported ({shorten(error)}); {INSTALL}") from error
    floor = _floors().get(name)
    if floor and not floor.contains(version, prereleases=True):
        raise DislibError(f"{version} does not satisfy {floor}; {INSTALL}")
    return version


def _floors():
    """Version specifiers by name, from the installed course's own dependencies."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    return {r.name: r.specifier for r in map(Requirement, lines) if r.marker is None}


def _torchvision():
    try:
        metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return "not installed, and not needed"
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        raise DislibError(
            f"does not fit this torch and breaks diffusers ({shorten(error)}); python -m pip uninstall torchvision"
        ) from error
    return metadata.version("torchvision")


def _lora():
    """Put one on the smallest of layers: peft may be installed, and refuse."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    from ..training.lora_support import refused_torchao, torchao_put_aside

    with torchao_put_aside():
        inject_adapter_in_model(LoraConfig(r=1, target_modules=["0"]), torch.nn.Sequential(torch.nn.Linear(2, 2)))
    if old := refused_torchao():
        return (
            f"works in this course, which leaves out torchao {old}; peft by itself refuses it"
            " (python -m pip uninstall torchao)"
        )
    return "works"


def _load():
    """Other programs' work is no failure, but it explains slowness."""
    try:
        load, cores = os.getloadavg()[0], os.cpu_count()
    except (OSError, AttributeError):  # Windows
        return "cannot be measured on this system"
    how = "" if os.environ.get("OMP_WAIT_POLICY") else "; set OMP_WAIT_POLICY=PASSIVE, or torch's threads get in the way"
    if load > 0.75 * cores:
        return f"{load:.1f} programs at work on {cores} cores: times will be long; close some{how}"
    return f"{load:.1f} programs at work on {cores} cores"


def _dislib():
    """PyPI has an unrelated project of this name, which would be imported in place of ours."""
    try:
        version = metadata.version(NAMESAKE)
    except metadata.PackageNotFoundError:
        return f"this course's, in {Path(__file__).resolve().parent}"
    raise DislibError(
        f"PyPI's unrelated package {NAMESAKE} {version} is installed;"
        f" python -m pip uninstall {NAMESAKE}, then {INSTALL}"
    )


def _device():
    import torch

    from ..device import pick_device, pick_dtype

    device = pick_device()
    dtype = str(pick_dtype(device)).removeprefix("torch.")
    if device != "cuda":
        return f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {dtype}"
    properties = torch.cuda.get_device_properties(0)
    return f"cuda, {properties.name}, {properties.total_memory / 2**30:.0f} GiB, {dtype}"


def _memory():
    free = available_memory()
    if free is None:
        return "cannot be measured on this system"
    if free < MEMORY:
        raise DislibError(f"{free:.1f} GiB free; the course needs {MEMORY:.0f} GiB, close other programs")
    return f"{free:.1f} GiB free"


def available_memory():
    """Memory a new program can have, in GiB, a container's limit included; None where it cannot be told."""
    try:
        text = Path("/proc/meminfo").read_text()
        free = int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1]) * 1024
    except (OSError, TypeError):
        return None
    try:
        limit, used = (Path("/sys/fs/cgroup", f"memory.{name}").read_text() for name in ("max", "current"))
        free = min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no such limit ("max"), or another kind of system
        pass
    return free / 2**30


def _model_files():
    from ..files import check_checksums, data_dir

    number, wrong = check_checksums(data_dir())
    if wrong:
        raise DislibError(f"{shorten('; '.join(wrong), 300)}; get the course's data again")
    return f"{number} files in {data_dir()} are as they were published"


def _generation(model):
    from ..core.sampling import generate
    from ..loading import load_pipeline

    begin = time.perf_counter()
    pipe = load_pipeline(model)
    loaded = time.perf_counter()
    [[sample]] = generate(pipe, ["a red house"], [0], steps=2)
    low, high = sample.image.convert("L").getextrema()
    if low == high:
        raise DislibError("the picture is one flat colour; load the model with dtype=torch.float32")
    return f"2 steps in {time.perf_counter() - loaded:.1f} s, after loading in {loaded - begin:.1f} s"
