"""Folders of images, lists of prompts, lists of seeds: everything that comes from outside, checked on the way in."""

import csv
import io
import json
import os
import re
import stat
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from .errors import ImageError, PromptError, check_text, shorten
from .files import user_path

# .heic is listed so that a reader's phone photographs are named with the mend rather than passed over in silence.
SUFFIXES = frozenset(".png .jpg .jpeg .jfif .webp .bmp .gif .tif .tiff .ppm .pgm .avif .heic .heif".split())
MIN_SIDE = 16  # px; below this there is nothing to enlarge
MAX_PIXELS = 178_956_970  # where Pillow itself speaks of a decompression bomb; a 100-megapixel photograph passes
# What is decoded under any of these names. Not EPS, say, for which Pillow would start another program.
FORMATS = frozenset("PNG JPEG MPO JPEG2000 WEBP BMP DIB GIF TIFF PPM AVIF HEIF".split())
MAX_TEXT = 100_000_000  # bytes; a list of prompts or captions is never that long
MAX_SEEDS = 1_000_000
MAX_SEED = 2**63 - 1  # what torch.Generator takes


class Skipped(NamedTuple):
    """A file that is not used, and why."""

    file: Path
    reason: str


class ImageList(NamedTuple):
    """The readable image files, sorted by name (2.png before 10.png), and those skipped: `files, skipped =
    list_images(folder)`."""

    files: list
    skipped: list


def list_images(folder):
    """Find the images of a folder (not of its subfolders) and decode each once to see that it is whole.

    Hidden files and files that are not named as images (`metadata.jsonl`) are passed over. An image that is
    broken, empty, animated, smaller than 16 px or a decompression bomb is skipped and named with the reason.

    Args:
        folder: path of the folder.

    Returns:
        ImageList(files, skipped): `files` sorted by name, 2.png before 10.png; `skipped` a list of `(file, reason)`.

    Raises:
        ImageError: the folder does not exist, is a file, cannot be opened, or holds no file named as an image.
    """
    folder = user_path(folder, ImageError)
    names = [name for name in _names(folder) if Path(name).suffix.lower() in SUFFIXES and name[0] != "."]
    if not names:
        raise ImageError(f"no images in {folder}{_where_else(folder)}; expected files such as .png or .jpg")
    return check_images([folder / name for name in sorted(names, key=_counted)])


def check_images(files):
    """Decode each of `files` once; returns ImageList(files, skipped) in the order given."""
    checked = [(Path(file), image_problem(file)) for file in files]
    return ImageList(
        [file for file, problem in checked if problem is None],
        [Skipped(file, problem) for file, problem in checked if problem is not None],
    )


def image_problem(file):
    """Why an image file cannot be used, in a few words; None if it can."""
    try:
        with _open(file) as image:
            # JPEG decodes at an eighth of its size for this: the same bytes are read, so a cut file is still caught.
            image.draft(None, (64, 64))
            _decode(image)
    except ImageError as error:
        return str(error)
    return None


def load_image(file, size, *, place=0.5):
    """Read an image as the VAE wants it: turned as its EXIF says, RGB, centre-cropped square, `size` px.

    Transparency is laid on white, 16-bit grey is scaled (not clipped), CMYK and palettes become RGB. The crop is
    the largest centred square, resampled bicubically with area weights when it shrinks; this equals resizing the
    short side to `size` and cropping the centre. Colour profiles are not applied.

    Args:
        file: path of the image.
        size: side of the result in pixels.
        place: where along the longer side the square is cut out, 0 to 1; 0.5 is the centre.

    Returns:
        PIL image of mode RGB, `size` x `size` px.

    Raises:
        ImageError: the file cannot be read; the message names it and the reason.
    """
    try:
        with _open(file) as image:
            _decode(image)
            return prepare_image(image, size, place=place)
    except ImageError as error:
        raise ImageError(f"{shorten(file, 200)}: {error}") from error


def prepare_image(image, size, *, place=0.5):
    """The same treatment for a PIL image already in memory; see `load_image`."""
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF is no reason to lose the picture: it stays as it lies
        pass
    # Cropping before resizing, so that a strip of 16 x 100,000 px never becomes 512 x 3,200,000.
    return ImageOps.fit(_to_rgb(image), (size, size), Image.Resampling.BICUBIC, centering=(place, place))


def read_captions(folder):
    """Read the captions of a folder from its `metadata.jsonl`, the layout of the Hugging Face "imagefolder".

    Args:
        folder: a folder whose `metadata.jsonl` has lines such as `{"file_name": "000.png", "text": "a red house"}`.

    Returns:
        dict of file name to caption, in the file's order.

    Raises:
        PromptError: the file is missing, a line is not JSON, lacks a key, or names a file that is not there.
    """
    path, captions = Path(folder) / "metadata.jsonl", {}
    for number, row in _json_lines(path, _read_text(path)):
        name, text = row.get("file_name"), row.get("text")
        if not isinstance(name, str) or not isinstance(text, str):
            raise PromptError(f"{path}, line {number}: needs the strings `file_name` and `text`, has {shorten(row)}")
        if not os.path.isfile(Path(folder) / name):
            raise PromptError(f"{path}, line {number}: there is no file {shorten(name)} in {folder}")
        captions[name] = text
    return captions


def read_prompts(path):
    """Read prompts from a file, one string each, in order; blank ones are left out.

    Formats, by suffix: `.txt` one a line; `.json` a list of strings or of objects; `.jsonl` an object (or a string)
    a line; `.csv` and `.tsv` with a header. In objects and tables the column is called `prompt` (or `Prompts`, as in
    DrawBench), or else `text`. A .tsv with double quotes that are not CSV's, such as PartiPrompts', is taken as it stands.
    UTF-8 with or without a byte-order mark, UTF-16 with one, any line ends.

    Raises:
        PromptError: the file is missing, of another format, wrongly encoded, not valid JSON or without any prompt.
    """
    return [row["prompt"] for row in read_prompt_rows(path)]


def read_prompt_rows(path):
    """Like `read_prompts`, but a list of dicts that keeps every column (`category`, ...) beside `prompt`."""
    path = user_path(path, PromptError)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise PromptError(f"{path}: prompts come as {', '.join(_READERS)}; rename or convert the file")
    rows = [_prompt_row(path, number, row) for number, row in reader(path, _read_text(path))]
    rows = [row for row in rows if row["prompt"]]
    if not rows:
        raise PromptError(f"{path}: no prompts in it; write one a line")
    return rows


def parse_seeds(text):
    """Turn `"0-7,12"` into `[0, 1, 2, 3, 4, 5, 6, 7, 12]`.

    Raises:
        PromptError: not whole numbers from 0 and ranges going up, a seed named twice, or more than a million.
    """
    seeds = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*([0-9]{1,20})\s*(?:-\s*([0-9]{1,20})\s*)?", part)
        if not match:
            raise PromptError(f"seeds {shorten(text)!r}: {_seed_problem(part.strip())}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise PromptError(f"seeds {shorten(text)!r}: the range {part.strip()} goes down; write {last}-{first}")
        if last > MAX_SEED or last - first + len(seeds) >= MAX_SEEDS:
            raise PromptError(f"seeds {shorten(text)!r}: at most {MAX_SEEDS:,} seeds, none above 2**63 - 1")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) < len(seeds):
        twice = Counter(seeds).most_common(1)[0][0]
        raise PromptError(f"seeds {shorten(text)!r}: {twice} occurs twice and would give the same image; name it once")
    return seeds


# --- images ---------------------------------------------------------------------------------------------------


def _counted(name):
    """The key that sorts 2.png before 10.png, as people do."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def _names(folder):
    try:
        return os.listdir(folder)
    except FileNotFoundError as error:
        raise ImageError(f"there is no folder {folder}; check the spelling") from error
    except NotADirectoryError as error:
        raise ImageError(f"{folder} is a file; give the folder that holds the images") from error
    except OSError as error:
        raise ImageError(f"cannot open the folder {folder}: {error.strerror}") from error


def _where_else(folder):
    """A hint for the commonest mistake: the folder one level too high."""
    below = sorted(name for name in os.listdir(folder) if name[0] != "." and os.path.isdir(folder / name))
    return f" itself (it holds the folders {shorten(', '.join(below))})" if below else ""


def _open(file):
    """Open an image and refuse, by its header alone, what should not be decoded."""
    _check_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning comes at half our limit
            image = Image.open(file)
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise ImageError(_unreadable(file, error)) from error
    try:
        _check_header(image)
    except ImageError:
        image.close()
        raise
    return image


def _check_file(file):
    try:
        status = os.stat(file)
    except OSError as error:
        raise ImageError(_broken_link(file, error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise ImageError("is not a regular file")
    if status.st_size == 0:
        raise ImageError("is empty (0 bytes)")


def _broken_link(file, error):
    if not os.path.islink(file):
        return f"cannot be opened ({error.strerror})"
    target = shorten(os.readlink(file))
    return f"is a symbolic link to {target}, which does not lead to a file ({error.strerror})"


def _unreadable(file, error):
    if isinstance(error, Image.DecompressionBombError):
        return f"is a decompression bomb or too large (over {MAX_PIXELS // 10**6} megapixels); shrink it first"
    if Path(file).suffix.lower() in (".heic", ".heif"):
        return "is HEIC, which Pillow does not read; export it as JPEG"
    if isinstance(error, PermissionError):
        return "may not be read (no permission)"
    return f"is not an image Pillow can read ({type(error).__name__})"


def _check_header(image):
    if image.format not in FORMATS:
        raise ImageError(f"is {image.format}, which is not read here; export it as PNG")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_unreadable("", Image.DecompressionBombError()))
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"is {width} x {height} px; at least {MIN_SIDE} x {MIN_SIDE} is needed")
    # Some cameras store a second, hidden picture in a JPEG, which Pillow then calls MPO: still a photograph.
    if image.format != "MPO" and (frames := _frames(image)) > 1:
        raise ImageError(f"is animated or has several pages ({frames}); export one of them as PNG")
    if image.mode not in _TO_8_BIT and image.mode not in _MODES:
        raise ImageError(f"has the colour mode {image.mode}, which is not supported; save it as 8-bit RGB")


def _frames(image):
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # counting frames reads the whole file; if it is damaged, decoding will say how
        return 1


def _decode(image):
    try:
        image.load()
    except Exception as error:
        reason = "is cut short (truncated)" if "truncated" in str(error).lower() else "is damaged"
        raise ImageError(f"{reason}: {shorten(error, 100)}") from error


def _to_rgb(image):
    if image.mode in _TO_8_BIT:
        image = Image.fromarray(_TO_8_BIT[image.mode](np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _from_16_bit(values):
    """Pillow's own conversion clips at 255, which turns every 16-bit scan white."""
    return np.clip(np.rint(values.astype(np.float32) / 257), 0, 255).astype(np.uint8)


_MODES = frozenset("1 L LA P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV".split())
_TO_8_BIT = {mode: _from_16_bit for mode in ("I", "I;16", "I;16L", "I;16B", "I;16N")}


# --- prompts and seeds ----------------------------------------------------------------------------------------


def _read_text(path):
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TEXT:  # a named pipe would be waited for for ever
            raise PromptError(f"cannot read {path}: it is not a file of text, or larger than {MAX_TEXT // 10**6} MB")
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise PromptError(f"there is no file {path}; check the spelling") from error
    except OSError as error:
        raise PromptError(f"cannot read {path}: {error.strerror}") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def _lines(path, text):
    # Not str.splitlines, which would also cut at characters such as U+2028 inside a prompt.
    return enumerate(re.split(r"\r\n|\r|\n", text), start=1)


def _json(path, text, line=None):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        number = line or getattr(error, "lineno", 1)
        why = shorten(error, 120)
        raise PromptError(f"{path}, line {number}: not valid JSON ({why}); see {shorten(text)!r}") from error


def _json_lines(path, text):
    for number, line in _lines(path, text):
        if line.strip():
            row = _json(path, line, number)
            if not isinstance(row, (dict, str)):
                raise PromptError(f"{path}, line {number}: expected an object, found {shorten(line)!r}")
            yield number, row if isinstance(row, dict) else {"prompt": row}


def _json_list(path, text):
    rows = _json(path, text)
    if not isinstance(rows, list):
        raise PromptError(f"{path}: expected a list of prompts such as [\"a red house\"], found {shorten(text)!r}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, (dict, str)):
            raise PromptError(f"{path}, entry {number}: expected a string or an object, found {shorten(row)!r}")
        yield number, row if isinstance(row, dict) else {"prompt": row}


def _text_lines(path, text):
    return ((number, {"prompt": line}) for number, line in _lines(path, text))


def _comma_rows(path, text):
    return _table(path, text, strict=True, skipinitialspace=True)


def _tab_rows(path, text):
    """Spreadsheets write tabs with CSV's quoting, many others with none at all."""
    try:
        return _table(path, text, delimiter="\t", strict=True, skipinitialspace=True)
    except PromptError:
        return _table(path, text, delimiter="\t", quoting=csv.QUOTE_NONE)


def _table(path, text, **dialect):
    reader, rows = csv.DictReader(io.StringIO(text, newline=""), **dialect), []
    try:
        for row in reader:
            if None in row:  # an unquoted comma would silently cut the prompt in two
                raise csv.Error("more columns than the header")
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise PromptError(
            f"{path}, line {reader.reader.line_num}: {error}; are all double quotes closed? A prompt with commas or double"
            " quotes stands in double quotes, and those inside it are doubled"
        ) from error
    return rows


def _prompt_row(path, number, row):
    # DrawBench's table calls its column Prompts, PartiPrompts' Prompt.
    names = {str(name).strip().lower(): name for name in reversed(row)}
    name = next((names[known] for known in ("prompt", "prompts", "text") if known in names), None)
    value = row.get(name, 0)
    if not isinstance(value, str) and value is not None:
        raise PromptError(f"{path}, line {number}: no string called `prompt` or `text` in {shorten(row)}")
    return {**row, "prompt": check_text((value or "").strip(), f"prompt in {path}, line {number}:")}


def _seed_problem(part):
    if not part:
        return "a seed is missing; write 0-7 or 0,3,12"
    if re.fullmatch(r"-\s*[0-9].*", part):
        return f"{shorten(part)} is negative; seeds are whole numbers from 0"
    return f"{shorten(part)!r} is not a whole number or a range; write 0-7 or 0,3,12"


_READERS = {".txt": _text_lines, ".json": _json_list, ".jsonl": _json_lines, ".csv": _comma_rows, ".tsv": _tab_rows}
