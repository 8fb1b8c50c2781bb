"""Recipe of the judge: a small CLIP that knows natural scenes, media and all styles, and makes no pictures.

It shares neither seed nor architecture with the pipeline: its tokenizer is as simple, its text encoder is another one,
and its eye is a vision transformer. Half of the styled captions carry the style's word, or it would ignore style.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from dislib.world import COLOURS, GROUNDS, MEDIA, STYLES, THINGS, TIMES, Scene, caption, paint, shown, vocabulary

from . import loop
from .pictures import cached, picture, scene
from .tokenizer import WordTable, build_tokenizer, text_settings
from .unet import mirrored

SIDE = 64  # the judge looks at half the pictures' size
STYLE_STREAM = 200  # scenes of the judge's styled pictures; the shipped style sets and references use other streams
FIELDS = {"thing": THINGS, "colour": COLOURS, "ground": GROUNDS, "time": TIMES}
LOOKS = (None, *MEDIA, *STYLES)
COUNTS, RELATIONS = (1, 2, 3), (None, "left", "right")
DAMAGE = ("none", "blurred", "broken", "bent", "tinted", "ruined")


def build(tokenizer) -> CLIPModel:
    text = text_settings(tokenizer, width=96, layers=3, heads=3)
    vision = dict(
        image_size=SIDE,
        patch_size=8,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
    )
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=96))


def processor(tokenizer) -> CLIPProcessor:
    size = {"height": SIDE, "width": SIDE}
    return CLIPProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        tokenizer=tokenizer,
    )


def styled(index: int) -> tuple[Scene, str]:
    style = STYLES[index % len(STYLES)]
    return shown(replace(scene(index, STYLE_STREAM), medium=None), style), style


def styled_picture(index: int) -> np.ndarray:
    s, style = styled(index)
    return np.asarray(paint(s, style))


def styled_caption(s: Scene, style: str, rng: np.random.Generator) -> str:
    """A caption, half of the time with the style's word."""
    told = caption(s, rng)
    return f"a {style} of {told}" if rng.random() < 0.5 else told


def small(make: Callable[[int], np.ndarray], count: int, cache: Path) -> torch.Tensor:
    """Pictures 0 to ``count`` reduced as the image processor would, (count, 3, 64, 64) uint8, kept in a file."""
    path = cache / f"small-{make.__name__}-{count}.npy"
    if not path.exists():
        pictures = cached(make, count, cache)
        out = np.stack(
            [np.asarray(Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for p in pictures]
        )
        np.save(path.with_suffix(".part.npy"), out)
        path.with_suffix(".part.npy").replace(path)
    return torch.from_numpy(np.load(path, allow_pickle=False)).permute(0, 3, 1, 2)


class Trainee(torch.nn.Module):
    """The CLIP with one linear head per attribute: the heads help it to see early on and are thrown away.

    The order of the heads is that of `label`; ``damage`` comes last and has no label, since `damaged` makes its own.
    """

    def __init__(self, tokenizer):
        super().__init__()
        self.clip = build(tokenizer)
        options = FIELDS | {"count": COUNTS, "look": LOOKS, "relation": RELATIONS, "damage": DAMAGE}
        self.heads = torch.nn.ModuleDict({k: torch.nn.Linear(128, len(v)) for k, v in options.items()})

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor):
        pooled = self.clip.vision_model(pixel_values=pixels).pooler_output
        told = self.clip.text_model(input_ids=tokens).pooler_output
        return (
            pooled,
            F.normalize(self.clip.visual_projection(pooled), dim=-1),
            F.normalize(self.clip.text_projection(told), dim=-1),
        )


def loss(
    model: Trainee,
    pixels: torch.Tensor,
    tokens: torch.Tensor,
    labels: torch.Tensor,
    worn: torch.Tensor | None = None,
    kinds: torch.Tensor | None = None,
) -> torch.Tensor:
    """CLIP's symmetric contrastive loss, where equal captions count as equal, plus the heads' cross-entropies.

    ``worn`` are damaged pictures of the given ``kinds``: the pooled features must tell them from clean ones.
    """
    n = len(pixels)
    with loop.swift(pixels.device):
        everything = pixels if worn is None else torch.cat([pixels, worn])
        pooled = model.clip.vision_model(pixel_values=everything).pooler_output
        told = model.clip.text_model(input_ids=tokens).pooler_output
        seen = model.clip.visual_projection(pooled[:n]).float()
        told = model.clip.text_projection(told).float()
        guesses = {k: head(pooled).float() for k, head in model.heads.items()}
    seen, told = F.normalize(seen, dim=-1), F.normalize(told, dim=-1)
    logits = model.clip.logit_scale.exp().clamp(max=100) * seen @ told.T
    same = (tokens[:, None] == tokens[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    total = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    for k, y in zip(model.heads, labels.T):  # a mean over those that have the label, without asking how many they are
        each = F.cross_entropy(guesses[k][:n], y.clamp(min=0), reduction="none")
        total = total + 0.5 * (each * (y >= 0)).sum() / (y >= 0).sum().clamp(min=1)
    if worn is not None:
        kinds = torch.cat([kinds.new_zeros(n), kinds])
        total = total + 0.5 * F.cross_entropy(guesses["damage"], kinds)
    return total


def shrunk(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (b, 3, 128, 128) at the judge's size, as its image processor makes them."""
    return F.interpolate(pixels, size=(SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)


def damaged(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (b, 3, 128, 128) in [-1, 1], a quarter each blurred, with broken lines, bent, and tinted; and the kinds.

    Hard negatives: what is told of them is still true, but they are no good pictures of their style.
    """
    b, device = len(pixels), pixels.device
    kinds = 1 + torch.arange(b, device=device) % 4
    soft = _blur(pixels, 2.0)
    spots = F.interpolate(torch.randn(b, 1, 18, 18, device=device), size=pixels.shape[-2:], mode="bicubic")
    broken = torch.where(spots > 0.75, _blur(pixels, 7.0), pixels)
    bend = F.interpolate(torch.randn(b, 2, 14, 14, device=device), size=pixels.shape[-2:], mode="bicubic")
    grid = F.affine_grid(torch.eye(2, 3, device=device).expand(b, 2, 3), list(pixels.shape), align_corners=False)
    bent = F.grid_sample(pixels, grid + 0.05 * bend.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)
    tint = 0.62 + 0.38 * torch.rand(b, 3, 1, 1, device=device)
    tinted = (pixels + 1) * (tint / tint.amax(1, keepdim=True)) - 1
    out = torch.stack([soft, broken, bent, tinted])
    return out[kinds - 1, torch.arange(b, device=device)], kinds


def _blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian blur, (b, 3, h, w)."""
    reach = int(3 * sigma)
    t = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    kernel = torch.exp(-(t**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = F.pad(pixels, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[:, :, None], groups=3), kernel[..., None], groups=3)


def label(s: Scene, style: str | None) -> list[int]:
    """Indices of the attributes in the order of the heads, -1 where the picture does not show one."""
    values = (s.thing, s.colour, s.ground, s.time)
    known = [options.index(v) if v is not None else -1 for options, v in zip(FIELDS.values(), values)]
    return [*known, COUNTS.index(s.count), LOOKS.index(style or s.medium), RELATIONS.index(s.relation)]


def flipped(labels: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Labels of mirrored pictures where ``flip`` is 1: left and right change places."""
    side = labels[:, -1]
    return torch.cat([labels[:, :-1], torch.where((flip > 0) & (side > 0), 3 - side, side)[:, None]], 1)


def run(
    *,
    steps: int = 8000,
    peak: float = 1e-3,
    scenes: int = 20000,
    styled_scenes: int = 30000,
    batch: int = 160,
    warm: Path | None = None,
    folder: Path,
) -> Iterator[dict]:
    """Train the judge; yields records with its accuracy on the last pictures, which are kept out of training.

    Resumes by itself; with ``warm`` (the data folder) it goes on from the shipped judge.
    """
    where, cache = loop.device(), folder.parent / "cache"
    pictures = torch.cat(
        [
            small(picture, scenes, cache),
            small(styled_picture, styled_scenes, cache),
        ]
    )
    described = [(scene(i), None) for i in range(scenes)] + [styled(i) for i in range(styled_scenes)]
    labels = torch.tensor([label(s, style) for s, style in described])
    words = vocabulary()
    tokenizer = build_tokenizer(words)
    table = WordTable(tokenizer, words)
    torch.manual_seed(77)
    model = Trainee(tokenizer).to(where)
    if warm:
        clip = CLIPModel.from_pretrained(warm / "judge", dtype=torch.float32, use_safetensors=True)
        model.clip = clip.to(where).train()
    model.clip.set_attn_implementation("eager")  # on a CPU its backward pass is several times faster than sdpa's
    pixels_of = lambda i: pictures[i].to(where).float() / 127.5 - 1  # noqa: E731
    kept_out = 500  # of each kind, the last ones

    def step_loss(step: int) -> torch.Tensor:
        rng = np.random.default_rng([6, step])
        half = batch // 2
        picks = np.concatenate(
            [rng.integers(scenes - kept_out, size=half), scenes + rng.integers(styled_scenes - kept_out, size=half)]
        )
        flip = rng.random(batch) < 0.5
        told = []
        for i, f in zip(picks, flip):
            s, style = described[i]
            s = mirrored(s) if f else s
            told.append(styled_caption(s, style, rng) if style else caption(s, rng))
        x = pixels_of(picks)
        x[flip] = x[flip].flip(-1)
        y = flipped(labels[picks].to(where), torch.from_numpy(flip).long().to(where))
        return loss(model, x, table(told).to(where), y)

    for record in loop.train(model, step_loss, steps=steps, peak=peak, folder=folder, decay=0.998, every=500):
        average = Trainee(tokenizer).to(where).eval()
        record.pop("ema").copy_to(average)
        average.clip.save_pretrained(folder / "judge")
        processor(tokenizer).save_pretrained(folder / "judge")
        held_out = {
            "natural": range(scenes - kept_out, scenes),
            "styled": range(len(described) - kept_out, len(described)),
        }
        tests = {k: [i for i in which if described[i][0].second is None] for k, which in held_out.items()}
        yield record | {
            kind: zero_shot(average, table, pixels_of(list(which)), labels[list(which), 0], "thing")
            for kind, which in tests.items()
        }


@torch.no_grad()
def zero_shot(model: Trainee, table: WordTable, pixels: torch.Tensor, truth: torch.Tensor, field: str) -> float:
    """How often "a <thing>" is the nearest of all such captions."""
    tokens = table([f"a {option}" for option in FIELDS[field]]).to(pixels.device)
    _, seen, told = model(pixels, tokens)
    return round(float((seen @ told.T).argmax(1).cpu().eq(truth).float().mean()), 4)
