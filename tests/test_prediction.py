"""Models that predict v: the identities, the loss, the starts and the samplers, in closed form."""

import dataclasses
import math

import pytest
import torch
from helpers import build_pipeline, oracle_pipeline

from dislib.core.gaussian import Law, ideal_eps, noisy, start_law
from dislib.core.prediction import check_kind, eps_of, velocity, x0_of
from dislib.core.prior import StylePrior, first_timestep
from dislib.core.sampling import generate
from dislib.core.schedulers import SCHEDULERS, make_scheduler
from dislib.core.stochastic import generate_stochastic
from dislib.errors import ModelError
from dislib.training.examples import TrainingSet
from dislib.training.finetune import finetune
from dislib.training.objective import loss_for, noise_loss, velocity_loss

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")

SHAPE = (4, 16, 16)
DATA, NOISE = Law(1.5, 0.4), Law(1.2, 0.5)


def draws(n=2, seed=0):
    z, eps = torch.randn(2, n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z, 1.2 + 0.5 * eps  # noise with a mean and a spread: nothing may need it to be white


# --- identities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abar", [1e-4, 0.0047, 0.5, 0.9])
def test_picture_and_noise_come_back_from_v_and_from_eps(abar):
    (z, eps), a, b = draws(), math.sqrt(abar), math.sqrt(1 - abar)
    z_t, v = a * z + b * eps, velocity(z, eps, a, b)
    for kind, output in (("v_prediction", v), ("epsilon", eps)):
        assert torch.allclose(x0_of(output, z_t, a, b, kind=kind), z)
        assert torch.allclose(eps_of(output, z_t, a, b, kind=kind), eps)
    assert torch.allclose(z_t**2 + v**2, z**2 + eps**2)  # a turn keeps lengths


def test_pure_noise_still_tells_the_picture_to_v():
    z, eps = draws()
    assert torch.equal(x0_of(velocity(z, eps, 0.0, 1.0), eps, 0.0, 1.0, kind="v_prediction"), z)


def test_diffusers_has_the_same_velocity():
    scheduler, (z, eps) = build_pipeline().scheduler, draws()
    t = torch.tensor([3, 700])
    a, b = (x[:, None, None, None] for x in ((scheduler.alphas_cumprod[t]).sqrt(), (1 - scheduler.alphas_cumprod[t]).sqrt()))
    assert torch.allclose(velocity(z, eps, a, b), scheduler.get_velocity(z, eps, t), atol=1e-6)


def test_another_prediction_is_named():
    with pytest.raises(ModelError, match="this model predicts sample; only models that predict epsilon or v_prediction"):
        check_kind("sample")


# --- the loss ---------------------------------------------------------------------------------------------------------


class Says(torch.nn.Module):
    """A U-Net that says what it is told."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, z_t, t, context):
        return dataclasses.make_dataclass("Out", ["sample"])(self.answer)


def v_schedule():
    scheduler = build_pipeline().scheduler
    scheduler.register_to_config(prediction_type="v_prediction")
    return scheduler


def test_the_loss_is_zero_for_v_and_only_for_v():
    scheduler, (z, eps), t = v_schedule(), draws(), torch.tensor([10, 900])
    v = scheduler.get_velocity(z, eps, t)
    assert loss_for(scheduler) is velocity_loss and loss_for(build_pipeline().scheduler) is noise_loss
    assert velocity_loss(Says(v), scheduler, z, eps, t, None).abs().max() < 1e-6
    assert velocity_loss(Says(eps), scheduler, z, eps, t, None)[1] > 0.1  # with little noise, v is near eps


def test_an_error_in_v_weighs_as_the_same_error_in_eps_over_the_signal():
    """v' = v + d means eps' = eps + a d: the loss on v is the loss on eps divided by abar."""
    scheduler, (z, eps), t = v_schedule(), draws(), torch.tensor([10, 900])
    d = torch.randn_like(z)
    a = scheduler.alphas_cumprod[t].sqrt()[:, None, None, None]
    on_v = velocity_loss(Says(scheduler.get_velocity(z, eps, t) + d), scheduler, z, eps, t, None)
    on_eps = noise_loss(Says(eps + a * d), scheduler, z, eps, t, None)
    assert torch.allclose(on_v, on_eps / scheduler.alphas_cumprod[t], rtol=1e-4)
    weighed = velocity_loss(Says(scheduler.get_velocity(z, eps, t) + d), scheduler, z, eps, t, None, snr_gamma=5.0)
    snr = scheduler.alphas_cumprod[t] / (1 - scheduler.alphas_cumprod[t])
    assert torch.allclose(weighed, on_v * snr.clamp(max=5) / (snr + 1), rtol=1e-4)


def v_pipeline(seed=0):
    pipe = build_pipeline(seed=seed)
    pipe.scheduler.register_to_config(prediction_type="v_prediction")
    return pipe


def test_a_v_model_is_tuned_with_style_noise_and_learns_v():
    pipe = v_pipeline()
    pipe.style_prior = None
    latents = 1.5 + 0.4 * torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(1))
    examples = TrainingSet.from_latents(pipe, latents, ["a b"] * 8)
    losses = [r.loss for r in finetune(pipe, examples, noise=examples.prior(pipe), max_train_steps=60,
                                       train_batch_size=8, learning_rate=1e-3)]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


# --- starts and samplers ----------------------------------------------------------------------------------------------


def ideal(kind):
    """A pipeline whose U-Net is the ideal one of Gaussian pictures and style noise, and says eps or v."""

    def says(z, abar):
        a, b = math.sqrt(abar), math.sqrt(1 - abar)
        eps = ideal_eps(z, float(abar), DATA, NOISE)
        return eps if kind == "epsilon" else (eps - b * z) / a  # v = a eps - b x0, and x0 = (z - b eps) / a

    pipe = oracle_pipeline(says)
    pipe.scheduler.register_to_config(prediction_type=kind)
    return pipe


PRIOR = StylePrior(torch.full(SHAPE, NOISE.mean), torch.full(SHAPE, NOISE.std))


def latents_of(kind, scheduler, start):
    batches = generate(ideal(kind), ["a"], [0, 1], prior=PRIOR, start=start, scheduler=scheduler, guidance=1, steps=20)
    return torch.stack([sample.latent for batch in batches for sample in batch])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_sampler_goes_the_same_way_for_both_predictions(scheduler):
    pytest.importorskip("scipy") if scheduler == "lms" else None
    found = latents_of("v_prediction", scheduler, "matched")
    # diffusers' PNDM averages the v of several timesteps, whose means differ, before it makes eps of them.
    tolerance = 0.3 if scheduler == "pndm" else 1e-4
    assert torch.allclose(found, latents_of("epsilon", scheduler, "matched"), atol=tolerance)
    assert found.mean() == pytest.approx(DATA.mean, abs=0.08)


@pytest.mark.parametrize("start", ["white", "paper", "matched", "leak"])
def test_the_starts_are_those_of_an_eps_model(start):
    """z_T of training is a z + b eps whatever the U-Net predicts of it, and the starts know z_T alone."""
    made = {}
    for kind in ("epsilon", "v_prediction"):
        pipe = build_pipeline()
        pipe.scheduler.register_to_config(prediction_type=kind)
        made[kind] = PRIOR.start(range(40), start, scheduler=make_scheduler(pipe))
    assert torch.equal(made["epsilon"], made["v_prediction"])
    _, a, _ = first_timestep(make_scheduler(v_pipeline()), 12)
    law = Law(0.0, 1.0) if start == "white" else start_law(start, DATA, NOISE, a**2)
    assert made["epsilon"].mean() == pytest.approx(law.mean, abs=0.02)
    assert made["epsilon"].std() == pytest.approx(law.std, abs=0.02)


def test_the_matched_start_has_the_law_of_training():
    _, a, _ = first_timestep(make_scheduler(v_pipeline()), 12)
    assert start_law("matched", DATA, NOISE, a**2) == noisy(NOISE, NOISE, a**2)


def test_without_any_signal_left_paper_and_matched_are_one():
    """Zero terminal SNR, for which v was made: a = 0, so the leak is white and the two style starts are equal."""
    assert start_law("matched", DATA, NOISE, 0.0) == start_law("paper", DATA, NOISE, 0.0) == NOISE
    assert start_law("leak", DATA, NOISE, 0.0) == Law(0.0, 1.0)


def test_the_corrected_stochastic_step_knows_v():
    made = []
    for kind in ("epsilon", "v_prediction"):
        pipe = ideal(kind)
        oracle = pipe.unet.forward
        pipe.unet.forward = lambda z, t, oracle=oracle, **_: oracle(z, t)
        batches = generate_stochastic(pipe, ["a"], [0], prior=PRIOR, guidance=1, steps=10)
        made.append(next(iter(batches))[0].latent)
    assert torch.allclose(*made, atol=2e-3)
