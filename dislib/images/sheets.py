"""Sheets of pictures: a grid in one WebP file with its facts beside it, so that many pictures take little room.

Shipped in `data/results`: `strips/STYLE` (a method a row, a guidance weight a column, one prompt and initial latent)
and `ballots/STYLE` (a method a row, a prompt a column, one guidance weight), made by `python -m recipes sweeps`.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import DislibError, shorten
from ..files import check_regular, read_json, write_atomic, write_json


@dataclass(frozen=True)
class Sheet:
    """A grid of pictures: `rows` and `columns` are their names, `facts` what else is known (a dict of JSON values)."""

    rows: list
    columns: list
    images: list
    facts: dict

    def at(self, row, column):
        """The picture of a row's and a column's name.

        Raises:
            DislibError: no such row or column; those there are named.
        """
        for name, names in ((row, self.rows), (column, self.columns)):
            if name not in names:
                raise DislibError(f"the sheet has no {name!r}; choose one of {', '.join(map(str, names))}")
        return self.images[self.rows.index(row)][self.columns.index(column)]


def write_sheet(path, sheet, *, quality=85):
    """Write `path` (.webp) and its facts (.json), each whole or not at all.

    Args:
        sheet: a Sheet whose pictures are all of one size.
        quality: of WebP, up to 100.
    """
    width, height = sheet.images[0][0].size
    canvas = Image.new("RGB", (width * len(sheet.columns), height * len(sheet.rows)))
    for y, images in enumerate(sheet.images):
        for x, image in enumerate(images):
            canvas.paste(image, (x * width, y * height))
    file = io.BytesIO()
    canvas.save(file, "WEBP", quality=quality, method=6)
    write_atomic(Path(path), file.getvalue())
    write_json(Path(path).with_suffix(".json"), {"rows": sheet.rows, "columns": sheet.columns, **sheet.facts})


def read_sheet(path):
    """Read what `write_sheet` wrote.

    Raises:
        DislibError: the picture or its facts are missing, damaged, or do not fit each other.
    """
    path = Path(path)
    try:
        facts = read_json(path.with_suffix(".json"))
        rows, columns = facts.pop("rows"), facts.pop("columns")
        check_regular(path)
        canvas = Image.open(path).convert("RGB")
        (width, left), (height, above) = divmod(canvas.width, len(columns)), divmod(canvas.height, len(rows))
        if left or above:
            raise ValueError(f"{canvas.width} x {canvas.height} px are no {len(rows)} x {len(columns)} pictures")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DislibError(
            f"the sheet {path} cannot be read ({shorten(error)}); get data/ of the course again"
        ) from error
    box = lambda x, y: (x * width, y * height, (x + 1) * width, (y + 1) * height)
    images = [[canvas.crop(box(x, y)) for x in range(len(columns))] for y in range(len(rows))]
    return Sheet(rows, columns, images, facts)


def by_style(sheets):
    """From style to Sheet, of such a dict or of one Sheet that knows its style.

    Raises:
        DislibError: there are none.
    """
    sheets = {sheets.facts.get("style", "style"): sheets} if isinstance(sheets, Sheet) else dict(sheets)
    if not sheets:
        raise DislibError("no sheets are given; read some by read_sheet(data_dir() / 'results' / ...)")
    return sheets
