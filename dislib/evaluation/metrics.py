"""Numbers for sets of pictures: FID, KID and MMD.

Two steps, so that features are computed once and measured often:

    images --(evaluation.judge)--> features (n, d) --(fid, kid, mmd)--> a number

Formulas on plain numbers: numpy in float64 and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import DislibError
from ..files import load_arrays, save_arrays


@dataclass(frozen=True)
class FrechetStats:
    """The Gaussian that FID sees: `mean (d,)`, unbiased `cov (d, d)`, and the number `n` of pictures behind them.

    `meta` (a dict of strings) says where they come from: judge, kind of features, pictures.
    """

    mean: np.ndarray
    cov: np.ndarray
    n: int
    meta: dict = field(default_factory=dict)

    @classmethod
    def from_features(cls, features, *, meta=None):
        """The statistics of features `(n, d)`, n >= 2."""
        features = check_features(features, "given")
        cov = np.atleast_2d(np.cov(features, rowvar=False))
        return cls(features.mean(axis=0), cov, len(features), dict(meta or {}))

    def save(self, path):
        """Write safetensors with `mean`, `cov` (float64), `n` and the metadata; under its name only when whole."""
        save_arrays(path, {"mean": self.mean, "cov": self.cov, "n": np.array([self.n])}, self.meta)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; a broken file or one of another kind is a DislibError."""
        tensors, meta = load_arrays(path, ("mean", "cov", "n"))
        return cls(tensors["mean"], tensors["cov"], int(tensors["n"][0]), meta)


def fid(x: np.ndarray | FrechetStats, y: np.ndarray | FrechetStats) -> float:
    """Fréchet distance between two sets of features (Heusel et al. 2017).

        FID = |mu_x - mu_y|^2 + tr(S_x) + tr(S_y) - 2 tr((S_x S_y)^(1/2))

    With `S = A^T A` the last trace is the nuclear norm of `A B^T`: exact also for fewer pictures than dimensions,
    and no matrix root is taken. The number falls with the number of pictures: compare only sets of the same size,
    and show the floor (a style against itself) beside it.

    Args:
        x, y: features `(n, d)`, n >= 2, or `FrechetStats`; the two may differ in n but not in d.
    """
    mean_x, a = mean_and_factor(x, "x")
    mean_y, b = mean_and_factor(y, "y")
    check_width(len(mean_x), len(mean_y))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = np.sum((mean_x - mean_y) ** 2) + np.sum(a * a) + np.sum(b * b) - 2 * cross
    return max(float(distance), 0.0)  # rounding only: the distance itself is never negative


def mean_and_factor(x, name):
    """`mean (d,)` and a factor `A (k, d)` with `A^T A` the covariance."""
    if isinstance(x, FrechetStats):
        values, vectors = np.linalg.eigh(x.cov)
        return x.mean, np.sqrt(values.clip(min=0.0))[:, None] * vectors.T
    x = check_features(x, name)
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return x.mean(axis=0), np.linalg.qr(centred, mode="r") if len(x) > x.shape[1] else centred


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """Kernel distance with the cubic kernel `(x.y / d + 1)^3`, unbiased (Binkowski et al. 2018).

    All pairs are used, not random subsets. Expected 0 for two samples of one distribution at any n, and it may come
    out slightly negative.
    """
    return _unbiased_mmd(x, y, cubic_kernel)


def cubic_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KID's kernel `(a.b / d + 1)^3` of all pairs of rows."""
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def mmd(x: np.ndarray, y: np.ndarray, *, sigma: float = 10.0) -> float:
    """CMMD: 1000 x the unbiased squared MMD with a Gaussian kernel of width `sigma` (Jayasumana et al. 2024).

    Meant for *projected* CLIP features of length 1 (`image_features(..., kind="projected")`). The authors' code uses
    the biased estimate; this one is 0 on average for two samples of one distribution.
    """
    if not 0 < sigma < np.inf:
        raise DislibError(f"the kernel's width sigma must be a number above 0, such as 10, got {sigma}")
    return 1000.0 * _unbiased_mmd(x, y, lambda a, b: gaussian_kernel(a, b, sigma=sigma))


def gaussian_kernel(a: np.ndarray, b: np.ndarray, *, sigma: float = 10.0) -> np.ndarray:
    """CMMD's kernel `exp(-|a - b|^2 / 2 sigma^2)` of all pairs of rows."""
    squares = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)[None] - 2 * a @ b.T
    return np.exp(-squares.clip(min=0.0) / (2 * sigma**2))


def _unbiased_mmd(x, y, kernel):
    """Mean kernel within x plus within y (without each point's pair with itself) minus twice the mean across."""
    x, y = check_features(x, "x"), check_features(y, "y")
    check_width(x.shape[1], y.shape[1])

    def within(a):
        k = kernel(a, a)
        return (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def check_features(x, name):
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":  # of complex numbers NumPy would drop the imaginary part
        raise DislibError(f"features {name} are of the type {x.dtype}; expected real numbers")
    x = x.astype(np.float64)
    if x.ndim != 2:
        raise DislibError(f"features {name} have shape {x.shape}; expected (n, d), one row a picture")
    if len(x) < 2:
        raise DislibError(f"features {name} are of {len(x)} picture; a distance between sets needs at least 2 in each")
    check_finite(x, f"rows of {name}")
    return x


def check_finite(x, what):
    """Raise an error that names the rows of `x (n, d)` holding NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        names = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise DislibError(f"features of {len(bad)} {what} are not finite (NaN or inf): {names}; leave those pictures "
                         "out, or make them again in float32")


def check_width(dx, dy):
    if dx != dy:
        raise DislibError(f"features differ in width ({dx} and {dy}): both sets must come from the same judge and kind")


def save_features(path, features, *, meta=None):
    """Keep features `(n, d)` as float32 safetensors; `meta` says which judge, kind and pictures they are of."""
    save_arrays(path, {"features": np.asarray(features, dtype=np.float32)}, meta or {})


def load_features(path):
    """Features `(n, d)` float32 and their metadata, as `save_features` wrote them."""
    tensors, meta = load_arrays(path, ("features",))
    return tensors["features"], meta
