"""What goes wrong in words: one error a reader can mend, one warning worth reading."""

import operator
import os

from .escaping import for_terminal as printable


class DislibError(ValueError):
    """Something the caller can mend. The message names the thing, its value and the mend.

    `exit_code` is what `python -m dislib` returns: 2 for a call or an input that is wrong,
    1 for work that failed although the call was right.
    """

    exit_code = 2


class ImageError(DislibError):
    """An image file, or a folder of them, that cannot be used."""


class PromptError(DislibError):
    """A file of prompts or captions, or a list of seeds, that cannot be read."""


class ModelError(DislibError):
    """A pipeline that cannot be found, reached or used."""


class PriorError(DislibError):
    """A style prior that cannot be computed, read or used with this model."""


class SamplerError(DislibError):
    """A sampler that is not deterministic, or settings no sampler can follow."""


class TrainingError(DislibError):
    """Fine-tuning that cannot start, go on or be resumed."""


class OutputError(DislibError):
    """A place that cannot be written to: a full disk, a missing right, a folder in use."""

    exit_code = 1


class DislibWarning(UserWarning):
    """The work goes on, but a reader should know this (a truncated prompt, say)."""


def shorten(text, limit=60):
    """`text` in one printable line of at most `limit` characters, for use in a message."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def check_text(text, name="prompt"):
    """Return `text`, or raise PromptError where it holds what was no UTF-8 (a shell's or JSON's lone surrogates)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"the {name} '{shorten(text)}' is not UTF-8 text; retype it, or keep it in a file") from error
    return text


def check_whole(value, name, *, least=1, most=None, error=DislibError):
    """`value` as an int; raises `error` if it is no whole number between `least` and `most`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        to = f" to {most}" if most is not None else ""
        raise error(f"{name} must be a whole number from {least}{to}, got {shorten(repr(value))}")
    return number


def check_processes():
    """Refuse what a launcher leaves in the environment if it is no number; accelerate would fail with a traceback."""
    for name, least in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", -1), ("LOCAL_WORLD_SIZE", 1)):
        value = os.environ.get(name)
        try:
            right = value is None or int(value) >= least
        except ValueError:
            right = False
        if not right:
            raise DislibError(f"the environment variable {name} is {shorten(repr(value))}; unset it, or start with torchrun")


def check_words(given, **new):
    """Refuse keywords of former versions with the word that took their place, and unknown ones as Python does."""
    for name in given:
        if name in new:
            raise DislibError(f"{name}= is now called {new[name]}")
        raise TypeError(f"got an unexpected keyword argument {name!r}")
