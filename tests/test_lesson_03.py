"""What lesson 03 claims, asserted on the shipped model: two short trainings, and the LoRAs that are shipped."""

import pytest
import torch

from dislib import TrainingSet, data_dir, finetune, load_pipeline, paint
from dislib.core import gaussian
from dislib.core.pipeline import pipeline_fingerprint, separate
from dislib.core.prior import first_timestep
from dislib.core.schedulers import make_scheduler
from dislib.evaluation.judge import load_judge
from dislib.images.images import list_images, load_image
from dislib.lessons.lesson_02 import claim_prompt_survives, claim_things_are_told
from dislib.lessons.lesson_03 import claim_colour_hangs_on_seed, claim_nearer_to_style, claim_own_leak
from dislib.lessons.live import together
from dislib.training.result import read
from recipes.loras import LORAS

PROMPTS = ["a red house in the meadow", "a blue car on the street", "a yellow boat on the sea", "a pink cat in the snow"]
SEEDS = [0, 1, 2, 3]
SHIPPED = data_dir() / "finetuned"


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("tiny")


@pytest.fixture(scope="module")
def sketches(pipe):
    return TrainingSet.from_folder(pipe, data_dir() / "styles" / "sketch" / "train", n=50)


@pytest.fixture(scope="module")
def prior(pipe, sketches):
    return sketches.prior(pipe)


@pytest.fixture(scope="module")
def shown():
    files = list_images(data_dir() / "styles" / "sketch" / "test").files
    return [load_image(file, 128) for file in files[:40]]


@pytest.fixture(scope="module")
def tuned(pipe, sketches, prior):
    """Two U-Nets after 60 steps: with white noise and with style noise."""
    pipes = {"white": separate(pipe), "style": separate(pipe)}
    how = {"max_train_steps": 60, "train_batch_size": 8, "learning_rate": 3e-4}
    noises = {"white": "white", "style": prior}
    for _ in together({name: finetune(pipes[name], sketches, noise=noises[name], **how) for name in pipes}):
        pass
    return pipes


@pytest.fixture(scope="module")
def heaps(pipe, tuned, prior):
    """From (training, start) to rows of prompts, columns of seeds."""

    wanted = [("white", "white"), ("white", "leak"), ("style", "white"), ("style", "paper"), ("style", "matched")]
    how = {"prior": prior, "prompts": PROMPTS, "seeds": SEEDS}
    found = {(name, start): paint(tuned[name], start=start, **how) for name, start in wanted}
    return found | {("base", "paper"): paint(pipe, start="paper", **how)}


def flat(rows):
    return [image for row in rows for image in row]


@pytest.mark.parametrize(
    "ours, rival",
    [
        (("style", "paper"), ("white", "white")),  # style noise against plain fine-tuning
        (("white", "leak"), ("white", "white")),  # the fair rival
        (("style", "paper"), ("style", "white")),  # a tuned U-Net from the wrong noise
        (("style", "matched"), ("style", "paper")),  # the matched start
    ],
)
def test_which_is_nearer_to_the_style(heaps, shown, ours, rival):
    assert (claim := claim_nearer_to_style(flat(heaps[ours]), flat(heaps[rival]), shown)), str(claim)


def test_from_white_noise_the_colour_hangs_on_the_seed(heaps, shown):
    claim = claim_colour_hangs_on_seed(heaps["white", "white"], heaps["style", "matched"], shown)
    assert claim, str(claim)


def test_only_the_tuned_model_can_read_the_papers_start(heaps):
    assert (claim := claim_prompt_survives(heaps["style", "paper"], heaps["base", "paper"])), str(claim)


def test_the_things_can_be_told_by_the_tuned_model_alone(heaps):
    asked = [prompt for prompt in PROMPTS for _ in SEEDS]
    ours, rival = flat(heaps["style", "paper"]), flat(heaps["base", "paper"])
    assert (claim := claim_things_are_told(ours, asked, load_judge(), control=rival)), str(claim)


def test_style_noise_brings_the_drawing_as_well(heaps, shown):
    """A start alone can bring colours; this has no colour in it."""
    claim = claim_nearer_to_style(flat(heaps["style", "matched"]), flat(heaps["white", "white"]), shown, look="drawing")
    assert claim, str(claim)


def test_the_method_has_a_leak_of_its_own_and_the_matched_start_has_none(pipe, sketches, prior):
    scheduler = make_scheduler(pipe)
    _, a, b = first_timestep(scheduler, 12)
    z_T = a * sketches.latents + b * prior.sample(range(50))
    paper, matched = (prior.start(range(100, 200), k, scheduler=scheduler) for k in ("paper", "matched"))
    assert (claim := claim_own_leak(z_T, paper, prior.mean, control=matched)), str(claim)
    assert claim_own_leak(z_T, paper, prior.mean) and not claim_own_leak(z_T, matched, prior.mean)
    assert claim.value == pytest.approx(a + b - 1, abs=0.03)
    assert gaussian.share_of(matched.mean(0), prior.mean) == pytest.approx(a + b, abs=0.02)


# --- what is shipped --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LORAS)
def test_a_shipped_lora_belongs_to_this_base_and_these_pictures(pipe, name):
    record, (style, _) = read(SHIPPED / name), LORAS[name]
    assert record["base"] == pipeline_fingerprint(pipe), "train it again: python -m recipes baselines, loras"
    learnt = TrainingSet.from_folder(pipe, data_dir() / "styles" / style / "train", n=50)
    assert record["examples"] == learnt.fingerprint() and record["settings"]["max_train_steps"] == 1000
    model = load_pipeline(SHIPPED / name)
    assert (model.style_prior is None) == name.endswith("-plain")
    if model.style_prior:
        assert torch.allclose(model.style_prior.mean, learnt.prior(pipe).mean, atol=1e-3)
