"""Two doors, one treatment: what a file shows, a picture in memory and a list of either show as well."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from helpers import image_folder, images, shared_pipeline
from PIL import Image
from small_judge import save_judge

from dislib.core.latents import encode
from dislib.core.prior import StylePrior
from dislib.errors import DislibError, DislibWarning, ImageError
from dislib.evaluation.judge import image_features, load_judge, open_picture
from dislib.evaluation.reference import Reference
from dislib.images.images import load_image, prepare_image, upright_rgb
from dislib.training.examples import TrainingSet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")
SIZE = 128
RAMP = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)  # black above, white below


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    save_judge(folder)
    return load_judge(folder)


# --- files of every kind ----------------------------------------------------------------------------------------------


def _saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(images(1)[0], "PNG", exif=exif)


def _clear(mode):
    image = images(1)[0].convert("RGB").convert(mode)
    image.putalpha(Image.fromarray((255 * RAMP).astype(np.uint8)))
    return _saved(image, "PNG")


def _palette():
    image = images(1)[0].quantize(16)
    return _saved(image, "PNG", transparency=3)


def png16(values, clear=None):
    """A PNG of 16-bit grey; `clear` is the value that shows what lies behind."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *values.shape[::-1], 16, 0, 0, 0, 0))
    through = b"" if clear is None else chunk(b"tRNS", struct.pack(">H", clear))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + head + through + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values):
    """A TIFF of grey in the type of `values`."""
    height, width = values.shape
    data, kind = values.tobytes(), {"u": 1, "i": 2}[values.dtype.kind]
    tags = [(256, 3, width), (257, 3, height), (258, 3, 8 * values.itemsize), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, kind)]  # fmt: skip
    pack = lambda form, value: struct.pack("<HH", value, 0) if form == 3 else struct.pack("<I", value)
    entries = b"".join(struct.pack("<HHI", tag, form, 1) + pack(form, value) for tag, form, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


FILES = {
    "turned by EXIF": _turned(),
    "RGBA": _clear("RGB"),
    "LA": _clear("L"),
    "palette with a clear colour": _palette(),
    "CMYK": _saved(images(1)[0].convert("CMYK"), "TIFF"),
    "one bit": _saved(images(1)[0].convert("1"), "PNG"),
    "16 bits": png16((65535 * RAMP).astype(np.uint16)),
    "16 bits, one of them clear": png16((65535 * RAMP).astype(np.uint16), clear=0),
    "12 bits in 16": png16((4095 * RAMP).astype(np.uint16)),
    "12 bits in a TIFF": tiff((4095 * RAMP).astype(np.uint16)),
    "32 bits with a sign": tiff(((2**31 - 1) * RAMP).astype(np.int32)),
    "32 bits without a sign": tiff(((2**32 - 1) * RAMP).astype(np.uint32)),
}


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(FILES[request.param])
    return path


@pytest.mark.parametrize("kind", [name for name in FILES if "bits" in name])
def test_deep_grey_keeps_its_shades(kind):
    seen = np.asarray(upright_rgb(Image.open(io.BytesIO(FILES[kind])))).astype(int)[..., 0]
    assert np.abs(seen - 255 * RAMP)[1:].max() <= 1


def test_a_clear_shade_of_deep_grey_is_white():
    values = (65535 * RAMP).astype(np.uint16)
    seen = np.asarray(upright_rgb(Image.open(io.BytesIO(png16(values, clear=0)))))
    assert (seen[values == 0] == 255).all() and seen[0, 5].max() < 5


def test_the_judge_sees_a_file_and_a_picture_alike(file, judge):
    expected = image_features([open_picture(file)], judge)
    np.testing.assert_array_equal(image_features([Image.open(file)], judge), expected)


def test_the_model_encodes_a_file_and_a_picture_alike(file):
    pipe = shared_pipeline()
    expected = encode(pipe, [load_image(file, SIZE)])
    assert torch.equal(encode(pipe, [Image.open(file)]), expected)
    assert torch.equal(TrainingSet.from_images(pipe, [Image.open(file)], ["a"]).latents, expected)
    priors = [StylePrior.from_images(pipe, [of, of], shrink=0.5) for of in (str(file), Image.open(file))]
    assert torch.equal(priors[0].mean, priors[1].mean)


def test_a_training_set_is_the_same_of_a_folder_and_of_pictures(tmp_path):
    pipe = shared_pipeline()
    for i, wide in enumerate((200, 90)):
        images(1, seed=i)[0].resize((wide, 150)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text("a b")
    folder = TrainingSet.from_folder(pipe, tmp_path, random_flip=True)
    memory = TrainingSet.from_images(
        pipe, [Image.open(tmp_path / f"{i}.png") for i in range(2)], ["a b"] * 2, random_flip=True
    )
    assert torch.equal(folder.latents, memory.latents) and folder.fingerprint() == memory.fingerprint()


CANNOT = {
    "float": Image.fromarray(RAMP.astype(np.float32)),
    "empty": Image.new("RGB", (0, 5)),
    "no picture": "a.png",
}


@pytest.mark.parametrize("kind", CANNOT)
@pytest.mark.parametrize("door", ["judge", "encode", "training set", "prepare"])
def test_what_is_no_picture_is_refused_with_its_number(kind, door, judge):
    pipe, good, bad = shared_pipeline(), images(1)[0], CANNOT[kind]
    doors = {
        "judge": lambda: image_features([good, bad], judge),
        "encode": lambda: encode(pipe, [good, bad]),
        "training set": lambda: TrainingSet.from_images(pipe, [good, bad], ["a", "b"]),
        "prepare": lambda: prepare_image(bad, SIZE),
    }
    with pytest.raises(ImageError if door != "judge" else DislibError) as error:
        doors[door]()
    assert door == "prepare" or "image 1 " in str(error.value)


# --- what is not used is told -----------------------------------------------------------------------------------------


def test_unreadable_pictures_are_told_wherever_a_folder_is_read(tmp_path, judge):
    image_folder(tmp_path, 3)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    lines = [{"file_name": f"00{i}.png", "text": "a"} for i in range(3)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for read in (
        lambda: TrainingSet.from_folder(shared_pipeline(), tmp_path),
        lambda: Reference.from_folder(tmp_path, judge),
    ):
        with pytest.warns(DislibWarning, match="broken.png"):
            read()
