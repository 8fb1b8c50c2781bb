"""The models that lie in data/: their files, their report, and what the course claims of them, each with a control."""

import json
import re
import socket

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTokenizer

from dislib.core.latents import decode, encode
from dislib.core.pipeline import _dtype_keyword, image_size, latent_shape, pipeline_fingerprint
from dislib.core.sampling import generate
from dislib.core.signal import readability
from dislib.evaluation.judge import load_judge
from dislib.files import check_checksums, sha256
from dislib.images.looks import centroids, mean_lab
from dislib.lessons.lesson_01 import claim_readable_leak, claim_seed_share
from dislib.loading import load_pipeline
from dislib.world import STYLES, paint, shown, vocabulary
from recipes.pictures import FRESH, scene
from recipes.report import judged

DATA = ROOT / "data"
TINY, JUDGE = DATA / "tiny-sd", DATA / "judge"
FIRST = 5000  # number of the first fresh scene here; the report looks at others
PROMPTS = ("a red house in the meadow", "a blue car on the street", "a yellow boat on the sea",
           "a white cat in the snow", "a purple mushroom in the desert", "an orange balloon in the meadow")
NIGHT, DAY = "a red house in the meadow at night", "a red house in the meadow at day"
SEEDS = range(6)

# What was asked for, written down a second time so that no goal is moved unnoticed: floor, aim.
GOALS = {
    "vae natural": (25, 28), "vae styles, lowest": (21, 23), "vae photographs": (17, 19),
    "thing": (75, 90), "colour": (65, 85), "ground": (80, 90), "time": (80, 90),
    "judge on styles, lowest": (95, 98), "fid over floor, lowest": (20, 50),
    "seed share": (0.25, None), "readability": (1.3, 1.65), "seconds a picture": (1.0, 0.5),
}


def must_be_there(path, what):
    assert path.exists(), f"{path.relative_to(ROOT)} is missing: {what}"


@pytest.fixture(scope="module")
def tiny():
    must_be_there(TINY / "model_index.json", "train with `python -m recipes vae`, `unet` and `ship`")
    return TINY


@pytest.fixture(scope="module")
def pipe(tiny):
    """The embedded model as plain diffusers loads it."""
    loaded = StableDiffusionPipeline.from_pretrained(
        tiny, local_files_only=True, use_safetensors=True, **{_dtype_keyword(): torch.float32})
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def judge():
    must_be_there(JUDGE / "model.safetensors", "train with `python -m recipes judge` and `ship`")
    return load_judge(JUDGE, device="cpu")


@pytest.fixture(scope="module")
def report():
    must_be_there(TINY / "report.json", "write it with `python -m recipes report`")
    return json.loads((TINY / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fresh():
    """A hundred scenes that training never saw, and their pictures."""
    scenes = [scene(FIRST + i, FRESH) for i in range(100)]
    return scenes, [paint(s) for s in scenes]


@pytest.fixture(scope="module")
def latents(pipe, fresh):
    return encode(pipe, fresh[1], batch_size=10)


@pytest.fixture(scope="module")
def grid(pipe):
    """Rows of prompts (the last two the same but for the time), columns of seeds."""
    made = [s.image for batch in generate(pipe, [*PROMPTS, NIGHT, DAY], SEEDS, steps=8, batch_size=8) for s in batch]
    return [made[start : start + len(SEEDS)] for start in range(0, len(made), len(SEEDS))]


# --- files ----------------------------------------------------------------------------------------------------------


def test_plain_diffusers_loads_it_without_a_network(tiny, monkeypatch):
    def refused(*_, **__):
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    pipe = StableDiffusionPipeline.from_pretrained(tiny, local_files_only=True, **{_dtype_keyword(): torch.float32})
    kinds = (pipe.vae, pipe.unet, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)
    expected = (AutoencoderKL, UNet2DConditionModel, CLIPTextModel, CLIPTokenizer, DDIMScheduler)
    assert all(isinstance(part, kind) for part, kind in zip(kinds, expected))
    assert pipe.safety_checker is None


def test_the_folder_is_laid_out_as_diffusers_does(tiny):
    names = {f.relative_to(tiny).as_posix() for f in tiny.rglob("*") if f.is_file()}
    weights = {"unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
               "text_encoder/model.safetensors"}
    needed = {"model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json",
              "text_encoder/config.json", "tokenizer/tokenizer_config.json"}
    assert weights | needed <= names
    assert {n for n in names if n.endswith(".safetensors")} == weights  # no variant, no shards, no second copy
    assert not [n for n in names if n.endswith((".bin", ".pt", ".ckpt", ".msgpack", ".part"))]
    index = json.loads((tiny / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "StableDiffusionPipeline" and index["safety_checker"] == [None, None]


def test_no_config_tells_on_whose_machine_it_was_made(tiny):
    for file in [f for folder in (tiny, JUDGE) for f in folder.rglob("*.json")]:
        found = re.search(r'"[^"]*(name_or_path|/(work|tmp|home|root|Users)/)[^"]*"', file.read_text(encoding="utf-8"))
        assert not found, f"{file.relative_to(DATA)} holds {found[0]}"


def weight_files():
    return [f for folder in (TINY, JUDGE) if folder.exists() for f in sorted(folder.rglob("*.safetensors"))]


def test_weights_are_kept_in_half_precision(tiny):
    for file in weight_files():
        with safe_open(file, "pt") as stored:
            kinds = {stored.get_slice(key).get_dtype() for key in stored.keys()}
        assert kinds <= {"F16", "I64"} and "F16" in kinds, (file, kinds)


def test_the_parts_have_the_promised_size(pipe, tiny):
    assert sum(p.numel() for p in pipe.unet.parameters()) <= 8e6
    assert (tiny / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size <= 16 * 2**20
    assert (latent_shape(pipe), image_size(pipe), pipe.vae_scale_factor) == ((4, 16, 16), 128, 8)
    assert pipe.vae.config.latent_channels == 4 and pipe.vae.config.scaling_factor != 0.18215  # its own


def test_the_scheduler_is_stable_diffusions_with_another_end(pipe):
    config = pipe.scheduler.config
    assert type(pipe.scheduler) is DDIMScheduler
    expected = {"prediction_type": "epsilon", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
                "num_train_timesteps": 1000, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
                "rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    assert {key: config[key] for key in expected} == expected


def test_every_word_of_the_world_is_one_token(pipe):
    tokenizer, config = pipe.tokenizer, pipe.text_encoder.config
    assert tokenizer.model_max_length == config.max_position_embeddings == 24
    assert len(tokenizer) == config.vocab_size
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in vocabulary())


def test_checksums_agree_and_leave_no_file_out(tiny):
    number, wrong = check_checksums(DATA)
    assert wrong == []
    files = {f for folder in (TINY, JUDGE) for f in folder.rglob("*") if f.is_file()}
    listed = {DATA / line.split(maxsplit=1)[1] for line in (DATA / "CHECKSUMS.sha256").read_text().splitlines()}
    assert listed == files and number == len(files)


def test_a_changed_file_would_be_noticed(tiny, tmp_path):
    (tmp_path / "tiny-sd").mkdir()
    (tmp_path / "tiny-sd" / "model_index.json").write_text("{}")
    digest = sha256(tiny / "model_index.json")
    (tmp_path / "CHECKSUMS.sha256").write_text(f"{digest}  tiny-sd/model_index.json\n")
    assert check_checksums(tmp_path) == (1, ["tiny-sd/model_index.json has changed"])


# --- report and model card ------------------------------------------------------------------------------------------


def reached(name, value):
    """What a value reaches, worked out here once more."""
    floor, aim = GOALS[name]
    if name == "readability":
        return {"floor", "aim"} if 1.3 <= value <= 2.0 else {"missed"}
    sign = -1 if name == "seconds a picture" else 1
    if aim is not None and sign * value >= sign * aim:
        return {"aim"}
    return {"floor"} if sign * value >= sign * floor else {"missed"}


def test_the_report_says_of_every_goal_whether_it_was_reached(report):
    assert set(report["goals"]) == set(GOALS)
    for name, goal in report["goals"].items():
        assert (goal["floor"], goal["aim"]) == GOALS[name], f"the goal of {name} was moved"
        assert goal["reached"] in reached(name, goal["value"]), (name, goal)


def test_the_goals_are_the_numbers_that_were_measured(report):
    found = {name: goal["value"] for name, goal in report["goals"].items()}
    psnr, judged_ = report["vae psnr"], report["judge"]
    assert set(psnr) == {"natural", *STYLES, "photographs"}
    assert found["vae natural"] == psnr["natural"] and found["vae photographs"] == psnr["photographs"]
    assert found["vae styles, lowest"] == min(psnr[style] for style in STYLES)
    assert found["judge on styles, lowest"] == min(judged_["accuracy"][style]["thing"] for style in STYLES)
    assert found["fid over floor, lowest"] == min(judged_["fid over floor"].values())
    assert len(judged_["fid over floor"]) == len(STYLES) * (len(STYLES) - 1) // 2
    assert {k: found[k] for k in ("thing", "colour", "ground", "time")}.items() <= report["prompt following"].items()
    assert report["prompt following"]["prompts"] == 400 and report["prompt following"]["guidance"] == 5
    share = report["seeds"]["seed share"]
    assert found["seed share"] == pytest.approx(share["share"], abs=6e-4)
    assert report["seeds"]["prompts"] == 8 and share["chance"] == 0.125
    assert share["shuffled"] == pytest.approx(share["chance"], abs=0.03)  # the control is at chance


def test_the_report_is_about_these_weights(report, pipe):
    told = report["readability"]
    assert told["beta_end"] == pipe.scheduler.config.beta_end
    assert told["sqrt_abar_T"] == pytest.approx(float(pipe.scheduler.alphas_cumprod[-1]) ** 0.5, abs=1e-4)


def card_rows(text):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows if row[0] in GOALS}


def test_the_model_card_tells_the_reports_numbers(report, pipe):
    text = (TINY / "README.md").read_text(encoding="utf-8")
    rows = card_rows(text)
    assert set(rows) == set(GOALS)
    for name, goal in report["goals"].items():
        value, floor, aim, verdict = rows[name]
        assert float(value) == goal["value"] and verdict == goal["reached"]
        assert float(floor) == goal["floor"] and (aim == "-" if goal["aim"] is None else float(aim) == goal["aim"])
    assert str(pipe.scheduler.config.beta_end) in text and str(report["readability"]["rms"]) in text
    assert "Apache-2.0" in text


def test_the_change_log_names_the_shipped_model(pipe):
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert pipeline_fingerprint(pipe) in newest, "write the fingerprint of the new model into CHANGELOG.md"


def test_the_model_card_passes_over_no_missed_aim(report):
    text = (TINY / "README.md").read_text(encoding="utf-8").split("\n## ")
    short = [name for name, goal in report["goals"].items() if name != "readability" and goal["aim"] is not None
             and goal["reached"] != "aim"]
    missed = [name for name, goal in report["goals"].items() if goal["reached"] == "missed"]
    beyond_the_table = "\n".join(line for part in text for line in part.splitlines() if not line.startswith("|"))
    assert [name for name in {*short, *missed} if name not in beyond_the_table] == []


# --- the autoencoder ------------------------------------------------------------------------------------------------


def psnr(one, other):
    error = (np.asarray(one, dtype=float) - np.asarray(other, dtype=float)) / 255
    return -10 * np.log10(np.mean(error**2))


def promised(name, *, least):
    """PSNR that the report gives, less 2 dB for another choice of pictures; without a report the least to be of use."""
    path = TINY / "report.json"
    return json.loads(path.read_text(encoding="utf-8"))["vae psnr"][name] - 2 if path.exists() else least


def test_pictures_come_back_from_latents(pipe, fresh, latents):
    back = decode(pipe, latents[:12])
    own = np.mean([psnr(a, b) for a, b in zip(fresh[1], back)])
    others = np.mean([psnr(a, b) for a, b in zip(fresh[1], back[1:] + back[:1])])
    assert own > promised("natural", least=22) and own > others + 6


@pytest.mark.parametrize("style", STYLES)
def test_drawn_pictures_come_back_from_latents(pipe, style):
    drawn = [paint(shown(scene(FIRST + 200 + i, FRESH), style), style) for i in range(4)]
    back = decode(pipe, encode(pipe, drawn))
    own = np.mean([psnr(a, b) for a, b in zip(drawn, back)])
    others = np.mean([psnr(a, b) for a, b in zip(drawn, back[1:] + back[:1])])
    assert own > promised(style, least=18) and own > others + 3


def test_latents_are_in_the_unets_units(latents):
    assert latents.shape == (100, 4, 16, 16) and 0.8 < float(latents.std()) < 1.2
    assert float(latents.abs().max()) < 10


def test_the_mean_of_a_picture_is_as_readable_as_on_stable_diffusion(pipe, latents):
    sqrt_abar = float(pipe.scheduler.alphas_cumprod[-1]) ** 0.5
    assert 1.3 <= readability(latents, sqrt_abar=sqrt_abar).rms <= 2.0
    claim = claim_readable_leak(latents, sqrt_abar=sqrt_abar)
    assert claim, claim
    # The control: with the real model's own sqrt(alpha_bar_T) so small a latent would hardly tell its mean.
    assert readability(latents, sqrt_abar=0.0683).rms < 1.3


# --- what the initial latent decides, and what the prompt does ------------------------------------------------------


def test_pictures_are_pictures(grid):
    pixels = np.stack([np.asarray(image) for row in grid for image in row])
    assert pixels.shape == (8 * len(SEEDS), 128, 128, 3)
    assert pixels.std(axis=(1, 2, 3)).min() > 15  # none is flat, black or white
    assert len({p.tobytes() for p in pixels}) == len(pixels)


def shuffled(grid):
    """The same pictures, but in each row at random among the seeds."""
    rng = np.random.default_rng(1)
    return [[row[i] for i in rng.permutation(len(row))] for row in grid]


def test_the_initial_latent_decides_what_the_prompt_leaves_open(grid):
    claim = claim_seed_share(grid[: len(PROMPTS)])
    assert claim, claim
    control = claim_seed_share(shuffled(grid[: len(PROMPTS)]))
    assert not control, control
    assert claim.value > 1.3 * control.value


def test_an_image_depends_on_its_seed_and_prompt_alone(pipe, grid):
    [[again]] = generate(pipe, [PROMPTS[2]], [4], steps=8)
    assert np.abs(np.asarray(again.image).astype(int) - np.asarray(grid[2][4])).max() <= 2


def test_night_is_darker_than_day(grid, report):
    if report["goals"]["time"]["reached"] == "missed":
        pytest.skip("the report says that times of day are not followed well enough yet")
    night, day = (mean_lab(row)[:, 0] for row in grid[-2:])  # the same seeds
    assert np.mean(day > night + 5) >= 5 / 6, (day, night)
    assert abs(np.mean(day[:3]) - np.mean(day[3:])) < np.mean(day - night)  # seeds alone differ by less


def test_there_is_a_thing_to_be_seen(grid):
    places = np.concatenate([centroids(row) for row in grid])
    assert np.all((places > 0.05) & (places < 0.95))


# --- the judge ------------------------------------------------------------------------------------------------------


def told_right(judge, pictures, scenes):
    """Percentage of pictures in which the judge finds the thing. Where a second thing stands, two answers are right:
    such pictures are not asked about."""
    alone = [(p, (s.thing, None, None, None)) for p, s in zip(pictures, scenes) if s.second is None]
    return judged(judge, *zip(*alone))["thing"]


def allowance(percent, n):
    """Three standard errors of a share of n, in per cent, and one picture more."""
    share = min(max(percent / 100, 0.02), 0.98)
    return 300 * np.sqrt(share * (1 - share) / n) + 100 / n


def test_the_judge_names_things_in_fresh_scenes(judge, fresh, report):
    scenes, pictures = fresh
    expected = report["judge"]["accuracy"]["natural"]["thing"]
    assert told_right(judge, pictures, scenes) >= expected - allowance(expected, 75)
    assert told_right(judge, pictures[1:] + pictures[:1], scenes) < 30  # other scenes' pictures: chance is 10


def test_the_judge_names_things_in_every_style(judge, report):
    shares, expected = [], [report["judge"]["accuracy"][style]["thing"] for style in STYLES]
    for k, style in enumerate(STYLES):
        scenes = [shown(scene(FIRST + 300 + 12 * k + i, FRESH), style) for i in range(12)]
        shares.append(told_right(judge, [paint(s, style) for s in scenes], scenes))
    assert np.mean(shares) >= np.mean(expected) - allowance(np.mean(expected), 9 * len(STYLES))


def test_the_judge_is_another_network_than_the_pipeline(judge, pipe):
    config = judge.model.config
    assert config.text_config.hidden_size != pipe.text_encoder.config.hidden_size
    assert config.vision_config.hidden_size <= 128  # the Fréchet distance needs more pictures than features
    assert len(judge.processor.tokenizer) == config.text_config.vocab_size


def test_the_card_tells_the_learning_rates_that_finetune_takes():
    from dislib.training.settings import FULL_RATE, card_rate
    from recipes.cards import chosen_rates

    pipe, rates = load_pipeline("tiny"), chosen_rates()
    assert (card_rate(pipe), card_rate(pipe, lora=True)) == (rates["style"], rates["style-lora"])
    assert card_rate(pipe) > 10 * FULL_RATE  # what real Stable Diffusion wants would teach this one nothing
