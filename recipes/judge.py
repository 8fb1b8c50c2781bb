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

from dislib.world import COLOURS, GROUNDS, STYLES, THINGS, TIMES, Scene, caption, paint, shown, vocabulary

from . import loop
from .pictures import cached, picture, scene
from .tokenizer import WordTable, build_tokenizer, text_settings
from .unet import mirrored

SIDE = 64  # the judge looks at half the pictures' size
STYLE_STREAM = 200  # scenes of the judge's styled pictures; the shipped style sets and references use other streams
FIELDS = {"thing": THINGS, "colour": COLOURS, "ground": GROUNDS, "time": TIMES}


def build(tokenizer) -> CLIPModel:
    text = text_settings(tokenizer, width=96, layers=3, heads=3)
    vision = dict(
        image_size=SIDE,
        patch_size=8,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
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
    """The CLIP with one linear head per attribute: the heads help it to see early on and are thrown away."""

    def __init__(self, tokenizer):
        super().__init__()
        self.clip = build(tokenizer)
        self.heads = torch.nn.ModuleDict(
            {k: torch.nn.Linear(128, len(v)) for k, v in (FIELDS | {"style": range(6)}).items()}
        )

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor):
        pooled = self.clip.vision_model(pixel_values=pixels).pooler_output
        told = self.clip.text_model(input_ids=tokens).pooler_output
        return (
            pooled,
            F.normalize(self.clip.visual_projection(pooled), dim=-1),
            F.normalize(self.clip.text_projection(told), dim=-1),
        )


def loss(model: Trainee, pixels: torch.Tensor, tokens: torch.Tensor, labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """CLIP's symmetric contrastive loss, where equal captions count as equal, plus the heads' cross-entropies."""
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        pooled, seen, told = model(pixels, tokens)
        heads = {k: head(pooled).float() for k, head in model.heads.items()}
    logits = model.clip.logit_scale.exp().clamp(max=100) * seen.float() @ told.float().T
    same = (tokens[:, None] == tokens[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    contrast = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    return contrast + 0.5 * sum(
        F.cross_entropy(heads[k], y, ignore_index=-1) for k, y in labels.items() if (y >= 0).any()
    )


def label(s: Scene, style: int) -> list[int]:
    """Indices of the attributes, -1 where the picture does not show one."""
    values = (s.thing, s.colour, s.ground, s.time)
    return [options.index(v) if v is not None else -1 for options, v in zip(FIELDS.values(), values)] + [style]


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
    labels = torch.tensor([label(s, STYLES.index(style) + 1 if style else 0) for s, style in described])
    words = vocabulary()
    tokenizer = build_tokenizer(words)
    table = WordTable(tokenizer, words)
    torch.manual_seed(77)
    model = Trainee(tokenizer).to(where)
    if warm:
        clip = CLIPModel.from_pretrained(warm / "judge", dtype=torch.float32, use_safetensors=True)
        model.clip = clip.to(where).train()
    model.clip.set_attn_implementation("eager")  # on a CPU its backward pass is several times faster than sdpa's
    swift = loop.compiled(model)
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
        y = labels[picks].to(where)
        return loss(swift, x, table(told).to(where), dict(zip(model.heads, y.T)))

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
