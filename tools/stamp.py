"""Where the course lives, and the places that have to know it.

The address is set once, as `Repository` in `pyproject.toml`. `make stamp REPO=owner/name` changes it there and
carries it into the README, the citation file, `docs/` and the notebooks; `make stamp` alone mends whatever is out of
step. A test fails when something is. Nothing but the standard library is needed.

For authors of notebooks, two things and no more:

1. The **setup cell** is the first code cell and begins with `REPO =`. Write a code cell `REPO = ""` and run
   `make stamp`: the whole cell is replaced by `SETUP` below. On a laptop it does nothing; on Colab it fetches the
   course and installs only what is missing. Everything else, imports too, belongs into the next cell.
2. The **badge** stands in the first text cell, in one line, with any notebook for its target:

       [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]
       (https://colab.research.google.com/github/a/b/blob/main/c.ipynb)

   `make stamp` puts in the right address, the notebook's own path included.
"""

import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Six lines. On Colab an editable install is only seen after a restart, hence the line with sys.path.
SETUP = """\
REPO = "OWNER/NAME"  # written by `make stamp`
import importlib.util, sys
if "google.colab" in sys.modules and importlib.util.find_spec("dislib") is None:
    !test -d /content/course || git clone -q --depth 1 https://github.com/{REPO} /content/course
    %pip install -q -e /content/course
    sys.path.insert(0, "/content/course")"""

COLAB = "https://colab.research.google.com/github/"
_COLAB_LINK = re.compile(re.escape(COLAB) + r"(?P<repo>[^/\s)]+/[^/\s)]+)/blob/main/(?P<path>[^\s)\"]+)")
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
    changed = []
    for path in [*notebooks, *(p for p in texts if p.exists()), root / "pyproject.toml"]:
        before = path.read_text(encoding="utf-8")
        after = _stamp_notebook(before, old, new, path.name) if path in notebooks else _stamp_text(before, old, new)
        if after != before:
            changed.append(path)
            if write:
                _replace(path, after)
    return changed


def _stamp_text(text, old, new):
    """Change every link to the course; links to other repositories stay as they are."""
    text = re.sub(rf"(github\.com/|mybinder\.org/v2/gh/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
    return _COLAB_LINK.sub(lambda link: colab_link(new, link["path"]), text)


def _stamp_notebook(text, old, new, name):
    """As `_stamp_text` for the text cells of a notebook; its setup cell is replaced as a whole."""
    notebook = json.loads(text)
    before = json.dumps(notebook)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            stamped = _COLAB_LINK.sub(colab_link(new, f"notebooks/{name}"), _stamp_text(source, old, new))
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
