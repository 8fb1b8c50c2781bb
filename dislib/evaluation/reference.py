"""What a style is measured against: the features of many pictures of it, shipped or taken of a folder."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DislibError, DislibWarning, shorten
from ..files import load_arrays, save_arrays, user_path
from .judge import both_features, fingerprint, looked_at_by, open_picture

if TYPE_CHECKING:
    from .judge import Judge

SMALL = 500  # pictures; below this FID is mostly its own bias


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
    def of(cls, style: str | os.PathLike, judge: Judge, *, features=None) -> Reference:
        """The reference of a shipped style by its name, or of a folder of pictures.

        Shipped are features of 800 fresh renders, never of the training images, taken by the shipped judge. For
        another judge, or a style without renders, the style's test pictures stand in.

        Raises:
            DislibError: neither a style nor a folder, fewer than two readable pictures, or features that were taken
                by an older judge.
        """
        from ..files import data_dir

        name, pictures = style_name(style), shipped_style(style)
        if pictures is None:
            return cls.from_folder(style, judge, features=features)
        shipped = data_dir() / "results" / "reference" / f"{name}.safetensors"
        if shipped.is_file() and features is None:
            reference = cls.load(shipped)
            if reference.meta.get("judge_fingerprint") == fingerprint(judge):
                return reference
            if judge.name == reference.meta.get("judge"):
                raise DislibError(f"{shipped} was made with another judge; run `python -m recipes references`")
        return cls.from_folder(pictures / "test", judge, features=features, style=name)

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike, judge: Judge, *, features=None, style: str | None = None,
    ) -> Reference:
        """A folder of pictures as the reference, with a warning if they are few."""
        from ..images.images import list_images, tell_skipped

        (files, skipped), style = list_images(folder), style or style_name(folder)
        tell_skipped(skipped, f"the reference {shorten(style)!r}")
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

    def save(self, path: str | os.PathLike) -> None:
        """Write safetensors in half precision, which moves a FID by less than its last shown digit."""
        sets = {"reference": {"pooled": self.pooled, "projected": self.projected}, **self.others}
        arrays = {f"{name} {key}": np.asarray(a, np.float16) for name, pair in sets.items() for key, a in pair.items()}
        save_arrays(path, arrays, {"style": self.style, **self.meta})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Reference:
        """Read what `save` wrote."""
        arrays, meta = load_arrays(path, ("reference pooled", "reference projected"))
        sets = {}
        for name, array in arrays.items():
            name, _, key = name.rpartition(" ")
            sets.setdefault(name, {})[key] = array.astype(np.float32)
        return cls(meta.pop("style", Path(path).stem), **sets.pop("reference"), meta=meta, others=sets)


def shipped_style(style):
    """The folder of a style of the course; None for what is a path or no such style."""
    from ..files import data_dir

    folder = data_dir() / "styles" / str(style)
    return folder if Path(style).name == str(style) and (folder / "test").is_dir() else None


def style_name(style):
    """What a style is called in tables: its own name, or that of the folder, `.` spelt out."""
    return Path(os.path.abspath(user_path(style))).name or str(style)
