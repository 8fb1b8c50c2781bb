"""The notebooks keep the rules of `notebook_lint.py`, and every rule notices what it is there for."""

import base64
import copy
import json
import re

import nbformat
import pytest
from conftest import ROOT

from tools.notebook_lint import cost_card, lint, measured_cost, true_costs
from tools.stamp import setup_cell

NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
CARD = "| Scale | Time | Memory | Download |\n|---|---|---|---|\n| embedded, two cores | 3 min | 2 GB | nothing |\n"


def text(source):
    return {"cell_type": "markdown", "id": "t", "metadata": {}, "source": source}


def code(source, count, *outputs):
    return {"cell_type": "code", "id": "c", "metadata": {}, "source": source, "execution_count": count,
            "outputs": list(outputs)}


def picture(mimetype="image/png", size=100):
    return {"output_type": "display_data", "metadata": {},
            "data": {mimetype: base64.b64encode(bytes(size)).decode() if "svg" not in mimetype else "<svg/>"}}


def html(content):
    return {"output_type": "display_data", "metadata": {}, "data": {"text/html": content, "text/plain": "<HTML>"}}


DOT = "data:image/png;base64," + base64.b64encode(bytes(100)).decode()


def good():
    """A small notebook that nobody can complain about. Cells: 0 title, 1 setup, 2 heading, 3 check, 4 picture."""
    stream = {"output_type": "stream", "name": "stdout", "text": "2\n"}
    return {"nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [text("# A title\n![Open in Colab](badge.svg)\n\n" + CARD),
                      code(setup_cell("ada/course"), 1),
                      text("## Part\n\n```\n# no heading\n```\n### Smaller part"),
                      code("# NBVAL_CHECK_OUTPUT\nprint(1 + 1)", 2, stream),
                      code("%matplotlib inline\n%time x = 5 % 3", 3, html(f'<img alt="A red house" src="{DOT}">'))]}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    assert lint(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cost_card_tells_the_last_measured_run(path):
    assert true_costs(json.loads(path.read_text(encoding="utf-8")), measured_cost(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_default_page_has_all_alt_texts(path, caplog):
    nbconvert = pytest.importorskip("nbconvert")
    page, _ = nbconvert.HTMLExporter().from_filename(str(path))
    assert "Alternative text is missing" not in caplog.text
    alts = re.findall(r'<img alt="([^"]*)"', page)
    assert len(alts) >= 6 and all(len(alt.split()) >= 3 for alt in alts)
    assert "No description has been provided" not in page


def test_a_good_notebook_passes():
    assert lint(good()) == []
    assert true_costs(good(), {"seconds": 100, "gib": 1.2}) == []


def test_sources_may_be_lists_of_lines():
    notebook = good()
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    assert lint(notebook) == []


def test_cost_card_is_read():
    assert cost_card(good()) == [{"scale": "embedded, two cores", "time": "3 min", "memory": "2 GB",
                                  "download": "nothing"}]


def replace(i, **keys):
    return lambda notebook: notebook["cells"][i].update(keys)


def then(i, more):
    """Append text to a cell's source."""
    return lambda notebook: notebook["cells"][i].update(source=notebook["cells"][i]["source"] + more)


def metadata(**keys):
    return lambda notebook: notebook["metadata"].update(keys)


def stream(text, name="stderr"):
    return {"output_type": "stream", "name": name, "text": text}


DATA = "data:image/png;base64," + base64.b64encode(bytes(200_000)).decode()
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}

SPOILT = {
    "marker with trailing words": (then(4, "\n# NBVAL_SKIP because slow"), "not a marker nbval knows"),
    "marker that does not exist": (then(4, "\n# NBVAL_IGNORE"), "not a marker nbval knows"),
    "marker for lax comparison": (then(4, "\n# PYTEST_VALIDATE_IGNORE_OUTPUT"), "not a marker nbval knows"),
    "marker with swapped letters": (then(4, "\n# NVBAL_SKIP"), "not a marker nbval knows"),
    "marker without its prefix": (then(4, "\n# CHECK_OUTPUT"), "not a marker nbval knows"),
    "marker in lower case": (then(4, "\n# nbval_skip"), "not a marker nbval knows"),
    "marker in a text cell": (then(2, "\n# NBVAL_SKIP"), "on a cell without code does nothing"),
    "tag on a text cell": (replace(2, metadata={"tags": ["nbval-skip"]}), "on a cell without code does nothing"),
    "tags that are no list": (replace(4, metadata={"tags": "nbval-skip"}), "unknown tag 'n'"),
    "markers that contradict": (then(3, "\n# NBVAL_SKIP"), "CHECK_OUTPUT and NBVAL_SKIP contradict"),
    "marker and tag that contradict": (replace(3, metadata={"tags": ["nbval-ignore-output"]}), "contradict"),
    "marker behind code": (then(4, "  # NBVAL_SKIP"), "not a marker nbval knows"),
    "tag with underscores": (replace(4, metadata={"tags": ["nbval_skip"]}), "unknown tag 'nbval_skip'"),
    "shell": (then(4, "\n!ls"), "'!ls': a failure"),
    "shell into a variable": (then(4, "\nfiles = !ls"), "'!ls': a failure"),
    "shell inside a block": (then(4, "\nif x:\n    !ls"), "'!ls': a failure"),
    "shell behind a magic": (then(4, "\n%time !ls"), "'!ls': a failure"),
    "shell inside a cell magic": (replace(4, source="%%capture out\n!ls"), "'!ls': a failure"),
    "shell as a cell magic": (replace(4, source="%%bash\nls"), "magic '%bash'"),
    "shell by its full name": (then(4, "\nget_ipython().system('ls')"), "'!ls': a failure"),
    "shell by two marks": (then(4, "\n!!ls"), "'!ls': a failure"),
    "shell from Python": (then(4, "\nos.system('ls')"), "a failure would pass unseen"),
    "help that is left": (then(4, "\nprint?"), "magic '%pinfo'"),
    "unknown magic in setup": (replace(1, source='REPO = "a/b"\n%pi install x'), "magic '%pi'"),
    "unknown magic": (then(4, "\n%matplotlip inline"), "magic '%matplotlip'"),
    "pip outside setup": (then(4, "\n%pip install x"), "magic '%pip'"),
    "code that does not parse": (then(4, "\nx ="), "does not parse"),
    "long cell": (then(4, "\nx = 1" * 11), "13 lines of code, at most 12"),
    "long setup": (then(1, "\nx = 1"), "13 lines of code, at most 12"),
    "empty cell": (replace(4, source="# nothing"), "without code"),
    "no setup": (replace(1, source="x = 1"), "0 setup cells"),
    "two setups": (replace(4, source='REPO = "a/b"'), "2 setup cells"),
    "setup not first": (lambda n: n["cells"].insert(1, n["cells"].pop(3)), "1 setup cells"),
    "another kernel": (metadata(kernelspec={"name": "my-env"}), "'my-env', not 'python3'"),
    "no kernel": (metadata(kernelspec={}), "None, not 'python3'"),
    "widget state": (metadata(widgets={}), "metadata.widgets"),
    "check without output": (replace(3, outputs=[]), "compares nothing"),
    "check of a picture": (replace(3, outputs=[picture()]), "compares nothing"),
    "cell never run": (replace(4, execution_count=None), "execution count None, expected 3"),
    "cells run out of order": (replace(4, execution_count=7), "execution count 7, expected 3"),
    "nothing stored": (lambda n: [replace(i, outputs=[])(n) for i in (3, 4)], "no outputs are stored"),
    "SVG": (replace(4, outputs=[picture("image/svg+xml")]), "image/svg+xml output"),
    "widget": (replace(4, outputs=[picture("application/vnd.jupyter.widget-view+json")]), "a stored widget"),
    "SVG in HTML": (replace(4, outputs=[html("<svg></svg>")]), "text/html output; draw PNG"),
    "SVG in an address": (replace(4, outputs=[html('<img src="data:image/svg+xml;base64,AA">')]), "draw PNG"),
    "PDF": (replace(4, outputs=[picture("application/pdf")]), "application/pdf output"),
    "traceback": (replace(4, outputs=[ERROR]), "a stored ValueError"),
    "big picture": (replace(4, outputs=[picture(size=150_001)]), "a picture of 150 kB"),
    "big JPEG": (replace(4, outputs=[picture("image/jpeg", size=200_000)]), "a picture of 200 kB"),
    "big WebP": (replace(4, outputs=[picture("image/webp", size=200_000)]), "a picture of 200 kB"),
    "big picture in HTML": (replace(4, outputs=[html(f'<img src="{DATA}">')]), "a picture of 200 kB"),
    "big picture in a text": (then(2, f"\n![a big picture]({DATA})"), "cell 2: a picture of 200 kB"),
    "big attachment": (replace(2, attachments={"a.png": picture(size=200_000)["data"]}), "cell 2: a picture of 200 kB"),
    "big notebook": (replace(4, outputs=[picture(size=140_000)] * 11), "the notebook has 2.1 MB"),
    "picture without alt text": (then(2, "\n![](a.png)"), "alt text ''"),
    "alt text that says nothing": (then(2, "\n![figure](a.png)"), "alt text 'figure'"),
    "HTML picture without alt text": (then(2, '\n<img src="a.png">'), "alt text ''"),
    "HTML picture in capitals": (then(2, '\n<IMG SRC="a.png" data-alt="one two three">'), "alt text ''"),
    "stored picture without alt text": (replace(4, outputs=[html(f'<img src="{DOT}">')]), "without alt text of three"),
    "stored picture with little of it": (replace(4, outputs=[html(f'<img alt="a b" src="{DOT}">')]), "without alt text"),
    "stored picture that loses it": (replace(4, outputs=[picture()]), "a bare image/png, whose alt text gets lost"),
    "bar of text": (replace(4, outputs=[stream("\r 40%|####      | 2/5 [00:01<00:02, 1.2it/s]")]), "a stored progress bar"),
    "bar of a notebook": (replace(4, outputs=[{"output_type": "display_data", "metadata": {}, "data": {
        "text/plain": "HBox(children=(FloatProgress(value=0.0), HTML(value='')))"}}]), "a stored progress bar"),
    "alt text with brackets": (then(2, "\n![[a]](a.png)"), "alt text '[a]'"),
    "heading without a blank": (then(2, "\n##Part"), "write the heading '##Part' as '## Title'"),
    "heading by underlining": (then(2, "\n\nPart\n----\n"), "as '## Title'"),
    "heading in HTML": (then(2, "\n<h4>Part</h4>"), "as '## Title'"),
    "second title": (then(2, "\n# Another"), "a second title, 'Another'"),
    "heading that jumps": (then(0, "\n### Deep"), "jumps from level 1 to 3"),
    "no title": (replace(0, source="Hello\n\n" + CARD), "does not begin with a title"),
    "no cost card": (replace(0, source="# A title"), "no cost card"),
    "cost card too late": (lambda n: (replace(0, source="# A title")(n), then(2, "\n\n" + CARD)(n)), "no cost card"),
    "cost card with a hole": (replace(0, source="# A title\n\n" + CARD.replace("2 GB", "")), "no memory for"),
    "cost card without a unit": (replace(0, source="# A title\n\n" + CARD.replace("3 min", "short")),
                                 "written '3 min'"),
}


@pytest.mark.parametrize("spoil, complaint", SPOILT.values(), ids=SPOILT)
def test_lint_notices(spoil, complaint):
    notebook = good()
    spoil(notebook)
    found = lint(notebook)
    assert any(complaint in each for each in found), found


def test_an_error_that_is_meant_may_be_stored():
    notebook = copy.deepcopy(good())
    replace(4, outputs=[ERROR], metadata={"tags": ["raises-exception"]})(notebook)
    assert lint(notebook) == []


def test_a_skipped_cell_need_not_have_run():
    notebook = good()
    notebook["cells"].insert(4, code("# NBVAL_SKIP\ntrain_for_hours()", None))
    assert lint(notebook) == []


@pytest.mark.parametrize("cost, complaint", [
    ({"seconds": 89, "gib": 2}, "time '3 min', but the last measured run took 89 s"),
    ({"seconds": 361, "gib": 2}, "time '3 min', but the last measured run took 361 s"),
    ({"seconds": 180, "gib": 0.9}, "memory '2 GB', but the last measured run took 1.0 GB"),
    ({"seconds": 180, "gib": 4}, "memory '2 GB', but the last measured run took 4.3 GB"),
    (None, "no measured run"),
])
def test_a_cost_card_that_is_off_is_noticed(cost, complaint):
    assert [complaint in each for each in true_costs(good(), cost)] == [True]


@pytest.mark.parametrize("row, complaint", [
    (CARD.replace("2 GB", "some"), "no number in the memory 'some'"),
    (CARD + "| a GPU | 3 min | 9 GB | 4 GB |\n", "nobody measured 'a GPU'"),
])
def test_a_cost_card_that_cannot_be_checked_is_noticed(row, complaint):
    notebook = good()
    replace(0, source="# A title\n\n" + row)(notebook)
    assert [complaint in each for each in true_costs(notebook, {"seconds": 180, "gib": 2})] == [True]


def test_a_row_that_was_never_run_may_say_what_it_likes():
    notebook = good()
    replace(0, source="# A title\n\n" + CARD + "| a GPU (not yet run) | 3 min | 9 GB | 4 GB |\n")(notebook)
    assert true_costs(notebook, {"seconds": 180, "gib": 2}) == []
