"""The style prior N(mu_style, diag(sigma_style^2)): computed from images, kept in a file, sampled from.

mu and sigma are element-wise: one number for each channel and position of a latent, (4, h, w). Training with this
noise in place of N(0, I) and starting from it is the method of "Diffusion in Style" (ICCV 2023).
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import DislibError, ImageError, PriorError, check_words, shorten
from ..files import check_output_file, digest_of, make_folder, read_safetensors, user_path, write_safetensors
from ..images.images import ImageList, check_images, list_images, load_image, numbered, prepare_image
from .latents import check_finite, encode_batches, white_noise
from .moments import RunningMoments, shrunk
from .pipeline import image_size, latent_shape, model_id, weight_sample

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

STD_FLOOR = 1e-3
DEFAULT_N = 50  # enough for a tenth of error in sigma: 1 / sqrt(2 (n - 1))
STARTS = ("white", "paper", "matched", "leak")  # where z_T comes from, see `StylePrior.start`
FORMAT, FORMAT_VERSION = "dislib style prior", 1


@dataclasses.dataclass(frozen=True, eq=False)
class StylePrior:
    """The element-wise Gaussian of a style's latents.

    Attributes:
        mean: float32 tensor (4, h, w), mu_style, in scaled latents.
        std: float32 tensor (4, h, w), sigma_style (unbiased, as measured, but nowhere below 1e-3).
        meta: what it was made from. `n` images, `floored` positions whose std was raised to 1e-3, `shrink`; from
            images also `model`, `image_size`, `seed`, `files`, `skipped`, `images_sha256` (of the prepared pixels) and
            `source` (a digest of all that goes in).
    """

    mean: torch.Tensor
    std: torch.Tensor
    meta: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.mean.ndim != 3 or self.mean.shape != self.std.shape:
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.std.shape)}"
            raise PriorError(f"the mean and std of a prior must both have one shape (4, h, w), got {shapes}")
        for name in ("mean", "std"):
            check_finite(getattr(self, name), f"the prior's {name}")
        if not (self.std > 0).all():
            raise PriorError(f"the prior's std must be above 0, its smallest is {float(self.std.min()):.3g}")

    @property
    def shape(self):
        """Shape (4, h, w) of one latent."""
        return tuple(self.mean.shape)

    @classmethod
    def from_images(
        cls, pipe: StableDiffusionPipeline, images, *, n: int | None = None, seed: int = 0, shrink: float = 0.0,
        batch_size: int = 8, report: Callable | None = None,
    ) -> StylePrior:
        """Compute the prior of a folder of images in one pass; memory does not grow with their number.

        Args:
            pipe: the pipeline whose VAE encodes them.
            images: a folder, a list of paths, a list of PIL images, or what `images.list_images` returned. Each is
                turned, cropped square and resized to the model's size (`images.load_image`); unreadable files are
                skipped and listed in `meta["skipped"]`.
            n: how many to use, drawn by `seed` from the readable ones; by default all, but at most 50.
            seed: of that draw.
            shrink: see `from_latents`; needed if there is only one image.
            batch_size: images encoded at once.
            report: called as `report(done, n)` after each batch, for a progress line.

        Raises:
            ImageError: nothing readable, or `n` larger than what is.
            PriorError: a single image without `shrink`.
        """
        images, skipped = _readable(images)
        chosen = draw(images, n=n, seed=seed, skipped=skipped)
        if len(chosen) == 1 and not shrink:
            raise PriorError(_single_image())
        digest = hashlib.sha256()
        pixels = _prepared(chosen, image_size(pipe), digest)
        batches = _reported(encode_batches(pipe, pixels, batch_size=batch_size), len(chosen), report)
        prior = cls.from_latents(batches, shrink=shrink)
        prior.meta.update(
            describe(pipe), seed=seed,
            files=[shorten(os.path.basename(f), 255) for f in chosen if isinstance(f, (str, os.PathLike))],
            skipped=[[shorten(file.name, 255), reason] for file, reason in skipped],
            images_sha256=digest.hexdigest(), source=digest_of(vae_signature(pipe), digest.hexdigest(), float(shrink)),
        )
        return prior

    @classmethod
    def from_latents(cls, batches: Iterable[torch.Tensor], *, shrink: float = 0.0) -> StylePrior:
        """Compute the prior of latents that come in batches (Welford's method, float64), one pass.

        Args:
            batches: iterable of tensors (b, 4, h, w) in scaled latents.
            shrink: from 0 (as measured) to 1. Mean and variance are moved by this share toward those of their whole
                channel, over all positions and images; 1 leaves one colour and contrast and no layout. A single
                image says nothing of the spread at a position, so its variance is the channel's in full.

        Raises:
            PriorError: no latent at all, one latent without `shrink`, or batches of different shapes.
        """
        if not 0 <= shrink <= 1:
            raise PriorError(f"shrink must lie between 0 and 1, got {shrink}")
        moments = RunningMoments()
        for batch in batches:
            moments.update(batch)
        if moments.n == 0:
            raise PriorError("no latents to compute a prior from; give at least two")
        if moments.n == 1 and not shrink:
            raise PriorError(_single_image())
        mean, var = shrunk(moments, shrink)
        std = var.sqrt()
        meta = {"n": moments.n, "floored": int((std < STD_FLOOR).sum()), "shrink": float(shrink)}
        return cls(mean.float(), std.clamp(min=STD_FLOOR).float(), meta)

    def sample(self, seeds: Iterable[int]) -> torch.Tensor:
        """Draw from N(mu, diag(sigma^2)): mu + sigma u with u = white_noise(seed); (len(seeds), 4, h, w)."""
        return self._dress(white_noise(seeds, self.shape))

    def start(
        self, seeds: Iterable[int], start: str = "paper", *, scheduler=None, steps: int = 12, **old,
    ) -> torch.Tensor:
        """Draw the latents z_T a sampler starts from.

        With a = sqrt(abar) and b = sqrt(1 - abar) at the scheduler's first timestep for `steps` steps, u white
        noise of the seed, x = mu + sigma n, and n from a second, independent stream of the same seed:

        - "white":    u, as without a style.
        - "paper":    mu + sigma u, as "Diffusion in Style" samples; for a U-Net tuned with style noise.
        - "matched":  a x + b (mu + sigma u), as the tuned U-Net saw it in training; this course's own variant.
        - "leak":     a x + b u, as the base U-Net saw it in training (signal leak, WACV 2024); training-free.

        Args:
            seeds: one seed an image.
            start: which of the four.
            scheduler: a diffusers scheduler; "matched" and "leak" need it. `generate` passes its own.
            steps: inference steps that will be made, since the first timestep depends on them.

        Returns:
            float32 tensor (len(seeds), 4, h, w) on the CPU, of about unit scale: `latents=` of a diffusers pipeline,
            which multiplies it by `init_noise_sigma` itself.
        """
        check_words(old, kind="start")
        if start not in STARTS:
            raise PriorError(f"there is no start {start!r}; choose one of {', '.join(STARTS)}")
        u = white_noise(seeds, self.shape)
        if start in ("white", "paper"):
            return u if start == "white" else self._dress(u)
        if scheduler is None:
            raise PriorError(f'the start "{start}" depends on the sampler; pass scheduler= and steps=')
        _, a, b = first_timestep(scheduler, steps)
        x = self._dress(white_noise([second_stream(seed) for seed in seeds], self.shape))
        return a * x + b * (self._dress(u) if start == "matched" else u)

    def _dress(self, u):
        return self.mean + self.std * u

    def log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log density of each latent (n, 4, h, w) under N(mu, diag(sigma^2)), in nats: float64 (n,)."""
        off = (latents.double() - self.mean) / self.std
        each = -0.5 * (off.square() + math.log(2 * math.pi)) - self.std.double().log()
        return each.flatten(1).sum(1)

    def resized(self, height: int, width: int) -> StylePrior:
        """This prior for latents of another size or aspect: mu and sigma as pictures, scaled bilinearly.

        Their values stay, their positions move. What cannot be known is how the VAE would have encoded the style at
        that size: a line of one latent's width has another width there. Compute the prior anew where you can.

        Raises:
            PriorError: no such size.
        """
        if min(height, width) < 1:
            raise PriorError(f"latents of {height} x {width} do not exist")
        both = torch.stack([self.mean, self.std])
        options = {"mode": "bilinear", "antialias": True, "align_corners": False}
        mean, std = torch.nn.functional.interpolate(both, size=(height, width), **options)
        meta = {k: v for k, v in self.meta.items() if k not in ("image_size", "images_sha256")}
        return StylePrior(mean, std.clamp(min=STD_FLOOR), {**meta, "resized from": list(self.shape)})

    def save(self, path: str | os.PathLike) -> None:
        """Write `mean`, `std` (float32) and the metadata to a .safetensors file, atomically."""
        path = check_output_file(path, suffix=".safetensors")
        make_folder(path.parent)
        meta = {"format": FORMAT, "version": FORMAT_VERSION, **self.meta}
        write_safetensors(path, {"mean": self.mean, "std": self.std}, meta)

    def identity(self) -> str:
        """64 hexadecimal digits of what the prior was made from, the same on every machine.

        A prior of unknown origin is known by its numbers. If you change the numbers of another one, leave `source`
        out of its metadata.
        """
        return self.meta.get("source") or self.sha256()

    def sha256(self) -> str:
        """64 hexadecimal digits that change with any number of mean or std (not with the metadata)."""
        digest = hashlib.sha256()
        for part in (self.mean, self.std):
            digest.update(part.float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, path: str | os.PathLike, pipe: StableDiffusionPipeline | None = None) -> StylePrior:
        """Read a prior; with `pipe`, make sure that it belongs to that model.

        Raises:
            PriorError: the file is missing, cut short, no prior or a pickle (never opened), or does not fit `pipe`.
        """
        try:
            tensors, meta = read_safetensors(user_path(path))
            _check_format(tensors, meta)
            prior = cls(tensors["mean"].float(), tensors["std"].float(), meta)
        except DislibError as error:
            raise PriorError(f"cannot use the prior {path}: {error}; compute it again") from error
        if pipe is not None:
            prior.check(pipe)
        return prior

    def check(self, pipe: StableDiffusionPipeline) -> None:
        """Make sure that this prior was made in the latents of `pipe`.

        Raises:
            PriorError: the latent shape (both are named) or the VAE is another.
        """
        model, theirs = shorten(self.meta.get("model", "unknown")), self.meta.get("vae")
        if self.shape != latent_shape(pipe):
            raise PriorError(
                f"this prior has the shape {self.shape} (model {model}), but the latents of"
                f" {model_id(pipe)} have {latent_shape(pipe)}; compute the prior with this model"
            )
        if theirs is not None and not _same_vae(theirs, np.array(vae_signature(pipe))):
            raise PriorError(
                f"this prior was computed with another VAE (model {model}) than that of"
                f" {model_id(pipe)}; compute the prior with this model"
            )

    @classmethod
    def mix(cls, priors: Iterable[StylePrior], weights: Iterable[float] | None = None) -> StylePrior:
        """A prior between several: the weighted mean of their means and of their stds.

        For Gaussians with diagonal covariance this is the Wasserstein-2 barycentre, so two styles blend without
        the washed-out spread that a mixture of their images would have.

        Args:
            priors: at least one StylePrior, all of one model.
            weights: as many numbers, not negative; they are divided by their sum. Equal by default.
        """
        priors = list(priors)
        weights = [1.0] * len(priors) if weights is None else [float(w) for w in weights]
        _check_mix(priors, weights)
        share = [w / sum(weights) for w in weights]
        mean = sum(s * p.mean for s, p in zip(share, priors))
        std = sum(s * p.std for s, p in zip(share, priors))
        same = {k: priors[0].meta[k] for k in ("model", "vae", "image_size") if k in priors[0].meta}
        source = digest_of("mix", share, [p.identity() for p in priors])
        return cls(mean, std, {**same, "n": sum(p.meta.get("n", 0) for p in priors), "mix": share, "source": source})


def first_timestep(scheduler, steps: int) -> tuple[int, float, float]:
    """Where a sampler starts: (t, a, b) with a = sqrt(abar_t) and b = sqrt(1 - abar_t).

    t is the scheduler's first inference timestep: with 50 steps 981 for the "leading" spacing of diffusers' default
    DDIM and PNDM, 999 for "linspace" and "trailing"; with 15 leading steps only 925. The scheduler is not changed.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    t = round(float(scheduler.timesteps[0]))
    abar = float(scheduler.alphas_cumprod[t])
    return t, math.sqrt(abar), math.sqrt(1 - abar)


def second_stream(seed: int) -> int:
    """Another seed, derived from `seed`, whose noise has nothing to do with that of any small seed."""
    digest = hashlib.sha256(f"dislib second stream {int(seed)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw(items, *, n=None, seed=0, skipped=()):
    """Choose `n` of `items` by `seed`, in their own order; by default all, but at most 50."""
    if n is not None and n < 1:
        raise ImageError(f"n must be at least 1, got {n}")
    if seed < 0:
        raise ImageError(f"the seed of the draw must be a whole number from 0, got {seed}")
    if n is not None and n > len(items):
        raise ImageError(
            f"n is {n}, but only {len(items)} images are readable ({len(skipped)} skipped);"
            f" ask for at most {len(items)} or add images"
        )
    n = min(DEFAULT_N, len(items)) if n is None else n
    return [items[i] for i in sorted(np.random.default_rng(seed).permutation(len(items))[:n])]


# --- reading images -------------------------------------------------------------------------------------------


def _readable(images):
    """(usable images, skipped): of a folder, a list of paths or a list of PIL images."""
    if isinstance(images, (str, os.PathLike)):
        images = list_images(images)
    if isinstance(images, ImageList):
        files, skipped = images
    else:
        files, skipped = list(images), []
        if files and isinstance(files[0], (str, os.PathLike)):
            files, skipped = check_images(files)
    if not files:
        reasons = "; ".join(f"{shorten(file.name)} {reason}" for file, reason in skipped[:5])
        raise ImageError(f"no readable image among {len(skipped)}; {reasons or 'give at least two'}")
    return files, skipped


def _prepared(images, size, digest):
    """Yield each image as RGB of `size` px, feeding its pixels to the digest."""
    for i, image in enumerate(images):
        is_file = isinstance(image, (str, os.PathLike))
        image = load_image(image, size) if is_file else numbered(i, prepare_image, image, size)
        digest.update(image.tobytes())
        yield image


def _reported(batches, n, report):
    done = 0
    for batch in batches:
        done += len(batch)
        yield batch
        if report:
            report(done, n)


def _single_image():
    return (
        "one image has no spread to measure; give at least two, or pass shrink (--shrink) between 0 and 1,"
        " which takes the spread of its whole channel instead"
    )


# --- reading files and telling models apart -------------------------------------------------------------------


def _check_format(tensors, meta):
    kind, version = meta.pop("format", FORMAT), meta.pop("version", FORMAT_VERSION)
    if kind != FORMAT or not {"mean", "std"} <= set(tensors):
        raise PriorError(f"it is not a style prior (it holds {shorten(', '.join(tensors))})")
    if version != FORMAT_VERSION:
        raise PriorError(f"its format has version {version}, and this package reads {FORMAT_VERSION}")


def describe(pipe):
    """What a prior's metadata say of the model in whose latents it lives."""
    return {"model": model_id(pipe), "vae": vae_signature(pipe), "image_size": image_size(pipe)}


def vae_signature(pipe):
    """A few numbers of the VAE's own file that tell it from others."""
    return [float(f"{w:.5g}") for w in (pipe.vae.config.scaling_factor, *weight_sample(pipe.vae.encoder))]


def _same_vae(a, b):
    """Float32, float16 and bfloat16 copies of one VAE differ by at most half a per cent; `a` comes from a file."""
    try:
        a = np.array(a, dtype=float)
    except (TypeError, ValueError):  # whatever a damaged file holds
        return False
    return a.shape == b.shape and np.linalg.norm(a - b) <= 0.01 * np.linalg.norm(b)


def _check_mix(priors, weights):
    if not priors or len(priors) != len(weights):
        raise PriorError(f"mix needs as many weights as priors, at least one; got {len(weights)} and {len(priors)}")
    if min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise PriorError(f"mix weights must be 0 or more with a sum above 0, got {weights}")
    for other in priors[1:]:
        if other.shape != priors[0].shape:
            raise PriorError(f"priors of different shapes cannot be mixed: {priors[0].shape} and {other.shape}")
        if other.meta.get("vae") != priors[0].meta.get("vae"):
            raise PriorError("priors computed with different VAEs cannot be mixed; compute both with one model")
