"""What fine-tuning learns from: latents and text embeddings of captioned images, encoded once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from PIL import ImageOps

from ..core.latents import check_finite, encode
from ..core.pipeline import image_size, latent_shape, weight_sample
from ..core.prior import StylePrior, describe, draw, vae_signature
from ..core.sampling import tell_truncated
from ..errors import ImageError, TrainingError
from ..files import digest_of
from ..images.captions import captions_of
from ..images.images import list_images, load_image, numbered, prepare_image, tell_skipped

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from PIL import Image


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """Captioned images as the U-Net sees them.

    Attributes:
        latents: float32 (n, 4, h, w) on the CPU, scaled latents.
        mirrored: those of the mirror images, or None if none are to be used.
        embeddings: float32 (n, tokens, d), of the captions.
        empty: float32 (1, tokens, d), of the empty caption, which stands in for a share of them.
        captions: list of n strings.
        files: list of n file names, where the images came from files.
        source: what the latents were made from, as a digest of inputs; "" where that is not known.
    """

    latents: torch.Tensor
    embeddings: torch.Tensor
    empty: torch.Tensor
    captions: list
    mirrored: torch.Tensor | None = None
    files: list = dataclasses.field(default_factory=list)
    source: str = ""

    def __len__(self):
        return len(self.latents)

    @classmethod
    def from_folder(
        cls, pipe: StableDiffusionPipeline, folder: str | os.PathLike, *, n: int | None = None, seed: int = 0,
        caption: str = "metadata", leave_out: Iterable[str] = (), random_flip: bool = False, center_crop: bool = True,
    ) -> TrainingSet:
        """Encode a folder of images with captions.

        Args:
            pipe: the pipeline whose VAE and text encoder are used.
            folder: images, with `metadata.jsonl` unless `caption` says otherwise.
            n: how many images, drawn by `seed` as `StylePrior.from_images` draws them; by default at most 50.
            seed: of that draw, and of the crops.
            caption: "metadata", "txt", "written", "names", "florence" or "blip", see `captions.captions_of`.
            leave_out: words to take out of the captions (of the style, which the noise is to carry).
            random_flip: also use mirror images (not of captions that name left or right).
            center_crop: False to cut the square out at a random place, once an image, in place of the centre.

        Raises:
            ImageError: nothing readable, or `n` larger than what is.
            PromptError: images without a caption, which are named.
        """
        images, skipped = list_images(folder)
        if not images:
            raise ImageError(f"no readable image in {folder}; {skipped[0].file.name} {skipped[0].reason}")
        tell_skipped(skipped, "fine-tuning")
        files = draw(images, n=n, seed=seed, skipped=skipped)
        said = captions_of(files, caption, leave_out=leave_out)
        places = [0.5] * len(files) if center_crop else torch.rand(len(files), generator=seeded(seed)).tolist()
        size = image_size(pipe)
        pixels = [load_image(file, size, place=place) for file, place in zip(files, places)]
        return cls.from_images(pipe, pixels, said, random_flip=random_flip, files=[file.name for file in files])

    @classmethod
    def from_images(
        cls, pipe: StableDiffusionPipeline, images: list[Image.Image], captions: list[str], *,
        random_flip: bool = False, files=(),
    ) -> TrainingSet:
        """Encode PIL images, prepared as files are (`images.prepare_image`); as many captions."""
        _check_lengths(images, captions)
        images = [numbered(i, prepare_image, image, image_size(pipe)) for i, image in enumerate(images)]
        mirrored = encode(pipe, [ImageOps.mirror(image) for image in images]) if random_flip else None
        source = digest_of(vae_signature(pipe), random_flip, *(image.tobytes() for image in images))
        return cls.from_latents(pipe, encode(pipe, images), captions, mirrored=mirrored, files=files, source=source)

    @classmethod
    def from_latents(
        cls, pipe: StableDiffusionPipeline, latents: torch.Tensor, captions: list[str], *,
        mirrored: torch.Tensor | None = None, files=(), source: str = "",
    ) -> TrainingSet:
        """Take latents that are there already, (n, 4, h, w) scaled; as many captions.

        Name their `source` if they were computed: any text that changes when they become others. Without it the
        latents themselves are the identity, to the last bit, and those of another processor are another set.
        """
        _check_lengths(latents, captions)
        if tuple(latents.shape[1:]) != latent_shape(pipe):
            raise TrainingError(
                f"the latents have the shape {tuple(latents.shape[1:])} and those of the model {latent_shape(pipe)};"
                " encode the images with this model"
            )
        check_finite(latents, "the latents to train on")
        tell_truncated(pipe, captions, "captions", files)
        context, empty = embed(pipe, captions), embed(pipe, [""])
        source = source and digest_of(source, weight_sample(pipe.text_encoder))
        return cls(latents.float().cpu(), context, empty, list(captions), mirrored, list(files), source)

    def prior(self, pipe: StableDiffusionPipeline, *, shrink: float = 0.0) -> StylePrior:
        """The style prior of exactly the latents that will be trained on, each as often as it is drawn."""
        turned, sided = self.turned, self._sided if self.mirrored is not None else []
        prior = StylePrior.from_latents([self.latents] if turned is None else [self.latents, turned], shrink=shrink)
        prior.meta.update(describe(pipe), files=self.files)
        if self.source:
            prior.meta["source"] = digest_of(self.source, float(shrink), *([sided] if any(sided) else []))
        return prior

    @property
    def turned(self) -> torch.Tensor | None:
        """What a flip makes of each latent: its mirror image, or itself where the caption names left or right.

        None if that would change no image.
        """
        if self.mirrored is None or all(self._sided):
            return None
        return torch.where(torch.tensor(self._sided)[:, None, None, None], self.latents, self.mirrored)

    @functools.cached_property
    def _sided(self):
        return [bool(re.search(r"\b(left|right)\b", caption, re.I)) for caption in self.captions]

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any image or caption, and are the same on every machine.

        They are made from what goes in, since what is computed from it differs in its last bits from one processor
        to the next, and no rounding helps a number that lies at the edge of a step.
        """
        parts = () if self.source else [p.numpy().tobytes() for p in (self.latents, self.mirrored) if p is not None]
        return digest_of(self.source, self.captions, *parts)[:16]

    def batch(self, rows, *, seed, flips, dropped):
        """Latents (b, 4, h, w) and text embeddings (b, tokens, d) of a batch.

        Args:
            rows: long (b,), row numbers of an endless stream: every epoch of n rows goes through all images in an
                order of its own, drawn by `seed`.
            flips: bool (b,), where the mirror image is taken if there is one.
            dropped: bool (b,), where the empty caption takes the place of the caption.
        """
        picks = self._picks(rows, seed)
        z, context = self.latents[picks], self.embeddings[picks]
        if self.mirrored is not None:
            flips = flips & ~torch.tensor(self._sided)[picks]
            z = torch.where(flips[:, None, None, None], self.mirrored[picks], z)
        return z, torch.where(dropped[:, None, None], self.empty, context)

    def _picks(self, rows, seed):
        n = len(self)
        epochs = {e: torch.randperm(n, generator=seeded(seed, e)) for e in set((rows // n).tolist())}
        return torch.stack([epochs[r // n][r % n] for r in rows.tolist()])


@torch.no_grad()
def embed(pipe: StableDiffusionPipeline, texts: list[str], *, batch_size: int = 16) -> torch.Tensor:
    """Text embeddings (n, tokens, d) float32 on the CPU, each distinct text encoded once."""
    device, known = pipe.text_encoder.device, list(dict.fromkeys(texts))
    options = dict(padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True)
    tokens = pipe.tokenizer(known, return_tensors="pt", **options).input_ids
    out = torch.cat([pipe.text_encoder(t.to(device))[0].float().cpu() for t in tokens.split(batch_size)])
    return out[[known.index(text) for text in texts]]


def seeded(*numbers):
    """A generator of its own for every tuple of whole numbers and words of what it is for."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _check_lengths(images, captions):
    if len(images) != len(captions) or len(captions) == 0:
        raise TrainingError(f"{len(images)} images and {len(captions)} captions; give one caption for each image")
