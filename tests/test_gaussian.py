"""Closed forms for Gaussian data, held against draws, against diffusers' own sampler, and against each other."""

import math

import pytest
import torch
from diffusers import DDIMScheduler
from helpers import schedule

from dislib.core.gaussian import WHITE, Law, follow, gain, ideal_eps, modes, noisy, own_leak, share_of, start_law
from dislib.core.prior import StylePrior
from dislib.core.stochastic import abars_of

STYLE = Law(1.70, 0.45)  # the first channel of line art on Stable Diffusion


def stable_diffusion(steps=50):
    """Its DDIM as diffusers ships it: "leading" timesteps, 981 first, and the end at abar_0 rather than at 1."""
    return abars_of(schedule(), steps)[0]


def dense():
    """Every timestep, and a last step to abar = 1: as near to continuous time as it gets."""
    return [*schedule().alphas_cumprod.flip(0).tolist(), 1.0]


@pytest.mark.parametrize(
    "eta, fresh, mean, std",
    [
        (0, WHITE, 1.63, 0.44),  # deterministic: short of 1.70 by the method's own leak
        (1, WHITE, -0.50, 0.94),  # N(0, 1): neither the mean nor the spread
        (1, Law(0.0, 0.45), -0.50, 0.43),  # N(0, Sigma): the spread alone
        (1, STYLE, 1.74, 0.43),  # centred
    ],
)
def test_one_dimension_of_line_art_on_stable_diffusions_schedule(eta, fresh, mean, std):
    found = follow(STYLE, stable_diffusion(), STYLE, STYLE, eta=eta, fresh=fresh)
    assert found.mean == pytest.approx(mean, abs=0.006) and found.std == pytest.approx(std, abs=0.006)


def test_where_the_small_rest_above_the_target_comes_from():
    """Steps that end at abar_0 leave sqrt(1 - abar_0) of the noise, whose mean is mu: 1.70 x 1.029 = 1.75."""
    abars = stable_diffusion()
    start = start_law("matched", STYLE, STYLE, abars[0])
    assert follow(start, abars, STYLE, STYLE).mean == pytest.approx(1.749, abs=1e-3)
    assert follow(start, [*abars[:-1], 1.0], STYLE, STYLE).mean == pytest.approx(1.70, abs=1e-3)


def test_the_own_leak_is_a_plus_b_and_the_matched_start_has_none():
    abars = dense()
    a, b = math.sqrt(abars[0]), math.sqrt(1 - abars[0])
    assert a + b == pytest.approx(1.066, abs=1e-3)
    paper = follow(start_law("paper", STYLE, STYLE, abars[0]), abars, STYLE, STYLE)
    matched = follow(start_law("matched", STYLE, STYLE, abars[0]), abars, STYLE, STYLE)
    assert paper.mean == pytest.approx(1.70 - (a + b - 1) * 1.70 * gain(STYLE, STYLE, abars[0]), abs=1e-3)
    assert matched.mean == pytest.approx(1.70, abs=1e-3) and matched.std == pytest.approx(0.45, rel=0.01)


def test_white_noise_has_a_leak_of_its_own_too():
    """The plain case, as a check of the formulas: N(0, 1) in place of N(a m, ...) loses a m, and the leak start wins
    it back."""
    abars = dense()
    plain = follow(WHITE, abars, STYLE, WHITE)
    leak = follow(start_law("leak", STYLE, STYLE, abars[0]), abars, STYLE, WHITE)
    assert plain.mean < 1.66
    assert leak.mean == pytest.approx(1.70, abs=0.005)


def test_the_ideal_prediction_is_the_conditional_mean():
    """Of all affine functions of z_t, least squares over draws finds the closed form."""
    generator, data, noise, abar = torch.Generator().manual_seed(0), Law(1.0, 0.7), Law(-0.5, 1.3), 0.4
    z_0, u = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    eps = noise.mean + noise.std * u
    z = math.sqrt(abar) * (data.mean + data.std * z_0) + math.sqrt(1 - abar) * eps
    fit = torch.linalg.lstsq(torch.stack([torch.ones_like(z), z], 1), eps[:, None]).solution.flatten()
    slope = ideal_eps(1.0, abar, data, noise) - ideal_eps(0.0, abar, data, noise)
    assert float(fit[0]) == pytest.approx(ideal_eps(0.0, abar, data, noise), abs=0.02)
    assert float(fit[1]) == pytest.approx(slope, abs=0.01)
    assert noisy(data, noise, abar) == pytest.approx((float(z.mean()), float(z.std())), abs=0.01)


def test_following_the_law_is_following_draws_through_diffusers_sampler():
    scheduler, data, noise = schedule(), Law(1.0, 0.6), Law(1.0, 0.6)
    assert type(scheduler) is DDIMScheduler
    abars, timesteps = abars_of(scheduler, 20)
    z = noise.mean + noise.std * torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for t in timesteps:
        eps = ideal_eps(z, float(scheduler.alphas_cumprod[t]), data, noise)
        z = scheduler.step(eps, t, z).prev_sample
    found = follow(noise, abars, data, noise)
    assert found == pytest.approx((float(z.mean()), float(z.std())), abs=0.005)


def test_gain_is_bounded_by_what_the_last_noise_hides():
    abar = 0.03
    assert gain(Law(0, 1e-6), WHITE, abar) < 1e-5  # all pictures alike: the start decides nothing
    assert gain(Law(0, 1e6), WHITE, abar) == pytest.approx(1 / math.sqrt(abar))
    assert gain(WHITE, WHITE, abar) == pytest.approx(1.0)


# --- modes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def prior():
    generator = torch.Generator().manual_seed(2)
    mean, std = torch.randn(4, 4, 4, generator=generator), 0.5 + torch.rand(4, 4, 4, generator=generator)
    return StylePrior(mean, std)


def draws(prior, n=4000, *, common=0.0):
    """Latents of the prior, of whose spread a part is common to all elements of a picture."""
    generator = torch.Generator().manual_seed(3)
    own, shared = torch.randn(n, *prior.shape, generator=generator), torch.randn(n, 1, 1, 1, generator=generator)
    return prior.mean + prior.std * (math.sqrt(1 - common) * own + math.sqrt(common) * shared)


def test_modes_of_latents_without_and_with_a_common_part(prior):
    std, patterns = modes(draws(prior), prior)
    assert std.shape == (64,) and torch.allclose(patterns @ patterns.T, torch.eye(64, dtype=torch.float64), atol=1e-6)
    assert 0.8 < float(std.min()) and float(std.max()) < 1.2  # as wide as the noise in every direction
    std, patterns = modes(draws(prior, common=0.5), prior)
    assert float(std[0]) ** 2 == pytest.approx(0.5 * 64 + 0.5, rel=0.1)  # one wide pattern, the constant
    assert float(patterns[0].abs().std() / patterns[0].abs().mean()) < 0.1


def test_own_leak_without_correlations_is_that_of_each_element(prior):
    abar = 0.03
    off = math.sqrt(abar) + math.sqrt(1 - abar) - 1
    found = own_leak(draws(prior), prior, abar)
    assert share_of(found, prior.mean) == pytest.approx(-off, rel=0.05)
    assert float((found + off * prior.mean).abs().max()) < 0.1
    assert float(own_leak(draws(prior), prior, abar, start="matched").abs().max()) < 1e-6


def test_what_pictures_have_in_common_makes_the_own_leak_larger(prior):
    """Low frequencies: the common part is read from z_T more surely than any single element."""
    alike = StylePrior(prior.std.clone(), prior.std)  # a mean along the common pattern
    apart, together = (share_of(own_leak(draws(alike, common=c), alike, 0.03), alike.mean) for c in (0.0, 0.5))
    assert together < 2 * apart < 0


def test_share_of():
    mu = torch.tensor([[[1.0, 2.0]]])
    assert share_of(-0.1 * mu, mu) == pytest.approx(-0.1)
    assert share_of(torch.tensor([[[2.0, -1.0]]]), mu) == pytest.approx(0.0)
