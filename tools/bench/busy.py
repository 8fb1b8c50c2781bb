"""Eight pictures on a quiet machine and on a busy one: two other programs that compute, as a video call and a browser."""

import json
import os
import subprocess
import sys
import time

from measure import ROOT, Measurement

PICTURES, ROUNDS, OTHERS = 8, 3, 2
SPIN = "while True: pass"


def benchmark():
    calm = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    quiet, busy = seconds(calm), beside_others(calm)
    spinning = beside_others({"OMP_WAIT_POLICY": "ACTIVE"})
    yield Measurement(f"{PICTURES} pictures, quiet", quiet, "s")
    yield Measurement(f"{PICTURES} pictures beside {OTHERS} busy programs", busy, "s")
    yield Measurement("busy, times as long as quiet", busy / quiet, "x", "<= 3")
    yield Measurement("  the same with threads that spin (OMP_WAIT_POLICY=ACTIVE)", spinning / quiet, "x")


def beside_others(environment):
    """As `seconds`, while other programs keep cores busy."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(OTHERS)]
    try:
        return seconds(environment)
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(environment):
    """The best of several rounds, in a process of its own, since torch reads the environment when it is loaded."""
    done = subprocess.run([sys.executable, __file__], cwd=ROOT, env={**os.environ, **environment}, check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)


def paint():
    """The best round's seconds."""
    from dislib import generate, load_pipeline

    pipe, times = load_pipeline("tiny", device="cpu"), []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in generate(pipe, ["a red house in the meadow"], list(range(PICTURES))):
            pass
        times.append(time.perf_counter() - begin)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(paint()))
