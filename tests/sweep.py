"""Move everything a widget has: each slider to its ends and middle, each option, each button. For `widget_sweep.ipynb`.

A kernel swallows what a button's callback raises; here every error of the panel is raised again.
"""

import ipywidgets as widgets

PLAIN = (widgets.HTML, widgets.Image, widgets.Box)  # nothing of theirs can be moved
PARTS = (widgets.Layout, widgets.Style)


def walk(widget):
    """A widget and everything inside it, in the order a reader meets it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def stops(control, texts):
    """The values that a control is to be moved to."""
    if isinstance(control, (widgets.IntSlider, widgets.BoundedIntText)):
        return [control.min, (control.min + control.max) // 2, control.max]
    if isinstance(control, widgets.FloatSlider):
        return [control.min, (control.min + control.max) / 2, control.max]
    if isinstance(control, (widgets.ToggleButtons, widgets.Dropdown, widgets.SelectionSlider)):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control, widgets.Checkbox):
        return [True, False]
    if isinstance(control, (widgets.Text, widgets.Textarea)) and control.description in texts:
        return texts[control.description]
    raise TypeError(f"the sweep does not know how to move the {type(control).__name__} {control.description!r}")


def sweep(panel, texts=None):
    """Move every control that can be moved now, and press every button, restoring the controls after each.

    Args:
        panel: a `dislib.widgets` panel that does not wait (`pause=0`).
        texts: from the name of a text box to the texts it is given.

    Returns:
        number of values set and buttons pressed.

    Raises:
        TypeError: there is a control the sweep does not know; whatever a callback raised.
    """
    moves = 0
    for control in list(walk(panel.ui)):
        if isinstance(control, PLAIN) or control.disabled:
            continue
        if isinstance(control, widgets.Button):
            moves += _press(panel, control)
        else:
            moves += _move(panel, control, stops(control, texts or {}))
    return moves


def controls(panel):
    """All controls that have a value."""
    return [w for w in walk(panel.ui) if not isinstance(w, (*PLAIN, widgets.Button))]


def raise_again(panel):
    if panel.error:
        raise panel.error


def _move(panel, control, values):
    before = control.value
    for value in [*values, before]:
        control.value = value
        raise_again(panel)
    assert control.value == before
    return len(values)


def _press(panel, button):
    before = {control: control.value for control in controls(panel)}
    button.click()
    raise_again(panel)
    for control, value in before.items():
        control.value = value
        raise_again(panel)
    return 1
