"""`python -m dislib finetune` as a user meets it: on one process and on two, killed, repeated, and wrongly called."""

import json
import os
import subprocess
import sys
import time

import pytest
from helpers import image_folder, save_pipeline

from dislib.cli.main import main
from dislib.training.result import LORA, PRIOR, RECORD

WORDS = ["a b", "c d", "e f", "g h", "i j", "k l"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    folder = image_folder(tmp_path_factory.mktemp("images") / "my style")
    rows = [{"file_name": f"{i:03d}.png", "text": text} for i, text in enumerate(WORDS)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def command(base, style, out, **options):
    options = {"max_train_steps": 6, "train_batch_size": 4, "learning_rate": 1e-3, "device": "cpu", **options}
    words = ["finetune", "--model", base, "--images", style, "--out", out]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", value]
    return [str(word) for word in words]


def losses(out):
    return json.loads((out / RECORD).read_text())["losses"]


def start(*words, **environment):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def test_finetune_then_generate_from_its_prior_and_from_white_noise(base, style, tmp_path, capsys):
    out = tmp_path / "tuned"
    sheet = {"validation_prompts": "a b", "validation_steps": 3}
    assert main(command(base, style, out, **sheet)) == 0
    assert "6 steps on 6 images with style noise" in capsys.readouterr().out
    assert (out / PRIOR).is_file() and {f.name for f in (out / "samples").iterdir()} == {"00003.png", "00006.png"}
    for options, wanted in (([], "paper"), (["--start", "white"], "white"), (["--start", "matched"], "matched")):
        pictures = tmp_path / wanted
        assert main(["generate", "--model", str(out), "--prompt", "a", "--seeds", "0", "--steps", "2", "--out",
                     str(pictures), *options]) == 0
        assert json.loads((pictures / "generate.json").read_text())["start"] == wanted
    made = {name: (tmp_path / name / "00000.png").read_bytes() for name in ("paper", "white", "matched")}
    assert len(set(made.values())) == 3


def test_the_same_command_again_finds_its_result_and_another_one_refuses(base, style, tmp_path, capsys):
    out = tmp_path / "tuned"
    assert main(command(base, style, out, noise="white", rank=2)) == 0
    before = (out / LORA).read_bytes()
    assert not (out / PRIOR).exists()
    assert main(command(base, style, out, noise="white", rank=2)) == 0
    assert "there already" in capsys.readouterr().out and (out / LORA).read_bytes() == before
    assert main(command(base, style, out, noise="offset", rank=2, seed=3)) == 2
    assert "noise_id" in (message := capsys.readouterr().err) and "seed" in message and "another folder" in message


def test_captions_from_names_and_words_left_out(base, tmp_path):
    folder = image_folder(tmp_path / "named", 3)
    for file, name in zip(sorted(folder.glob("*.png")), ("a-b_1.png", "c in x style 02.png", "d.png")):
        file.rename(folder / name)
    from dislib.images.captions import captions_of

    files = sorted(folder.iterdir())
    assert captions_of(files, "names") == ["a b", "c in x style", "d"]
    assert captions_of(files, "names", leave_out=["x"]) == ["a b", "c", "d"]
    assert main(command(base, folder, tmp_path / "out", caption="names", max_train_steps=1)) == 0


@pytest.mark.parametrize("mend, options, message", [
    (lambda f: (f / "metadata.jsonl").unlink(), {}, "metadata.jsonl"),
    (lambda f: (f / "metadata.jsonl").write_text('{"file_name": "000.png", "text": "a"}'), {},
     "no caption for 5 of 6 images: 001.png, 002.png"),
    (lambda f: None, {"caption": "names"}, "names of 6 images hold no words: 000.png"),
    (lambda f: None, {"n": 9}, "n is 9, but only 6 images are readable"),
    (lambda f: None, {"learning_rate": 0}, "learning_rate must be a number above 0"),
    (lambda f: None, {"resolution": 100}, "resolution 100 is not a multiple of 16"),
    (lambda f: None, {"resume_from_checkpoint": "checkpoint-3"}, "there is no checkpoint checkpoint-3"),
    (lambda f: None, {"mixed_precision": "bf16", "max_train_steps": -5}, "max_train_steps must be a whole number"),
])  # fmt: skip
def test_bad_calls_name_the_thing(base, style, tmp_path, capsys, mend, options, message):
    import shutil

    folder, out = shutil.copytree(style, tmp_path / "style"), tmp_path / "out"
    mend(folder)
    assert main(command(base, folder, out, **options)) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_an_output_that_cannot_be_written_is_told_before_the_model_is_loaded(base, style, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(command(base, style, tmp_path / "file" / "out")) == 1
    assert "cannot write in" in capsys.readouterr().err


def test_two_processes_make_the_steps_of_one_with_the_doubled_batch(base, style, tmp_path):
    """Tolerance: 1e-4 of the loss, since gradients are summed in another order."""
    assert main(command(base, style, tmp_path / "one", train_batch_size=4)) == 0
    words = command(base, style, tmp_path / "two", train_batch_size=2)
    process = start("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "dislib", *words)
    output, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    assert output.count("6 steps on 6 images") == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


LAUNCHER = """
import sys
from accelerate import debug_launcher
from dislib.cli.main import main

debug_launcher(main, args=(sys.argv[1:],), num_processes=2)
"""


def test_accelerates_own_launcher_gives_the_same(base, style, tmp_path):
    (tmp_path / "launch.py").write_text(LAUNCHER)
    assert main(command(base, style, tmp_path / "one", train_batch_size=4, max_train_steps=3)) == 0
    words = command(base, style, tmp_path / "two", train_batch_size=2, max_train_steps=3)
    process = start(str(tmp_path / "launch.py"), *words)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_killed_again_and_again_it_ends_with_the_undisturbed_losses(base, style, tmp_path):
    options = {"max_train_steps": 40, "checkpointing_steps": 1, "use_ema": True}
    assert main(command(base, style, tmp_path / "calm", **options)) == 0
    out, kills = tmp_path / "stormy", 0
    words = command(base, style, out, **options)
    while not (out / RECORD).is_file():
        process = start("-m", "dislib", *words)
        seen = len(list(out.glob("checkpoint-*")))
        while process.poll() is None and kills < 3:
            # Killed as soon as a checkpoint is there, or in the middle of one being written.
            if len(list(out.glob("*checkpoint-*"))) > seen:
                time.sleep(0.13 * (kills + 1))
                process.kill()
                kills += 1
                break
            time.sleep(0.01)
        process.communicate(timeout=280)
    assert kills == 3
    assert losses(out) == pytest.approx(losses(tmp_path / "calm"), rel=1e-5)
    assert not list(out.glob(".*partial"))
