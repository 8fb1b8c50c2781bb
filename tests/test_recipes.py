"""The recipes of the embedded model: what they learn from, their losses, one of them end to end, and shipping."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from helpers import build_pipeline, save_pipeline
from safetensors.torch import load_file
from test_tiny import captions

from dislib.core.signal import readability
from dislib.errors import ModelError
from dislib.files import check_checksums
from dislib.world import paint, sample, vocabulary
from recipes import judge, loop, pictures, report, ship, unet, vae
from recipes.tokenizer import WordTable, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(vocabulary())


# --- what the recipes learn from ------------------------------------------------------------------------------------


def test_painted_pictures_are_cached_whole_and_in_order(tmp_path):
    made = pictures.cached(pictures.picture, 2, tmp_path)
    assert made.shape == (2, 128, 128, 3) and made.dtype == np.uint8
    assert np.array_equal(made[1], pictures.picture(1))
    assert [f.name for f in tmp_path.iterdir()] == ["picture-2.npy"]
    (tmp_path / "picture-2.part").write_text("half")  # left behind by a run that was killed
    assert np.array_equal(pictures.cached(pictures.picture, 2, tmp_path), made)


def test_doodles_and_photo_crops_depend_on_their_number_alone():
    assert np.array_equal(pictures.doodle(3), pictures.doodle(3))
    assert not np.array_equal(pictures.doodle(3), pictures.doodle(4))
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    crops = [vae.photo_crop(photo, np.random.default_rng(seed), 128) for seed in (0, 0, 1)]
    assert crops[0].shape == (128, 128, 3) and crops[0].dtype == np.uint8
    assert np.array_equal(crops[0], crops[1]) and not np.array_equal(crops[0], crops[2])


def test_batches_of_crops_depend_on_their_step_alone():
    sources = [np.random.default_rng(k).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8) for k in range(3)]
    one, again, other = (vae.batches(sources, step, count=4, side=64) for step in (0, 0, 1))
    assert one.shape == (4, 3, 64, 64) and -1 <= one.min() < one.max() <= 1
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_scenes_are_mirrored_with_their_relation():
    rng = np.random.default_rng(0)
    for scene in [sample(rng) for _ in range(200)]:
        other = unet.mirrored(scene)
        if scene.second is None:
            assert other is scene
        else:
            assert {scene.relation, other.relation} == {"left", "right"} and unet.mirrored(other) == scene
            assert other == replace(scene, relation=other.relation)


# --- losses ---------------------------------------------------------------------------------------------------------


def test_psnr_has_the_known_value():
    x = torch.zeros(2, 3, 8, 8)
    assert vae.psnr(x, x + 0.2) == pytest.approx(20.0, abs=1e-4)
    assert vae.psnr(x, torch.stack([x[0] + 0.2, x[1] + 0.02])) == pytest.approx(30.0, abs=1e-3)  # the mean of dB


def small_vae():
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=32)


def falls(module, loss, *, steps, lr):
    """The first and the last loss of a few steps on the same data; every weight must receive a gradient."""
    optimiser, values = torch.optim.Adam(module.parameters(), lr=lr), []
    for _ in range(steps):
        torch.manual_seed(3)
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert np.isfinite(values).all()
    return values[0], values[-1]


def test_the_autoencoders_loss_falls():
    model, x = small_vae(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, last = falls(model, lambda: vae.loss(model, x), steps=6, lr=3e-3)
    assert last < 0.95 * first
    assert all(p.grad is not None for p in model.parameters())


class Copier:
    """An autoencoder that keeps all but a constant error; its posterior is the standard normal, so that KL is 0."""

    def __init__(self, error):
        self.error = error

    def encode(self, x):
        zero = torch.zeros(1)
        posterior = type("", (), {"mean": zero, "logvar": zero, "sample": lambda self: x})()
        return type("", (), {"latent_dist": posterior})()

    def decode(self, z):
        return type("", (), {"sample": z + self.error})()


def test_the_autoencoders_loss_has_the_known_values():
    x = torch.rand(2, 3, 16, 16)
    assert float(vae.loss(Copier(0.0), x)) == 0.0
    assert float(vae.loss(Copier(0.5), x)) == pytest.approx(4 * 0.25 + 0.2 * 0.5, rel=1e-3)  # no slopes in a constant
    board = 0.5 * (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))
    assert float(vae.loss(Copier(board), x)) == pytest.approx(1.1 + 0.2 * 2, rel=1e-3)  # slopes of 1 both ways


class Silent(torch.nn.Module):
    """A model whose U-Net says 0 whatever it is asked."""

    def unet(self, z, t, context):
        return type("", (), {"sample": torch.zeros_like(z)})()

    def text(self, tokens):
        return (torch.zeros(len(tokens), 24, 8),)


def test_the_noise_loss_is_weighted_as_min_snr_says():
    scheduler, z = unet.build_scheduler(0.012), torch.zeros(500, 1, 2, 2)
    torch.manual_seed(0)
    found = float(unet.loss(Silent(), scheduler, z, torch.zeros(500, 24, dtype=torch.long)))
    torch.manual_seed(0)
    t, eps = torch.randint(0, 1000, (500,)), torch.randn_like(z)
    abar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[t]
    snr = abar / (1 - abar)
    weight = torch.minimum(snr, torch.tensor(5.0)) / snr  # 1 where noise is strong, less where it is weak
    assert found == pytest.approx(float((weight * eps.pow(2).mean((1, 2, 3))).mean()), rel=1e-3)
    assert weight.max() == 1 and weight.min() < 0.05


def small_model(tokenizer):
    model = torch.nn.Module()
    torch.manual_seed(0)
    pipe = build_pipeline()
    model.unet, model.text = pipe.unet.train(), unet.build_text_encoder(tokenizer).train()
    return model


def test_the_noise_loss_trains_unet_and_text_encoder_together(tokenizer, monkeypatch):
    monkeypatch.setattr(unet, "WIDTH", 16)
    model = small_model(tokenizer)
    tokens = WordTable(tokenizer, vocabulary())(["a red house", "a blue cat in the fog"])
    z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    scheduler = unet.build_scheduler(0.012)
    first, last = falls(model, lambda: unet.loss(model, scheduler, z, tokens), steps=6, lr=3e-3)
    assert last < first
    assert any(p.grad is not None and p.grad.any() for p in model.text.parameters())


def test_the_judge_counts_equal_captions_as_equal():
    seen, told = torch.randn(3, 4), torch.randn(3, 4)
    eye = SimpleNamespace(
        logit_scale=torch.tensor(1.0), visual_projection=torch.nn.Identity(), text_projection=torch.nn.Identity(),
        vision_model=lambda pixel_values: SimpleNamespace(pooler_output=seen),
        text_model=lambda input_ids: SimpleNamespace(pooler_output=told),
    )
    model = SimpleNamespace(heads=torch.nn.ModuleDict(), clip=eye)
    tokens = torch.tensor([[1, 2], [3, 4], [1, 2]])  # the first and the third picture have the same caption
    logits = math.e * F.normalize(seen, dim=1) @ F.normalize(told, dim=1).T
    target = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    expected = sum(-(target * side.log_softmax(1)).sum(1).mean() for side in (logits, logits.T)) / 2
    found = judge.loss(model, torch.zeros(3, 1), tokens, torch.zeros(3, 0, dtype=torch.long))
    assert float(found) == pytest.approx(float(expected), rel=1e-2)  # bfloat16 where it is fast


def test_the_judge_learns_and_skips_what_a_style_hides(tokenizer):
    torch.manual_seed(0)
    model = judge.Trainee(tokenizer)
    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = WordTable(tokenizer, vocabulary())(captions(4))
    hidden = torch.full((4,), -1)  # no picture shows its colour
    labels = torch.stack([torch.arange(4), hidden, hidden, hidden, torch.zeros(4).long(), torch.zeros(4).long(), hidden], 1)
    first, last = falls(model, lambda: judge.loss(model, pixels, tokens, labels), steps=4, lr=1e-3)
    assert last < first
    assert model.heads["colour"].weight.grad is None or not model.heads["colour"].weight.grad.any()
    assert model.clip.vision_model.post_layernorm.weight.grad.any()


def test_the_judges_labels_leave_out_what_is_not_shown():
    rng = np.random.default_rng(0)
    scene = replace(sample(rng), thing="tree", colour="red", ground="desert", time="night", medium=None)
    scene = replace(scene, count=1, second=None, relation=None)
    assert judge.label(scene, None) == [1, 0, 1, 2, 0, 0, 0]
    assert judge.label(scene.without("colour", "time"), "comic") == [1, -1, 1, -1, 0, judge.LOOKS.index("comic"), 0]
    sided = replace(scene, second="cat", second_colour="blue", relation="left")
    labels = torch.tensor([judge.label(sided, None)] * 2)
    assert judge.flipped(labels, torch.tensor([0, 1]))[:, -1].tolist() == [1, 2]  # left is right in the mirror
    assert list(judge.Trainee(build_tokenizer(vocabulary())).heads)[-2:] == ["relation", "damage"]


def test_damage_keeps_the_picture_and_each_kind_shows_its_own_mark():
    torch.manual_seed(0)
    clean = vae.to_tensor([np.asarray(paint(pictures.scene(i), "sketch")) for i in range(8)])
    worn, kinds = judge.damaged(clean)
    names = [judge.DAMAGE[k] for k in kinds]
    assert worn.shape == clean.shape and names == ["blurred", "broken", "bent", "tinted"] * 2
    grey = lambda x: x - x.mean(1, keepdim=True)  # noqa: E731
    slope = lambda x: x.diff(dim=-1).abs().amax((1, 2, 3))  # noqa: E731
    for before, after, name in zip(clean, worn, names):
        assert (before - after).abs().max() > 0.2 and after.min() >= -1.01 and after.max() <= 1.01
        coloured = float(grey(after[None]).abs().mean()) > 3 * float(grey(before[None]).abs().mean())
        assert coloured == (name == "tinted")
        assert (float(slope(after[None])) < 0.5 * float(slope(before[None]))) == (name == "blurred")


def test_half_of_the_judges_styled_captions_carry_the_style():
    rng = np.random.default_rng(0)
    scene, style = judge.styled(6)
    assert style == "sticker" and scene.ground is None and scene.medium is None
    told = [judge.styled_caption(scene, style, rng) for _ in range(300)]
    assert 0.4 < np.mean([t.startswith("a sticker of ") for t in told]) < 0.6


# --- the recipe of the U-Net, end to end in miniature ---------------------------------------------------------------


def test_the_schedule_is_stable_diffusions_but_for_its_end():
    config = unet.build_scheduler(0.034).config
    assert type(unet.build_scheduler(0.034)) is DDIMScheduler
    expected = {"beta_start": 0.00085, "beta_end": 0.034, "beta_schedule": "scaled_linear", "clip_sample": False,
                "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": False, "steps_offset": 1}
    assert {k: config[k] for k in expected} == expected
    assert not config.get("rescale_betas_zero_snr") and config.get("trained_betas") is None


def test_the_unet_is_small_enough_and_fits_the_latents():
    model = unet.build_unet()
    assert sum(p.numel() for p in model.parameters()) <= 8e6
    assert (model.config.sample_size, model.config.in_channels, model.config.out_channels) == (16, 4, 4)
    assert 128 // 2 ** (len(vae.build().config.block_out_channels) - 1) == 16


@pytest.fixture
def miniature(tmp_path, monkeypatch, tokenizer):
    """An untrained autoencoder and latents of eight pictures; U-Net and text encoder are small."""
    model = small_vae()
    model.save_pretrained(tmp_path / "vae" / "vae")
    (tmp_path / "cache").mkdir()
    rng = np.random.default_rng(0)
    z = 3 + rng.normal(size=(2, 8, 4, 16, 16)) + rng.normal(size=(2, 8, 4, 1, 1))  # means that can be read
    np.save(tmp_path / "cache" / "picture-8.npy", np.zeros((8, 128, 128, 3), np.uint8))
    np.save(tmp_path / "cache" / f"latents-8-{unet.fingerprint(model)}.npy", z.astype(np.float16))
    monkeypatch.setattr(unet, "WIDTH", 16)
    monkeypatch.setattr(unet, "build_unet", lambda channels: build_pipeline().unet)
    monkeypatch.setattr(unet, "samples", lambda pipe: [torch.zeros(8, 3, 8, 8)])
    return tmp_path


def test_latents_are_those_of_the_pictures_and_of_their_mirror_images(tmp_path):
    model, path = small_vae().eval(), tmp_path / "latents.npy"
    made = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    z = unet.latents(model, made, path)
    assert z.shape == (2, 3, 4, 4, 4) and z.dtype == torch.float16
    with torch.no_grad():
        for flip, x in enumerate((made, made[:, :, ::-1])):
            mode = model.encode(vae.to_tensor(x)).latent_dist.mode()
            assert torch.allclose(z[flip].float(), mode, atol=0.05 * float(mode.std()) + 0.02)
    assert torch.equal(unet.latents(None, made, path), z)  # read again, not made again


def test_latents_of_another_encoder_are_never_taken_for_ones_own():
    one, other = small_vae(), small_vae()
    assert unet.fingerprint(one) == unet.fingerprint(other)
    with torch.no_grad():
        other.encoder.conv_out.bias += 0.1
    assert unet.fingerprint(one) != unet.fingerprint(other)


def run_miniature(folder, **options):
    return list(unet.run(scenes=8, batch=2, folder=folder, **options))


def test_the_recipe_calibrates_the_schedule_on_its_own_latents(miniature):
    records = run_miniature(miniature / "unet", steps=2)
    pipe = StableDiffusionPipeline.from_pretrained(miniature / "unet" / "pipeline", local_files_only=True,
                                                   use_safetensors=True)
    assert records[-1]["step"] == 2 and np.isfinite(records[-1]["loss"])
    [kept] = (miniature / "cache").glob("latents-*.npy")
    z = np.load(kept).astype(float)
    scaled = z[0] * pipe.vae.config.scaling_factor
    assert scaled.std() == pytest.approx(1, rel=0.01)  # the U-Net's units
    sqrt_abar = float(pipe.scheduler.alphas_cumprod[-1]) ** 0.5
    natural = scaled[[i for i in range(8) if pictures.scene(i).medium is None]]
    assert readability(natural, sqrt_abar=sqrt_abar).rms == pytest.approx(1.65, rel=0.01)
    other = readability(natural, sqrt_abar=float(unet.build_scheduler(0.012).alphas_cumprod[-1]) ** 0.5).rms
    assert abs(other - 1.65) > 0.1  # Stable Diffusion's own end would not have been right
    assert (miniature / "unet" / "sheet.png").exists() and (miniature / "unet" / "log.jsonl").exists()


def test_the_recipe_goes_on_where_it_was_stopped(miniature, monkeypatch):
    run_miniature(miniature / "plain", steps=3)
    run, calls = unet.loss, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*arguments)

    train = loop.train
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(unet, "loss", stopped)
        patch.setattr(loop, "train", lambda *a, **k: train(*a, **k, save_minutes=0))
        run_miniature(miniature / "stopped", steps=3)
    run_miniature(miniature / "stopped", steps=3)
    plain, stopped = (load_file(miniature / name / "checkpoint.safetensors") for name in ("plain", "stopped"))
    assert all(torch.equal(v, stopped[k]) for k, v in plain.items())


# --- shipping and the report ----------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, tokenizer):
    """Recipes' results by untrained models, shipped."""
    save_pipeline(tmp_path / "build" / "unet" / "pipeline")
    trainee = judge.Trainee(tokenizer)
    trainee.clip.save_pretrained(tmp_path / "build" / "judge" / "judge")
    judge.processor(tokenizer).save_pretrained(tmp_path / "build" / "judge" / "judge")
    list(ship.run(folder=tmp_path / "build" / "ship", out=tmp_path / "data"))
    return tmp_path


def test_models_are_shipped_in_half_precision_with_checksums(shipped):
    data = shipped / "data"
    assert check_checksums(data)[1] == []
    weights = sorted(data.rglob("*.safetensors"))
    assert len(weights) == 4
    for file in weights:
        assert not file.stem.endswith("fp16")
        floats = {v.dtype for v in load_file(file).values() if v.is_floating_point()}
        assert floats == {torch.float16}, file
    assert {f.name for f in data.iterdir()} == {"tiny-sd", "judge", "CHECKSUMS.sha256"}


def test_shipped_configs_do_not_tell_where_the_model_was_trained(shipped):
    configs = [f.read_text(encoding="utf-8") for f in (shipped / "data").rglob("*.json")]
    assert len(configs) >= 8 and not any("name_or_path" in c or str(shipped) in c for c in configs)
    pipe = StableDiffusionPipeline.from_pretrained(shipped / "data" / "tiny-sd", local_files_only=True)
    assert pipe.unet.config.sample_size == 16


def test_shipping_again_keeps_the_report_until_the_next_one(shipped):
    data = shipped / "data"
    (data / "tiny-sd" / "report.json").write_text("{}")
    (data / "tiny-sd" / "stale.txt").write_text("gone tomorrow")
    (data / "judge.part").mkdir()  # left behind by a run that was killed
    (data / "judge.part" / "half").write_text("")
    list(ship.run(folder=shipped / "build" / "ship", out=data))
    assert (data / "tiny-sd" / "report.json").read_text() == "{}"
    assert not (data / "tiny-sd" / "stale.txt").exists() and not (data / "judge" / "half").exists()
    assert check_checksums(data)[1] == []


def test_a_decoder_trained_further_is_shipped_and_another_encoder_refused(shipped):
    part = AutoencoderKL.from_pretrained(shipped / "data" / "tiny-sd" / "vae")
    with torch.no_grad():
        part.decoder.conv_out.bias += 0.25
    (shipped / "later").mkdir()
    part.save_pretrained(shipped / "later" / "vae" / "vae")
    list(ship.run(folder=shipped / "later" / "ship", out=shipped / "data"))
    now = AutoencoderKL.from_pretrained(shipped / "data" / "tiny-sd" / "vae")
    assert torch.allclose(now.decoder.conv_out.bias.float(), part.decoder.conv_out.bias.float(), atol=1e-3)
    assert now.config.scaling_factor == part.config.scaling_factor
    with torch.no_grad():
        part.encoder.conv_in.weight += 0.1
    part.save_pretrained(shipped / "later" / "vae" / "vae")
    with pytest.raises(ModelError, match="the encoder in .* is not the one the U-Net"):
        list(ship.run(folder=shipped / "later" / "ship", out=shipped / "data"))


def test_the_report_leaves_the_checksums_in_step(shipped, monkeypatch):
    quick = {"vae_quality": {"natural": 26.0, "photographs": 18.0, **dict.fromkeys(report.STYLES, 22.0)},
             "leak": {"rms": 1.6, "channels": [1.6] * 4, "sqrt_abar_T": 0.1, "beta_end": 0.02}, "speed": 0.4,
             "judge_quality": {"accuracy": {s: {"thing": 96.0} for s in report.STYLES},
                               "fid over floor": {"a-b": 60.0}},
             "seeds_and_prompts": {"seed share": {"share": 0.3, "chance": 0.125, "shuffled": 0.12}},
             "prompt_following": {"thing": 80.0, "colour": 60.0, "ground": 95.0, "time": 85.0, "prompts": 4,
                                  "guidance": 5.0}}
    for name, value in quick.items():
        monkeypatch.setattr(report, name, lambda *a, value=value, **k: value)
    before, _ = check_checksums(shipped / "data")
    *_, last = report.run(folder=shipped / "build" / "report", out=shipped / "data")
    reached = {k: g["reached"] for k, g in last["goals"].items()}
    assert reached["vae natural"] == "floor" and reached["colour"] == "missed" and reached["ground"] == "aim"
    assert reached["seconds a picture"] == "aim"
    assert check_checksums(shipped / "data") == (before + 2, [])  # the report and the model card


@pytest.mark.parametrize("name, value, reached", [
    ("vae natural", 24.9, "missed"), ("vae natural", 25, "floor"), ("vae natural", 28, "aim"),
    ("seconds a picture", 1.1, "missed"), ("seconds a picture", 1.0, "floor"), ("seconds a picture", 0.5, "aim"),
    ("readability", 1.2, "missed"), ("readability", 2.1, "missed"), ("readability", 1.9, "floor"),
    ("seed share", 0.24, "missed"), ("seed share", 0.9, "floor"),
])
def test_verdicts_are_what_the_numbers_say(name, value, reached):
    assert report.verdict(name, value) == reached


def test_judged_answers_are_counted_in_per_cent(monkeypatch):
    monkeypatch.setattr(report, "image_features", lambda pictures, judge, kind: np.zeros((len(pictures), 2)))
    monkeypatch.setattr(report, "zero_shot", lambda seen, say, judge: type("", (), {
        "choices": np.zeros(len(seen), int)})())
    rows = [("house", "red", "meadow", "day"), ("tree", "red", "desert", None), ("tree", "blue", None, None)]
    found = report.judged(None, [None] * 3, rows)
    assert found == {"thing": 33.3, "colour": 66.7, "ground": 50.0, "time": 100.0}
