"""Write the last green run of `make test-colab` into the README: its date, its versions, how many tests.

    make test-colab RECORD=yes

Nothing of it is typed by hand: the date and the numbers come from pytest's own report, the versions from the libraries
in the environment that ran the tests. A run that was not green is not written down.
"""

import importlib.metadata
import platform
import re
import sys
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

LIBRARIES = (
    "torch diffusers transformers accelerate peft torchao huggingface_hub numpy pillow matplotlib ipywidgets ipykernel"
)
BEGIN, END = "<!-- written by `make test-colab RECORD=yes` -->", "<!-- end -->"


def summary(report, versions, notebooks=0):
    """One paragraph about a run.

    Args:
        report: pytest's JUnit XML as text.
        versions: dict of library names and versions, in the order in which they are told.
        notebooks: how many were run.

    Raises:
        ValueError: the run was not green, or no test passed.
    """
    suite = ElementTree.fromstring(report).find("testsuite")
    tests, failures, errors, skipped = (int(suite.get(k)) for k in ("tests", "failures", "errors", "skipped"))
    passed = tests - failures - errors - skipped
    if failures or errors or not passed:
        raise ValueError(f"not a green run: {passed} passed, {failures} failed, {errors} errors; nothing is written")
    day = datetime.fromisoformat(suite.get("timestamp"))
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Last green run with Colab's libraries (`make test-colab`): {day.day} {day:%B %Y}, {passed:,} tests passed,"
        f" {skipped} skipped, {f'{notebooks} notebooks among them, ' * bool(notebooks)}with {names}."
    )


def replace(text, paragraph):
    """The README's text with the paragraph between the marks.

    Raises:
        ValueError: the marks are not there, or not once.
    """
    found = re.findall(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"the file needs one place that begins with '{BEGIN}' and ends with '{END}'")
    return text.replace(found[0], f"{BEGIN}\n{paragraph}\n{END}")


def installed():
    """Python and the libraries of this environment, public versions (2.13.0, not 2.13.0+cpu)."""
    there = {d.metadata["Name"].replace("-", "_") for d in importlib.metadata.distributions()}
    names = [name for name in LIBRARIES.split() if name in there]
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in names}
    return {"Python": platform.python_version(), **versions}


def main(report, readme, notebooks=0):
    readme = Path(readme)
    try:
        text = replace(
            readme.read_text(encoding="utf-8"),
            summary(Path(report).read_text(encoding="utf-8"), installed(), int(notebooks)),
        )
    except ValueError as error:
        return str(error)
    readme.write_text(text, encoding="utf-8")
    print(f"Recorded in {readme}.")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
