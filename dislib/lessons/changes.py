"""Where a fine-tuning has changed the U-Net."""

import re

import torch

from ..errors import ModelError

# By name of the layer, the first that fits.
KINDS = {
    "first convolution": r"^conv_in\.",
    "last convolution": r"^conv_(out|norm_out)\.",
    "self-attention": r"\.attn1\.",
    "cross-attention (the text)": r"\.attn2\.",
    "around the attention": r"\.attentions\.",
    "convolutions between": r"\.(resnets|downsamplers|upsamplers)\.",
    "time": r"^time_embedding\.",
}


def weight_changes(base, tuned):
    """How far each kind of layer has moved: ||W' - W|| / ||W||, by kind; kinds that have no weights are left out.

    Args:
        base, tuned: two U-Nets of one shape. A LoRA has to be fused, as `load_pipeline` does it.

    Raises:
        ModelError: U-Nets of different shapes.
    """
    before, after = base.state_dict(), tuned.state_dict()
    if before.keys() != after.keys() or any(before[name].shape != after[name].shape for name in before):
        raise ModelError("the two U-Nets have different layers; compare a tuned one with its own base")
    moved, size = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for name, old in before.items():
        kind = kind_of(name)
        old, new = old.detach().cpu().double(), after[name].detach().cpu().double()
        moved[kind] += float(torch.sum((new - old) ** 2))
        size[kind] += float(torch.sum(old**2))
    return {kind: (moved[kind] / size[kind]) ** 0.5 for kind in KINDS if size[kind]}


def kind_of(name):
    """The kind of layer that a weight of this name belongs to.

    Raises:
        ModelError: a layer of an unknown kind.
    """
    for kind, pattern in KINDS.items():
        if re.search(pattern, f"{name}" if pattern.startswith("^") else f".{name}"):
            return kind
    raise ModelError(f"the layer {name!r} is of no known kind")
