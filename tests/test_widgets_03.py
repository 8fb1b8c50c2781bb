"""The widgets of lesson 03, *Forward process* and *Style mixer*: what they compute, moved by hand, swept."""

import asyncio

import numpy as np
import pytest
import torch
from helpers import build_pipeline, images, shared_pipeline
from sweep import controls, sweep, walk
from test_widgets import CORE, SHAPE, reraise, shows

from dislib.core.latents import decode, encode, white_noise
from dislib.core.prior import StylePrior
from dislib.core.sampling import generate
from dislib.errors import DislibError, PriorError
from dislib.figures.plots import CourseFigure
from dislib.widgets import ForwardProcess, StyleMixer, forward_process, style_mixer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy|ipywidgets|traitlets)")


def prior(mean, std=0.5):
    return StylePrior(torch.full(SHAPE, float(mean)), torch.full(SHAPE, float(std)), {"n": 50})


PRIORS = {"pale": prior(1.0), "dark": prior(-1.0, 0.25), "grey": prior(0.1, 1.0)}


def forward(**options):
    names = ["pale", "dark"]
    options = {"seed": 3, "pause": 0, "on_error": reraise, **options}
    return ForwardProcess(
        shared_pipeline(), dict(zip(names, images(2))), {name: PRIORS[name] for name in names}, **options
    )


def mixer(names=("pale", "dark", "grey"), **options):
    options = {"prompt": "a b", "pause": 0, "on_error": reraise, **options}
    return StyleMixer(shared_pipeline(), {name: PRIORS[name] for name in names}, **options)


def mix_by_hand(mean_weights, std_weights):
    mean = sum(w / sum(mean_weights) * prior.mean for w, prior in zip(mean_weights, PRIORS.values()))
    std = sum(w / sum(std_weights) * prior.std for w, prior in zip(std_weights, PRIORS.values()))
    return mean, std


# --- plain functions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0, 500, 999])
def test_noised_is_the_schedulers_own_forward_process(t):
    scheduler, (z, eps) = shared_pipeline().scheduler, white_noise([1, 2], SHAPE)
    z_t, a, b = forward_process.noised(scheduler, z, eps, t)
    assert torch.allclose(z_t, scheduler.add_noise(z[None], eps[None], torch.tensor([t]))[0], atol=1e-6)
    assert a**2 + b**2 == pytest.approx(1)


def test_both_noises_are_made_of_one_draw():
    u = white_noise([1], SHAPE)[0]
    eps = forward_process.both_noises(PRIORS["dark"], u)
    assert torch.equal(eps["white"], u) and torch.allclose(eps["style"], -1 + 0.25 * u)


def test_mean_and_spread_are_mixed_apart():
    made = style_mixer.mixed(list(PRIORS.values()), [1, 1, 0], [0, 0, 3])
    mean, std = mix_by_hand([1, 1, 0], [0, 0, 3])
    assert torch.allclose(made.mean, mean, atol=1e-6) and torch.allclose(made.std, std)
    assert made.meta["mix"] == [0.5, 0.5, 0.0] and made.meta["mix of std"] == [0.0, 0.0, 1.0]


def test_the_mixer_paints_as_generate_does():
    pipe, mixture = shared_pipeline(), PRIORS["dark"]
    (image,) = style_mixer.paint(pipe, "a b", 5, [mixture], "leak")
    ((sample,),) = generate(pipe, ["a b"], [5], prior=mixture, start="leak")
    assert np.array_equal(image, sample.image)


# --- Forward process --------------------------------------------------------------------------------------------------


def test_it_shows_the_picture_in_both_noises():
    panel = forward(t=400)
    z, u = encode(shared_pipeline(), images(2))[0], white_noise([3], SHAPE)[0]
    abar = float(shared_pipeline().scheduler.alphas_cumprod[400])
    for name, eps in (("white", u), ("style", 1 + 0.5 * u)):
        z_t = abar**0.5 * z + (1 - abar) ** 0.5 * eps
        assert torch.allclose(panel.latents[name], z_t, atol=1e-5)
        assert shows(panel.views[name], panel.images[name])
    assert np.array_equal(
        panel.images["white"], decode(shared_pipeline(), torch.stack(list(panel.latents.values())))[0]
    )
    assert f"{abar**0.5:.2f} z" in panel.sums["white"].value and "μ + σ u" in panel.sums["style"].value


def test_at_the_end_style_noise_holds_the_mean_and_more():
    panel = forward(t=999)
    panel.z["pale"] = PRIORS["pale"].mean  # a picture that is the style's mean
    panel.draw()
    abar = float(shared_pipeline().scheduler.alphas_cumprod[999])
    a, b = abar**0.5, (1 - abar) ** 0.5
    told = [float(word) for word in panel.mean_line.value.split() if word.replace(".", "").replace("-", "").isdigit()]
    assert told[1] == pytest.approx(a + b, abs=0.05) and told[0] == pytest.approx(a, abs=0.1)


@pytest.mark.parametrize("control, value", [("t", 10), ("style", "dark"), ("seed_box", 8)])
def test_every_control_changes_both_pictures(control, value):
    panel = forward()
    before = [view.value for view in (*panel.views.values(), *panel.strips.values())]
    getattr(panel, control).value = value
    assert all(view.value != old for view, old in zip((*panel.views.values(), *panel.strips.values()), before))


def test_dragging_decodes_once(monkeypatch):
    drawn = []

    async def drag():
        panel = forward(pause=0.05)
        monkeypatch.setattr(panel, "draw", lambda: drawn.append(panel.t.value))
        for value in range(100, 600, 100):
            panel.t.value = value
        assert drawn == []
        await asyncio.sleep(0.3)

    asyncio.run(drag())
    assert drawn == [500]


def test_pictures_are_made_to_fit_and_styles_must_agree():
    pipe, (large, small) = shared_pipeline(), (*images(1, size=200), *images(1))
    ForwardProcess(pipe, {"pale": large}, {"pale": PRIORS["pale"]}, on_error=reraise)
    with pytest.raises(DislibError, match="pictures of pale and priors of dark; give one of each"):
        ForwardProcess(pipe, {"pale": small}, {"dark": PRIORS["dark"]})
    with pytest.raises(DislibError, match="priors of no style"):
        ForwardProcess(pipe, {}, {})
    with pytest.raises(PriorError, match=r"this prior has the shape \(4, 16, 16\)"):
        ForwardProcess(build_pipeline(sample_size=8), {"pale": small}, {"pale": PRIORS["pale"]})


def test_a_failure_while_decoding_is_told(monkeypatch):
    panel = forward(on_error=None)
    before = panel.views["white"].value
    monkeypatch.setattr(forward_process, "decode", lambda *_: reraise(DislibError("the VAE overflowed")))
    panel.t.value = 5
    assert "That did not work. the VAE overflowed" in panel.message.value and panel.views["white"].value == before


# --- Style mixer ------------------------------------------------------------------------------------------------------


def test_it_begins_with_equal_shares_and_shows_each_style_alone():
    panel = mixer()
    mean, std = mix_by_hand([1, 1, 1], [1, 1, 1])
    assert torch.allclose(panel.mixture.mean, mean, atol=1e-6) and torch.allclose(panel.mixture.std, std)
    assert shows(panel.view, panel.image) and all(shows(v, i) for v, i in zip(panel.pure_views, panel.pure))
    assert shows(panel.ground_view, decode(shared_pipeline(), mean)[0])
    alone = style_mixer.paint(shared_pipeline(), "a b", 3, [PRIORS["dark"]], "leak")[0]
    assert np.abs(np.asarray(panel.pure[1], dtype=int) - np.asarray(alone)).max() <= 1  # batches round differently
    assert "mu 33% : 33% : 33%" in panel.recipe.value


def test_weights_of_mean_and_spread_are_apart():
    panel = mixer()
    picture, ground = panel.view.value, panel.ground_view.value
    panel.of_std["pale"].value = 0
    assert panel.view.value != picture and panel.ground_view.value == ground
    panel.of_mean["dark"].value = 0
    assert panel.ground_view.value != ground
    mean, std = mix_by_hand([1, 0, 1], [0, 1, 1])
    assert torch.allclose(panel.mixture.mean, mean, atol=1e-6) and torch.allclose(panel.mixture.std, std)
    assert "mu 50% : 0% : 50%, sigma 0% : 50% : 50%" in panel.recipe.value
    panel.even_button.click()
    assert panel.ground_view.value == ground and "sigma 33% : 33% : 33%" in panel.recipe.value


def test_a_single_weight_is_that_style():
    panel = mixer(("pale", "dark"))
    for sliders in (panel.of_mean, panel.of_std):
        sliders["pale"].value = 0
    assert torch.allclose(panel.mixture.mean, PRIORS["dark"].mean)
    assert np.abs(np.asarray(panel.image, dtype=int) - np.asarray(panel.pure[1])).max() <= 1


def test_no_weight_at_all_is_told_and_the_picture_stays():
    panel = mixer(("pale", "dark"), on_error=None)
    panel.of_std["pale"].value = 0
    before = panel.view.value
    panel.of_std["dark"].value = 0
    assert "all weights of σ are 0; give one of the styles some" in panel.message.value and panel.view.value == before
    panel.of_std["dark"].value = 1
    assert panel.message.value == "" and panel.error is None


def test_a_slider_paints_one_picture_and_a_new_prompt_all(monkeypatch):
    panel, painted, kept = mixer(), [], style_mixer.paint
    monkeypatch.setattr(
        style_mixer, "paint", lambda pipe, prompt, seed, priors, kind: painted.append(len(priors))
        or kept(pipe, prompt, seed, priors, kind)
    )  # fmt: skip
    panel.of_mean["grey"].value = 0.25
    panel.prompt_box.value = "c"
    panel.seed_box.value = 9
    panel.start.value = "paper"
    assert painted == [1, 4, 4, 4]


def test_two_or_three_priors_of_this_model_and_a_known_start():
    with pytest.raises(DislibError, match="two or three priors, got 1"):
        mixer(("pale",))
    with pytest.raises(DislibError, match="no start 'other'; choose one of paper, matched, leak"):
        mixer(start="other")
    with pytest.raises(PriorError, match="compute the prior with this model"):
        StyleMixer(build_pipeline(sample_size=8), PRIORS)


# --- both -------------------------------------------------------------------------------------------------------------

ALL = {"forward": forward, "mixer": mixer}


@pytest.mark.parametrize("name", ALL)
def test_core_widgets_only_and_all_have_names(name):
    panel = ALL[name]()
    assert {type(w).__name__ for w in walk(panel.ui)} <= CORE | {"Dropdown"}
    assert all(control.description.strip() for control in controls(panel))


@pytest.mark.parametrize("name", ALL)
def test_the_twin_is_a_figure_with_words(name):
    figure = ALL[name]().twin()
    assert isinstance(figure, CourseFigure) and len(figure.alt) > 40


def test_the_sweep_moves_everything_and_puts_it_back():
    panels = forward(), mixer(("pale", "dark"))
    before = [[control.value for control in controls(panel)] for panel in panels]
    assert sweep(panels[0]) == 3 + 2 + 3  # t, style, seed
    assert sweep(panels[1], {"Prompt": ["c"]}) == 1 + 3 + 3 + 4 * 3 + 1  # text, seed, start, weights, button
    assert [[control.value for control in controls(panel)] for panel in panels] == before
