"""All parts of the shipped model trained at once on one GPU: `recipes/gpu.sh`.

Four processes: `paint` fills a folder with pictures, captions and labels, on all cores; `vae`, `unet` and `judge` wait
for what they need, train for so many seconds with a cosine over the time they have, and leave half-precision weights
in $OUT. The losses, models and data are those of the CPU recipes; what is here is speed: large batches kept on the GPU,
bfloat16, and each whole step replayed as one CUDA graph.
"""

from __future__ import annotations

import math
import os
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import recipes.next  # noqa: F401, I001 - its world takes the place of dislib.world before anything paints
from dislib.world import caption, vocabulary

from . import judge as judging
from . import loop
from . import unet as drawing
from . import vae as coding
from .graphs import captured
from .pictures import TRAINING_PHOTOS, doodle, photographs, picture, scene
from .tokenizer import WordTable, build_tokenizer

OUT, WORK = Path(os.environ.get("OUT", "build/gpu")), Path(os.environ.get("WORK", "build/gpu-work"))
SCALE = float(os.environ.get("SCALE", 1))
VAE_CHANNELS, UNET_CHANNELS = (32, 64, 96, 128), (80, 128, 128)
CHUNK = 512 if SCALE >= 0.1 else 32
WORDINGS = 3  # captions of each picture, and as many of its mirror image
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


def seconds(part: str, usual: float) -> float:
    return float(os.environ.get(f"{part}_SECONDS", usual))


def count(full: int) -> int:
    """So many pictures in all, in whole chunks."""
    return max(round(full * SCALE / CHUNK), 2) * CHUNK


PARTS = {"doodle": count(8192), "picture": count(49152), "styled": count(40960)}
FIRST = count(16384)  # pictures with which the autoencoder begins


# --- paint ----------------------------------------------------------------------------------------------------------


def chunk(job: tuple[str, int]) -> str:
    """Paint pictures start .. start + CHUNK of a kind, tell and label them, and keep them in a file."""
    kind, start = job
    path = WORK / f"{kind}-{start:06d}.npz"
    if path.exists():
        return path.name
    which = range(start, start + CHUNK)
    if kind == "doodle":
        kept = {"pixels": np.stack([doodle(i) for i in which])}
    else:
        words = vocabulary()
        table = WordTable(build_tokenizer(words), words)
        described = [(scene(i), None) if kind == "picture" else judging.styled(i) for i in which]
        paint_one = picture if kind == "picture" else judging.styled_picture
        told = [tell(s, style, i) for i, (s, style) in zip(which, described)]
        kept = {
            "pixels": np.stack([paint_one(i) for i in which]),
            "tokens": np.stack([table(texts).numpy() for texts in told]).astype(np.int16),
            "labels": np.array([judging.label(s, style) for s, style in described], np.int8),
        }
    np.savez(path.with_suffix(".part.npz"), **kept)
    path.with_suffix(".part.npz").replace(path)
    return path.name


def tell(s, style, i: int) -> list[str]:
    """Captions of a picture, then those of its mirror image."""
    rng = np.random.default_rng([8, i])
    say = (lambda s: judging.styled_caption(s, style, rng)) if style else (lambda s: caption(s, rng))
    return [say(s) for _ in range(WORDINGS)] + [say(judging.mirrored(s)) for _ in range(WORDINGS)]


def run_paint() -> None:
    jobs = [("doodle", k) for k in range(0, PARTS["doodle"], CHUNK)]
    jobs += [("picture", k) for k in range(0, FIRST, CHUNK)]
    jobs += [("styled", k) for k in range(0, PARTS["styled"], CHUNK)]
    jobs += [("picture", k) for k in range(FIRST, PARTS["picture"], CHUNK)]
    begun = time.time()
    workers = max((os.cpu_count() or 2) - 2, 2)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for n, name in enumerate(pool.map(chunk, jobs), 1):
            if n % 40 == 0 or n == len(jobs):
                print(f"paint: {n} of {len(jobs)} chunks, {name}, {time.time() - begun:.0f} s", flush=True)


def gather(kind: str, upto: int, fields: tuple[str, ...] = ("pixels",)) -> list[torch.Tensor]:
    """Wait for the first chunks of a kind, and return them on the GPU."""
    files = [WORK / f"{kind}-{k:06d}.npz" for k in range(0, upto, CHUNK)]
    while not all(f.exists() for f in files):
        time.sleep(0.3)
    loaded = [np.load(f, allow_pickle=False) for f in files]
    return [torch.from_numpy(np.concatenate([one[name] for one in loaded])).to(DEVICE) for name in fields]


def wait_for(path: Path) -> Path:
    while not path.exists():
        time.sleep(0.2)
    return path


# --- a trainer that runs for so many seconds ------------------------------------------------------------------------


def train(name: str, module: torch.nn.Module, loss: Callable[[], torch.Tensor], *, peak: float, budget: float,
          decay: float = 0.999, warmup: float = 0.04, tell_every: float = 10, at: dict | None = None) -> dict:
    """Train for ``budget`` seconds: warm-up, then a cosine over time; returns the averaged weights as a state dict.

    ``loss`` draws its own batch on the GPU. ``at`` maps shares of the time to functions of the averaged weights.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    rate = torch.zeros((), device=DEVICE)
    options = {"fused": True, "capturable": True} if GPU else {}
    adam = torch.optim.AdamW(parameters, lr=rate if GPU else 0.0, betas=(0.9, 0.99), weight_decay=0.01, **options)
    shadow = [p.detach().clone() for p in parameters]

    def step() -> torch.Tensor:
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        adam.step()
        return value.detach()

    set_rate = (lambda v: rate.fill_(v)) if GPU else (lambda v: adam.param_groups[0].update(lr=v))
    set_rate(peak * 1e-3)
    replay = captured(step, adam)
    begun, told, n, at = time.time(), time.time(), 0, dict(at or {})
    total, since = torch.zeros((), device=DEVICE), 0
    while (share := (time.time() - begun) / budget) < 1:
        ramp = min(share / warmup, 1) if warmup else 1
        set_rate(peak * ramp * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))))
        total += replay()
        n, since = n + 1, since + 1
        with torch.no_grad():
            torch._foreach_lerp_(shadow, parameters, 1 - min(decay, (1 + n) / (10 + n)))
        if n % 8 == 0 and GPU:
            torch.cuda.synchronize()  # the clock must not run ahead of the work
        for moment in [m for m in at if share >= m]:
            at.pop(moment)(averaged(module, shadow))
        if time.time() - told > tell_every:
            print(f"{name}: step {n}  loss {float(total) / since:.4f}  {since / (time.time() - told):.1f} steps/s  {share:.0%}",
                  flush=True)
            total.zero_()
            told, since = time.time(), 0
    for moment in at:
        at[moment](averaged(module, shadow))
    print(f"{name}: {n} steps in {time.time() - begun:.0f} s", flush=True)
    return averaged(module, shadow)


def averaged(module: torch.nn.Module, shadow: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    mean = iter(shadow)
    names = {k: next(mean) for k, p in module.named_parameters() if p.requires_grad}
    return {k: names.get(k, v).detach().clone() for k, v in module.state_dict().items()}


def layout(make: Callable[[], torch.nn.Module], x: torch.Tensor, run: Callable) -> torch.memory_format:
    """The memory format in which a forward and backward pass is quickest on this GPU."""
    if not GPU:
        return torch.contiguous_format
    found = {}
    for form in (torch.contiguous_format, torch.channels_last):
        module = make().to(DEVICE, memory_format=form)
        for n in range(8):
            if n == 3:
                torch.cuda.synchronize()
                begun = time.time()
            run(module, x.contiguous(memory_format=form)).float().pow(2).mean().backward()
        torch.cuda.synchronize()
        found[form] = time.time() - begun
    print("layouts: " + ", ".join(f"{str(k)[6:]} {v / 5 * 1000:.1f} ms" for k, v in found.items()), flush=True)
    return min(found, key=found.get)


def pack(name: str, folder: Path) -> None:
    with tarfile.open(OUT / f"{name}.tar", "w") as tar:
        tar.add(folder, arcname=name)
    print(f"{name}.tar: {(OUT / f'{name}.tar').stat().st_size / 2**20:.1f} MiB", flush=True)


# --- the autoencoder ------------------------------------------------------------------------------------------------


def shaken(store: torch.Tensor, picks: torch.Tensor, most: int = 7) -> torch.Tensor:
    """Pictures of a store (n, 128, 128, 3) as (b, 3, 128, 128) in [-1, 1], each moved a little and mirrored at random."""
    b, side = len(picks), store.shape[1]
    along = torch.arange(side, device=store.device)
    mirrored = lambda i: side - 1 - (side - 1 - i.abs()).abs()  # noqa: E731, at the edges
    rows, columns = (mirrored(along + torch.randint(-most, most + 1, (b, 1), device=store.device)) for _ in range(2))
    flip = torch.randint(0, 2, (b, 1), device=store.device)
    columns = torch.where(flip.bool(), side - 1 - columns, columns)
    out = store[picks[:, None, None], rows[:, :, None], columns[:, None, :]]
    return out.permute(0, 3, 1, 2).float() / 127.5 - 1


def run_vae() -> None:
    torch.manual_seed(0)
    batch = 32 if GPU else 2
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")

    def forward(vae, x):
        with loop.swift(DEVICE):
            return vae(x).sample

    form = layout(lambda: coding.build(VAE_CHANNELS), torch.randn(batch, 3, 128, 128, device=DEVICE), forward)
    vae = coding.build(VAE_CHANNELS).to(DEVICE, memory_format=form).train()
    photos, rng = photographs(TRAINING_PHOTOS), np.random.default_rng(5)
    crops = np.stack([coding.photo_crop(photos[i % len(photos)], rng, 128) for i in range(int(4000 * SCALE) + 20)])
    held_out = coding.checks()
    (doodles,), (pictures,) = gather("doodle", PARTS["doodle"]), gather("picture", FIRST)
    store = torch.cat([pictures, doodles, torch.from_numpy(crops).to(DEVICE)])
    first = torch.tensor([0, len(pictures), len(pictures) + len(doodles)], device=DEVICE)
    size = torch.tensor([len(pictures), len(doodles), len(crops)], device=DEVICE)
    shares = torch.tensor([0.4, 0.46, 0.14], device=DEVICE).cumsum(0)
    million = sum(p.numel() for p in vae.parameters()) / 1e6
    print(f"vae: begins with {[int(n) for n in size]} pictures, {million:.2f} M", flush=True)

    def loss() -> torch.Tensor:
        kind = (torch.rand(batch, 1, device=DEVICE) > shares).sum(1).clamp(max=2)
        picks = first[kind] + (torch.rand(batch, device=DEVICE) * size[kind]).long()
        return coding.loss(vae, shaken(store, picks).contiguous(memory_format=form))

    def keep(name: str):
        def write(state: dict) -> None:
            save_file({k: v.half().cpu().contiguous() for k, v in state.items()}, WORK / f"{name}.part")
            (WORK / f"{name}.part").replace(WORK / f"{name}.safetensors")

        return write

    budget = seconds("VAE", 150)
    state = train("vae", vae, loss, peak=1.2e-3, budget=budget, at={0.05: keep("early-0"), 0.15: keep("early-1")})
    vae.load_state_dict(state)
    vae.eval().half().float()  # what is shipped is what the U-Net learns
    vae.save_pretrained(WORK / "vae.part")
    (WORK / "vae.part").replace(WORK / "vae")
    made = {kind: coding.reconstruct(vae, x) for kind, x in held_out.items()}
    coding.sheet([row for kind, x in held_out.items() for row in (x, made[kind])], OUT / "sheet-vae.png")
    print("vae: " + "  ".join(f"{k} {coding.psnr(x, made[k]):.2f}" for k, x in held_out.items()), flush=True)
    vae.half().save_pretrained(WORK / "half" / "vae")
    pack("vae", WORK / "half" / "vae")


# --- the U-Net ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def latents(vae, pictures: torch.Tensor) -> torch.Tensor:
    """Unscaled posterior modes of pictures and mirror images, (2, n, 4, 16, 16)."""
    out = []
    for flip in (False, True):
        for some in pictures.split(256):
            x = (some.flip(2) if flip else some).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast(DEVICE.type, dtype=torch.float16, enabled=GPU):
                out.append(vae.encode(x).latent_dist.mode().half())
    return torch.cat(out).unflatten(0, (2, len(pictures)))


def run_unet() -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    batch = 512 if GPU else 4
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    words = vocabulary()
    tokenizer = build_tokenizer(words)
    nothing = WordTable(tokenizer, words)([""])[0].to(DEVICE)
    context = torch.randn(batch, len(nothing), drawing.WIDTH, device=DEVICE)

    def forward(unet, x):
        with loop.swift(DEVICE):
            return unet(x, 500, context).sample

    form = layout(lambda: drawing.build_unet(UNET_CHANNELS), torch.randn(batch, 4, 16, 16, device=DEVICE), forward)
    pictures, tokens, labels = gather("picture", PARTS["picture"], ("pixels", "tokens", "labels"))
    vae = AutoencoderKL.from_pretrained(wait_for(WORK / "vae"), use_safetensors=True).to(DEVICE).eval()
    z = latents(vae, pictures)
    tokens = tokens.long().unflatten(1, (2, WORDINGS))
    natural = labels[:, -2] == 0
    del pictures
    scale = 1 / float(z[0].float().std())
    vae.register_to_config(scaling_factor=scale)
    beta_end = 0.007
    if SCALE >= 0.1:  # an autoencoder that has learnt nothing cannot be calibrated
        z_natural = z[0][natural][:4000].float().cpu() * scale
        beta_end = drawing.calibrate_beta_end(z_natural, target=drawing.TARGET_READABILITY)
    scheduler = drawing.build_scheduler(round(beta_end, 6))
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(DEVICE)
    model = drawing.Model(tokenizer, UNET_CHANNELS).to(DEVICE).train()
    model.unet.to(memory_format=form)
    print(f"unet: begins with {z.shape[1]} pictures, scale {scale:.4f}, beta_end {beta_end:.6f}, "
          f"{sum(p.numel() for p in model.unet.parameters()) / 1e6:.2f} M", flush=True)

    def loss() -> torch.Tensor:
        flips = torch.randint(0, 2, (batch,), device=DEVICE)
        picks = torch.randint(0, z.shape[1], (batch,), device=DEVICE)
        told = tokens[picks, flips, torch.randint(0, WORDINGS, (batch,), device=DEVICE)]
        told = torch.where(torch.rand(batch, 1, device=DEVICE) < 0.1, nothing, told)
        return drawing.loss(model, scheduler, z[flips, picks].float().contiguous(memory_format=form) * scale, told)

    def finish(state: dict, name: str = "unet") -> None:
        average = drawing.Model(tokenizer, UNET_CHANNELS).to(DEVICE).eval()
        average.load_state_dict(state)
        pipe = drawing.assemble(vae, average, tokenizer, drawing.build_scheduler(round(beta_end, 6)))
        made = drawing.samples(pipe)
        coding.sheet(made, OUT / "sheet-unet.png")
        average.half(), vae.half()
        pipe.save_pretrained(WORK / "half" / "pipeline", safe_serialization=True)
        vae.float()
        for part in ("vae",):
            for file in (WORK / "half" / "pipeline" / part).glob("*.safetensors"):
                file.unlink()  # it has its own archive
        pack("pipeline", WORK / "half" / "pipeline")

    finish(train("unet", model, loss, peak=1.5e-3, budget=seconds("UNET", 200)))
    if GPU:
        probe(z[0, :64].float() * scale)


def probe(z: torch.Tensor) -> None:
    """How fast fine-tunings of batch 16 run, one and several side by side, each on a stream of its own."""
    told = torch.randn(16, 24, drawing.WIDTH, device=DEVICE)
    runs = []
    for k in range(12):
        unet = drawing.build_unet(UNET_CHANNELS).to(DEVICE).train()
        adam = torch.optim.AdamW(unet.parameters(), lr=1e-4, fused=True, capturable=True)

        def step(unet=unet, adam=adam) -> torch.Tensor:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                value = unet(torch.randn_like(z[:16]), torch.randint(0, 1000, (16,), device=DEVICE), told).sample
            (value.float() - z[:16]).pow(2).mean().backward()
            adam.step()
            return value

        runs.append((torch.cuda.Stream(), captured(step, adam)))
        if k in (0, 3, 11):
            torch.cuda.synchronize()
            begun = time.time()
            for _ in range(40):
                for stream, replay in runs:
                    with torch.cuda.stream(stream):
                        replay()
            torch.cuda.synchronize()
            print(f"probe: {k + 1} side by side: {(time.time() - begun) / 40 / (k + 1) * 1000:.2f} ms a step", flush=True)


# --- the judge ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def round_trips(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures through the unfinished autoencoders, half by each: the kind of damage that generated pictures have."""
    out = []
    for k, some in enumerate(pictures.chunk(2)):
        state = load_file(wait_for(WORK / f"early-{k}.safetensors"))
        vae = coding.build(VAE_CHANNELS)
        vae.load_state_dict(state)
        vae.to(DEVICE).eval()
        for part in some.split(128):
            x = part.permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast(DEVICE.type, dtype=torch.float16, enabled=GPU):
                y = vae.decode(vae.encode(x).latent_dist.mode()).sample
            out.append(((y.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1))
    return torch.cat(out)


def run_judge() -> None:
    torch.manual_seed(77)
    torch.set_float32_matmul_precision("high")
    half = 256 if GPU else 4
    words = vocabulary()
    tokenizer = build_tokenizer(words)
    wide = int(count(24576))
    styled, styled_tokens, styled_labels = gather("styled", PARTS["styled"], ("pixels", "tokens", "labels"))
    natural, tokens, labels = gather("picture", wide, ("pixels", "tokens", "labels"))
    kept_out = max(int(512 * min(SCALE * 10, 1)), 8)
    some = max(int(6144 * SCALE), 8)
    ruined = round_trips(torch.cat([styled[:some], natural[: some // 2]]))
    sets = [(natural, tokens, labels), (styled, styled_tokens, styled_labels)]
    sets = [(p, told.long().unflatten(1, (2, WORDINGS)), known.long()) for p, told, known in sets]
    model = judging.Trainee(tokenizer).to(DEVICE).train()
    print(f"judge: begins with {len(natural)} and {len(styled)} pictures, {len(ruined)} ruined", flush=True)
    pick = lambda n, most: torch.randint(0, most, (n,), device=DEVICE)  # noqa: E731

    def batch_of(n: int, which: int):
        pixels, told, known = sets[which]
        i, flip = pick(n, len(pixels) - kept_out), pick(n, 2)
        x = pixels[i].permute(0, 3, 1, 2).float() / 127.5 - 1
        x = torch.where(flip[:, None, None, None].bool(), x.flip(-1), x)
        return x, told[i, flip, pick(n, WORDINGS)], judging.flipped(known[i], flip)

    def loss() -> torch.Tensor:
        clean = [batch_of(half, k) for k in (0, 1)]
        x, told, known = (torch.cat(parts) for parts in zip(*clean))
        worn, kinds = judging.damaged(x[half // 2 : -half // 4])
        old = ruined[pick(half // 4, len(ruined))].permute(0, 3, 1, 2).float() / 127.5 - 1
        worn, kinds = torch.cat([worn, old]), torch.cat([kinds, kinds.new_full((len(old),), judging.DAMAGE.index("ruined"))])
        return judging.loss(model, judging.shrunk(x), told, known, judging.shrunk(worn), kinds)

    state = train("judge", model, loss, peak=1e-3, budget=seconds("JUDGE", 100), decay=0.998)
    model.load_state_dict(state)
    model.eval()
    table = WordTable(tokenizer, words)
    with torch.no_grad():
        for name, (pixels, _, known) in zip(("natural", "styled"), sets):
            x, truth = judging.shrunk(pixels[-kept_out:].permute(0, 3, 1, 2).float() / 127.5 - 1), known[-kept_out:]
            alone = truth[:, -1] == 0  # no second thing
            found = judging.zero_shot(model, table, x[alone], truth[alone, 0].cpu(), "thing")
            print(f"judge: {name}: thing {found}", flush=True)
            pooled = model(x, table(["a cat"] * len(x)).to(DEVICE))[0]
            for k, head in enumerate(model.heads):
                if head != "damage":
                    y = truth[:, k]
                    right = (model.heads[head](pooled).argmax(1) == y)[y >= 0].float().mean()
                    print(f"judge: {name}: head {head} {float(right):.4f}", flush=True)
    folder = WORK / "half" / "judge"
    model.clip.half().save_pretrained(folder)
    judging.processor(tokenizer).save_pretrained(folder)
    pack("judge", folder)


if __name__ == "__main__":
    {"paint": run_paint, "vae": run_vae, "unet": run_unet, "judge": run_judge}[sys.argv[1]]()
