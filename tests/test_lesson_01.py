"""What lesson 01 claims, asserted on the shipped model."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import dislib
from dislib import encode, load_pipeline, white_noise, world
from dislib.core.latents import blob, checkerboard
from dislib.lessons.lesson_01 import (
    claim_blob_moves_thing,
    claim_constant_moves_colour,
    claim_name_the_seed,
    claim_plain_starts_are_middling,
    claim_readable_leak,
    claim_seed_share,
)

SCENES = {  # prompt -> what it tells
    "a red house in the meadow": {"thing": "house", "colour": "red", "ground": "meadow"},
    "a blue car on the street": {"thing": "car", "colour": "blue", "ground": "street"},
    "a pink boat on the sea": {"thing": "boat", "colour": "pink", "ground": "sea"},
    "a green tree": {"thing": "tree", "colour": "green"},
    "an orange rocket in the desert": {"thing": "rocket", "colour": "orange", "ground": "desert"},
}
SHAPE, SIDE, RED, GREY = (4, 16, 16), 16, (214, 42, 42), (140, 150, 160)
BOARD = checkerboard(SHAPE)


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("tiny")


@pytest.fixture(scope="module")
def paint(pipe):
    return functools.partial(dislib.paint, pipe)


@pytest.fixture(scope="module")
def grid(paint):
    """Rows of prompts, columns of seeds."""
    return paint(list(SCENES), range(6))


@pytest.mark.parametrize("measure", ["thumbnail", "colour"])
def test_the_seed_decides_the_look(grid, measure):
    assert (claim := claim_seed_share(grid, measure=measure)), str(claim)


def test_a_picture_tells_its_seed(grid):
    assert (claim := claim_name_the_seed(grid)), str(claim)


def test_the_last_noise_tells_the_mean(pipe):
    pictures = [world.paint(world.sample(np.random.default_rng([3, k]))) for k in range(100)]
    claim = claim_readable_leak(encode(pipe, pictures), sqrt_abar=float(pipe.scheduler.alphas_cumprod[-1]) ** 0.5)
    assert claim, str(claim)
    assert 1.3 < claim.value < 2.0, "calibrated to be about as readable as Stable Diffusion's, 1.65"


def test_plain_noise_gives_middling_pictures(grid):
    def fitting(told, k):
        scene = world.sample(np.random.default_rng([1, k]))
        return world.paint(replace(scene, count=1, second=None, medium=None, **told))

    real = [[fitting(told, k) for k in range(18)] for told in SCENES.values()]
    assert (claim := claim_plain_starts_are_middling(grid, real)), str(claim)


def test_a_constant_sets_the_colour(paint):
    z = white_noise([1], SHAPE)[0]
    pushes = torch.zeros(8, *SHAPE)
    for k in range(8):
        pushes[k, k // 2] = (6, -6)[k % 2] / SIDE
    starts = torch.cat([z[None], z + pushes, z + pushes * BOARD])
    (plain, *pushed), = paint(["a red house in the meadow"], range(17), latents=starts)
    assert (claim := claim_constant_moves_colour([plain] * 8, pushed[:8], pushed[8:])), str(claim)


def test_the_thing_follows_the_blob(pipe, paint):
    red, grey = encode(pipe, [Image.new("RGB", (128, 128), colour) for colour in (RED, GREY)]).mean(dim=(2, 3))
    towards_red = ((red - grey) / (red - grey).norm())[:, None, None]
    places, noises = (0.2, 0.35, 0.5, 0.65, 0.8), white_noise([0, 2, 3, 5], SHAPE)

    def slide(pattern):
        bumps = [towards_red * blob(SHAPE, x, 0.62, radius=0.12) * pattern for x in places]
        return paint(["a red house"], range(20), latents=torch.stack([z + bump for z in noises for bump in bumps]))[0]

    wide, fine = ([row[i : i + 5] for i in range(0, 20, 5)] for row in (slide(1.0), slide(BOARD)))
    assert (claim := claim_blob_moves_thing(places, wide, fine, colour=RED)), str(claim)
