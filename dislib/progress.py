"""Progress as people expect it: a bar with the time left, and in its place what a log file or a stored page can hold.

- On a terminal, and in a notebook, the bar is tqdm's (`tqdm.auto`).
- In a notebook it goes when the work is done: a bar is a widget, and one that is stored shows an error on a page
  without a kernel. While pages are made (DISLIB_STATIC) there is none.
- Elsewhere, as in a log file, a line comes every half minute.
"""

import os
import sys
import time

EVERY = 30  # seconds between two lines of a log file
SOON = 2  # seconds after which a notebook shows a bar: what is over before needs none
SMOOTHING = 0.98  # share of the past in the loss that is shown


def watch(records, total=None, *, unit="steps", quiet=False):
    """Show how far a generator of records has come; yields the records.

        for record in watch(finetune(pipe, examples, max_train_steps=100), 100):
            ...

    A record that knows its place is believed (a `step`; `done` and `total`; the batches of `generate`), others are
    counted. A record's `loss` is shown as a running mean, since single ones jump about.

    Args:
        records: any iterable.
        total: how many will come, if they do not say so.
        unit: what is counted.
        quiet: show nothing, as all processes but the main one.
    """
    bar, loss = Bar(unit, total, quiet=quiet), Smoothed()
    try:
        for count, record in enumerate(records, 1):
            text = f"loss {loss.add(record.loss):.4f}" if hasattr(record, "loss") else ""
            bar(_place(record, count), getattr(record, "total", total), text)
            yield record
    finally:
        bar.close()


def _place(record, count):
    if isinstance(record, list) and record and hasattr(record[-1], "index"):
        return record[-1].index + 1
    return getattr(record, "done", getattr(record, "step", count))


class Smoothed:
    """A running mean that trusts the past more, the more there is of it."""

    def __init__(self, share=SMOOTHING):
        self.share, self.sum, self.weight = share, 0.0, 0.0

    def add(self, value):
        """Take in a value; the mean so far."""
        self.sum = self.share * self.sum + (1 - self.share) * value
        self.weight = self.share * self.weight + (1 - self.share)
        return self.sum / self.weight


class Bar:
    """One bar, or what stands for it: call it with how much is done, and close it.

    Args:
        unit: what is counted.
        total: how many there will be; may also come with the calls.
        first: how many were there before, which say nothing of the speed; by default those of the first call.
        quiet: show nothing.
    """

    def __init__(self, unit, total=None, *, first=None, quiet=False):
        self.unit, self.total, self.first, self.quiet = unit, total, first, quiet
        self.where = "nowhere" if quiet or os.environ.get("DISLIB_STATIC") else _where()
        self.begun = self.said = time.monotonic()
        self.bar = self.handle = None

    def __call__(self, done, total=None, text=""):
        self.total = total or self.total
        if self.first is None:
            self.first, self.begun = done, time.monotonic()
        if self.where == "log":
            self._line(done, text)
        elif self.where == "terminal" or self.where == "notebook" and time.monotonic() - self.begun > SOON:
            self._open(done)
            if text:
                self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(done - self.bar.n)
            if done == self.total:
                self.close()

    def close(self):
        """Be done, wherever it stands; a second time does nothing."""
        if self.bar is not None:
            self.bar.close()
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
        self.where, self.bar, self.handle = "nowhere", None, None

    def _open(self, done):
        if self.bar is not None:
            return
        from tqdm.auto import tqdm

        options = {"total": self.total, "initial": self.first, "unit": f" {self.unit}", "file": sys.stderr}
        if self.where == "notebook":
            from IPython.display import display

            self.bar = tqdm(**options, leave=False, display=False)
            # As ipywidgets 8 would show it; 7, as in Colab, would forget the id by which it is taken away.
            view = {"version_major": 2, "version_minor": 0, "model_id": self.bar.container.model_id}
            shown = {"text/plain": "a progress bar", "application/vnd.jupyter.widget-view+json": view}
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.bar = tqdm(**options, dynamic_ncols=True)
        # It may come late, and what was done before was not done in no time.
        self.bar.n = self.bar.last_print_n = done
        self.bar.start_t -= time.monotonic() - self.begun

    def _line(self, done, text):
        now = time.monotonic()
        if now - self.said < EVERY:
            return
        self.said = now
        made = done - self.first
        left = f", {short_time((now - self.begun) / made * (self.total - done))} left" if self.total and made else ""
        whole = f" of {self.total}" if self.total else ""
        print(f"{done}{whole} {self.unit}{left}{f', {text}' if text else ''}", file=sys.stderr, flush=True)


def short_time(seconds):
    """Such as "40 s", "12 min" or "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def stop_with_a_sentence():
    """In a notebook, let the stop button end a cell with one sentence in place of a page of traceback."""
    if _where() != "notebook":
        return
    from IPython import get_ipython

    get_ipython().set_custom_exc((KeyboardInterrupt,), _stopped)


def _stopped(shell, kind, error, trace, tb_offset=None):
    print("Stopped. Run the cell again when you like; what it keeps in a folder goes on from there.", file=sys.stderr)


def _where():
    if "ipykernel" in sys.modules:
        from IPython import get_ipython

        if getattr(get_ipython(), "kernel", None) is not None:
            return "notebook"
    return "terminal" if sys.stderr is not None and sys.stderr.isatty() else "log"
