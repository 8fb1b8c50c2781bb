"""Captions of images: as written beside them, from file names, or by a captioning model; the words of a style left out."""

import re
import unicodedata
import warnings
from pathlib import Path

from ..errors import DislibWarning, ModelError, PromptError, shorten
from .images import load_image
from .prompts import CAPTIONS, read_caption, read_captions

BLIP = "Salesforce/blip-image-captioning-large"
FLORENCE = "florence-community/Florence-2-base"  # 0.23 billion weights, MIT licence
MODELS = {"florence": FLORENCE, "blip": BLIP}
SOURCES = ("metadata", "txt", "written", "names", *MODELS)


def captions_of(files, source="metadata", *, leave_out=(), model=None, gaps=None):
    """One caption for each image file.

    Args:
        files: paths, all of one folder.
        source: "metadata" reads the folder's `metadata.jsonl`, or the `.txt` beside a picture that has no line there;
            "written" does so too, and may leave gaps; "txt" reads `house.txt` beside `house.png` alone; "names" makes
            "red house" of `red_house_03.png`; "florence" and "blip" let a captioning model of the hub look at the
            pictures (best on a GPU).
        leave_out: words and phrases to take out wherever they occur, so that the style is left to the noise.
        model: hub id or folder of the captioning model, in place of the usual one.
        gaps: "florence" or "blip", to describe the pictures for which nothing is written (source "written" only).

    Returns:
        list of strings.

    Raises:
        PromptError: images without a caption (named), nothing left of one, or empty words to leave out.
        ModelError: the captioning model cannot be had.
    """
    if source not in SOURCES:
        raise PromptError(f"there is no source of captions {source!r}; choose one of {', '.join(SOURCES)}")
    if gaps is not None and (source != "written" or gaps not in MODELS):
        raise PromptError(f'gaps= is one of {", ".join(MODELS)}, beside source="written"; got {gaps!r} and {source!r}')
    files = [Path(file) for file in files]
    readers = {"metadata": _from_metadata, "txt": _from_txt, "names": _from_names}
    if source == "written":
        said = _written(files, gaps, model)
    else:
        said = readers[source](files) if source in readers else _looked_at(files, source, model)
    _check_left_out(said, leave_out)
    said = [without(text, leave_out) for text in said]
    if bare := [file.name for file, text in zip(files, said) if not text]:
        raise PromptError(f"no caption is left for {shorten(', '.join(bare), 200)}; write one into metadata.jsonl")
    return said


def written(files):
    """From file to what a person wrote for it, in `metadata.jsonl` or else in a .txt beside it; "" for nothing."""
    files = [Path(file) for file in files]
    return {file: text or "" for file, text in zip(files, _line_or_text(files))}


def without(text, words):
    """`text` without the given words and phrases, and without the "of" or "in" they leave dangling."""
    for phrase in sorted(map(_plain, words), key=len, reverse=True):
        if phrase:
            pattern = rf"(\b(an?|the) )?{_whole(phrase)}( style\b)?( (of|by)\b)?"
            text = re.sub(pattern, " ", unicodedata.normalize("NFC", text), flags=re.IGNORECASE)
    text = re.sub(r"\s+", " ", text).strip(" ,.;")
    return re.sub(r"( in| of| with)+$|^(of|in) ", "", text).strip(" ,.;")


def _plain(phrase):
    return " ".join(unicodedata.normalize("NFC", phrase).split())


def _whole(phrase):
    """The pattern of a phrase, which is no part of a longer word; "C++" and "(sketch)" end where they end."""
    before, after = r"(?<!\w)" if re.match(r"\w", phrase) else "", r"(?!\w)" if re.search(r"\w$", phrase) else ""
    return before + r"\s+".join(map(re.escape, phrase.split())) + after


def _check_left_out(said, words):
    if isinstance(words, str) or not all(_plain(phrase) for phrase in words):
        raise PromptError(f'the words to leave out are {words!r}; give a list of words or phrases, such as ["a sketch"]')
    for phrase in map(_plain, words):
        if not any(re.search(_whole(phrase), unicodedata.normalize("NFC", text), re.IGNORECASE) for text in said):
            warnings.warn(f"{shorten(phrase)!r} is to be left out and is in no caption", DislibWarning, stacklevel=3)


def _from_metadata(files):
    folder, said = files[0].parent, _line_or_text(files)
    if not any(said):
        read_captions(folder)  # says what a folder without any may hold
    if missing := [file.name for file, text in zip(files, said) if text is None]:
        raise PromptError(
            f"{folder} has no caption for {len(missing)} of {len(files)} images: {shorten(', '.join(missing), 200)};"
            f" add lines to {CAPTIONS}, or a .txt of its name beside each, or take captions from the file names"
            " (--caption names)"
        )
    return said


def _line_or_text(files):
    """The line of `metadata.jsonl` for each file, or else the .txt beside it, or else None."""
    folder, said = files[0].parent, [_beside(file) for file in files]
    if (folder / CAPTIONS).exists():
        captions = {_same(name): text for name, text in read_captions(folder).items()}
        said = [captions.get(_same(file.name), text) for file, text in zip(files, said)]
    return said


def _same(name):
    """A file's name in one Unicode form: macOS takes é apart, and people type it whole."""
    return unicodedata.normalize("NFC", name)


def _beside(file):
    """The caption in the `.txt` of the picture's name, as most trainers have it; None if there is none."""
    path = _txt(file)
    return read_caption(path) if path.exists() else None


def _from_names(files):
    """Words of the file name; what is not a letter parts them, and numbers at the end only count the files."""
    words = [re.sub(r"[\W_]+", " ", re.sub(r"[\W_]*\d+$", "", file.stem)).strip() for file in files]
    if bare := [file.name for file, text in zip(files, words) if not re.search(r"[^\W\d_]", text)]:
        raise PromptError(
            f"the names of {len(bare)} images hold no words: {shorten(', '.join(bare), 200)};"
            " name them such as red_house_03.png, or write captions into metadata.jsonl"
        )
    return words


def _txt(file):
    return file.with_suffix(".txt")


def _from_txt(files):
    if missing := [file.name for file in files if not _txt(file).exists()]:
        raise PromptError(
            f"{len(missing)} of {len(files)} images have no .txt beside them: {shorten(', '.join(missing), 200)};"
            f" write one line into {_txt(Path(missing[0]))}, and so on"
        )
    return [read_caption(_txt(file)) for file in files]


def _written(files, gaps, model):
    said = written(files)
    missing = [file for file in files if not said[file]]
    if missing and gaps is None:
        names = shorten(", ".join(file.name for file in missing), 200)
        raise PromptError(
            f"nothing is written for {len(missing)} of {len(files)} images: {names}; write a line into metadata.jsonl or"
            f" into {_txt(missing[0]).name} beside the picture, or let a model describe them (--caption florence)"
        )
    said |= dict(zip(missing, _looked_at(missing, gaps, model))) if missing else {}
    return [said[file] for file in files]


def _looked_at(files, source, model=None):
    """What a captioning model says of each picture, one at a time."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from ..device import pick_device, pick_dtype

    model, device = model or MODELS[source], pick_device()
    try:
        processor = AutoProcessor.from_pretrained(model)
        eyes = AutoModelForImageTextToText.from_pretrained(model, use_safetensors=True, dtype=pick_dtype(device))
    except Exception as error:  # the hub's many ways to be away
        raise ModelError(
            f"the captioning model {model} cannot be loaded ({shorten(error, 160)}); go online once, or write"
            " the captions into metadata.jsonl"
        ) from error
    eyes, task = eyes.to(device).eval(), {"text": "<CAPTION>"} if source == "florence" else {}
    said = []
    for file in files:
        picture = load_image(file, 512)  # turned, on white, square as the U-Net will see it
        with torch.no_grad():
            inputs = processor(images=picture, return_tensors="pt", **task).to(device, eyes.dtype)
            tokens = eyes.generate(**inputs, max_new_tokens=32, num_beams=3, do_sample=False)
        said.append(processor.decode(tokens[0], skip_special_tokens=True).strip(" .\n"))
    return said
