"""Bands, references and the table: known answers, and what must not be compared."""

import time

import numpy as np
import pytest
from helpers import image_folder
from small_judge import save_judge

from dislib.errors import DislibError, DislibWarning, ImageError
from dislib.evaluation import metrics
from dislib.evaluation.bands import FrechetDraws, KernelDraws, all_draws, draw_counts
from dislib.evaluation.judge import both_features, fingerprint, load_judge, looked_at_by, open_picture
from dislib.evaluation.measure import floors, measure
from dislib.evaluation.metrics import fid, kid, mmd
from dislib.evaluation.reference import Reference, shipped_style, style_name
from dislib.evaluation.sweep import Point
from dislib.evaluation.table import METRICS, Row, over_styles, read_results, standings, write_results
from dislib.files import data_dir
from dislib.images.images import list_images, load_image
from recipes import references

META = {"judge": "small", "judge_fingerprint": "0", "features": "judge", "prompts": ["a"], "seed": 0,
        "images_per_prompt": 4}  # fmt: skip


def normal(n, d, *, shift=0.0, rng=0):
    return np.random.default_rng(rng).normal(size=(n, d)) + shift


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def point(n=80, *, shift=0.0, rng=0, d=6, clip=30.0, **meta):
    rows = np.arange(n)
    return Point(
        normal(n, d, shift=shift, rng=rng),
        unit(normal(n, 5, shift=1 + shift, rng=rng)),
        clip + normal(n, 1, rng=rng)[:, 0],
        rows,
        rows // 4,
        {**META, **meta},
    )


def reference(n=100, **others):
    return Reference("dots", normal(n, 6, rng=90), unit(normal(n, 5, shift=1, rng=90)), META, others)


def by_metric(rows):
    return {row.metric: row for row in rows}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return load_judge(save_judge(tmp_path_factory.mktemp("judge")), device="cpu")


# --- the fast bootstrap -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d", [(120, 16), (40, 16), (20, 16), (12, 30)])
def test_a_weighting_is_the_same_as_repeating_rows(n, d):
    """FID of the drawn rows, by both routes: n > d, and n < d by inner products."""
    x, y = normal(n, d), normal(50, d, shift=0.3, rng=1)
    draws, counts = FrechetDraws(x, y), draw_counts(np.arange(n) // 4, draws=5)
    assert draws(np.ones(n)) == pytest.approx(fid(x, y), rel=1e-6)
    for c in counts:
        assert draws(c) == pytest.approx(fid(np.repeat(x, c.astype(int), axis=0), y), rel=1e-6)


def test_fid_of_a_set_with_itself_is_zero_in_the_fast_way():
    x = normal(50, 8)
    assert FrechetDraws(x, x)(np.ones(50)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "distance, kernel, scale", [(kid, metrics.cubic_kernel, 1), (mmd, metrics.gaussian_kernel, 1000)]
)
def test_the_kernels_draws_are_the_estimate_of_the_rows(distance, kernel, scale):
    x, y = normal(40, 8), normal(30, 8, shift=0.3, rng=1)
    draws = KernelDraws(x, y, kernel)
    assert scale * draws(np.ones(40)) == pytest.approx(distance(x, y), rel=1e-9)
    first = np.repeat([1.0, 0.0], 20)  # a draw of the first half, each picture once
    assert scale * draws(first) == pytest.approx(distance(x[:20], y), rel=1e-9)
    # twice the same pictures say no more than once: their pairs with themselves do not count
    assert scale * draws(2 * first) == pytest.approx(distance(x[:20], y), rel=1e-9)


def test_counts_draw_whole_blocks():
    counts = draw_counts(["a", "a", "b", "c", "c", "c"], draws=200)
    assert (counts[:, 0] == counts[:, 1]).all() and (counts[:, 3] == counts[:, 5]).all()
    assert {int(c) for c in counts[:, 2]} == {0, 1, 2, 3} and counts[:, [0, 2, 3]].sum(axis=1).tolist() == [3.0] * 200
    assert np.array_equal(counts, draw_counts(["a", "a", "b", "c", "c", "c"], draws=200))
    with pytest.raises(DislibError, match="at least 2 blocks"):
        draw_counts(["a", "a"])


def test_the_bands_have_the_width_of_new_samples():
    """The spread of the draws against that of sets drawn anew, prompt by prompt: FID and KID."""
    y = normal(300, 6, rng=1000)

    def fresh(k):  # 50 prompts x 4 pictures that resemble each other
        centre = normal(50, 6, rng=2 * k)
        return 0.3 + np.repeat(0.7 * centre, 4, axis=0) + 0.7 * normal(200, 6, rng=2 * k + 1)

    for statistic, exact in (
        (lambda x: FrechetDraws(x, y), fid),
        (lambda x: KernelDraws(x, y, metrics.cubic_kernel), kid),
    ):
        anew = np.std([exact(fresh(k), y) for k in range(60)])
        bands = [
            np.std(all_draws(statistic(fresh(k)), draw_counts(np.arange(200) // 4, draws=60))[1]) for k in range(10)
        ]
        assert np.mean(bands) == pytest.approx(anew, rel=0.35)


def test_a_curve_of_bands_is_affordable():
    """The paper's point: 800 pictures of 200 prompts, d = 128, 200 draws; a minute is far more than it needs."""
    draws, begun = FrechetDraws(normal(800, 128), normal(800, 128, rng=1)), time.process_time()
    all_draws(draws, draw_counts(np.arange(800) // 4, draws=20))
    assert (time.process_time() - begun) * 10 < 60


# --- measuring --------------------------------------------------------------------------------------------------


def test_every_metric_at_every_weight():
    points, ref = {1.0: point(), 3.0: point(shift=0.5)}, reference()
    rows = list(measure(points, ref, method="ours", base=points, draws=30))
    assert [(r.guidance, r.metric) for r in rows] == [(w, m) for w in (1.0, 3.0) for m in METRICS]
    assert {(r.method, r.style, r.n) for r in rows} == {("ours", "dots", 80)}
    found = by_metric(rows[5:])
    assert found["fid"].value == pytest.approx(fid(points[3.0].pooled, ref.pooled))
    assert found["kid"].value == pytest.approx(kid(points[3.0].pooled, ref.pooled))
    assert found["mmd"].value == pytest.approx(mmd(points[3.0].projected, ref.projected))
    assert found["clip"].value == pytest.approx(points[3.0].clip.mean())
    assert all(r.low <= r.value <= r.high for r in rows)


def test_without_a_base_there_is_no_normalised_fid():
    assert "nfid" not in by_metric(measure({1.0: point()}, reference(), method="ours", draws=10))


def test_normalised_fid_is_the_ratio_and_of_the_base_itself_one():
    ref, base, ours = reference(), {2.0: point(shift=1.0)}, {2.0: point(shift=0.4, rng=1)}
    row = by_metric(measure(ours, ref, method="ours", base=base, draws=50))["nfid"]
    assert row.value == pytest.approx(fid(ours[2.0].pooled, ref.pooled) / fid(base[2.0].pooled, ref.pooled))
    assert row.low < row.value < row.high < 1
    row = by_metric(measure(base, ref, method="base", base=base, draws=10))["nfid"]
    assert row[4:7] == pytest.approx((1, 1, 1))


def test_bands_of_fid_do_not_go_below_zero():
    x = point(12)
    same = Reference("itself", x.pooled, x.projected, META)
    assert by_metric(measure({1.0: x}, same, method="copy", draws=20))["fid"].low >= 0


def test_floors_are_taken_with_as_many_pictures():
    other = {"pooled": normal(90, 6, rng=5), "projected": unit(normal(90, 5, shift=1, rng=5))}
    few = {key: a[:10] for key, a in other.items()}
    rows = floors(reference(**{"floor": other, "training images": few}), 40, draws=10)
    assert [(r.method, r.metric, r.n, r.guidance) for r in rows] == [
        (m, k, n, None) for m, n in (("floor", 40), ("training images", 10)) for k in ("fid", "kid", "mmd")
    ]
    assert rows[0].value == pytest.approx(fid(other["pooled"][:40], reference().pooled))


def test_features_of_another_judge_are_refused():
    for change in ({"judge_fingerprint": "1"}, {"features": "inception-v3-compat"}):
        with pytest.raises(DislibError, match="take both with one judge"):
            list(measure({1.0: point(**change)}, reference(), method="ours"))


def test_a_base_of_other_pictures_is_refused():
    ours, ref = {1.0: point(steps=12)}, reference()
    for base, words in (
        ({3.0: point()}, "no point at w = 1"),
        ({1.0: point(seed=5)}, "other settings .seed 5, not 0"),
        ({1.0: point(judge_fingerprint="1")}, "other settings .judge_fingerprint"),
        ({1.0: point(steps=2)}, "other settings .steps 2, not 12"),
        ({1.0: point(40)}, "lacks 40 of the 80 pictures at w = 1; go on with its sweep"),
    ):
        with pytest.raises(DislibError, match=words):
            list(measure(ours, ref, method="ours", base=base, draws=5))


def test_of_a_larger_base_the_same_pictures_are_taken():
    """FID depends on n, so a method of 40 pictures is not divided by a base of 80."""
    large, ref = point(80), reference()
    few = Point(*(getattr(large, name)[40:] for name in ("pooled", "projected", "clip", "rows", "prompts")), META)
    row = by_metric(measure({1.0: few}, ref, method="base", base={1.0: large}, draws=5))["nfid"]
    assert row.value == pytest.approx(1)


def test_features_with_nan_and_single_pictures_are_named():
    bad = point(8)
    bad.pooled[3] = np.nan
    with pytest.raises(DislibError, match="1 rows of x are not finite .*: 3;"):
        list(measure({1.0: bad}, reference(), method="ours", draws=5))
    with pytest.raises(DislibError, match="at least 3 pictures of 2 prompts are needed, got 4 of 1"):
        list(measure({1.0: point(4)}, reference(), method="ours", draws=5))
    with pytest.raises(DislibError, match="of 1 picture; .* at least 2"):
        list(measure({1.0: point(8)}, reference(1), method="ours", draws=5))


@pytest.mark.parametrize("k", [3, 4, 10])
def test_few_pictures_one_a_prompt_still_have_bands(k):
    """A draw may show one of them only, of which a kernel distance knows nothing."""
    x = point(k)
    few = Point(x.pooled, x.projected, x.clip, x.rows, np.arange(k), META)
    rows = list(measure({1.0: few}, reference(), method="ours"))
    assert all(np.isfinite(row[4:7]).all() and row.low < row.high for row in rows)
    counts = draw_counts(range(k), least=2)
    assert (np.count_nonzero(counts, axis=1) >= 2).all() and (counts.sum(axis=1) == k).all()


def test_a_style_is_named_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert [style_name(s) for s in ("sketch", "a/b/", ".", tmp_path / "mine")] == ["sketch", "b", "mine", "mine"]
    assert shipped_style("sketch").is_dir()
    there = data_dir() / "styles" / "sketch"
    assert [shipped_style(s) for s in (there, "styles/sketch", "nowhere", ".")] == [None] * 4


# --- references -------------------------------------------------------------------------------------------------


def test_a_folder_as_reference_says_that_it_is_small(judge, tmp_path):
    folder = image_folder(tmp_path / "my style", 5, size=40)
    with pytest.warns(DislibWarning, match="'my style' has only 5 pictures, .* read KID first"):
        found = Reference.of(folder, judge)
    assert (found.style, found.others) == ("my style", {}) and found.meta == looked_at_by(judge)
    expected = both_features([open_picture(folder / f"{i:03d}.png") for i in range(5)], judge)
    np.testing.assert_array_equal(found.pooled, expected["pooled"])


def test_folders_that_cannot_be_a_reference(judge, tmp_path):
    with pytest.raises(DislibError, match="holds 1 readable picture; a reference needs at least 2"):
        Reference.of(image_folder(tmp_path / "one", 1), judge)
    with pytest.raises(ImageError, match="there is no folder"):
        Reference.of("no such style", judge)


def test_pictures_are_cropped_alike(tmp_path):
    image_folder(tmp_path, 1, size=900)
    assert open_picture(tmp_path / "000.png").size == (512, 512)
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(ImageError, match="x.png: is not an image"):
        open_picture(tmp_path / "x.png")


def test_a_reference_survives_its_file(tmp_path):
    other = {"pooled": normal(9, 6), "projected": unit(normal(9, 5))}
    made = reference(**{"training images": other})
    made.save(tmp_path / "dots.safetensors")
    back = Reference.load(tmp_path / "dots.safetensors")
    assert back.style == "dots" and back.meta["judge_fingerprint"] == "0" and list(back.others) == ["training images"]
    np.testing.assert_allclose(back.others["training images"]["pooled"], other["pooled"], atol=2e-3)
    assert fid(back.pooled, made.pooled) < 1e-5


def test_a_shipped_style_by_name(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("DISLIB_DATA", str(tmp_path))
    image_folder(tmp_path / "styles" / "dots" / "test", 4, size=32)
    folder = tmp_path / "results" / "reference"
    folder.mkdir(parents=True)
    with pytest.warns(DislibWarning, match="only 4 pictures"):  # no features yet: the test pictures stand in
        assert Reference.of("dots", judge).style == "dots"
    made = Reference("dots", normal(9, 24), normal(9, 12), looked_at_by(judge))
    made.save(folder / "dots.safetensors")
    assert len(Reference.of("dots", judge).pooled) == 9
    Reference("dots", made.pooled, made.projected, {**made.meta, "judge_fingerprint": "old"}).save(
        folder / "dots.safetensors"
    )
    with pytest.raises(DislibError, match="made with another judge; run `python -m recipes references`"):
        Reference.of("dots", judge)
    mean_colour = lambda images: np.array([np.asarray(i).mean((0, 1)) for i in images])
    with pytest.warns(DislibWarning, match="only 4 pictures"):  # other eyes than the shipped features'
        assert Reference.of("dots", judge, features=mean_colour).pooled.shape == (4, 3)


def test_the_recipe_of_the_references(judge):
    """Renders by number, none of them twice and none of them a training image; the training images beside them."""
    made = references.reference("sketch", judge, data=data_dir(), count=3)
    assert len(made.pooled) == len(made.others["floor"]["pooled"]) == 3
    assert len(made.others["training images"]["pooled"]) == 100 and made.meta == looked_at_by(judge)
    again = both_features(references.renders("sketch", 0, 3), judge)
    np.testing.assert_array_equal(made.pooled, again["pooled"])
    files = list_images(data_dir() / "styles" / "sketch" / "train").files
    pictures = [p.tobytes() for p in (*references.renders("sketch", 0, 6), *(load_image(f, 128) for f in files))]
    assert len(set(pictures)) == 106


def test_shipped_references_are_of_the_shipped_judge():
    shipped = fingerprint(load_judge())
    for path in (data_dir() / "results" / "reference").glob("*.safetensors"):
        found = Reference.load(path)
        assert (
            found.meta["judge_fingerprint"] == shipped
            and len(found.pooled) == len(found.others["floor"]["pooled"]) == 800
        )
        assert (
            0
            < fid(found.others["floor"]["pooled"], found.pooled)
            < fid(found.others["training images"]["pooled"], found.pooled)
        )


# --- the table --------------------------------------------------------------------------------------------------


def test_the_table_survives_its_file(tmp_path):
    rows = [Row("plain, 300", "sketch", 1.5, "fid", 12.3456789, 11.0, 14.0, 800),
            Row("floor", "sketch", None, "kid", -0.001, -0.002, 0.001, 800)]  # fmt: skip
    write_results(tmp_path / "results.csv", rows)
    text = (tmp_path / "results.csv").read_text()
    assert text.splitlines()[:2] == ["method,style,guidance,metric,value,low,high,n",
                                     '"plain, 300",sketch,1.5,fid,12.3457,11,14,800']  # fmt: skip
    assert read_results(tmp_path / "results.csv") == [rows[0]._replace(value=12.3457), rows[1]]


@pytest.mark.parametrize("text, words", [
    ("", "expected the columns method, style"),
    ("method,style\n", "expected the columns"),
    ("{}a,b,1,fid,x,1,1,8\n", "line 2: could not convert"),
    ("{}a,b,1,fid,1,1,1\n", "line 2: 7 columns instead of 8; see .* mend the line or run the evaluation again"),
    ("{}a,b,1,fid,1,1,1,8\na,b,1,kid,nan,1,1,8\n", "line 3: a number that is not finite"),
    ("{}a,b,nan,fid,1,1,1,8\n", "line 2: a number that is not finite"),
    ("{}a,b,0,fid,1,1,1,8\n", "line 2: a guidance weight or"),
    ("{}a,b,1,fid,1,1,1,0\n", "line 2: .* number of pictures below 1"),
    ("{}a,b,1,fid,1,2,1,8\n", "line 2: a band upside down"),
    ("{}a,b,1,fid,1,1,1,8\na,b,2,fid,1,1,1,8\na,b,1,fid,2,2,2,8\n", "line 4 tells anew what line 2 does"),
    ("{}a,b,1,lpips,1,1,1,8\n", "line 2: an unknown metric"),
])  # fmt: skip
def test_a_table_edited_by_hand_is_refused_by_line(tmp_path, text, words):
    path = tmp_path / "results.csv"
    path.write_text(text.format("method,style,guidance,metric,value,low,high,n\n"))
    with pytest.raises(DislibError, match=words):
        read_results(path)
    with pytest.raises(DislibError, match="cannot read the results"):
        read_results(tmp_path / "nothing.csv")


def test_a_mean_over_styles_is_of_methods_that_all_styles_have():
    row = lambda method, style, value, metric="nfid", w=3.0: Row(method, style, w, metric, value, value, value, 200)
    rows = [row("a", "comic", 0.2), row("a", "neon", 0.4), row("b", "comic", 0.1), row("a", "neon", 9.0, "fid")]
    assert over_styles([*rows, row("a", "neon", 7.0, w=2.0)], guidance=3.0, metric="nfid") == {"a": pytest.approx(0.3)}


def test_standings_share_a_place_where_bands_overlap():
    row = lambda method, value, metric="fid": Row(method, "comic", 2.0, metric, value, value - 3, value + 3, 200)
    rows = [row("c", 30.0), row("a", 10.0), row("b", 14.0), row("x", 1.0, "kid"), row("d", 34.0)]
    found = standings(rows, style="comic", guidance=2)
    assert [(place, r.method) for place, r in found] == [(1, "a"), (1, "b"), (3, "c"), (3, "d")]
    scores = [row("a", 60.0, "clip"), row("b", 70.0, "clip")]
    assert [(p, r.method) for p, r in standings(scores, style="comic", guidance=2, metric="clip")] == [(1, "b"), (2, "a")]
    with pytest.raises(DislibError, match="no fid of 'neon' at w = 2"):
        standings(rows, style="neon", guidance=2)
