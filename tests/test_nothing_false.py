"""The right value, or a refusal by name, where something wrong would be made without a word; a table for each kind."""

import json

import diffusers
import pytest
import torch
from helpers import build_pipeline, images, shared_pipeline

from dislib import TrainingSet, finetune, generate
from dislib.core.pipeline import separate
from dislib.core.schedulers import SCHEDULERS, make_scheduler
from dislib.errors import SamplerError
from dislib.loading import load_pipeline
from dislib.training.objective import draw_batch, noise_loss
from dislib.training.settings import Settings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]

WORDS = ["a", "b", "c", "d"]


# --- samplers ---------------------------------------------------------------------------------------------------------

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
FILES = {
    "ddim": ("DDIMScheduler", {}),
    "ddim in full": ("DDIMScheduler", {"clip_sample": True, "set_alpha_to_one": True, "thresholding": True}),
    "pndm": ("PNDMScheduler", {}),
    "pndm of the hub": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "unipc bent": ("UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh1", "use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "deis": ("DEISMultistepScheduler", {"solver_order": 1}),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return build_pipeline().save_pretrained(folder := tmp_path_factory.mktemp("saved")) or folder


def picture(pipe, name):
    return next(generate(pipe, ["a"], [0], scheduler=name, steps=4))[0].latent


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_named_sampler_makes_one_picture_whatever_the_models_file_says_of_other_samplers(saved, name):
    pipe = load_pipeline(saved, device="cpu")
    wanted = picture(pipe, name)
    for kind, (class_name, more) in FILES.items():
        pipe.scheduler = getattr(diffusers, class_name)(**NOISE, **more)
        assert torch.equal(picture(pipe, name), wanted), kind
        (saved / "scheduler" / "scheduler_config.json").write_text(
            json.dumps({"_class_name": class_name, **NOISE, **more})
        )
        assert torch.equal(picture(load_pipeline(saved, device="cpu"), name), wanted), kind


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("own", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "DDIMScheduler"])
def test_a_noise_schedule_that_is_a_class_s_own_default_is_kept(name, own):
    pipe = build_pipeline()
    pipe.scheduler = getattr(diffusers, own)()
    assert torch.allclose(make_scheduler(pipe, name).alphas_cumprod, pipe.scheduler.alphas_cumprod)


def test_a_sampler_that_cannot_follow_the_noise_schedule_is_refused():
    pipe = build_pipeline()
    pipe.scheduler = diffusers.DDIMScheduler(**NOISE, rescale_betas_zero_snr=True)
    with pytest.raises(SamplerError) as error:
        make_scheduler(pipe, "heun")
    assert "HeunDiscreteScheduler" in str(error.value)
    assert float(make_scheduler(pipe, "dpm").alphas_cumprod[-1]) < 1e-6


@pytest.mark.parametrize("class_name", sorted({class_name for class_name, _ in SCHEDULERS.values()}))
def test_the_loss_is_the_same_whatever_scheduler_the_pipeline_carries(class_name):
    pipe = build_pipeline()
    learnt = TrainingSet.from_images(pipe, images(2), WORDS[:2])
    batch = draw_batch(learnt, 2, 1, "white", Settings(learning_rate=1e-3))
    with torch.no_grad():
        wanted = noise_loss(pipe.unet, pipe.scheduler, *batch)
        assert torch.allclose(noise_loss(pipe.unet, getattr(diffusers, class_name)(**NOISE), *batch), wanted)


# --- random numbers ---------------------------------------------------------------------------------------------------


def lora(seed=0, steps=1):
    pipe = separate(shared_pipeline())
    learnt = TrainingSet.from_images(pipe, images(4), WORDS)
    list(finetune(pipe, learnt, rank=2, seed=seed, max_train_steps=steps, train_batch_size=2, learning_rate=1e-3))
    return {name: value for name, value in pipe.unet.named_parameters() if "lora_" in name}


def test_a_lora_comes_from_its_seed_to_the_last_bit_and_leaves_the_global_numbers_alone():
    shared_pipeline()  # which is built from a seed of its own
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one = lora()
    assert torch.equal(torch.rand(3), wanted)
    torch.manual_seed(6)
    again, other = lora(), lora(seed=1)
    assert one and all(torch.equal(value, again[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_first_weights_of_a_lora_have_pefts_law_and_differ_from_layer_to_layer():
    from dislib.training.trainer import make_trainable

    named = make_trainable(separate(shared_pipeline()).unet, Settings(rank=4, learning_rate=1e-3))
    first = torch.cat([value.detach().flatten() for name, value in named.items() if "lora_A" in name])
    assert abs(float(first.std()) - 0.25) < 0.01 and abs(float(first.mean())) < 0.01
    assert all(not value.any() for name, value in named.items() if "lora_B" in name)
    alike = [value for name, value in named.items() if "lora_A" in name and value.shape == (4, 16)]
    assert len({tuple(value.flatten().tolist()) for value in alike}) == len(alike) > 1


# --- a prior of what is drawn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [WORDS, ["a left", "b", "Right of c", "d"], ["a left", "a right", "LEFT", "b right"]])
def test_the_priors_moments_are_those_of_the_latents_as_drawn(words):
    pipe = shared_pipeline()
    learnt = TrainingSet.from_images(pipe, images(4), words, random_flip=True)
    z, *_ = draw_batch(learnt, 8000, 1, "white", Settings(learning_rate=1e-3))
    prior = learnt.prior(pipe)
    spread = z.std(0).max()
    assert torch.allclose(prior.mean, z.mean(0), atol=0.05 * spread)
    assert torch.allclose(prior.std, z.std(0), rtol=0.2, atol=0.05 * spread)
    if all("left" in text.lower() or "right" in text.lower() for text in words):
        plain = TrainingSet.from_images(pipe, images(4), words).prior(pipe)
        assert torch.equal(prior.mean, plain.mean) and torch.equal(prior.std, plain.std)


def test_priors_of_other_turned_images_have_other_identities():
    pipe = shared_pipeline()
    of = lambda words: TrainingSet.from_images(pipe, images(4), words, random_flip=True).prior(pipe).identity()
    assert of(WORDS) == of(["e", "f", "g", "h"]) != of(["a left", *WORDS[1:]]) != of([*WORDS[:3], "left"])
