"""Where a model runs, and in which number format; which process speaks."""

import os

import torch


def pick_device():
    """The best device at hand: "cuda", else "mps" (Apple), else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(device):
    """float16 on CUDA, float32 elsewhere.

    bfloat16 is never picked: a T4 emulates it slowly (and still reports support for it), and one format on all cards
    means that a picture made on one can be remade on another. On a CPU, half precision is not faster.
    """
    return torch.float16 if torch.device(device).type == "cuda" else torch.float32


def is_main():
    """Whether this is the process that speaks and writes, among those that torchrun or accelerate started."""
    return os.environ.get("RANK", "0") == "0"
