"""An identity is made from what goes in, so it is the same on every machine; what is computed never tells things apart."""

import dataclasses
import json
import shutil

import pytest
import torch
from helpers import build_pipeline, image_folder, images, shared_pipeline

from dislib import StylePrior, TrainingSet, finetune
from dislib.core.pipeline import pipeline_fingerprint, separate
from dislib.errors import TrainingError
from dislib.files import digest_of
from dislib.loading import load_pipeline
from dislib.training import result as finetuned
from dislib.training.methods import preserved
from dislib.training.objective import id_of

WORDS = ["a", "b", "c", "d"]
HOW = {"max_train_steps": 2, "train_batch_size": 2, "checkpointing_steps": 1}


def learnt(pictures=None, words=WORDS, **options):
    return TrainingSet.from_images(shared_pipeline(), pictures or images(4), words, **options)


def shaken(examples, by=1e-3):
    """The set as another processor computes it."""
    return dataclasses.replace(
        examples, latents=examples.latents + by, embeddings=examples.embeddings + by, empty=examples.empty + by
    )


def test_latents_that_are_a_little_off_are_the_same_set():
    assert shaken(learnt()).fingerprint() == learnt().fingerprint()
    assert shaken(learnt(random_flip=True)).fingerprint() == learnt(random_flip=True).fingerprint()


def test_another_picture_caption_order_or_mirror_is_another_set():
    changed = images(4)
    changed[2] = changed[2].copy()
    changed[2].putpixel((5, 5), (1, 2, 3))
    others = [learnt(changed), learnt(words=["a", "b", "c", "e"]), learnt(images(4)[::-1]), learnt(random_flip=True),
              learnt(words=["ab", "", "c", "d"])]
    assert len({part.fingerprint() for part in [learnt(), *others]}) == 6


def test_another_vae_or_text_encoder_is_another_set():
    other = TrainingSet.from_images(build_pipeline(seed=1), images(4), WORDS)
    assert other.fingerprint() != learnt().fingerprint()


def test_latents_of_unknown_origin_are_known_by_their_numbers_and_of_a_named_one_by_it():
    z, pipe = torch.randn(4, 4, 16, 16), shared_pipeline()
    of = lambda z, **source: TrainingSet.from_latents(pipe, z, WORDS, **source).fingerprint()
    assert of(z) == of(z.clone()) != of(z + 1e-3)
    assert of(z, source="x") == of(z + 1e-3, source="x") != of(z, source="y")


def test_the_base_models_own_pictures_are_known_by_what_asked_for_them():
    a, b = (preserved(shared_pipeline(), WORDS, count) for count in (2, 3))
    assert a.source and shaken(a).fingerprint() == a.fingerprint() != b.fingerprint()


def test_a_prior_is_known_by_its_images(tmp_path):
    pipe, examples = shared_pipeline(), learnt()
    prior = examples.prior(pipe)
    assert id_of(shaken(examples).prior(pipe)) == id_of(prior)
    assert id_of(prior) != id_of(examples.prior(pipe, shrink=0.5)) != id_of(learnt(images(4, seed=1)).prior(pipe))
    prior.save(tmp_path / "p.safetensors")
    assert id_of(StylePrior.load(tmp_path / "p.safetensors")) == id_of(prior)
    by_hand = StylePrior(prior.mean, prior.std)
    assert by_hand.identity() == by_hand.sha256() != StylePrior(prior.mean + 1e-3, prior.std).identity()


def test_a_prior_of_a_folder_and_a_mixture_are_known_by_theirs(tmp_path):
    pipe = shared_pipeline()
    one, other = (StylePrior.from_images(pipe, image_folder(tmp_path / str(s), 3, seed=s)) for s in (0, 1))
    near = dataclasses.replace(one, mean=one.mean + 1e-3)
    mixed = StylePrior.mix([one, other]).identity()
    assert one.identity() == near.identity() != other.identity()
    assert mixed == StylePrior.mix([near, other]).identity()
    assert len({mixed, StylePrior.mix([other, one]).identity(), StylePrior.mix([one, other], [1, 2]).identity()}) == 3


def test_a_run_killed_on_one_processor_goes_on_on_another(tmp_path):
    prior = learnt().prior(shared_pipeline())
    begun = finetune(separate(shared_pipeline()), learnt(), noise=prior, out=tmp_path, **HOW)
    next(begun)
    begun.close()
    moved = shaken(learnt())
    rest = list(finetune(separate(shared_pipeline()), moved, noise=moved.prior(shared_pipeline()), out=tmp_path, **HOW))
    assert [record.step for record in rest] == [2]


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_of_an_earlier_version_is_refused_with_a_sentence(tmp_path, finished):
    run = finetune(separate(shared_pipeline()), learnt(), out=tmp_path, **HOW)
    list(run) if finished else [next(run), run.close()]
    for folder in tmp_path.glob("checkpoint-*") if finished else ():
        shutil.rmtree(folder)
    path = tmp_path / "training.json" if finished else tmp_path / "checkpoint-1" / "state.json"
    record = json.loads(path.read_text())
    del record["identity"]
    path.write_text(json.dumps(record))
    with pytest.raises(TrainingError, match="another version of this course.*choose another folder"):
        finetune(separate(shared_pipeline()), learnt(), out=tmp_path, **HOW)
    assert not finished or finetuned.read(tmp_path)["losses"]  # it can still be opened


def test_a_model_with_a_lora_is_known_by_its_base_and_its_file(tmp_path):
    build_pipeline().save_pretrained(tmp_path / "base")
    base = load_pipeline(tmp_path / "base", device="cpu")
    for name, seed in (("one", 0), ("two", 1)):
        list(finetune(separate(base), TrainingSet.from_images(base, images(4), WORDS), out=tmp_path / name, rank=2,
                      seed=seed, **HOW))
    one, again, two = (load_pipeline(tmp_path / name, device="cpu") for name in ("one", "one", "two"))
    next(p for p in again.unet.parameters() if p.ndim > 1).data.add_(1e-6)  # fused on another processor
    assert pipeline_fingerprint(one) == pipeline_fingerprint(again)
    assert len({pipeline_fingerprint(pipe) for pipe in (base, one, two)}) == 3
    before = pipeline_fingerprint(one)
    list(finetune(one, TrainingSet.from_images(base, images(4), WORDS), **HOW))
    assert pipeline_fingerprint(one) != before


def test_pictures_go_on_where_a_computed_number_differs(tmp_path):
    """Of the settings of `generate`, none is worked out from the others."""
    from dislib.cli import main as cli
    from dislib.core import sampling

    build_pipeline().save_pretrained(tmp_path / "base")
    command = ["generate", "--model", str(tmp_path / "base"), "--prompt", "a", "--seeds", "0", "--steps", "2",
               "--scheduler", "euler", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    record = tmp_path / "out" / "generate.json"
    told = json.loads(record.read_text())
    assert told["latent_scale"] == sampling.latent_scale(sampling.make_scheduler(shared_pipeline(), "euler"), 2)
    record.write_text(json.dumps({**told, "latent_scale": told["latent_scale"] + 1e-7}))
    made = (tmp_path / "out" / "00000.png").stat().st_mtime_ns
    assert cli.main(command) == 0 and (tmp_path / "out" / "00000.png").stat().st_mtime_ns == made


def test_parts_of_a_digest_do_not_run_together():
    parts = [("ab", "c"), ("a", "bc"), ("abc",), (["a", "b"],), ("a", 1), ("a", "1"), (b"a", 1), (b"", b"a"), (b"a", b"")]
    assert len({digest_of(*part) for part in parts}) == len(parts)
