"""Captions of images: as written beside them, from file names, or by a captioning model; the words of a style left out."""

import re
from pathlib import Path

from PIL import Image

from ..errors import ModelError, PromptError, shorten
from .prompts import read_caption, read_captions

BLIP = "Salesforce/blip-image-captioning-large"
FLORENCE = "florence-community/Florence-2-base"  # 0.23 billion weights, MIT licence
MODELS = {"florence": FLORENCE, "blip": BLIP}
SOURCES = ("metadata", "txt", "written", "names", *MODELS)


def captions_of(files, source="metadata", *, leave_out=(), model=None, gaps=None):
    """One caption for each image file.

    Args:
        files: paths, all of one folder.
        source: "metadata" reads the folder's `metadata.jsonl`; "txt" reads `house.txt` beside `house.png`; "written"
            takes either, the line of `metadata.jsonl` first; "names" makes "red house" of `red_house_03.png`;
            "florence" and "blip" let a captioning model of the hub look at the pictures (best on a GPU).
        leave_out: words and phrases to take out wherever they occur, so that the style is left to the noise.
        model: hub id or folder of the captioning model, in place of the usual one.
        gaps: "florence" or "blip", to describe the pictures for which nothing is written (source "written" only).

    Returns:
        list of strings.

    Raises:
        PromptError: images without a caption (named), or nothing left of one.
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
    said = [without(text, leave_out) for text in said]
    if bare := [file.name for file, text in zip(files, said) if not text]:
        raise PromptError(f"no caption is left for {shorten(', '.join(bare), 200)}; write one into metadata.jsonl")
    return said


def written(files):
    """From file to what a person wrote for it, in `metadata.jsonl` or else in a .txt beside it; "" for nothing."""
    files = [Path(file) for file in files]
    lines = read_captions(files[0].parent) if (files[0].parent / "metadata.jsonl").exists() else {}
    return {file: lines.get(file.name) or (read_caption(path) if (path := _txt(file)).exists() else "") for file in files}


def without(text, words):
    """`text` without the given words and phrases, and without the "of" or "in" they leave dangling."""
    for phrase in sorted(words, key=len, reverse=True):
        text = re.sub(rf"\b(an? |the )?{re.escape(phrase)}\b( style)?( of| by)?", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"\s+", " ", text).strip(" ,.;")
    return re.sub(r"( in| of| with)+$|^(of|in) ", "", text).strip(" ,.;")


def _from_metadata(files):
    captions = read_captions(files[0].parent)
    if missing := [file.name for file in files if file.name not in captions]:
        raise PromptError(
            f"{files[0].parent / 'metadata.jsonl'} has no line for {len(missing)} of {len(files)} images:"
            f" {shorten(', '.join(missing), 200)}; add them, or take captions from the file names (--caption names)"
        )
    return [captions[file.name] for file in files]


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
    from .images import prepare_image

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
        with Image.open(file) as image, torch.no_grad():
            picture = prepare_image(image, 512)  # turned, on white, square as the U-Net will see it
            inputs = processor(images=picture, return_tensors="pt", **task).to(device, eyes.dtype)
            tokens = eyes.generate(**inputs, max_new_tokens=32, num_beams=3, do_sample=False)
        said.append(processor.decode(tokens[0], skip_special_tokens=True).strip(" .\n"))
    return said
