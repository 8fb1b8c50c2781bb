"""Where the course lives, and the places that have to know it.

The address is set once, as `Repository` in `pyproject.toml`. `make stamp REPO=owner/name` changes it there and
carries it into the README, the citation file, `docs/` and the notebooks; `make stamp` alone mends whatever is out of
step. A test fails when something is. Nothing but the standard library is needed.

For authors of notebooks, two things and no more:

1. The **setup cell** is the first code cell and begins with `REPO =`. Write a code cell `REPO = ""` and run
   `make stamp`: the whole cell is replaced by `SETUP` below. On a laptop it only keeps torch's threads from spinning;
   on Colab and Kaggle it fetches the course and installs only what is missing. Everything else, imports too, belongs
   into the next cell.
2. The **way to Colab** stands in the first text cell, in a line of its own: write `[Open in Colab]()`. `make stamp`
   makes the whole line: this notebook's address and those of the other lessons, since links from file to file lead
   nowhere there. No badge, which without a network is a broken image.

Between `<!-- lessons -->` and `<!-- end -->` in a text cell, `make stamp` writes the list of the lessons that are there.
"""

import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What goes wrong ends in one sentence, before any import. An editable install is only seen after a restart, hence the
# line with sys.path.
SETUP = """\
REPO = "OWNER/NAME"  # written by `make stamp`
import importlib.util, os, subprocess, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for torch: threads that wait leave the processor to others
class Stop(Exception): _render_traceback_ = lambda self: [str(self)]  # a sentence in place of a traceback
def need(command, mend):
    if subprocess.run(command, shell=True, capture_output=True).returncode: raise Stop(f"{mend}, and run this cell again.")
if ("google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ) and not importlib.util.find_spec("dislib"):
    if REPO.startswith("OWNER/"): raise Stop('Write the GitHub address of the course into line 1, REPO = "owner/name", and run this cell again.')
    need(f"test -d course || GIT_TERMINAL_PROMPT=0 git clone -q --depth 1 https://github.com/{REPO} course",
         f"github.com/{REPO} cannot be fetched (PyPI's dislib is not it): switch the internet on (Kaggle: Settings) or correct line 1")
    need(f"{sys.executable} -m pip install -q -e course", "The course cannot be installed: restart the session")
    sys.path.insert(0, os.path.abspath("course"))"""

COLAB = "https://colab.research.google.com/github/"
_COLAB_LINK = re.compile(re.escape(COLAB) + r"(?P<repo>[^/\s)]+/[^/\s)]+)/blob/main/(?P<path>[^\s)\"]+)")
_COLAB_LINE = re.compile(r"^\[!?\[?Open in Colab\].*$", re.MULTILINE)
_LESSONS = re.compile(r"(?<=<!-- lessons -->\n).*?(?=<!-- end -->)", re.DOTALL)
_REPOSITORY = re.compile(r'^Repository = "https://github\.com/([^"]+)"$', re.MULTILINE)


def repository(root=ROOT):
    """The course's `owner/name`, as `pyproject.toml` under `root` has it."""
    found = _REPOSITORY.search((Path(root) / "pyproject.toml").read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f'{root}/pyproject.toml has no line `Repository = "https://github.com/owner/name"`')
    return found[1]


def setup_cell(repo):
    """Source of the setup cell for a course that lives at `repo`."""
    return SETUP.replace("OWNER/NAME", repo)


def colab_link(repo, path):
    """Address that opens the notebook `path` (relative to the repository) in Colab."""
    return f"{COLAB}{repo}/blob/main/{path}"


def colab_line(repo, name, names):
    """The line that leads from the notebook `name` to itself in Colab, and to the other lessons there."""
    others = " · ".join(f"[{n[:2]}]({colab_link(repo, f'notebooks/{n}')})" for n in names if n != name)
    line = f"[Open in Colab]({colab_link(repo, f'notebooks/{name}')})"
    return f"{line} (other lessons in Colab: {others})" if others else line


def lessons(notebooks):
    """A table of the lessons that are there: number and title, what happens, minutes; all from their own first cells.

    Args:
        notebooks: dict of file name to parsed notebook.
    """
    rows = ["| notebook | what happens | minutes |", "|---|---|---|"]
    for name, notebook in sorted(notebooks.items()):
        first = "\n\n".join("".join(cell["source"]) for cell in notebook["cells"][:2])
        title = re.search(r"^# (?:\d+ )?(.+)$", first, re.MULTILINE)[1]
        said = re.search(r"^\*{1,2}([^*].*?)\*{1,2}$", first, re.MULTILINE | re.DOTALL)
        told = " ".join(said[1].split()) if said else ""
        minutes = re.findall(r"about (\w+)\s+minutes", first)
        rows.append(f"| [{name[:2]} {title}]({name}) | {told} | {WORDS.get(minutes[0], minutes[0]) if minutes else ''} |")
    return "\n" + "\n".join(rows) + "\n\n"


WORDS = {"five": "5", "ten": "10", "fifteen": "15", "twenty": "20", "thirty": "30"}


def stamp(root=ROOT, repo=None, *, write=True):
    """Carry the address `repo` (default: the present one) into every file that names it.

    Returns the files that change, or with `write=False` would change. Raises ValueError for an address that is not
    `owner/name`. `pyproject.toml` comes last, so that an interrupted run is finished by the next one.
    """
    root = Path(root)
    old = repository(root)
    new = repo or old
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", new):
        raise ValueError(f"a repository is written owner/name, got {new!r}; try: make stamp REPO={old}")
    texts = [root / "README.md", root / "CITATION.cff", *sorted(root.glob("docs/**/*.md"))]
    notebooks = sorted(root.glob("notebooks/*.ipynb"))
    parsed = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in notebooks}
    changed = []
    for path in [*notebooks, *(p for p in texts if p.exists()), root / "pyproject.toml"]:
        before = path.read_text(encoding="utf-8")
        after = _stamp_notebook(before, old, new, path.name, parsed) if path in notebooks else _stamp_text(before, old, new)
        if after != before:
            changed.append(path)
            if write:
                _replace(path, after)
    return changed


def _stamp_text(text, old, new):
    """Change every link to the course; links to other repositories stay as they are."""
    text = re.sub(rf"(github\.com/|mybinder\.org/v2/gh/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
    return _COLAB_LINK.sub(lambda link: colab_link(new, link["path"]), text)


def _stamp_notebook(text, old, new, name, notebooks):
    """As `_stamp_text` for the text cells of a notebook; setup cell, way to Colab and list of lessons are made anew."""
    notebook = json.loads(text)
    before = json.dumps(notebook)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            stamped = _COLAB_LINE.sub(lambda _: colab_line(new, name, sorted(notebooks)), _stamp_text(source, old, new))
            stamped = _LESSONS.sub(lambda _: lessons(notebooks), stamped)
        else:
            stamped = setup_cell(new) if source.startswith("REPO =") else source
        if stamped != source:
            cell["source"] = stamped.splitlines(keepends=True)
    # Jupyter's own layout; a notebook that is in step already is given back byte for byte.
    return text if json.dumps(notebook) == before else json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _replace(path, text):
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def main(argv):
    """`python tools/stamp.py [owner/name]`, called by `make stamp`."""
    try:
        changed = stamp(repo=argv[0] if argv else None)
    except ValueError as error:
        return f"stamp: {error}"
    print(f"the course lives at https://github.com/{repository()}")
    for path in changed:
        print(f"  changed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
