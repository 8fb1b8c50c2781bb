"""What a U-Net may predict, and how one prediction becomes another.

A noisy latent z_t = a z + b eps, with a = sqrt(abar_t) and b = sqrt(1 - abar_t), is a turn of the pair (z, eps) by an
angle. Its other half is the velocity (Salimans and Ho 2022, appendix D),

    v = a eps - b z,    and back:    z = a z_t - b v,    eps = b z_t + a v.

Nowhere does this use that eps is white: with style noise, the same lines hold, and so does a deterministic sampler.
"""

from __future__ import annotations

from ..errors import ModelError

KINDS = ("epsilon", "v_prediction")  # what can be trained and sampled here


def velocity(z, eps, a, b):
    """v = a eps - b z; numbers or tensors."""
    return a * eps - b * z


def eps_of(output, z_t, a, b, *, kind="epsilon"):
    """The noise in z_t, of what a U-Net says: eps itself, or v.

    Raises:
        ModelError: another kind of prediction.
    """
    return output if check_kind(kind) == "epsilon" else b * z_t + a * output


def x0_of(output, z_t, a, b, *, kind="epsilon"):
    """The picture's latent in z_t, of what a U-Net says: eps, for which a must not be 0, or v.

    Raises:
        ModelError: another kind of prediction.
    """
    return (z_t - b * output) / a if check_kind(kind) == "epsilon" else a * z_t - b * output


def kind_of(scheduler) -> str:
    """What the U-Net that goes with a scheduler predicts: "epsilon" where its settings say nothing."""
    return scheduler.config.get("prediction_type", "epsilon")


def check_kind(kind, error=ModelError):
    """`kind`, if models that predict it can be trained and sampled here; else raises `error`."""
    if kind not in KINDS:
        raise error(f"this model predicts {kind}; only models that predict {' or '.join(KINDS)} are known here")
    return kind
