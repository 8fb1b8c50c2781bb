"""`python tools/small_torch.py`: install the small torch, without CUDA, where it is the right one. Called by `make`.

On Linux, pip's usual torch brings CUDA along: 3 GB to fetch and 4 GB of disk, which a machine without an NVIDIA GPU
never uses. PyTorch's own index has a build without it. Where that index cannot be reached, or the machine has such a
GPU, or a torch is there already, nothing is done, and pip takes its usual torch later. Arguments go to pip.
Nothing but the standard library is needed.
"""

import importlib.util
import platform
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS = 8  # that the index has to answer


def main(options):
    """Install it, or say in one line why not; never an error, since pip's usual torch does as well."""
    if importlib.util.find_spec("torch") or not wanted():
        return 0
    if not reachable():
        print(f"==> {INDEX} does not answer; taking pip's usual torch, which may be large.", flush=True)
        return 0
    print("==> No NVIDIA GPU here: taking the small torch, without CUDA.", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "1", *options]
    if subprocess.run([*command, "--extra-index-url", INDEX, "torch"], check=False).returncode:
        print("==> That did not work; taking pip's usual torch, which may be large.", flush=True)
    return 0


def wanted():
    """Whether this is Linux on an ordinary processor without an NVIDIA GPU: elsewhere pip's usual torch is small."""
    nvidia = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()
    return platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64") and not nvidia


def reachable(url=f"{INDEX}/torch/", seconds=SECONDS):
    """Whether the index answers: asked once here, since pip would try again for every package."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
