"""Hostile input for as long as you like: `python tests/hostile.py --minutes 2 --seed 7`.

Pictures, priors, JSON, tables and texts are damaged at random, and writers killed; whatever comes, the answer is a
result that is right, or a DislibError. A finding is told with the line that brings it back:
`python tests/hostile.py --seed 7 --kind pictures --case 1234`. Exit code 1 if there is one.
"""

import argparse
import csv
import functools
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
from helpers import images, shared_pipeline  # noqa: E402

from dislib import files, loading  # noqa: E402
from dislib.cli import evaluate  # noqa: E402
from dislib.cli.gallery import Gallery  # noqa: E402
from dislib.core.prior import StylePrior  # noqa: E402
from dislib.errors import DislibError, ImageError  # noqa: E402
from dislib.escaping import for_csv, for_html, for_markdown, for_terminal, from_csv  # noqa: E402
from dislib.evaluation.ranking import bradley_terry  # noqa: E402
from dislib.evaluation.sweep_folder import SweepFolder  # noqa: E402
from dislib.evaluation.table import Row, read_results, write_results  # noqa: E402
from dislib.evaluation.votes import Vote, VoteFile, read_votes, write_votes  # noqa: E402
from dislib.figures.curves import picture_sheet  # noqa: E402
from dislib.images.captions import captions_of, without  # noqa: E402
from dislib.images.images import image_problem, load_image  # noqa: E402
from dislib.images.prompts import parse_seeds, read_prompt_rows  # noqa: E402
from dislib.training import result  # noqa: E402

PATIENCE = 30  # seconds a case may take; what waits for ever takes longer
NAMES = ["base", "plain", "style"]


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(data, rng):
    """Bytes cut, changed, doubled or taken out in a few places, most often near the beginning."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(min(len(data), rng.choice([64, 512, 10**9])) or 1)
        span = rng.choice([1, 1, 4, 50])
        kind = rng.randrange(5)
        if kind == 0:
            del data[at + rng.choice([0, span, 500]) :]
        elif kind == 1:
            data[at : at + span] = rng.randbytes(span)
        elif kind == 2:
            data[at:at] = data[at : at + 50 * span]
        elif kind == 3:
            del data[at : at + span]
        else:
            data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        data = data or bytearray(b"x")
    return bytes(data)


def text(rng):
    """A text that some program or other takes for more than a text."""
    pieces = ["a", "red house", " ", "", "\n", "\r", "\t", "\0", "\x1b[31m", "=1+1", "-", "'", '"', ",", ";", "<b>", "&",
              "{}", "%s", "../", "/", "\\", "é", "e\u0301", "\u202e", "\u2028", "\ud800", "\U0001f600", "$x$", "[a](b)",
              "`", "|", "#", "C++", "(sketch)", "\ufeff", "A" * 300, "[" * 50, "NaN", "9" * 30]  # fmt: skip
    return "".join(rng.choice(pieces) for _ in range(rng.randrange(5)))


def value(rng):
    """A JSON value that nobody expects."""
    odd = [None, True, False, 0, -1, 1.5, 10**400, 2**63, float("nan"), float("inf"), "", "x", [], {}, [[]], [None], {"a": 1}]
    return rng.choice([*odd, text(rng), [text(rng)], {text(rng): text(rng)}])


def spoilt(whole, rng):
    """A JSON value with one part of it lost, or another than it was."""
    if rng.random() < 0.3 or not isinstance(whole, (dict, list)) or not whole:
        return value(rng)
    copy = whole.copy()
    key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    if rng.random() < 0.2:
        del copy[key]
    else:
        copy[key] = spoilt(copy[key], rng)
    return copy


def as_json(whole, rng):
    """The bytes of a JSON file that a hand has been in."""
    data = json.dumps(spoilt(whole, rng)).encode()
    return rng.choice([data, data, data, damaged(data, rng), b"[" * 100_000, b'{"a":' * 50_000, data.decode().encode("utf-16")])


# --- the kinds --------------------------------------------------------------------------------------------------------


@functools.cache
def _pictures():
    picture, whole = images(1, size=64)[0], []
    modes = ("RGB", "L", "1", "P", "CMYK", "LA", "RGBA", "I;16")
    for form in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "ICO"):
        for mode in modes:
            buffer = io.BytesIO()
            try:
                picture.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, form)
            except Exception:  # not every format knows every mode
                continue
            whole.append(buffer.getvalue())
    return whole


def pictures(rng, folder):
    """A damaged picture is RGB of the size asked for, or refused, and both who look at it agree."""
    file = folder / rng.choice(["a.png", "a.jpg", "a.webp", "a.tif", "a.gif"])
    file.write_bytes(damaged(rng.choice(_pictures()), rng))
    problem = image_problem(file)
    try:
        seen = load_image(file, 32)
    except ImageError as error:
        assert problem is not None or "damaged" in str(error) or "truncated" in str(error), "looked whole, and is not"
        return
    assert seen.mode == "RGB" and seen.size == (32, 32)
    assert problem is None, f"was refused ({problem}), and is read"


@functools.cache
def _prior():
    with tempfile.TemporaryDirectory() as folder:
        StylePrior.from_images(shared_pipeline(), images(3)).save(Path(folder, "p.safetensors"))
        return Path(folder, "p.safetensors").read_bytes()


def priors(rng, folder):
    """A damaged prior is finite and of the model's shape, or refused."""
    (folder / "p.safetensors").write_bytes(damaged(_prior(), rng))
    prior = StylePrior.load(folder / "p.safetensors", shared_pipeline())
    assert prior.mean.isfinite().all() and (prior.std > 0).all() and prior.sample([0]).shape == (1, 4, 16, 16)
    assert isinstance(prior.identity(), str)


def records(rng, folder):
    """Records that a hand has edited, each read by whoever reads it."""
    sweep = {"prompts": ["a", "b"], "images_per_prompt": 1, "seed": 0, "batch_size": 1, "method": "m", "style": "s"}
    images_of = [{"file": "00000.png", "prompt": "a", "seed": 0}]
    training = {"format": result.FORMAT, "model": "tiny", "settings": {"rank": None}}
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    name, whole, read = rng.choice([
        ("settings.json", sweep, lambda: SweepFolder.open(folder).weights()),
        ("settings.json", sweep, lambda: picture_sheet(folder)),
        ("generate.json", {"guidance": 3.0, "images": images_of}, lambda: evaluate._read_record(folder)),
        ("generate.json", {"prompts": ["a"], "batch_size": 1},
         lambda: Gallery(folder, {"prompts": ["a"], "batch_size": 1}, 1).resume()),
        ("training.json", training, lambda: result.read(folder)),
        ("model_index.json", index, lambda: loading._source(folder)),
    ])  # fmt: skip
    (folder / name).write_bytes(as_json(whole, rng))
    read()


def prompts(rng, folder):
    """Lists of prompts in every wrapping, captions, seeds and words to leave out."""
    rows = [{"prompt": text(rng), "category": text(rng)} for _ in range(3)]
    form = rng.choice([".txt", ".json", ".jsonl", ".csv", ".tsv"])
    whole = "\n".join(json.dumps(row) for row in rows) if form == ".jsonl" else json.dumps(rows)
    if form in (".csv", ".tsv", ".txt"):
        whole = "prompt,category\n" + "\n".join(f"{row['prompt']},{row['category']}" for row in rows)
    data = whole.encode("utf-8", "surrogatepass")
    (folder / ("p" + form)).write_bytes(rng.choice([data, damaged(data, rng)]))
    for row in read_prompt_rows(folder / ("p" + form)):
        row["prompt"].encode()
    parse_seeds(text(rng))


def captions(rng, folder):
    """Every caption that is read is text, of a picture that is there, and words are left out of it or not."""
    for name in ("a.png", "é.png"):
        images(1, size=16)[0].save(folder / name)
    words = [w for w in (text(rng), text(rng)) if w.strip()]
    assert isinstance(without(text(rng), words), str)
    lines = [{"file_name": rng.choice(["a.png", "./a.png", "e\u0301.png", text(rng)]), "text": text(rng)} for _ in range(2)]
    data = "\n".join(json.dumps(rng.choice([line, spoilt(line, rng)])) for line in lines).encode()
    (folder / "metadata.jsonl").write_bytes(rng.choice([data, data, damaged(data, rng)]))
    for said in captions_of([folder / "a.png", folder / "é.png"], leave_out=words):
        said.encode()


def votes(rng, folder):
    """What a vote file takes it gives back, and what a hand does to it is told or counted."""
    file, taken = VoteFile(folder / "v.csv", methods=NAMES), []
    for _ in range(3):
        left, right = rng.sample(NAMES, 2)
        seed = rng.choice([0, 5, -1, 2**63, 2**64, 1.5])
        question = rng.choice(["style", "prompt"])
        vote = Vote(text(rng) or "Ann", question, text(rng) or "s", text(rng) or "p", left, right, seed, "left")
        try:
            file.add(vote)
            taken.append(vote)
        except DislibError:
            continue
    if taken:
        assert len(read_votes(file.path, methods=NAMES)) == len({vote.key for vote in file.votes})
    ballots = [("base", "plain"), ("plain", "style")]
    whole = [Vote(voter, "style", "s", "p", *pair, 0, "left") for voter in ("Ann", "Bo") for pair in ballots]
    write_votes(file.path, whole)
    file.path.write_bytes(damaged(file.path.read_bytes(), rng))
    strengths = [standing.strength for standing in bradley_terry(read_votes(file.path, methods=NAMES), draws=5)]
    assert np.isfinite(strengths).all()


def tables(rng, folder):
    """Names come back from a table as they were; a damaged table is read or told."""
    path, name = folder / "r.csv", text(rng).replace("\r", "").replace("\0", "") or "m"
    rows = [Row(name, "s", 1.0, "fid", 1.0, 0.5, 2.0, 3), Row("b", "s", None, "kid", 1.0, 0.5, 2.0, 3)]
    write_results(path, rows)
    if "\ud800" not in name:
        assert read_results(path) == rows
    path.write_bytes(damaged(path.read_bytes(), rng))
    for row in read_results(path):
        assert row.low <= row.high


def texts(rng, folder):
    """No text is more than a text, wherever it goes."""
    said = text(rng)
    assert not set('<>"') & set(for_html(said)) and "<" not in for_markdown(said)
    assert for_terminal(said).isprintable() and from_csv(for_csv(said)) == said
    if "\r" in said or "\0" in said or "\ud800" in said:
        return
    (folder / "t.csv").write_text(said, newline="", encoding="utf-8")
    line = io.StringIO()
    csv.writer(line).writerow([for_csv(said)])
    cell = next(csv.reader(io.StringIO(line.getvalue(), newline="")))[0]
    assert cell[:1] not in set("=+-@") and from_csv(cell) == said


def kills(rng, folder):
    """Writers killed at any moment: every file is whole, an old or a new one, and the next writer cleans up."""
    if not hasattr(os, "fork"):
        return
    (folder / "a.bin").write_bytes(b"0" * 40_000)
    children = [os.fork() or _write_for_ever(folder, bytes([i + 49])) for i in range(2)]
    time.sleep(rng.uniform(0, 0.05))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    data = (folder / "a.bin").read_bytes()
    assert len(data) == 40_000 and len(set(data)) == 1, "half a file"
    VoteFile(folder / "v.csv", methods=NAMES)
    files.sweep_partials(folder)
    assert not [f.name for f in folder.iterdir() if f.name.endswith(".partial")]


def _write_for_ever(folder, byte):
    try:
        votes_of, seed = VoteFile(folder / "v.csv", methods=NAMES), 0
        while True:
            files.write_atomic(folder / "a.bin", byte * 40_000)
            votes_of.add(Vote(f"voter {byte}", "style", "s", "p", "base", "plain", seed := seed + 1, "left"))
    finally:
        os._exit(0)


KINDS = {kind.__name__: kind for kind in (pictures, priors, records, prompts, captions, votes, tables, texts, kills)}


# --- the campaign -----------------------------------------------------------------------------------------------------


def attempt(kind, seed, case):
    """Run one case; what went wrong as a text, or None."""
    rng, folder = random.Random(f"{seed} {kind.__name__} {case}"), Path(tempfile.mkdtemp())
    try:
        with warnings.catch_warnings(), _Patience(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            kind(rng, folder)
    except DislibError as error:
        said = str(error)
        return None if said.strip() and len(said) < 3000 else f"an error that says nothing, or far too much: {said[:200]!r}"
    except (Exception, RecursionError):
        return traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None


class _Patience:
    """Stops what waits for ever, where the system can."""

    def __enter__(self):
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, self._stop)
            signal.alarm(PATIENCE)

    def __exit__(self, *_):
        if hasattr(signal, "SIGALRM"):
            signal.alarm(0)

    def _stop(self, *_):
        raise AssertionError(f"it takes more than {PATIENCE} s")


def campaign(seed, seconds, kinds=tuple(KINDS), cases=None):
    """Cases of all kinds in turn until the time is up, or `cases` of each; yields (kind, case, what went wrong or None)."""
    until, case = time.monotonic() + seconds, 0
    while time.monotonic() < until and case != cases:
        for name in kinds:
            yield name, case, attempt(KINDS[name], seed, case)
        case += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: a new one each second")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default all; repeat for more")
    parser.add_argument("--case", type=int, help="only this one, of one kind")
    given = parser.parse_args()
    kinds, found, done = given.kind or list(KINDS), 0, 0
    if given.case is not None:
        ran = [(kinds[0], given.case, attempt(KINDS[kinds[0]], given.seed, given.case))]
    else:
        ran = campaign(given.seed, 60 * given.minutes, kinds)
    for kind, case, wrong in ran:
        done += 1
        if wrong:
            found += 1
            print(f"python tests/hostile.py --seed {given.seed} --kind {kind} --case {case}\n{for_lines(wrong)}", flush=True)
    print(f"{done} cases with seed {given.seed}, {found} findings")
    return int(found > 0)


def for_lines(wrong):
    return "\n".join(map(for_terminal, wrong.splitlines()))


if __name__ == "__main__":
    sys.exit(main())
