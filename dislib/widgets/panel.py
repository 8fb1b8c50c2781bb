"""What every widget of the course is built on: pictures that change in place, errors that are told, patience.

Core ipywidgets only, of versions 7.7 (Colab) and 8 (JupyterLab 4) alike.
"""

import asyncio
import io
import itertools
import os
import time
import warnings
from contextlib import contextmanager

import ipywidgets as widgets
from IPython.display import display

from ..core.sampling import ALONE
from ..errors import DislibError, DislibWarning, shorten
from ..escaping import for_html
from ..images.prompts import unknown_words

RIGHT, WRONG, CARE = "#00795a", "#c62828", "#b35900"  # told apart by colour-blind eyes, and never by colour alone


class Panel:
    """A widget of the course, shown as the last line of a cell.

    `ui` holds all of it. `error` is what the last callback raised, or None; `on_error`, if given, is called with it,
    so that a test can raise it again. A page that is only read has no kernel: with the environment variable
    DISLIB_STATIC set (`make course` sets it), the panel shows `twin()`, a figure, instead of itself.
    """

    ui = None
    rest = 0.3

    def __init__(self, on_error=None):
        self.on_error, self.error = on_error, None
        self.message = widgets.HTML()
        self._asked, self._busy, self._pressed, self._pressed_at = 0, False, None, 0.0

    def twin(self):
        """A figure of the present state, for those who read without a kernel."""
        raise NotImplementedError

    def act(self, callback):
        """Call `callback()`; what goes wrong is told in the panel, in red, and so is what a reader should know."""
        with self._telling():
            callback()

    def later(self, pause):
        """What controls call when they are moved: the pictures turn grey until `draw` has made new ones.

        One draw at a time, of this panel and all others; of several that wait, the newest alone is drawn. A draw that
        fails leaves the old pictures grey, since they no longer show what the controls say.
        """
        wait = debounce(pause, self._draw_newest)

        def ask():
            self._asked += 1
            self.stale(True)
            wait()

        return ask

    def _draw_newest(self):
        mine = self._asked
        with ALONE:
            if mine != self._asked:  # while this one waited, another was asked for, and that one will draw
                return
            self.act(self.draw)
            if not self.error and mine == self._asked:
                self.stale(False)

    def stale(self, is_stale):
        """Show the pictures grey, or as they are."""
        for view in _inside(self.ui):
            if isinstance(view, widgets.Image):
                (view.add_class if is_stale else view.remove_class)(STALE)

    def press(self, callback):
        """Act on a button, with all buttons out of use meanwhile.

        A second press of the same one does nothing: neither meanwhile nor within `rest` s afterwards, when presses come
        in that had to wait.
        """
        if self._busy or (self._pressed == callback and time.monotonic() - self._pressed_at < self.rest):
            return
        buttons = [w for w in _inside(self.ui) if isinstance(w, widgets.Button) and not w.disabled]
        self._busy = True
        for button in buttons:
            button.disabled = True
        try:
            with ALONE:
                self.act(callback)
        finally:
            self._busy, self._pressed, self._pressed_at = False, callback, time.monotonic()
            for button in buttons:
                button.disabled = False
            self.settle()

    def settle(self):
        """What a panel has to put right after a button was pressed."""

    def name_unknown(self, pipe, prompts):
        """Warn of words that the model has never met."""
        if words := [word for prompt in prompts for word in unknown_words(pipe.tokenizer, prompt)]:
            named = ", ".join(f'"{word}"' for word in dict.fromkeys(words))
            warnings.warn(f"the model has never met the word {named}; see dislib.world.vocabulary()", DislibWarning, stacklevel=2)

    @contextmanager
    def _telling(self):
        self.error, self.message.value = None, ""
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always", DislibWarning)
                yield
            notes = [w.message for w in heard if issubclass(w.category, DislibWarning)]
            self.message.value = "".join(note(f"Note: {text}", CARE) for text in notes)
        except Exception as error:
            self.error = error
            kind = "" if isinstance(error, DislibError) else f"{type(error).__name__}: "
            self.message.value = note(f"That did not work. {kind}{error}", WRONG)
            if self.on_error:
                self.on_error(error)

    def _ipython_display_(self):
        display(self.twin() if os.environ.get("DISLIB_STATIC") else self.ui)


def debounce(seconds, act):
    """`act`, put off until nobody has asked for it during `seconds`; at once for 0 or without an event loop.

    A slider that is dragged asks many times, and is answered once.
    """
    waiting, newest = set(), itertools.count(1)

    async def later(mine):
        await asyncio.sleep(seconds)
        if mine == ask.newest:  # asked for in another thread, it cannot be cancelled from this one
            act()

    def ask():
        ask.newest = next(newest)
        try:
            loop = asyncio.get_running_loop() if seconds else None
        except RuntimeError:  # no loop is running
            loop = None
        if loop is None:
            return act()
        task = loop.create_task(later(ask.newest))
        waiting.add(task)  # a loop keeps no task alive by itself
        task.add_done_callback(waiting.discard)

    return ask


STALE, TIGHT = "dislib-stale", "dislib-tight"
STYLE = (
    f"<style>.{STALE} {{ filter: grayscale(1); opacity: 0.35; }}"
    f" .{TIGHT} .widget-toggle-button {{ padding: 0; margin: 0 2px 0 0; }}</style>"
)


def heading(text):
    """A panel's name; with it come the few rules of style that a panel needs."""
    return widgets.HTML(STYLE + markup(text, bold=True))


def _inside(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _inside(child)


# --- pieces ---------------------------------------------------------------------------------------------------------


def picture(width):
    """An empty picture of `width` px; set its `value` to PNG bytes."""
    return widgets.Image(format="png", layout=widgets.Layout(width=f"{width}px", margin="0"))


def png(image):
    """A PIL image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def markup(content, *, bold=False):
    """HTML as a caption in the page's own colour, readable on light and dark pages; a user's text goes through
    `escaping.for_html` first."""
    weight = "600" if bold else "400"
    return f'<div style="line-height:1.45;font-weight:{weight};color:var(--jp-ui-font-color1)">{content}</div>'


def caption(text, *, bold=False, **layout):
    """Any text, not HTML, as a widget; `layout` as for ipywidgets.Layout."""
    return widgets.HTML(markup(for_html(text), bold=bold), layout=widgets.Layout(**layout))


def described(text):
    """Any text as the description of a control, which ipywidgets 7 takes for HTML and 8 does not."""
    return for_html(text) if widgets.__version__.startswith("7.") else str(text)


def note(text, colour):
    """A message that stands out, read aloud by screen readers."""
    style = f"color:{colour};border-left:4px solid {colour};padding:2px 8px;margin:4px 0;line-height:1.4"
    return f'<div role="alert" style="{style}">{for_html(shorten(text, 400))}</div>'


def beside(*children):
    """Widgets side by side where there is room, else below each other."""
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start", overflow="visible"))
