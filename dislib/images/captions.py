"""Captions of images: from `metadata.jsonl`, from file names, or by BLIP; the words of a style left out."""

import re
from pathlib import Path

from PIL import Image

from ..errors import ModelError, PromptError, shorten
from .prompts import read_captions

BLIP = "Salesforce/blip-image-captioning-large"
SOURCES = ("metadata", "names", "blip")


def captions_of(files, source="metadata", *, leave_out=(), model=BLIP):
    """One caption for each image file.

    Args:
        files: paths, all of one folder.
        source: "metadata" reads the folder's `metadata.jsonl`; "names" makes "red house" of `red_house_03.png`;
            "blip" lets a captioning model of the hub look at the pictures (wants a GPU).
        leave_out: words and phrases to take out wherever they occur, so that the style is left to the noise.
        model: hub id or folder of the BLIP model.

    Returns:
        list of strings.

    Raises:
        PromptError: images without a caption (named), or nothing left of one.
    """
    if source not in SOURCES:
        raise PromptError(f"there is no source of captions {source!r}; choose one of {', '.join(SOURCES)}")
    files = [Path(file) for file in files]
    said = {"metadata": _from_metadata, "names": _from_names, "blip": lambda f: _from_blip(f, model)}[source](files)
    said = [without(text, leave_out) for text in said]
    if bare := [file.name for file, text in zip(files, said) if not text]:
        raise PromptError(f"no caption is left for {shorten(', '.join(bare), 200)}; write one into metadata.jsonl")
    return said


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


def _from_blip(files, model):
    import torch
    from transformers import BlipForConditionalGeneration, BlipProcessor

    from ..device import pick_device

    try:
        processor = BlipProcessor.from_pretrained(model)
        blip = BlipForConditionalGeneration.from_pretrained(model, use_safetensors=True, dtype=torch.float32)
    except Exception as error:  # the hub's many ways to be away
        raise ModelError(
            f"the captioning model {model} cannot be loaded ({shorten(error, 160)}); go online once, or write"
            " the captions into metadata.jsonl"
        ) from error
    blip = blip.to(pick_device()).eval()
    said = []
    for file in files:
        with Image.open(file) as image, torch.no_grad():
            inputs = processor(images=image.convert("RGB"), return_tensors="pt").to(blip.device)
            tokens = blip.generate(**inputs, max_new_tokens=24, num_beams=3)
        said.append(processor.decode(tokens[0], skip_special_tokens=True))
    return said
