"""Lesson 07: what strangers hand in, the workshop, the widgets, the page, the checks of the exercises."""

import datetime
import io
import json
import zipfile

import numpy as np
import pytest
from helpers import images
from PIL import Image
from sweep import sweep
from test_lesson_06 import solutions_of, stored_claims
from test_widgets import reraise

from dislib.errors import DislibError
from dislib.figures.page import Page, Tags
from dislib.images.uploads import MAX_BYTES, Upload, from_folder, read_ledger, take_in
from dislib.lessons import lesson_07 as lesson
from dislib.widgets import DesignStyle, YourPictures
from dislib.widgets.your_pictures import surface, uploads_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy|ipywidgets|traitlets)")


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawings(n=9, *, seed=0, suffix=".png"):
    return [Upload(f"drawing {k}{suffix}", encoded(image)) for k, image in enumerate(images(n, seed=seed))]


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_pictures_become_plain_squares_under_numbers(tmp_path):
    wide = Image.new("RGBA", (300, 200), (255, 0, 0, 0))
    taken = take_in(tmp_path / "in", [Upload("../../evil/a b.png", encoded(wide)), *drawings(2)])
    assert [file.name for file in taken.pictures] == ["000.png", "001.png", "002.png"] and taken.refused == []
    first = Image.open(taken.pictures[0])
    assert first.size == (200, 200) and first.mode == "RGB" and first.getpixel((9, 9)) == (255, 255, 255)
    assert everything(tmp_path) == ["in", "in/000.png", "in/001.png", "in/002.png", "in/uploads.json"]
    assert read_ledger(tmp_path / "in")[0]["name"] == "a b.png"


def test_place_and_time_of_a_photograph_are_gone(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x0132] = 6, "2026:01:01 00:00:00"  # lying on its side; the time
    exif.get_ifd(0x8825)[1] = "N"
    picture = Image.new("RGB", (64, 64), "blue")
    picture.paste("red", (0, 0, 64, 32))
    (file,) = take_in(tmp_path, [Upload("photo.jpg", encoded(picture, "JPEG", exif=exif))]).pictures
    kept = Image.open(file)
    assert not kept.getexif() and "exif" not in kept.info
    assert kept.getpixel((60, 32))[0] > 200 and kept.getpixel((4, 32))[2] > 200  # turned upright


def animation():
    return encoded(Image.new("RGB", (32, 32)), "GIF", save_all=True, append_images=[Image.new("RGB", (32, 32), "red")])


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.png", b"x")
    return buffer.getvalue()


def bomb():
    """A PNG that says it has 400 megapixels."""
    import struct
    import zlib

    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD = {
    "empty.png": (lambda: b"", "is empty"),
    "cut.png": (lambda: encoded(images(1)[0])[:900], "cut short|damaged"),
    "words.png": (lambda: b"just words", "not an image"),
    "small.png": (lambda: encoded(Image.new("RGB", (8, 8))), "8 x 8 px"),
    "moving.gif": (animation, "animated"),
    "many.zip": (archive, "an archive"),
    "disguised.png": (archive, "an archive"),
    "doc.pdf": (lambda: b"%PDF-1.7 ...", "a PDF"),
    "vector.svg": (lambda: b"  <SVG onload='alert(1)'></svg>", "SVG"),
    "page.png": (lambda: b"<!DOCTYPE html><script>", "HTML"),
    "bomb.png": (bomb, "too large"),
    "large.png": (lambda: b"x" * (MAX_BYTES + 1), "more than 30 MB"),
    "program.exe": (lambda: b"MZ\x90\x00" + b"\0" * 99, "not an image"),
    "notes.txt": (lambda: b"a cat", "no picture of that name"),
    "": (lambda: b"x", "not an image"),
    "a\0b\n\x1b[31m.png": (lambda: b"x", "not an image"),
    "x" * 5000 + ".png": (lambda: b"x", "not an image"),
}


@pytest.mark.parametrize("name", BAD, ids=lambda name: repr(name[:20]))
def test_what_cannot_be_used_is_refused_with_the_reason_and_leaves_nothing(tmp_path, name):
    import re

    data, words = BAD[name]
    taken = take_in(tmp_path / "in", [Upload(name, data()), *drawings(1)])
    ((said, reason),) = taken.refused
    assert re.search(words, reason) and said.isprintable() and len(said) <= 60
    assert len(taken.pictures) == 1 and everything(tmp_path) == ["in", "in/000.png", "in/uploads.json"]


def test_the_same_picture_is_taken_once(tmp_path):
    first, again = drawings(1)[0], Upload("other name.jpg", drawings(1)[0].data)
    taken = take_in(tmp_path, [first, again])
    assert len(taken.pictures) == 1 and "shows the same as drawing 0.png" in taken.refused[0].reason


def test_there_is_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("dislib.images.uploads.MAX_PICTURES", 2)
    assert "one too many" in take_in(tmp_path, drawings(3)).refused[0].reason


def test_texts_are_captions_of_pictures_of_their_name(tmp_path):
    taken = take_in(tmp_path, [Upload("drawing 0.txt", "\ufeffa  red\nhouse".encode()), *drawings(1)])
    assert taken.captions == 1 and (tmp_path / "000.txt").read_text() == "a red house"
    assert take_in(tmp_path, [Upload("drawing 0.txt", b"later")]).captions == 1
    assert (tmp_path / "000.txt").read_text() == "later"
    for data, words in ((b"", "empty"), (b"\xff\xfe\x00", "UTF-8"), (b"x" * 9000, "too long")):
        assert words in take_in(tmp_path, [Upload("drawing 0.txt", data)]).refused[0].reason


def test_a_folder_goes_through_the_same_gate(tmp_path):
    (tmp_path / "mine").mkdir()
    for upload in drawings(2):
        (tmp_path / "mine" / upload.name).write_bytes(upload.data)
    (tmp_path / "mine" / "doc.pdf").write_bytes(b"%PDF-")
    taken = take_in(tmp_path / "in", from_folder(tmp_path / "mine"))
    assert len(taken.pictures) == 2 and taken.refused[0].name == "doc.pdf"
    with pytest.raises(DislibError, match="cannot read the folder"):
        from_folder(tmp_path / "nowhere")


def test_a_damaged_ledger_is_no_end(tmp_path):
    take_in(tmp_path, drawings(1))
    (tmp_path / "uploads.json").write_text("[{")
    kept = (tmp_path / "000.png").read_bytes()
    assert read_ledger(tmp_path) == []
    assert [file.name for file in take_in(tmp_path, drawings(1, seed=2)).pictures] == ["001.png"]
    assert (tmp_path / "000.png").read_bytes() == kept


# --- painting by numbers and the workshop -----------------------------------------------------------------------------


def test_a_look_is_seen_in_the_picture():
    picture = images(1)[0]
    pale, dark = (lesson.redraw(picture, lesson.Look(paper=paper, wash=0, line=0)) for paper in ("#ffffff", "#102030"))
    assert np.asarray(pale).min() > 250 and np.asarray(dark).reshape(-1, 3).mean(0) == pytest.approx([16, 32, 48], abs=1)
    border = np.asarray(lesson.redraw(picture, lesson.Look(border=0.2)))
    assert (border[:20] == [0xF6, 0xEC, 0xD2]).all()
    thick, none = (np.asarray(lesson.redraw(picture, lesson.Look(line=line))).mean() for line in (6, 0))
    assert thick < none


@pytest.mark.parametrize("wrong", [
    {"paper": "white"}, {"ink": "#12345"}, {"wash": 2}, {"line": -1}, {"tones": 1}, {"border": 0.9},
])
def test_a_look_that_cannot_be(wrong):
    with pytest.raises(DislibError, match=next(iter(wrong))):
        lesson.Look(**wrong)


def test_the_set_has_captions_that_say_nothing_of_the_look():
    first, again = (lesson.paint_set(lesson.Look(), 5) for _ in range(2))
    assert [text for _, text in first] == [text for _, text in again] and len(first) == 5
    assert not any(word in text.split() for _, text in first for word in ("ink", "paper", "drawing"))


@pytest.fixture
def workshop(tmp_path):
    made = lesson.Workshop(tmp_path / "ws")
    made.paint(lesson.Look(), 9)
    return made


def test_your_own_pictures_win_once_there_are_enough(workshop):
    assert workshop.pictures == workshop.painted and all(workshop.captions().values())
    take_in(workshop.uploads, drawings(7))
    assert workshop.pictures == workshop.painted
    take_in(workshop.uploads, drawings(1, seed=5))
    assert workshop.pictures == workshop.uploads and set(workshop.captions().values()) == {""}
    workshop.write_captions([f" a  thing {k} " for k in range(8)])
    assert list(workshop.captions().values())[3] == "a thing 3"


def test_captions_must_be_as_many_and_not_blank(workshop):
    with pytest.raises(DislibError, match="2 captions for 9 pictures"):
        workshop.write_captions(["a", "b"])
    with pytest.raises(DislibError, match="caption of picture 1 is blank"):
        workshop.write_captions(["a", " ", *"abcdefg"])


def test_an_empty_workshop_says_what_to_do(tmp_path):
    with pytest.raises(DislibError, match="upload 8 at least, or paint some by numbers"):
        lesson.Workshop(tmp_path / "new").files()


def test_a_third_is_kept_aside():
    train, aside = lesson.split(list(range(24)))
    assert len(aside) == 8 and sorted(train + aside) == list(range(24)) and lesson.split(list(range(24))) == (train, aside)
    with pytest.raises(DislibError, match="too few to keep some aside"):
        lesson.split([1, 2, 3])


def test_the_distance_of_looks():
    same, other = images(12), images(12, seed=7)
    value, low, high = lesson.off_centre(same, same)
    assert value == 0 and low <= high
    assert lesson.off_centre(other, same)[0] > 1


# --- the widgets ------------------------------------------------------------------------------------------------------


def test_design_moves_and_paints(workshop):
    panel = DesignStyle(workshop, n=8, pause=0, on_error=reraise)
    before = panel.view.value
    panel.controls["ink"].value = "#ff0000"
    assert panel.view.value != before and panel.look.ink == "#ff0000" and "#ff0000" in panel.twin().alt
    for name, values in {"wash": (0, 1), "line": (0, 6), "tones": (2, 16), "border": (0, 0.4)}.items():
        for value in values:
            panel.controls[name].value = value
    panel.button.click()
    assert panel.error is None and "8 pictures are in" in panel.told.value
    assert len(workshop.files()) == 8


def test_uploads_of_both_ipywidgets():
    seven = {"a.png": {"metadata": {"name": "a.png"}, "content": b"x"}}
    eight = ({"name": "a.png", "type": "image/png", "size": 1, "content": memoryview(b"x")},)
    assert uploads_of(seven) == uploads_of(eight) == [Upload("a.png", b"x")]


def test_uploads_are_told_and_strange_names_stay_text(workshop):
    panel = YourPictures(workshop, on_error=reraise)
    assert len(panel.images) == 9 and panel.captions.value.count("\n") == 8
    panel.receive([*drawings(8), Upload("<img src=x onerror=alert(1)>.png", b"no"), Upload("b.zip", b"PK\x03\x04")])
    assert "Pictures taken: 8, captions: 0, files refused: 2" in panel.report.value
    assert "<img" not in panel.report.value and "&lt;img src=x" in panel.report.value and "an archive" in panel.report.value
    assert "yours count" in panel.count.value and len(panel.images) == 8
    assert "refused: " in panel.twin().alt
    panel.captions.value = "\n".join(f"thing {k}" for k in range(8))
    panel.save_button.click()
    assert panel.error is None and list(workshop.captions().values())[7] == "thing 7"
    panel.forget_button.click()
    assert panel.error is None and len(panel.images) == 9 and not list(workshop.uploads.glob("*.png"))


def test_a_wrong_number_of_captions_is_told_and_the_kernel_lives(workshop):
    panel = YourPictures(workshop)
    panel.captions.value = "one"
    panel.save_button.click()
    assert "1 captions for 9 pictures" in panel.message.value


def test_the_upload_button_itself(workshop):
    panel = YourPictures(workshop, on_error=reraise)
    upload = drawings(1)[0]
    seven = {upload.name: {"metadata": {"name": upload.name}, "content": upload.data}}
    eight = ({
        "name": upload.name, "type": "image/png", "size": len(upload.data), "content": memoryview(upload.data),
        "last_modified": datetime.datetime.now(datetime.timezone.utc),
    },)
    panel.upload.set_trait("value", seven if isinstance(panel.upload.value, dict) else eight)
    assert "Pictures taken: 1, captions: 0, files refused: 0" in panel.report.value


def test_the_drawing_surface_is_a_page_of_its_own():
    outer = Tags(surface())
    assert outer.names == ["iframe"] and outer.scripts == 0 and outer.leading_out == []
    assert "canvas" in surface() and "toDataURL" in surface()


def test_an_empty_workshop_shows_no_sheet(tmp_path):
    panel = YourPictures(lesson.Workshop(tmp_path / "new"), on_error=reraise)
    assert panel.images == [] and "8 more" in panel.count.value
    with pytest.raises(DislibError, match="no pictures yet"):
        panel.twin()


# --- the page ---------------------------------------------------------------------------------------------------------

PAPERS = {
    "title": "Mine", "made by": "me, Ada", "how": "drawn", "licence": "CC BY 4.0", "people": "nobody", "consent": "not needed",
}


def page_of(papers=PAPERS, **changed):
    picture = images(1)[0]
    parts = {"pictures": [(picture, "a house")], "aside": [(picture, "kept aside")], "leak": [picture], "tuned": [picture],
             "prompts": ["a cat"], "numbers": {"distance": "3.1"}, "settings": {"steps": 100}, **changed}
    return lesson.build_page(papers, **parts).html()


def test_the_page_has_all_and_stands_alone(tmp_path):
    page = page_of()
    for needed in (*PAPERS.values(), "WO2024251351A1", "distance", "steps", 'alt="a house"', "who can be recognised"):
        assert needed in page
    assert Tags(page).names.count("img") == 4 and Tags(page).leading_out == []
    claim = lesson.claim_page_stands_alone(page)
    assert claim and claim.value == 0 and claim.control.value == 1
    assert not lesson.claim_page_stands_alone(page + '<img src="http://x/y.png">')
    assert not lesson.claim_page_stands_alone(page + "<script>1</script>")
    path = Page("t").section("s").write(tmp_path / "new" / "p.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("where", ["title", "made by", "how", "licence", "people", "consent"])
def test_hostile_papers_stay_words(where):
    claim = lesson.claim_words_stay_words(lambda words: page_of({**PAPERS, where: f"nobody {words}"}))
    assert claim and claim.control.value >= 1


@pytest.mark.parametrize("build", [
    lambda words: page_of(pictures=[(images(1)[0], words)]), lambda words: page_of(prompts=[words]),
    lambda words: page_of(numbers={words: words}), lambda words: page_of(settings={words: words}),
])
def test_hostile_words_elsewhere_stay_words(build):
    assert lesson.claim_words_stay_words(build)


def test_the_claim_fails_for_a_page_that_does_not_escape():
    assert not lesson.claim_words_stay_words(lambda words: f"<p>{words}</p>")


def test_no_papers_no_page():
    with pytest.raises(DislibError, match="goes nowhere without its papers. Still to be answered: licence"):
        page_of({**PAPERS, "licence": ...})
    with pytest.raises(DislibError, match="there are no pictures"):
        page_of(pictures=[])


# --- exercises --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("about, words", [
    (None, "A dict"), ({}, "Still to be answered: title, made by"), ({**PAPERS, "how": "..."}, "answered: how"),
    ({**PAPERS, "made by": "the internet"}, "Somebody holds the rights"), ({**PAPERS, "licence": "unknown"}, "Somebody holds"),
    ({**PAPERS, "how": "painted in the style of X"}, "living artist's manner"),
    ({**PAPERS, "people": "my class", "consent": "none"}, "consent is needed"),
    ({**PAPERS, "people": "Ben", "consent": "not asked"}, "consent is needed"),
])
def test_papers_that_are_not_in_order(about, words):
    verdict = lesson.check_provenance(about)
    assert not verdict and words in verdict.text


def test_papers_in_order():
    assert lesson.check_provenance(PAPERS)
    assert lesson.check_provenance({**PAPERS, "people": "Ben", "consent": "Ben and his parents, 3 May 2026, in writing"})


SAID = ["an ink drawing of a red house in the snow", "a cat on the sand, comic style"]
WORDS = ["ink", "drawing", "comic", "style"]


@pytest.mark.parametrize("captions, words", [
    (..., "Put your list"), (None, "Put your list"), ("a house", "A list of 2"), (["a house"], "A list of 2"),
    (SAID, "Caption 0 still says 'ink'"),
    (["a red house in the snow", "a cat on the sand, Comic"], "Caption 1 still says 'comic'"),
    (["a red house in the snow", " "], "Caption 1 is blank"), (["a picture", "a cat on the sand"], "Caption 0 has lost"),
])
def test_wrong_captions_are_told_why(captions, words):
    verdict = lesson.check_captions(captions, SAID, WORDS)
    assert not verdict and words in verdict.text


def test_right_captions():
    assert lesson.check_captions(["a red house in the snow", "a cat on the sand"], SAID, WORDS)
    assert lesson.check_captions(("red house, snow", "the cat sits on sand"), SAID, WORDS)


@pytest.mark.parametrize("answer, words", [
    (..., "in place of the dots"), ("x", "One number"), (4, "four times"), (20, "more than enough"), (12, "0.29 sigma"),
])
def test_wrong_numbers_are_told_why(answer, words):
    verdict = lesson.check_enough(answer)
    assert not verdict and words in verdict.text


def test_right_number():
    assert lesson.check_enough(16) and lesson.check_enough(4, share=0.5)


def test_the_ledger_is_json_that_others_can_read(tmp_path):
    take_in(tmp_path, drawings(1))
    assert json.loads((tmp_path / "uploads.json").read_text())[0]["file"] == "000.png"


def test_the_sweep_knows_the_widget_of_lesson_06():
    from dislib.widgets import WillItFit

    assert sweep(WillItFit(on_error=reraise)) > 5


# --- the notebook -----------------------------------------------------------------------------------------------------


def test_the_solutions_that_the_notebook_folds_away_are_right(root):
    solutions, names = solutions_of(root / "notebooks" / "07_your_style.ipynb"), {}
    for solution in solutions:
        exec(solution, names)
    said = ["an ink drawing of a red house in the snow", "a cat on the sand, vintage comic style",
            "a sketch of two green trees by night"]
    words = ["ink", "drawing", "vintage", "comic", "style", "sketch"]
    assert len(solutions) == 3 and lesson.check_provenance(names["my_papers"]) and lesson.check_enough(names["my_n"])
    assert lesson.check_captions(names["my_captions"], said, words)


def test_the_claims_held_when_the_notebook_was_run(root):
    found = list(stored_claims(root / "notebooks" / "07_your_style.ipynb"))
    assert len(found) == 3 and {verdict for verdict, _ in found} == {"Holds"}, found


def test_a_style_of_ones_own_is_learnt_by_the_shipped_model():
    """What the lesson shows, in small: after 60 steps the tuned model is nearer to pictures it never saw than the base."""
    from dislib import TrainingSet, finetune, load_pipeline, paint

    pipe = load_pipeline()
    pairs = lesson.paint_set(lesson.Look(), 24)
    train, aside = lesson.split(pairs)
    examples = TrainingSet.from_images(pipe, [image for image, _ in train], [text for _, text in train])
    tuned, prompts = lesson.separate(pipe), ["a red house", "a yellow flower"]
    for _ in finetune(tuned, examples, noise=examples.prior(pipe), max_train_steps=60, learning_rate=3e-4):
        pass
    ours, base = (sum(paint(model, prompts, range(4), **how), []) for model, how in ((tuned, {"start": "matched"}), (pipe, {})))
    assert lesson.claim_nearer_to_style(ours, base, [image for image, _ in aside])
