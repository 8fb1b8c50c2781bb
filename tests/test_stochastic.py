"""Fresh noise with a mean: DDIM's own step as a special case, the closed form through a whole pipeline, and refusals."""

import pytest
import torch
from helpers import oracle_pipeline, schedule, shared_pipeline

from dislib.core.gaussian import Law, follow, ideal_eps, start_law
from dislib.core.prior import StylePrior
from dislib.core.sampling import generate
from dislib.core.schedulers import make_scheduler
from dislib.core.stochastic import abars_of, fresh_noise, generate_stochastic, stochastic_step
from dislib.errors import PriorError, SamplerError

LAW = Law(1.2, 0.5)
PRIOR = StylePrior(torch.full((4, 16, 16), LAW.mean), torch.full((4, 16, 16), LAW.std))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_with_white_noise_the_step_is_diffusers_own(eta):
    scheduler = schedule()
    abars, timesteps = abars_of(scheduler, 10)
    z, eps, n = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k in (0, 4, 8):
        theirs = scheduler.step(eps, timesteps[k], z, eta=eta, variance_noise=n).prev_sample
        ours = stochastic_step(z, eps, n, abars[k], abars[k + 1], eta=eta)
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_without_fresh_noise_its_law_does_not_matter_and_with_it_it_does():
    z, eps, n = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    laws = ({}, {"mu": 1.0, "sigma": 0.3})
    still = [stochastic_step(z, eps, n, 0.1, 0.2, eta=0.0, **law) for law in laws]
    moved = [stochastic_step(z, eps, n, 0.1, 0.2, eta=1.0, **law) for law in laws]
    assert torch.allclose(*still) and not torch.allclose(*moved, atol=0.1)


def test_old_and_new_noise_together_have_the_noises_law():
    u, n = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    abar, abar_next, x0, eps = 0.1, 0.4, 0.7, LAW.mean + LAW.std * u
    z = abar**0.5 * x0 + (1 - abar) ** 0.5 * eps
    after = stochastic_step(z, eps, n, abar, abar_next, mu=LAW.mean, sigma=LAW.std)
    noise = (after - abar_next**0.5 * x0) / (1 - abar_next) ** 0.5
    assert (float(noise.mean()), float(noise.std())) == pytest.approx(LAW, abs=0.005)


def ideal():
    """A pipeline whose U-Net is the ideal one of a Gaussian style."""
    return oracle_pipeline(lambda z, abar: ideal_eps(z, float(abar), LAW, LAW))


def latents(pipe, **options):
    batches = generate_stochastic(pipe, ["a"], range(4), prior=PRIOR, guidance=1, steps=20, **options)
    return torch.stack([sample.latent for batch in batches for sample in batch])


@pytest.mark.parametrize("kind", ["paper", "matched"])
@pytest.mark.parametrize("fresh", ["centred", "zero-mean", "unit"])
def test_a_whole_pipeline_ends_where_the_closed_form_says(fresh, kind):
    pipe = ideal()
    abars, _ = abars_of(make_scheduler(pipe, "ddim"), 20)
    law = {"centred": LAW, "zero-mean": Law(0.0, LAW.std), "unit": Law(0.0, 1.0)}[fresh]
    wanted = follow(start_law(kind, LAW, LAW, abars[0]), abars, LAW, LAW, eta=1.0, fresh=law)
    found = latents(pipe, fresh=fresh, start=kind)
    assert (float(found.mean()), float(found.std())) == pytest.approx(wanted, abs=0.03)
    assert (abs(wanted.mean - LAW.mean) < 0.1) == (fresh == "centred")  # and only one of the three is right


def test_eta_0_is_generate_with_ddim():
    pipe, options = shared_pipeline(), {"guidance": 2.0, "steps": 5, "batch_size": 2}
    [ours] = generate_stochastic(pipe, ["a b"], [3, 4], prior=PRIOR, eta=0.0, **options)
    [theirs] = generate(pipe, ["a b"], [3, 4], prior=PRIOR, start="matched", scheduler="ddim", **options)
    for mine, other in zip(ours, theirs):
        assert torch.allclose(mine.latent, other.latent, atol=1e-3)
        assert (mine.index, mine.prompt, mine.seed) == (other.index, other.prompt, other.seed)


def test_a_picture_depends_on_its_seed_and_prompt_alone():
    def made(seeds, batch_size):
        batches = generate_stochastic(shared_pipeline(), ["a", "b"], seeds, prior=PRIOR, steps=3, batch_size=batch_size)
        return {(s.prompt, s.seed): s.latent for batch in batches for s in batch}

    alone, together = made([5], 1), made([5, 6], 4)
    for key, latent in alone.items():
        assert torch.allclose(latent, together[key], atol=1e-3)
    assert not torch.allclose(together["a", 5], together["a", 6], atol=0.1)


def test_refusals():
    pipe = shared_pipeline()
    with pytest.raises(PriorError, match="needs a style; pass prior="):
        generate_stochastic(pipe, ["a"], [0])
    with pytest.raises(SamplerError, match="eta must lie between 0 .* got 1.5"):
        generate_stochastic(pipe, ["a"], [0], prior=PRIOR, eta=1.5)
    with pytest.raises(SamplerError, match="no fresh noise 'pink'; choose one of centred"):
        fresh_noise(PRIOR, "pink")
    with pytest.raises(SamplerError, match="no start 'warm'"):
        generate_stochastic(pipe, ["a"], [0], prior=PRIOR, start="warm")
