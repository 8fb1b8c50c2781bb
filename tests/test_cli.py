"""`python -m dislib`: the main job from the outside, its exit codes, and what a kill leaves behind."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import build_pipeline, image_folder, images, save_pipeline
from PIL import Image

from dislib import files
from dislib.cli import doctor, gallery
from dislib.cli import main as cli
from dislib.core.latents import white_noise
from dislib.core.prior import StylePrior
from dislib.core.schedulers import make_scheduler
from dislib.loading import load_pipeline

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")
SETTINGS = ["--prompt", "a b", "--prompt", "c", "--seeds", "0-2", "--steps", "2", "--batch-size", "2"]
NAMES = [f"{i:05d}.png" for i in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_pipeline(tmp_path_factory.mktemp("cli") / "small-sd"))


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("style") / "a style", 5)


@pytest.fixture(scope="module")
def prior_file(model, style):
    path = style.parent / "style.safetensors"
    assert cli.main(["prior", "--model", model, "--images", str(style), "--out", str(path), "--device", "cpu"]) == 0
    return str(path)


def _refused(capsys, arguments, words, code=2):
    assert cli.main([str(a) for a in arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") or "\nerror: " in error
    assert words in error and "Traceback" not in error


def _pictures(folder):
    return {f.name: f.read_bytes() for f in sorted(Path(folder).glob("*.png"))}


# --- prior ----------------------------------------------------------------------------------------------------


def test_prior(model, tmp_path, capsys):
    folder = image_folder(tmp_path / "写真 of mine", 4)
    (folder / "text.jpg").write_text("x")
    out = tmp_path / "new" / "p.safetensors"
    assert cli.main(["prior", "--model", model, "--images", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "4 images of" in said.out and "1 skipped" in said.out and "写真 of mine" in said.out
    assert said.err == "skipped text.jpg: it is not an image Pillow can read (UnidentifiedImageError)\n"
    prior = StylePrior.load(out)
    expected = StylePrior.from_images(load_pipeline(model), folder)
    assert torch.equal(prior.mean, expected.mean) and prior.meta == expected.meta


def test_prior_of_mixed_photographs(model, tmp_path, capsys):
    """Sizes, orientations and modes of a folder as it comes from cameras and scanners."""
    [picture] = images(1, size=300)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.resize((900, 600)).save(tmp_path / "turned.jpg", exif=exif)
    for mode, name in {"L": "grey.png", "P": "palette.gif", "RGBA": "alpha.webp", "CMYK": "print.jpg"}.items():
        picture.convert(mode).resize((150, 333)).save(tmp_path / name)
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    arguments = ["prior", "--model", model, "--images", str(tmp_path), "--out", str(tmp_path / "p.safetensors")]
    assert cli.main(arguments) == 0
    assert "6 images of" in capsys.readouterr().out


def test_prior_draws_n_by_seed(model, style, tmp_path):
    def names(*arguments):
        out = tmp_path / "p.safetensors"
        assert cli.main(["prior", "--model", model, "--images", str(style), "--out", str(out), *arguments]) == 0
        return StylePrior.load(out).meta["files"]

    assert len(names()) == 5
    assert names("--n", "3") == names("--n", "3", "--seed", "0") == sorted(names("--n", "3"))
    assert len({tuple(names("--n", "3", "--seed", str(seed))) for seed in range(4)}) > 1


def test_prior_of_one_image_needs_shrinkage(model, tmp_path, capsys):
    folder = image_folder(tmp_path / "one", 1)
    arguments = ["prior", "--model", model, "--images", folder, "--out", tmp_path / "p.safetensors"]
    _refused(capsys, arguments, "pass shrink (--shrink)")
    assert cli.main([*map(str, arguments), "--shrink", "0.5"]) == 0


@pytest.mark.parametrize("arguments, words", [
    (["--images", "nowhere"], "there is no folder nowhere"),
    (["--images", "a.png"], "a.png is a file; give the folder"),
    (["--images", "broken"], "no readable image among 2; a.jpg is not an image Pillow can read"),
    (["--images", "good", "--n", "6"], "n is 6, but only 5 images are readable (0 skipped)"),
    (["--images", "good", "--n", "0"], "n must be at least 1"),
    (["--images", "good", "--seed", "-1"], "whole number from 0"),
    (["--images", "good", "--shrink", "2"], "shrink must lie between 0 and 1"),
    (["--images", "good", "--device", "abacus"], "the device 'abacus' cannot be used"),
    (["--images", "good", "--model", "nobody/nothing-here"], "the hub cannot be reached"),
    (["--images", "good", "--model", "good"], "has no model_index.json"),
])
def test_prior_refuses_and_leaves_no_file(model, style, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("good").symlink_to(style)
    Path("a.png").touch()
    Path("broken").mkdir()
    Path("broken/a.jpg").write_text("x")
    Path("broken/b.png").touch()
    _refused(capsys, ["prior", "--model", model, "--out", "new/p.safetensors", *arguments], words)
    assert not Path("new").exists()


def test_prior_refuses_outputs(model, style, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["prior", "--model", model, "--images", style, "--out"]
    _refused(capsys, [*arguments, tmp_path], "is a folder; name a file in it", code=1)
    _refused(capsys, [*arguments, tmp_path / "p.pt"], "should end in .safetensors", code=1)
    _refused(capsys, [*arguments, tmp_path / "file" / "p.safetensors"], "is a file, not a folder", code=1)
    _refused(capsys, [*arguments, "/proc/p.safetensors"], "cannot write in /proc", code=1)


# --- generate -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    assert cli.main(["generate", "--model", model, *SETTINGS, "--out", str(out)]) == 0
    return out


def test_generate_writes_pictures_and_every_setting(undisturbed, model):
    assert sorted(f.name for f in undisturbed.iterdir()) == [*NAMES, "generate.json"]
    record = json.loads((undisturbed / "generate.json").read_text())
    assert record["images"][4] == {"file": "00004.png", "prompt": "c", "seed": 1}
    wanted = dict(model="small-sd", guidance=3.0, steps=2, seeds=[0, 1, 2], prompts=["a b", "c"], start="white",
                  batch_size=2, scheduler="dpm", negative=None, first_timestep=999, latent_scale=1.0, truncated={})
    assert {key: record[key] for key in wanted} == wanted


def test_a_picture_can_be_remade_with_plain_diffusers(undisturbed):
    record, pipe = json.loads((undisturbed / "generate.json").read_text()), build_pipeline()
    pipe.to(torch.float16).to(torch.float32)  # the saved model is in half precision
    pipe.scheduler = make_scheduler(pipe, record["scheduler"])
    row = record["images"][4]
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator("cpu").manual_seed(row["seed"]))
    image = pipe(row["prompt"], latents=noise, guidance_scale=record["guidance"], num_inference_steps=2).images[0]
    ours = np.asarray(Image.open(undisturbed / row["file"])).astype(int)
    assert np.abs(ours - np.asarray(image)).max() <= 1


def test_generate_from_a_prior_and_a_file_of_prompts(model, prior_file, tmp_path):
    (tmp_path / "p.txt").write_bytes("\ufeffa b\r\n\r\nc\r\n".encode())
    pictures = {}
    for start in ("paper", "matched", "leak"):
        out = tmp_path / start
        arguments = ["--prompts", tmp_path / "p.txt", "--seeds", "3", "--prior", prior_file, "--start", start]
        assert cli.main([str(a) for a in ["generate", "--model", model, *arguments, "--steps", "2", "--out", out]]) == 0
        record = json.loads((out / "generate.json").read_text())
        assert record["prompts"] == ["a b", "c"] and record["start"] == start
        assert record["prior_sha256"] == StylePrior.load(prior_file).sha256()
        pictures[start] = (out / "00000.png").read_bytes()
    assert len(set(pictures.values())) == 3


def test_generate_says_what_is_truncated(model, tmp_path, capsys):
    prompt = "a b " * 2500
    arguments = ["generate", "--model", model, "--prompt", prompt, "--seeds", "0", "--steps", "1"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert error.startswith("note: the prompt 'a b a b") and error.count("\n") == 1 and len(error) < 300
    record = json.loads((tmp_path / "out" / "generate.json").read_text())
    assert record["prompts"] == [prompt] and record["truncated"][prompt].startswith("a b")


@pytest.mark.parametrize("arguments, words", [
    (["--seeds", "5-2"], "the range 5-2 goes down; write 2-5"), (["--seeds", "-1"], "is negative"),
    (["--seeds", "1e3"], "'1e3' is not a whole number"),
    (["--guidance", "0"], "guidance must be a number of at least 1 (1 means no guidance), got 0.0"),
    (["--guidance", "-2"], "at least 1"), (["--guidance", "nan"], "got nan"),
    (["--steps", "0"], "steps must be a whole number from 1"), (["--scheduler", "ddpm"], "adds fresh N(0, 1) noise"),
    (["--scheduler", "best"], "there is no sampler 'best'"), (["--start", "leak"], "needs a style; pass --prior"),
    (["--prior", "gone.safetensors"], "cannot use the prior gone.safetensors: it cannot be read (No such file"),
    (["--prior", "/dev/null"], "cannot use the prior /dev/null"),
])
def test_generate_refuses_and_leaves_no_folder(model, tmp_path, capsys, arguments, words):
    common = ["generate", "--model", model, "--prompt", "a", "--seeds", "0", "--out", tmp_path / "out"]
    _refused(capsys, [*common, *arguments], words)
    assert not (tmp_path / "out").exists()


def test_generate_refuses_prompts_it_cannot_read(model, tmp_path, capsys):
    common = ["generate", "--model", model, "--seeds", "0", "--out", tmp_path / "out", "--prompts"]
    _refused(capsys, [*common, tmp_path / "gone.txt"], "there is no file")
    (tmp_path / "p.json").write_text("{")
    _refused(capsys, [*common, tmp_path / "p.json"], "line 1: not valid JSON")


def test_generate_refuses_a_prior_of_another_model(prior_file, tmp_path, capsys):
    other = save_pipeline(tmp_path / "other", seed=1)
    arguments = ["generate", "--model", other, "--prompt", "a", "--prior", prior_file, "--out", tmp_path / "out"]
    _refused(capsys, arguments, "computed with another VAE (model small-sd) than that of other")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [
    [], ["paint"], ["generate", "--out", "x"], ["generate", "--prompt", "a", "--prompts", "b", "--out", "x"],
    ["generate", "--prompt", "a", "--out", "x", "--guidance", "much"], ["prior", "--images", "x"],
    ["prior", "--images", "x", "--out", "y", "--n", "2.5"],
    ["generate", "--prompt", "a", "--out", "x", "--batch-size", "0"]])
def test_calls_that_make_no_sense(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2 and "error:" in capsys.readouterr().err


# --- a folder that is in use, and going on after an interruption ----------------------------------------------


def _generate(model, out, *more):
    return ["generate", "--model", model, *SETTINGS, "--out", str(out), *more]


def test_the_same_command_again_has_nothing_to_do(model, undisturbed, capsys):
    before = {f.name: f.stat().st_mtime_ns for f in undisturbed.iterdir()}
    assert cli.main(_generate(model, undisturbed)) == 0
    assert "are there already" in capsys.readouterr().out
    assert {f.name: f.stat().st_mtime_ns for f in undisturbed.iterdir()} == before


def test_another_command_does_not_overwrite(model, undisturbed, tmp_path, capsys):
    before = _pictures(undisturbed)
    _refused(capsys, _generate(model, undisturbed, "--guidance", "5"), "other settings (guidance differ", code=1)
    assert _pictures(undisturbed) == before
    Image.new("RGB", (9, 9)).save(tmp_path / "00003.png")
    _refused(capsys, _generate(model, tmp_path), "numbered pictures of unknown origin", code=1)
    (tmp_path / "generate.json").write_text("[]")
    _refused(capsys, _generate(model, tmp_path), "generate.json cannot be read", code=1)


def test_other_files_in_the_folder_are_left_alone(model, undisturbed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(_generate(model, tmp_path)) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert _pictures(tmp_path) == _pictures(undisturbed)


def test_a_picture_that_was_deleted_is_made_again(model, undisturbed, tmp_path, capsys):
    assert cli.main(_generate(model, tmp_path)) == 0
    (tmp_path / "00003.png").unlink()
    assert cli.main(_generate(model, tmp_path)) == 0
    assert "2 of them from before" in capsys.readouterr().out
    assert _pictures(tmp_path) == _pictures(undisturbed)


def test_generate_refuses_outputs(model, tmp_path, capsys):
    (tmp_path / "file").touch()
    _refused(capsys, _generate(model, tmp_path / "file"), "is a file, not a folder", code=1)
    _refused(capsys, _generate(model, tmp_path / "file" / "deeper"), "is a file, not a folder", code=1)
    _refused(capsys, _generate(model, "/proc/out"), "cannot write in /proc/out", code=1)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    _refused(capsys, _generate(model, tmp_path / "circle"), "a symbolic link that leads to itself", code=1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_generate_refuses_a_folder_without_the_right_to_write(model, tmp_path, capsys):
    tmp_path.chmod(0o500)
    _refused(capsys, _generate(model, tmp_path), "no right to write", code=1)


KILL_IN_GENERATE = """
import os, signal, sys
from dislib.cli import gallery, main as cli
add, count = gallery.Gallery.add, iter(range(100))
def killed(self, sample):
    if next(count) == 3:  # the fourth picture: half of it is on the disk under another name
        self.path(3).with_name(".00003.png.0123abcd.partial").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, sample)
gallery.Gallery.add = killed
cli.main(sys.argv[1:])
"""
KILL_IN_PRIOR = """
import os, signal, sys
from dislib import progress
from dislib.cli import main as cli
def kill(things):
    return lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
progress.Bar = kill
cli.main(sys.argv[1:])
"""
KILL_BEFORE_RENAME = """
import os, signal, sys
from dislib.cli import main as cli
os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
cli.main(sys.argv[1:])
"""


def _killed(code, arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_generate_goes_on_after_kill_9(model, undisturbed, tmp_path, capsys):
    out = tmp_path / "out"
    _killed(KILL_IN_GENERATE, _generate(model, out))
    assert sorted(_pictures(out)) == NAMES[:3]
    assert not (out / "generate.json").exists() and (out / "generate.unfinished.json").exists()
    _refused(capsys, _generate(model, out, "--guidance", "5"), "other settings (guidance differ", code=1)
    assert cli.main(_generate(model, out)) == 0
    assert sorted(f.name for f in out.iterdir()) == [*NAMES, "generate.json"]
    assert _pictures(out) == _pictures(undisturbed)
    assert (out / "generate.json").read_text() == (undisturbed / "generate.json").read_text()


@pytest.mark.parametrize("code", [KILL_IN_PRIOR, KILL_BEFORE_RENAME])
def test_prior_starts_clean_after_kill_9(model, style, prior_file, tmp_path, code):
    out = tmp_path / "p.safetensors"
    arguments = ["prior", "--model", model, "--images", str(style), "--out", str(out)]
    _killed(code, arguments)
    assert not out.exists()
    assert cli.main(arguments) == 0
    assert out.read_bytes() == Path(prior_file).read_bytes()
    assert [f.name for f in tmp_path.iterdir()] == ["p.safetensors"]


def test_a_disk_that_fills_up_leaves_nothing_half_written(model, tmp_path, monkeypatch, capsys, undisturbed):
    full = iter([False, False, False, True])  # settings and two pictures fit

    def fsync(_):
        if next(full, False):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    out = tmp_path / "out"
    _refused(capsys, _generate(model, out), "the disk is full; free some space and run the same command again", code=1)
    assert sorted(f.name for f in out.iterdir()) == [*NAMES[:2], "generate.unfinished.json"]
    assert cli.main(_generate(model, out)) == 0
    assert _pictures(out) == _pictures(undisturbed)


def test_a_real_write_that_is_cut_off(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(files.OutputError, match="larger than this account may write"):
            files.write_atomic(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"] and path.read_bytes() == b"before"


def test_interruption_and_lack_of_memory_are_told_in_a_line(monkeypatch, capsys):
    for error, code, words in [
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "smaller --batch_size"),
    ]:
        monkeypatch.setattr(cli, "doctor", lambda _, error=error: (_ for _ in ()).throw(error))
        _refused(capsys, ["doctor"], words, code)


def test_a_gallery_of_many_pictures_keeps_its_order(tmp_path):
    many = gallery.Gallery(tmp_path, {"batch_size": 1}, 123_456)
    assert many.path(7).name == "00007.png" and many.path(123_455).name == "123455.png"


# --- doctor ---------------------------------------------------------------------------------------------------


def _doctor(capsys, *arguments):
    code = cli.main(["doctor", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return code, {line[6:].split()[0]: line for line in lines[:-1]}, lines[-1]


@pytest.fixture
def data(model, tmp_path, monkeypatch):
    (tmp_path / "tiny-sd").symlink_to(model)
    files.write_checksums(tmp_path)
    monkeypatch.setenv("DISLIB_DATA", str(tmp_path))
    return tmp_path


def test_doctor_finds_all_well(data, capsys):
    code, lines, verdict = _doctor(capsys)
    assert all(line.startswith("OK    ") for line in lines.values()), lines
    assert code == 0 and verdict == "All is well."
    assert {"Python", "torch", "diffusers", "transformers", "dislib", "device", "memory", "model", "generation"} <= set(
        lines)


def test_doctor_names_files_that_changed_or_are_missing(data, capsys):
    (data / files.CHECKSUMS).write_text(f"{'0' * 64}  tiny-sd/model_index.json\n{'0' * 64}  tiny-sd/gone.txt\n")
    code, lines, verdict = _doctor(capsys)
    assert code == 1 and verdict.startswith("1 FAIL")
    assert lines["model"].startswith("FAIL")
    assert "model_index.json has changed; tiny-sd/gone.txt is missing" in lines["model"]
    (data / files.CHECKSUMS).unlink()
    assert "cannot read the checksums" in _doctor(capsys)[1]["model"]


def test_doctor_of_another_model(model, capsys):
    code, lines, _ = _doctor(capsys, "--model", model)
    assert code == 0 and "model" not in lines
    code, lines, _ = _doctor(capsys, "--model", "nobody/nothing-here")
    assert code == 1 and "the hub cannot be reached" in lines["generation"]


def test_doctor_knows_the_namesake_and_a_torchvision_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.9.0")
    passed, _, answer = doctor._ask("dislib", doctor._dislib)
    assert not passed and "PyPI's unrelated package dislib 0.9.0 is installed; python -m pip uninstall dislib" in answer
    monkeypatch.setitem(sys.modules, "torchvision", None)
    passed, _, answer = doctor._ask("torchvision", doctor._torchvision)
    assert not passed and "breaks diffusers" in answer


def test_doctor_names_missing_and_old_libraries_and_little_memory(monkeypatch):
    passed, _, answer = doctor._ask("nothing", doctor._library, "nothing-of-this-name")
    assert not passed and "cannot be imported" in answer and doctor.INSTALL in answer
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.1")
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["diffusers>=0.39", "pytest>=8; extra == 'test'"])
    passed, _, answer = doctor._ask("diffusers", doctor._library, "diffusers")
    assert not passed and "0.1 does not satisfy >=0.39" in answer
    monkeypatch.setattr(doctor, "available_memory", lambda: 0.5)
    passed, _, answer = doctor._ask("memory", doctor._memory)
    assert not passed and "0.5 GiB free" in answer


def test_checksums_are_in_the_format_of_sha256sum(tmp_path):
    (tmp_path / "tiny-sd" / "unet").mkdir(parents=True)
    (tmp_path / "tiny-sd" / "unet" / "a file.txt").write_text("a")
    files.write_checksums(tmp_path)
    line = (tmp_path / "CHECKSUMS.sha256").read_text()
    assert line == f"{files.sha256(tmp_path / 'tiny-sd/unet/a file.txt')}  tiny-sd/unet/a file.txt\n"
    assert files.check_checksums(tmp_path) == (1, [])


def test_the_module_is_run_by_python_m(model):
    done = subprocess.run([sys.executable, "-m", "dislib", "prior", "--images", "nowhere", "--out", "a.safetensors",
                           "--model", model], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: there is no folder nowhere; check the spelling\n"


def test_white_draws_are_those_of_the_record(undisturbed):
    """generate.json promises torch.Generator("cpu").manual_seed(seed), one (4, h, w) draw a picture."""
    seeds = [row["seed"] for row in json.loads((undisturbed / "generate.json").read_text())["images"]]
    assert torch.equal(white_noise(seeds, (4, 16, 16))[4], white_noise([1], (4, 16, 16))[0])
