"""A guidance sweep against a plain loop, and FID against torchmetrics, each pair in one process and in turns."""

import json
import sys
import tempfile
import time

from measure import Measurement, run

WEIGHTS, PROMPTS, STEPS, ROUNDS = (1, 3, 7.5), 32, 12, 2  # six batches, so that two workers end together
N, WIDTH = 800, 768


def benchmark():
    yield from sweeping()
    yield from distances()


def sweeping():
    found = json.loads(run(__file__, "sweep").output)
    task = f"{PROMPTS} prompts x {len(WEIGHTS)} weights"
    yield Measurement(f"a plain loop: a call and features a picture, {task}", found["plain"], "pictures/s")
    yield Measurement(f"evaluation.sweep, {task}", found["sweep"], "pictures/s")
    yield Measurement("evaluation.sweep, times as fast as the plain loop", found["sweep"] / found["plain"], "x", ">= 3")
    yield Measurement("evaluation.sweep, largest difference of a CLIP score", found["difference"], "", "<= 0.1")


def distances():
    found = json.loads(run(__file__, "fid").output)
    task = f"{N} pictures, {WIDTH} features"
    yield Measurement(f"torchmetrics FID, {task}", found["theirs"], "s")
    yield Measurement(f"metrics.fid, {task}", found["ours"], "s")
    yield Measurement("metrics.fid, share of the time of torchmetrics", found["ours"] / found["theirs"], "x", "<= 1")
    yield Measurement("metrics.fid, relative difference from torchmetrics", found["difference"], "", "<= 1e-4")


def compare_sweeps():
    """Pictures a second of both, the best of several rounds that take turns, and how far their CLIP scores differ."""
    import numpy as np

    from dislib import data_dir, load_pipeline
    from dislib.evaluation.judge import load_judge
    from dislib.images.prompts import read_prompts

    pipe, judge = load_pipeline("tiny"), load_judge()
    prompts = read_prompts(data_dir() / "prompts" / "prompts.jsonl")[:: 200 // PROMPTS][:PROMPTS]
    times, scores = {plain_loop: [], swept: []}, {}
    plain_loop(pipe, judge, prompts[:1])  # the first call of all is slower
    for _ in range(ROUNDS):
        for way in times:
            begin = time.perf_counter()
            scores[way] = way(pipe, judge, prompts)
            times[way].append(time.perf_counter() - begin)
    n = len(prompts) * len(WEIGHTS)
    difference = np.abs(np.subtract(scores[plain_loop], scores[swept])).max()
    return {"plain": n / min(times[plain_loop]), "sweep": n / min(times[swept]), "difference": float(difference)}


def plain_loop(pipe, judge, prompts):
    """What one writes with diffusers and transformers alone; CLIP scores, and features for FID."""
    import torch

    from dislib import white_noise
    from dislib.core.pipeline import latent_shape
    from dislib.core.schedulers import make_scheduler

    pipe.scheduler, scores, features = make_scheduler(pipe, "dpm"), [], []
    for weight in WEIGHTS:
        for seed, prompt in enumerate(prompts):
            z_T = white_noise([seed], latent_shape(pipe))
            image = pipe(prompt, latents=z_T, guidance_scale=weight, num_inference_steps=STEPS).images[0]
            inputs = judge.processor(text=[prompt], images=image, return_tensors="pt", padding=True, truncation=True)
            with torch.no_grad():
                seen = judge.model(**inputs)
                features.append(judge.model.vision_model(inputs["pixel_values"]).pooler_output)
            scores.append(100 * float((seen.image_embeds * seen.text_embeds).sum()))
    return scores


def swept(pipe, judge, prompts):
    from dislib.evaluation.sweep import read_sweep, sweep

    with tempfile.TemporaryDirectory() as out:
        options = {"guidance": WEIGHTS, "images_per_prompt": 1, "steps": STEPS, "pictures": 0}
        for _ in sweep(pipe, judge, prompts, out=out, **options):
            pass
        return [score for point in read_sweep(out).values() for score in point.clip.tolist()]


def compare_fids():
    """Seconds of one FID from features, each the best of several, in turns."""
    import numpy as np
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    from dislib.evaluation.metrics import fid

    class Identity(torch.nn.Module):
        num_features = WIDTH

        def forward(self, x):
            return x

    def theirs():
        metric = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
        metric.update(torch.from_numpy(x), real=True)
        metric.update(torch.from_numpy(y), real=False)
        return float(metric.compute())

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, WIDTH)), 1.1 * rng.normal(size=(N, WIDTH)) + 0.1
    times, values = {theirs: [], fid: []}, {}
    for _ in range(3):
        for way in times:
            begin = time.perf_counter()
            values[way] = way(x, y) if way is fid else way()
            times[way].append(time.perf_counter() - begin)
    difference = abs(values[fid] - values[theirs]) / values[theirs]
    return {"ours": min(times[fid]), "theirs": min(times[theirs]), "difference": difference}


if __name__ == "__main__":
    print(json.dumps({"sweep": compare_sweeps, "fid": compare_fids}[sys.argv[1]]()))
