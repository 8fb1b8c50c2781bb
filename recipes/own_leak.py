"""Recipe of ``data/results/own_leak.json`` and ``stochastic.json``: two things that style noise does to sampling.

1. The method's own leak. Training shows z_T of mean (a + b) mu, the paper's start has the mean mu, so the mean of the
   pictures falls short of the style's. In closed form, and on the model, with the paper's start and with the matched one.
2. Stochastic samplers. Fresh noise without the style's mean makes the mean fade. In closed form for one dimension of
   line art on Stable Diffusion's schedule, and on the model, with the corrected step beside the wrong ones.

A U-Net is tuned with style noise for a few hundred steps first; what has been tuned is kept in the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DDIMScheduler

from dislib.core.gaussian import WHITE, Law, follow, own_leak, share_of, start_law
from dislib.core.latents import encode
from dislib.core.pipeline import image_size
from dislib.core.prior import StylePrior, first_timestep
from dislib.core.sampling import generate
from dislib.core.schedulers import make_scheduler
from dislib.core.stochastic import abars_of, generate_stochastic
from dislib.evaluation.judge import image_features, load_judge
from dislib.evaluation.metrics import fid
from dislib.evaluation.reference import Reference
from dislib.evaluation.table import FLOOR
from dislib.files import data_dir, make_folder, write_json
from dislib.images.images import list_images, load_image
from dislib.images.prompts import read_captions
from dislib.loading import load_pipeline
from dislib.training.examples import TrainingSet
from dislib.training.finetune import finetune
from dislib.training.result import RECORD

COMMAND = "python -m recipes own_leak"
TUNED = ("sketch", "comic")
STEPS, IMAGES, RATE = 300, 50, 3e-4  # of the fine-tuning
GUIDANCE = 1.0  # the law the U-Net learnt, and nothing else
SAMPLING_STEPS, FRESH_STEPS = 12, 40
LINE_ART = Law(1.70, 0.45)  # the first channel of line art on Stable Diffusion 1.4


def tune(style: str, folder: Path, steps: int) -> None:
    """Fine-tune with style noise, or go on with it, or find it done."""
    if not (folder / RECORD).exists():
        pipe = load_pipeline("tiny", device="cpu")
        examples = TrainingSet.from_folder(pipe, data_dir() / "styles" / style / "train", n=IMAGES)
        options = {"max_train_steps": steps, "learning_rate": RATE, "checkpointing_steps": 100}
        for _ in finetune(pipe, examples, noise=examples.prior(pipe), out=folder, **options):
            pass


def latents_of(pipe, style: str, split: str) -> torch.Tensor:
    files = list_images(data_dir() / "styles" / style / split).files
    return encode(pipe, [load_image(file, image_size(pipe)) for file in files])


# --- the method's own leak ------------------------------------------------------------------------------------------


def predicted(latents: torch.Tensor, prior: StylePrior, abar: float) -> dict:
    """The shift of the pictures' mean as a share of mu: for a Gaussian of the style's own spread, element by element
    and with correlations, and for one of any spread, which is how a model that knows all colours may read it."""
    a, b = abar**0.5, (1 - abar) ** 0.5
    return {
        "element by element": 1 - (a + b),
        "with correlations": share_of(own_leak(latents, prior, abar), prior.mean),
        "read in full": (1 - (a + b)) / a,
    }


def measured(samples: list, target: torch.Tensor, prior: StylePrior, distance) -> dict:
    """How far the mean of samples lies from the mean of the style's held-out pictures."""
    shift = torch.stack([sample.latent for sample in samples]).mean(0) - target.mean(0)
    return {
        "pictures": len(samples),
        "share of mu": share_of(shift, prior.mean),
        "shift of channel means": [round(float(v), 4) for v in shift.mean((1, 2))],
        "fid": distance([sample.image for sample in samples]),
    }


def leak_of(pipe, style: str, count: int, distance) -> dict:
    """Both starts on one tuned model, picture i of the held-out caption i from seed i."""
    prior, scheduler = pipe.style_prior, make_scheduler(pipe)
    _, a, b = first_timestep(scheduler, SAMPLING_STEPS)
    train, test = latents_of(pipe, style, "train"), latents_of(pipe, style, "test")
    known = read_captions(data_dir() / "styles" / style / "test")
    captions = [known[name] for name in sorted(known)][:count]
    found = {
        "a + b": a + b,
        "predicted": predicted(torch.cat([train, test]), prior, a**2),
        "training images against held-out ones": share_of(train.mean(0) - test.mean(0), prior.mean),
    }
    for start in ("paper", "matched"):
        z_T = prior.start(range(len(captions)), start, scheduler=scheduler, steps=SAMPLING_STEPS)
        batches = generate(pipe, captions, [0], latents=z_T, guidance=GUIDANCE, steps=SAMPLING_STEPS)
        found[start] = measured([s for batch in batches for s in batch], test, prior, distance)
    return found


# --- stochastic samplers --------------------------------------------------------------------------------------------

VARIANTS = {  # eta and the law of the fresh noise, see `stochastic.fresh_noise`
    "deterministic": (0.0, "centred"),
    "unit noise": (1.0, "unit"),
    "zero-mean style noise": (1.0, "zero-mean"),
    "centred step": (1.0, "centred"),
}


def in_one_dimension(steps: int = 50) -> dict:
    """(mean, std) of DDIM on Stable Diffusion's schedule as diffusers ships it, for Gaussian line art."""
    options = {"beta_schedule": "scaled_linear", "set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False}
    abars, _ = abars_of(DDIMScheduler(beta_start=0.00085, beta_end=0.012, **options), steps)
    laws = {"centred": LINE_ART, "zero-mean": Law(0.0, LINE_ART.std), "unit": WHITE}
    found = {
        name: follow(LINE_ART, abars, LINE_ART, LINE_ART, eta=eta, fresh=laws[fresh])
        for name, (eta, fresh) in VARIANTS.items()
    }
    matched = follow(start_law("matched", LINE_ART, LINE_ART, abars[0]), abars, LINE_ART, LINE_ART)
    found |= {"deterministic, matched start": matched, "target": LINE_ART}
    return {name: {"mean": law.mean, "std": law.std} for name, law in found.items()}


def fresh_noise_on(pipe, style: str, prompts: int, seeds: int, distance) -> dict:
    """All variants on one tuned model, from the matched start: same prompts, same seeds."""
    prior, test = pipe.style_prior, latents_of(pipe, style, "test")
    known = read_captions(data_dir() / "styles" / style / "test")
    captions = [known[name] for name in sorted(known)][:prompts]
    found = {"held-out pictures": {"spread": spread(test, test)}}
    for name, (eta, fresh) in VARIANTS.items():
        batches = generate_stochastic(
            pipe, captions, range(seeds), eta=eta, fresh=fresh, guidance=GUIDANCE, steps=FRESH_STEPS
        )
        samples = [s for batch in batches for s in batch]
        made = torch.stack([s.latent for s in samples])
        found[name] = measured(samples, test, prior, distance) | {"spread": spread(made, test)}
    return found


def spread(latents: torch.Tensor, test: torch.Tensor) -> float:
    """Root mean square over elements of the std over pictures, as a share of that of the held-out pictures."""
    return float(latents.var(0).mean().sqrt() / test.var(0).mean().sqrt())


# --- both -----------------------------------------------------------------------------------------------------------


def distance_to(style: str):
    """A function of pictures: their FID to fresh renders, and that of as many other renders; None without them."""
    path = data_dir() / "results" / "reference" / f"{style}.safetensors"
    if not path.exists():
        return lambda pictures: None
    judge = load_judge(device="cpu")
    reference = Reference.of(style, judge)

    def distance(pictures):
        floor = fid(reference.others[FLOOR]["pooled"][: len(pictures)], reference.pooled)
        return {"value": round(fid(image_features(pictures, judge), reference.pooled), 2), "floor": round(floor, 2)}

    return distance


def run(
    *,
    folder: Path,
    out: Path = Path("data/results"),
    styles: tuple[str, ...] = TUNED,
    steps: int = STEPS,
    count: int = 100,
    fresh: tuple[int, int] = (8, 4),
) -> Iterator[dict]:
    """Tune, measure, write both files; yields a record for each style and part."""
    made = {
        "command": COMMAND,
        "fine-tuning": {"steps": steps, "images": IMAGES, "batch": 8, "learning rate": RATE},
        "guidance": GUIDANCE,
    }
    leak, stochastic = {}, {}
    for style in styles:
        tune(style, folder / style, steps)
        pipe, distance = load_pipeline(folder / style, device="cpu"), distance_to(style)
        leak[style] = leak_of(pipe, style, count, distance)
        yield {"style": style} | {k: leak[style][k]["share of mu"] for k in ("paper", "matched")}
        stochastic[style] = fresh_noise_on(pipe, style, *fresh, distance)
        yield {"style": style} | {name: stochastic[style][name]["share of mu"] for name in VARIANTS}
    make_folder(out)
    write_json(out / "own_leak.json", {**made, "sampling steps": SAMPLING_STEPS, "styles": leak})
    one = {name: {k: round(v, 4) for k, v in law.items()} for name, law in in_one_dimension().items()}
    steps_of = {"sampling steps": FRESH_STEPS, "start": "matched"}
    write_json(out / "stochastic.json", {**made, **steps_of, "one dimension": one, "styles": stochastic})
    yield {"in one dimension": {name: f"{v['mean']:.2f} +- {v['std']:.2f}" for name, v in one.items()}}
