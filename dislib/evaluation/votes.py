"""The blind user study: which of two pictures is closer to a style, or to a prompt; the plan, the votes, their file.

pairs(methods, prompts) --> ballots --(a voter)--> VoteFile --(read_votes, of all voters)--> evaluation.ranking

Importing this module loads no torch.
"""

from __future__ import annotations

import csv
import difflib
import io
import operator
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..errors import DislibError, DislibWarning, check_text, shorten
from ..escaping import for_csv, from_csv
from ..files import check_output_file, locked, make_folder, read_bytes, user_path, write_atomic
from ..images.prompts import MAX_SEED

QUESTIONS = ("style", "prompt")
LEFT, RIGHT, TIE = CHOICES = ("left", "right", "tie")
DELIMITERS = ",;\t"  # spreadsheets of some countries write the other two


class Ballot(NamedTuple):
    """One comparison: two methods' pictures of one prompt and seed, and which question is asked of them."""

    style: str
    question: str
    prompt: str
    left: str
    right: str
    seed: int

    @property
    def key(self):
        """What makes two ballots the same one, whichever picture is on the left."""
        return (
            self.style,
            self.question,
            " ".join(self.prompt.split()),
            frozenset((self.left, self.right)),
            self.seed,
        )


class Vote(NamedTuple):
    """A voter's answer to a ballot; the fields are the columns of the file."""

    voter: str
    question: str
    style: str
    prompt: str
    left: str
    right: str
    seed: int
    choice: str

    @property
    def ballot(self):
        """The Ballot that was answered."""
        return Ballot(self.style, self.question, self.prompt, self.left, self.right, self.seed)

    @property
    def key(self):
        """A voter has one vote on a ballot."""
        return (self.voter, *self.ballot.key)


def answer(ballot: Ballot, choice: str, *, voter: str) -> Vote:
    """The Vote of a voter on a ballot; `choice` is one of `CHOICES`."""
    told = {**ballot._asdict(), "voter": voter.strip(), "choice": choice}
    return Vote(**{name: told[name] for name in Vote._fields})


def select(votes, *, question=None, style=None):
    """The votes on one question, on one style, or both.

    Raises:
        DislibError: there are none.
    """
    found = [v for v in votes if question in (None, v.question) and style in (None, v.style)]
    if not found:
        asked = " and ".join(f"{name} {value!r}" for name, value in (("question", question), ("style", style)) if value)
        raise DislibError(f"there are no votes{' on the ' + asked if asked else ''}; vote first, or read other files")
    return found


# --- the plan ---------------------------------------------------------------------------------------------------


def pairs(
    methods: list[str], prompts: list[str], *, count: int, style: str = "", questions=QUESTIONS, seeds=None,
    seed: int = 0,
) -> list[Ballot]:
    """A plan of blind pairwise ballots, question after question, balanced over methods, pairs, prompts and sides.

    Each question's part is balanced from its start, so a voter who stops early does no harm; no ballot occurs twice.

    Args:
        methods: at least two names.
        prompts: at least one text.
        count: number of ballots, shared evenly by the questions.
        style: what all of it is about.
        questions: one or both of `QUESTIONS`.
        seeds: of the pictures, one a prompt; by default 0.
        seed: another one gives another plan.

    Returns:
        list of Ballot.

    Raises:
        DislibError: too few methods or prompts, an unknown question, or more ballots than there are.
    """
    methods, seeds = list(dict.fromkeys(methods)), list(seeds or [0] * len(prompts))
    _check_plan(methods, prompts, seeds, questions, count)
    rng, plan = np.random.default_rng(seed), []
    for k, question in enumerate(questions):
        share = count // len(questions) + (k < count % len(questions))
        for p, a, b in _balanced(len(methods), len(prompts), share, rng):
            plan.append(Ballot(style, question, prompts[p], methods[a], methods[b], int(seeds[p])))
    return plan


def _check_plan(methods, prompts, seeds, questions, count):
    if len(methods) < 2 or not prompts:
        raise DislibError(f"{len(methods)} methods and {len(prompts)} prompts; a vote needs two methods and a prompt")
    if len(seeds) != len(prompts):
        raise DislibError(f"{len(seeds)} seeds for {len(prompts)} prompts; give one each")
    unknown = [question for question in questions if question not in QUESTIONS]
    if unknown or not questions:
        raise DislibError(f"there is no question {', '.join(unknown) or '(none given)'}; ask {' or '.join(QUESTIONS)}")
    most = len(questions) * len(prompts) * len(methods) * (len(methods) - 1) // 2
    if not len(questions) <= count <= most:
        raise DislibError(f"{count} ballots; choose from {len(questions)} to {most}, which is all there are")


def _balanced(m, n_prompts, count, rng):
    """Yield (prompt, left, right): each time the pair, the prompt and the sides that have had the least so far."""
    first, second = np.triu_indices(m, 1)
    used = np.zeros((len(first), n_prompts))  # of each pair with each prompt
    shown, lead = np.zeros((m, n_prompts)), np.zeros((m, m))  # lead[a, b]: times that a was on b's left
    for _ in range(count):
        times, seen = used.sum(axis=1), shown.sum(axis=1)
        busy = np.maximum(seen[first], seen[second])
        k = np.lexsort((rng.random(len(first)), seen[first] + seen[second], busy, times))[0]
        a, b = first[k], second[k]
        p = np.lexsort((rng.random(n_prompts), shown[a] + shown[b], used.sum(axis=0), used[k]))[0]
        a, b = _sides(a, b, lead, rng)
        used[k, p] += 1
        shown[[a, b], p] += 1
        lead[a, b] += 1
        yield p, a, b


def _sides(a, b, lead, rng):
    """Left goes whoever has been there less, against the other one, then against all."""
    balance = lead.sum(axis=1) - lead.sum(axis=0)
    a_first = (lead[a, b] - lead[b, a], balance[a] - balance[b], rng.random() - 0.5)
    return (a, b) if a_first < (0, 0, 0) else (b, a)


# --- the file ---------------------------------------------------------------------------------------------------


class VoteFile:
    """Votes in a CSV file that spreadsheets open; each is on the disk, whole, before the next one is asked for.

    A class gives each voter a file and merges them by `read_votes`. A file that exists is gone on with.

    Args:
        path: of the file, ending in .csv; it is made at the first vote.
        methods: names that are known; by default those of `training.methods`.

    Raises:
        DislibError: the file is there but cannot be read; see `read_votes`.
        OutputError: nothing can be written there.
    """

    def __init__(self, path, *, methods=None):
        self.path, self.methods = check_output_file(path, suffix=".csv"), known_methods(methods)
        self.votes = self._read()

    def add(self, vote):
        """Keep a vote at once. It is checked as if it were read; a voter's second vote on a ballot changes nothing.

        The file is read anew before, and nobody else writes meanwhile, so votes from elsewhere are kept.
        """
        check_vote(vote, self.methods, "the vote")
        make_folder(self.path.parent)
        with locked(self.path):
            votes = _once([*self._read(), vote])
            write_votes(self.path, votes)
        self.votes = votes

    def of(self, voter):
        """The votes of one voter."""
        return [vote for vote in self.votes if vote.voter == voter]

    def _read(self):
        return _read_file(self.path, self.methods) if self.path.exists() else []


def write_votes(path: str | os.PathLike, votes: Iterable[Vote]) -> None:
    """Write votes as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Vote._fields)
    writer.writerows([for_csv(cell) for cell in vote] for vote in votes)
    write_atomic(path, text.getvalue().encode())


def read_votes(paths, *, methods=None) -> list[Vote]:
    """The votes of one or several files, or of all the .csv files of a folder, each voter once on each ballot.

    Where a voter answered the same ballot twice, the first answer counts; it is said if the two differ.

    Args:
        paths: a file, a folder, or a list of them.
        methods: names that are known; by default those of `training.methods`.

    Raises:
        DislibError: no such file, no text, or a line that is no vote; the file and the line are named.
    """
    paths = paths if isinstance(paths, (list, tuple)) else [paths]
    files, methods = [file for path in paths for file in _files(user_path(path))], known_methods(methods)
    return _once([vote for file in files for vote in _read_file(file, methods)])


def known_methods(methods=None):
    """The names of methods that a vote may hold; by default those of the course."""
    if methods is None:
        from ..training.methods import METHODS as methods  # loads torch
    return tuple(methods)


def check_vote(vote, methods, where):
    """Raise an error that begins with `where` unless the vote can be counted."""
    for name, value, known in (
        ("question", vote.question, QUESTIONS),
        ("choice", vote.choice, CHOICES),
        ("left", vote.left, methods),
        ("right", vote.right, methods),
    ):
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(known)}"
            raise DislibError(f"{where}: the {name} {shorten(value)!r} is unknown; {mend}")
    if vote.left == vote.right:
        raise DislibError(f"{where}: {vote.left!r} is on both sides; correct one of them, or take the line out")
    for name in ("voter", "style", "prompt"):
        text = check_text(getattr(vote, name), name)
        if not text.strip():
            raise DislibError(f"{where}: the {name} is empty; fill it in, or take the line out")
        if control := [c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"]:
            raise DislibError(f"{where}: the {name} {shorten(text)!r} holds the control character {control[0]!r}; retype it")
    _check_seed(vote.seed, where)


def _check_seed(seed, where):
    try:
        right = 0 <= operator.index(seed) <= MAX_SEED
    except TypeError:
        right = False
    if not right:
        raise DislibError(f"{where}: the seed {shorten(seed)!r} is none; seeds are whole numbers from 0 to 2**63 - 1")


def _files(path):
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.glob("*.csv") if not file.name.startswith("."))
    if not found:
        raise DislibError(f"the folder {path} holds no .csv file of votes; name another folder")
    return found


def _once(votes):
    """Each voter's first vote on each ballot."""
    kept, differ = {}, []
    for vote in votes:
        first = kept.setdefault(vote.key, vote)
        if _chosen(first) != _chosen(vote):
            differ.append(vote.voter)
    if differ:
        names = ", ".join(shorten(name, 30) for name in sorted(set(differ)))
        warnings.warn(
            f"{len(differ)} ballots were answered twice, and differently, by {names}: the first answers count; if these"
            " are two people of one name, give them two names in their files",
            DislibWarning,
            stacklevel=3,
        )
    return list(kept.values())


def _chosen(vote):
    """The name of the method that won, or "tie"; sides may have been swapped."""
    return {LEFT: vote.left, RIGHT: vote.right}.get(vote.choice, TIE)


def _read_file(path, methods):
    rows = _records(path, _text(path))
    try:
        _, header = next(rows)
    except StopIteration:
        raise DislibError(f"{path} is empty; delete it, or write {','.join(Vote._fields)} in its first line") from None
    names = _columns(path, header)
    return [_vote(dict(zip(names, row)), methods, f"{path}, line {line}") for line, row in _checked(path, rows, names)]


def _text(path):
    try:
        data = read_bytes(path)
    except OSError as error:
        raise DislibError(f"cannot read the votes {path} ({shorten(error)})") from error
    if data[:4] == b"PK\x03\x04":
        raise DislibError(f"{path} is a spreadsheet, not CSV; save it as 'CSV UTF-8' and read that file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DislibError(f"{path}, line {line}: this is not UTF-8 text; save the file as 'CSV UTF-8'") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DislibError(f"{path}, line {line}: this is not text; save the file as 'CSV UTF-8'")
    return text


def _records(path, text):
    """Yield (number of the first line, list of fields) of every record that is not blank."""
    head = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=head.count), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = f"{error}; a text with commas or quotation marks stands in quotes, those inside doubled"
            raise DislibError(f"{path}, line {line}: {why}") from error
        if any(field.strip() for field in row):
            yield line, [from_csv(field.strip()) for field in row]


def _columns(path, header):
    """The names in the first line, in any order."""
    names = [name.lower() for name in header]
    missing, strange = [n for n in Vote._fields if n not in names], [n for n in names if n not in Vote._fields]
    expected = f"the first line has to be {','.join(Vote._fields)}"
    if missing:
        found = shorten(", ".join(names))
        raise DislibError(f"{path}, line 1: there is no column {', '.join(missing)}, only {found}; {expected}")
    if strange or len(set(names)) < len(names):
        raise DislibError(f"{path}, line 1: take out the column {shorten(', '.join(strange) or 'twice')}; {expected}")
    return names


def _checked(path, rows, names):
    for line, row in rows:
        if len(row) != len(names):
            raise DislibError(
                f"{path}, line {line}: {len(row)} fields, but the first line names {len(names)}; a text with commas"
                f" stands in quotes; see {shorten(','.join(row))!r}"
            )
        yield line, row


def _vote(fields, methods, where):
    """A checked Vote of a line's fields; `where` begins the error message."""
    if not re.fullmatch("[0-9]{1,19}", fields["seed"]):
        raise DislibError(
            f"{where}: the seed {shorten(fields['seed'])!r} is no whole number; write one, such as 0, or delete the line"
            " if it is a second header"
        )
    for name in ("question", "choice"):
        fields[name] = fields[name].lower()
    vote = Vote(**{**fields, "seed": int(fields["seed"])})
    check_vote(vote, methods, where)
    return vote
