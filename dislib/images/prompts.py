"""Lists of prompts, captions and seeds: texts that come from outside, checked on the way in."""

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

from ..errors import PromptError, check_text, shorten
from ..files import read_bytes, user_path

CAPTIONS = "metadata.jsonl"
CAPTION_FORMATS = (
    "write one with a line of JSON for each picture, or a .txt of its name beside each, or take the captions from the"
    " file names (--caption names)"
)
MAX_TEXT = 100_000_000  # bytes; a list of prompts or captions is never that long
MAX_CAPTION = 2_000  # letters; CLIP reads some 300 of them
MAX_SEEDS = 1_000_000
MAX_SEED = 2**63 - 1  # what torch.Generator takes


def read_captions(folder):
    """Read the captions of a folder's pictures from its `metadata.jsonl`, the layout of Hugging Face's "imagefolder".

    Args:
        folder: a folder whose `metadata.jsonl` has lines such as `{"file_name": "000.png", "text": "a red house"}`.

    Returns:
        dict of file name to caption, in the file's order.

    Raises:
        PromptError: the file is missing, a line is not JSON, lacks a key, or names a file that is not there, lies in a
            subfolder (whose pictures are not read) or has a line already.
    """
    folder, path = Path(folder), Path(folder) / CAPTIONS
    captions, lines, there = {}, {}, {}
    if not path.exists():
        raise PromptError(f"there is no file {path}{_other_captions(folder)}; {CAPTION_FORMATS}")
    for number, row in _json_lines(path, _read_text(path)):
        where, name, text = f"{path}, line {number}", row.get("file_name"), row.get("text")
        if not isinstance(name, str) or not isinstance(text, str):
            raise PromptError(f"{where}: needs the strings `file_name` and `text`, has {shorten(row)}")
        there = there or {unicodedata.normalize("NFC", file): file for file in os.listdir(folder)}
        name = _in_folder(name, there, folder, where)
        if name in lines:
            raise PromptError(f"{where}: {shorten(name)} has a caption already, in line {lines[name]}; take one out")
        captions[name], lines[name] = check_text(text, f"caption in {where}:"), number
    return captions


def _in_folder(name, there, folder, where):
    """The name that a file has on the disk, of what a line calls it: `./a.png`, or in another Unicode form."""
    path = os.path.normpath(name)
    if os.path.dirname(path) and os.path.isfile(folder / path):
        raise PromptError(f"{where}: {shorten(name)} lies in a subfolder, which is not read; move it up into {folder}")
    found = there.get(unicodedata.normalize("NFC", path))
    if found is None or not os.path.isfile(folder / found):
        raise PromptError(f"{where}: there is no file {shorten(name)} in {folder}")
    return found


def _other_captions(folder):
    others = sorted(file for file in os.listdir(folder) if file.startswith("metadata.")) if folder.is_dir() else []
    return f" (but {shorten(', '.join(others))}, which is not read)" if others else ""


def read_caption(path):
    """The caption in a .txt beside a picture: its lines joined into one; "" for a blank file.

    Raises:
        PromptError: it is missing, wrongly encoded, or far too long to be a caption.
    """
    text = " ".join(_read_text(path).split())
    if len(text) > MAX_CAPTION:
        raise PromptError(f"{path} has {len(text):,} letters, which is no caption; at most {MAX_CAPTION:,}")
    return check_text(text, f"caption in {path}:")


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


SMALL_VOCABULARY = 5_000  # tokens; a tokenizer with fewer knows whole words, those of its model's captions


def unknown_words(tokenizer, prompt):
    """The words of a prompt that a small model has never met; none for a model with a large vocabulary.

    The tokenizer of the embedded model has one token for each word of its world, and spells all others out.
    """
    if len(tokenizer) > SMALL_VOCABULARY:
        return []
    return [word for word in re.findall(r"[^\W\d_]+", prompt) if len(tokenizer.tokenize(word)) > 1]


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


# --- prompts and seeds ----------------------------------------------------------------------------------------


def _read_text(path):
    try:
        data = read_bytes(path, most=MAX_TEXT)
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
