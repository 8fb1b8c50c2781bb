"""Checkpoints of a training run: folders `checkpoint-N` that are whole or not there, without any pickle.

accelerate's own `save_state` pickles the optimiser and the random numbers; here both are safetensors and JSON, and
there are no random numbers to keep, since every step draws its own from the seed and its number.
"""

import os
import re
import shutil
from pathlib import Path

import torch

from ..errors import OutputError, TrainingError, shorten
from ..files import make_folder, read_json, read_safetensors, write_json, write_safetensors

TENSORS, STATE = "state.safetensors", "state.json"


def save(out, step, tensors, state, *, keep=None):
    """Write `out/checkpoint-<step>` under a temporary name and rename it.

    Args:
        out: the run's folder.
        step: number of steps done.
        tensors: dict of tensors.
        state: JSON values.
        keep: delete all but this many of the latest checkpoints afterwards.
    """
    folder, partial = Path(out) / f"checkpoint-{step}", Path(out) / f".checkpoint-{step}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        write_safetensors(partial / TENSORS, {k: v.detach().cpu() for k, v in tensors.items()}, {"step": step})
        write_json(partial / STATE, state)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in checkpoints(out)[: -keep or None] if keep else []:
        shutil.rmtree(old, ignore_errors=True)


def checkpoints(out):
    """The folders `checkpoint-N` of a run in the order of N; half-written ones bear another name and do not count."""
    return sorted(filter(is_checkpoint, _numbered(out)), key=lambda f: int(f.name.partition("-")[2]))


def strangers(out):
    """What has the name of a checkpoint and is none of ours."""
    return [folder for folder in _numbered(out) if not is_checkpoint(folder)]


def _numbered(out):
    return [f for f in Path(out).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", f.name)]


def is_checkpoint(folder):
    """Whether this package wrote the folder; others have checkpoints of the same name, which are left alone."""
    return (Path(folder) / STATE).is_file() or (Path(folder) / TENSORS).is_file()


def sweep(out):
    """Remove what a killed run left half-written."""
    for stray in Path(out).glob(".checkpoint-*.partial"):
        shutil.rmtree(stray, ignore_errors=True)


def find(out, wanted):
    """The checkpoint to go on from: a folder, or None to start anew.

    Args:
        out: the run's folder.
        wanted: "latest", a path, or None.

    Raises:
        TrainingError: a path that is no checkpoint.
    """
    if wanted is None:
        return None
    if wanted == "latest":
        return (checkpoints(out) or [None])[-1]
    folder = Path(wanted).expanduser()
    folder = folder if folder.is_dir() else Path(out) / folder
    if not (folder / STATE).is_file():
        there = ", ".join(f.name for f in checkpoints(out)) or "none"
        raise TrainingError(f'there is no checkpoint {wanted} (in {out}: {there}); pass one of them or "latest"')
    return folder


def load(folder):
    """Read a checkpoint; returns (tensors, state).

    Raises:
        TrainingError: it is damaged; the message says how to go on from an earlier one.
    """
    try:
        tensors, _ = read_safetensors(folder / TENSORS)
        return tensors, read_json(folder / STATE)
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"the checkpoint {folder} cannot be read ({shorten(error, 120)}); delete that folder to go on from an"
            " earlier one"
        ) from error


def pack_optimizer(optimizer):
    """The state of an optimiser as (dict of tensors, dict of JSON values)."""
    tensors, plain = {}, {}
    for i, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            (tensors if torch.is_tensor(value) else plain)[f"optimizer.{i}.{key}"] = value
    return tensors, plain


def unpack_optimizer(optimizer, tensors, plain):
    """Put back what `pack_optimizer` took out; the learning rate stays as it is."""
    state = {}
    for name, value in {**tensors, **plain}.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".", 2)
            state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
