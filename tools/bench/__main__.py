"""How fast and how large the course is, on this machine: `make bench`, or `python tools/bench NAME ...`.

Prints a line for each measurement, its name, its value and what we aim at, and keeps all of them in build/bench.json.
Nothing is asserted: a slow machine fails no test. Every benchmark runs in processes of its own, so that one does not
warm up or fatten another; leave the machine alone meanwhile.
"""

import argparse
import datetime
import json
import os
import platform

import busy
import evaluating
import generating
import importing
import notebook_costs
import streaming
import tuning
from measure import ROOT

BENCHMARKS = {
    "import": importing.benchmark,
    "generate": generating.benchmark,
    "busy": busy.benchmark,
    "prior": streaming.benchmark,
    "evaluate": evaluating.benchmark,
    "finetune": tuning.benchmark,
    "notebooks": notebook_costs.benchmark,
}
RESULTS = ROOT / "build" / "bench.json"


def main():
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default all")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    print(f"{machine()}; load before: {load()}")
    for name in options.names or BENCHMARKS:
        found = []
        for measurement in BENCHMARKS[name]():
            print(measurement, flush=True)
            found.append(measurement)
        keep(name, found)


def keep(name, found):
    """Put one benchmark's results in build/bench.json, beside those of the others."""
    RESULTS.parent.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    when = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    results[name] = {"when": when, "machine": machine(), "measurements": [each.as_dict() for each in found]}
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def machine():
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def load():
    """Programs that wanted a core in the last minute, this one aside: other work spoils the numbers."""
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
