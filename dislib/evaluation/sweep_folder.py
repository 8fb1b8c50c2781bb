"""The folder a sweep lives in: which pictures it consists of, its settings, and its features batch by batch."""

import hashlib
import itertools
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import DislibError, OutputError, PromptError, check_whole, shorten
from ..files import (
    check_output_folder,
    load_arrays,
    make_folder,
    read_json,
    save_arrays,
    sweep_partials,
    write_json,
    write_png,
)
from ..images.prompts import MAX_SEED

SETTINGS = "settings.json"
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Plan:
    """Which pictures a point consists of, and in which batches they are made."""

    prompts: tuple
    images_per_prompt: int
    seed: int
    batch_size: int

    def __post_init__(self):
        texts = [] if isinstance(self.prompts, str) else list(self.prompts)
        if not texts or not all(isinstance(prompt, str) for prompt in texts):
            raise PromptError(f"prompts must be a list of strings, got {shorten(repr(self.prompts))}")
        object.__setattr__(self, "prompts", tuple(texts))
        for name, least in (("images_per_prompt", 1), ("batch_size", 1), ("seed", 0)):
            object.__setattr__(self, name, check_whole(getattr(self, name), name, least=least, most=MAX_SEED))

    def texts(self):
        """The prompt of every picture."""
        return [prompt for prompt in self.prompts for _ in range(self.images_per_prompt)]

    def __len__(self):
        return len(self.prompts) * self.images_per_prompt

    def rows(self, batch):
        """The pictures of a batch."""
        return range(batch * self.batch_size, min((batch + 1) * self.batch_size, len(self)))

    def batches(self, n=None):
        """The batches of the first `n` pictures (all by default), in the order they are made in.

        Prompt lists are sorted by category. Steps of the golden ratio spread any number of batches evenly over them, so
        that all categories are there early, however far one gets.
        """
        if n is not None and not 1 <= n <= len(self):
            raise DislibError(f"n must lie between 1 and {len(self)}, the number of pictures, got {n}")
        count = -(-len(self) // self.batch_size)
        spread = sorted(range(count), key=lambda k: k * GOLDEN % 1)
        sizes = itertools.accumulate(len(self.rows(batch)) for batch in spread)
        return spread if n is None else spread[: 1 + next(k for k, size in enumerate(sizes) if size >= n)]

    def shown(self, count):
        """The first picture of each of `count` prompts: spread over the list, and among the first to be made."""
        check_whole(count, "pictures", least=0)
        order = {batch: place for place, batch in enumerate(self.batches())}
        firsts = range(0, len(self), self.images_per_prompt)
        return set(sorted(firsts, key=lambda row: (row % self.batch_size, order[row // self.batch_size]))[:count])

    def settings(self):
        """As JSON values."""
        return {**asdict(self), "prompts": list(self.prompts)}

    @classmethod
    def of(cls, settings):
        """The plan of the settings of a sweep."""
        return cls(settings["prompts"], *(settings[k] for k in ("images_per_prompt", "seed", "batch_size")))


class SweepFolder:
    """The folder of a sweep: `settings.json`, and a file of features for every batch at every weight.

    Each file is whole or not there, and carries a digest of the settings, so that nothing foreign gets mixed in.

    Args:
        folder: where; it need not exist.
        settings: all that the features depend on, as JSON values.
        plan: the `Plan` among them.
        labels: `method` and `style`, which are only names.

    Raises:
        OutputError: the folder cannot be written to, or holds a sweep of other settings.
    """

    def __init__(self, folder, settings, plan, *, labels):
        self.folder, self.plan = check_output_folder(folder), plan
        self.settings, self.labels = json.loads(json.dumps(settings)), labels
        text = json.dumps(self.settings, sort_keys=True).encode("utf-8", "backslashreplace")
        self.digest = hashlib.sha256(text).hexdigest()[:16]
        self._check()

    @classmethod
    def open(cls, folder):
        """The folder of a sweep that has begun.

        Raises:
            DislibError: there is none, or its settings cannot be read.
        """
        settings, plan = read_settings(folder), read_plan(folder)
        labels = {key: settings.pop(key, "") for key in ("method", "style")}
        return cls(folder, settings, plan, labels=labels)

    def weights(self):
        """The weights of which anything is there, in order; folders of other names, such as a copy, are not of ours."""
        return weights_in(self.folder / "features")

    def path(self, weight, batch):
        """Where the features of a batch lie."""
        return self.folder / "features" / f"w{weight:g}" / f"{batch:05d}.safetensors"

    def begin(self):
        """Note the settings and clear away what a kill may have left half written."""
        make_folder(self.folder)
        write_json(self.folder / SETTINGS, {**self.labels, **self.settings})
        for folder in (self.folder, *self.folder.glob("*/w*")):
            sweep_partials(folder)

    def show(self, weight, row, image):
        """Keep a picture."""
        write_png(make_folder(self.folder / "pictures" / f"w{weight:g}") / f"{row:05d}.png", image)

    def write(self, weight, batch, arrays):
        """Keep the features of a batch, as `look` returned them."""
        path = self.path(weight, batch)
        make_folder(path.parent)
        save_arrays(path, arrays, {"settings": self.digest, "weight": f"{weight:g}", "batch": str(batch)})

    def read(self, weight, batch):
        """What `write` kept.

        Raises:
            DislibError: the file is not whole, of other settings, moved, or not finite; the message names it.
        """
        path = self.path(weight, batch)
        arrays, meta = load_arrays(path, ("pooled", "projected", "clip"))
        ours = {"settings": self.digest, "weight": f"{weight:g}", "batch": str(batch)}
        if meta != ours or {len(a) for a in arrays.values()} != {len(self.plan.rows(batch))}:
            raise DislibError(f"{path} holds features of another sweep; delete it and run this sweep again")
        for array in arrays.values():
            bad = [self.plan.rows(batch)[k] for k in np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))]
            if bad:
                raise DislibError(
                    f"{path}: the features of the pictures {shorten(bad)} at w = {weight:g} are not finite (NaN or inf);"
                    " delete that file and run this sweep again"
                )
        return arrays

    def _check(self):
        path = self.folder / SETTINGS
        if not path.exists():
            if (self.folder / "features").exists():
                raise OutputError(f"{self.folder} holds features of unknown origin; choose a new folder")
            return
        theirs = read_settings(self.folder)
        if differ := differences(theirs, self.settings):
            raise OutputError(
                f"{self.folder} holds a sweep of other settings ({differ}); choose a new folder, repeat those"
                " settings, or delete that folder"
            )


def read_plan(folder):
    """The Plan of a sweep that has begun.

    Raises:
        DislibError: there is none, or its settings cannot be read, or not be those of a sweep.
    """
    settings = read_settings(folder)
    try:
        if not all(isinstance(settings.get(key, ""), str) for key in ("method", "style")):
            raise TypeError("its method and style are no texts")
        return Plan.of(settings)
    except (KeyError, TypeError, DislibError) as error:
        told = f"{Path(folder) / SETTINGS} is not of a sweep ({shorten(error)}); sweep into a new folder"
        raise DislibError(told) from error


def weights_in(folder):
    """The weights that have a folder of their own, `w3` or `w7.5`, in order; other folders, such as a copy, do not count."""
    names = [path.name for path in folder.glob("w*") if re.fullmatch(r"w\d+(\.\d+)?(e\+\d+)?", path.name)]
    weights = {name: float(name[1:]) for name in names}
    return sorted(weight for name, weight in weights.items() if name == f"w{weight:g}")


def read_settings(folder):
    """The settings of a sweep, as a dict."""
    path = Path(folder) / SETTINGS
    try:
        settings = read_json(path)
        if not isinstance(settings, dict):
            raise ValueError("it holds no object")
        return settings
    except FileNotFoundError as error:
        raise DislibError(f"{folder} holds no sweep: it has no {SETTINGS}") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({shorten(error)}); choose a new folder") from error


def differences(theirs, ours):
    """What differs, in words: "steps 12, not 20; prompts" (long values by name only)."""
    told = []
    for key in (key for key, value in ours.items() if theirs.get(key) != value):
        values = [json.dumps(settings.get(key)) for settings in (theirs, ours)]
        told.append(f"{key} {values[0]}, not {values[1]}" if max(map(len, values)) <= 40 else key)
    return "; ".join(told)
