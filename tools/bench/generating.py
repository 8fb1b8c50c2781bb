"""`generate` against a plain loop: one call of the pipeline for each picture, same scheduler, steps and latents."""

import json
import sys
import time

from measure import Measurement, run

GUIDANCE, STEPS = 3.0, 12
PROMPTS, SEEDS, ROUNDS = 8, 4, 3


def benchmark():
    found = json.loads(run(__file__, PROMPTS, SEEDS, ROUNDS).output)
    task = f"{PROMPTS * SEEDS} pictures, {STEPS} steps, guidance {GUIDANCE:g}"
    yield Measurement(f"a plain loop of pipeline calls, {task}", found["plain"], "pictures/s")
    yield Measurement(f"generate, {task}", found["batched"], "pictures/s")
    yield Measurement("generate, times as fast as the plain loop", found["batched"] / found["plain"], "x", ">= 2")
    yield Measurement("  the same by processor time, whoever else is at work", found["by_processor"], "x", ">= 2")
    yield Measurement("generate, largest pixel difference from the plain loop", found["difference"], "of 255", "<= 2")


def compare(n_prompts, n_seeds, rounds):
    """Pictures a second of both, the best of several rounds that take turns, how their processor times compare, and
    their largest pixel difference."""
    from dislib import data_dir, generate, load_pipeline
    from dislib.images.prompts import read_prompts

    pipe = load_pipeline("tiny")
    prompts, seeds = read_prompts(data_dir() / "prompts" / "prompts.jsonl")[:n_prompts], list(range(n_seeds))

    def batched():
        batches = generate(pipe, prompts, seeds, guidance=GUIDANCE, steps=STEPS)
        return [sample.image for batch in batches for sample in batch]

    def plain():
        return plain_loop(pipe, prompts, seeds)

    plain_loop(pipe, prompts[:1], seeds[:1])  # the first call of all is slower
    times, images = {plain: [], batched: []}, {}
    for _ in range(rounds):
        for way, seconds in times.items():
            begin = time.perf_counter(), time.process_time()
            images[way] = way()
            seconds.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    (plain_clock, plain_processor), (clock, processor) = (map(min, zip(*times[way])) for way in (plain, batched))
    n = n_prompts * n_seeds
    return {
        "plain": n / plain_clock,
        "batched": n / clock,
        "by_processor": plain_processor / processor,
        "difference": largest_difference(images[plain], images[batched]),
    }


def plain_loop(pipe, prompts, seeds):
    """What one writes with diffusers alone."""
    from dislib import white_noise
    from dislib.core.pipeline import latent_shape
    from dislib.core.schedulers import make_scheduler

    pipe.scheduler = make_scheduler(pipe, "dpm")
    images = []
    for prompt in prompts:
        for seed in seeds:
            latents = white_noise([seed], latent_shape(pipe))
            images += pipe(prompt, latents=latents, guidance_scale=GUIDANCE, num_inference_steps=STEPS).images
    return images


def largest_difference(some, others):
    import numpy as np

    pairs = ((np.asarray(a, dtype=int), np.asarray(b, dtype=int)) for a, b in zip(some, others, strict=True))
    return max(int(np.abs(a - b).max()) for a, b in pairs)


if __name__ == "__main__":
    print(json.dumps(compare(*map(int, sys.argv[1:]))))
