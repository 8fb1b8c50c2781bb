"""The widget of lesson 05, *From style to style*: what it computes, moved by hand, broken, swept."""

import pytest
import torch
from helpers import build_pipeline, shared_pipeline
from sweep import sweep, walk
from test_widgets import CORE, opened, reraise, shows

from dislib.core.gaussian import wasserstein
from dislib.core.latents import decode
from dislib.core.prior import StylePrior
from dislib.errors import DislibError, PriorError
from dislib.figures.plots import CourseFigure
from dislib.widgets import StyleLine
from dislib.widgets.style_line import PLACES, along
from dislib.widgets.style_mixer import paint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy|ipywidgets|traitlets)")

SHAPE = (4, 16, 16)
PRIORS = {
    name: StylePrior(torch.full(SHAPE, mean), torch.full(SHAPE, std))
    for name, mean, std in (("pale", 1.0, 0.5), ("dark", -1.0, 1.5), ("grey", 0.0, 1.0))
}


def line(**options):
    options = {"prompt": "a b", "pause": 0, "on_error": reraise, **options}
    return StyleLine(shared_pipeline(), PRIORS, **options)


def test_places_on_the_line():
    middle = along(PRIORS["pale"], PRIORS["dark"], 0.25)
    assert middle.mean.unique().tolist() == [0.5] and middle.std.unique().tolist() == [0.75]
    assert torch.equal(along(PRIORS["pale"], PRIORS["dark"], 0).mean, PRIORS["pale"].mean)


def test_it_shows_the_picture_of_its_place_and_how_far_the_ends_are():
    panel = line()
    assert (panel.one_box.value, panel.other_box.value, panel.slider.value) == ("pale", "dark", 0.5)
    panel.slider.value = 0.25
    here = along(PRIORS["pale"], PRIORS["dark"], 0.25)
    (image,) = paint(shared_pipeline(), "a b", 3, [here], "leak")
    assert shows(panel.view, image) and shows(panel.ground_view, decode(shared_pipeline(), here.mean)[0])
    far = wasserstein(PRIORS["pale"], PRIORS["dark"])
    assert f"W = {far / 4:.1f} from pale, {3 * far / 4:.1f} from dark" in panel.told.value
    before = panel.image
    panel.seed_box.value = 4
    assert panel.image is not before


def test_the_other_way_is_the_same_place():
    panel = line()
    panel.slider.value = 0.25
    before = panel.prior
    panel.swap_button.click()
    assert (panel.one_box.value, panel.other_box.value, panel.slider.value) == ("dark", "pale", 0.75)
    assert torch.allclose(panel.prior.mean, before.mean) and opened(panel.view).size == (128, 128)


def test_its_twin_shows_the_whole_line():
    fig = line(one="dark", other="grey").twin()
    assert isinstance(fig, CourseFigure) and fig.alt.startswith("From dark to grey") and "t = 0.4" in fig.alt
    assert len(fig.images) == 2 * len(PLACES)


def test_refusals():
    with pytest.raises(DislibError, match="two ends"):
        StyleLine(shared_pipeline(), {"pale": PRIORS["pale"]})
    with pytest.raises(DislibError, match="no prior of blue"):
        line(one="blue")
    with pytest.raises(PriorError, match="shape"):
        StyleLine(build_pipeline(sample_size=8), PRIORS)


def test_an_error_is_told_in_the_panel():
    panel = line(on_error=None)
    panel.priors = {**PRIORS, "dark": StylePrior(torch.zeros(4, 8, 8), torch.ones(4, 8, 8))}
    panel.slider.value = 0.1
    assert "That did not work" in panel.message.value and panel.error is not None


def test_every_control_moved():
    panel = line()
    assert sweep(panel, {"Prompt": ["c d"]}) == 3 + 3 + 3 + 3 + 1 + 1
    assert {type(widget).__name__ for widget in walk(panel.ui)} <= CORE | {"Dropdown", "FloatSlider"}
