"""What lesson 04 claims of the shipped sweeps, with controls, and that these are whole and of the shipped model."""

import json

import numpy as np
import pytest

from dislib import data_dir, load_pipeline, paint
from dislib.core.pipeline import pipeline_fingerprint
from dislib.evaluation.judge import fingerprint, load_judge, look
from dislib.evaluation.memorisation import copying
from dislib.evaluation.metrics import fid
from dislib.evaluation.reference import Reference
from dislib.evaluation.sweep import GUIDANCE
from dislib.evaluation.table import FLOOR, METRICS, TRAINING, read_results, standings
from dislib.images.images import list_images, load_image
from dislib.images.prompts import read_prompts
from dislib.images.sheets import read_sheet
from dislib.lessons.lesson_04 import (
    INTACT,
    cases,
    claim_clip_reads_the_prompt,
    claim_copies,
    claim_fid_sees,
    claim_too_large,
    shipped_pictures,
)
from dislib.training.result import read
from recipes.sweeps import ALL, BALLOT_GUIDANCE, BATCH_SIZE, FEW, FULL, SHEETS, SHOWN, STYLES, SWEPT, VOTED

SHIPPED = data_dir() / "results"
WHITE_PAGES = ("sketch", "sticker")
LOW = [w for w in GUIDANCE if w <= 3]


@pytest.fixture(scope="module")
def rows():
    """The methods of the paper's comparison, 800 pictures a point."""
    return read_results(SHIPPED / "sweeps.csv")


@pytest.fixture(scope="module")
def few():
    """All methods, fewer pictures."""
    return read_results(SHIPPED / "sweeps_few.csv")


def curve(rows, style, method, metric):
    """From weight to row."""
    return {r.guidance: r for r in rows if (r.style, r.method, r.metric) == (style, method, metric)}


# --- whole, and of this model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table, styles, methods, least", [("rows", STYLES, FULL, ALL), ("few", STYLES, SWEPT, FEW)])
def test_every_method_was_swept_at_every_weight(request, table, styles, methods, least):
    rows = request.getfixturevalue(table)
    found = [(r.method, r.style, r.guidance, r.metric) for r in rows if r.guidance is not None]
    assert set(found) == {(m, s, w, k) for m in methods for s in styles for w in GUIDANCE for k in METRICS}
    [n] = {r.n for r in rows if r.method in methods}
    assert len(found) == len(set(found)) and least <= n < least + BATCH_SIZE
    floors = {(r.method, r.style, r.n) for r in rows if r.guidance is None}
    assert floors == {(name, style, k) for style in styles for name, k in ((FLOOR, least), (TRAINING, 100))}


def test_the_sweeps_are_of_the_shipped_model_and_judge():
    facts = json.loads((SHIPPED / "sweeps.json").read_text())
    assert facts["base"] == pipeline_fingerprint(load_pipeline("tiny"))
    assert facts["judge"] == fingerprint(load_judge())
    assert facts["rounding"]["between"] < 1 > abs(facts["rounding"]["float32"] - facts["rounding"]["bfloat16"])


def test_the_base_is_the_measure_of_normalised_fid(rows, few):
    assert {r.value for r in rows + few if (r.method, r.metric) == ("base", "nfid")} == {1.0}


@pytest.mark.parametrize("style", SHEETS)
def test_the_sheets_hold_what_the_widgets_show(style):
    strip, ballots = (read_sheet(SHIPPED / kind / f"{style}.webp") for kind in ("strips", "ballots"))
    assert set(strip.rows) == set(SWEPT) and strip.columns == list(GUIDANCE) and strip.facts["prompt"]
    assert set(ballots.rows) == set(VOTED) and len(ballots.columns) == SHOWN
    assert ballots.facts["guidance"] == BALLOT_GUIDANCE


# --- what the lesson says of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_style_noise_from_the_matched_start_is_among_the_first(few, style):
    """Of all methods at every weight; the control is plain fine-tuning from white noise."""
    for weight in GUIDANCE:
        first = {r.method for place, r in standings(few, style=style, guidance=weight) if place == 1}
        assert "style-matched" in first and ("plain" in first) == (style not in WHITE_PAGES)


def test_who_is_first_with_all_pictures(rows):
    """With narrower bands more is decided: see "Who wins?"."""

    def first(style, weight):
        return {r.method for place, r in standings(rows, style=style, guidance=weight) if place == 1}

    assert all({"style-matched"} <= first("sketch", w) for w in GUIDANCE)
    assert all(first("sketch", w) == {"style-matched"} for w in GUIDANCE if w >= 6)
    assert all(first("sticker", w) == {"plain-leak", "style-matched"} for w in GUIDANCE if w <= 10)
    assert all(first("sticker", w) == {"plain-leak"} for w in (15, 20))
    assert all("plain" in first("comic", w) and ("style-matched" in first("comic", w)) == (w >= 3) for w in GUIDANCE[:-1])
    assert "plain" not in first("comic", 20)
    assert all({"plain-leak", "style-matched"} <= first("neon", w) for w in GUIDANCE)
    assert all(("plain" in first("neon", w)) == (4 <= w <= 15) for w in GUIDANCE)
    assert all("plain-leak" in first("blueprint", w) for w in GUIDANCE)
    assert all(("style-matched" in first("blueprint", w)) == (w >= 3) for w in GUIDANCE)
    assert all(("plain" in first("blueprint", w)) == (w <= 6) for w in GUIDANCE)


def test_kid_has_another_order_on_blueprint(rows):
    for weight, of_kid, of_fid in ((15, "base", "style-matched"), (20, "base", "style-matched")):
        order = {m: standings(rows, style="blueprint", guidance=weight, metric=m) for m in ("kid", "fid")}
        assert [r.method for place, r in order["kid"] if place == 1] == [of_kid]
        assert order["fid"][0][1].method == of_fid and order["fid"][-1][1].method == "base"


def test_both_metrics_turn_at_middle_weights(rows):
    """Up to w = 3 both get better, beyond w = 5 both get worse; from the paper's start, FID only rises on sticker."""
    for style in STYLES:
        for method in ("plain", "plain-leak", "style", "style-matched"):
            far, clip = (curve(rows, style, method, metric) for metric in ("fid", "clip"))
            assert (far[3].value < far[1].value) == ((style, method) != ("sticker", "style"))
            assert clip[3].value > clip[1].value
            assert far[20].value > far[5].value and clip[20].value < clip[5].value


def test_where_the_papers_start_lies(rows):
    for style in STYLES:
        places = [dict((r.method, p) for p, r in standings(rows, style=style, guidance=w))["style"] for w in GUIDANCE]
        assert (set(places) == {1}) == (style == "comic")


@pytest.mark.parametrize("style", WHITE_PAGES)
def test_on_white_pages_the_start_decides(few, style):
    """With the style's mean at the start, a method lies far below the same one without it, at every weight up to 8."""
    for with_it, without in (("style-matched", "plain"), ("plain-leak", "plain"), ("dreambooth-leak", "dreambooth")):
        near, far = (curve(few, style, name, "fid") for name in (with_it, without))
        assert all(near[w].high < far[w].low for w in GUIDANCE if w <= 8)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("method", ["plain-leak", "style", "style-matched"])
def test_too_much_guidance_costs_style_and_prompt(few, style, method):
    far, clip = (curve(few, style, method, metric) for metric in ("fid", "clip"))
    lowest, highest = min(far.values(), key=lambda r: r.value), max(clip.values(), key=lambda r: r.value)
    assert lowest.guidance <= 8 and far[20].low > lowest.high
    assert highest.guidance <= 8 and clip[20].high < highest.low


@pytest.mark.parametrize("style", WHITE_PAGES)
def test_style_noise_keeps_the_style_under_much_guidance(few, style):
    plain, matched = (curve(few, style, name, "fid") for name in ("plain", "style-matched"))
    assert matched[20].value < min(row.value for row in plain.values()) and matched[20].high < plain[20].low


def test_fid_minds_how_many_prompts_there_are(few):
    """As many pictures of fewer prompts lie farther off."""
    of_all = [r for r in read_results(SHIPPED / "baselines.csv") if (r.method, r.style, r.metric) == ("plain", "comic", "fid")]
    assert of_all[0].n < 208 == curve(few, "comic", "plain", "fid")[2].n
    assert of_all[0].high < curve(few, "comic", "plain", "fid")[2].low


@pytest.mark.parametrize("style", STYLES)
def test_nobody_follows_the_prompt_better_than_the_base(few, style):
    for weight in LOW:
        base = curve(few, style, "base", "clip")[weight]
        assert all(curve(few, style, name, "clip")[weight].low <= base.high for name in SWEPT)


# --- the claims -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoilt():
    return cases("sketch", "comic")


def test_fid_sees_a_blur_and_not_that_pictures_are_copies(spoilt):
    judge, reference = load_judge(), Reference.of("sketch", load_judge())
    seen = {name: look(*pictures, judge)["pooled"] for name, pictures in spoilt.items()}
    intact, copies = seen[INTACT], seen["copies of the training set"]
    for name in ("blurred", "dimmed", "wrong style"):
        assert (claim := claim_fid_sees(seen[name], intact, copies, reference.pooled, name=name)), str(claim)
    assert not claim_fid_sees(seen["wrong content"], intact, copies, reference.pooled, name="wrong content")


def test_the_clip_score_reads_the_prompt(spoilt):
    turned = spoilt["wrong content"][1]
    assert (claim := claim_clip_reads_the_prompt(*spoilt[INTACT], load_judge(), control=turned)), str(claim)
    assert not claim_clip_reads_the_prompt(*spoilt["wrong content"], load_judge())


@pytest.mark.parametrize("style", ["sketch", "comic"])
def test_fid_of_few_pictures_is_too_large_and_kid_is_not(style):
    reference = Reference.of(style, load_judge())
    assert (claim := claim_too_large(reference)), str(claim)
    assert not claim_too_large(reference, metric="kid", control="fid")


# --- copies -------------------------------------------------------------------------------------------------------------


def test_a_tuned_model_keeps_layouts_of_its_training_images():
    """By pixels; fresh pictures of the style are the control."""
    tuned, style = data_dir() / "finetuned" / "sketch", data_dir() / "styles" / "sketch" / "train"
    used = set(read(tuned)["files"])
    drawn = {file.name: load_image(file, 128) for file in list_images(style).files}
    train, held_out = ([image for name, image in drawn.items() if (name in used) == side] for side in (True, False))
    prompts = read_prompts(data_dir() / "prompts" / "prompts.jsonl")[::4]
    made = [row[0] for row in paint(load_pipeline(tuned), prompts, [0], guidance=2, start="matched")]
    fresh = shipped_pictures("sketch")[0][:50]
    assert (claim := claim_copies(made, fresh, train, held_out)), str(claim)
    leaning, honest = (copying(pictures, train, held_out) for pictures in (made, fresh))
    assert leaning.low > 0.6 and honest.low < 0.5 < honest.high


def test_repeated_training_images_have_a_low_fid_but_not_the_lowest(rows):
    """What the quiz says of a model that only repeats them."""
    used = set(read(data_dir() / "finetuned" / "sketch")["files"])
    files = [file for file in list_images(data_dir() / "styles" / "sketch" / "train").files if file.name in used]
    judge = load_judge()
    seen = look([load_image(file, 128) for file in files], [""] * len(files), judge=judge)["pooled"]
    repeated = fid(np.repeat(seen, 16, axis=0), Reference.of("sketch", judge).pooled)
    [floor] = [r.high for r in rows if (r.method, r.style, r.metric) == (FLOOR, "sketch", "fid")]
    assert 2 * floor < repeated < min(row.low for row in curve(rows, "sketch", "plain", "fid").values())
