"""Captions of images: as written beside them, from file names, or by a captioning model; the words of a style left out."""

import re
import unicodedata
import warnings
from pathlib import Path

from ..errors import DislibWarning, ModelError, PromptError, shorten
from .images import load_image
from .prompts import CAPTIONS, read_captions, read_text_file

BLIP = "Salesforce/blip-image-captioning-large"
FLORENCE = "florence-community/Florence-2-base"  # 0.23 billion weights, MIT licence
MODELS = {"florence": FLORENCE, "blip": BLIP}
SOURCES = ("metadata", "names", *MODELS)
MAX_CAPTION = 2_000  # letters; CLIP reads some 300 of them


def captions_of(files, source="metadata", *, leave_out=(), model=None, gaps=None):
    """One caption for each image file.

    Args:
        files: paths, all of one folder.
        source: "metadata" reads the folder's `metadata.jsonl`, or the `.txt` beside a picture that has no line there;
            "names" makes "red house" of `red_house_03.png`; "florence" and "blip" let a captioning model of the hub
            look at the pictures (best on a GPU).
        leave_out: words and phrases to take out wherever they occur, so that the style is left to the noise.
        model: hub id or folder of the captioning model, in place of the usual one.
        gaps: "florence" or "blip", to describe the pictures for which nothing is written (source "metadata" only).

    Returns:
        list of strings.

    Raises:
        PromptError: images without a caption (named), nothing left of one, or empty words to leave out.
        ModelError: the captioning model cannot be had.
    """
    if source not in SOURCES:
        raise PromptError(f"there is no source of captions {source!r}; choose one of {', '.join(SOURCES)}")
    if gaps is not None and (source != "metadata" or gaps not in MODELS):
        raise PromptError(f'gaps= is one of {", ".join(MODELS)}, beside source="metadata"; got {gaps!r} and {source!r}')
    files = [Path(file) for file in files]
    if gaps is not None:
        said = _filled(files, gaps, model)
    elif source in MODELS:
        said = _looked_at(files, source, model)
    else:
        said = {"metadata": _from_metadata, "names": _from_names}[source](files)
    _check_left_out(said, leave_out)
    said = [without(text, leave_out) for text in said]
    if bare := [file.name for file, text in zip(files, said) if not text]:
        raise PromptError(f"no caption is left for {shorten(', '.join(bare), 200)}; write one into metadata.jsonl")
    return said


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


def written(files):
    """From file to what a person wrote for it, in `metadata.jsonl` or else in a .txt beside it; "" for nothing."""
    files = [Path(file) for file in files]
    captions = read_captions(files[0].parent) if (files[0].parent / CAPTIONS).exists() else {}
    captions = {_same(name): text for name, text in captions.items()}
    return {file: captions.get(_same(file.name)) or _beside(file) or "" for file in files}


def _filled(files, gaps, model):
    said = written(files)
    missing = [file for file in files if not said[file].strip()]
    said |= dict(zip(missing, _looked_at(missing, gaps, model))) if missing else {}
    return [said[file] for file in files]


def _from_metadata(files):
    folder, said = files[0].parent, [_beside(file) for file in files]
    if (folder / CAPTIONS).exists() or not any(said):
        captions = {_same(name): text for name, text in read_captions(folder).items()}
        said = [captions.get(_same(file.name), text) for file, text in zip(files, said)]
    if missing := [file.name for file, text in zip(files, said) if text is None]:
        raise PromptError(
            f"{folder} has no caption for {len(missing)} of {len(files)} images: {shorten(', '.join(missing), 200)};"
            f" add lines to {CAPTIONS}, or a .txt of its name beside each, or take captions from the file names"
            " (--caption names)"
        )
    return said


def _same(name):
    """A file's name in one Unicode form: macOS takes é apart, and people type it whole."""
    return unicodedata.normalize("NFC", name)


def _beside(file):
    """The caption in the `.txt` of the picture's name, as most trainers have it; None if there is none."""
    path = file.with_suffix(".txt")
    text = " ".join(read_text_file(path).split()) if path.exists() else None
    if len(text or "") > MAX_CAPTION:
        raise PromptError(f"{path} has {len(text):,} letters, which is no caption; at most {MAX_CAPTION:,}")
    return text


def _from_names(files):
    """Words of the file name; what is not a letter parts them, and numbers at the end only count the files."""
    words = [re.sub(r"[\W_]+", " ", re.sub(r"[\W_]*\d+$", "", file.stem)).strip() for file in files]
    if bare := [file.name for file, text in zip(files, words) if not re.search(r"[^\W\d_]", text)]:
        raise PromptError(
            f"the names of {len(bare)} images hold no words: {shorten(', '.join(bare), 200)};"
            " name them such as red_house_03.png, or write captions into metadata.jsonl"
        )
    return words


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
        with torch.no_grad():
            inputs = processor(images=load_image(file), return_tensors="pt", **task).to(device, eyes.dtype)
            tokens = eyes.generate(**inputs, max_new_tokens=32, num_beams=3, do_sample=False)
        said.append(processor.decode(tokens[0], skip_special_tokens=True).strip(" .\n"))
    return said
