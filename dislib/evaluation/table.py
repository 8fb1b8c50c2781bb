"""The table of results: a row a number, read and written as CSV, and who is ahead in it."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import DislibError, OutputError, shorten
from ..escaping import for_csv, from_csv
from ..files import read_text, write_atomic

METRICS = ("fid", "nfid", "kid", "mmd", "clip")
FLOOR, TRAINING = "floor", "training images"


class Row(NamedTuple):
    """One number: of a method on a style at a guidance weight (None for a floor), with its band and the number of
    pictures behind it."""

    method: str
    style: str
    guidance: float | None
    metric: str
    value: float
    low: float
    high: float
    n: int


def standings(rows: list[Row], *, style: str, guidance: float, metric: str = "fid") -> list[tuple[int, Row]]:
    """The methods at a guidance weight, best first, each with its place.

    A method's place is one more than the number of methods that are better beyond doubt (bands apart), so several may
    share the first place.

    Args:
        rows: of `measure` or `read_results`.

    Returns:
        list of (place, Row).

    Raises:
        DislibError: nothing of the kind was measured.
    """
    sign = -1 if metric == "clip" else 1
    found = [row for row in rows if (row.style, row.guidance, row.metric) == (style, guidance, metric)]
    if not found:
        raise DislibError(f"there is no {metric} of {shorten(style)!r} at w = {guidance:g} in these results")
    better = lambda a, b: a.high < b.low if sign == 1 else a.low > b.high
    places = [1 + sum(better(other, row) for other in found) for row in found]
    return sorted(zip(places, found), key=lambda pair: sign * pair[1].value)


def over_styles(rows: list[Row], *, guidance: float, metric: str) -> dict[str, float]:
    """From method to its mean over all styles at a guidance weight, of the methods that were measured on all of them.

    Meant for `nfid`, `clip` and the like: FIDs of different styles are on different scales.
    """
    found = [row for row in rows if (row.guidance, row.metric) == (guidance, metric)]
    values, styles = {}, {row.style for row in found}
    for row in found:
        values.setdefault(row.method, []).append(row.value)
    return {method: sum(of) / len(of) for method, of in values.items() if len(of) == len(styles)}


# --- the table --------------------------------------------------------------------------------------------------


def write_results(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        numbers = (f"{value:.6g}" for value in (row.value, row.low, row.high))
        weight = "" if row.guidance is None else f"{row.guidance:g}"
        writer.writerow([for_csv(row.method), for_csv(row.style), weight, row.metric, *numbers, row.n])
    write_atomic(path, text.getvalue().encode("utf-8", "backslashreplace"))


def check_results_place(folder, *, begun):
    """Refuse, before hours of work, to write over a table or plots in `folder` that no evaluation left there.

    Args:
        begun: whether a sweep of ours lives there: its plots may be drawn anew, and its table, if it is one.

    Raises:
        OutputError: the file is named.
    """
    folder = Path(folder)
    plots = (path for metric in ("curve", *METRICS) for path in folder.glob(f"{metric}-*.png"))
    found = [] if begun else sorted(path for path in (folder / "pictures.png", *plots) if path.exists())
    table = folder / "results.csv"
    if table.exists() and not (begun and _is_ours(table)):
        found.insert(0, table)
    if found:
        raise OutputError(f"{shorten(found[0], 200)} is there already and is of no evaluation; choose another --out")


def _is_ours(table):
    try:
        return read_text(table).split("\n", 1)[0].strip() == ",".join(Row._fields)
    except (OSError, ValueError):
        return False


def read_results(path: str | os.PathLike) -> list[Row]:
    """The rows of a results.csv.

    Raises:
        DislibError: no such file, other columns, or a line that cannot be; the line is named.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text(path), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DislibError(f"cannot read the results {path} ({shorten(error)})") from error
    if not lines or tuple(lines[0]) != Row._fields:
        found = shorten(", ".join(lines[0] if lines else []))
        raise DislibError(f"{path}: expected the columns {', '.join(Row._fields)}, found {found}")
    rows, found = [], {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        try:
            row = _read_row(line)
        except ValueError as error:
            raise DislibError(
                f"{path}, line {number}: {shorten(error)}; see {shorten(','.join(line))!r}, mend the line or run the"
                " evaluation again"
            ) from error
        if row[:4] in found:
            raise DislibError(f"{path}: line {number} tells anew what line {found[row[:4]]} does; delete one of them")
        found[row[:4]] = number
        rows.append(row)
    return rows


def _read_row(line):
    if len(line) != len(Row._fields):
        raise ValueError(f"{len(line)} columns instead of {len(Row._fields)}")
    method, style, weight, metric, value, low, high, n = line
    method, style = from_csv(method), from_csv(style)
    row = Row(method, style, float(weight) if weight else None, metric, float(value), float(low), float(high), int(n))
    if metric not in METRICS:
        raise ValueError(f"an unknown metric {shorten(metric)!r}; there are {', '.join(METRICS)}")
    least = 1.0 if row.guidance is None else row.guidance
    if not all(map(math.isfinite, (row.value, row.low, row.high, least))):
        raise ValueError("a number that is not finite")
    if least < 1 or row.n < 1:
        raise ValueError("a guidance weight or a number of pictures below 1")
    if row.low > row.high:
        raise ValueError("a band upside down")
    return row
