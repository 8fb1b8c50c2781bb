"""Files that a stranger hands in: looked at, taken in as clean pictures, or refused with the reason.

Whatever comes in leaves as a square PNG of our own, under a number for a name: no foreign file name reaches the disk, and no
EXIF, where a camera keeps the place and the time. Nothing is written outside the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import DislibError, PromptError, shorten
from ..files import make_folder, read_json, write_atomic, write_json, write_png
from .images import image_problem, load_image
from .prompts import MAX_CAPTION

MAX_BYTES = 30_000_000  # of one file
MAX_PICTURES = 200  # in one folder
MAX_SIDE = 768  # px that are kept: more than any model here looks at
LEDGER = "uploads.json"
ARCHIVES = frozenset(".zip .rar .7z .tar .gz .tgz .bz2 .xz".split())


class Upload(NamedTuple):
    """A file as it came: its `name`, which is not to be trusted, and its `data` (bytes)."""

    name: str
    data: bytes


class Refused(NamedTuple):
    """A file that was not taken, under a name fit to be printed, and why."""

    name: str
    reason: str


class TakenIn(NamedTuple):
    """What became of the files of one call: paths of new pictures, number of captions, and those refused."""

    pictures: list
    captions: int
    refused: list


def take_in(folder: str | os.PathLike, uploads: Iterable[Upload]) -> TakenIn:
    """Take pictures, and captions for them, into a folder.

    A picture is turned as its EXIF says, laid on white, cut square around its middle, and kept as PNG of at most 768 px. A
    .txt of the same name as a picture, in this call or an earlier one, is its caption.

    Args:
        folder: is made if need be; nothing is written outside it.
        uploads: `Upload`s; any size and kind.

    Returns:
        TakenIn. A file that cannot be used is refused there, and never raises.

    Raises:
        OutputError: the folder cannot be written to.
    """
    folder, ledger = make_folder(Path(folder)), read_ledger(folder)
    uploads = sorted(uploads, key=lambda upload: _suffix(upload.name) == ".txt")  # captions after their pictures
    pictures, captions, refused = [], 0, []
    for name, data in uploads:
        try:
            if _suffix(name) == ".txt":
                _take_caption(folder, ledger, name, data)
                captions += 1
            else:
                pictures.append(_take_picture(folder, ledger, name, data))
        except DislibError as error:
            if type(error).exit_code == 1:  # the disk, not the file
                raise
            refused.append(Refused(shorten(os.path.basename(name) or "a file without a name"), shorten(error, 200)))
    write_json(folder / LEDGER, ledger)
    return TakenIn(pictures, captions, refused)


def read_ledger(folder) -> list[dict]:
    """What has been taken in: a dict of `file`, `name` (as it came) and `pixels` (a hash) each; [] if nothing or damaged."""
    try:
        rows = read_json(Path(folder) / LEDGER)
        return [row for row in rows if {"file", "name", "pixels"} <= set(row) and (Path(folder) / row["file"]).is_file()]
    except (OSError, ValueError, TypeError):
        return []


def from_folder(folder: str | os.PathLike) -> list[Upload]:
    """The files of a folder as uploads, to go through the same gate; those that are too large are not read."""
    try:
        files = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name[0] != ".")
        return [Upload(file.name, _bytes(file)) for file in files]
    except OSError as error:
        raise DislibError(f"cannot read the folder {folder} ({error.strerror}); check the spelling") from error


def _bytes(file):
    with open(file, "rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _suffix(name):
    return os.path.splitext(name)[1].lower()


def _take_picture(folder, ledger, name, data):
    numbers = [int(path.stem) for path in folder.glob("*.png") if path.stem.isdecimal()]
    _check(name, data, len(numbers))
    incoming = folder / ".incoming"
    write_atomic(incoming, data)
    try:
        if problem := image_problem(incoming):
            raise DislibError(problem)
        picture = load_image(incoming, most=MAX_SIDE)
    finally:
        with contextlib.suppress(OSError):
            incoming.unlink()
    pixels = hashlib.sha256(picture.tobytes()).hexdigest()
    if same := next((row for row in ledger if row["pixels"] == pixels), None):
        raise DislibError(f"shows the same as {shorten(same['name'])}, which is there already")
    file = folder / f"{max(numbers, default=-1) + 1:03d}.png"  # of the files, not the ledger, which may be damaged
    write_png(file, picture)
    ledger.append({"file": file.name, "name": shorten(os.path.basename(name), 120), "pixels": pixels})
    return file


def _check(name, data, count):
    if not data:
        raise DislibError("is empty (0 bytes)")
    if len(data) > MAX_BYTES:
        raise DislibError(f"has more than {MAX_BYTES // 10**6} MB; shrink it first")
    if _suffix(name) in ARCHIVES or data[:4] in (b"PK\x03\x04", b"Rar!", b"7z\xbc\xaf"):
        raise DislibError("is an archive; unpack it and choose the pictures in it")
    if data[:5] == b"%PDF-":
        raise DislibError("is a PDF; export its page as PNG")
    if data[:300].lstrip().lower().startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        raise DislibError("is text that describes a picture or a page (SVG, HTML); export it as PNG")
    if count >= MAX_PICTURES:
        raise DislibError(f"is one too many: {MAX_PICTURES} pictures are enough for any style here")


def _take_caption(folder, ledger, name, data):
    stem = os.path.splitext(os.path.basename(name))[0]
    owner = next((row for row in ledger if os.path.splitext(row["name"])[0] == stem), None)
    if owner is None:
        raise PromptError("is a text, and there is no picture of that name to go with it")
    if len(data) > 4 * MAX_CAPTION:
        raise PromptError("is far too long for a caption")
    try:
        text = " ".join(data.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise PromptError("is not UTF-8 text; save it as UTF-8") from error
    if not text:
        raise PromptError("is empty; write what the picture shows")
    write_atomic((folder / owner["file"]).with_suffix(".txt"), text.encode())
