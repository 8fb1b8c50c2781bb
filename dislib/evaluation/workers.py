"""The work of a sweep: what is missing, shared among processes, threads and cores."""

from __future__ import annotations

import copy
import functools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..core.pipeline import latent_shape
from ..errors import DislibError


@dataclass(frozen=True)
class Progress:
    """One batch is done and safe on the disk.

    `done` of `total` pictures in this process, `seconds` since the record before, `left` still to go (a guess).
    """

    method: str
    style: str
    guidance: float
    batch: int
    done: int
    total: int
    seconds: float
    left: float


# --- the work ---------------------------------------------------------------------------------------------------


def do_missing(store, units, make, see, shown, workers):
    """The generator behind a sweep: share out what is missing of `units`, (weight, batch) each, and do it."""
    state = _processes()
    missing = [unit for unit in units if not store.path(*unit).is_file()]
    state.wait_for_everyone()  # before another process adds to what is there
    if state.is_main_process:
        store.begin()
    state.wait_for_everyone()
    there = _size(store, units) - _size(store, missing)
    with state.split_between_processes(missing) as mine:
        do = functools.partial(_do, store, make, see, shown)
        yield from _progress(store, mine, there, _in_parallel(do, mine, workers))
    state.wait_for_everyone()


def _processes():
    """What accelerate knows of the processes of this run: one, unless it was launched as several."""
    import torch
    from accelerate import PartialState

    # Several processes without a GPU must be told so; alone, the choice stays open for whatever comes after.
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=several and not torch.cuda.is_available())


def _do(store, make, see, shown, unit):
    """Make a batch, look at it and keep what was seen."""
    weight, batch = unit
    rows = store.plan.rows(batch)
    images = make(weight, rows)
    try:
        arrays = see(images, [store.plan.prompts[i // store.plan.images_per_prompt] for i in rows])
    except DislibError as error:
        raise type(error)(f"w = {weight:g}, pictures {rows[0]} to {rows[-1]}: {error}") from error
    for image, i in zip(images, rows):
        if i in shown:
            store.show(weight, i, image)
    store.write(weight, batch, arrays)
    return unit


def _progress(store, units, there, finished):
    """A record for each finished unit."""
    total, clock = there + _size(store, units), _Clock(store, units)
    for weight, batch in finished:
        there += len(store.plan.rows(batch))
        seconds, left = clock.tick((weight, batch))
        yield Progress(
            **store.labels, guidance=weight, batch=batch, done=there, total=total, seconds=seconds, left=left
        )


def _in_parallel(do, units, workers):
    """`do(unit)` of every unit, in order; several at a time in threads, each on one core."""
    import torch

    if workers == 1:
        yield from map(do, units)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for future in [pool.submit(do, unit) for unit in units]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # part of that setting is shared by all threads


def default_workers(pipe):
    """As many as PyTorch may use cores, for small pictures on a CPU; launched as several, processes share them."""
    import torch

    if pipe.device.type != "cpu" or latent_shape(pipe)[-1] > 16:
        return 1
    return min(max(torch.get_num_threads() // int(os.environ.get("WORLD_SIZE", "1")), 1), 4)


# A fast tokenizer refuses two threads at a time.
_ALONE = threading.RLock()


def twins(pipe):
    """A function that returns copies of the pipeline, weights shared, for threads to use at the same time: a call
    changes the pipeline's scheduler. All of them know the prompts that one has encoded."""
    known = {}

    def encode(prompt, *rest, **embedded):
        if embedded:  # the pipeline itself, which hands over what is encoded already
            return pipe.encode_prompt(prompt, *rest, **embedded)
        with _ALONE:
            if prompt not in known:
                known[prompt] = pipe.encode_prompt(prompt, *rest)
        return known[prompt]

    def twin():
        other = copy.copy(pipe)
        other.encode_prompt = encode
        return other

    return twin


class _Clock:
    """Tells how long a batch took and how long the rest will: at w = 1 a picture needs half of the U-Net calls."""

    def __init__(self, store, units):
        self.cost = {unit: len(store.plan.rows(unit[1])) * (1 if unit[0] == 1 else 2) for unit in units}
        self.rest, self.paid, self.begun = sum(self.cost.values()), 0, time.perf_counter()
        self.last = self.begun

    def tick(self, unit):
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        self.paid, self.rest = self.paid + self.cost[unit], self.rest - self.cost[unit]
        return seconds, self.rest * (now - self.begun) / self.paid


def _size(store, units):
    return sum(len(store.plan.rows(batch)) for _, batch in units)
