"""Where the data lie, and files that are either whole or not there: atomic writes, checks before long work, checksums."""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, which removes no open file anyway
    fcntl = None

from .errors import DislibError, ModelError, OutputError, shorten

CHECKSUMS = "CHECKSUMS.sha256"
MOST_TEXT = 100_000_000  # bytes; no list, table or record that a person keeps is so long
TRIES = 10  # at writing a file, each under a partial name of its own
FORMAT = "1"  # of the arrays written here; readers of a later format can tell


def data_dir():
    """The folder with the embedded model, the styles and the prompts.

    It is what the environment variable DISLIB_DATA names, else `data/` of the checkout this package lies in.

    Raises:
        ModelError: neither is there; the message says how to mend it.
    """
    named = os.environ.get("DISLIB_DATA")
    folder = user_path(named, ModelError) if named else Path(__file__).resolve().parent.parent / "data"
    if folder.is_dir():
        return folder
    if named:
        raise ModelError(f"DISLIB_DATA is {named}, which is not a folder; set it to the course's data folder")
    raise ModelError(
        f"the course's data are not in {folder}; install the package from a checkout with `pip install -e .`,"
        " or set the environment variable DISLIB_DATA to the checkout's data folder"
    )


def user_path(path, error=DislibError):
    """A path as people type it, with `~` for a home, as a Path; raises `error` for what can be none."""
    text = os.fspath(path)
    if text == "":
        raise error("a path is empty (an unset variable?); write . for the folder you are in")
    if "\0" in text:
        raise error(f"the path '{shorten(text)}' holds a NUL, which no file name can")
    try:
        return Path(text).expanduser()
    except RuntimeError as cause:
        raise error(f"there is no home folder for '{shorten(text)}'; write the path in full") from cause


def write_atomic(path, data):
    """Write `data` (bytes) to `path` whole or not at all.

    The bytes go to a `.NAME.*.partial` of its own beside it, reach the disk, and are then renamed, so that a kill, a
    crash or a full disk never leaves half a file under the final name, nor do two that write at once.

    Raises:
        OutputError: the folder cannot be written to or the disk is full; nothing is left behind.
    """
    path = Path(path)
    for left in reversed(range(TRIES)):
        partial = _partial(path, secrets.token_hex(4))
        try:
            return _write(partial, path, data)
        except (FileNotFoundError, FileExistsError, BlockingIOError) as error:  # swept as a stray, or the name is taken
            if not left or not path.parent.is_dir():
                raise OutputError(f"cannot write {path}: {_why(error)}") from error
        except OSError as error:
            raise OutputError(f"cannot write {path}: {_why(error)}") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _write(partial, path, data):
    with open(partial, "xb") as file:  # x: never through a link or a pipe that lies there
        try:
            _hold(file)
        except BlockingIOError:
            raise
        except OSError:  # a disk that knows no locks: a sweep finds none there either, and leaves all as it is
            pass
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if fcntl:
            os.replace(partial, path)
    if not fcntl:  # Windows renames no open file
        os.replace(partial, path)


def _hold(file):
    """Show that somebody is at this file, until it is closed or its writer dies; BlockingIOError if somebody else is."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _partial(path, token="0" * 8):
    return path.with_name(f".{path.name}.{token}.partial")


def sweep_partials(folder, name=""):
    """Remove what kills left half-written of the file `name`, or of all, in `folder`, but not what is being written."""
    with contextlib.suppress(OSError):
        for stray in Path(folder).iterdir():
            ours = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.partial", stray.name)
            if ours and name in ("", ours[1]):
                with contextlib.suppress(OSError), open(stray, "rb", opener=_without_waiting) as file:
                    _hold(file)
                    stray.unlink()


def _without_waiting(path, flags):
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextlib.contextmanager
def locked(path, *, seconds=30):
    """Be alone with the file `path`, among all programs that ask so; its lock lies beside it as `.NAME.lock`.

    Raises:
        OutputError: another program keeps it for `seconds`, or no lock can be put there.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=seconds):
            yield
    except Timeout as error:
        raise OutputError(f"another program has been writing {path} for {seconds} s; end it, or wait") from error


def read_text(path, *, most=MOST_TEXT):
    """The UTF-8 text of a file, with or without a byte-order mark, as users and their editors leave it.

    Raises:
        OSError: it is missing, may not be read, is no regular file (a named pipe would be waited for for ever), or is
            larger than `most` bytes.
        UnicodeDecodeError: a ValueError.
    """
    return read_bytes(path, most=most).decode("utf-8-sig")


def read_bytes(path, *, most=MOST_TEXT):
    """The bytes of a regular file; see `read_text`."""
    check_regular(path)
    if os.path.getsize(path) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most // 10**6} MB", str(path))
    return Path(path).read_bytes()


def read_json(path):
    """The value in a JSON file that a hand may have edited.

    Raises:
        OSError: see `read_text`.
        ValueError: not UTF-8, not JSON, or brackets nested without end.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def check_regular(path):
    """Raise an OSError if `path`, or a file in the folder `path`, is a pipe, a socket or a device: reading may hang."""
    found = [path] if not os.path.isdir(path) else (os.path.join(d, f) for d, _, files in os.walk(path) for f in files)
    for file in found:
        with contextlib.suppress(FileNotFoundError):  # a dangling link hangs nobody
            if not stat.S_ISREG(mode := os.stat(file).st_mode) and not stat.S_ISDIR(mode):
                raise OSError(errno.EINVAL, "it is not a regular file", str(file))


def write_json(path, value):
    """Write `value` as indented UTF-8 JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_png(path, image):
    """Write a PIL image as PNG, atomically."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())


def write_safetensors(path, tensors, meta):
    """Write tensors (or numpy arrays) by name and a dict of metadata to a .safetensors file, atomically; equal content,
    equal bytes."""
    # A safetensors file holds strings only: those stay as they are, all other values become JSON.
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in meta.items()}
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save

        tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    else:
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_atomic(path, in_order(save(tensors, text)))


def in_order(data):
    """The bytes of a safetensors file with its header (its length in 8 bytes, then JSON) sorted: the library writes
    metadata in a random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def read_safetensors(path, *, framework="pt", values=True):
    """Read what `write_safetensors` wrote; returns (dict of tensors, dict of metadata).

    Args:
        framework: "pt" for tensors, "numpy" for arrays.
        values: False leaves the metadata the strings they are in the file.

    Raises:
        DislibError: the file is missing, cut short, not safetensors, or a pickle (which is never opened).
    """
    from safetensors import SafetensorError, safe_open

    try:
        if os.path.exists(path) and not os.path.isfile(path):  # opening a named pipe would wait for ever
            raise DislibError("it is not a regular file")
        with open(path, "rb") as file:
            head = file.read(9)  # of safetensors: the header's length in 8 bytes, which may be any, then JSON
        if head[8:] != b"{" and head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise DislibError("it is a pickle (a PyTorch file), which can run code and is never opened")
        with safe_open(path, framework=framework) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            told = file.metadata() or {}
        return tensors, {key: _from_text(value) if values else value for key, value in told.items()}
    except SafetensorError as error:
        raise DislibError(f"it is cut short or not a safetensors file ({error})") from error
    except OSError as error:
        raise DislibError(f"it cannot be read ({error.strerror or error})") from error


def _from_text(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def save_arrays(path, arrays, meta):
    """Write arrays by name and a dict of metadata, whole or not at all; equal content, equal bytes."""
    write_safetensors(path, {name: np.asarray(array) for name, array in arrays.items()}, {**meta, "format": FORMAT})


def load_arrays(path, keys):
    """Arrays by name, the `keys` among them, and the metadata (strings), as `save_arrays` wrote them.

    Raises:
        DislibError: there is no such file, it is not whole, or it lacks one of the keys.
    """
    if not Path(path).is_file():
        raise DislibError(f"there is no file {path}; compute the features first, or correct the name")
    try:
        arrays, meta = read_safetensors(path, framework="numpy", values=False)
    except DislibError as error:
        raise DislibError(f"cannot use {path}: {error}; delete it and make it again") from error
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise DislibError(f"{path} holds {sorted(arrays)} and lacks {missing}; it is a file of another kind")
    meta.pop("format", None)
    return arrays, meta


def check_output_file(path, *, suffix):
    """Make sure, before long work, that a file can be written at `path`; returns it as a Path.

    Raises:
        OutputError: `path` is a folder, lacks `suffix`, is too long, or its folder cannot be made or written to.
    """
    path = user_path(path, OutputError)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; name a file in it, such as {path / ('prior' + suffix)}")
    if path.suffix.lower() != suffix:
        name = "prior" if path.name == suffix else path.name
        raise OutputError(f"the output {path} should end in {suffix}; call it {name}{suffix}")
    check_output_folder(path.parent)
    sweep_partials(path.parent, path.name)
    _check_name(_partial(path), path)
    return path


def check_output_folder(path):
    """Make sure that files can be written in the folder `path`, without creating it; returns it as a Path.

    Raises:
        OutputError: something on the way is a file, or the folder (or its nearest existing parent) refuses files.
    """
    path = folder = user_path(path, OutputError)
    _check_name(_partial(path / "generate.unfinished.json"), path)  # the longest name that is ever put there
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        # Only a real attempt tells: root, read-only disks and network folders make permission bits lie.
        with tempfile.TemporaryFile(dir=folder):
            return path
    except OSError as error:
        raise OutputError(f"cannot write in {path}: {_why(error, folder)}; choose another folder") from error


def _check_name(path, wanted):
    """Find out before long work that the disk refuses a name needed to write `wanted`, or that a folder has it."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            raise OutputError(f"{path} is a folder and in the way; remove it")
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # as it should be, or found out by the attempt to write
    except OSError as error:
        raise OutputError(f"cannot write {shorten(wanted, 200)}: {_why(error)}") from error


def make_folder(path):
    """Create the folder `path` with its parents, if need be; returns it as a Path."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create the folder {path}: {_why(error)}") from error
    return Path(path)


def digest_of(*parts):
    """64 hexadecimal digits of what something was made from: texts, numbers, lists of them, arrays and bytes.

    Give what goes in (pixels, captions, weights as they lie in the file), never what was computed from it.
    """
    digest = hashlib.sha256()
    for part in parts:
        part = part.tobytes() if hasattr(part, "tobytes") else part
        part = part if isinstance(part, bytes) else repr(part).encode("utf-8", "backslashreplace")
        digest.update(hashlib.sha256(part).digest())  # of one length each, so that no two lists of parts run together
    return digest.hexdigest()


def sha256(path):
    """The SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(data, folders=("tiny-sd", "judge")):
    """Write `data/CHECKSUMS.sha256` for every file of the model `folders`, in the format of `sha256sum`.

    Call it whenever weights are replaced; `sha256sum -c CHECKSUMS.sha256` inside `data` checks the same.
    """
    data = Path(data)
    files = sorted(f for name in folders for f in (data / name).rglob("*") if f.is_file() and f.name[0] != ".")
    lines = [f"{sha256(file)}  {file.relative_to(data).as_posix()}\n" for file in files]
    write_atomic(data / CHECKSUMS, "".join(lines).encode())


def check_checksums(data):
    """Compare the model files with `data/CHECKSUMS.sha256`; returns (number of files, list of what is wrong).

    Raises:
        DislibError: the list itself is missing or is not in the format of `sha256sum`.
    """
    data, wrong = Path(data), []
    try:
        lines = read_text(data / CHECKSUMS).splitlines()
        pairs = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].lstrip("*")) for line in lines if line.strip()]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise DislibError(f"cannot read the checksums in {data / CHECKSUMS}; get the course's data again") from error
    for digest, name in pairs:
        if not (data / name).is_file():
            wrong.append(f"{name} is missing")
        elif sha256(data / name) != digest:
            wrong.append(f"{name} has changed")
    return len(pairs), wrong


def _why(error, folder=None):
    """An OSError in words."""
    where = folder or error.filename2 or error.filename or ""
    return {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        getattr(errno, "EDQUOT", -1): "the disk quota is used up; free some space and run the same command again",
        errno.EFBIG: "the file would be larger than this account may write; raise the limit (ulimit -f)",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
        errno.EISDIR: f"{where} is a folder and in the way; remove it",
        errno.ENOENT: "its folder is gone",
        errno.EACCES: f"no right to write in {where}",
        errno.EPERM: f"no right to write in {where}",
        errno.EROFS: f"{where} is on a read-only disk",
        errno.ENOTDIR: f"{where} is a file, not a folder",
        errno.EEXIST: f"{where} is a file, not a folder",
        errno.ELOOP: f"{where} is a symbolic link that leads to itself",
    }.get(error.errno, error.strerror or str(error))
