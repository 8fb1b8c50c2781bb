"""Priors with covariance: densities and draws against a dense Gaussian, waves, refusals; and the diagonal one's density."""

import math

import pytest
import torch

from dislib.core.correlated import CorrelatedPrior, low_waves
from dislib.core.latents import white_noise
from dislib.core.prior import StylePrior, first_timestep, second_stream
from dislib.errors import DislibError, PriorError

SHAPE = (2, 3, 3)
D = math.prod(SHAPE)


def mixed(n=400, shape=SHAPE, seed=0):
    """Latents whose numbers go together: white noise through a fixed matrix."""
    draw = torch.Generator().manual_seed(seed)
    d = math.prod(shape)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99)) / d**0.5 + 0.3
    return (torch.randn(n, d, generator=draw) @ mix + 0.5).reshape(n, *shape)


def dense(prior):
    """The same law written out: mean (d,) and covariance (d, d), float64."""
    b, eye = prior.patterns, torch.eye(math.prod(prior.shape), dtype=torch.float64)
    sigma = torch.diag(prior.base.std.double().flatten())
    return prior.base.mean.double().flatten(), sigma @ (b.T @ prior.cov @ b + prior.rest * (eye - b.T @ b)) @ sigma


PRIORS = {
    "low rank": CorrelatedPrior.low_rank(mixed(), 4),
    "low frequencies": CorrelatedPrior.low_frequencies(mixed(), 2),
    "one pattern": CorrelatedPrior.low_rank(mixed(), 1, shrink=0.5),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_density_is_that_of_the_dense_gaussian(prior):
    z = mixed(5, seed=3)
    wanted = torch.distributions.MultivariateNormal(*dense(prior)).log_prob(z.double().flatten(1))
    assert torch.allclose(prior.log_prob(z), wanted, atol=1e-8)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_draws_have_its_mean_and_covariance(prior):
    drawn, (mean, cov) = prior.sample(range(8000)).double().flatten(1), dense(prior)
    assert torch.allclose(drawn.mean(0), mean, atol=0.05)
    assert (torch.cov(drawn.T) - cov).norm() < 0.08 * cov.norm()
    assert torch.equal(prior.sample([7, 3])[1], prior.sample([3])[0])  # each from its own seed alone


def test_the_diagonal_density_is_torchs_own():
    prior, z = StylePrior.from_latents([mixed()]), mixed(5, seed=4)
    wanted = torch.distributions.Normal(prior.mean.double(), prior.std.double()).log_prob(z.double()).flatten(1).sum(1)
    assert torch.allclose(prior.log_prob(z), wanted)


def test_full_shrink_takes_all_correlations_of_the_patterns_away():
    cov = CorrelatedPrior.low_frequencies(mixed(), 2, shrink=1).cov
    assert torch.equal(cov, torch.diag(cov.diagonal()))


def test_it_foretells_what_goes_together_and_loses_where_nothing_does():
    diagonal, joint = StylePrior.from_latents([mixed()]), PRIORS["low rank"]
    new = mixed(200, seed=5)
    apart = torch.stack([column[torch.randperm(200, generator=torch.Generator().manual_seed(k))]
                         for k, column in enumerate(new.flatten(1).T)], dim=1).reshape(new.shape)
    assert (joint.log_prob(new) - diagonal.log_prob(new)).mean() > 1
    assert (joint.log_prob(apart) - diagonal.log_prob(apart)).mean() < -1


@pytest.mark.parametrize("side", [1, 2, 3])
def test_waves_are_orthonormal_from_the_mean_up(side):
    waves = low_waves((2, 4, 5), side)
    assert waves.shape == (2 * side**2, 40)
    assert torch.allclose(waves @ waves.T, torch.eye(len(waves), dtype=torch.float64), atol=1e-12)
    first = torch.zeros(2, 20, dtype=torch.float64)
    first[0] = 20**-0.5
    assert torch.allclose(waves[0], first.flatten())


def test_the_leak_weighs_picture_and_noise_as_training_does():
    from helpers import schedule

    prior = PRIORS["low rank"]
    _, a, b = first_timestep(schedule(), 12)
    wanted = a * prior.sample([second_stream(4)]) + b * white_noise([4], SHAPE)
    assert torch.equal(prior.leak([4], schedule(), 12), wanted)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: CorrelatedPrior.low_rank(mixed(6), 5), "room for 1 to 4 patterns, got rank 5"),
        (lambda: CorrelatedPrior.low_rank(mixed(6), 0), "got rank 0"),
        (lambda: CorrelatedPrior.low_rank(mixed(2), 1), "at least three"),
        (lambda: CorrelatedPrior.low_frequencies(mixed(), 3), "no 3 x 3 waves"),
        (lambda: CorrelatedPrior.low_frequencies(mixed(), 0), "no 0 x 0 waves"),
        (lambda: CorrelatedPrior.low_rank(mixed(), 2, shrink=2), "shrink must lie between"),
        (lambda: CorrelatedPrior.low_frequencies(mixed(4), 2, shrink=0), "use fewer, or more shrink"),
        (lambda: CorrelatedPrior.low_rank(mixed() * torch.nan, 2), "NaN"),
    ],
)
def test_refusals(make, message):
    with pytest.raises((PriorError, DislibError), match=message):
        make()


# --- another size -------------------------------------------------------------------------------------------------------


def test_resizing_keeps_values_and_moves_positions():
    mean = torch.zeros(4, 8, 8)
    mean[:, :4] = 2.0
    prior = StylePrior(mean, torch.full((4, 8, 8), 0.5), {"n": 9, "image_size": 64})
    large = prior.resized(16, 24)
    assert large.shape == (4, 16, 24) and large.std.unique().tolist() == [0.5]
    assert large.mean[0, 0, 0] == 2 and large.mean[0, -1, -1] == 0 and large.mean.mean() == pytest.approx(1, abs=1e-3)
    assert large.meta["resized from"] == [4, 8, 8] and "image_size" not in large.meta and large.meta["n"] == 9
    assert torch.allclose(prior.resized(8, 8).mean, mean)
    with pytest.raises(PriorError, match="do not exist"):
        prior.resized(0, 4)
