"""`import dislib`: a fraction of a second, since torch and its friends come with the first name that needs them."""

import json

from measure import Measurement, run

HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "numpy", "PIL")
PROGRAM = f"""
import json, sys, time
begin = time.perf_counter()
import dislib
print(json.dumps([time.perf_counter() - begin, [name for name in {HEAVY} if name in sys.modules]]))
"""


def benchmark():
    runs = [json.loads(run("-c", PROGRAM).output) for _ in range(5)]
    yield Measurement("import dislib, best of 5", min(seconds for seconds, _ in runs), "s", "<= 0.3")
    yield Measurement(f"import dislib: heavy modules of {len(HEAVY)} it loads", len(runs[0][1]), "", "<= 0")
