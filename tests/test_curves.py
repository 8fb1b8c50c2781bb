"""The figures of an evaluation: what they show, and what they refuse."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from dislib.errors import DislibError
from dislib.evaluation.table import METRICS, Row
from dislib.figures import curves
from dislib.figures.plots import png_bytes


def table(methods, *, style="dots", weights=(1, 3, 20)):
    rows = [Row(m, style, w, metric, 10 + k + w, 9 + k + w, 12 + k + w, 800)
            for k, m in enumerate(methods) for w in weights for metric in METRICS]  # fmt: skip
    return [*rows, Row("floor", style, None, "fid", 3.0, 2.0, 4.0, 800)]


def texts(fig):
    return [t.get_text() for ax in fig.axes for t in (*ax.texts, ax.title, ax._right_title)]


def legend(fig):
    [found] = [box for box in (*fig.legends, *(ax.get_legend() for ax in fig.axes)) if box]
    return [t.get_text() for t in found.get_texts()]


def test_the_papers_curve():
    fig = curves.paper_curve(table(["base", "ours"]), style="dots")
    [ax] = fig.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines["ours"] == [[12.0, 12.0], [14.0, 14.0], [31.0, 31.0]]
    assert legend(fig) == ["base", "ours", "floor: fresh renders, n = 800"]
    assert texts(fig).count("w = 1") == texts(fig).count("w = 20") == 2
    assert "ours from 12 at CLIP score 12 (w = 1) to 31 at CLIP score 31 (w = 20)" in fig.alt
    assert "CLIP score" in ax.get_xlabel() and "FID" in ax.get_ylabel()
    # the bands: a cross a point
    assert [list(line.get_xdata()) for line in ax.lines][:2] == [[10.0, 13.0], [11.0, 11.0]]


@pytest.mark.parametrize("count", [1, 4, 12])
def test_many_methods_are_told_apart(count):
    methods = [f"method {k}" for k in range(count)]
    fig = curves.paper_curve(table(methods), style="dots", yscale="log")
    assert legend(fig)[:count] == methods
    looks = {tuple(curves._look(k).values()) for k in range(21)}
    assert len(looks) == 21
    assert any("hollow: w = 1, last: w = 20" in t for t in texts(fig)) == (count > 3)
    assert len(png_bytes(fig)) <= 150_000


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_against_the_weight(metric):
    fig = curves.against_guidance(table(["base", "ours"]), metric, style="dots")
    [ax] = fig.axes
    assert [list(line.get_ydata()) for line in ax.lines][:2] == [[11.0, 13.0, 30.0], [12.0, 14.0, 31.0]]
    assert len(ax.collections) == 2  # bands
    guides = {"fid": ["floor: fresh renders, n = 800"], "nfid": ["the base itself"]}.get(metric, [])
    assert legend(fig) == ["base", "ours", *guides]
    assert metric in fig.alt and "base from 11 to 30" in fig.alt


def test_a_base_that_is_drawn_needs_no_guide():
    whole = [row._replace(value=1.0) if row[0] == "base" else row for row in table(["base", "ours"])]
    assert legend(curves.against_guidance(whole, "nfid", style="dots")) == ["base", "ours"]
    assert "the base itself" in legend(curves.against_guidance([r for r in whole if r[0] != "base"], "nfid", style="dots"))


def test_a_single_point_and_a_method_with_fewer_weights():
    rows = [*table(["base"]), *table(["ours"], weights=(3,))]
    for fig in (curves.paper_curve(rows, style="dots"), curves.against_guidance(rows, "kid", style="dots")):
        assert "ours" in legend(fig)


def test_a_folder_of_pictures_is_a_point_with_its_band_on_a_plain_axis():
    rows = table(["ours"], weights=(3,))
    [ax] = curves.against_guidance(rows, "kid", style="dots").axes
    [row] = [r for r in rows if r.metric == "kid" and r.guidance == 3]
    heights = [segment[:, 1].tolist() for lines in ax.collections for segment in lines.get_segments()]
    assert heights == [[row.low, row.high]]
    assert ax.get_xlim() == (2, 4) and ax.get_xticks().tolist() == [3]


def test_names_that_a_legend_would_lose_or_not_hold():
    names = ["_mine", "a name that goes on and on and on, well beyond what a legend can hold"]
    found = legend(curves.against_guidance(table(names), "clip", style="dots"))
    assert found[0].strip() == "_mine" and len(found) == 2 and len(found[1]) < 50


def test_a_floor_below_zero_has_no_place_on_a_logarithmic_axis():
    rows = [r._replace(value=-0.1) if r.method == "floor" else r for r in table(["base", "ours"])]
    assert "floor" in str(legend(curves.against_guidance(rows, "fid", style="dots")))
    assert "floor" not in str(legend(curves.against_guidance(rows, "fid", style="dots", yscale="log")))


def test_results_that_are_not_there_are_named():
    with pytest.raises(DislibError, match="no results of fid and clip for the style 'comic'"):
        curves.paper_curve(table(["base"]), style="comic")
    with pytest.raises(DislibError, match="no results of fid"):
        curves.against_guidance([], "fid", style="dots")


def test_the_sheet_of_kept_pictures(tmp_path):
    plan = {"prompts": ["a house", "a boat"], "images_per_prompt": 4, "seed": 0, "batch_size": 4}
    (tmp_path / "settings.json").write_text(json.dumps(plan))
    with pytest.raises(DislibError, match="kept no pictures"):
        curves.picture_sheet(tmp_path)
    for w, names in {"1": ("00000", "00004"), "1.5": ("00000", "00004"), "20": ("00000",)}.items():
        (tmp_path / "pictures" / f"w{w}").mkdir(parents=True)
        for name in names:
            Image.new("RGB", (32, 32), "red").save(tmp_path / "pictures" / f"w{w}" / f"{name}.png")
    fig = curves.picture_sheet(tmp_path)
    assert fig.alt == "2 x 3 pictures. Rows: a house, a boat. Columns: w = 1, w = 1.5, w = 20"
    assert curves.picture_sheet(tmp_path, guidance=[1.5], count=1).alt.startswith("1 x 1 pictures")
    shown = np.asarray(Image.open(io.BytesIO(png_bytes(fig))).convert("RGB"))
    assert (shown == (255, 0, 0)).all(-1).any()


@pytest.mark.parametrize("draw", [curves.paper_curve, lambda rows, **how: curves.against_guidance(rows, "fid", **how)])
def test_methods_can_be_shown_by_another_name(draw):
    fig = draw(table(["base", "ours"]), style="dots", labels={"ours": "Diffusion in Style"})
    assert "Diffusion in Style from" in fig.alt and "base from" in fig.alt and "ours" not in fig.alt
