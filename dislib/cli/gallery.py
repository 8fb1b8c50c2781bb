"""A folder of generated pictures that can be interrupted at any moment and gone on with."""

import json
import re

from ..errors import OutputError, shorten
from ..files import check_output_folder, make_folder, read_json, sweep_partials, write_json, write_png

RECORD, UNFINISHED = "generate.json", "generate.unfinished.json"


class Gallery:
    """Pictures `00000.png`, `00001.png`, ... of one set of settings, and `generate.json` once all are there.

    Until then `generate.unfinished.json` holds the settings. Each file is written whole or not at all, in order, so
    after a kill the pictures under their final names are a beginning of the run, and the same settings go on there.

    Args:
        folder: where; it need not exist, and may hold other files.
        settings: everything the pictures depend on, as JSON values; `batch_size` among them.
        total: number of pictures.
    """

    def __init__(self, folder, settings, total):
        self.folder, self.total = check_output_folder(folder), total
        self.settings = json.loads(json.dumps(settings))
        self.images = []

    def path(self, index):
        """Where picture `index` lies."""
        return self.folder / f"{index:05d}.png"

    def is_complete(self):
        """Whether these very settings have been run to the end in this folder."""
        complete = self._begun() == RECORD and self._missing() == self.total
        if complete:  # a kill may have come between the last two steps
            (self.folder / UNFINISHED).unlink(missing_ok=True)
        return complete

    def resume(self):
        """Index of the first picture to make: 0 in a new folder, else the start of the batch that was cut off.

        Whole batches are made again, since a picture's last bits may depend on the batch it is made in.

        Raises:
            OutputError: the folder holds pictures of other settings, or that this command did not make.
        """
        if self._begun() is None:
            return 0
        missing = self._missing()
        return missing - missing % self.settings["batch_size"]

    def begin(self):
        """Create the folder and note the settings; from here on an interrupted run can be gone on with."""
        make_folder(self.folder)
        sweep_partials(self.folder)
        write_json(self.folder / UNFINISHED, self.settings)
        (self.folder / RECORD).unlink(missing_ok=True)

    def add(self, sample):
        """Write one picture."""
        write_png(self.path(sample.index), sample.image)

    def finish(self, **more):
        """Write `generate.json`: the settings and whatever else is worth keeping."""
        write_json(self.folder / RECORD, {**self.settings, **more})
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def _missing(self):
        """Index of the first picture that is not there; `total` if all are."""
        return next((i for i in range(self.total) if not self.path(i).is_file()), self.total)

    def _begun(self):
        """The name of the file with these settings; None in a folder without pictures of ours."""
        pictures = self.folder.is_dir() and any(re.fullmatch(r"\d{5,}\.png", f.name) for f in self.folder.iterdir())
        for name in (RECORD, UNFINISHED):
            # A run that failed before its first picture binds nobody to its settings.
            if (self.folder / name).exists() and (pictures or name == RECORD):
                self._compare(name)
                return name
        if pictures:
            raise OutputError(f"{self.folder} holds numbered pictures of unknown origin; choose a new --out folder")
        return None

    def _compare(self, name):
        path = self.folder / name
        try:
            theirs = read_json(path)
            differ = [key for key, value in self.settings.items() if theirs[key] != value]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{path} cannot be read ({shorten(error)}); choose a new --out folder") from error
        if differ:
            raise OutputError(
                f"{self.folder} holds pictures of other settings ({', '.join(differ)} differ from {name});"
                " choose a new --out folder, repeat the command that made them, or delete that folder"
            )
