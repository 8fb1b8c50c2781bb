"""The perfect U-Net of a finite set: known answers, its limit of many pictures, and where sampling with it ends."""

import math

import pytest
import torch
from helpers import schedule

from dislib.core.empirical import draw_perfectly, perfect_eps
from dislib.core.gaussian import WHITE, Law, ideal_eps
from dislib.core.stochastic import abars_of

SHAPE = (4, 4, 4)


def latents(n, seed=0):
    return torch.randn((n, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def abars(steps=30):
    return [*abars_of(schedule(), steps)[0][:-1], 1.0]


@pytest.mark.parametrize("abar", [0.01, 0.5, 0.99])
def test_of_a_single_picture_it_knows_the_noise(abar):
    x, eps = latents(1), latents(3, seed=1)
    z = math.sqrt(abar) * x + math.sqrt(1 - abar) * eps
    assert torch.allclose(perfect_eps(z, abar, x), eps)


def test_half_way_between_two_pictures_it_takes_their_average():
    x = latents(2)
    abar = 0.3
    z = math.sqrt(abar) * x.mean(0, keepdim=True)
    assert torch.allclose(perfect_eps(z, abar, x), torch.zeros_like(z), atol=1e-12)


@pytest.mark.parametrize("noise", [WHITE, Law(1.2, 0.5)])
def test_with_very_many_gaussian_pictures_it_is_the_ideal_of_a_gaussian(noise):
    data = Law(0.7, 0.4)
    x = (data.mean + data.std * torch.randn(200_000, generator=torch.Generator().manual_seed(2))).double()
    z = torch.tensor([-0.5, 0.3, 1.1], dtype=torch.float64)
    found = perfect_eps(z.reshape(3, 1, 1, 1), 0.6, x.reshape(-1, 1, 1, 1), noise).flatten()
    assert torch.allclose(found, ideal_eps(z, 0.6, data, noise), atol=0.01)


@pytest.mark.parametrize("noise", [WHITE, Law(1.2, 0.5)])
def test_sampling_with_it_ends_at_training_pictures(noise):
    x = latents(20)
    start = (noise.mean + noise.std * latents(8, seed=3)).float()
    drawn = draw_perfectly(start, abars(), x, noise)
    nearest = torch.cdist(drawn.double().flatten(1), x.flatten(1))
    assert drawn.dtype == torch.float32 and nearest.min(1).values.max() < 1e-3
    assert len(set(nearest.argmin(1).tolist())) > 1  # not one picture for all
