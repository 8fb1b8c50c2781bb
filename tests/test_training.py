"""The trainer: what it minimises, that a step depends on its number alone, and that no interruption shows."""

import dataclasses
import itertools
import json
import math

import pytest
import torch
from helpers import build_pipeline, image_folder, images

from dislib.core.latents import white_noise
from dislib.core.pipeline import image_size, set_resolution
from dislib.core.prior import StylePrior
from dislib.errors import DislibWarning, ModelError, OutputError, PriorError, TrainingError
from dislib.loading import load_pipeline
from dislib.training import checkpoints
from dislib.training.examples import TrainingSet
from dislib.training.finetune import finetune
from dislib.training.lora_support import torchao_put_aside
from dislib.training.objective import draw_batch, draw_noise, noise_loss
from dislib.training.result import LORA, PRIOR
from dislib.training.settings import Settings, build_optimizer

WORDS = ["a b", "c d", "e f", "g h", "i j", "k l"]
QUICK = dict(max_train_steps=6, train_batch_size=4, learning_rate=1e-3, checkpointing_steps=2)


def pipeline():
    pipe = build_pipeline()
    pipe.style_prior = None
    return pipe


@pytest.fixture(scope="module")
def examples():
    return TrainingSet.from_images(build_pipeline(), images(6), WORDS)


@pytest.fixture
def prior(examples):
    return StylePrior.from_latents([examples.latents])


def losses(pipe, examples, **options):
    return [record.loss for record in finetune(pipe, examples, **{**QUICK, **options})]


def weights(pipe):
    return torch.cat([value.flatten() for value in pipe.unet.state_dict().values()])


# --- the objective --------------------------------------------------------------------------------------------


def test_noise_of_each_kind_has_its_moments(prior):
    u, c = torch.randn(4000, 4, 16, 16), torch.randn(4000, 4, 1, 1)
    assert draw_noise("white", u, c) is u
    styled = draw_noise(prior, u, c)
    assert torch.allclose(styled.mean(0), prior.mean, atol=0.02 * 5 * float(prior.std.max()))
    assert torch.allclose(styled.std(0), prior.std, rtol=0.1)
    offset = draw_noise("offset", u, c, offset=0.5)
    assert math.isclose(float(offset.mean((2, 3)).var()), 0.25 + 1 / 256, rel_tol=0.1)


def test_loss_is_that_of_the_formula(prior):
    pipe, z, u = pipeline(), torch.randn(3, 4, 16, 16), torch.randn(3, 4, 16, 16)
    eps, t = prior.mean + prior.std * u, torch.tensor([0, 500, 999])
    abar = pipe.scheduler.alphas_cumprod[t][:, None, None, None]
    context = torch.randn(3, 24, 16)
    with torch.no_grad():
        guess = pipe.unet(abar.sqrt() * z + (1 - abar).sqrt() * eps, t, context).sample
        found = noise_loss(pipe.unet, pipe.scheduler, z, eps, t, context)
        weighed = noise_loss(pipe.unet, pipe.scheduler, z, eps, t, context, snr_gamma=5.0)
    wanted = (guess - eps).square().mean((1, 2, 3))
    snr = (abar / (1 - abar)).flatten()
    assert torch.allclose(found, wanted, rtol=1e-5)
    assert torch.allclose(weighed, wanted * snr.clamp(max=5) / snr, rtol=1e-4)


def test_the_unnormalised_target_tells_style_noise_from_white(examples, prior):
    """Negative control of the formula: with another target the loss is another one."""
    pipe, settings = pipeline(), Settings(learning_rate=1e-3)
    z, eps, t, context = draw_batch(examples, 6, 1, prior, settings)
    u = (eps - prior.mean) / prior.std
    with torch.no_grad():
        ours = noise_loss(pipe.unet, pipe.scheduler, z, eps, t, context).mean()
        normalised = (u - pipe.unet(pipe.scheduler.add_noise(z, eps, t), t, context).sample).square().mean()
    assert abs(float(ours - normalised)) > 0.05


def test_a_batch_depends_on_seed_and_step_alone(examples):
    one = draw_batch(examples, 4, 3, "white", Settings(seed=1))
    again = draw_batch(examples, 4, 3, "white", Settings(seed=1))
    other = draw_batch(examples, 4, 4, "white", Settings(seed=1))
    seed = draw_batch(examples, 4, 3, "white", Settings(seed=2))
    assert all(torch.equal(a, b) for a, b in zip(one, again))
    assert not torch.equal(one[1], other[1]) and not torch.equal(one[1], seed[1])


def test_every_epoch_shows_every_image_once(examples):
    settings = Settings(caption_dropout=0.0)
    seen = torch.cat([draw_batch(examples, 3, step, "white", settings)[0] for step in (1, 2, 3, 4)])
    for epoch in (seen[:6], seen[6:]):
        found = [int((examples.latents == z).flatten(1).all(1).nonzero()) for z in epoch]
        assert sorted(found) == list(range(6))


def test_caption_dropout_keeps_its_share(examples):
    batch = draw_batch(examples, 3000, 1, "white", Settings(caption_dropout=0.25))[3]
    empty = (batch == examples.empty).flatten(1).all(1).float().mean()
    assert abs(float(empty) - 0.25) < 0.03


# --- the training set -----------------------------------------------------------------------------------------


def captioned(folder, n=6):
    image_folder(folder, n)
    rows = [{"file_name": f"{i:03d}.png", "text": WORDS[i]} for i in range(n)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_training_set_takes_the_images_the_prior_takes(tmp_path):
    pipe, folder = pipeline(), captioned(tmp_path / "style")
    examples = TrainingSet.from_folder(pipe, folder, n=4, seed=3)
    mine, theirs = examples.prior(pipe), StylePrior.from_images(pipe, folder, n=4, seed=3)
    assert mine.meta["files"] == theirs.meta["files"] == examples.files
    assert torch.allclose(mine.mean, theirs.mean, atol=1e-5) and torch.allclose(mine.std, theirs.std, atol=1e-5)
    assert [examples.captions[i] == WORDS[int(f[:3])] for i, f in enumerate(examples.files)] == [True] * 4


def test_mirror_images_are_used_but_not_where_a_side_is_named(tmp_path):
    pipe = pipeline()
    said = ["a to the left of b", *WORDS[:3]]
    examples = TrainingSet.from_images(pipe, images(4), said, random_flip=True)
    yes, no = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    rows = torch.arange(4)
    flipped, _ = examples.batch(rows, seed=0, flips=yes, dropped=no)
    plain, _ = examples.batch(rows, seed=0, flips=no, dropped=no)
    order = examples._picks(rows, 0)
    for z, z_plain, i in zip(flipped, plain, order.tolist()):
        assert torch.equal(z_plain, examples.latents[i])
        assert torch.equal(z, examples.latents[i] if i == 0 else examples.mirrored[i])


def test_random_crops_differ_from_the_centre(tmp_path):
    folder = captioned(tmp_path / "wide")
    for file, image in zip(sorted(folder.glob("*.png")), images(6, size=256)):
        image.crop((0, 0, 256, 128)).save(file)
    pipe = pipeline()
    centre = TrainingSet.from_folder(pipe, folder)
    crops = TrainingSet.from_folder(pipe, folder, center_crop=False)
    again = TrainingSet.from_folder(pipe, folder, center_crop=False)
    assert not torch.allclose(centre.latents, crops.latents) and torch.equal(crops.latents, again.latents)


def test_latents_of_another_model_are_refused():
    with pytest.raises(TrainingError, match=r"\(4, 8, 8\).*\(4, 16, 16\)"):
        TrainingSet.from_latents(pipeline(), torch.zeros(2, 4, 8, 8), ["a", "b"])
    with pytest.raises(TrainingError, match="2 images and 1 captions"):
        TrainingSet.from_images(pipeline(), images(2), ["a"])


# --- the loop -------------------------------------------------------------------------------------------------


def test_training_learns_and_changes_nothing_but_the_unet(examples, prior):
    pipe = pipeline()
    frozen = [v.clone() for part in (pipe.vae, pipe.text_encoder) for v in part.state_dict().values()]
    before = weights(pipe)
    found = losses(pipe, examples, noise=prior, max_train_steps=60)
    assert sum(found[-10:]) < 0.7 * sum(found[:10])
    assert not torch.equal(before, weights(pipe)) and not pipe.unet.training
    kept = [v for part in (pipe.vae, pipe.text_encoder) for v in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(frozen, kept))
    assert pipe.style_prior is prior


def test_the_first_loss_is_the_one_computed_by_hand(examples, prior):
    pipe, settings = pipeline(), Settings(**QUICK)
    z, eps, t, context = draw_batch(examples, 4, 1, prior, settings)
    with torch.no_grad():
        wanted = noise_loss(pipe.unet.train(), pipe.scheduler, z, eps, t, context).mean()
    assert math.isclose(losses(pipe, examples, noise=prior)[0], float(wanted), rel_tol=1e-5)


def test_white_noise_leaves_no_prior(examples, prior):
    pipe = pipeline()
    pipe.style_prior = prior
    losses(pipe, examples, noise="white", max_train_steps=1)
    assert pipe.style_prior is None


def test_accumulation_equals_a_larger_batch(examples):
    large = losses(pipeline(), examples, train_batch_size=4)
    split = losses(pipeline(), examples, train_batch_size=2, gradient_accumulation_steps=2)
    assert large == pytest.approx(split, rel=1e-4)


def test_the_training_can_be_stopped_at_any_step(examples):
    pipe = pipeline()
    *_, record = itertools.islice(finetune(pipe, examples, **QUICK), 2)
    assert record.step == 2 and not pipe.unet.training and not any(p.requires_grad for p in pipe.unet.parameters())


def test_ema_lags_behind_the_weights(examples):
    plain, averaged, start = pipeline(), pipeline(), weights(pipeline())
    losses(plain, examples), losses(averaged, examples, use_ema=True)
    moved = (weights(plain) - start).norm()
    assert 0 < (weights(averaged) - start).norm() < moved


def test_sample_sheets_come_at_their_steps_from_one_seed(examples, prior):
    pipe = pipeline()
    options = dict(validation_prompts=["a b", "c"], validation_steps=4)
    sheets = {r.step: r.images for r in finetune(pipe, examples, noise=prior, **QUICK, **options) if r.images}
    assert list(sheets) == [4, 6] and [len(s) for s in sheets.values()] == [2, 2]


def test_validation_does_not_change_the_training(examples):
    plain = losses(pipeline(), examples)
    watched = losses(pipeline(), examples, validation_prompts=["a"], validation_steps=2, use_ema=False)
    assert plain == watched


def test_schedule_and_warm_up_are_followed(examples):
    pipe = pipeline()
    options = QUICK | dict(lr_scheduler="linear", lr_warmup_steps=2, learning_rate=1.0, max_grad_norm=1e-9)
    rates = [r.learning_rate for r in finetune(pipe, examples, **options)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.75, 0.5, 0.25])


def test_dreambooth_adds_the_loss_of_what_is_to_be_preserved(examples, prior):
    kept = TrainingSet.from_images(pipeline(), images(6, seed=9), WORDS)
    alone = losses(pipeline(), examples, max_train_steps=1)[0]
    other = losses(pipeline(), kept, max_train_steps=1)[0]
    both = losses(pipeline(), examples, preserve=kept, prior_loss_weight=0.5, max_train_steps=1)[0]
    none = losses(pipeline(), examples, preserve=kept, prior_loss_weight=0.0, max_train_steps=1)[0]
    assert none == pytest.approx(alone) and both > alone + 0.2 * other


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_stays_close(examples, precision):
    exact = losses(pipeline(), examples)
    mixed = losses(pipeline(), examples, mixed_precision=precision)
    assert exact != mixed and exact == pytest.approx(mixed, rel=0.05)


@pytest.mark.parametrize("precision, fused", [("no", True), ("bf16", True), ("fp16", None)])
def test_adam_on_a_cpu_is_fused_where_no_gradients_are_scaled(precision, fused):
    made = build_optimizer([torch.nn.Parameter(torch.ones(3))], Settings(learning_rate=1e-3, mixed_precision=precision))
    assert type(made) is torch.optim.AdamW and made.defaults["fused"] is fused


def test_gradient_checkpointing_gives_the_same_losses(examples):
    assert losses(pipeline(), examples) == pytest.approx(losses(pipeline(), examples, gradient_checkpointing=True))


# --- the result -----------------------------------------------------------------------------------------------


def saved(folder, examples, **options):
    """A base folder, and the folder of a fine-tuning of it."""
    base = folder / "base"
    if not base.exists():
        build_pipeline().save_pretrained(base)
    pipe = load_pipeline(base, device="cpu")
    for _ in finetune(pipe, examples, out=folder / "tuned", **{**QUICK, **options}):
        pass
    return pipe, folder / "tuned"


def pixels(pipe, **options):
    from dislib import paint

    [[image]] = paint(pipe, ["a red house"], [0], steps=12, **options)
    return torch.tensor(list(image.tobytes())).int()


@pytest.mark.parametrize("rank", [None, 2])
def test_a_saved_model_starts_from_its_prior_and_so_do_the_lines_on_its_card(tmp_path, examples, prior, rank):
    pipe, folder = saved(tmp_path, examples, noise=prior, rank=rank)
    opened = load_pipeline(folder, device="cpu")
    assert torch.equal(opened.style_prior.mean, prior.mean)
    wanted = pixels(opened)
    assert (wanted - pixels(opened, prior=prior)).abs().max() <= 1
    assert (wanted - pixels(opened, start="white")).abs().max() > 10
    assert (wanted - pixels(pipe)).abs().max() <= 1
    code = (folder / "README.md").read_text().split("```python")[-1].split("```")[0]
    assert len(code.strip().splitlines()) <= 12 and "dislib" not in code.replace(str(tmp_path), "")
    scope = {}
    with torchao_put_aside():  # on Colab, the card says, one uninstalls it
        exec(code, scope)
    assert (wanted - torch.tensor(list(scope["image"].tobytes())).int()).abs().max() <= 1


def test_white_noise_writes_no_prior_and_starts_white(tmp_path, examples):
    _, folder = saved(tmp_path, examples)
    opened = load_pipeline(folder, device="cpu")
    assert opened.style_prior is None and not (folder / PRIOR).exists()
    assert (pixels(opened) - pixels(opened, start="white")).abs().max() <= 1


def test_weights_are_float32_and_the_record_is_complete(tmp_path, examples, prior):
    from safetensors import safe_open

    _, folder = saved(tmp_path, examples, noise=prior)
    with safe_open(folder / "unet" / "diffusion_pytorch_model.safetensors", "pt") as file:
        assert {file.get_slice(k).get_dtype() for k in file.keys()} == {"F32"}
    record = json.loads((folder / "training.json").read_text())
    assert len(record["losses"]) == 6 and record["noise"] == "style" and record["settings"]["learning_rate"] == 1e-3
    assert record["versions"]["torch"] == torch.__version__ and record["images"] == 6


def test_a_lora_loads_in_plain_diffusers_and_weight_zero_is_the_base(tmp_path, examples):
    from diffusers import StableDiffusionPipeline

    saved(tmp_path, examples, rank=2)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    pipe.style_prior = None
    before = pixels(pipe)
    with torchao_put_aside():
        pipe.load_lora_weights(str(tmp_path / "tuned"), weight_name=LORA, adapter_name="style")
    assert (pixels(pipe) - before).abs().max() > 0
    pipe.set_adapters("style", 0.0)
    assert (pixels(pipe) - before).abs().max() <= 1


def test_resolution_is_kept_with_the_model(tmp_path):
    build_pipeline().save_pretrained(tmp_path / "base")
    pipe = load_pipeline(tmp_path / "base", device="cpu")
    set_resolution(pipe, 64)
    examples = TrainingSet.from_images(pipe, images(6, size=64), WORDS)
    for _ in finetune(pipe, examples, noise=examples.prior(pipe), out=tmp_path / "tuned", **QUICK):
        pass
    opened = load_pipeline(tmp_path / "tuned", device="cpu")
    assert image_size(opened) == 64 and len(pixels(opened)) == 3 * 64 * 64
    with pytest.raises(ModelError, match="resolution 100 is not a multiple of 16.*96"):
        set_resolution(pipe, 100)


# --- interruptions --------------------------------------------------------------------------------------------


def cut_off(out, examples, steps, **options):
    """Stop a run dead after `steps` steps, as a kill would: the generator is never closed in order."""
    pipe = pipeline()
    run = finetune(pipe, examples, out=out, **{**QUICK, **options})
    for _ in range(steps):
        next(run)
    return run


@pytest.mark.parametrize("options", [
    {}, {"use_ema": True}, {"rank": 2}, {"lr_scheduler": "cosine", "lr_warmup_steps": 2}, {"mixed_precision": "bf16"},
], ids=str)
def test_a_resumed_run_is_an_undisturbed_one(tmp_path, examples, prior, options):
    options = {"noise": prior, **options}
    undisturbed = pipeline()
    wanted = losses(undisturbed, examples, out=tmp_path / "a", **options)
    cut_off(tmp_path / "b", examples, 5, **options)
    resumed = pipeline()
    found = losses(resumed, examples, out=tmp_path / "b", **options)
    assert len(found) == 2  # steps 5 and 6: a checkpoint was left after step 4
    assert found == pytest.approx(wanted[4:], rel=1e-5)
    assert torch.allclose(weights(resumed), weights(undisturbed), atol=1e-6)
    records = [json.loads((tmp_path / name / "training.json").read_text()) for name in "ab"]
    assert records[0]["losses"] == pytest.approx(records[1]["losses"], rel=1e-5)


def test_only_whole_checkpoints_count_and_the_newest_is_kept(tmp_path, examples):
    cut_off(tmp_path, examples, 5)
    assert [f.name for f in checkpoints.checkpoints(tmp_path)] == ["checkpoint-4"]
    half = tmp_path / ".checkpoint-6.partial"
    half.mkdir()
    (half / "state.json").write_text("{")
    (tmp_path / "checkpoint-best").mkdir()
    assert [f.name for f in checkpoints.checkpoints(tmp_path)] == ["checkpoint-4"]
    assert len(losses(pipeline(), examples, out=tmp_path)) == 2
    assert not half.exists()


def test_a_damaged_checkpoint_is_named(tmp_path, examples):
    cut_off(tmp_path, examples, 5)
    file = tmp_path / "checkpoint-4" / checkpoints.TENSORS
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="checkpoint-4 cannot be read.*delete that folder"):
        losses(pipeline(), examples, out=tmp_path)


def test_no_checkpoint_holds_a_pickle(tmp_path, examples):
    cut_off(tmp_path, examples, 3)
    files = [f for f in (tmp_path / "checkpoint-2").rglob("*") if f.is_file()]
    assert {f.suffix for f in files} == {".safetensors", ".json"}


def test_resuming_with_other_arguments_says_which(tmp_path, examples, prior):
    cut_off(tmp_path, examples, 3)
    for options, word in (
        ({"learning_rate": 2e-3}, "learning_rate"), ({"noise": prior}, "noise_id"), ({"seed": 1}, "seed"),
        ({"train_batch_size": 2}, "train_batch_size"),
    ):
        with pytest.raises(TrainingError, match=rf"checkpoint-2 was made with other settings \({word} differ"):
            losses(pipeline(), examples, out=tmp_path, **options)
    other = TrainingSet.from_images(pipeline(), images(6, seed=5), WORDS)
    with pytest.raises(TrainingError, match="examples differ"):
        losses(pipeline(), other, out=tmp_path)
    with pytest.raises(TrainingError, match="beyond max_train_steps"):
        losses(pipeline(), examples, out=tmp_path, max_train_steps=1)
    with pytest.raises(TrainingError, match='resume_from_checkpoint="latest"'):
        losses(pipeline(), examples, out=tmp_path, resume_from_checkpoint=None)
    with pytest.raises(TrainingError, match="no checkpoint checkpoint-7 .*checkpoint-2"):
        losses(pipeline(), examples, out=tmp_path, resume_from_checkpoint="checkpoint-7")


def test_a_constant_rate_may_be_trained_for_longer(tmp_path, examples):
    losses(pipeline(), examples, out=tmp_path)
    assert len(losses(pipeline(), examples, out=tmp_path, max_train_steps=8)) == 2


def test_a_finished_result_of_other_settings_is_not_overwritten(tmp_path, examples):
    saved(tmp_path, examples, checkpointing_steps=100)
    with pytest.raises(TrainingError, match="holds a fine-tuning with other settings.*learning_rate"):
        saved(tmp_path, examples, checkpointing_steps=100, learning_rate=2e-3)


def test_an_unfinished_folder_is_no_model(tmp_path, examples):
    cut_off(tmp_path, examples, 3)
    with pytest.raises(ModelError, match="has not finished; run the same command again"):
        load_pipeline(tmp_path)


# --- bad input ------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint_kept(tmp_path, examples):
    run = cut_off(tmp_path, examples, 3)
    examples = dataclasses.replace(examples, latents=examples.latents * 1e30)
    run = finetune(pipeline(), examples, **QUICK)
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) at step 1; lower learning_rate \(now 0.001\)"):
        next(run)
    assert checkpoints.checkpoints(tmp_path)


@pytest.mark.parametrize("options, message", [
    ({"max_train_steps": 0}, "max_train_steps must be a whole number from 1, got 0"),
    ({"train_batch_size": 2.5}, "train_batch_size must be a whole number from 1, got 2.5"),
    ({"learning_rate": -1}, "learning_rate must be a number above 0, got -1"),
    ({"learning_rate": float("nan")}, "learning_rate must be a number above 0, got nan"),
    ({"caption_dropout": 2}, "caption_dropout must be a number from 0 to 1, got 2"),
    ({"mixed_precision": "fp8"}, "mixed_precision must be one of no, fp16, bf16, got 'fp8'"),
    ({"rank": 0}, "rank must be a whole number from 1, got 0"),
    ({"validation_prompts": "a cat"}, r'write \["a cat"\]'),
], ids=str)
def test_settings_out_of_range(options, message):
    with pytest.raises(TrainingError, match=message):
        Settings(**options)


def test_noise_that_does_not_fit_is_refused(examples):
    with pytest.raises(TrainingError, match="there is no noise 'pink'; choose white, offset or give a StylePrior"):
        finetune(pipeline(), examples, noise="pink")
    small = StylePrior(torch.zeros(4, 8, 8), torch.ones(4, 8, 8))
    with pytest.raises(PriorError, match=r"\(4, 8, 8\).*\(4, 16, 16\)"):
        finetune(pipeline(), examples, noise=small)


def test_another_prediction_type_is_refused(examples):
    pipe = pipeline()
    pipe.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(TrainingError, match="predicts sample; only models that predict epsilon or v_prediction"):
        finetune(pipe, examples)


def test_fewer_images_than_the_batch_is_said(examples):
    with pytest.warns(DislibWarning, match="6 images and 8 to a step"):
        losses(pipeline(), examples, train_batch_size=8, max_train_steps=1)


def test_a_full_disk_leaves_no_checkpoint_under_its_final_name(tmp_path, examples, monkeypatch):
    def full(path, *_):
        raise OutputError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(checkpoints, "write_json", full)
    run = finetune(pipeline(), examples, out=tmp_path, **QUICK)
    next(run)
    with pytest.raises(OutputError, match="disk is full"):
        next(run)
    assert list(tmp_path.iterdir()) == []


def test_out_of_gpu_memory_says_what_to_lower(examples, monkeypatch):
    def explode(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("dislib.training.trainer.loss_for", lambda _: explode)
    with pytest.raises(TrainingError, match=r"lower train_batch_size \(now 4\).*gradient_checkpointing.*LoRA"):
        losses(pipeline(), examples)


def test_eight_bit_adam_falls_back_with_a_word(examples, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim", None)
    with pytest.warns(DislibWarning, match="bitsandbytes cannot be used here"):
        losses(pipeline(), examples, use_8bit_adam=True, max_train_steps=1)


def test_a_second_lora_on_the_same_unet_is_refused(examples):
    pipe = pipeline()
    losses(pipe, examples, rank=2, max_train_steps=1)
    with pytest.raises(TrainingError, match="carries a LoRA already"):
        finetune(pipe, examples, rank=2)


def test_white_start_stays_white_for_a_tuned_model(prior):
    from dislib.core.sampling import generate

    pipe = pipeline()
    pipe.style_prior = prior
    white, own = (next(generate(pipe, ["a"], [3], steps=2, start=start))[0].latent for start in ("white", None))
    given = next(generate(pipe, ["a"], [3], steps=2, latents=white_noise([3], prior.shape)))[0].latent
    assert torch.equal(white, given) and not torch.allclose(white, own)


def test_layers_of_a_lora_matter_only_where_there_is_one():
    theirs = Settings(lora_targets=("to_q",)).to_json()
    assert Settings().differences(theirs) == []
    assert Settings(rank=4).differences({**theirs, "rank": 4}) == ["lora_targets"]
