"""Sampling: against oracles that know the answer, against plain diffusers, and whatever must be refused."""

import math
import warnings

import diffusers
import numpy as np
import pytest
import torch
from helpers import build_pipeline, oracle_pipeline, shared_pipeline

from dislib.core.latents import white_noise
from dislib.core.prior import StylePrior, first_timestep
from dislib.core.sampling import generate, paint, truncated_part
from dislib.core.schedulers import SCHEDULERS, STOCHASTIC, latent_scale, make_scheduler
from dislib.errors import DislibError, DislibWarning, PriorError, PromptError, SamplerError

# diffusers' schedulers speak to numpy in its old ways; harmless, and thousands of lines.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")

SHAPE = (4, 16, 16)
SHIFTED = 0.006  # a shorter schedule, with sqrt(abar_T) = 0.21, where errors of scale are large enough to see


def _all(*arguments, **options):
    return [sample for batch in generate(*arguments, **options) for sample in batch]


def _grey_levels(a, b):
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max()


def _prior(mean=1.7, std=0.45, shape=SHAPE):
    return StylePrior(torch.full(shape, mean), torch.full(shape, std))


# --- oracles --------------------------------------------------------------------------------------------------


def _pointing_at(x0):
    """eps for a known clean latent: whatever z says, this is the noise that was added to x0."""
    return lambda z, abar: (z - abar.sqrt() * x0) / (1 - abar).sqrt()


@pytest.mark.parametrize("steps", [1, 2, 12])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_finds_the_known_picture(name, steps):
    x0 = white_noise([99], SHAPE)
    pipe = oracle_pipeline(_pointing_at(x0), beta_end=SHIFTED)
    samples = _all(pipe, ["a"], [0, 1], guidance=1, steps=steps, scheduler=name, prior=_prior())
    # DDIM, PNDM and DEIS stop at the least noise of the schedule, as Stable Diffusion does, not at none.
    tolerance = 0.15 if name in ("ddim", "pndm", "deis") else 1e-4
    for sample in samples:
        assert (sample.latent - x0[0]).abs().max() < tolerance


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_shows_the_unet_the_start_itself(name):
    pipe = oracle_pipeline(_pointing_at(white_noise([99], SHAPE)), beta_end=SHIFTED)
    _all(pipe, ["a"], [0, 1], guidance=1, scheduler=name, prior=_prior())
    torch.testing.assert_close(pipe.unet.calls[0], _prior().sample([0, 1]), atol=1e-5, rtol=1e-5)


def test_the_factor_is_a_few_per_cent_on_a_shifted_schedule():
    """The trap: `init_noise_sigma` alone would start the Euler family with less noise than the others."""
    shifted = build_pipeline(beta_end=SHIFTED)
    assert latent_scale(make_scheduler(shared_pipeline(), "euler"), 12) == pytest.approx(1.0023, abs=1e-4)
    assert 1.02 < latent_scale(make_scheduler(shifted, "euler"), 12) < 1.04
    assert latent_scale(make_scheduler(shifted, "dpm"), 12) == 1.0


def _gaussian(m, s, mu, sigma):
    """E[eps | z] for x0 ~ N(m, s^2), eps ~ N(mu, sigma^2), z = a x0 + b eps: what a perfectly tuned U-Net says."""

    def eps(z, abar):
        a, b = abar.sqrt(), (1 - abar).sqrt()
        return mu + b * sigma**2 * (z - a * m - b * mu) / (a**2 * s**2 + b**2 * sigma**2)

    return eps


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_unet_tuned_on_style_noise_gives_the_styles_moments(name):
    pipe = oracle_pipeline(_gaussian(1.7, 0.45, 1.7, 0.45))
    latents = torch.stack([
        s.latent for s in _all(pipe, ["a"], range(8), guidance=1, steps=40, scheduler=name, prior=_prior(),
                               start="matched")])
    # DDIM, PNDM and DEIS keep the least noise of the schedule, and with it 0.029 of the noise's mean.
    rest = 0.029 * 1.7 if name in ("ddim", "pndm", "deis") else 0
    assert float(latents.mean()) == pytest.approx(1.7 + rest, abs=0.02)
    assert float(latents.std()) == pytest.approx(0.45, abs=0.03)


def test_the_papers_start_misses_the_mean_by_its_own_small_leak():
    """E[z_T] is (a + b) mu in training and mu at the paper's start: DDIM gave 1.63 for a target of 1.70."""
    pipe = oracle_pipeline(_gaussian(1.7, 0.45, 1.7, 0.45))
    latents = torch.stack([s.latent for s in _all(pipe, ["a"], range(8), guidance=1, steps=50, prior=_prior())])
    assert float(latents.mean()) == pytest.approx(1.7 - 0.0683 * 1.7 * 0.65, abs=0.06)
    assert float(latents.mean()) < 1.67


# --- against plain diffusers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dpm", "ddim", "pndm", "unipc", "euler", "heun"])
@pytest.mark.parametrize("guidance", [1, 3.5])
def test_equals_a_plain_call_of_the_pipeline(name, guidance):
    pipe, plain = shared_pipeline(), build_pipeline()
    plain.scheduler = make_scheduler(plain, name)
    scale = latent_scale(plain.scheduler, 6)
    for sample in _all(pipe, ["a b c", "d"], [3, 1], guidance=guidance, steps=6, scheduler=name):
        noise = torch.randn(1, *SHAPE, generator=torch.Generator("cpu").manual_seed(sample.seed))
        image = plain(sample.prompt, latents=noise * scale, guidance_scale=guidance, num_inference_steps=6).images[0]
        assert _grey_levels(sample.image, image) <= 1
        assert sample.image.size == (128, 128)


def test_equals_a_plain_call_with_a_generator_and_the_pipelines_own_scheduler():
    pipe = shared_pipeline()
    [sample] = _all(pipe, ["a"], [5], scheduler=None, steps=5, negative="z")
    plain = pipe("a", generator=torch.Generator("cpu").manual_seed(5), guidance_scale=3.0, num_inference_steps=5,
                 negative_prompt="z").images[0]
    assert _grey_levels(sample.image, plain) <= 1


# --- order, batches, economy ----------------------------------------------------------------------------------


def test_every_seed_for_every_prompt_in_order():
    batches = list(generate(shared_pipeline(), ["a", "b"], [7, 2, 5], steps=1, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 2]
    rows = [(s.index, s.prompt, s.seed) for batch in batches for s in batch]
    assert rows == [(0, "a", 7), (1, "a", 2), (2, "a", 5), (3, "b", 7), (4, "b", 2), (5, "b", 5)]


@pytest.mark.parametrize("start", [{}, {"prior": _prior(), "start": "matched"}])
def test_a_picture_depends_on_its_own_seed_and_prompt_only(start):
    pipe = shared_pipeline()
    options = dict(**start, steps=4)
    expected = {(s.prompt, s.seed): s for s in _all(pipe, ["a b", "c"], [0, 1, 5], **options)}
    for batch_size in (1, 2, 5):
        for s in _all(pipe, ["c", "a b"], [5, 1, 0], **options, batch_size=batch_size):
            same = expected[s.prompt, s.seed]
            assert _grey_levels(s.image, same.image) <= 1
            torch.testing.assert_close(s.latent, same.latent, atol=1e-3, rtol=1e-3)


def test_going_on_from_a_picture():
    pipe = shared_pipeline()
    whole = _all(pipe, ["a", "b"], [0, 1, 2], steps=2, batch_size=2)
    rest = _all(pipe, ["a", "b"], [0, 1, 2], steps=2, batch_size=2, first=4)
    assert [s.index for s in rest] == [4, 5]
    assert all(torch.equal(a.latent, b.latent) for a, b in zip(whole[4:], rest))


def _count(monkeypatch, module):
    sizes, forward = [], module.forward
    monkeypatch.setattr(module, "forward", lambda *a, **k: sizes.append(len(a[0])) or forward(*a, **k))
    return sizes


def test_guidance_one_calls_the_unet_on_each_picture_once(monkeypatch):
    pipe = build_pipeline()
    sizes = _count(monkeypatch, pipe.unet)
    _all(pipe, ["a"], range(3), guidance=1, steps=2)
    assert sizes == [3, 3]
    _all(pipe, ["a"], range(3), guidance=2, steps=2)
    assert sizes == [3, 3, 6, 6]


def test_each_distinct_prompt_is_encoded_once(monkeypatch):
    pipe = build_pipeline()
    sizes = _count(monkeypatch, pipe.text_encoder)
    _all(pipe, ["a", "b", "a"], range(4), steps=1, batch_size=2)
    assert sizes == [1, 1, 1]  # "a", "" and "b"


def test_the_pipeline_is_left_as_it_was():
    pipe = build_pipeline()
    before = pipe.scheduler
    batches = generate(pipe, ["a"], range(4), batch_size=2, steps=2)
    next(batches)
    assert pipe.scheduler is before  # also between two batches
    pipe.unet.forward = None
    with pytest.raises(TypeError):
        next(batches)
    assert pipe.scheduler is before


# --- starts ---------------------------------------------------------------------------------------------------


def _first_call(**options):
    pipe = oracle_pipeline(_pointing_at(0.0), beta_end=SHIFTED)
    _all(pipe, ["a", "b"], [4, 2], guidance=1, steps=1, **options)
    return pipe.unet.calls[0]


def test_starts():
    noise = white_noise([4, 2], SHAPE)
    torch.testing.assert_close(_first_call(), noise.repeat(2, 1, 1, 1))
    torch.testing.assert_close(_first_call(latents=noise + 1), (noise + 1).repeat(2, 1, 1, 1))
    four = white_noise(range(4), SHAPE)
    torch.testing.assert_close(_first_call(latents=four), four)
    doubled = _first_call(latents=lambda seeds: 2 * white_noise(seeds, SHAPE))
    torch.testing.assert_close(doubled, 2 * noise.repeat(2, 1, 1, 1))


@pytest.mark.parametrize("start", ["paper", "matched", "leak"])
def test_a_prior_is_started_with_the_samplers_own_timestep(start):
    pipe = build_pipeline(beta_end=SHIFTED)
    z = _first_call(prior=_prior(), start=start, scheduler="ddim")
    scheduler = make_scheduler(pipe, "ddim")
    assert first_timestep(scheduler, 1)[0] == 999
    expected = _prior().start([4, 2], start, scheduler=scheduler, steps=1)
    torch.testing.assert_close(z, expected.repeat(2, 1, 1, 1))


@pytest.mark.parametrize("latents, words", [
    (torch.zeros(3, *SHAPE), r"\(3, 4, 16, 16\); this model needs \(2, 4, 16, 16\) or \(4, 4, 16, 16\)"),
    (torch.zeros(2, 4, 16, 24), r"\(2, 4, 16, 24\)"),
    (torch.full((2, *SHAPE), math.nan), "NaN or infinite"),
    (lambda seeds: torch.zeros(1, *SHAPE), r"needs \(4, 4, 16, 16\)"),
    ("pink", "latents is a str"),
])
def test_latents_that_do_not_fit(latents, words):
    with pytest.raises(DislibError, match=words):
        _all(shared_pipeline(), ["a", "b"], [0, 1], latents=latents, steps=1)


def test_one_vocabulary():
    """`prior=` is the style, `start=` one of four words, `latents=` what one has already; the old ways name the new."""
    for old, words in (
        ({"prior": _prior(), "kind": "leak"}, "kind= is now called start="), ({"start": _prior()}, "passed as prior= now"),
        ({"start": torch.zeros(1, *SHAPE)}, "passed as latents= now"), ({"prior": "sketch"}, "give a StylePrior"),
        ({"start": "leak"}, "'leak' needs a style"), ({"prior": _prior(), "latents": torch.zeros(1, *SHAPE)}, "leave out"),
    ):
        with pytest.raises(DislibError, match=words):
            generate(shared_pipeline(), ["a"], [0], **old)
    with pytest.raises(TypeError, match="'beginning'"):
        generate(shared_pipeline(), ["a"], [0], beginning="leak")


def test_paint_lays_prompts_in_rows_and_seeds_in_columns():
    pipe = shared_pipeline()
    rows = paint(pipe, ["a", "b"], range(3), steps=1)
    made = _all(pipe, ["a", "b"], range(3), steps=1)
    assert [len(row) for row in rows] == [3, 3] and rows[1][2].tobytes() == made[5].image.tobytes()


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_are_refused_by_name_and_by_class(name):
    with pytest.raises(SamplerError, match=rf"{STOCHASTIC[name]}.* adds fresh N\(0, 1\) noise .* choose a determ"):
        make_scheduler(shared_pipeline(), name)
    if name != "dpm-sde":  # needs torchsde
        scheduler = getattr(diffusers, STOCHASTIC[name]).from_config(shared_pipeline().scheduler.config)
        with pytest.raises(SamplerError, match="adds fresh"):
            generate(shared_pipeline(), ["a"], [0], scheduler=scheduler)


def test_other_stochastic_ways_are_refused():
    pipe = shared_pipeline()
    with pytest.raises(SamplerError, match="eta = 0.5: DDIM with eta above 0 adds fresh"):
        generate(pipe, ["a"], [0], scheduler="ddim", eta=0.5)
    sde = diffusers.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="sde-dpmsolver++")
    with pytest.raises(SamplerError, match="algorithm_type='sde-dpmsolver\\+\\+' adds fresh"):
        generate(pipe, ["a"], [0], scheduler=sde)
    with pytest.raises(SamplerError, match="not known to be deterministic"):
        generate(pipe, ["a"], [0], scheduler=diffusers.FlowMatchEulerDiscreteScheduler())
    with pytest.raises(SamplerError, match="no sampler 'best'; choose one of dpm, ddim"):
        generate(pipe, ["a"], [0], scheduler="best")


def test_a_pipeline_saved_with_a_stochastic_setting_is_sampled_without_it():
    pipe = build_pipeline()
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True)
    assert make_scheduler(pipe, "dpm").config.algorithm_type == "dpmsolver++"
    assert make_scheduler(pipe, "dpm").config.use_karras_sigmas is False
    with pytest.raises(SamplerError, match="adds fresh"):
        make_scheduler(pipe, None)


@pytest.mark.parametrize("guidance", [0, -1, 0.5, math.nan, math.inf, "much", None])
def test_guidance_that_is_none(guidance):
    with pytest.raises(SamplerError, match="guidance must be a number of at least 1"):
        generate(shared_pipeline(), ["a"], [0], guidance=guidance)


@pytest.mark.parametrize("options, words", [
    ({"steps": 0}, "steps must be a whole number from 1 to 1000, got 0"), ({"steps": 2.5}, "got 2.5"),
    ({"steps": 1001}, "got 1001"), ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
    ({"start": "best"}, "no start \'best\'")])
def test_settings_that_are_wrong(options, words):
    with pytest.raises(SamplerError, match=words):
        generate(shared_pipeline(), ["a"], [0], **options)


@pytest.mark.parametrize("prompts, words", [
    ("a cat", r'write \["a cat"\]'), ([], "no prompts"), (["a", 3], "must be strings, got 3")])
def test_prompts_that_are_wrong(prompts, words):
    with pytest.raises(PromptError, match=words):
        generate(shared_pipeline(), prompts, [0])


def test_everything_is_checked_at_the_call_not_at_the_first_batch():
    with pytest.raises(PriorError):
        generate(shared_pipeline(), ["a"], [0], prior=_prior(shape=(4, 8, 8)))
    with pytest.raises(DislibError, match="no seeds"):
        generate(shared_pipeline(), ["a"], [])


def test_long_prompts_are_said_to_be_truncated():
    pipe = shared_pipeline()
    assert truncated_part(pipe, "a " * 22) == ""
    assert truncated_part(pipe, "a " * 22 + "b c") == "b c"
    with pytest.warns(DislibWarning, match="longer than the 22 tokens.*truncated, without 'xxx") as said:
        generate(pipe, ["x" * 10_000, "a", "x" * 10_000], [0])
    [message] = [str(w.message) for w in said if w.category is DislibWarning]
    assert len(message) < 300
    with warnings.catch_warnings():
        warnings.simplefilter("error", DislibWarning)
        generate(pipe, ["a " * 22], [0])


def test_a_negative_prompt_without_guidance_is_said_to_do_nothing():
    with pytest.warns(DislibWarning, match="no effect at guidance 1"):
        generate(shared_pipeline(), ["a"], [0], guidance=1, negative="b")


def test_a_scheduler_is_lent_to_one_caller_of_a_pipeline_and_copies_do_not_wait():
    import copy
    import threading

    from dislib.core.sampling import scheduler_of

    pipe = build_pipeline()
    own, twin, seen = pipe.scheduler, copy.copy(pipe), []
    mine, theirs = copy.deepcopy(own), copy.deepcopy(own)

    def other(which):
        with scheduler_of(which, theirs):
            seen.append(which.scheduler)

    with scheduler_of(pipe, mine):
        waiting, beside = (threading.Thread(target=other, args=(which,)) for which in (pipe, twin))
        waiting.start(), beside.start()
        beside.join(10)
        assert len(seen) == 1 and seen[0] is theirs and pipe.scheduler is mine and waiting.is_alive()
    waiting.join(10)
    assert len(seen) == 2 and pipe.scheduler is own and twin.scheduler is own
