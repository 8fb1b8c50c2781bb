"""What each notebook costs: seconds and peak memory, run from top to bottom in a fresh kernel.

`make cost` runs this file, which keeps what it measured in notebooks/cost.json. A rule of `notebook_lint.py` holds the
cost cards to these numbers. Best on an idle machine; when other programs are at work the clock says little, and the
processor time, which is what one core would need, is kept in its place.
"""

import datetime
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Measurement, run

COSTS = ROOT / "notebooks" / "cost.json"
OTHERS = 0.3  # cores that other programs may keep busy before the clock is not trusted


def benchmark():
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        yield from measurements(path.stem, measure(path))


def measure(path):
    """A `measure.Run` of one notebook, beside the data but in a folder of its own: what an earlier run has kept would
    make it too cheap."""
    options = ["--execute", "--to=notebook", "--log-level=ERROR", "--ExecutePreprocessor.timeout=1800"]
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".cost-") as folder:
        return run("-m", "nbconvert", *options, "--inplace", shutil.copy(path, folder))


def measurements(name, done):
    yield Measurement(f"notebook {name}, time", done.seconds, "s", "<= 180")
    yield Measurement(f"notebook {name}, peak memory", done.gib, "GiB", "<= 4")


def keep(name, done):
    """Put one notebook's cost beside those of the others."""
    costs = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}
    seconds = done.seconds if done.others <= OTHERS else min(done.seconds, done.processor)
    costs[name] = {
        "seconds": round(seconds, 1),
        "gib": round(done.gib, 2),
        "by": "clock" if seconds == done.seconds else "processor time",
        "cores": os.cpu_count(),
        "when": datetime.date.today().isoformat(),
    }
    COSTS.write_text(json.dumps(dict(sorted(costs.items())), indent=2) + "\n", encoding="utf-8")


def main(paths):
    for path in map(Path, paths):
        done = measure(path.resolve())
        print(*measurements(path.stem, done), sep="\n", flush=True)
        if done.others > OTHERS:
            print(f"  others kept {done.others:.1f} cores busy; processor time {done.processor:.0f} s")
        keep(path.stem, done)
    print(f"Kept in {COSTS.relative_to(ROOT)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
