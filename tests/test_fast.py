"""Sampling in bfloat16: the same pictures but for rounding, and float32 in and out."""

import numpy as np
import pytest
import torch
from helpers import build_pipeline

from dislib.core.sampling import generate
from recipes import fast


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)


def latents(pipe):
    batches = generate(pipe, ["a b", "c"], [0], steps=3)
    return torch.stack([sample.latent for batch in batches for sample in batch])


def test_hastened_latents_differ_by_rounding_alone(monkeypatch):
    monkeypatch.setattr(fast, "native", lambda: True)
    exact, pipe = latents(build_pipeline()), fast.hasten(build_pipeline())
    assert pipe.unet.dtype == torch.bfloat16 and pipe.vae.encoder.conv_in.weight.dtype == torch.float32
    rounded = latents(pipe)
    assert rounded.dtype == torch.float32
    off = float((rounded - exact).abs().mean() / exact.std())
    assert 1e-5 < off < 0.02, off
    assert np.isfinite(rounded.numpy()).all()


def test_where_bfloat16_gains_nothing_the_pipeline_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(fast, "native", lambda: False)
    pipe = fast.hasten(build_pipeline())
    assert pipe.unet.dtype == torch.float32 and torch.equal(latents(pipe), latents(build_pipeline()))
