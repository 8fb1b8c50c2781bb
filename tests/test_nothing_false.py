"""The right value, or a refusal by name, where something wrong would be made without a word; a table for each kind."""

import json
import math
import os
import shlex
import shutil
import subprocess
import sys

import diffusers
import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers import build_pipeline, image_folder, images, shared_pipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from small_judge import save_judge

import dislib
from dislib import TrainingSet, finetune, generate
from dislib.cli import main as cli
from dislib.cli.evaluate import columns
from dislib.core.pipeline import latent_shape, separate, set_resolution
from dislib.core.schedulers import SCHEDULERS, make_scheduler
from dislib.errors import ModelError, SamplerError, TrainingError
from dislib.evaluation.judge import load_judge
from dislib.loading import load_pipeline
from dislib.training import checkpoints, result
from dislib.training.lora_support import torchao_put_aside
from dislib.training.objective import draw_batch, noise_loss
from dislib.training.result import LORA, PRIOR, RECORD
from dislib.training.settings import Settings, card_rate

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]

WORDS = ["a", "b", "c", "d"]


# --- samplers ---------------------------------------------------------------------------------------------------------

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
FILES = {
    "ddim": ("DDIMScheduler", {}),
    "ddim in full": ("DDIMScheduler", {"clip_sample": True, "set_alpha_to_one": True, "thresholding": True}),
    "pndm": ("PNDMScheduler", {}),
    "pndm of the hub": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "unipc bent": ("UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh1", "use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "deis": ("DEISMultistepScheduler", {"solver_order": 1}),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return build_pipeline().save_pretrained(folder := tmp_path_factory.mktemp("saved")) or folder


def picture(pipe, name):
    return next(generate(pipe, ["a"], [0], scheduler=name, steps=4))[0].latent


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_named_sampler_makes_one_picture_whatever_the_models_file_says_of_other_samplers(saved, name):
    pipe = load_pipeline(saved, device="cpu")
    wanted = picture(pipe, name)
    for kind, (class_name, more) in FILES.items():
        pipe.scheduler = getattr(diffusers, class_name)(**NOISE, **more)
        assert torch.equal(picture(pipe, name), wanted), kind
        (saved / "scheduler" / "scheduler_config.json").write_text(
            json.dumps({"_class_name": class_name, **NOISE, **more})
        )
        assert torch.equal(picture(load_pipeline(saved, device="cpu"), name), wanted), kind


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("own", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "DDIMScheduler"])
def test_a_noise_schedule_that_is_a_class_s_own_default_is_kept(name, own):
    pipe = build_pipeline()
    pipe.scheduler = getattr(diffusers, own)()
    assert torch.allclose(make_scheduler(pipe, name).alphas_cumprod, pipe.scheduler.alphas_cumprod)


def test_a_sampler_that_cannot_follow_the_noise_schedule_is_refused():
    pipe = build_pipeline()
    pipe.scheduler = diffusers.DDIMScheduler(**NOISE, rescale_betas_zero_snr=True)
    with pytest.raises(SamplerError) as error:
        make_scheduler(pipe, "heun")
    assert "HeunDiscreteScheduler" in str(error.value)
    assert float(make_scheduler(pipe, "dpm").alphas_cumprod[-1]) < 1e-6


@pytest.mark.parametrize("class_name", sorted({class_name for class_name, _ in SCHEDULERS.values()}))
def test_the_loss_is_the_same_whatever_scheduler_the_pipeline_carries(class_name):
    pipe = build_pipeline()
    learnt = TrainingSet.from_images(pipe, images(2), WORDS[:2])
    batch = draw_batch(learnt, 2, 1, "white", Settings(learning_rate=1e-3))
    with torch.no_grad():
        wanted = noise_loss(pipe.unet, pipe.scheduler, *batch)
        assert torch.allclose(noise_loss(pipe.unet, getattr(diffusers, class_name)(**NOISE), *batch), wanted)


# --- random numbers ---------------------------------------------------------------------------------------------------


def lora(seed=0, steps=1):
    pipe = separate(shared_pipeline())
    learnt = TrainingSet.from_images(pipe, images(4), WORDS)
    list(finetune(pipe, learnt, rank=2, seed=seed, max_train_steps=steps, train_batch_size=2, learning_rate=1e-3))
    return {name: value for name, value in pipe.unet.named_parameters() if "lora_" in name}


def test_a_lora_comes_from_its_seed_to_the_last_bit_and_leaves_the_global_numbers_alone():
    shared_pipeline()  # which is built from a seed of its own
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one = lora()
    assert torch.equal(torch.rand(3), wanted)
    torch.manual_seed(6)
    again, other = lora(), lora(seed=1)
    assert one and all(torch.equal(value, again[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_first_weights_of_a_lora_have_pefts_law_and_differ_from_layer_to_layer():
    from dislib.training.trainer import make_trainable

    named = make_trainable(separate(shared_pipeline()).unet, Settings(rank=4, learning_rate=1e-3))
    first = torch.cat([value.detach().flatten() for name, value in named.items() if "lora_A" in name])
    assert abs(float(first.std()) - 0.25) < 0.01 and abs(float(first.mean())) < 0.01
    assert all(not value.any() for name, value in named.items() if "lora_B" in name)
    alike = [value for name, value in named.items() if "lora_A" in name and value.shape == (4, 16)]
    assert len({tuple(value.flatten().tolist()) for value in alike}) == len(alike) > 1


# --- a prior of what is drawn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [WORDS, ["a left", "b", "Right of c", "d"], ["a left", "a right", "LEFT", "b right"]])
def test_the_priors_moments_are_those_of_the_latents_as_drawn(words):
    pipe = shared_pipeline()
    learnt = TrainingSet.from_images(pipe, images(4), words, random_flip=True)
    z, *_ = draw_batch(learnt, 8000, 1, "white", Settings(learning_rate=1e-3))
    prior = learnt.prior(pipe)
    spread = z.std(0).max()
    assert torch.allclose(prior.mean, z.mean(0), atol=0.05 * spread)
    assert torch.allclose(prior.std, z.std(0), rtol=0.2, atol=0.05 * spread)
    if all("left" in text.lower() or "right" in text.lower() for text in words):
        plain = TrainingSet.from_images(pipe, images(4), words).prior(pipe)
        assert torch.equal(prior.mean, plain.mean) and torch.equal(prior.std, plain.std)


def test_priors_of_other_turned_images_have_other_identities():
    pipe = shared_pipeline()
    of = lambda words: TrainingSet.from_images(pipe, images(4), words, random_flip=True).prior(pipe).identity()
    assert of(WORDS) == of(["e", "f", "g", "h"]) != of(["a left", *WORDS[1:]]) != of([*WORDS[:3], "left"])


# --- a result opens as it was made ------------------------------------------------------------------------------------


def tuned(base, out, **options):
    how = {"max_train_steps": 1, "train_batch_size": 2, "learning_rate": 1e-3, "validation_steps": 100, **options}
    pipe = load_pipeline(base, device="cpu")
    set_resolution(pipe, how.pop("resolution", 128))
    learnt = TrainingSet.from_images(pipe, images(4), WORDS, random_flip=how.pop("random_flip", False))
    noise = how.pop("noise", "style")
    list(finetune(pipe, learnt, noise=learnt.prior(pipe) if noise == "style" else noise, out=out, **how))
    return pipe


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "base"
    build_pipeline().save_pretrained(folder)
    card = "---\nlearning_rate: 3e-4\nlora_learning_rate: 2e-3\n---\n"
    (folder / "README.md").write_text(card)
    return folder


SETTINGS = [
    {"resolution": 64}, {"resolution": 64, "noise": "white"}, {"use_ema": True}, {"noise": "offset"},
    {"snr_gamma": 5.0}, {"log_snr_mean": -3}, {"random_flip": True}, {"gradient_checkpointing": True},
]


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("options", SETTINGS, ids=lambda options: " ".join(options))
def test_a_result_opens_as_it_was_made_and_is_a_base_in_turn(untouched, tmp_path, options, rank):
    made = tuned(untouched, tmp_path / "one", rank=rank, **options)
    again = load_pipeline(tmp_path / "one", device="cpu")
    assert latent_shape(again) == latent_shape(made)
    pictures = [next(generate(pipe, ["a"], [0], steps=2))[0].latent for pipe in (made, again)]
    assert torch.allclose(*pictures, atol=1e-4)
    assert (card_rate(again), card_rate(again, lora=True)) == (3e-4, 2e-3)
    size = {"resolution": options["resolution"]} if "resolution" in options else {}
    for other in (None, 2):
        tuned(tmp_path / "one", tmp_path / f"on {other}", rank=other, **size)
        assert latent_shape(load_pipeline(tmp_path / f"on {other}", device="cpu")) == latent_shape(made)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("noise", ["style", "white"])
def test_the_lines_of_the_card_make_the_picture_of_generate(untouched, tmp_path, rank, noise):
    tuned(untouched, tmp_path / "one", rank=rank, noise=noise, resolution=64)
    told = (tmp_path / "one" / "README.md").read_text()
    code = told.split("## With diffusers alone")[1].split("```python\n")[1].split("```")[0]
    code = code.replace('"a red house"', '"a"')
    assert 'image = ' in code
    with torchao_put_aside():  # peft by itself refuses a LoRA beside Colab's torchao, and the card says so
        exec(code, names := {})
    ours = next(generate(load_pipeline(tmp_path / "one", device="cpu"), ["a"], [0]))[0].image
    assert names["image"].size == ours.size == (64, 64)
    assert np.abs(np.asarray(names["image"], int) - np.asarray(ours, int)).max() <= 1


# --- files that are not whole -----------------------------------------------------------------------------------------


def without_tensor(path, name):
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "file, tensor",
    [
        ("unet/diffusion_pytorch_model.safetensors", "conv_in.bias"),
        ("vae/diffusion_pytorch_model.safetensors", "quant_conv.bias"),
        ("text_encoder/model.safetensors", "layer_norm1.bias"),
    ],
)
def test_a_model_with_a_weight_missing_is_refused_by_its_name(untouched, tmp_path, file, tensor):
    model = shutil.copytree(untouched, tmp_path / "model")
    without_tensor(model / file, next(name for name in load_file(model / file) if name.endswith(tensor)))
    with pytest.raises(ModelError) as error:
        load_pipeline(model, device="cpu")
    assert tensor in str(error.value) and file.partition("/")[0] in str(error.value)


@pytest.mark.parametrize("tensor", ["visual_projection.weight", "text_projection.weight", "logit_scale"])
def test_a_judge_with_a_weight_missing_is_refused_by_its_name(tmp_path, tensor):
    save_judge(tmp_path)
    without_tensor(tmp_path / "model.safetensors", tensor)
    with pytest.raises(ModelError) as error:
        load_judge(tmp_path, device="cpu")
    assert tensor in str(error.value)


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_a_lora_with_a_weight_missing_or_cut_short_is_refused(untouched, tmp_path, part):
    tuned(untouched, tmp_path / "one", rank=2)
    path = tmp_path / "one" / LORA
    whole = path.read_bytes()
    without_tensor(path, name := next(name for name in load_file(path) if part in name))
    with pytest.raises(ModelError) as error:
        load_pipeline(tmp_path / "one", device="cpu")
    assert name in str(error.value)
    for cut in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError):
            load_pipeline(tmp_path / "one", device="cpu")


def test_a_tuned_unet_with_a_weight_missing_is_refused(untouched, tmp_path):
    tuned(untouched, tmp_path / "one")
    without_tensor(tmp_path / "one" / "unet" / "diffusion_pytorch_model.safetensors", "conv_in.bias")
    with pytest.raises(ModelError) as error:
        load_pipeline(tmp_path / "one", device="cpu")
    assert "conv_in.bias" in str(error.value)


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage, named",
    [
        (lambda m: edit(m / "unet/config.json", sample_size=0), "sample_size"),
        (lambda m: edit(m / "unet/config.json", sample_size="16"), "sample_size"),
        (lambda m: edit(m / "unet/config.json", sample_size=None), "sample_size"),
        (lambda m: edit(m / "vae/config.json", scaling_factor=None), "scaling_factor"),
        (lambda m: edit(m / "vae/config.json", scaling_factor="a"), "scaling_factor"),
        (lambda m: edit(m / "vae/config.json", scaling_factor=0), "scaling_factor"),
        (lambda m: shutil.rmtree(m / "tokenizer"), "tokenizer"),
        (lambda m: (m / "tokenizer/tokenizer.json").unlink(), "tokenizer"),
        (lambda m: (m / "tokenizer/tokenizer_config.json").unlink(), "tokenizer"),
        (lambda m: [file.unlink() for file in (m / "tokenizer").iterdir()], "tokenizer"),
        (lambda m: shutil.rmtree(m / "text_encoder"), "text_encoder"),
    ],
)
def test_a_damaged_model_is_refused_by_the_part(untouched, tmp_path, damage, named):
    damage(model := shutil.copytree(untouched, tmp_path / "model"))
    with pytest.raises(ModelError) as error:
        load_pipeline(model, device="cpu")
    assert named in str(error.value)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"model": 5}, "model"), ({"settings": []}, "settings"), ({"losses": "x"}, "losses"), ({"model": None}, "model"),
        ({"settings": {"max_train_steps": "1"}}, "max_train_steps"), ({"settings": {"lora_targets": 3}}, "lora_targets"),
        ({"sample_size": "64"}, "sample_size"), ({"sample_size": 0}, "sample_size"),
    ],
)
def test_a_record_with_another_kind_of_value_is_refused_by_its_name(untouched, tmp_path, changes, named):
    tuned(untouched, tmp_path / "one", rank=2)
    edit(tmp_path / "one" / RECORD, **changes)
    with pytest.raises(ModelError) as error:
        load_pipeline(tmp_path / "one", device="cpu")
    assert named in str(error.value)


def test_folders_that_name_each_other_as_base_are_refused(untouched, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    tuned(untouched, one, rank=2)
    shutil.copytree(one, two)
    edit(one / RECORD, model=str(two))
    edit(two / RECORD, model=str(one))
    with pytest.raises(ModelError) as error:
        load_pipeline(one, device="cpu")
    assert RECORD in str(error.value)


@pytest.mark.parametrize("options", [{}, {"rank": 2}, {"use_ema": True}, {"checkpointing_steps": 1}])
@pytest.mark.parametrize("steps", [1, 2])
def test_weights_out_of_all_bounds_are_never_saved(untouched, tmp_path, options, steps):
    with pytest.raises(TrainingError) as error:
        tuned(untouched, tmp_path / "one", learning_rate=1e38, max_train_steps=steps, **options)
    assert "learning_rate" in str(error.value) and not (tmp_path / "one" / RECORD).exists()
    assert not list((tmp_path / "one").glob("checkpoint-*"))


# --- nothing of another's is overwritten ------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = image_folder(tmp_path / "pictures", 2)
    rows = [{"file_name": f"{i:03d}.png", "text": text} for i, text in enumerate("ab")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def command(model, pictures, out, *more):
    words = ["finetune", "--model", model, "--images", pictures, "--out", out, "--max_train_steps", 2,
             "--train_batch_size", 2, "--device", "cpu", "--learning_rate", 1e-3, *more]
    return [str(word) for word in words]


def all_bytes(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("held", ["model_index.json", "README.md", "unet/a.txt", LORA, PRIOR, "checkpoint-1/model.bin",
                                  "checkpoint-700/model.bin", "000.png"])
def test_a_folder_with_what_no_fine_tuning_left_is_refused(untouched, pictures, tmp_path, capsys, held):
    (tmp_path / "out" / held).parent.mkdir(parents=True)
    (tmp_path / "out" / held).write_text("mine")
    before = all_bytes(tmp_path / "out")
    assert cli.main(command(untouched, pictures, tmp_path / "out", "--checkpointing_steps", 1)) == 1
    assert held.partition("/")[0] in capsys.readouterr().err and all_bytes(tmp_path / "out") == before


def test_the_base_model_and_the_training_pictures_are_no_place_for_a_result(untouched, pictures, tmp_path, capsys):
    tuned(untouched, tmp_path / "one", rank=2)
    for place, model in ((untouched, untouched), (pictures, untouched), (tmp_path / "one", tmp_path / "one")):
        before = all_bytes(place)
        assert cli.main(command(model, pictures, place)) == 1
        assert place.name in capsys.readouterr().err and all_bytes(place) == before


def test_a_strangers_checkpoint_is_neither_pruned_nor_gone_on_with(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "model.bin").write_text("mine")
    for step in (2, 3):
        checkpoints.save(tmp_path, step, {"a": torch.zeros(1)}, {}, keep=1)
    assert {folder.name for folder in tmp_path.iterdir()} == {"checkpoint-1", "checkpoint-3"}
    assert checkpoints.find(tmp_path, "latest").name == "checkpoint-3"


def test_a_result_that_was_cut_off_while_it_was_written_is_made_again(untouched, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(result, "card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(command(untouched, pictures, tmp_path / "out"))
    monkeypatch.undo()
    assert cli.main(command(untouched, pictures, tmp_path / "out")) == 0


def test_a_result_whose_weights_are_gone_is_made_again(untouched, pictures, tmp_path):
    assert cli.main(command(untouched, pictures, tmp_path / "out")) == 0
    before = all_bytes(tmp_path / "out" / "unet")
    shutil.rmtree(tmp_path / "out" / "unet")
    assert cli.main(command(untouched, pictures, tmp_path / "out")) == 0
    assert all_bytes(tmp_path / "out" / "unet") == before


def test_a_folder_called_tiny_does_not_take_the_name_away(untouched, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command(untouched, pictures, "tiny")) == 0
    assert load_pipeline("tiny", device="cpu").name_or_path != str(tmp_path / "tiny")
    assert load_pipeline("./tiny", device="cpu").style_prior is not None


# --- every option is checked at the door, or has an effect ------------------------------------------------------------


@pytest.mark.parametrize(
    "more, named",
    [
        (["--lr_scheduler", "foo"], "lr_scheduler"), (["--lr_scheduler", "piecewise_constant"], "lr_scheduler"),
        (["--report_to", "foo"], "report_to"), (["--resolution", "0"], "resolution 0"),
        (["--resolution", "1048576"], "resolution 1048576"), (["--resolution", "-64"], "resolution -64"),
        (["--rank", "1000000000"], "rank"), (["--rank", "60000"], "rank"), (["--seed", "-1"], "seed"),
        (["--device", "foo"], "foo"), (["--mixed_precision", "fp8"], "mixed_precision"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused_by_its_name(untouched, pictures, tmp_path, capsys, more, named):
    try:
        code = cli.main(command(untouched, pictures, tmp_path / "out", *more))
    except SystemExit as error:
        code = error.code
    assert code == 2 and named in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [
    {"lora_targets": "to_q"}, {"lora_targets": ["nothing"]}, {"lora_targets": ["norm1"]}, {"lora_targets": []},
    {"adam_beta1": 1.0}, {"adam_epsilon": 0}, {"adam_weight_decay": math.nan}, {"noise_offset": math.inf},
])  # fmt: skip
def test_a_setting_that_cannot_be_followed_is_refused_by_its_name(options):
    pipe = separate(shared_pipeline())
    with pytest.raises(TrainingError) as error:
        finetune(pipe, TrainingSet.from_images(pipe, images(2), WORDS[:2]), rank=2, train_batch_size=2, **options)
    assert next(iter(options)) in str(error.value)


@pytest.mark.parametrize("name", ["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts",
                                  "polynomial"])
def test_every_schedule_that_is_named_runs(untouched, tmp_path, name):
    tuned(untouched, tmp_path / "one", rank=2, lr_scheduler=name, lr_warmup_steps=1, max_train_steps=2)


WRONG = {"WORLD_SIZE": "abc", "RANK": "-1", "LOCAL_RANK": "", "DISLIB_DATA": "~nosuchuser"}


@pytest.mark.parametrize("name, value", WRONG.items())
def test_an_environment_that_cannot_be_followed_is_told_by_its_name(pictures, tmp_path, monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    assert cli.main(command("tiny", pictures, tmp_path / "out")) == 2
    assert (value if name == "DISLIB_DATA" else name) in capsys.readouterr().err


def test_a_judge_on_a_device_that_is_none_is_refused_by_its_name(tmp_path):
    save_judge(tmp_path)
    with pytest.raises(ModelError) as error:
        load_judge(tmp_path, device="foo")
    assert "foo" in str(error.value)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path, closed):
    words = f'"{sys.executable}" -m dislib generate --model {tmp_path / "none"} --prompt a --out {tmp_path / "out"} {closed}'
    assert subprocess.run(words, shell=True, cwd=ROOT, stdin=subprocess.DEVNULL).returncode == 2


def test_a_name_that_is_no_utf8_is_no_loss_after_training(untouched, tmp_path):
    folder = image_folder(tmp_path / "p", 2)
    for i, file in enumerate(sorted(folder.iterdir())):
        os.rename(file, os.fsencode(folder) + f"/a house {i} ".encode() + b"b\xff.png")
    out = os.fsdecode(os.fsencode(tmp_path) + b"/o\xff")
    assert cli.main(command(untouched, folder, out, "--caption", "names")) in (0, 2)
    for name in ("p", "o"):
        assert not list(tmp_path.glob(f"{name}*/.*partial"))


def test_captions_that_are_cut_are_told_by_the_files_name(untouched, pictures, tmp_path, capsys):
    rows = [{"file_name": "000.png", "text": "a " * 30 + "z"}, {"file_name": "001.png", "text": "b"}]
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert cli.main(command(untouched, pictures, tmp_path / "out")) == 0
    said = capsys.readouterr().err
    assert "000.png" in said and "z" in said and "001.png" not in said


WRITER = """
import json, pathlib
class SummaryWriter:
    def __init__(self, folder, **_):
        self.file = pathlib.Path(folder) / "log.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
    def tell(self, *row):
        with open(self.file, "a") as file:
            file.write(json.dumps(row) + "\\n")
    def add_scalar(self, name, value, global_step=None, **_):
        self.tell(name, value, global_step)
    def add_images(self, name, value, global_step=None, dataformats=None):
        self.tell(name, [*value.shape, dataformats], global_step)
    def add_hparams(self, *_, **__): pass
    def flush(self): pass
    def close(self): pass
"""


def test_a_tracker_is_told_of_every_step_and_sheet(untouched, tmp_path, monkeypatch):
    from accelerate.tracking import LoggerType

    (tmp_path / "packages" / "tensorboardX").mkdir(parents=True)
    (tmp_path / "packages" / "tensorboardX" / "__init__.py").write_text(WRITER)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.TENSORBOARD])
    tuned(untouched, tmp_path / "one", report_to="tensorboard", max_train_steps=4, validation_prompts=["a", "b"],
          validation_steps=2)  # fmt: skip
    (log,) = (tmp_path / "one").rglob("log.jsonl")
    told = [json.loads(line) for line in log.read_text().splitlines()]
    losses = json.loads((tmp_path / "one" / RECORD).read_text())["losses"]
    assert [row[1:] for row in told if row[0] == "loss"] == [[loss, step] for step, loss in enumerate(losses, 1)]
    assert [row[1:] for row in told if row[0] == "learning_rate"] == [[1e-3, step] for step in range(1, 5)]
    assert [row[1:] for row in told if row[0] == "validation"] == [[[2, 128, 128, 3, "NHWC"], step] for step in (2, 4)]


def test_a_tracker_without_its_package_is_refused_by_its_name(untouched, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(TrainingError) as error:
        tuned(untouched, tmp_path / "one", report_to="tensorboard")
    assert "pip install tensorboard" in str(error.value)


# --- the command line -------------------------------------------------------------------------------------------------


def parser():
    return cli._parser()


def commands():
    (found,) = [action.choices for action in parser()._actions if hasattr(action, "choices") and action.choices]
    return found


@pytest.mark.parametrize("name", ["doctor", "prior", "generate", "finetune", "evaluate"])
def test_every_command_has_options_of_one_spelling_and_an_example_that_parses(name):
    command = commands()[name]
    options = [text for action in command._actions for text in action.option_strings]
    assert options and not [text for text in options if "-" in text.lstrip("-")]
    line = command.epilog.splitlines()[-1].split("python -m dislib ")[1]
    assert parser().parse_args(shlex.split(line)).run


@pytest.mark.parametrize("words, value", [
    (["--batch-size", "3"], 3), (["--batch_size", "4"], 4), (["--batch-size=5"], 5), (["--batch_size=6"], 6),
])  # fmt: skip
def test_former_spellings_are_read(words, value):
    given = ["generate", "--prompt", "a", "--out", "x-y", *words, "--prompt=a-b --c-d"]
    read = parser().parse_args(cli._spelt(given))
    assert (read.batch_size, read.out, read.prompt) == (value, "x-y", ["a", "a-b --c-d"])


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0 and dislib.__version__ in capsys.readouterr().out


def test_columns_never_touch():
    lines = columns([["", "KID", "FID"], ["w = 1", "-0.04236 [-0.123456, -0.01234]", "1.234e+04 [1.234e+04, 2.345e+04]"]])
    assert len({len(line) for line in lines}) == 1 and "w = 1   -0.04236" in lines[1] and "]   1.2" in lines[1]


def test_a_training_leaves_its_losses_as_a_picture(untouched, pictures, tmp_path):
    assert cli.main(command(untouched, pictures, tmp_path / "out", "--adam_weight_decay", 0.1, "--noise_offset", 0.2,
                            "--rank", 2, "--lora_targets", "to_q", "to_k")) == 0
    Image.open(tmp_path / "out" / "loss.png").verify()
    told = json.loads((tmp_path / "out" / RECORD).read_text())["settings"]
    assert (told["adam_weight_decay"], told["noise_offset"], told["lora_targets"]) == (0.1, 0.2, ["to_q", "to_k"])
