"""What a benchmark returns, and how a program's time and peak memory are taken."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the kernel counts resident memory in: bytes on macOS, KiB elsewhere.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number: a name, a value with its unit, and the aim (such as "<= 0.3"), if there is one."""

    name: str
    value: float
    unit: str = ""
    aim: str = ""

    def __str__(self):
        value = f"{self.value:.3g}" if abs(self.value) < 100 else f"{self.value:.0f}"
        return f"{self.name:<64}  {value:>7} {self.unit:<9}  {f'aim {self.aim}' if self.aim else ''}".rstrip()

    def as_dict(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished program: seconds on the clock, the most memory (GiB) that it or a child of it held, its output; and
    its processor time, and how many cores other programs kept busy meanwhile, which should be none (always 0 where
    there is no /proc)."""

    seconds: float
    gib: float
    output: str
    processor: float = 0.0
    others: float = 0.0


def run(*arguments):
    """Run this Python with `arguments` in the course's folder, and measure it.

    The measuring process has to stay small: a child's peak is never counted below its parent's at the time it began.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryFile("w+") as errors:
        begin, busy = time.perf_counter(), busy_seconds()
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # of this child and of what it waited for itself
        seconds, busy = time.perf_counter() - begin, busy_seconds() - busy
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(map(str, arguments))} failed:\n{errors.read()[-2000:]}")
    processor = usage.ru_utime + usage.ru_stime
    others = max(busy - processor, 0) / seconds
    return Run(seconds, usage.ru_maxrss * MAXRSS_UNIT / 2**30, output, processor, others)


def busy_seconds():
    """Seconds that all cores together have worked since the machine began; 0 where there is no /proc."""
    try:
        user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
    except OSError:
        return 0.0
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")
