"""A user's text on its way to where some characters are commands: HTML, Markdown, CSV, a terminal. One function each."""

import html
import re

FORMULA = "=+-@\t\r＝＋－＠"  # what a cell of a spreadsheet begins with that is computed rather than shown


def for_html(text):
    """`text` as HTML shows it, also within quotes."""
    return html.escape(_utf8(text))


def for_markdown(text):
    """`text` in one line, as Markdown shows it: no heading, link, picture, code or HTML comes of it."""
    line = " ".join(html.escape(_utf8(text), quote=False).split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~>$@:])", r"\\\1", line)


def for_csv(cell):
    """A cell that no spreadsheet takes for a formula: a text that begins as one gets an apostrophe before it.

    >>> for_csv("=1+1"), for_csv(-1.5), from_csv(for_csv("=1+1"))
    ("'=1+1", -1.5, '=1+1')
    """
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def from_csv(text):
    """What was given to `for_csv`."""
    return text[1:] if text[:1] == "'" and _is_formula(text[1:]) else text


def _utf8(text):
    return str(text).encode("utf-8", "backslashreplace").decode()


def _is_formula(text):
    return text.lstrip("'")[:1] in tuple(FORMULA)


def for_terminal(text):
    """`text` with all that is no visible character written as an escape, so that it stays one line on a terminal.

    File names may hold line ends, colour codes and bytes that are not UTF-8.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
