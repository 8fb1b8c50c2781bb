"""Trainings to look at while they run: side by side, and as one picture that changes in place."""

import itertools

from ..errors import DislibError
from ..figures.plots import image_grid, shown


def together(runs):
    """Let several trainings make their steps in turn: a generator of {name: Record}.

    Args:
        runs: from name to what `finetune` returned; all of as many steps.

    Raises:
        DislibError: one has ended before the others.
    """
    # zip would leave the last one unfinished, since it stops as soon as the first has no more.
    for records in itertools.zip_longest(*runs.values()):
        missing = [name for name, record in zip(runs, records) if record is None]
        if missing:
            raise DislibError(f"{', '.join(missing)} has ended before the others; give all as many steps")
        yield dict(zip(runs, records))


class Film:
    """The sample sheets of trainings, as they come: a row for each picture of a sheet, a column for each sheet.

    In a notebook it is one picture, replaced in place; the last one stays.

    Args:
        before: from training to its sheet before the first step, PIL pictures.
        steps: the steps after which sheets will come.
        every: steps after which the picture is brought up to date when no sheet has come.
        labels: words for the pictures of a sheet, by default none.
    """

    def __init__(self, before, steps, *, every=10, labels=None):
        self.sheets = {name: {0: list(sheet)} for name, sheet in before.items()}
        self.losses = {name: [] for name in before}
        self.steps, self.every, self.labels, self._handle = (0, *steps), every, labels, None

    def add(self, records):
        """Take in {name: Record}, as `together` yields them, and show what is new."""
        for name, record in records.items():
            self.losses[name].append(record.loss)
            if record.images:
                self.sheets[name][record.step] = record.images
        if any(record.images for record in records.values()) or self.step % self.every == 0:
            self._show()

    @property
    def step(self):
        """How many steps have been made."""
        return len(next(iter(self.losses.values())))

    def figure(self):
        """What there is so far."""
        rows, names = [], []
        for name, sheets in self.sheets.items():
            for k in range(len(sheets[0])):
                rows.append([sheets[step][k] if step in sheets else None for step in self.steps])
                names.append(f"{name}: {self.labels[k]}" if self.labels else name)
        columns = ["before", *(f"step {step}" for step in self.steps[1:])]
        return image_grid(rows, row_labels=names, col_labels=columns, title=self._title())

    def _title(self):
        if not self.step:
            return "Before the first step"
        recent = {name: losses[-self.every :] for name, losses in self.losses.items()}
        told = ", ".join(f"{name} {sum(losses) / len(losses):.3f}" for name, losses in recent.items())
        return f"Step {self.step}; loss with {told}"

    def _show(self):
        data, metadata = shown(self.figure())
        if self._handle is None:
            from IPython.display import display

            self._handle = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._handle.update(data, metadata=metadata, raw=True)
