"""A fleet of trainings makes the steps of `finetune`, whatever it runs on."""

import itertools

import pytest
import torch
from helpers import build_pipeline, images

from dislib import TrainingSet, finetune
from dislib.core.pipeline import separate
from dislib.training.objective import draw_batch
from dislib.training.settings import Settings
from recipes import fleet

HOW = {"max_train_steps": 4, "train_batch_size": 2, "learning_rate": 1e-3, "use_ema": True}


@pytest.fixture(scope="module")
def pipe():
    return build_pipeline()


@pytest.fixture(scope="module")
def learnt(pipe):
    return TrainingSet.from_images(pipe, images(4), ["a", "b", "c left", "d"], random_flip=True)


@pytest.mark.parametrize("noise", ["white", "offset", "style"])
@pytest.mark.parametrize("rank", [None, 2])
def test_with_the_same_draws_it_ends_where_finetune_ends(pipe, learnt, monkeypatch, noise, rank):
    noise = learnt.prior(pipe) if noise == "style" else noise
    settings = Settings(**HOW, rank=rank).completed(pipe)
    steps = itertools.count(1)
    same = lambda *_: draw_batch(learnt, settings.train_batch_size, next(steps), noise, settings)  # noqa: E731
    monkeypatch.setattr(fleet, "draw", same)
    (reached, member), = fleet.sail(pipe, [fleet.Member("one", learnt, noise, settings)], (4,))
    other = separate(pipe)
    for _ in finetune(other, learnt, noise=noise, settings=settings):
        pass
    theirs = dict(other.unet.named_parameters())
    assert reached == 4 and member.names
    assert any((theirs[name] - pipe.unet.state_dict().get(name, 0)).abs().max() > 1e-4 for name in member.names)
    for name, value in member.state().items():
        assert torch.allclose(value, theirs[name], atol=2e-6), name


def test_its_own_draws_are_of_the_same_law(pipe, learnt):
    """Each example and its mirror image equally often, captions with left or right never mirrored, eps as the noise says."""
    prior, settings = learnt.prior(pipe), Settings(train_batch_size=4000).completed(pipe)
    torch.manual_seed(0)
    z, eps, t, context = fleet.draw(fleet._pool(learnt, torch.device("cpu")), prior, settings, None, 1000)
    seen = [(z == row).flatten(1).all(1).float().mean() for row in (*learnt.latents, *learnt.mirrored)]
    assert torch.allclose(torch.stack(seen), torch.tensor([1, 1, 2, 1, 1, 1, 0, 1]) / 8, atol=0.03)
    assert torch.allclose(eps.mean(0), prior.mean, atol=0.2 * float(prior.std.max()))
    assert torch.allclose(eps.std(0), prior.std, rtol=0.1)
    assert 0 <= int(t.min()) and int(t.max()) <= 999 and abs(float(t.float().mean()) - 499.5) < 20
    assert abs(float((context == learnt.empty).flatten(1).all(1).float().mean()) - settings.caption_dropout) < 0.03


def test_members_do_not_touch_each_other_or_the_base(pipe, learnt):
    before = {k: v.clone() for k, v in pipe.unet.state_dict().items()}
    rates = {"slow": 1e-5, "fast": 1e-3}
    members = [
        fleet.Member(name, learnt, "white", Settings(**{**HOW, "learning_rate": rate}).completed(pipe))
        for name, rate in rates.items()
    ]
    moved = {}
    for step, member in fleet.sail(pipe, members, (1, 3)):
        state = member.state()
        moved[member.name, step] = max(float((state[k] - before[k]).abs().max()) for k in state)
    assert list(moved) == [("slow", 1), ("slow", 3), ("fast", 1), ("fast", 3)]
    assert moved["slow", 1] < moved["slow", 3] < moved["fast", 3] and moved["slow", 3] < 0.1 * moved["fast", 3]
    assert all(torch.equal(v, before[k]) for k, v in pipe.unet.state_dict().items())
