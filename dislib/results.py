"""Numbers out of features: FID, normalised FID, KID, MMD and CLIP score of every point, with bands, in one table.

read_sweep(out) --(measure, with a Reference)--> rows --(write_results)--> results.csv
"""

import csv
import io
import math
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .bands import FrechetDraws, KernelDraws, all_draws, draw_counts
from .errors import DislibError, DislibWarning, shorten
from .files import user_path, write_atomic
from .judge import both_features, fingerprint, looked_at_by, open_picture
from .metrics import band, cubic_kernel, gaussian_kernel, load_arrays, save_arrays
from .sweep_folder import differences

METRICS = ("fid", "nfid", "kid", "mmd", "clip")
SMALL = 500  # pictures; below this FID is mostly its own bias
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


@dataclass(frozen=True)
class Reference:
    """The features that a style is measured against, `pooled (n, d)` and `projected (n, p)`.

    `others` holds more such pairs under the names "floor" (as many other pictures of the style) and "training images".
    """

    style: str
    pooled: np.ndarray
    projected: np.ndarray
    meta: dict
    others: dict = field(default_factory=dict)

    @classmethod
    def of(cls, style, judge, *, features=None):
        """The reference of a shipped style by its name, or of a folder of pictures.

        Shipped are features of 800 fresh renders, never of the training images, taken by the shipped judge. For
        another judge, or a style without renders, the style's test pictures stand in.

        Raises:
            DislibError: neither a style nor a folder, fewer than two readable pictures, or features that were taken
                by an older judge.
        """
        from .models import data_dir

        name, pictures = style_name(style), shipped_style(style)
        if pictures is None:
            return cls.from_folder(style, judge, features=features)
        shipped = data_dir() / "results" / "reference" / f"{name}.safetensors"
        if shipped.is_file() and features is None:
            reference = cls.load(shipped)
            if reference.meta.get("judge_fingerprint") == fingerprint(judge):
                return reference
            if judge.name == reference.meta.get("judge"):
                raise DislibError(f"{shipped} was made with another judge; run `python -m dislib.tiny references`")
        return cls.from_folder(pictures / "test", judge, features=features, style=name)

    @classmethod
    def from_folder(cls, folder, judge, *, features=None, style=None):
        """A folder of pictures as the reference, with a warning if they are few."""
        from .datasets import list_images

        files, style = list_images(folder).files, style or style_name(folder)
        if len(files) < 2:
            raise DislibError(
                f"{folder} holds {len(files)} readable picture; a reference needs at least 2, better {SMALL}"
            )
        if len(files) < SMALL:
            warnings.warn(
                f"the reference {shorten(style)!r} has only {len(files)} pictures, and FID grows"
                " as they get fewer: read KID first, which does not, and compare FIDs only with others of the same"
                " reference and n",
                DislibWarning,
                stacklevel=2,
            )
        seen = both_features(map(open_picture, files), judge, features=features)
        return cls(style, **seen, meta=looked_at_by(judge, features))

    def save(self, path):
        """Write safetensors in half precision, which moves a FID by less than its last shown digit."""
        sets = {"reference": {"pooled": self.pooled, "projected": self.projected}, **self.others}
        arrays = {f"{name} {key}": np.asarray(a, np.float16) for name, pair in sets.items() for key, a in pair.items()}
        save_arrays(path, arrays, {"style": self.style, **self.meta})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        arrays, meta = load_arrays(path, ("reference pooled", "reference projected"))
        sets = {}
        for name, array in arrays.items():
            name, _, key = name.rpartition(" ")
            sets.setdefault(name, {})[key] = array.astype(np.float32)
        return cls(meta.pop("style", Path(path).stem), **sets.pop("reference"), meta=meta, others=sets)


def shipped_style(style):
    """The folder of a style of the course; None for what is a path or no such style."""
    from .models import data_dir

    folder = data_dir() / "styles" / str(style)
    return folder if Path(style).name == str(style) and (folder / "test").is_dir() else None


def style_name(style):
    """What a style is called in tables: its own name, or that of the folder, `.` spelt out."""
    return Path(os.path.abspath(user_path(style))).name or str(style)


def measure(points, reference, *, method, base=None, draws=200):
    """Every metric at every weight, with 95 % bands: a generator of `Row`, a weight after the other.

    The bands are block bootstraps over prompts: what other prompts of the kind would have given, with this model and
    this reference. nFID is FID(method, w) / FID(base, w), this course's definition of the paper's "normalised FID";
    its band draws the same prompts for both.

    Args:
        points: from weight to `Point`, see `read_sweep`.
        reference: a `Reference` taken by the same judge.
        method: name of the method in the table.
        base: the points of the style-agnostic base model with the same prompts and seeds; without it there is no nFID.
        draws: of the bootstrap.

    Raises:
        DislibError: features of different judges, a base of other pictures, steps or weights, or fewer than 2 prompts
            or 3 pictures.
    """
    for weight, point in points.items():
        _check_same_eyes(point.meta, reference)
        check_enough(point.prompts)
        counts = draw_counts(point.prompts, draws=draws, least=2)
        found = {"kid": _kid(point, reference, counts), "mmd": _mmd(point, reference, counts)}
        found["fid"] = all_draws(FrechetDraws(point.pooled, reference.pooled), counts)
        found["clip"] = point.clip.astype(np.float64).mean(), counts @ point.clip / counts.sum(axis=1)
        if base is not None:
            under = all_draws(FrechetDraws(_same_of_base(point, base, weight), reference.pooled), counts)
            found["nfid"] = tuple(a / b for a, b in zip(found["fid"], under))
        for metric in (m for m in METRICS if m in found):
            yield _row(method, reference.style, weight, metric, found[metric], len(point.clip))


def floors(reference, n, *, draws=200):
    """What is as near as can be: FID, KID and MMD of the reference's other sets to it, a list of `Row`.

    Args:
        n: pictures a point has; so many of the "floor" are taken, since FID depends on their number.
    """
    rows = []
    for name, seen in reference.others.items():
        few = {key: array[:n] for key, array in seen.items()}
        check_enough(range(len(few["pooled"])))
        counts = draw_counts(range(len(few["pooled"])), draws=draws, least=2)
        found = {
            "fid": all_draws(FrechetDraws(few["pooled"], reference.pooled), counts),
            "kid": _kid(Seen(**few), reference, counts),
            "mmd": _mmd(Seen(**few), reference, counts),
        }
        rows += [_row(name, reference.style, None, m, value, len(few["pooled"])) for m, value in found.items()]
    return rows


class Seen(NamedTuple):
    """Both kinds of features."""

    pooled: np.ndarray
    projected: np.ndarray


def _kid(point, reference, counts):
    return all_draws(KernelDraws(point.pooled, reference.pooled, cubic_kernel), counts)


def _mmd(point, reference, counts):
    value, drawn = all_draws(KernelDraws(point.projected, reference.projected, gaussian_kernel), counts)
    return 1000 * value, 1000 * drawn


def _row(method, style, weight, metric, found, n):
    value, low, high = band(*found)
    return Row(method, style, weight, metric, value, max(low, 0.0) if metric in ("fid", "nfid") else low, high, n)


def _check_same_eyes(meta, reference):
    for key in ("judge_fingerprint", "features"):
        if meta.get(key) != reference.meta.get(key):
            raise DislibError(
                f"the pictures were looked at by {meta.get('judge')} ({meta.get('features')}) and the reference"
                f" {reference.style!r} by {reference.meta.get('judge')} ({reference.meta.get('features')}), or by"
                " another training of it; take both with one judge"
            )


def check_enough(prompts):
    """Refuse so few pictures (the prompt of each is given) that no band can be drawn over prompts.

    Raises:
        DislibError: fewer than 2 prompts or 3 pictures.
    """
    different = len(np.unique(np.asarray(prompts).astype(str)))
    if different < 2 or len(prompts) < 3:
        raise DislibError(
            "every number has a band of what other prompts would give: at least 3 pictures of 2 prompts are needed, got"
            f" {len(prompts)} of {different}"
        )


def check_base(base, meta, rows):
    """Refuse a base that is not of the very pictures of a method: the same prompts, seeds and eyes.

    Args:
        base: the points of the base, weight to `Point`, at all weights that matter.
        meta: the settings of the method's sweep. Steps and sampler are compared if both were made by a sweep.
        rows: the pictures it has.

    Raises:
        DislibError: what differs is named.
    """
    for weight, theirs in base.items():
        same = ["prompts", "images_per_prompt", "seed", "judge_fingerprint", "features"]
        same += [key for key in ("steps", "scheduler") if key in meta and key in theirs.meta]
        if differ := differences(theirs.meta, {key: meta.get(key) for key in same}):
            raise DislibError(f"the base is of other settings ({differ}); sweep it with the same")
        missing = len(set(rows) - set(theirs.rows.tolist()))
        if missing:
            raise DislibError(
                f"the base lacks {missing} of the {len(rows)} pictures at w = {weight:g}; go on with its sweep first"
            )


def _same_of_base(point, base, weight):
    """The base's features of the very pictures of `point`."""
    if weight not in base:
        raise DislibError(f"the base has no point at w = {weight:g}; sweep it there too, or leave that weight out")
    theirs, rows = base[weight], point.rows.tolist()
    check_base({weight: theirs}, point.meta, rows)
    place = {row: i for i, row in enumerate(theirs.rows.tolist())}
    return theirs.pooled[[place[row] for row in rows]]


def standings(rows, *, style, guidance, metric="fid"):
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


def over_styles(rows, *, guidance, metric):
    """From method to its mean over all styles at a guidance weight, of the methods that were measured on all of them.

    Meant for `nfid`, `clip` and the like: FIDs of different styles are on different scales.
    """
    found = [row for row in rows if (row.guidance, row.metric) == (guidance, metric)]
    values, styles = {}, {row.style for row in found}
    for row in found:
        values.setdefault(row.method, []).append(row.value)
    return {method: sum(of) / len(of) for method, of in values.items() if len(of) == len(styles)}


# --- the table --------------------------------------------------------------------------------------------------


def write_results(path, rows):
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        numbers = (f"{value:.6g}" for value in (row.value, row.low, row.high))
        weight = "" if row.guidance is None else f"{row.guidance:g}"
        writer.writerow([row.method, row.style, weight, row.metric, *numbers, row.n])
    write_atomic(path, text.getvalue().encode("utf-8", "backslashreplace"))


def read_results(path):
    """The rows of a results.csv.

    Raises:
        DislibError: no such file, other columns, or a line that cannot be; the line is named.
    """
    try:
        lines = list(csv.reader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"), newline="")))
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
