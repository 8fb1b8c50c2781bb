"""What lesson 05 measures: each claim on data where it is true, on data where it is not, and its control."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import images, schedule, shared_pipeline
from PIL import Image

from dislib import generate
from dislib.core.correlated import CorrelatedPrior
from dislib.core.gaussian import Law, mixture, on_the_line, wasserstein
from dislib.core.prior import StylePrior
from dislib.errors import DislibError
from dislib.evaluation.table import Row
from dislib.lessons import lesson_05 as lesson
from dislib.lessons.claim import above
from dislib.training.objective import draw_noise

MU = torch.linspace(-1, 2, 4 * 8 * 8).reshape(4, 8, 8)


def noise(n, seed=0, shape=(4, 8, 8)):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed))


def flat(colour, size=64):
    return Image.new("RGB", (size, size), tuple(int(c) for c in colour))


WORDS = {"against": "with nothing", "why": "three is the threshold"}


# --- a claim ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data, control, holds", [(5, 0, True), (5, 6, False), (0, 0, False), (0, 5, False)])
def test_a_claim_needs_a_yes_and_a_control_that_says_no(data, control, holds):
    measure = lambda number: above(number, 3)
    claim = lesson.judge_claim("Five is more than three", measure, data, control, "text", **WORDS)
    assert bool(claim) is holds and (claim.value, claim.control.value, claim.threshold) == (data, control, 3)


def test_the_scoreboard_tells_every_verdict():
    measure = lambda number: above(number, 3)
    claims = {str(k): lesson.judge_claim(f"name {k}", measure, k, 0, "", **WORDS) for k in (2, 5)}
    board = lesson.Scoreboard(claims)
    text = board._repr_markdown_()
    assert text.count("\n") == 3 and "| 2 | name 2 | 2 | 3 | 0 | **does not hold** |" in text
    assert "| 5 | name 5 | 5 | 3 | 0 | holds |" in text and "name 5" in repr(board)


# --- 1, 2: the start and the sampler ------------------------------------------------------------------------------------


def test_shares_of_the_mean():
    heap = torch.stack([0 * MU, MU, 2 * MU])
    assert lesson.shares(heap, MU).tolist() == pytest.approx([0, 1, 2])


def test_more_of_the_mean_where_there_is_more_and_not_elsewhere():
    matched, paper = MU + noise(40), 0.8 * MU + noise(40, 1)
    claim = lesson.claim_matched_holds_more(matched, paper, MU)
    assert claim and abs(claim.control.value) < 3 < claim.value
    assert not lesson.claim_matched_holds_more(paper, matched, MU)
    assert not lesson.claim_matched_holds_more(matched, MU + noise(40, 2), MU)


def test_arriving_at_the_mean():
    here, far = MU + noise(30), 0.3 * MU + noise(30)
    assert lesson.claim_centred_arrives(here, far, MU)
    assert not lesson.claim_centred_arrives(far, far, MU)
    assert not lesson.claim_centred_arrives(here, here, MU)  # a control that arrives, too, proves nothing


def test_what_was_kept_of_the_samplers(tmp_path):
    fid = lambda value: {"fid": {"value": value, "floor": 4.0}}
    kept = {"styles": {"sketch": {"held-out pictures": {"spread": 1}, "deterministic": fid(9.0), "unit noise": fid(99.0)}}}
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    assert lesson.kept_samplers(tmp_path / "kept.json") == ["sketch     deterministic 9, unit noise 99 (floor 4)"]


# --- 3: priors ----------------------------------------------------------------------------------------------------------


def joined(n, seed):
    """Latents with a common shift of all their numbers."""
    return noise(n, seed) + 2 * torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(seed + 100))


def test_bits_are_log2_densities_a_number():
    prior = StylePrior(torch.zeros(4, 8, 8), torch.full((4, 8, 8), 0.5))
    at_the_mean = lesson.bits(prior, torch.zeros(3, 4, 8, 8))
    assert at_the_mean == pytest.approx(-math.log2(0.5 * math.sqrt(2 * math.pi)))
    half = StylePrior(prior.mean, prior.std / 2)
    assert lesson.bits(half, torch.zeros(3, 4, 8, 8)) - at_the_mean == pytest.approx(1)


def test_covariance_foretells_what_goes_together_and_not_what_does_not():
    seen = joined(200, 1)
    diagonal, joint = StylePrior.from_latents([seen]), CorrelatedPrior.low_frequencies(seen, 1)
    claim = lesson.claim_covariance_foretells(joint, diagonal, joined(60, 2))
    assert claim and claim.control.value < 0.5
    assert not lesson.claim_covariance_foretells(joint, diagonal, lesson.torn_apart(joined(60, 2)))
    assert not lesson.claim_covariance_foretells(diagonal, joint, joined(60, 2))


def test_shrinking_helps_the_few_and_not_the_many():
    few, many = noise(4, 1), 0.2 * noise(900, 2) + MU
    plain, shrunk = (StylePrior.from_latents([few], shrink=s) for s in (0, 0.3))
    assert lesson.claim_shrinking_helps_the_few(shrunk, plain, noise(50, 3))
    plain, shrunk = (StylePrior.from_latents([many], shrink=s) for s in (0, 0.3))
    assert not lesson.claim_shrinking_helps_the_few(shrunk, plain, 0.2 * noise(50, 3) + MU)


def test_a_coin_does_not_reach_the_threshold():
    assert lesson.likelier_threshold(100) == pytest.approx(0.65)
    with pytest.raises(DislibError, match="too few"):
        lesson.likelier_threshold(8)


def test_what_the_controls_do_to_latents():
    z = joined(30, 4)
    apart, moved = lesson.torn_apart(z), lesson.moved_about(z)
    for column in (0, 17, 200):
        assert torch.equal(apart.flatten(1)[:, column].sort().values, z.flatten(1)[:, column].sort().values)
    assert apart.mean((1, 2, 3)).std() < 0.3 < z.mean((1, 2, 3)).std()
    assert torch.equal(moved.flatten(2).sort(2).values, z.flatten(2).sort(2).values) and not torch.equal(moved, z)


def test_spreads_of_colours():
    assert lesson.colour_spread([flat((90, 90, 90))] * 3) == pytest.approx(0, abs=1e-6)
    assert lesson.colour_spread([flat((0, 0, 0)), flat((255, 255, 255))]) == pytest.approx(100 / math.sqrt(2), abs=0.5)


# --- 4: the line --------------------------------------------------------------------------------------------------------


def test_wasserstein_of_known_laws():
    assert wasserstein(Law(0.0, 1.0), Law(3.0, 5.0)) == 5
    one, two = (StylePrior(torch.full((4, 2, 2), m), torch.full((4, 2, 2), s)) for m, s in ((0.0, 1.0), (3.0, 5.0)))
    assert wasserstein(one, two) == pytest.approx(5 * 4)  # 16 numbers
    assert wasserstein(one, one) == 0


def test_it_is_the_least_cost_of_moving_draws():
    one, two = Law(0.3, 0.5), Law(-1.0, 1.4)
    u = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double().sort().values
    cost = ((one.mean + one.std * u) - (two.mean + two.std * u)).square().mean().sqrt()  # sorted against sorted
    assert wasserstein(one, two) == pytest.approx(float(cost), rel=0.01)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_the_line_is_straight_and_mixtures_are_not(t):
    one, two = Law(torch.zeros(5), torch.ones(5)), Law(torch.full((5,), 3.0), torch.full((5,), 0.2))
    middle = on_the_line(one, two, t)
    assert wasserstein(one, middle) == pytest.approx(t * wasserstein(one, two), abs=1e-5)
    assert lesson.detour(one, two, middle) == pytest.approx(1)
    assert (lesson.detour(one, two, mixture(one, two, t)) > 1.05) == (0 < t < 1)
    if 0 < t < 1:
        priors = [StylePrior(law.mean.reshape(5, 1, 1), law.std.reshape(5, 1, 1)) for law in (one, two)]
        mixed = StylePrior.mix(priors, [1 - t, t])
        assert torch.allclose(mixed.std.flatten(), middle.std) and torch.allclose(mixed.mean.flatten(), middle.mean)


def test_a_mixture_has_the_moments_of_a_heap_of_both():
    one, two, t = Law(-1.0, 0.5), Law(2.0, 1.0), 0.3
    draw = torch.Generator().manual_seed(1)
    u, second = torch.randn(400_000, generator=draw), torch.rand(400_000, generator=draw) < t
    heap = torch.where(second, two.mean + two.std * u, one.mean + one.std * u)
    assert (float(heap.mean()), float(heap.std())) == pytest.approx(mixture(one, two, t), abs=0.01)


def fading(columns, rows=4):
    """Rows of flat pictures that go from dark to light, each row in a hue of its own."""
    t = np.linspace(0, 1, columns)
    return t, [[flat(20 + 200 * s + np.array([0, 8 * r, 4 * r])) for s in t] for r in range(rows)]


def test_pictures_that_move_along_and_pictures_that_do_not():
    t, rows = fading(6)
    claim = lesson.claim_pictures_follow(t, rows)
    assert claim and claim.value > 0.95 and claim.control.value < 0.8
    rng = np.random.default_rng(5)
    assert not lesson.claim_pictures_follow(t, [[row[i] for i in rng.permutation(6)] for row in rows])
    with pytest.raises(DislibError, match="at least three"):
        lesson.claim_pictures_follow(t, rows[:2])


def test_a_jump_is_not_held_against_a_prompt():
    """A row that is dark throughout, since its prompt says so, only dampens."""
    t, rows = fading(6)
    rows[0] = [flat((10, 10, 12))] * 6
    assert lesson.measure_along((t, rows)).passes


# --- 5: sizes -----------------------------------------------------------------------------------------------------------


def test_a_layout_survives_resizing_where_there_is_one():
    layout = torch.zeros(4, 8, 8)
    layout[:, :4] = 3.0
    there = torch.nn.functional.interpolate(layout[None], scale_factor=1.5)[0]
    trial = lesson.SizeTrial.of(layout + noise(60), there + noise(60, 1, (4, 12, 12)))
    held = there + noise(40, 2, (4, 12, 12))
    assert lesson.claim_layout_survives(trial.resized, trial.flat, held)
    assert trial.bits(held) == [lesson.bits(prior, held) for prior in trial] and trial.bits(held)[2] == min(trial.bits(held))
    assert trial.flat.mean[0].std() < 1e-6 and trial.resized.shape == (4, 12, 12)
    without = noise(40, 3, (4, 12, 12))
    empty = lesson.SizeTrial.of(noise(60, 4), noise(60, 5, (4, 12, 12)))
    assert not lesson.claim_layout_survives(empty.resized, empty.flat, without)


def test_a_pipeline_at_another_size_paints_there_and_leaves_the_first_alone():
    pipe = shared_pipeline()
    before = pipe.unet.config.sample_size
    wide = lesson.at_size(pipe, 64, 96)
    [[sample]] = generate(wide, ["a b"], [1], steps=2)
    assert sample.image.size == (96, 64) and sample.latent.shape == (4, 8, 12)
    [[sample]] = generate(lesson.at_size(pipe, 96), ["a b"], [1], steps=2)
    assert sample.image.size == (96, 96)
    assert pipe.unet.config.sample_size == before == 16
    with pytest.raises(ValueError, match="not a multiple"):
        lesson.at_size(pipe, 96, 100)


# --- 6: zero SNR --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abar", [1e-6, 0.02, 0.5])
def test_both_questions_give_the_picture_back(abar):
    a, b, x, eps = math.sqrt(abar), math.sqrt(1 - abar), 0.7, -1.1
    z, v = a * x + b * eps, a * eps - b * x
    assert lesson.picture_from_eps(z, eps, abar) == pytest.approx(x)
    assert lesson.picture_from_v(z, v, abar) == pytest.approx(x)


def test_eps_is_deaf_where_there_is_no_signal_and_only_there():
    claim = lesson.claim_eps_is_deaf(1e-6)
    assert claim and claim.value == pytest.approx(1000, rel=1e-3) and claim.control.value == pytest.approx(1, abs=1e-3)
    assert not lesson.claim_eps_is_deaf(0.02)


@pytest.mark.parametrize("abar", [0.1, 1e-4])
def test_a_bent_schedule_ends_where_it_is_told(abar):
    pipe = shared_pipeline()
    kept = lesson.ending_at(pipe, abar).alphas_cumprod
    assert float(kept[-1]) == pytest.approx(abar, rel=1e-3)
    assert float(kept[0]) == pytest.approx(float(pipe.scheduler.alphas_cumprod[0]), rel=1e-5)
    assert (kept[1:] < kept[:-1]).all()


def test_its_own_end_leaves_the_schedule_alone():
    pipe = shared_pipeline()
    own = pipe.scheduler.alphas_cumprod
    assert torch.allclose(lesson.ending_at(pipe, float(own[-1])).alphas_cumprod, own, atol=1e-5)
    with pytest.raises(DislibError, match="above 0"):
        lesson.ending_at(pipe, 0.0)


# --- 7: noises ----------------------------------------------------------------------------------------------------------


def test_offset_noise_hides_the_mean_as_the_formula_says():
    claim = lesson.claim_offset_hides_the_mean((4, 16, 16))
    assert claim and claim.value == pytest.approx(math.sqrt(1 + 256 * 0.01), rel=0.05)
    assert claim.control.value == pytest.approx(1, abs=0.05)
    assert not lesson.claim_offset_hides_the_mean((4, 16, 16), offset=0.01)


def test_the_mean_of_style_noise_varies_with_its_sigma():
    prior = StylePrior(torch.ones(4, 16, 16), torch.full((4, 16, 16), 0.5))
    drawn = draw_noise(prior, noise(2000, shape=(4, 16, 16)), None)
    assert lesson.measure_quieter(drawn).value == pytest.approx(0.5, abs=0.03)


def row(method, value, style="sketch", guidance=2.0, metric="fid"):
    return Row(method, style, guidance, metric, value, value - 5, value + 5, 200)


def test_methods_are_told_apart_by_their_bands():
    rows = [row("a", 30), row("b", 60), row("a", 30, "comic"), row("b", 35, "comic"), row("a", 90, "neon"), row("b", 60, "neon"),
            row("a", 1, "other"), row("a", 1, metric="kid"), row("b", 99, guidance=3.0)]  # fmt: skip
    lines = lesson.told_apart(rows, "a", "b", guidance=2)
    assert [line.split("]")[-1].strip() for line in lines] == ["closer", "bands overlap", "farther"]
    assert lines[0].startswith("sketch     a    30 [25, 35]")


def test_nearer_to_the_style_and_not_nearer():
    style = [flat((240, 240, 240))] * 3
    near, far = ([flat(level + 3 * np.array([k % 3, k % 5, k % 2])) for k in range(16)] for level in (220, 120))
    assert lesson.claim_nearer(near, far, style, names=("near", "far"))
    assert not lesson.claim_nearer(far, near, style, names=("far", "near"))
    assert not lesson.claim_nearer(near, near[1:] + near[:1], style, names=("near", "near"))


# --- 8: copies ----------------------------------------------------------------------------------------------------------


def test_copies_are_found_and_fresh_pictures_are_not():
    train, held_out, fresh = images(20, seed=1), images(20, seed=2), images(24, seed=3)
    claim = lesson.claim_copies(train[:12] * 2, train, held_out, fresh)
    assert claim and claim.control.value < 0.6 < claim.value
    assert not lesson.claim_copies(fresh, train, held_out, fresh)


def test_the_pictures_a_model_was_tuned_on(tmp_path):
    for k, image in enumerate(images(6, size=64)):
        image.save(tmp_path / f"{k}.png")
    record = {"format": "dislib fine-tuning", "model": "tiny", "settings": {}, "files": ["1.png", "4.png"]}
    (tmp_path / "training.json").write_text(json.dumps(record))
    train, others = lesson.training_pictures(tmp_path, tmp_path, lambda file: file.name)
    assert train == ["1.png", "4.png"] and others == ["0.png", "2.png"]
    train, others = lesson.training_pictures(tmp_path / "nothing", tmp_path, lambda file: file.name)
    assert train == ["0.png", "1.png", "2.png"] and others == ["3.png", "4.png", "5.png"]


def test_schedules_of_the_lesson_are_what_it_says():
    """Mean -6 fits larger latents: on the embedded schedule, most of that law lies beyond the last timestep."""
    abars = schedule().alphas_cumprod
    assert lesson.style_friendly(abars, -6, 2.0)[-50:].sum() > lesson.style_friendly(abars, -3, 2.0)[-50:].sum() > 0.05
