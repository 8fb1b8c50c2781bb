"""Files that cannot be read or written: broken priors, pickles in disguise, places without room or right."""

import ast
import errno
import io
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from helpers import image_folder, images, shared_pipeline
from PIL import Image
from safetensors.torch import save_file
from test_bad_input import GENERATE, PRIOR, here, model, refused  # noqa: F401

from dislib import files
from dislib.cli.main import main
from dislib.core.prior import StylePrior
from dislib.errors import OutputError, PriorError

# ruff: noqa: F811  (fixtures are imported, and then are names of arguments)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")

# --- priors ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A prior and its file."""
    path = tmp_path_factory.mktemp("prior") / "p.safetensors"
    style = StylePrior.from_images(shared_pipeline(), images(3))
    style.save(path)
    return style, path


def test_a_prior_cut_short_anywhere_is_refused(saved, here, refused):
    data = saved[1].read_bytes()
    for length in [*range(0, 1200, 7), *range(1200, len(data), 501), len(data) - 1]:
        Path("p.safetensors").write_bytes(data[:length])
        with pytest.raises(PriorError, match="cannot use the prior p.safetensors: it is cut short or not"):
            StylePrior.load("p.safetensors")
    refused([*GENERATE, "--prior", "p.safetensors"], "cut short or not a safetensors file")


def test_a_damaged_prior_is_read_or_refused(saved, here):
    """Bytes of the header changed at random; whatever comes out, it is no crash."""
    data, rng, refused = saved[1].read_bytes(), random.Random(0), 0
    end = 8 + int.from_bytes(data[:8], "little")
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 4])):
            damaged[rng.randrange(end)] = rng.randrange(256)
        Path("p.safetensors").write_bytes(damaged)
        try:
            StylePrior.load("p.safetensors", shared_pipeline())
        except PriorError:
            refused += 1
    assert 100 < refused < 300


@pytest.mark.parametrize("vae", ['"abc"', "{}", "[[1], [2, 3]]", "[" * 100_000, "1" * 5000, "[null]", "[]"])
def test_a_prior_with_a_nonsensical_vae_is_of_another_one(saved, here, vae):
    save_file(
        {"mean": saved[0].mean.contiguous(), "std": saved[0].std.contiguous()},
        "p.safetensors",
        {"vae": vae, "model": "a\nb" * 999},
    )
    with pytest.raises(PriorError, match=r"computed with another VAE \(model a ba b.{,60}\.\.\.\) than that of"):
        StylePrior.load("p.safetensors", shared_pipeline())


def test_a_prior_with_any_length_of_header_is_read(saved, here):
    """The file begins with that length, and 640 are the first two bytes of many a pickle."""
    style, lengths = saved[0], set()
    for names in range(600, 1500, 7):
        StylePrior(style.mean, style.std, {"n": 3, "files": ["x" * names]}).save("p.safetensors")
        lengths.add(int.from_bytes(Path("p.safetensors").read_bytes()[:8], "little"))
        assert torch.equal(StylePrior.load("p.safetensors").mean, style.mean)
    assert {896, 1152, 1408} <= lengths  # 80 03, 80 04 and 80 05 in the file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_priors_that_are_no_file(model, here, refused):
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    Path("folder").mkdir()
    for name, words in {
        "pipe": "not a regular file",
        "folder": "not a regular file",
        "/dev/zero": "not a regular file",
        "circle": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
    }.items():
        refused([*GENERATE, "--model", model, "--prior", name], words)


# --- pickles --------------------------------------------------------------------------------------------------


class Payload:
    """What a malicious pickle does when it is opened: here it makes the folder `opened`."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "opened"),)


def _pickles(folder):
    """The payload as each kind of pickle that PyTorch and others write."""
    whole = io.BytesIO()
    torch.save({"mean": Payload(folder)}, whole)
    old = io.BytesIO()
    torch.save({"mean": Payload(folder)}, old, _use_new_zipfile_serialization=False)
    return [pickle.dumps(Payload(folder), protocol) for protocol in range(6)] + [whole.getvalue(), old.getvalue()]


def test_the_payload_would_be_noticed(here):
    plain, torchs = _pickles(here)[:6], _pickles(here)[6:]
    for data in plain:
        pickle.loads(data)
        Path("opened").rmdir()
    for data in torchs:
        torch.load(io.BytesIO(data), weights_only=False)
        Path("opened").rmdir()


def test_a_prior_that_is_a_pickle_is_never_opened(model, here, refused):
    for data in _pickles(here):
        Path("p.safetensors").write_bytes(data)
        for command in (GENERATE, [*PRIOR, "--images", str(image_folder(here / "style", 2)), "--out", "p.safetensors"]):
            words, code = ("cannot use the prior", 2) if command is GENERATE else ("is no style prior", 1)
            more = ["--prior", "p.safetensors"] if command is GENERATE else []
            refused([*command, "--model", model, *more], words, code)
        assert sorted(os.listdir()) == ["p.safetensors", "style"] and Path("p.safetensors").read_bytes() == data


@pytest.mark.parametrize(
    "part, name",
    [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")],
)
def test_a_model_of_pickles_is_never_opened(model, here, refused, part, name):
    shutil.copytree(model, "copy")
    [weights] = Path("copy", part).glob("*.safetensors")
    image_folder(here / "style", 2)
    weights.write_bytes(_pickles(here)[-2])  # in disguise
    refused([*PRIOR, "--model", "copy"], "the pipeline in copy cannot be loaded; get or save it again")
    weights.rename(Path("copy", part, name + ".bin"))  # as it is
    refused(
        [*PRIOR, "--model", "copy"], "pickled ones (.bin, .ckpt) are never loaded because they can run code; convert"
    )
    assert sorted(os.listdir()) == ["copy", "style"]


def test_a_model_that_brings_code_is_not_run(model, here, refused):
    shutil.copytree(model, "copy")
    index = json.loads(Path("copy/model_index.json").read_text())
    Path("copy/model_index.json").write_text(json.dumps({**index, "unet": ["evil", "Evil"]}))
    Path("copy/unet/evil.py").write_text("import os\nos.mkdir('opened')\nclass Evil: pass\n")
    image_folder(here / "style", 2)
    refused([*PRIOR, "--model", "copy"], "the pipeline in copy cannot be loaded; get or save it again")
    assert sorted(os.listdir()) == ["copy", "style"]


FORBIDDEN = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def complaints(code):
    """What in Python source might open a pickle, or run code that comes with a model."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN)
        if not isinstance(node, ast.Call):
            continue
        said = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        call = ast.unparse(node.func)
        if call in LOADS and said.get(LOADS[call][0]) is not LOADS[call][1]:
            yield "{} without {}={}".format(call, *LOADS[call])
        harmless = any(word in call for word in ("Tokenizer", "Processor", "Scheduler", "Config"))
        if call.endswith(".from_pretrained") and not harmless and said.get("use_safetensors") is not True:
            yield f"{call} without use_safetensors=True"
        if said.get("trust_remote_code") or call in (
            "eval",
            "exec",
            "torch.hub.load",
            "torch.jit.load",
            "pd.read_pickle",
        ):
            yield f"{call} may run code that it reads"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "CLIPModel.from_pretrained(path)",
        "eval(text)",
        "UNet2DConditionModel.from_pretrained(path, use_safetensors=False)",
        "X.from_config(c, trust_remote_code=True)",
    ],
)
def test_what_might_open_a_pickle_is_noticed(code):
    assert len(list(complaints(code))) == 1


def test_the_package_opens_no_pickle():
    found = {
        str(path.relative_to(ROOT)): list(complaints(path.read_text(encoding="utf-8")))
        for path in ROOT.glob("dislib/**/*.py")
    }
    assert len(found) > 20 and {path: said for path, said in found.items() if said} == {}


# --- places that cannot be written to -------------------------------------------------------------------------


def _checksums(path):
    files.write_checksums(path.parent)


WRITERS = {
    "a.bin": lambda path: files.write_atomic(path, bytes(9000)),
    "a.json": lambda path: files.write_json(path, ["long"] * 2000),
    "a.png": lambda path: files.write_png(path, Image.effect_noise((128, 128), 99)),
    "a.safetensors": lambda path: files.write_safetensors(path, {"x": torch.ones(3000)}, {}),
    files.CHECKSUMS: _checksums,
}
DANGERS = {
    "fsync": (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
    "replace": (errno.EACCES, "no right to write in"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("call", DANGERS)
def test_every_writer_keeps_the_old_file_where_it_cannot_write_the_new(tmp_path, monkeypatch, name, call):
    path, (number, words) = tmp_path / name, DANGERS[call]
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch, pytest.raises(OutputError, match=f"cannot write .*{name}: {words}"):
        patch.setattr(files.os, call, fail)
        WRITERS[name](path)
    assert os.listdir(tmp_path) == [name] and path.read_bytes() == b"old"
    WRITERS[name](path)
    assert os.listdir(tmp_path) == [name] and path.read_bytes() != b"old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no links and named pipes here")
def test_nothing_is_written_through_what_lies_under_the_name_of_an_unfinished_file(here, monkeypatch):
    Path("precious").write_text("mine")
    for name in ("link", "pipe"):
        partial = f".{name}.00000000.partial"
        os.symlink("precious", partial) if name == "link" else os.mkfifo(partial)
        tokens = iter(["00000000", "00000001"])
        monkeypatch.setattr(files.secrets, "token_hex", lambda _, tokens=tokens: next(tokens))
        files.write_atomic(name, b"new")
        assert Path(name).read_bytes() == b"new" and not Path(name).is_symlink()
    assert Path("precious").read_text() == "mine"


def test_a_folder_whose_record_is_no_file(model, here, refused):
    for name, make in {
        "deep": lambda p: p.write_text("[" * 100_000),
        "folder": lambda p: p.mkdir(),
        "pipe": getattr(os, "mkfifo", Path.mkdir),
    }.items():
        Path(name).mkdir()
        make(Path(name, "generate.json"))
        refused([*GENERATE, "--model", model, "--out", name], f"{Path(name, 'generate.json')} cannot be read", 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_told(model, here, monkeypatch, capsys):
    image_folder(here / "style", 2)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main([*PRIOR, "--model", model]) == 1
    assert "error: No space left on device" in capsys.readouterr().err
    assert StylePrior.load("new.safetensors").meta["n"] == 2
