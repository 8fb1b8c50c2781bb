"""`kill -9` and full disks at every moment: nothing is half written, and the same command again makes the same files."""

import os
from pathlib import Path

import pytest
from helpers import image_folder, save_pipeline
from PIL import Image
from sabotage import Saboteur
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system where a process can fork")


@pytest.fixture(scope="module")
def saboteur(tmp_path_factory):
    saboteur = Saboteur(save_pipeline(tmp_path_factory.mktemp("sabotage") / "small-sd"))
    yield saboteur
    saboteur.close()


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("style") / "style", 3)


def generate(out):
    """Two batches of two; the long prompt makes the record larger than any picture."""
    return [
        "generate",
        "--prompt",
        "a b",
        "--prompt",
        "c " * 10_000,
        "--seeds",
        "0-1",
        "--batch-size",
        "2",
        "--steps",
        "1",
        "--out",
        out,
    ]


def prior(style, out):
    return ["prior", "--images", style, "--out", out]


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def check_whole(folder):
    """Every file under a final name is whole."""
    for path in Path(folder).glob("[!.]*.png"):
        Image.open(path).load()
    for path in Path(folder).glob("[!.]*.safetensors"):
        load_file(path)


@pytest.fixture(scope="module")
def undisturbed(saboteur, style, tmp_path_factory):
    """What both commands make when nothing happens, and how many moments of danger they have."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = saboteur.run(generate(folder / "out"))
    assert made["code"] == 0, made["said"]
    assert sorted(files(folder / "out")) == ["00000.png", "00001.png", "00002.png", "00003.png", "generate.json"]
    computed = saboteur.run(prior(style, folder / "p.safetensors"))
    assert computed["code"] == 0, computed["said"]
    return files(folder / "out"), (folder / "p.safetensors").read_bytes(), made["moments"], computed["moments"]


def test_generate_killed_at_every_moment(saboteur, undisturbed, tmp_path):
    expected, _, moments, _ = undisturbed
    assert moments >= 3 * 6  # six files: each written, flushed, renamed
    half_written = False
    for moment in range(moments):
        out = tmp_path / str(moment)
        assert saboteur.run(generate(out), kill_at=moment)["code"] == -9
        if out.exists():
            check_whole(out)
            assert all(data == expected[name] for name, data in files(out).items() if name in expected)
            half_written |= any(".png." in name and name.endswith(".partial") for name in files(out))
        again = saboteur.run(generate(out))
        assert again["code"] == 0, (moment, again["said"])
        assert files(out) == expected, f"killed at moment {moment}"
    assert half_written  # or the kills came at moments that do not matter


def test_prior_killed_at_every_moment(saboteur, style, undisturbed, tmp_path):
    _, expected, _, moments = undisturbed
    for moment in range(moments):
        out = tmp_path / str(moment)
        out.mkdir()
        assert saboteur.run(prior(style, out / "p.safetensors"), kill_at=moment)["code"] == -9
        check_whole(out)
        again = saboteur.run(prior(style, out / "p.safetensors"))
        assert again["code"] == 0, (moment, again["said"])
        assert files(out) == {"p.safetensors": expected}


@pytest.mark.parametrize(
    "what, most_bytes", [("generate.unfinished.json", 1000), ("00000.png", 30_000), ("generate.json", 44_000)]
)
def test_generate_where_a_file_stops_growing(saboteur, undisturbed, tmp_path, what, most_bytes):
    """A real write that ends in the middle, at the settings, at a picture and at the record."""
    out, expected = tmp_path / "out", undisturbed[0]
    failed = saboteur.run(generate(out), most_bytes=most_bytes)
    assert failed["code"] == 1 and failed["said"].count("\n") == 2  # one of them notes the truncated prompt
    assert f"cannot write {out / what}: the file would be larger than this account may write; raise" in failed["said"]
    check_whole(out)
    assert what not in files(out) and not [name for name in files(out) if name.endswith(".partial")]
    assert saboteur.run(generate(out))["code"] == 0
    assert files(out) == expected


def test_prior_where_a_file_stops_growing(saboteur, style, undisturbed, tmp_path):
    out = tmp_path / "p.safetensors"
    out.write_bytes(undisturbed[1])
    failed = saboteur.run(prior(style, out), most_bytes=5000)
    assert failed["code"] == 1 and f"error: cannot write {out}: the file would be larger" in failed["said"]
    assert files(tmp_path) == {"p.safetensors": undisturbed[1]}  # the one from before is still there


def _with_disk(saboteur, command, folder, size, rescued):
    done = saboteur.run(command, disk=[str(folder), size, str(rescued)])
    if done["code"] is None:
        pytest.skip("nobody may mount a disk here")
    return done


def test_generate_on_a_disk_that_fills_up(saboteur, undisturbed, tmp_path):
    disk, rescued = tmp_path / "disk", tmp_path / "rescued"
    disk.mkdir()
    done = _with_disk(saboteur, generate(disk / "out"), disk, 150_000, rescued)
    words = "the disk is full; free some space and run the same command again"
    assert done["code"] == 1 and f"error: cannot write {disk / 'out'}" in done["said"] and words in done["said"]
    expected = undisturbed[0]
    pictures = {name: size for name, size in done["left"].items() if name.endswith(".png")}
    assert 0 < len(pictures) < 4 and set(done["left"]) == {*pictures, "generate.unfinished.json"}
    assert all(size == len(expected[name]) for name, size in pictures.items())
    assert done["again"]["code"] == 0 and "from before" in done["again"]["said"]
    assert files(rescued / "out") == expected


def test_prior_on_a_disk_that_fills_up(saboteur, style, undisturbed, tmp_path):
    disk, rescued = tmp_path / "disk", tmp_path / "rescued"
    disk.mkdir()
    done = _with_disk(saboteur, prior(style, disk / "p.safetensors"), disk, 4096, rescued)
    assert done["code"] == 1 and "the disk is full; free some space and run the same" in done["said"]
    assert done["left"] == {} and done["again"]["code"] == 0
    assert files(rescued) == {"p.safetensors": undisturbed[1]}
