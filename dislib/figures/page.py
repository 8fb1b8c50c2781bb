"""A page to take away: one HTML file with its pictures inside, and not one word of a stranger's taken for markup."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from ..errors import DislibError
from ..escaping import for_html
from ..files import make_folder, write_atomic

SIDE = 192  # px of a picture on the page
STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b;
       background: #fbfbf8; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-top: 1px solid #ddd; padding-top: 1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .6rem; }
figure { margin: 0; } img { width: 100%; height: auto; display: block; border-radius: 3px; }
figcaption { font-size: .8rem; color: #555; overflow-wrap: anywhere; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .3rem .9rem .3rem 0; vertical-align: top;
       border-bottom: 1px solid #e4e4de; overflow-wrap: anywhere; } th { font-weight: 600; white-space: nowrap; }
@media (prefers-color-scheme: dark) { body { color: #e8e8e4; background: #161616; } figcaption { color: #aaa; }
       h2, th, td { border-color: #3a3a3a; } }
"""


@dataclass
class Page:
    """A page that is built up from texts, tables and pictures; all words are plain text, whoever wrote them.

        page = Page("My style")
        page.section("The pictures").pictures([(image, "a red house")]).text("Ten drawings.")
        page.write("my_style.html")
    """

    title: str
    language: str = "en"
    parts: list = field(default_factory=list)

    def section(self, heading: str) -> Page:
        """Begin a section."""
        self.parts.append(f"<h2>{_words(heading)}</h2>")
        return self

    def text(self, *paragraphs: str) -> Page:
        """Add paragraphs."""
        self.parts += [f"<p>{_words(paragraph)}</p>" for paragraph in paragraphs]
        return self

    def table(self, rows: dict) -> Page:
        """Add a table of two columns."""
        cells = (f'<tr><th scope="row">{_words(key)}</th><td>{_words(value)}</td></tr>' for key, value in rows.items())
        self.parts.append(f"<table>{''.join(cells)}</table>")
        return self

    def pictures(self, pairs) -> Page:
        """Add pictures, (PIL picture, words) each; the words are its caption and its text alternative."""
        figures = [f'<figure><img src="{_inside(image)}" alt="{_words(words)}"><figcaption>{_words(words)}</figcaption></figure>'
                   for image, words in pairs]
        if not figures:
            raise DislibError("there are no pictures to show; make some first")
        self.parts.append(f'<div class="pictures">{"".join(figures)}</div>')
        return self

    def html(self) -> str:
        """The whole page."""
        return "\n".join([
            f'<!DOCTYPE html>\n<html lang="{_words(self.language)}"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_words(self.title)}</title><style>{STYLE}</style></head>",
            f"<body><h1>{_words(self.title)}</h1>", *self.parts, "</body></html>\n",
        ])

    def write(self, path: str | os.PathLike) -> Path:
        """Write the page whole or not at all; returns its path."""
        path = Path(path)
        make_folder(path.parent)
        write_atomic(path, self.html().encode())
        return path


def _words(value):
    """Any value as text that stays text, in an element and inside quotes; lists with commas."""
    value = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return for_html("".join(c for c in str(value) if c.isprintable() or c in "\n\t"))


def _inside(image):
    """A picture as a data address, small enough that fifty of them make a page of some megabytes."""
    image = image.convert("RGB")
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


class Tags(HTMLParser):
    """What a browser makes of a page: `names` of its elements in order, and `leading_out`, the addresses in them that
    are neither data nor a place on the page."""

    def __init__(self, page: str):
        super().__init__()
        self.names, self.leading_out, self.scripts = [], [], 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.scripts += tag == "script" or any(name.startswith("on") for name, _ in attrs)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data", "poster", "action") and not (value or "").startswith(("data:", "#")):
                self.leading_out.append(value)
