"""Features to numbers: FID, normalised FID, KID, MMD and CLIP score of every point, with bands.

read_sweep(out) --(measure, with a Reference)--> rows --(table.write_results)--> results.csv
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DislibError
from .bands import FrechetDraws, KernelDraws, all_draws, band, draw_counts
from .metrics import cubic_kernel, gaussian_kernel
from .sweep_folder import differences
from .table import METRICS, Row

if TYPE_CHECKING:
    from .reference import Reference
    from .sweep import Point


def measure(
    points: dict[float, Point], reference: Reference, *, method: str, base: dict[float, Point] | None = None,
    draws: int = 200,
) -> Iterator[Row]:
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


def floors(reference: Reference, n: int, *, draws: int = 200) -> list[Row]:
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
