"""What a notebook of the course has to keep to. Each rule takes a notebook as a dict and returns its complaints.

nbval runs the notebooks but has silent holes: a misspelt marker, a failing `!command`, an unknown magic or a
comparison with an output that was never stored all pass. The rules close these, and hold the notebooks to the form
that the course promises its readers. While writing:

    python tools/notebook_lint.py notebooks/01_latent_statistics.ipynb
"""

import ast
import json
import re
import sys
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

MARKERS = {"NBVAL_IGNORE_OUTPUT", "NBVAL_CHECK_OUTPUT", "NBVAL_RAISES_EXCEPTION", "NBVAL_SKIP"}
TAGS = {marker.lower().replace("_", "-") for marker in MARKERS} | {"raises-exception"}
ALMOST = r"#+\s*\w*(IGNORE_OUTPUT|CHECK_OUTPUT|RAISES_EXCEPTION|SKIP)\b"  # a marker, or what was meant as one
MAGICS = {"capture", "config", "matplotlib", "time", "timeit"}
CODE_LINES, SETUP_LINES = 12, 12
PICTURE_BYTES, NOTEBOOK_BYTES = 150_000, 2_000_000
NOT_COMPARED = {"image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json"}  # by nbval
COST_COLUMNS = ["scale", "time", "memory", "download"]


# --- reading a notebook -----------------------------------------------------------------------------------------------

def source(cell):
    """The text of a cell, which the file format stores as a string or as a list of lines."""
    return "".join(cell["source"])


def code_cells(notebook):
    """(position from 0 among all cells, cell) of the code cells; the positions are those JupyterLab counts."""
    return [(i, cell) for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]


def prose(notebook):
    """(position, text) of the text cells, fenced code taken out."""
    fence = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
    return [(i, fence.sub("", source(cell))) for i, cell in enumerate(notebook["cells"])
            if cell["cell_type"] == "markdown"]


def is_setup(cell):
    """The setup cell begins with `REPO =`; see `tools/stamp.py`."""
    return cell["cell_type"] == "code" and source(cell).startswith("REPO =")


def marks(cell):
    """Names of nbval's markers and tags on a cell, written alike: 'NBVAL_SKIP'."""
    comments = {line.strip().lstrip("#").strip() for line in source(cell).splitlines() if line.strip().startswith("#")}
    tags = {tag.upper().replace("-", "_") for tag in cell["metadata"].get("tags", [])}
    return (comments | tags) & MARKERS | ({"NBVAL_RAISES_EXCEPTION"} if "RAISES_EXCEPTION" in tags else set())


def outputs(notebook):
    """(position, mimetype, content) of everything stored; text streams and errors have their kind for a mimetype."""
    for i, cell in code_cells(notebook):
        for output in cell["outputs"]:
            kind = output["output_type"]
            for mimetype, content in output.get("data", {kind: output}).items():
                yield i, mimetype, "".join(content) if isinstance(content, list) else content


def pictures(notebook):
    """(position, size in bytes) of every picture in the file: outputs, attachments, data in HTML and Markdown."""
    def size(text):
        text = "".join("".join(text).split())  # of base64: four letters for three bytes
        return len(text) * 3 // 4 - text[-2:].count("=")

    data = re.compile(r"data:image/[^;,\s]+;base64,([A-Za-z0-9+/=\s]+)")
    texts = [(i, source(cell)) for i, cell in enumerate(notebook["cells"])]
    for i, cell in enumerate(notebook["cells"]):
        for bundle in cell.get("attachments", {}).values():
            yield from ((i, size(content)) for content in bundle.values())
    for i, mimetype, content in outputs(notebook):
        if mimetype.startswith("image/") and mimetype != "image/svg+xml":
            yield i, size(content)
        elif isinstance(content, str):
            texts.append((i, content))
    yield from ((i, size(found)) for i, text in texts for found in data.findall(text))


def ipython_calls(code):
    """('system' or 'magic', name) of what IPython makes of a cell: `!ls`, `%time`, `%%bash`, `files = !ls`.

    `os.system`, whose failures pass unseen as well, counts as the former.

    Raises SyntaxError for a cell that does not parse.
    """
    for node in ast.walk(ast.parse(TransformerManager().transform_cell(code))):
        call = node.func if isinstance(node, ast.Call) else None
        if call is not None and ast.unparse(call) in ("os.system", "os.popen"):
            yield "system", ast.unparse(node)
        if not (isinstance(call, ast.Attribute) and isinstance(call.value, ast.Call)
                and getattr(call.value.func, "id", "") == "get_ipython"):
            continue
        arguments = [a.value for a in node.args if isinstance(a, ast.Constant)]
        if call.attr in ("system", "getoutput"):
            yield "system", str(arguments[0])
        elif call.attr.startswith("run_"):
            yield "magic", arguments[0]
            if arguments[0] in MAGICS:  # `%time !ls`, `%%capture` and the like hold code of their own
                yield from ipython_calls(arguments[-1])


# --- the rules: code --------------------------------------------------------------------------------------------------

def exact_markers(notebook):
    """nbval ignores a marker with a trailing word and a tag it does not know, and says nothing."""
    problems = []
    for i, cell in code_cells(notebook):
        for line in source(cell).splitlines():
            meant = re.search("nbval|pytest_validate", line, re.IGNORECASE) or re.match(ALMOST, line.strip())
            if meant and not re.fullmatch(rf"#+ ?({'|'.join(MARKERS)})", line.strip()):
                problems.append(f"cell {i}: not a marker nbval knows, alone on its line: {line.strip()!r}")
        problems += [f"cell {i}: unknown tag {tag!r}; known: {', '.join(sorted(TAGS))}"
                     for tag in cell["metadata"].get("tags", []) if tag not in TAGS]
        if "NBVAL_CHECK_OUTPUT" in marks(cell) and marks(cell) & {"NBVAL_SKIP", "NBVAL_IGNORE_OUTPUT"}:
            problems.append(f"cell {i}: {' and '.join(sorted(marks(cell)))} contradict each other")
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code" and (re.search("NBVAL_", source(cell)) or cell["metadata"].get("tags")):
            problems.append(f"cell {i}: a marker or tag on a cell without code does nothing")
    return problems


def no_shell_known_magics(notebook):
    """A failing `!command` and an unknown magic raise no error, so nbval passes them."""
    problems = []
    for i, cell in code_cells(notebook):
        try:
            calls = list(ipython_calls(source(cell)))
        except SyntaxError as error:
            problems.append(f"cell {i}: does not parse: {error.msg}")
            continue
        for kind, name in calls:
            if kind == "system":
                problems.append(f"cell {i}: '!{name}': a failure would pass unseen")
            if kind == "magic" and name not in MAGICS:
                problems.append(f"cell {i}: magic '%{name}' is not among {', '.join(sorted(MAGICS))}")
    return problems


def short_cells(notebook):
    """Cells that can be read at a glance; blank lines and comments are free."""
    problems = []
    for i, cell in code_cells(notebook):
        lines = [line for line in source(cell).splitlines() if line.strip() and not line.strip().startswith("#")]
        limit = SETUP_LINES if is_setup(cell) else CODE_LINES
        if not lines:
            problems.append(f"cell {i}: a code cell without code")
        if len(lines) > limit:
            problems.append(f"cell {i}: {len(lines)} lines of code, at most {limit}; the rest goes to dislib")
    return problems


def setup_first(notebook):
    """One setup cell, and it is the first code cell."""
    setups = [is_setup(cell) for _, cell in code_cells(notebook)]
    if sum(setups) != 1 or not setups[0]:
        return [f"{sum(setups)} setup cells (beginning 'REPO ='); the first code cell must be one, and the only one"]
    return []


def kernel_and_metadata(notebook):
    """The kernel that exists everywhere; no widget state, which keeps GitHub from showing the notebook at all."""
    problems = []
    kernel = notebook["metadata"].get("kernelspec", {}).get("name")
    if kernel != "python3":
        problems.append(f"kernelspec is {kernel!r}, not 'python3'")
    if "widgets" in notebook["metadata"]:
        problems.append("metadata.widgets is stored; clear it, or run the notebook by 'make course'")
    return problems


# --- the rules: what is stored ----------------------------------------------------------------------------------------

def outputs_stored(notebook):
    """Run from top to bottom in a fresh kernel, and saved with what came out."""
    problems, expected = [], 0
    for i, cell in code_cells(notebook):
        skipped = "NBVAL_SKIP" in marks(cell)
        expected += not skipped
        count = cell["execution_count"]
        if not skipped and count != expected:
            problems.append(f"cell {i}: execution count {count}, expected {expected}; restart the kernel and run all")
        stored = {kind for output in cell["outputs"] for kind in output.get("data", {output["output_type"]: 0})}
        if "NBVAL_CHECK_OUTPUT" in marks(cell) and not stored - NOT_COMPARED:
            problems.append(f"cell {i}: NBVAL_CHECK_OUTPUT without a stored output compares nothing")
    if not any(True for _ in outputs(notebook)):
        problems.append("no outputs are stored; readers on the web would see none")
    return problems


def good_outputs(notebook):
    """No vector pictures, which never compare equal, no widget without its kernel, and no traceback not meant."""
    problems = [f"cell {i}: {mimetype} output; draw PNG" for i, mimetype, content in outputs(notebook)
                if mimetype in ("image/svg+xml", "application/pdf") or "<svg" in content or "image/svg" in content]
    problems += [f"cell {i}: a stored widget, which a page without a kernel cannot show; run the notebook by 'make course'"
                 for i, mimetype, _ in outputs(notebook) if mimetype == "application/vnd.jupyter.widget-view+json"]
    for i, cell in code_cells(notebook):
        failed = [o["ename"] for o in cell["outputs"] if o["output_type"] == "error"]
        if failed and "NBVAL_RAISES_EXCEPTION" not in marks(cell):
            problems.append(f"cell {i}: a stored {failed[0]}")
    return problems


def no_dead_bars(notebook):
    """A progress bar of the past is no result; kept as a widget, it shows as an error on a page without a kernel."""
    bar = re.compile(r"\d+%\|.*\|\s*\d+/\d+ \[|(HBox|FloatProgress|IntProgress)\((children=|value=)")
    problems = []
    for i, cell in code_cells(notebook):
        texts = ["".join(output.get("text", "")) for output in cell["outputs"]]
        texts += ["".join(output.get("data", {}).get("text/plain", "")) for output in cell["outputs"]]
        if any(bar.search(text) for text in texts):
            problems.append(f"cell {i}: a stored progress bar; use dislib.progress.watch, and run it by 'make course'")
    return problems


def sizes(notebook):
    """Pictures and notebooks that GitHub shows and a slow line carries."""
    problems = []
    for i, size in pictures(notebook):
        if size > PICTURE_BYTES:
            problems.append(f"cell {i}: a picture of {size / 1000:.0f} kB, at most {PICTURE_BYTES // 1000}")
    size = len(json.dumps(notebook, ensure_ascii=False, indent=1).encode())
    if size >= NOTEBOOK_BYTES:
        problems.append(f"the notebook has {size / 1e6:.1f} MB, it must stay under {NOTEBOOK_BYTES / 1e6:.0f}")
    return problems


# --- the rules: text --------------------------------------------------------------------------------------------------

def alt_text(notebook):
    """A picture is described in words (three at least) for those who do not see it."""
    problems = []
    for i, text in prose(notebook):
        alts = re.findall(r"!\[((?:[^\[\]]|\[[^\]]*\])*)\](?:\(|\[)", text)
        for tag in re.findall(r"<img\b[^>]*>", text, re.IGNORECASE):
            found = re.search(r"""\salt=(["'])(.*?)\1""", tag, re.DOTALL | re.IGNORECASE)
            alts.append(found[2] if found else "")
        problems += [f"cell {i}: alt text {alt!r} does not describe the picture"
                     for alt in alts if len(alt.split()) < 3]
    return problems


def stored_alt_text(notebook):
    """The pictures that cells have drawn are described too, in a form that pages and JupyterLab hand on."""
    problems = [f"cell {i}: a bare {mimetype}, whose alt text gets lost; draw it with dislib.plots"
                for i, mimetype, _ in outputs(notebook) if mimetype in ("image/png", "image/jpeg", "image/webp")]
    for i, mimetype, content in outputs(notebook):
        for tag in re.findall(r"<img\b[^>]*>", content) if mimetype == "text/html" else ():
            found = re.search(r'\salt="([^"]*)"', tag)
            if len((found[1] if found else "").split()) < 3:
                problems.append(f"cell {i}: a stored picture without alt text of three words at least")
    return problems


def headings_in_order(notebook):
    """One title, and no level left out on the way down: screen readers navigate by them."""
    found = [(i, len(hashes), title) for i, text in prose(notebook)
             for hashes, title in re.findall(r"^(#{1,6}) +(\S.*)$", text, re.MULTILINE)]
    problems = [f"cell {i}: a second title, '{title}'" for i, level, title in found[1:] if level == 1]
    problems += [f"cell {i}: write the heading {line.strip()!r} as '## Title'" for i, text in prose(notebook)
                 for line in re.findall(r"^#{1,6}[^#\s].*|^.+\n(?:=+|-+)\s*$|<h[1-6]\b.*", text, re.MULTILINE)]
    for (_, above, _), (i, level, title) in zip(found, found[1:]):
        if level > above + 1:
            problems.append(f"cell {i}: heading '{title}' jumps from level {above} to {level}")
    return problems


def title_and_cost_card(notebook):
    """The first cell is the title; what the notebook costs stands in a table before any code."""
    problems = []
    cells = notebook["cells"]
    if not (cells and cells[0]["cell_type"] == "markdown" and re.match(r"# \S", source(cells[0]))):
        problems.append("the first cell does not begin with a title ('# ...')")
    rows = cost_card(notebook)
    if not rows:
        problems.append(f"no cost card before the first code cell: a table '| {' | '.join(COST_COLUMNS)} |'")
    for row in rows:
        problems += [f"cost card: no {column} for '{row['scale']}'" for column in COST_COLUMNS if not row.get(column)]
        if row.get("time") and not re.search(r"\d+(\.\d+)? ?(s|min|h)\b", row["time"]):
            problems.append(f"cost card: a time is written '3 min', not '{row['time']}'")
    return problems


def cost_card(notebook):
    """The rows of the cost card as dicts by column name, in lower case; an empty list when there is none.

        | Scale | Time | Memory | Download |
        |---|---|---|---|
        | embedded model, two cores | 3 min | 2 GB | nothing |
    """
    first = next((i for i, _ in code_cells(notebook)), len(notebook["cells"]))
    for i, text in prose(notebook):
        rows = [[field.strip() for field in line.strip().strip("|").split("|")]
                for line in text.splitlines() if line.strip().startswith("|")]
        for at, row in enumerate(rows):
            if i < first and [field.lower() for field in row] == COST_COLUMNS:
                return [dict(zip(COST_COLUMNS, fields)) for fields in rows[at + 2:]]
    return []


COSTS = Path(__file__).resolve().parent.parent / "notebooks" / "cost.json"
UNITS = {"s": 1, "min": 60, "h": 3600, "MB": 1e6, "GB": 1e9}


def true_costs(notebook, cost):
    """The cost card against the last measured run of the embedded model, by a factor of two; other rows say that they
    were never run. `cost` is what `measured_cost` found: {"seconds": ..., "gib": ...}, or nothing."""
    if not cost:
        return [f"no measured run in {COSTS.name}; run 'make cost NOTEBOOKS=notebooks/...'"]
    problems = []
    for row in cost_card(notebook):
        if "embedded" not in row["scale"]:
            if "not yet run" not in row["scale"]:
                problems.append(f"cost card: nobody measured '{row['scale']}'; it has to say 'not yet run'")
            continue
        for column, units, measured in (("time", "s|min|h", cost["seconds"]), ("memory", "MB|GB", cost["gib"] * 2**30)):
            found = re.search(rf"(\d+(?:\.\d+)?) ?({units})\b", row.get(column, ""))
            if found and not 0.5 <= float(found[1]) * UNITS[found[2]] / measured <= 2:
                shown = f"{measured:.0f} s" if column == "time" else f"{measured / 1e9:.1f} GB"
                problems.append(f"cost card: {column} '{row[column]}', but the last measured run took {shown}")
            if not found:
                problems.append(f"cost card: no number in the {column} '{row.get(column)}'")
    return problems


def measured_cost(path):
    """What `make cost` measured of a notebook and kept; None when it has not been measured."""
    costs = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}
    return costs.get(Path(path).stem)


RULES = (exact_markers, no_shell_known_magics, short_cells, setup_first, kernel_and_metadata, outputs_stored,
         good_outputs, no_dead_bars, sizes, alt_text, stored_alt_text, headings_in_order, title_and_cost_card)


def lint(notebook):
    """All complaints about a notebook, its costs aside; an empty list is what the course asks for."""
    return [complaint for rule in RULES for complaint in rule(notebook)]


def main(paths):
    failed = False
    for path in paths:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        for complaint in lint(notebook) + true_costs(notebook, measured_cost(path)):
            print(f"{path}: {complaint}")
            failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
