"""What every test stands on: our own `dislib`, no network, and the folder of the course."""

import importlib.util
import ipaddress
import os
import shutil
import socket
from pathlib import Path

import pytest

# Before any test imports a library: the hub is never asked, and logs stay out of the reports. Kernels inherit this.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the machine may be busy with other things

ROOT = Path(__file__).resolve().parent.parent


def foreign_dislib(root=ROOT):
    """Say what is wrong when the `dislib` that gets imported is not the one in `root`; None when all is well.

    PyPI has an unrelated library of this name.
    """
    mend = "install the course: python -m pip install -e '.[lab,test]' -c constraints.txt"
    try:
        import dislib
    except ModuleNotFoundError as error:
        return f"{error}; {mend}"
    where = Path(dislib.__file__ or "nowhere").resolve()
    return None if where.parent == root / "dislib" else f"'dislib' comes from {where}, not from {root}; {mend}"


def pytest_sessionstart(session):
    problem = foreign_dislib()
    if problem:
        pytest.exit(problem, returncode=pytest.ExitCode.USAGE_ERROR)


def _is_local(address):
    if not isinstance(address, tuple):  # a path: Unix sockets
        return True
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return address[0] in ("localhost", "")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fail whatever tries to leave this machine: the course must work in a room without a network."""
    connect = socket.socket.connect

    def guarded(self, address):
        if not _is_local(address):
            raise ConnectionRefusedError(f"a test tried to reach {address}; tests run without a network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def root():
    """The folder of the course."""
    return ROOT


# --- the browser ------------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "msedge")


def find_browser():
    """Path of a browser of Chromium's family; None where there is none. DISLIB_BROWSER names another one."""
    named = os.environ.get("DISLIB_BROWSER")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


def no_browser():
    """Why the browser tests cannot run here, and the mend; None where they can."""
    if not find_browser():
        return "no Chromium or Chrome was found; on Debian: apt-get install chromium"
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is missing; install the course's extra [test]"
    return None


def pytest_collection_modifyitems(config, items):
    reason = no_browser()
    for item in items if reason else ():
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=reason))
            config.stash[LEFT_OUT] = reason


LEFT_OUT = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    """Say last of all, where it is read, that something was not tested."""
    result = yield
    if reason := config.stash.get(LEFT_OUT, None):
        terminalreporter.section("not tested", yellow=True)
        terminalreporter.write_line(f"The widgets were NOT tested in a browser: {reason}.", yellow=True)
    return result
