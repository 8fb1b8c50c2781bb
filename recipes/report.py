"""Measures the shipped models on pictures that training never saw; writes ``report.json`` and the model card."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import Image

from dislib.core.latents import encode, white_noise
from dislib.core.pipeline import latent_shape
from dislib.core.sampling import generate
from dislib.core.signal import readability
from dislib.evaluation.judge import image_features, load_judge, zero_shot
from dislib.evaluation.metrics import fid
from dislib.files import write_atomic, write_checksums, write_json
from dislib.images.looks import measure_grid
from dislib.lessons.seed_share import seed_share
from dislib.loading import load_pipeline
from dislib.world import COLOURS, GROUNDS, STYLES, THINGS, TIMES, paint
from dislib.world.scene import GROUND_PHRASES, TIME_PHRASES

from . import vae
from .cards import model_card
from .pictures import FRESH, scene

REPORT_STREAM = 300  # fresh scenes for the judge; 301, 302, ... for the styles

#        measure: (floor, aim)
GOALS = {
    "vae natural": (25, 28),
    "vae styles, lowest": (21, 23),
    "vae photographs": (17, 19),
    "thing": (75, 90),
    "colour": (65, 85),
    "ground": (80, 90),
    "time": (80, 90),
    "judge on styles, lowest": (95, 98),
    "fid over floor, lowest": (20, 50),
    "seed share": (0.25, None),
    "readability": (1.3, 1.65),
    "seconds a picture": (1.0, 0.5),
}


def vae_quality(pipe) -> dict:
    """PSNR in dB of every kind of picture."""
    return {kind: round(vae.psnr(x, vae.reconstruct(pipe.vae, x)), 2) for kind, x in vae.checks().items()}


def prompt_following(pipe, judge, count: int = 400, guidance: float = 5.0) -> dict:
    """Percentage of pictures in which the judge finds the prompt's thing, colour, ground and time."""
    rng = np.random.default_rng(400)
    rows = [
        tuple(options[int(rng.integers(len(options)))] for options in (THINGS, COLOURS, GROUNDS, TIMES))
        for _ in range(count)
    ]
    prompts = [
        f"a {c} {t} {GROUND_PHRASES[g][0]} {TIME_PHRASES[d][0]}".replace("a orange", "an orange") for t, c, g, d in rows
    ]
    z_T = white_noise(range(count), latent_shape(pipe))  # a seed of its own for every prompt
    made = [
        s.image for batch in generate(pipe, prompts, [0], latents=z_T, guidance=guidance, batch_size=16) for s in batch
    ]
    return judged(judge, made, rows) | {"prompts": count, "guidance": guidance}


def judged(judge, pictures: list[Image.Image], rows: list[tuple]) -> dict:
    """Zero-shot accuracy in per cent for rows (thing, colour, ground, time); ``None`` is not asked for."""
    seen = image_features(pictures, judge, kind="projected")
    asks = {
        "thing": (THINGS, 0, "a {}".format),
        "colour": (COLOURS, 1, None),
        "ground": (GROUNDS, 2, lambda g: f"a picture {GROUND_PHRASES[g][0]}"),
        "time": (TIMES, 3, lambda d: f"a picture {TIME_PHRASES[d][0]}"),
    }
    out = {}
    for name, (options, column, text) in asks.items():
        hits = []
        for thing in THINGS if text is None else (None,):
            which = [i for i, row in enumerate(rows) if row[column] is not None and thing in (None, row[0])]
            if which:
                say = text or (lambda c, thing=thing: f"a {c} {thing}".replace("a orange", "an orange"))
                answers = zero_shot(seen[which], [say(o) for o in options], judge).choices
                hits += [options[a] == rows[i][column] for a, i in zip(answers, which)]
        if hits:
            out[name] = round(100 * float(np.mean(hits)), 1)
    return out


def judge_quality(judge, count: int = 800) -> dict:
    """The judge on real renders, and the Fréchet distances between styles over their floors."""
    out, features = {"accuracy": {}}, {}
    for k, style in enumerate((None, *STYLES)):
        halves = [[scene(i, REPORT_STREAM + k) for i in range(start, start + count)] for start in (0, count)]
        scenes = halves[0]
        pictures = [[paint(s, style) for s in half] for half in halves]
        rows = [
            (
                s.thing if s.second is None else None,  # with a second thing, two answers are right
                s.colour if style is None and s.medium is None else None,
                s.ground if style is None else None,
                s.time if style is None else None,
            )
            for s in scenes
        ]
        out["accuracy"][style or "natural"] = judged(judge, pictures[0], rows)
        features[style or "natural"] = [image_features(p, judge) for p in pictures]
    floors = {style: fid(*features[style]) for style in features}
    out["fid floor"] = {k: round(v, 4) for k, v in floors.items()}
    out["fid over floor"] = {
        f"{a}-{b}": round(fid(features[a][0], features[b][0]) / max(floors[a], floors[b]), 1)
        for a, b in itertools.combinations(STYLES, 2)
    }
    return out


def seeds_and_prompts(pipe, seeds: int = 12) -> dict:
    """The share of the thumbnails' variance left by the prompt that the initial latent explains, with its controls."""
    prompts = [
        "a red house in the meadow",
        "a blue car on the street",
        "a yellow boat on the sea",
        "a purple mushroom in the snow",
        "a white cat in the desert",
        "an orange balloon in the meadow",
        "a green tree in the snow",
        "a pink flower on the street",
    ]
    made = [s.image for batch in generate(pipe, prompts, range(seeds), guidance=3.0) for s in batch]
    grid = [made[p * seeds : (p + 1) * seeds] for p in range(len(prompts))]
    return {"seed share": plain(seed_share(measure_grid(grid))), "prompts": len(prompts), "seeds": seeds}


def plain(share) -> dict:
    """A `SeedShare` as plain numbers; of the shuffled pairings the mean."""
    return {k: round(float(np.mean(v)), 4) for k, v in share._asdict().items()}


def leak(pipe, count: int = 400) -> dict:
    z = encode(pipe, [paint(scene(i, FRESH)) for i in range(count)])
    found = readability(z, sqrt_abar=float(pipe.scheduler.alphas_cumprod[-1]) ** 0.5)
    return {
        "rms": round(found.rms, 3),
        "channels": [round(float(c), 3) for c in found.channels],
        "sqrt_abar_T": round(float(pipe.scheduler.alphas_cumprod[-1]) ** 0.5, 4),
        "beta_end": pipe.scheduler.config.beta_end,
    }


def speed(pipe, count: int = 16) -> float:
    """Seconds a picture: 12 DPM-Solver++ steps, w = 3, in batches of eight."""
    list(generate(pipe, ["a red house"], range(8)))
    begun = time.perf_counter()
    list(generate(pipe, ["a red house"], range(count), guidance=3.0, steps=12))
    return round((time.perf_counter() - begun) / count, 3)


def goals(found: dict) -> dict:
    """The measured values under the names of ``GOALS``."""
    v, j = found["vae psnr"], found["judge"]
    return {
        "vae natural": v["natural"],
        "vae styles, lowest": min(v[s] for s in STYLES),
        "vae photographs": v["photographs"],
        **{k: found["prompt following"][k] for k in ("thing", "colour", "ground", "time")},
        "judge on styles, lowest": min(j["accuracy"][s]["thing"] for s in STYLES),
        "fid over floor, lowest": min(j["fid over floor"].values()),
        "seed share": round(found["seeds"]["seed share"]["share"], 3),
        "readability": found["readability"]["rms"],
        "seconds a picture": found["seconds a picture"],
    }


def verdict(name: str, value: float) -> str:
    floor, aim = GOALS[name]
    reached = (lambda goal: value <= goal) if name == "seconds a picture" else (lambda goal: value >= goal)
    if name == "readability":
        return "floor" if 1.3 <= value <= 2.0 else "missed"
    return "aim" if aim is not None and reached(aim) else "floor" if reached(floor) else "missed"


def run(*, folder: Path, out: Path = Path("data")) -> Iterator[dict]:
    """Measure everything; yields one record a measure, then writes ``data/tiny-sd/report.json`` and its model card."""
    pipe, judge = load_pipeline(out / "tiny-sd"), load_judge(out / "judge")
    found = {}
    for name, measure in {
        "vae psnr": lambda: vae_quality(pipe),
        "readability": lambda: leak(pipe),
        "seconds a picture": lambda: speed(pipe),
        "judge": lambda: judge_quality(judge),
        "seeds": lambda: seeds_and_prompts(pipe),
        "prompt following": lambda: prompt_following(pipe, judge),
    }.items():
        found[name] = measure()
        yield {name: found[name]}
    found["goals"] = {
        k: {"value": v, "floor": GOALS[k][0], "aim": GOALS[k][1], "reached": verdict(k, v)}
        for k, v in goals(found).items()
    }
    write_json(out / "tiny-sd" / "report.json", found)
    write_atomic(out / "tiny-sd" / "README.md", model_card(found, sizes(pipe)).encode())
    write_checksums(out)  # of these two files as well
    yield {"goals": found["goals"]}


def sizes(pipe) -> dict[str, float]:
    """Millions of parameters of each part."""
    return {n: sum(p.numel() for p in getattr(pipe, n).parameters()) / 1e6 for n in ("vae", "text_encoder", "unet")}
