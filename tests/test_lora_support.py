"""LoRA beside a torchao that peft refuses, as on Colab."""

import importlib.metadata

import peft
import pytest
import torch
from helpers import build_pipeline, images
from peft import import_utils

from dislib import TrainingSet, finetune, load_pipeline
from dislib.cli import doctor
from dislib.training.lora_support import refused_torchao, torchao_put_aside


def refuse():
    raise ImportError("Found an incompatible version of torchao. Found version 0.10.0")


@pytest.fixture
def old_torchao(monkeypatch):
    """peft as it is where torchao is too old: it raises, wherever it asks."""
    import sys

    for name, module in list(sys.modules.items()):
        if name.startswith("peft") and "is_torchao_available" in vars(module):
            monkeypatch.setattr(module, "is_torchao_available", refuse)
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.0" if name == "torchao" else version(name))


def put_on():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2))
    return peft.inject_adapter_in_model(peft.LoraConfig(r=1, target_modules=["0"]), layer)


def test_it_is_put_aside_for_a_while_only(old_torchao):
    assert refused_torchao() == "0.10.0"
    with pytest.raises(ImportError):
        put_on()
    with torchao_put_aside():
        put_on()
    with pytest.raises(ImportError):
        put_on()
    assert import_utils.is_torchao_available is refuse


def test_it_comes_back_after_an_error(old_torchao):
    with pytest.raises(ZeroDivisionError), torchao_put_aside():
        raise ZeroDivisionError
    assert import_utils.is_torchao_available is refuse


def test_one_that_peft_takes_is_left_alone(monkeypatch):
    takes = lambda: True
    monkeypatch.setattr(import_utils, "is_torchao_available", takes)
    assert refused_torchao() is None
    with torchao_put_aside():
        assert import_utils.is_torchao_available is takes


def test_a_lora_is_trained_and_loaded_beside_it(old_torchao, tmp_path):
    build_pipeline().save_pretrained(tmp_path / "base")
    base = load_pipeline(tmp_path / "base", device="cpu")
    learnt = TrainingSet.from_images(base, images(2), ["a", "b"])
    list(finetune(base, learnt, out=tmp_path / "tuned", rank=2, max_train_steps=1, train_batch_size=2))
    assert load_pipeline(tmp_path / "tuned", device="cpu").unet.source


def test_doctor_has_a_line_for_it(old_torchao):
    passed, _, answer = doctor._ask("LoRA", doctor._lora)
    assert passed and "torchao 0.10.0" in answer and "uninstall torchao" in answer


def test_doctor_says_when_peft_refuses_for_another_reason(monkeypatch):
    monkeypatch.setattr(peft, "inject_adapter_in_model", lambda *_: 1 / 0)
    assert not doctor._ask("LoRA", doctor._lora)[0]


@pytest.mark.parametrize("load, policy, words", [
    (0.1, "PASSIVE", "0.1 programs at work on 2 cores"), (3.0, "PASSIVE", "times will be long; close some"),
    (3.0, "", "OMP_WAIT_POLICY=PASSIVE"),
])
def test_doctor_says_a_word_about_a_high_load(monkeypatch, load, policy, words):
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    passed, _, answer = doctor._ask("load", doctor._load)
    assert passed and words in answer and ("OMP" in answer) is ("OMP" in words)
