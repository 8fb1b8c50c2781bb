"""Robot voters: they prefer what their eyes say, err as often as they are told, and never name a method."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dislib.errors import DislibError
from dislib.evaluation import robots
from dislib.evaluation.ranking import bradley_terry
from dislib.evaluation.robots import robot_votes
from dislib.evaluation.votes import QUESTIONS, select
from dislib.images.sheets import Sheet

METHODS, PROMPTS = ["base", "plain", "style"], ["a", "b", "c", "d"]


@pytest.fixture
def world(monkeypatch):
    """The redder a picture the nearer to the style, the greener the nearer to the prompt."""
    seen = lambda images: np.array([image.getpixel((0, 0))[:2] for image in images], float)
    monkeypatch.setattr(robots, "image_features", lambda images, judge: seen(images)[:, :1])
    monkeypatch.setattr(robots, "clip_scores", lambda images, prompts, judge: seen(images)[:, 1])
    grid = [[Image.new("RGB", (4, 4), (80 * y, 240 - 80 * y, 0)) for _ in PROMPTS] for y in range(3)]
    reference = SimpleNamespace(pooled=np.full((20, 1), 160.0))
    return {"sketch": Sheet(METHODS, PROMPTS, grid, {"seeds": [4, 5, 6, 7]})}, {"sketch": reference}


def test_robots_rank_by_what_they_see(world):
    votes = robot_votes(world[0], None, world[1], voters=6, count=24)
    assert len(votes) == 6 * 24 and {v.question for v in votes} == set(QUESTIONS) and {v.seed for v in votes} <= {4, 5, 6, 7}
    order = lambda question: [s.method for s in bradley_terry(select(votes, question=question))]
    assert order("style") == METHODS[::-1] and order("prompt") == METHODS
    assert votes == robot_votes(world[0], None, world[1], voters=6, count=24)
    assert votes != robot_votes(world[0], None, world[1], voters=6, count=24, seed=1)


def test_noise_is_how_often_they_err(world):
    def wins(noise):
        votes = select(robot_votes(world[0], None, world[1], voters=20, noise=noise), question="style")
        better = [v.choice == ("left" if METHODS.index(v.left) > METHODS.index(v.right) else "right") for v in votes]
        return np.mean(better)

    assert wins(1e-3) == 1 and 0.45 < wins(1e3) < 0.56 and 0.56 < wins(1.0) < 0.95


def test_bad_input_is_named(world):
    with pytest.raises(DislibError, match="no reference for sketch"):
        robot_votes(world[0], None, {})
    for noise in (0, -1, float("nan")):
        with pytest.raises(DislibError, match="noise is"):
            robot_votes(world[0], None, world[1], noise=noise)
