"""Trainings side by side, the film of their sheets, the way of a picture, and where weights have changed."""

import base64
import copy
import io
import re

import numpy as np
import pytest
import torch
from helpers import build_pipeline, images, shared_pipeline
from PIL import Image

from dislib import decode, generate, white_noise
from dislib.core.pipeline import separate
from dislib.errors import DislibError, ModelError, SamplerError
from dislib.lessons import changes
from dislib.lessons.denoising import denoise
from dislib.lessons.live import Film, together
from dislib.training.examples import TrainingSet
from dislib.training.finetune import Record, finetune

SHAPE = (4, 16, 16)


def records(steps, *, sheets=()):
    for step in range(1, steps + 1):
        yield Record(step, 1 / step, 1e-4, 8.0, images(2, seed=step) if step in sheets else None)


# --- side by side -----------------------------------------------------------------------------------------------------


def test_together_takes_turns_and_finishes_both():
    done = []

    def run(name):
        yield from records(3)
        done.append(name)

    steps = [{name: record.step for name, record in step.items()} for step in together({"a": run("a"), "b": run("b")})]
    assert steps == [{"a": k, "b": k} for k in (1, 2, 3)] and done == ["a", "b"]


def test_runs_of_other_lengths_are_named():
    with pytest.raises(DislibError, match="b has ended before the others"):
        list(together({"a": records(3), "b": records(2)}))


def test_two_trainings_side_by_side_are_those_made_alone():
    base = shared_pipeline()
    learnt = TrainingSet.from_latents(base, torch.randn(6, *SHAPE), ["a"] * 6)
    prior, how = learnt.prior(base), {"max_train_steps": 3, "train_batch_size": 2, "learning_rate": 1e-2}
    pipes = {name: separate(base) for name in ("white", "style", "alone")}
    runs = {n: finetune(pipes[n], learnt, noise=e, **how) for n, e in (("white", "white"), ("style", prior))}
    losses = [step["style"].loss for step in together(runs)]
    assert losses == pytest.approx([r.loss for r in finetune(pipes["alone"], learnt, noise=prior, **how)])
    for name, weight in pipes["alone"].unet.state_dict().items():
        assert torch.allclose(weight, pipes["style"].unet.state_dict()[name], atol=1e-6)
    assert not any(p.requires_grad or pipe.unet.training for pipe in pipes.values() for p in pipe.unet.parameters())
    assert pipes["style"].style_prior is prior and pipes["white"].style_prior is None


# --- the film ---------------------------------------------------------------------------------------------------------


class Screen:
    """In the place of a notebook: counts what is shown."""

    def __init__(self, monkeypatch):
        self.shown = []
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, data, *, metadata, raw, display_id):
        assert raw and display_id
        self.update(data, metadata=metadata, raw=raw)
        return self

    def update(self, data, *, metadata, raw):
        picture = re.search(r'src="data:image/\w+;base64,([^"]*)"', data["text/html"])[1]
        self.shown.append((Image.open(io.BytesIO(base64.b64decode(picture))), data["text/plain"]))


def test_a_film_fills_up_in_place(monkeypatch):
    screen = Screen(monkeypatch)
    film = Film({"white": images(2), "style": images(2, seed=1)}, (2, 4), every=3, labels=["a house", "a boat"])
    for step in together({"white": records(4, sheets=(2, 4)), "style": records(4, sheets=(2, 4))}):
        film.add(step)
    assert len(screen.shown) == 3  # after steps 2, 3 and 4
    assert {image.size for image, _ in screen.shown} == {screen.shown[0][0].size}
    alt = screen.shown[-1][1]
    assert "Step 4" in alt and "white: a house" in alt and "before, step 2, step 4" in alt
    assert film.losses["white"] == [1, 1 / 2, 1 / 3, 1 / 4] and sorted(film.sheets["style"]) == [0, 2, 4]
    assert f"white {(1 / 2 + 1 / 3 + 1 / 4) / 3:.3f}" in alt


def test_a_film_before_its_first_step_is_a_figure():
    assert "Before the first step" in Film({"white": images(1)}, (5,)).figure().alt


# --- the way of a picture ---------------------------------------------------------------------------------------------


def test_the_way_begins_at_the_start_and_ends_at_the_picture():
    pipe, z_T = shared_pipeline(), white_noise([4], SHAPE)
    way = denoise(pipe, "a b", z_T[0])
    assert way.shape == (4, *SHAPE) and torch.equal(way[0], z_T[0])
    ((sample,),) = generate(pipe, ["a b"], [4])
    assert np.abs(np.asarray(decode(pipe, way[3])[0], dtype=int) - np.asarray(sample.image)).max() <= 1


def test_the_latents_between_are_those_of_the_times_asked_for():
    pipe, z_T = shared_pipeline(), white_noise([4], SHAPE)
    before = pipe.scheduler
    every = denoise(pipe, "a b", z_T, steps=4, at=(1000, 750, 500, 250, 0))
    assert len({round(float(z.square().sum()), 3) for z in every}) == 5
    near = denoise(pipe, "a b", z_T, steps=4, at=(740, 260))
    assert torch.equal(near[0], every[1]) and torch.equal(near[1], every[3])
    assert pipe.scheduler is before


def test_what_cannot_be_followed_is_refused():
    pipe, z_T = shared_pipeline(), white_noise([4], SHAPE)
    with pytest.raises(SamplerError, match="adds fresh"):
        denoise(pipe, "a", z_T, scheduler="euler_a")
    with pytest.raises(SamplerError, match=r"between 0 and 1000, got \[1200\]"):
        denoise(pipe, "a", z_T, at=[1200])
    with pytest.raises(DislibError, match="one latent of shape"):
        denoise(pipe, "a", white_noise([1, 2], SHAPE))


# --- where weights have changed ---------------------------------------------------------------------------------------


def test_changes_are_found_where_they_were_made():
    base = shared_pipeline().unet
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.conv_in.weight *= 1.5
        tuned.conv_in.bias *= 1.5
    found = changes.weight_changes(base, tuned)
    assert found.pop("first convolution") == pytest.approx(0.5)
    assert len(found) >= 5 and set(found.values()) == {0.0}
    assert set(changes.weight_changes(base, base).values()) == {0.0}


def test_every_layer_has_a_kind():
    kinds = {changes.kind_of(name) for name in build_pipeline().unet.state_dict()}
    assert kinds == set(changes.KINDS)
    with pytest.raises(ModelError, match="'extra.weight' is of no known kind"):
        changes.kind_of("extra.weight")


def test_other_shapes_are_refused():
    small = build_pipeline().unet
    with pytest.raises(ModelError, match="compare a tuned one with its own base"):
        changes.weight_changes(small, torch.nn.Linear(2, 2))
