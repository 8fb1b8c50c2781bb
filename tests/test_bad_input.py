"""Bad input met by `python -m dislib`: an error in one line that names the thing and the mend, and nothing is lost."""

import json
import os
import signal
import struct
import zlib
from pathlib import Path

import pytest
import torch
from helpers import image_folder, images, save_pipeline, shared_pipeline
from PIL import Image
from safetensors.torch import save_file

from dislib.cli.main import main
from dislib.core.prior import StylePrior
from dislib.core.sampling import generate
from dislib.errors import DislibError, PromptError, SamplerError, printable, shorten

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")
SHAPE = (4, 16, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_pipeline(tmp_path_factory.mktemp("bad") / "small-sd"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in. What waits for ever (a named pipe that is opened) is stopped after a minute."""
    monkeypatch.chdir(tmp_path)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for ever"))
        signal.alarm(60)
    yield tmp_path
    if hasattr(signal, "SIGALRM"):
        signal.alarm(0)


@pytest.fixture
def refused(capsys):
    """A function: run a command that must fail with one line which holds `words`."""

    def run(arguments, words, code=2):
        assert main([str(a) for a in arguments]) == code
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
        assert words in said.err and len(said.err) < 700

    return run


def _png(*chunks):
    """A PNG of these (name, data) chunks."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def _header(width, height):
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


# --- images ---------------------------------------------------------------------------------------------------


def _bad_images(folder):
    """Fill a folder with everything that is no usable image; returns file name -> words of the reason."""
    folder.mkdir()
    first, *rest = images(3)
    (folder / "bomb.png").write_bytes(
        _png(_header(20_000, 20_000), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    )
    text = b"zTXt", b"key\0\0" + zlib.compress(bytes(30_000_000))  # 30 kB that become 30 MB
    (folder / "bomb of text.png").write_bytes(_png(_header(64, 64), text, (b"IEND", b"")))
    first.save(folder / "animated.gif", save_all=True, append_images=rest)
    first.save(folder / "animated.png", save_all=True, append_images=rest)
    Image.new("RGB", (1, 1)).save(folder / "1 x 1.png")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    first.save(folder / "cut.jpg")
    os.truncate(folder / "cut.jpg", 900)
    (folder / "folder.png").mkdir()
    # Pillow would start Ghostscript, if there is one, for the programs that such a file may hold.
    (folder / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n")
    return {
        "bomb.png": "decompression bomb",
        "bomb of text.png": "not an image",
        "animated.gif": "animated or has several",
        "animated.png": "animated or has several",
        "1 x 1.png": "is 1 x 1 px; at least 16 x 16",
        "empty.jpg": "0 bytes",
        "text.jpg": "not an image",
        "cut.jpg": "cut short (truncated)",
        "folder.png": "is a folder",
        "program.png": "is EPS, which is not read here; export it as PNG",
    }


def _odd_names(folder):
    """Good and bad files under names as they come from other systems; needs one where any byte may be in a name."""
    good = ["a\nb.png", "colour \x1b[31m.png", os.fsdecode(b"latin \xe9.png"), "Ωmega 猫.png"]
    for name, image in zip(good, images(4, seed=1)):
        image.save(folder / "tmp.png")
        (folder / "tmp.png").rename(folder / name)
    (folder / "pale\nblue \x1b[2J.png").write_text("no image")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "broken.png").symlink_to("gone.png")
    os.mkfifo(folder / "pipe.png")
    return {
        r"pale blue \x1b[2J.png": "not an image",
        "circle.png": "symbolic link to circle.png",
        "broken.png": "symbolic link to gone.png",
        "pipe.png": "not a regular file",
    }


def test_bad_images_are_named_and_the_good_ones_used(model, here, capsys):
    reasons = _bad_images(here / "style")
    if hasattr(os, "mkfifo"):
        reasons |= _odd_names(here / "style")
    image_folder(here / "style", 3)
    assert main(["prior", "--model", model, "--images", "style", "--out", "a.safetensors"]) == 0
    said = capsys.readouterr()
    lines = {line.removeprefix("skipped ").split(": it ")[0]: line for line in said.err.splitlines()}
    assert set(lines) == set(reasons) and len(lines) == said.err.count("\n")
    for name, reason in reasons.items():
        assert reason in lines[name]
    assert f"{len(reasons)} skipped" in said.out and said.out.count("\n") == 1

    for name in os.listdir("style"):  # the same without the bad ones
        if any(shorten(name) == bad for bad in reasons):
            Path("style", name).rmdir() if name == "folder.png" else Path("style", name).unlink()
    assert main(["prior", "--model", model, "--images", "style", "--out", "b.safetensors"]) == 0
    a, b = StylePrior.load("a.safetensors"), StylePrior.load("b.safetensors")
    assert capsys.readouterr().err == "" and a.meta["images_sha256"] == b.meta["images_sha256"]
    assert torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std)


def test_only_bad_images(model, here, refused):
    _bad_images(here / "style")
    refused(["prior", "--model", model, "--images", "style", "--out", "a.safetensors"], "no readable image among 10")
    assert os.listdir() == ["style"]


@pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows")
def test_folders_that_lead_in_circles(model, here, refused):
    command = ["prior", "--model", model, "--out", "a.safetensors", "--images"]
    Path("circle").symlink_to("circle")
    refused([*command, "circle"], "cannot open the folder circle")
    Path("style").mkdir()
    Path("style/again").symlink_to("again")
    refused([*command, "style"], "no images in style; expected files such as .png")
    Path("style/up").symlink_to(here / "style")
    refused([*command, "style"], "no images in style itself (it holds the folders up)")
    image_folder(here / "style", 2)
    assert main([*command, "style/up/up/up"]) == 0


# --- paths of every kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new\nline \x1b[31m", "Ωmega 猫 写真", " two  spaces %s {0} $HOME '\" "])
def test_names_of_every_kind(model, here, capsys, name):
    if os.name == "nt" and printable(name) != name:
        pytest.skip("no such names on Windows")
    image_folder(Path(name) / "style", 2)
    Path(name, "p.txt").write_text("a\n")
    prior_file, out = f"{name}/{name}.safetensors", f"{name}/pictures of {name}"
    assert main(["prior", "--model", model, "--images", f"{name}/style", "--out", prior_file]) == 0
    assert (
        main(
            [
                "generate",
                "--model",
                model,
                "--prompts",
                f"{name}/p.txt",
                "--seeds",
                "0",
                "--steps",
                "1",
                "--prior",
                prior_file,
                "--out",
                out,
            ]
        )
        == 0
    )
    assert sorted(os.listdir(out)) == ["00000.png", "generate.json"]
    said = capsys.readouterr()
    assert said.out.count("\n") == 2 and printable(out) in said.out and "\x1b" not in said.out
    assert sorted(os.listdir(name)) == sorted([f"{name}.safetensors", f"pictures of {name}", "p.txt", "style"])


PRIOR = ["prior", "--images", "style", "--out", "new.safetensors"]
GENERATE = ["generate", "--prompt", "a", "--seeds", "0", "--steps", "1", "--out", "new"]


@pytest.mark.parametrize(
    "arguments, words, code",
    [
        ([*PRIOR, "--images", ""], "a path is empty (an unset variable?); write .", 2),
        ([*PRIOR, "--images", "~nobody-at-all/x"], "no home folder for '~nobody-at-all/x'; write the path in full", 2),
        ([*PRIOR, "--images", "a\0b"], "holds a NUL", 2),
        ([*PRIOR, "--images", "x" * 300], "File name too long", 2),
        ([*PRIOR, "--out", ""], "a path is empty", 1),
        ([*PRIOR, "--out", "x" * 300 + ".safetensors"], "the name is too long; choose a shorter one", 1),
        ([*PRIOR, "--out", "x" * 240 + ".safetensors"], "the name is too long; choose a shorter one", 1),
        ([*PRIOR, "--out", ".safetensors"], "call it prior.safetensors", 1),
        ([*PRIOR, "--out", "~nobody-at-all/p.safetensors"], "no home folder for", 1),
        ([*PRIOR, "--out", "p\0.safetensors"], "holds a NUL", 1),
        ([*GENERATE, "--out", ""], "a path is empty", 1),
        ([*GENERATE, "--out", "x" * 300], "the name is too long; choose a shorter one", 1),
        ([*GENERATE, "--out", "/".join(["x" * 250] * 17)], "the name is too long; choose a shorter one", 1),
        ([*GENERATE, "--out", "~nobody-at-all/x"], "no home folder for", 1),
        ([*GENERATE, "--prior", "~nobody-at-all/x"], "cannot use the prior ~nobody-at-all/x: there is no home", 2),
        ([*GENERATE, "--model", "~nobody-at-all/x"], "no home folder for '~nobody-at-all/x'; write the path", 2),
        ([*GENERATE, "--model", "x" * 300], "there is no model 'xxx", 2),
        ([*GENERATE, "--model", "own base"], "training.json names its own folder as the base model", 2),
        ([*GENERATE, "--device", "meta"], "the device 'meta' cannot be used here", 2),
    ],
)
def test_paths_that_are_none(model, here, refused, arguments, words, code):
    image_folder(here / "style", 2)
    Path("own base").mkdir()
    record = {"format": "dislib fine-tuning", "model": "own base", "settings": {}}
    Path("own base/training.json").write_text(json.dumps(record))
    refused([arguments[0], "--model", model, *arguments[1:]], words, code)
    assert sorted(os.listdir()) == ["own base", "style"]


def test_a_models_weights_are_not_overwritten_by_a_prior(model, here, refused):
    image_folder(here / "style", 2)
    save_file({"weight": torch.ones(3)}, "unet.safetensors")
    before = Path("unet.safetensors").read_bytes()
    words = "unet.safetensors is there already and is no style prior; choose another --out or delete it"
    refused([*PRIOR, "--model", model, "--out", "unet.safetensors"], words, 1)
    assert Path("unet.safetensors").read_bytes() == before


# --- prompts and numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("p.csv", b'prompt\n"a house\na cat\na dog\n', "are all double quotes closed?"),  # or four lines are one prompt
        ("p.json", b'["a", ' + b"1" * 5000 + b"]", "not valid JSON"),
        ("p.json", b"[" * 100_000, "not valid JSON"),
        ("p.jsonl", b'"a"\n"\\ud800 b"\n', r"the prompt in p.jsonl, line 2: '\ud800 b' is not UTF-8 text; retype it"),
        ("p.txt", b"a\xe9\n", "p.txt is not UTF-8 text (byte 1); save it as UTF-8"),
        ("p.txt", b"\xef\xbb\xbf\r\n  \r\n", "p.txt: no prompts in it; write one a line"),
    ],
)
def test_files_of_prompts(model, here, refused, name, data, words):
    Path(name).write_bytes(data)
    refused(["generate", "--model", model, "--prompts", name, "--out", "new"], words)
    assert os.listdir() == [name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_prompts_that_are_no_file(model, here, refused):
    command = ["generate", "--model", model, "--out", "new", "--prompts"]
    os.mkfifo("pipe.txt")
    Path("circle.txt").symlink_to("circle.txt")
    with open("huge.txt", "wb") as huge:
        huge.truncate(10**10)  # takes no room on the disk
    refused([*command, "pipe.txt"], "cannot read pipe.txt: it is not a regular file")
    refused([*command, "huge.txt"], "cannot read huge.txt: it is larger than 100 MB")
    refused([*command, "circle.txt"], "cannot read circle.txt: Too many levels of symbolic links")
    refused([*command, ""], "a path is empty")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--prompt", os.fsdecode(b"caf\xe9")], "is not UTF-8 text; retype it, or keep it in a file"),
        (["--negative", "\ud800"], "is not UTF-8 text"),
        (["--guidance", "inf"], "guidance must be a number of at least 1 (1 means no guidance), got inf"),
        (
            ["--seeds", "0-999999", "--prompt", "b"],
            "2 prompts by 1,000,000 seeds are 2,000,000 pictures; at most 1,000,000",
        ),
        (["--prior", ""], "cannot use the prior"),  # an unset variable must not become white noise in silence
    ],
)
def test_settings_of_generate(model, here, refused, arguments, words):
    refused([*GENERATE, "--model", model, *arguments], words)
    assert os.listdir() == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--guidance", "much"], "invalid float value: 'much'"),
        (["--batch-size", "1e3"], "'1e3' is not a whole number"),
        (["--batch-size", "9" * 5000], "99...' is not a whole number from 1"),
        (["--steps", "two"], "invalid int value"),
    ],
)
def test_words_for_numbers(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main([*GENERATE, *arguments])
    assert stop.value.code == 2 and words in capsys.readouterr().err


# --- latents that are not finite ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_starts_that_are_not_finite(value):
    start = torch.zeros(2, *SHAPE)
    start[1, 0, 3, 5] = value
    words = r"start's latents hold 1 values that are NaN or infinite, the first at index \(1, 0, 3, 5\)"
    with pytest.raises(DislibError, match=words):
        generate(shared_pipeline(), ["a"], [0, 1], latents=start)
    batches = generate(shared_pipeline(), ["a"], [0, 1], latents=lambda seeds: start)
    with pytest.raises(DislibError, match=words):
        next(batches)
    with pytest.raises(DislibError, match=r"hold 1 values that are NaN or infinite"):
        StylePrior.from_latents([start])


def test_a_sampler_that_overflows_names_its_settings():
    words = r"gave NaN or infinite latents \(guidance 1e\+38, 2 steps, torch.float32\); lower the guidance, load"
    with pytest.raises(SamplerError, match=words):
        list(generate(shared_pipeline(), ["a"], [0], steps=2, guidance=1e38))


def test_prompts_that_are_no_text():
    with pytest.raises(PromptError, match="is not UTF-8 text"):
        generate(shared_pipeline(), ["a", "\udcff"], [0])


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_prior_file_that_is_not_finite(model, here, refused, name, value):
    tensors = {"mean": torch.zeros(SHAPE), "std": torch.ones(SHAPE)}
    tensors[name] = tensors[name].double().index_fill(2, torch.tensor([3]), value)
    save_file(tensors, "p.safetensors")
    refused(
        [*GENERATE, "--model", model, "--prior", "p.safetensors"],
        f"cannot use the prior p.safetensors: the prior's {name} hold 64 values that are NaN or infinite",
    )
    assert os.listdir() == ["p.safetensors"]


def test_a_run_that_fails_at_its_first_picture_binds_nobody(model, here, capsys):
    """Such guidance overflows, which shows only in the pictures; another weight may be tried in the same folder."""
    assert main([*GENERATE, "--model", model, "--guidance", "1e38"]) != 0
    assert os.listdir("new") == ["generate.unfinished.json"] and "Traceback" not in capsys.readouterr().err
    assert main([*GENERATE, "--model", model, "--guidance", "3"]) == 0
    assert json.loads(Path("new/generate.json").read_text())["guidance"] == 3
