"""Votes: the plan's balance, the file that is written at once, and what a hand can do to it."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT

from dislib import files
from dislib.errors import DislibError, DislibWarning, OutputError
from dislib.evaluation.votes import (
    QUESTIONS,
    Ballot,
    Vote,
    VoteFile,
    answer,
    known_methods,
    pairs,
    read_votes,
    select,
    write_votes,
)
from dislib.training.methods import METHODS

NAMES = ["base", "plain", "style", "lora", "leak"]
PROMPTS = ["a red house", "two blue cats", "a boat, at night"]
HEAD = "voter,question,style,prompt,left,right,seed,choice\n"
LINE = "Ann,style,sketch,a red house,base,style,3,right\n"


def vote(voter="Ann", left="base", right="style", choice="right", **changes):
    ballot = Ballot("sketch", "style", "a red house", left, right, 3)._replace(**changes)
    return answer(ballot, choice, voter=voter)


def written(folder, text, name="a.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- the plan ---------------------------------------------------------------------------------------------------------


def spread(counts):
    return max(counts.values()) - min(counts.values())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [10, 20, 30])
def test_a_plan_is_balanced_over_methods_pairs_prompts_and_sides(seed, count):
    for question in QUESTIONS:
        plan = pairs(NAMES, PROMPTS, count=2 * count, style="sketch", seed=seed)
        plan = [ballot for ballot in plan if ballot.question == question]
        pair = Counter(frozenset((b.left, b.right)) for b in plan)
        assert len(plan) == count
        assert spread(pair) <= 1 and len(pair) == 10
        assert spread(Counter(b.left for b in plan) + Counter(b.right for b in plan)) <= 2
        assert spread(Counter(b.prompt for b in plan)) <= 2
        left, right = (Counter(getattr(b, side) for b in plan) for side in ("left", "right"))
        assert all(abs(left[name] - right[name]) <= 2 for name in NAMES)


def test_a_plan_is_seeded_and_repeats_no_ballot():
    make = lambda seed: pairs(NAMES, PROMPTS, count=60, seed=seed, seeds=[7, 8, 9])
    plan = make(1)
    assert plan == make(1) and plan != make(2)
    assert len({ballot.key for ballot in plan}) == 60
    assert {(b.prompt, b.seed) for b in plan} == set(zip(PROMPTS, [7, 8, 9]))
    assert [b.question for b in plan] == ["style"] * 30 + ["prompt"] * 30


def test_a_voter_who_stops_early_has_seen_all_methods():
    plan = pairs(NAMES, PROMPTS, count=60, seed=4)[:8]
    assert spread(Counter(b.left for b in plan) + Counter(b.right for b in plan)) <= 2


@pytest.mark.parametrize(
    "methods, prompts, options, words",
    [
        (["base"], PROMPTS, {}, "1 methods and 3 prompts; a vote needs two"),
        (NAMES, [], {}, "5 methods and 0 prompts"),
        (NAMES, PROMPTS, {"seeds": [1]}, "1 seeds for 3 prompts"),
        (NAMES, PROMPTS, {"questions": ("beauty",)}, "no question beauty; ask style or prompt"),
        (NAMES, PROMPTS, {"count": 61}, "61 ballots; choose from 2 to 60"),
        (NAMES, PROMPTS, {"count": 0}, "0 ballots; choose from 2 to 60"),
    ],
)
def test_a_plan_that_cannot_be_made(methods, prompts, options, words):
    with pytest.raises(DislibError, match=words):
        pairs(methods, prompts, **{"count": 10, **options})


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_vote_is_on_the_disk_at_once_and_reads_well(tmp_path):
    path = tmp_path / "votes" / "ann.csv"
    file = VoteFile(path)
    file.add(vote())
    assert path.read_text(encoding="utf-8") == HEAD + LINE
    file.add(vote(prompt='a "boat", at\nnight', choice="tie"))
    assert VoteFile(path).votes == file.votes == read_votes(path)
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".lock"] == ["ann.csv"]


def test_a_failed_write_keeps_the_votes_before(tmp_path, monkeypatch):
    file = VoteFile(tmp_path / "a.csv")
    file.add(vote())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        file.add(vote(left="plain"))
    assert len(file.votes) == 1 == len(read_votes(file.path))


def test_votes_from_elsewhere_are_kept(tmp_path):
    one, other = VoteFile(tmp_path / "a.csv"), VoteFile(tmp_path / "a.csv")
    one.add(vote())
    other.add(vote("Bo"))
    assert [v.voter for v in read_votes(one.path)] == ["Ann", "Bo"] and other.of("Bo") == other.votes[1:]


def test_files_are_merged_and_duplicates_dropped(tmp_path):
    write_votes(tmp_path / "a.csv", [vote(), vote("Bo")])
    write_votes(tmp_path / "b.csv", [vote(left="style", right="base", choice="left"), vote(seed=4)])
    found = read_votes([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert found == read_votes(tmp_path) == [vote(), vote("Bo"), vote(seed=4)]


def test_two_answers_to_one_ballot_are_said(tmp_path):
    write_votes(tmp_path / "a.csv", [vote(), vote(choice="left")])
    with pytest.warns(DislibWarning, match="1 ballots were answered twice, and differently, by Ann: the first"):
        assert read_votes(tmp_path) == [vote()]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_write_is_read(tmp_path, delimiter):
    text = ("﻿" + HEAD + LINE + "\n").replace(",", delimiter).replace("\n", "\r\n")
    assert read_votes(written(tmp_path, text)) == [vote()]


def test_columns_in_any_order_and_capitals(tmp_path):
    names = list(reversed(Vote._fields))
    text = ",".join(names).title() + "\n" + ",".join(str(v) for v in reversed(vote())).replace("right", "Right") + "\n"
    assert read_votes(written(tmp_path, text)) == [vote()]


def edited(old, new):
    return HEAD + LINE + LINE.replace("Ann", "Bo").replace(old, new)


@pytest.mark.parametrize(
    "text, words",
    [
        (edited("base,style", "base,styel"), "line 3: the right 'styel' is unknown; did you mean 'style'?"),
        (edited("base,style", "xxx,style"), "line 3: the left 'xxx' is unknown; write one of base, prompt"),
        (edited(",style,sketch", ",beauty,sketch"), "line 3: the question 'beauty' is unknown; write one of style, pr"),
        (edited(",right", ",rigth"), "line 3: the choice 'rigth' is unknown; did you mean 'right'"),
        (edited("base,style", "style,style"), "line 3: 'style' is on both sides; correct one of them"),
        (edited("Bo", " "), "line 3: the voter is empty; fill it in"),
        (edited(",3,", ",3.5,"), "line 3: the seed '3.5' is no whole number"),
        (edited(",3,", "," + "3" * 5000 + ","), "line 3: the seed '33.*' is no whole number"),
        (HEAD + LINE + HEAD + LINE, "line 3: the seed 'seed' is .* delete the line if it is a second header"),
        (edited("a red house", "a, red house"), "line 3: 9 fields, but the first line names 8; a text with commas"),
        (edited(",right", ""), "line 3: 7 fields"),
        (edited("a red house", '"a red house'), "line 3: unexpected end of data; a text with commas or quotation"),
        (edited("a red house", '"a "red" house"'), "line 3: .*; a text with commas"),
        (HEAD.replace(",choice", "") + LINE, "line 1: there is no column choice, only voter"),
        (HEAD.replace("choice", "choice,note") + LINE, "line 1: take out the column note; the first line has to be v"),
        (HEAD.replace("choice", "choice,seed") + LINE, "line 1: take out the column twice"),
        ("", "a.csv is empty; delete it, or write voter,question"),
        ("\n\n", "a.csv is empty"),
        (HEAD.encode() + LINE.replace("Ann", "Zoë").encode("cp1252"), "line 2: this is not UTF-8 text; save the file"),
        ((HEAD + LINE).encode("utf-16"), "line 1: this is not UTF-8 text"),
        ((HEAD + LINE).encode("utf-16-le"), "line 1: this is not text; save the file"),
        (b"PK\x03\x04rest", "is a spreadsheet, not CSV; save it as 'CSV UTF-8'"),
    ],
)
def test_a_file_edited_by_hand_is_told_by_name_and_line(tmp_path, text, words):
    path = written(tmp_path, text)
    for read in (read_votes, VoteFile):
        with pytest.raises(DislibError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DislibError, match="cannot read the votes .*none.csv"):
        read_votes(tmp_path / "none.csv")
    with pytest.raises(DislibError, match="holds no .csv file of votes"):
        read_votes(tmp_path)
    with pytest.raises(OutputError, match="should end in .csv"):
        VoteFile(tmp_path / "a.txt")


def test_a_vote_that_could_not_be_read_again_is_not_written(tmp_path):
    file = VoteFile(tmp_path / "a.csv", methods=["base", "mine"])
    file.add(vote(right="mine"))
    for wrong in (vote(), vote(right="mine", choice="both"), vote(" ", right="mine"), vote(right="base")):
        with pytest.raises(DislibError, match="^the vote: "):
            file.add(wrong)
    assert len(file.votes) == 1


def test_select_and_known_methods():
    votes = [vote(), vote(question="prompt"), vote(style="comic")]
    assert select(votes, question="style", style="sketch") == votes[:1] and select(votes) == votes
    with pytest.raises(DislibError, match="no votes on the question 'style' and style 'neon'"):
        select(votes, question="style", style="neon")
    assert known_methods() == tuple(METHODS) and known_methods(["a"]) == ("a",)


def test_reading_votes_needs_no_torch():
    code = "import sys, dislib.evaluation.votes, dislib.evaluation.ranking; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_random_bytes_never_crash_the_reader(tmp_path):
    rng = np.random.default_rng(0)
    whole = (HEAD + LINE * 3).encode()
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=rng.integers(1, 6)):
            data[at] = rng.integers(256)
        try:
            read_votes(written(tmp_path, bytes(data)))
        except DislibError as error:
            assert "a.csv" in str(error)
