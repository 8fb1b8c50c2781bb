"""What lies in data/: style sets, Hubble crops and prompts are whole, disjoint, and made again from seeds."""

import ast
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from helpers import pickle_in_disguise
from PIL import Image
from test_world import other_libraries

from dislib.world import MEDIA, STYLES, THINGS, shown, vocabulary
from recipes import data as recipe
from recipes.pictures import FRESH, TRAIN, scene

DATA = ROOT / "data"
LIMIT = 35 * 2**20  # bytes in all
SPLITS = {"train": 0, "test": 100}  # number of the first scene
SETS = [(style, split) for style in STYLES for split in SPLITS]


def folder(style, split):
    return DATA / "styles" / style / split


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pictures(style, split):
    return [np.asarray(Image.open(file)) for file in sorted(folder(style, split).glob("*.png"))]


# --- the five drawn styles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style, split", SETS)
def test_a_set_is_a_hundred_small_rgb_pictures_with_a_caption_each(style, split):
    files = sorted(folder(style, split).iterdir())
    assert [f.name for f in files] == [f"{i:03d}.png" for i in range(100)] + ["metadata.jsonl"]
    for file in files[:-1]:
        with Image.open(file) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 128)), file
    told = rows(files[-1])
    assert [row["file_name"] for row in told] == [f.name for f in files[:-1]]
    assert all(set(row) == {"file_name", "text"} and row["text"] == row["text"].strip() != "" for row in told)


@pytest.mark.parametrize("style, split", SETS)
def test_captions_hold_no_word_of_a_style_or_a_medium(style, split):
    told = [row["text"] for row in rows(folder(style, split) / "metadata.jsonl")]
    words = {word for text in told for word in text.split()}
    assert words <= set(vocabulary())
    assert not words & {*STYLES, "style", *(w for medium in MEDIA for w in medium.split())}
    assert all(set(text.split()) & {t + s for t in THINGS for s in ("", "s")} for text in told)
    assert max(len(text.split()) for text in told) <= 22


@pytest.mark.parametrize("style", STYLES)
def test_train_and_test_share_no_picture_and_no_scene(style):
    train, test = ({p.tobytes() for p in pictures(style, split)} for split in SPLITS)
    assert len(train) == len(test) == 100 and not train & test
    first, second = ([scene(i, _stream(style)) for i in range(start, start + 100)] for start in SPLITS.values())
    assert not {s.seed for s in first} & {s.seed for s in second}


def _stream(style):
    return recipe.STYLE_STREAM + STYLES.index(style)


def test_every_use_of_scenes_has_a_stream_of_its_own():
    from recipes import day_one, judge, report

    used = [TRAIN, FRESH, *map(_stream, STYLES), judge.STYLE_STREAM, day_one.REFERENCE,
            *(report.REPORT_STREAM + k for k in range(1 + len(STYLES)))]
    assert len(set(used)) == len(used), used


def shared_scenes(count):
    """Scenes of the style sets that are among the first `count` of the base model's, told by their seeds of details."""
    base = {scene(i, TRAIN).seed for i in range(count)}
    return [(s, i) for s in STYLES for i in range(200) if scene(i, _stream(s)).seed in base]


def test_no_scene_of_a_style_is_among_the_training_scenes_of_the_base_model():
    assert shared_scenes(1000) == []
    assert scene(3, TRAIN) == scene(3, TRAIN) != scene(3, FRESH)  # a comparison that would notice


@pytest.mark.slow
def test_no_scene_of_a_style_is_among_all_training_scenes_of_the_base_model():
    assert shared_scenes(20000) == []


def must_be_pinned():
    if other_libraries():
        pytest.skip(f"pixels are promised for the pinned libraries only, and here is {other_libraries()}")


@pytest.mark.parametrize("style, split", SETS)
def test_the_recipe_makes_the_same_pictures_and_captions_again(style, split):
    must_be_pinned()
    made, texts = recipe.style_set(style, SPLITS[split], 3)
    assert texts == [row["text"] for row in rows(folder(style, split) / "metadata.jsonl")[:3]]
    for i, picture in enumerate(made):
        kept = Image.open(folder(style, split) / f"{i:03d}.png")
        assert np.array_equal(picture, kept), f"{style}/{split}/{i:03d}.png is another picture than the painter's now"


@pytest.mark.parametrize("style", STYLES)
def test_captions_of_a_set_tell_their_own_picture(style):
    for split, start in SPLITS.items():
        for i, row in enumerate(rows(folder(style, split) / "metadata.jsonl")):
            subject = shown(scene(start + i, _stream(style)), style)
            assert subject.thing in row["text"], row
            assert ("three" in row["text"].split()) == (subject.count == 3), row


def test_a_saved_set_is_read_back(tmp_path):
    made = [Image.new("RGB", (128, 128), colour) for colour in ("red", "blue")]
    recipe.save_set(tmp_path / "a" / "b", made, ["one", "two"])
    assert rows(tmp_path / "a" / "b" / "metadata.jsonl")[1] == {"file_name": "001.png", "text": "two"}
    assert np.array_equal(Image.open(tmp_path / "a" / "b" / "001.png"), made[1])


# --- Hubble ---------------------------------------------------------------------------------------------------------


def grid_cells():
    """Which cell (column, row) of the deep field, cut into squares of 128 px, each shipped crop is."""
    field = np.asarray(importlib.import_module("skimage.data").hubble_deep_field())[..., :3]
    cells = {field[128 * j : 128 * j + 128, 128 * i : 128 * i + 128].tobytes(): (i, j)
             for i in range(7) for j in range(6)}
    return {split: [cells.get(p.tobytes()) for p in pictures("hubble", split)] for split in SPLITS}


def test_hubble_crops_are_disjoint_pieces_of_the_real_photograph():
    found = grid_cells()
    assert (len(found["train"]), len(found["test"])) == (24, 18)
    assert None not in found["train"] + found["test"]
    assert len(set(found["train"] + found["test"])) == 42
    assert max(i for i, _ in found["train"]) < min(i for i, _ in found["test"])  # split by region


def test_hubble_crops_have_no_captions():
    for split in SPLITS:
        assert {f.suffix for f in folder("hubble", split).iterdir()} == {".png"}


# --- prompts --------------------------------------------------------------------------------------------------------


def prompts():
    return rows(DATA / "prompts" / "prompts.jsonl")


def test_there_are_200_different_prompts_in_several_categories():
    told = prompts()
    assert len(told) == len({row["prompt"] for row in told}) == 200
    assert all(set(row) == {"prompt", "category"} for row in told)
    counts = {c: sum(row["category"] == c for row in told) for c in sorted({row["category"] for row in told})}
    assert {"colour", "count", "unusual combination", "position", "two things"} <= set(counts)
    assert min(counts.values()) >= 20


def test_every_prompt_can_be_painted():
    things = {t + s for t in THINGS for s in ("", "s")}
    for row in prompts():
        words = row["prompt"].split()
        assert set(words) <= set(vocabulary()) and set(words) & things and len(words) <= 22, row
        for here, after in zip(words, words[1:]):
            assert here not in ("a", "an") or here == ("an" if after[0] in "aeiou" else "a"), row


@pytest.mark.parametrize("category, sign", [
    ("count", r"^(two|three) \w+ \w+s "), ("position", r" to the (left|right) of an? "), ("two things", r" and an? "),
])
def test_prompts_are_in_their_category(category, sign):
    for row in prompts():
        assert bool(re.search(sign, row["prompt"])) == (row["category"] == category), row


def test_the_recipe_makes_the_same_prompts_again():
    assert recipe.prompts() == prompts()


# --- the folder as a whole ------------------------------------------------------------------------------------------


def files():
    return [f for f in DATA.rglob("*") if f.is_file() and "__pycache__" not in f.parts]


def test_all_data_together_are_small():
    assert sum(f.stat().st_size for f in files()) <= LIMIT


def looks_pickled(path):
    """Is this a pickle, a zip that holds one, or a name that tells of one?"""
    if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}:
        return True
    start = path.read_bytes()
    if start[8:9] == b"{":  # safetensors: the header's length in 8 bytes, which may be any, then JSON
        return False
    return bool(re.match(rb"\x80[\x02-\x05]", start)) or (start[:2] == b"PK" and b".pkl" in start)


def test_no_data_are_pickled(tmp_path):
    assert [f for f in files() if looks_pickled(f)] == []
    assert looks_pickled(pickle_in_disguise(tmp_path / "model.safetensors"))
    assert looks_pickled(tmp_path / "model.ckpt")


def test_every_folder_of_data_has_its_line_in_the_ledger():
    ledger = (DATA / "PROVENANCE.md").read_text(encoding="utf-8")
    wanted = [f for f in sorted(DATA.iterdir()) if f.is_dir()] + sorted((DATA / "styles").iterdir())
    missing = [f.relative_to(DATA).as_posix() for f in wanted if not re.search(rf"\b{re.escape(f.name)}\b", ledger)]
    assert not missing, f"data/PROVENANCE.md does not say where {missing} come from"
    for source in ("Hubble", "NASA", "public domain", "scikit-image", "CC BY 4.0", "Apache-2.0"):
        assert source in ledger, f"data/PROVENANCE.md does not name {source}"


def test_the_ledger_names_every_photograph_that_training_looked_at():
    from recipes.pictures import HELD_OUT_PHOTOS, TRAINING_PHOTOS

    assert not set(TRAINING_PHOTOS) & set(HELD_OUT_PHOTOS)
    ledger = (DATA / "PROVENANCE.md").read_text(encoding="utf-8")
    assert [name for name in TRAINING_PHOTOS + HELD_OUT_PHOTOS if name not in ledger] == []


def pickling(source):
    """Lines of a Python source that would read or write pickles."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            found += [node.lineno] if {n.split(".")[0] for n in names} & {"pickle", "joblib", "dill", "shelve"} else []
        elif isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            loads = call in ("torch.save", "torch.load") and "weights_only=True" not in ast.unparse(node)
            found += [node.lineno] if loads or "allow_pickle=True" in ast.unparse(node) else []
    return found


def test_nothing_in_the_package_reads_or_writes_pickles():
    for file in sorted(Path(ROOT, "dislib").rglob("*.py")):
        assert pickling(file.read_text(encoding="utf-8")) == [], file
    bad = "import pickle\nfrom torch import load\ntorch.load('a.pt')\nnp.load(f, allow_pickle=True)"
    assert pickling(bad) == [1, 3, 4]
