"""What comes from outside: images of every kind, prompts in every wrapping, seeds."""

import json
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from helpers import image_folder, images
from PIL import Image

from dislib.errors import ImageError, PromptError
from dislib.images.images import image_problem, list_images, load_image
from dislib.images.prompts import parse_seeds, read_captions, read_prompt_rows, read_prompts

# --- images that are wrong ------------------------------------------------------------------------------------


def _png_header(width, height):
    """A PNG of a few bytes that claims to be `width` x `height`."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def _reason(file):
    reason = image_problem(file)
    with pytest.raises(ImageError) as error:
        load_image(file, 64)
    assert str(error.value) == f"{file}: {reason}"
    return reason


def test_text_named_jpg(tmp_path):
    (tmp_path / "a.jpg").write_text("not an image at all")
    assert "not an image" in _reason(tmp_path / "a.jpg")


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert "is empty" in _reason(tmp_path / "a.png")


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg(tmp_path, progressive):
    images(1, size=256)[0].save(tmp_path / "whole.jpg", progressive=progressive)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    assert image_problem(tmp_path / "whole.jpg") is None
    assert "truncated" in _reason(tmp_path / "cut.jpg")


def test_truncated_png(tmp_path):
    images(1)[0].save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    assert "truncated" in _reason(tmp_path / "a.png")


def test_decompression_bomb_is_refused_by_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(_png_header(20_000, 20_000))
    assert "decompression bomb" in _reason(tmp_path / "bomb.png")


def test_bomb_is_refused_even_where_pillow_was_told_not_to(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(_png_header(20_000, 20_000))
    assert "decompression bomb" in _reason(tmp_path / "bomb.png")


def test_a_hundred_megapixels_are_no_bomb(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    assert image_problem(tmp_path / "large.png") is None


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_animated(tmp_path, suffix):
    first, *rest = images(3)
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=rest)
    assert "animated or has several pages (3)" in _reason(tmp_path / f"a.{suffix}")


def test_photograph_with_a_hidden_second_picture_is_no_animation(tmp_path):
    first, second = images(2)
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    assert load_image(tmp_path / "a.jpg", 64).size == (64, 64)


@pytest.mark.parametrize("size", [(1, 1), (15, 400)])
def test_too_small(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert f"is {size[0]} x {size[1]} px; at least 16 x 16" in _reason(tmp_path / "a.png")


def test_colour_mode_without_a_meaning_in_rgb(tmp_path):
    Image.new("F", (32, 32)).save(tmp_path / "a.tif")
    assert "colour mode F" in _reason(tmp_path / "a.tif")


def test_heic_names_the_mend(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    assert "export it as JPEG" in _reason(tmp_path / "a.heic")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    images(1)[0].save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert "no permission" in _reason(tmp_path / "a.png")


def test_symbolic_links(tmp_path):
    image_folder(tmp_path, 1)
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "good.png").symlink_to(tmp_path / "000.png")
    files, skipped = list_images(tmp_path)
    assert [f.name for f in files] == ["000.png", "good.png"]
    assert [f.name for f, _ in skipped] == ["broken.png", "circle.png"]
    assert all("does not lead to a file" in reason for _, reason in skipped)


def test_numbered_files_are_sorted_as_people_count(tmp_path):
    image_folder(tmp_path, 1)
    for name in ("10.png", "2.png", "b.png", "a10.png", "a9.png", "02.png"):
        shutil.copy(tmp_path / "000.png", tmp_path / name)
    files = list_images(tmp_path).files
    assert [f.name for f in files] == ["000.png", "02.png", "2.png", "10.png", "a9.png", "a10.png", "b.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "not a regular file" in _reason(tmp_path / "a.png")


# --- folders --------------------------------------------------------------------------------------------------


def test_folder_lists_readable_files_sorted_and_names_the_rest(tmp_path):
    image_folder(tmp_path, 3)
    names = ["Ünïcode mit Leerzeichen.png", "写真.jpg", "UPPER.PNG"]
    for name in names:
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "text.jpg").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for ignored in (".hidden.png", "metadata.jsonl", "notes.txt"):
        (tmp_path / ignored).write_text("x")
    files, skipped = list_images(tmp_path)
    assert [f.name for f in files] == sorted(["000.png", "001.png", "002.png", *names])
    assert [(f.name, reason.split(",")[0]) for f, reason in skipped] == [
        ("folder.png", "is a folder"), ("text.jpg", "is not an image Pillow can read (UnidentifiedImageError)")]


@pytest.mark.parametrize("make, words", [
    (lambda p: None, "there is no folder"),
    (lambda p: p.write_text("x"), "is a file; give the folder"),
    (lambda p: p.mkdir(), "no images in"),
    (lambda p: (p / "train").mkdir(parents=True), r"itself \(it holds the folders train\)"),
    (lambda p: p.symlink_to(p), "cannot open the folder"),
])
def test_folder_that_is_none(tmp_path, make, words):
    make(tmp_path / "style")
    with pytest.raises(ImageError, match=words):
        list_images(tmp_path / "style")


# --- images that are right ------------------------------------------------------------------------------------

CORNERS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]  # of the upright picture, row by row


def _corners(image):
    pixels = np.asarray(image)
    quarter = len(pixels) // 4
    return [tuple(pixels[y, x].tolist()) for y in (quarter, -quarter) for x in (quarter, -quarter)]


def _quartered(width=64, height=64):
    image = Image.new("RGB", (2, 2))
    image.putdata(CORNERS)
    return image.resize((width, height), Image.Resampling.NEAREST)


TURN_BACK = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # EXIF orientation -> PIL transpose that undoes its undoing


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    image = _quartered()
    if orientation > 1:
        image = image.transpose(Image.Transpose(TURN_BACK[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    assert _corners(load_image(tmp_path / "a.png", 32)) == CORNERS


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_lose_the_picture(tmp_path):
    _quartered().save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert _corners(load_image(tmp_path / "a.png", 32)) == CORNERS


@pytest.mark.parametrize("width, height", [(100, 300), (301, 100), (64, 64), (16, 5000)])
def test_centre_crop(tmp_path, width, height):
    side = min(width, height)
    image = Image.new("RGB", (width, height), "black")
    image.paste((200, 100, 50), ((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2))
    image.save(tmp_path / "a.png")
    pixels = np.asarray(load_image(tmp_path / "a.png", 64))
    assert pixels.shape == (64, 64, 3)
    assert (pixels[10:-10, 10:-10] == (200, 100, 50)).all()


def test_shrinking_averages(tmp_path):
    """A checkerboard of single pixels becomes grey; without area weights it would stay black and white."""
    board = np.indices((512, 512)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    pixels = np.asarray(load_image(tmp_path / "a.png", 64)).astype(int)
    assert np.abs(pixels - 127).max() <= 2


def test_same_size_is_not_resampled(tmp_path):
    [image] = images(1)
    image.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(image), np.asarray(load_image(tmp_path / "a.png", 128)))


def _saved(tmp_path, image, suffix="png", **options):
    image.save(tmp_path / f"a.{suffix}", **options)
    return tuple(np.asarray(load_image(tmp_path / f"a.{suffix}", 32))[16, 16].tolist())


def test_grey_palette_bilevel(tmp_path):
    grey = Image.new("L", (32, 32), 90)
    assert _saved(tmp_path, grey) == (90, 90, 90)
    assert _saved(tmp_path, Image.new("RGB", (32, 32), (9, 99, 199)).quantize()) == (9, 99, 199)
    assert _saved(tmp_path, Image.new("1", (32, 32), 1)) == (255, 255, 255)


def test_transparency_is_laid_on_white(tmp_path):
    assert _saved(tmp_path, Image.new("RGBA", (32, 32), (255, 0, 0, 0))) == (255, 255, 255)
    assert _saved(tmp_path, Image.new("RGBA", (32, 32), (255, 0, 0, 255))) == (255, 0, 0)
    assert _saved(tmp_path, Image.new("LA", (32, 32), (0, 0))) == (255, 255, 255)
    assert _saved(tmp_path, Image.new("P", (32, 32), 0), transparency=0) == (255, 255, 255)
    assert _saved(tmp_path, Image.new("RGB", (32, 32), (9, 9, 9)), transparency=(9, 9, 9)) == (255, 255, 255)


def test_cmyk(tmp_path):
    red, green, blue = _saved(tmp_path, Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "jpg", quality=95)
    assert red > 220 and green < 40 and blue < 40


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix, dtype):
    values = np.full((32, 32), 257 * 100, np.uint16).astype(dtype)
    image = Image.frombytes("I;16B" if dtype == ">u2" else "I;16", (32, 32), values.tobytes())
    if suffix == "png" and dtype == ">u2":
        image = Image.fromarray(values.astype("<u2"))
    assert _saved(tmp_path, image, suffix) == (100, 100, 100)


# --- prompts, captions and seeds ------------------------------------------------------------------------------

TWO = ["a red house", "zwei Häuser, 猫"]


@pytest.mark.parametrize("name, text", [
    ("p.txt", "a red house\n\n   \nzwei Häuser, 猫\n"),
    ("p.txt", "a red house\r\nzwei Häuser, 猫"),
    ("p.txt", "a red house\rzwei Häuser, 猫\r"),
    ("p.json", json.dumps(TWO)),
    ("p.json", json.dumps([{"text": TWO[0]}, {"prompt": TWO[1], "text": "other"}])),
    ("p.jsonl", '{"prompt": "a red house", "category": "colour"}\n\n"zwei Häuser, 猫"\r\n'),
    ("p.csv", 'category,prompt\ncolour,a red house\n,\ncount,"zwei Häuser, 猫"\n'),
    ("p.tsv", 'Prompt\tCategory\na red house\tcolour\n"zwei Häuser, 猫"\tcount\n'),
    ("P.TSV", "text\tcategory\r\na red house\tcolour\r\nzwei Häuser, 猫\tcount\r\n"),
])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_prompt_formats(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read_prompts(tmp_path / name) == TWO


@pytest.mark.parametrize("header", ["Prompts,Category", "Prompt,Category,Challenge", "category,prompt", " TEXT ,x"])
def test_the_columns_of_drawbench_and_partiprompts(tmp_path, header):
    (tmp_path / "p.csv").write_text(header + "\n" + ",".join(["a cat"] * len(header.split(","))) + "\n")
    assert read_prompts(tmp_path / "p.csv") == ["a cat"]


def test_tables_without_quoting_keep_their_quotes(tmp_path):
    """As PartiPrompts' own file has them."""
    lines = ["Prompt\tCategory", '"N I G H T" in thick letters\tText', 'a sign that says "open\tText', "a cat\tAnimals"]
    (tmp_path / "p.tsv").write_text("\n".join(lines) + "\n")
    rows = read_prompt_rows(tmp_path / "p.tsv")
    assert [row["prompt"] for row in rows] == [line.split("\t")[0] for line in lines[1:]]
    assert rows[0]["Category"] == "Text"


def test_other_columns_are_kept(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": " a cat ", "category": "colour"}')
    assert read_prompt_rows(tmp_path / "p.jsonl") == [{"prompt": "a cat", "category": "colour"}]


def test_a_line_separator_inside_a_prompt_does_not_cut_it(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a\u2028b"}', encoding="utf-8")
    assert read_prompts(tmp_path / "p.jsonl") == ["a\u2028b"]


@pytest.mark.parametrize("name, data, words", [
    ("p.json", b"[\n'a'", "line 2: not valid JSON"),
    ("p.json", b"{}", "expected a list"),
    ("p.json", b"[1]", "entry 1: expected a string"),
    ("p.json", b"[" * 100_000, "not valid JSON"),
    ("p.json", b'[{"caption": "a cat"}]', "line 1: no string called `prompt` or `text`"),
    ("p.json", b'[{"prompt": 3}]', "no string called"),
    ("p.jsonl", b'"a"\n{"prompt": \n', "line 2: not valid JSON"),
    ("p.jsonl", b"[]", "expected an object"),
    ("p.txt", b"\n \n", "no prompts in it"),
    ("p.txt", b"caf\xe9", r"not UTF-8 text \(byte 3\)"),
    ("p.csv", b"prompt\na house, at night\n", "line 2: more columns than the header; .* A prompt with commas or double"),
    ("p.csv", b'prompt\na\n"b" c\nd\n', "line 3: .* those inside it are doubled"),
    ("p.csv", b"caption\na house\n", "line 2: no string called"),
    ("p.docx", b"x", "prompts come as .txt"),
])
def test_prompts_that_are_wrong(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PromptError, match=words) as error:
        read_prompts(tmp_path / name)
    assert name in str(error.value) and len(str(error.value)) < 400


def test_prompt_files_that_are_not_there(tmp_path):
    with pytest.raises(PromptError, match="there is no file"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "p.txt").mkdir()
    with pytest.raises(PromptError, match="cannot read"):
        read_prompts(tmp_path / "p.txt")


def test_captions(tmp_path):
    image_folder(tmp_path, 2)
    rows = [{"file_name": "001.png", "text": "a cat"}, {"file_name": "000.png", "text": "a dog"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_captions(tmp_path) == {"001.png": "a cat", "000.png": "a dog"}


@pytest.mark.parametrize("line, words", [
    ('{"file_name": "000.png"}', "line 1: needs the strings"),
    ('{"file_name": "009.png", "text": "a cat"}', "there is no file 009.png"),
    ("{", "line 1: not valid JSON"),
])
def test_captions_that_are_wrong(tmp_path, line, words):
    image_folder(tmp_path, 1)
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(PromptError, match=words):
        read_captions(tmp_path)


@pytest.mark.parametrize("text, seeds", [
    ("0", [0]), ("0-3", [0, 1, 2, 3]), (" 7 , 2-3", [7, 2, 3]), ("5-5", [5]), (str(2**63 - 1), [2**63 - 1])])
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text, words", [
    ("5-2", "the range 5-2 goes down; write 2-5"), ("-1", "is negative"), ("-3--1", "is negative"),
    ("1e3", "'1e3' is not a whole number"), ("", "a seed is missing"), ("1,,2", "a seed is missing"),
    ("1.5", "not a whole number"), ("²", "not a whole number"), ("3-", "not a whole number"),
    ("0-3,2", "2 occurs twice"), ("0-99999999", "at most 1,000,000"), (str(2**63), "none above"),
    ("9" * 5000, "not a whole number"),
])
def test_seeds_that_are_wrong(text, words):
    with pytest.raises(PromptError, match=words) as error:
        parse_seeds(text)
    assert len(str(error.value)) < 250
