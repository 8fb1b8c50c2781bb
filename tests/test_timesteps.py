"""The style-friendly SNR sampler: its law in closed form, and what training makes of the setting."""

import math

import pytest
import torch
from helpers import schedule, shared_pipeline

from dislib.errors import TrainingError
from dislib.training.examples import TrainingSet, seeded
from dislib.training.finetune import finetune
from dislib.training.objective import draw_batch
from dislib.training.settings import Settings
from dislib.training.timesteps import draw_timesteps, log_snr, style_friendly

ABARS = schedule().alphas_cumprod


def phi(x):
    """The normal distribution's cumulative function."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_log_snr_of_known_values():
    assert log_snr([0.5, 0.8, 1 / (1 + math.e**3)]).tolist() == pytest.approx([0, math.log(4), -3])


@pytest.mark.parametrize("mean, std", [(-3.0, 2.0), (-6.0, 2.0), (0.0, 0.5), (4.0, 1.0)])
def test_its_cumulative_law_is_a_normal_one_cut_to_the_schedule(mean, std):
    chances, values = style_friendly(ABARS, mean, std), log_snr(ABARS)
    low, high = (phi((float(values[k]) - mean) / std) for k in (-1, 0))
    for t in (0, 100, 500, 900, 998):
        edge = float(values[t] + values[t + 1]) / 2
        wanted = (high - phi((edge - mean) / std)) / (high - low)
        assert float(chances[: t + 1].sum()) == pytest.approx(wanted, abs=1e-9)
    assert float(chances.sum()) == pytest.approx(1) and (chances >= 0).all()


def test_its_mean_is_that_of_the_cut_normal_law():
    mean, std = -3.0, 2.0
    values, chances = log_snr(ABARS), style_friendly(ABARS, mean, std)
    a, b = ((float(values[k]) - mean) / std for k in (-1, 0))
    density = [math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in (a, b)]
    wanted = mean + std * (density[0] - density[1]) / (phi(b) - phi(a))
    assert float((values * chances).sum()) == pytest.approx(wanted, abs=1e-3)
    drawn = values[draw_timesteps(40_000, seeded(1), chances)]
    assert float(drawn.mean()) == pytest.approx(wanted, abs=5 * 2 / 200)


def test_a_very_wide_law_is_uniform_in_log_snr():
    values = log_snr(ABARS)
    edges = torch.cat([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    wanted = (edges[:-1] - edges[1:]) / (edges[0] - edges[-1])
    assert torch.allclose(style_friendly(ABARS, 0.0, 1e4), wanted, rtol=1e-4)


@pytest.mark.parametrize("mean, where", [(-40.0, 999), (40.0, 0)])
def test_far_outside_the_schedule_it_leans_on_the_nearer_end(mean, where):
    chances = style_friendly(ABARS, mean, 2.0)
    assert torch.isfinite(chances).all()
    assert chances.reshape(10, 100).sum(1)[where // 100] > 0.99


def test_draws_follow_the_chances():
    chances = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    counts = torch.bincount(draw_timesteps(20_000, seeded(2), chances), minlength=4) / 20_000
    assert counts[1] == 0 and torch.allclose(counts.double(), chances, atol=0.015)


def test_without_it_timesteps_are_drawn_as_ever():
    assert torch.equal(draw_timesteps(9, seeded(3)), torch.randint(1000, (9,), generator=seeded(3)))


# --- as a setting -------------------------------------------------------------------------------------------------------


def examples(pipe):
    z = torch.randn(6, 4, 16, 16, generator=seeded(4))
    return TrainingSet.from_latents(pipe, z, ["a b"] * 6)


def test_training_draws_noisy_timesteps_and_else_the_same_batch():
    pipe = shared_pipeline()
    one, two = (draw_batch(examples(pipe), 64, 1, "white", Settings(), chances=chances)
                for chances in (None, style_friendly(pipe.scheduler.alphas_cumprod, -6.0, 1.0)))
    assert torch.equal(one[0], two[0]) and torch.equal(one[3], two[3])
    assert one[2].float().mean() < 600 < 800 < two[2].float().mean()


def test_a_training_with_it_runs_and_is_another_one():
    from dislib.core.pipeline import separate

    pipe = shared_pipeline()
    losses = [[record.loss for record in finetune(separate(pipe), examples(pipe), max_train_steps=2, train_batch_size=4,
                                                  learning_rate=1e-4, **options)]
              for options in ({}, {"log_snr_mean": -3.0}, {"log_snr_mean": -3.0})]
    assert losses[0] != losses[1] == losses[2]


@pytest.mark.parametrize("options", [{"log_snr_mean": "low"}, {"log_snr_mean": math.nan}, {"log_snr_mean": -1e9},
                                     {"log_snr_std": 0.0}])
def test_settings_that_are_no_law_are_refused(options):
    with pytest.raises(TrainingError, match=next(iter(options))):
        Settings(**options)


def test_runs_from_before_the_setting_existed_can_go_on():
    old = {k: v for k, v in Settings().to_json().items() if not k.startswith("log_snr")}
    assert Settings().differences(old) == []
    assert Settings(log_snr_mean=-3.0).differences(old) == ["log_snr_mean", "log_snr_std"]


def test_the_command_line_knows_it(monkeypatch):
    import argparse

    from dislib.cli.finetune import add_command, settings_of

    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    told = parser.parse_args(["finetune", "--images", "x", "--out", "y", "--log_snr_mean", "-3", "--log_snr_std", "1.5"])
    found = settings_of(told)
    assert (found.log_snr_mean, found.log_snr_std) == (-3.0, 1.5)
