"""What users' hands do to files and calls, a table for each kind: it is used, told or refused by name, never lost."""

import csv
import errno
import io
import json
import multiprocessing
import os
import signal
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from helpers import image_folder, images, save_pipeline
from PIL import Image
from small_judge import save_judge
from test_votes import vote

from dislib import files
from dislib.cli import evaluate
from dislib.cli.gallery import Gallery
from dislib.errors import DislibError, DislibWarning, ModelError, OutputError, PromptError
from dislib.escaping import for_csv, for_html, for_markdown, for_terminal, from_csv
from dislib.evaluation.judge import clip_scores, load_judge
from dislib.evaluation.learning import read_learning
from dislib.evaluation.metrics import check_features, mmd
from dislib.evaluation.ranking import bradley_terry, fit, win_table
from dislib.evaluation.sweep_folder import Plan, SweepFolder, read_settings
from dislib.evaluation.table import Row, check_results_place, read_results, write_results
from dislib.evaluation.votes import VoteFile, read_votes
from dislib.figures.curves import picture_sheet
from dislib.images.captions import captions_of, without
from dislib.images.prompts import read_captions, read_prompts
from dislib.images.sheets import read_sheet
from dislib.loading import load_pipeline
from dislib.training import checkpoints, result

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")


# --- captions ---------------------------------------------------------------------------------------------------------

WHOLE, APART = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))


def captioned(folder, *lines, names=("p0.png", "p1.png")):
    """Pictures of these names in a folder with these lines of captions."""
    image_folder(folder, 1)
    (picture,) = folder.iterdir()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture.read_bytes())
    picture.unlink()
    if lines:
        told = [line if isinstance(line, str) else json.dumps({"file_name": line[0], "text": line[1]}) for line in lines]
        (folder / "metadata.jsonl").write_text("\n".join(told))
    return folder


@pytest.mark.parametrize("name, told", [("p0.png", "./p0.png"), ("p0.png", ".//p0.png"), (WHOLE, APART), (APART, WHOLE)])
def test_another_way_to_write_a_name_is_the_same_file(tmp_path, name, told):
    folder = captioned(tmp_path / "a", (told, "a house"), names=[name])
    assert read_captions(folder) == {name: "a house"} and captions_of([folder / name]) == ["a house"]


@pytest.mark.parametrize(
    "lines, named",
    [
        ([("p0.png", "a"), ("p1.png", "b"), ("sub/p2.png", "c")], "sub/p2.png"),
        ([("p0.png", "a"), ("p1.png", "b"), ("p0.png", "c")], "p0.png"),
        ([("p0.png", "a"), ("p1.png", "b"), ("./p0.png", "c")], "p0.png"),
        ([("p0.png", "a"), ("p1.png", "b"), ("p3.png", "c")], "p3.png"),
        ([("p0.png", "a")], "p1.png"),
        ([("p0.png", "a"), '{"file_name": "p1.png", "text": "\\ud800"}'], "line 2"),
        ([("p0.png", "a"), '{"file_name": "\\ud800.png", "text": "a"}'], "line 2"),
        ([("p0.png", "a"), "[" * 100_000], "line 2"),
        ([], "--caption names"),
    ],
)
def test_captions_that_cannot_all_be_used_are_refused(tmp_path, lines, named):
    names = ["p0.png", "p1.png", "sub/p2.png"]
    folder = captioned(tmp_path / "a", *lines, names=names)
    with pytest.raises(PromptError) as error:
        captions_of([folder / name for name in names[:2]])
    assert named in str(error.value)


def test_a_text_beside_a_picture_is_its_caption(tmp_path):
    folder = captioned(tmp_path / "a")
    pair = [folder / "p0.png", folder / "p1.png"]
    (folder / "p0.txt").write_bytes("\ufeffa red\r\nhouse\r\n".encode())
    with pytest.raises(PromptError) as error:
        captions_of(pair)
    assert "p1.png" in str(error.value)
    (folder / "p1.txt").write_text("a dog")
    assert captions_of(pair) == ["a red house", "a dog"]
    (folder / "metadata.jsonl").write_text('{"file_name": "p1.png", "text": "a cat"}')
    assert captions_of(pair) == ["a red house", "a cat"]


def test_captions_of_another_format_name_those_that_are_read(tmp_path):
    folder = captioned(tmp_path / "a")
    (folder / "metadata.csv").write_text("file_name,text\np0.png,a\np1.png,b\n")
    with pytest.raises(PromptError) as error:
        captions_of([folder / "p0.png"])
    assert all(name in str(error.value) for name in ("metadata.csv", "metadata.jsonl", ".txt", "--caption names"))


@pytest.mark.parametrize(
    "text, words, left",
    [
        ("a drawing of a house by the lake", [""], "a drawing of a house by the lake"),
        ("a C++ drawing of a house", ["C++"], "drawing of a house"),
        ("a house (sketch)", ["(sketch)"], "a house"),
        ("a house(sketch) at night", ["(sketch)"], "a house at night"),
        ("a sketchy house in sketch style", ["sketch"], "a sketchy house"),
        ("in the Sketch  style, a house", ["sketch style"], "a house"),
        (unicodedata.normalize("NFD", "a café scene"), ["café"], "scene"),
        ("a red house, comic book style", ["comic book", "comic"], "a red house"),
        ("C++ and C", ["C"], "C++ and C"),
    ],
)
def test_words_are_left_out_and_no_others(text, words, left):
    if text == "C++ and C":  # a letter is a word
        left = "++ and"
    assert without(text, words) == left


def test_words_that_leave_nothing_out_are_told(tmp_path):
    folder = captioned(tmp_path / "a", ("p0.png", "a house"), names=["p0.png"])
    with pytest.warns(DislibWarning, match="'comic'"):
        assert captions_of([folder / "p0.png"], leave_out=["comic"]) == ["a house"]
    for nothing in ([""], [" "], "comic"):
        with pytest.raises(PromptError):
            captions_of([folder / "p0.png"], leave_out=nothing)


# --- numbers ----------------------------------------------------------------------------------------------------------

FEATURES = np.random.default_rng(0).normal(size=(6, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda: mmd(FEATURES, FEATURES, sigma=0),
        lambda: mmd(FEATURES, FEATURES, sigma=-1),
        lambda: mmd(FEATURES, FEATURES, sigma=float("nan")),
        lambda: mmd(FEATURES + 1j, FEATURES),
        lambda: check_features(FEATURES.astype(str), "x"),
        lambda: clip_scores(FEATURES + 1j, ["a"] * 6, None),
        lambda: clip_scores(np.full((6, 4), np.nan), ["a"] * 6, None),
        lambda: bradley_terry([vote(), vote("Bo")], prior=float("nan")),
        lambda: bradley_terry([vote(), vote("Bo")], prior=float("inf")),
        lambda: bradley_terry([vote(), vote("Bo")], prior=-1),
        lambda: bradley_terry([vote(), vote("Bo")], prior=1e-300),
    ],
)
def test_numbers_that_would_give_nan_are_refused(call):
    with pytest.raises(DislibError):
        call()


@pytest.mark.parametrize("times", [1, 10, 300, 10_000])
@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_a_one_sided_table_is_solved(times, prior):
    """Four methods, the earlier always ahead: at the maximum the likelihood has no slope."""
    wins = times * np.triu(np.ones((4, 4)), 1)
    s = fit(wins, prior=prior)
    won = 1 / (1 + np.exp(s[None] - s[:, None]))
    middle = sum(s) / 4
    assert middle == pytest.approx(0, abs=1e-9)
    slope = (wins * won.T - wins.T * won).sum(axis=1) + prior * (1 - 2 / (1 + np.exp(-s)))
    np.testing.assert_allclose(slope, 0, atol=1e-7 * times)


def test_two_methods_are_where_bisection_finds_them():
    _, table = win_table([vote()] * 300)
    wins = table.sum(axis=0)
    low, high = 0.0, 50.0
    for _ in range(200):
        x = (low + high) / 2
        slope = 300 / (1 + np.exp(2 * x)) + 0.5 * (1 - 2 / (1 + np.exp(-x)))
        low, high = (x, high) if slope > 0 else (low, x)
    assert fit(wins, prior=0.5).max() == pytest.approx(x, abs=1e-9)


# --- what is a stranger's ---------------------------------------------------------------------------------------------

OURS = ",".join(Row._fields) + "\n"


@pytest.mark.parametrize(
    "name, text, begun, free",
    [
        ("results.csv", OURS, True, True),
        ("results.csv", "a,b\n1,2\n", True, False),
        ("results.csv", OURS, False, False),
        ("results.csv", "\udcff", True, False),
        ("fid-comic.png", "", False, False),
        ("curve-comic.png", "", False, False),
        ("curve-comic.png", "", True, True),
        ("pictures.png", "", False, False),
        ("thesis.csv", "a", False, True),
    ],
)
def test_evaluate_writes_over_nothing_of_a_strangers(tmp_path, name, text, begun, free):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    if free:
        return check_results_place(tmp_path, begun=begun)
    with pytest.raises(OutputError) as error:
        check_results_place(tmp_path, begun=begun)
    assert name in str(error.value)


def test_evaluate_looks_before_it_works(tmp_path, capsys):
    from dislib.cli.main import main

    (tmp_path / "results.csv").write_text("mine\n")
    assert main(["evaluate", "--style", "sketch", "--out", str(tmp_path)]) == 1
    assert "results.csv" in capsys.readouterr().err and os.listdir(tmp_path) == ["results.csv"]


# --- two writers ------------------------------------------------------------------------------------------------------

FORK = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs forks")


def _vote_often(path, voter, seeds):
    file = VoteFile(path, methods=["base", "style"])
    for seed in seeds:
        file.add(vote(voter, seed=seed))


def _write_often(path, byte):
    for _ in range(200):
        files.write_atomic(path, byte * 5000)


def both(work, *calls):
    processes = [multiprocessing.get_context("fork").Process(target=work, args=call) for call in calls]
    for process in processes:
        process.start()
    return processes


@FORK
def test_two_voters_at_once_lose_no_vote(tmp_path):
    path = tmp_path / "a.csv"
    for process in both(_vote_often, (path, "Ann", range(30)), (path, "Bo", range(30)), (path, "Cy", range(30))):
        process.join()
        assert process.exitcode == 0
    assert len(read_votes(path, methods=["base", "style"])) == 90


@FORK
def test_of_two_writers_each_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.bin"
    files.write_atomic(path, b"0" * 5000)
    writers = both(_write_often, (path, b"1"), (path, b"2"))
    while any(writer.is_alive() for writer in writers):
        data = path.read_bytes()
        assert len(data) == 5000 and len(set(data)) == 1
        files.sweep_partials(tmp_path)
    assert [writer.exitcode for writer in writers] == [0, 0] and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(files.fcntl is None, reason="no locks of this kind here")
def test_a_disk_without_locks_is_written_to_and_not_swept(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unknown)
    files.write_atomic(tmp_path / "a.bin", b"new")
    (tmp_path / ".b.bin.0123abcd.partial").write_bytes(b"x")
    files.sweep_partials(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".b.bin.0123abcd.partial", "a.bin"]


def test_what_a_kill_left_is_swept_and_nothing_else(tmp_path):
    strays = [".a.png.0123abcd.partial", ".b.json.ffffffff.partial"]
    others = [".partial", ".mine.partial", "a.png.0123abcd.partial", ".a.png.0123abcd.partial.png"]
    for name in (*strays, *others):
        (tmp_path / name).write_bytes(b"x")
    files.sweep_partials(tmp_path, "a.png")
    assert sorted(os.listdir(tmp_path)) == sorted([strays[1], *others])
    files.sweep_partials(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_lock_that_is_held_is_told(tmp_path):
    with files.locked(tmp_path / "a.csv"), pytest.raises(OutputError) as error, files.locked(tmp_path / "a.csv", seconds=0):
        pass
    assert "a.csv" in str(error.value)


# --- votes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"voter": "A\rnn"}, "voter"),
        ({"voter": "A\0nn"}, "voter"),
        ({"voter": "A\x1b[31m"}, "voter"),
        ({"voter": "\ud800"}, "voter"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"style": "a\x07"}, "style"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_a_vote_that_cannot_be_read_back_is_not_taken(tmp_path, changes, named):
    file = VoteFile(tmp_path / "a.csv")
    file.add(vote())
    with pytest.raises(DislibError) as error:
        file.add(vote()._replace(**changes))
    assert named in str(error.value) and len(read_votes(file.path)) == 1


@pytest.mark.parametrize(
    "text", ["=1+1", "-Ann", "+1", "@x", "'=1", "'quoted", "a,b", 'a "b"', "a;b", "línea\nnueva", "＝1", "a\tb", "#", "a\u2028b"]
)
def test_what_a_vote_file_takes_it_reads_back(tmp_path, text):
    file = VoteFile(tmp_path / "a.csv")
    file.add(vote(text, prompt=text, style=text))
    assert read_votes(file.path) == [vote(text, prompt=text, style=text)] == VoteFile(file.path).votes


# --- a user's text on its way out -------------------------------------------------------------------------------------

NASTY = ["<img src=x onerror=alert(1)>", "a & b", '"quoted"', "=HYPERLINK(1)", "\x1b[31mred", "[a](http://b)", "\ud800"]


@pytest.mark.parametrize("text", NASTY)
def test_each_way_out_has_one_function(text):
    assert not set("<>\"'") & set(for_html(text).replace("&lt;", ""))
    assert "\x1b" not in for_terminal(text) and "\n" not in for_terminal(text + "\n")
    assert "<" not in for_markdown(text) and "[a](" not in for_markdown(text)
    assert from_csv(for_csv(text)) == text
    assert (for_csv(text) != text) == (text[0] == "=")


def test_nothing_else_escapes():
    """Whoever writes HTML, CSV or to a terminal goes through `escaping`."""
    package = Path(files.__file__).parent
    found = {str(p.relative_to(package)): p.read_text(encoding="utf-8") for p in package.rglob("*.py")}
    assert [name for name, text in found.items() if "html.escape(" in text] == ["escaping.py"]
    writers = [name for name, text in found.items() if "csv.writer(" in text]
    assert writers and all("for_csv(" in found[name] for name in writers)


@pytest.mark.parametrize("text", ["=cmd", "<b>", "a,b", "'=x"])
def test_a_table_is_safe_in_a_spreadsheet_and_reads_back(tmp_path, text):
    rows = [Row(text, text, 1.0, "fid", 1.0, 0.5, 2.0, 3)]
    write_results(tmp_path / "r.csv", rows)
    assert read_results(tmp_path / "r.csv") == rows
    cells = list(csv.reader(io.StringIO((tmp_path / "r.csv").read_text())))[1]
    assert not cells[0].startswith("=")


def _texts(widget):
    import ipywidgets as widgets

    if isinstance(widget, widgets.HTML):
        yield widget.value
    for child in getattr(widget, "children", ()):
        yield from _texts(child)


def test_a_styles_name_is_text_in_the_mixer():
    from helpers import shared_pipeline

    from dislib.core.prior import StylePrior
    from dislib.widgets import StyleMixer

    pipe, evil = shared_pipeline(), "<img src=x onerror=alert(1)>"
    priors = {name: StylePrior.from_images(pipe, images(3, seed=i)) for i, name in enumerate((evil, "b"))}
    panel = StyleMixer(pipe, priors, "a", pause=0)
    assert any("&lt;img" in text for text in _texts(panel.ui)) and not any("<img" in text for text in _texts(panel.ui))


@pytest.mark.parametrize(
    "arguments",
    [
        ["prior", "--images", "\x1b[31mred", "--out", "a.safetensors"],
        ["evaluate", "--style", "a", "--out", "b", "\x1b[31m"],
        ["\x1b[31m"],
    ],
)
def test_no_colour_code_reaches_the_terminal(arguments, capsys):
    from dislib.cli.main import main

    try:
        main(arguments)
    except SystemExit:
        pass
    said = capsys.readouterr()
    assert "\\x1b" in said.err and "\x1b" not in said.out + said.err


# --- files that a hand has edited -------------------------------------------------------------------------------------

DEEP, LONG = "[" * 100_000, "1" * 401
HANDS = [b"", b"null", b"3", b"[]", b'"a"', b'{"a": 1', b'{"guidance": NaN}', b"\xff\xfe", b"1" * 5000]
HANDS += [DEEP.encode(), LONG.encode()]


@pytest.mark.parametrize("data", HANDS)
def test_a_sweeps_settings_edited_by_hand(tmp_path, data):
    (tmp_path / "settings.json").write_bytes(data)
    for read in (SweepFolder.open, picture_sheet):
        with pytest.raises(DislibError) as error:
            read(tmp_path)
        assert "settings.json" in str(error.value)


@pytest.mark.parametrize(
    "key, value",
    [("prompts", "a"), ("prompts", [1]), ("prompts", None), ("images_per_prompt", True), ("images_per_prompt", 10**400),
     ("batch_size", 0), ("seed", -1), ("seed", "0"), ("method", 3), ("style", [])],
)  # fmt: skip
def test_a_sweeps_settings_of_another_type(tmp_path, key, value):
    settings = {"prompts": ["a"], "images_per_prompt": 1, "seed": 0, "batch_size": 1, "method": "m", "style": "s"}
    (tmp_path / "settings.json").write_text(json.dumps({**settings, key: value}))
    with pytest.raises(DislibError) as error:
        SweepFolder.open(tmp_path)
    assert "settings.json" in str(error.value)


@pytest.mark.parametrize("data", [*HANDS, *(f'{{"guidance": {v}}}'.encode() for v in (LONG, '"3"', "true", "[]", "-1", "1e999"))])
def test_a_record_of_pictures_edited_by_hand(tmp_path, data):
    (tmp_path / "generate.json").write_bytes(data)
    with pytest.raises(DislibError) as error:
        evaluate._read_record(tmp_path)
    assert "generate.json" in str(error.value)
    with pytest.raises(OutputError) as error:
        Gallery(tmp_path, {"prompts": ["a"], "batch_size": 1}, 1).resume()
    assert "generate.json" in str(error.value)


def _small_sweep(folder):
    plan = Plan(("a", "b"), 1, 0, 1)
    store = SweepFolder(folder, plan.settings(), plan, labels={"method": "m", "style": "s"})
    store.begin()
    for row, image in enumerate(images(2, size=32)):
        store.show(3.0, row, image)
    return store


def test_a_readers_own_files_in_a_sweeps_folder(tmp_path):
    store = _small_sweep(tmp_path)
    (tmp_path / "features" / "w1.2.3").mkdir(parents=True)
    for name in ("w3 copy", "w", "w03", "wx", "w1e9e9"):
        (tmp_path / "pictures" / name).mkdir()
    for name in ("holiday.png", "99999.png", "00001 (1).png", "٠٠٠٠٠.png"):
        images(1, size=32)[0].save(tmp_path / "pictures" / "w3" / name)
    assert store.weights() == [] and "2 rows" in (alt := picture_sheet(tmp_path).alt) or alt
    (tmp_path / "pictures" / "w3" / "00000.png").write_bytes(b"broken")
    with pytest.raises(DislibError) as error:
        picture_sheet(tmp_path)
    assert "00000.png" in str(error.value)


# --- a named pipe in the place of any file ----------------------------------------------------------------------------

PIPES = {
    "metadata.jsonl": lambda f: read_captions(f),
    "a.txt": lambda f: read_prompts(f / "a.txt"),
    "votes.csv": lambda f: read_votes(f / "votes.csv", methods=["a", "b"]),
    "results.csv": lambda f: read_results(f / "results.csv"),
    "learning.csv": lambda f: read_learning(f / "learning.csv"),
    "settings.json": lambda f: read_settings(f),
    "generate.json": lambda f: evaluate._read_record(f),
    "sheet.json": lambda f: read_sheet(f / "sheet.webp"),
    "model_index.json": lambda f: load_pipeline(f),
    "training.json": lambda f: result.read(f),
    "state.safetensors": lambda f: checkpoints.load(f),
    files.CHECKSUMS: lambda f: files.check_checksums(f),
}


@pytest.fixture
def patience():
    """Whatever opens a named pipe waits for ever: stop it after a minute."""

    def stop(*_):
        raise AssertionError("it waits for ever")  # `pytest.fail` would be no Exception, and is here

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(name, tmp_path, patience):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DislibError) as error:
        PIPES[name](tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("part", ["unet/config.json", "unet/*.safetensors", "tokenizer/vocab.json", "scheduler/*.json"])
def test_a_pipe_in_a_models_folder_does_not_hang(part, tmp_path, patience):
    (path,) = list(save_pipeline(tmp_path / "model").glob(part))[:1] or [tmp_path / "model" / part.replace("*", "x")]
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ModelError):
        load_pipeline(tmp_path / "model")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_pipe_in_a_judges_folder_does_not_hang(name, tmp_path, patience):
    save_judge(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelError):
        load_judge(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_among_pictures_and_captions(tmp_path, patience):
    folder = captioned(tmp_path / "a", names=["p0.png"])
    os.mkfifo(folder / "p0.txt")
    with pytest.raises(PromptError) as error:
        captions_of([folder / "p0.png"])
    assert "p0.txt" in str(error.value)
    assert isinstance(Image.open(folder / "p0.png"), Image.Image)
