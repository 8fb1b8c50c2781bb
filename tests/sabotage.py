"""Runs `python -m dislib` again and again while something goes wrong: a `kill -9`, a full disk, a limit on files.

`Saboteur` starts this file once as another process, which imports the libraries, loads the pipeline and then forks for
each command: a real process dies a real death, in a fraction of the time that a new one would take.
"""

import contextlib
import ctypes
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

CLONE_NEWNS, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 32, 16384, 1 << 18


class Saboteur:
    """The side of the tests.

    Args:
        model: folder of the pipeline that every command is given as `--model`.
    """

    def __init__(self, model):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.model = str(model)

    def run(self, command, **trouble):
        """Run a command in a fork, with at most one kind of trouble.

        Args:
            command: name and arguments.
            kill_at: number of the moment (see `Danger`) at which `kill -9` comes.
            most_bytes: no file can grow larger than this.
            disk: (folder, bytes, rescued): the command is run with a disk of so many bytes in place of the folder,
                and once more when the disk has grown to 64 MB; then its files are copied to the folder `rescued`.

        Returns:
            dict with `code`, the exit code or minus the signal, and unless killed `said` (stdout and stderr) and the
            number of `moments`. With `disk` also `left`, the files after the first run by name, with their sizes, and
            `again`, the second run; `code` is None where the system lets nobody mount a disk.
        """
        command = [command[0], "--model", self.model, *map(str, command[1:])]
        self.process.stdin.write(json.dumps({"command": command, **trouble}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Danger:
    """Kills this process at moment `kill_at`: amid the writing of a file, before one is renamed or removed, or before
    a folder is made. `count` is the number of moments so far.
    """

    def __init__(self, kill_at):
        self.count, self.kill_at = 0, kill_at
        for name in ("fsync", "replace", "unlink", "mkdir"):
            setattr(os, name, functools.partial(self._call, name, getattr(os, name)))

    def _call(self, name, call, target, *more, **options):
        if self.count == self.kill_at:
            if name == "fsync":  # all is written: take half of it back
                os.ftruncate(target, os.fstat(target).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        return call(target, *more, **options)


def in_a_fork(work):
    """Call `work`, which returns a dict, in a fork; what it returned, with `code` -9 if it was killed."""
    with tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            try:
                json.dump(work(), answer)
                answer.flush()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        return {"code": -os.WTERMSIG(status)} if os.WIFSIGNALED(status) else json.loads(answer.read())


def dislib(command):
    """`python -m dislib COMMAND` in this process."""
    from dislib.cli.main import main as command_line

    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        return {"code": command_line(command), "said": said.getvalue()}


def with_kill(command, kill_at=None):
    danger = Danger(kill_at)
    return {**dislib(command), "moments": danger.count}


def with_limit(command, most_bytes):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    return dislib(command)


def with_disk(command, disk):
    folder, size, rescued = disk
    if not (
        _system("unshare", CLONE_NEWNS)
        and _system("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        and _mount(folder, size)
    ):
        return {"code": None}
    first = dislib(command)
    first["left"] = {f.name: f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()}
    assert _mount(folder, 64_000_000, MS_REMOUNT)
    first["again"] = dislib(command)
    shutil.copytree(folder, rescued)
    return first


def _mount(folder, size, flags=0):
    return _system("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, b"size=%d" % size)


def _system(name, *arguments):
    """Call the C library; whether it did as it was told."""
    call = getattr(ctypes.CDLL(None), name, None)
    return call is not None and call(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments)) == 0


def main(model):
    from dislib import loading
    from dislib.cli import gallery  # noqa: F401  once, rather than in each fork
    from dislib.core import prior, sampling  # noqa: F401

    pipe = loading.load_pipeline(model, device="cpu")
    loading.load_pipeline = lambda *_, **__: pipe
    for line in sys.stdin:
        order = json.loads(line)
        work = with_limit if "most_bytes" in order else with_disk if "disk" in order else with_kill
        print(json.dumps(in_a_fork(functools.partial(work, **order))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
