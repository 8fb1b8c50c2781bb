"""Figures: sharp, small, readable on a dark page, and shown once in a notebook."""

import base64
import html
import importlib
import io
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from dislib.errors import DislibError
from dislib.figures import plots


def picture(rng=0, *, size=48):
    """Noise: the hardest picture to store, and the easiest to see whether pixels moved."""
    return Image.fromarray(np.random.default_rng(rng).integers(0, 256, (size, size, 3), dtype=np.uint8))


def figures():
    pictures = [picture(k) for k in range(6)]
    x = np.arange(1, 6)
    return {
        "grid": plots.image_grid(pictures, rows=2, row_labels=["a pink mushroom in fog on the water", "b"],
                                 col_labels=list("xyz"), title="A grid"),
        "strip": plots.strip(pictures[:3], ["one", "two", "three"]),
        "mu": plots.latent_maps(np.random.default_rng(0).normal(size=(4, 16, 16)), title="mu"),
        "curve": plots.curve(x, {"a": x, "b": x**2}, bands={"a": (x - 1, x + 1)}, lines={"chance": 2}, xscale="log"),
        "bars": plots.bars({"a": 0.3, "b": 0.2}, intervals={"a": (0.2, 0.4)}, lines={"chance": 0.125}, title="Bars"),
    }


FIGURES = figures()


def pixels(fig, *, limit=10**9):
    return np.asarray(Image.open(io.BytesIO(plots.png_bytes(fig, limit=limit))).convert("RGB"))


def contrast(one, other):
    """WCAG contrast ratio of two colours."""
    light = sorted(np.dot([0.2126, 0.7152, 0.0722], np.power(mpl.colors.to_rgb(c), 2.2)) for c in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_small_opaque_and_told_in_words(name, tmp_path):
    fig = FIGURES[name]
    plots.save_png(fig, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size <= plots.LIMIT
    image = Image.open(tmp_path / "a.png")
    assert image.mode in ("RGB", "P") and "transparency" not in image.info
    assert image.width <= plots.WIDTH
    assert len(fig.alt) > 15


@pytest.mark.parametrize("name", FIGURES)
def test_no_letter_is_smaller_than_11_pt(name):
    FIGURES[name].draw_without_rendering()
    texts = [t for t in FIGURES[name].findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 11


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_figure(name):
    fig = FIGURES[name]
    fig.draw_without_rendering()
    box = fig.get_tightbbox()  # in inches
    assert box.x0 > -0.01 and box.y0 > -0.01
    assert box.x1 < fig.get_figwidth() + 0.01 and box.y1 < fig.get_figheight() + 0.01


def test_pictures_that_fit_are_shown_pixel_for_pixel():
    """800 px of room for 128-px pictures in a row of six: no pixel is touched."""
    images = [[picture(6 * r + c, size=128) for c in range(6)] for r in range(2)]
    shown = pixels(plots.image_grid(images, title="Title", col_labels=list("abcdef")))
    found = [_find(shown, np.asarray(image)) for row in images for image in row]
    assert all(found) and len(set(found)) == 12
    assert [x for x, _ in found[:6]] == sorted(x for x, _ in found[:6])
    assert len({y for _, y in found[:6]}) == 1 and found[0][1] < found[6][1]


def _find(canvas, image):
    """Upper left corner of `image` in `canvas`."""
    h, w = image.shape[:2]
    for y, x in np.argwhere((canvas == image[0, 0]).all(axis=-1)):
        if y + h <= len(canvas) and x + w <= canvas.shape[1] and (canvas[y : y + h, x : x + w] == image).all():
            return int(x), int(y)


def test_large_and_small_pictures_fill_the_width_sensibly():
    wide = plots.image_grid([picture(size=512)] * 8)
    assert pixels(wide).shape[1] <= plots.WIDTH
    few = plots.image_grid([picture(size=128)] * 3)
    assert pixels(few).shape[1] == pytest.approx(3 * 192, abs=30)


def test_a_flat_list_is_laid_out_and_gaps_are_left():
    images = [picture(k) for k in range(5)]
    assert "2 x 3 pictures" in plots.image_grid(images, rows=2).alt
    assert "3 x 2 pictures" in plots.image_grid(images, cols=2).alt
    assert "1 x 5 pictures" in plots.image_grid(images).alt
    assert "1 x 2 pictures" in plots.image_grid([[None, images[0]]]).alt


def test_a_grid_that_does_not_fit_its_labels_is_refused():
    with pytest.raises(DislibError, match="3 row_labels for 2 rows"):
        plots.image_grid([[picture()], [picture()]], row_labels=list("abc"))
    with pytest.raises(DislibError, match="list is empty"):
        plots.image_grid([])
    with pytest.raises(DislibError, match="all of them are None"):
        plots.image_grid([None])


def test_too_large_a_figure_loses_colours_then_size():
    fig = plots.image_grid([[picture(4 * r + c, size=100) for c in range(4)] for r in range(4)])
    full = plots.png_bytes(fig, limit=10**9)
    assert len(full) > plots.LIMIT
    small = plots.png_bytes(fig)
    assert len(small) <= plots.LIMIT
    assert Image.open(io.BytesIO(small)).width < Image.open(io.BytesIO(full)).width


def jpeg_of(fig, **options):
    """The JPEG that a notebook is shown."""
    data, metadata = plots.shown(fig, **options)
    assert set(data) == {"text/html", "text/plain"} and metadata == {}
    return base64.b64decode(re.search(r'src="data:image/jpeg;base64,([^"]*)"', data["text/html"])[1])


def test_a_notebook_shows_many_pictures_in_full_colour_and_size():
    photos = [picture(k, size=6).resize((100, 100), Image.Resampling.BICUBIC) for k in range(25)]  # smooth, as photos
    fig = plots.image_grid(photos, rows=5)
    exact, seen = pixels(fig, limit=10**9), np.asarray(Image.open(io.BytesIO(jpeg_of(fig))))
    assert exact.shape == seen.shape and np.abs(exact - 1.0 * seen).mean() < 4


@pytest.mark.parametrize("limit", [100_000, 10_000])
def test_even_the_hardest_picture_is_small_in_a_notebook(limit):
    fig = plots.image_grid([[picture(8 * r + c, size=100) for c in range(8)] for r in range(8)])
    jpeg = jpeg_of(fig, limit=limit)
    assert len(jpeg) <= limit and Image.open(io.BytesIO(jpeg)).width ** 2 > limit / 2


def test_mu_is_white_at_its_centre_and_symmetric():
    maps = np.zeros((4, 16, 16))
    maps[0], maps[1] = 2.0, -1.0
    fig = plots.latent_maps(maps)
    images = [ax.images[0] for ax in fig.axes[:4]]
    assert {im.get_clim() for im in images} == {(-2.0, 2.0)}
    sigma = plots.latent_maps(maps + 1, centre=1.0, limit=0.5)
    assert sigma.axes[0].images[0].get_clim() == (0.5, 1.5)
    assert "mean 2.00" in fig.alt


def test_latents_of_a_whole_batch_are_refused():
    with pytest.raises(DislibError, match=r"\(2, 4, 16, 16\).*one latent"):
        plots.latent_maps(np.zeros((2, 4, 16, 16)))


def test_colours_stand_out_from_the_ground():
    assert contrast(plots.INK, plots.PAPER) > 10
    assert contrast(plots.GUIDE, plots.PAPER) > 4
    assert all(contrast(colour, plots.PAPER) > 2 for colour in plots.COLOURS)


def test_style_is_for_the_block_alone():
    before = mpl.rcParams["font.size"], mpl.rcParams["axes.facecolor"]
    with plots.style():
        assert mpl.rcParams["font.size"] >= 11
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == plots.COLOURS
    assert (mpl.rcParams["font.size"], mpl.rcParams["axes.facecolor"]) == before


def test_text_alternatives_tell_the_numbers():
    assert FIGURES["bars"].alt == "Bars: a 0.30, b 0.20, chance 0.125"
    assert "b from 1 to 25" in FIGURES["curve"].alt
    assert FIGURES["strip"].alt == "1 x 3 pictures. Columns: one, two, three"
    assert plots.strip([picture()], ["a"], alt="A red house.").alt == "A red house."


def test_a_notebook_shows_the_figure_once_with_its_alternative():
    shown = []
    display = importlib.import_module("IPython.core.interactiveshell").InteractiveShell.instance()
    publish, display.display_pub.publish = display.display_pub.publish, lambda *a, **k: shown.append((a, k))
    try:
        data, _ = display.display_formatter.format(FIGURES["mu"])
    finally:
        display.display_pub.publish = publish
    assert data == {} and len(shown) == 1
    _, message = shown[0]
    assert set(message["data"]) == {"text/html", "text/plain"}
    found = re.fullmatch(r'<img alt="([^"]*)" src="data:image/png;base64,([A-Za-z0-9+/=]*)">', message["data"]["text/html"])
    assert html.unescape(found[1]) == FIGURES["mu"].alt == message["data"]["text/plain"]
    assert found[2].startswith("iVBOR")  # PNG in base64


def test_no_alt_text_breaks_out_of_its_place():
    figure = plots.bars({"a": 1.0}, alt='the "a" <b> & \'c\'')
    page = plots.shown(figure)[0]["text/html"]
    assert page.startswith("<img alt=\"the &quot;a&quot; &lt;b&gt; &amp; &#x27;c&#x27;\" src=")


def test_nothing_is_drawn_through_pyplot():
    code = "import sys; from dislib.figures import plots; plots.bars({'a': 1.0}); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_curve_over_words_keeps_them():
    fig = plots.curve(["mean", "1", "2-3"], {"a": np.array([1.0, 10.0, 3.0])}, yscale="log")
    fig.canvas.draw()
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == ["mean", "1", "2-3"]
