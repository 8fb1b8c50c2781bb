"""What every widget of the course is built on: pictures that change in place, errors that are told, patience.

Core ipywidgets only, of versions 7.7 (Colab) and 8 (JupyterLab 4) alike.
"""

import asyncio
import io
import os
import warnings
from contextlib import contextmanager

import ipywidgets as widgets
from IPython.display import display

from ..errors import DislibError, DislibWarning, shorten
from ..escaping import for_html

RIGHT, WRONG, CARE = "#00795a", "#c62828", "#b35900"  # told apart by colour-blind eyes, and never by colour alone


class Panel:
    """A widget of the course, shown as the last line of a cell.

    `ui` holds all of it. `error` is what the last callback raised, or None; `on_error`, if given, is called with it,
    so that a test can raise it again. A page that is only read has no kernel: with the environment variable
    DISLIB_STATIC set (`make course` sets it), the panel shows `twin()`, a figure, instead of itself.
    """

    ui = None

    def __init__(self, on_error=None):
        self.on_error, self.error = on_error, None
        self.message = widgets.HTML()

    def twin(self):
        """A figure of the present state, for those who read without a kernel."""
        raise NotImplementedError

    def act(self, callback):
        """Call `callback()`; what goes wrong is told in the panel, in red, and so is what a reader should know."""
        with self._telling():
            callback()

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
    waiting = None

    async def later():
        await asyncio.sleep(seconds)
        act()

    def ask():
        nonlocal waiting
        if waiting:
            waiting.cancel()
        try:
            waiting = asyncio.get_running_loop().create_task(later()) if seconds else act()
        except RuntimeError:  # no loop is running
            act()

    return ask


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
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start"))
