"""`finetune` against a plain loop as in diffusers' text-to-image example; the wait for its first step; its memory."""

import itertools
import json
import sys
import time

from measure import ROOT, Measurement, run

BATCH, IMAGES, ROUNDS, STEPS = 8, 50, 4, 8
EARLY, LATE = 100, 1000


def benchmark():
    found = json.loads(run(__file__, "compare").output)
    task = f"batch {BATCH}"
    yield Measurement(f"a plain loop with VAE and text encoder in each step, {task}", found["plain"], "steps/s")
    yield Measurement(f"finetune, {task}", found["ours"], "steps/s")
    yield Measurement("finetune, times as fast as the plain loop", found["ours"] / found["plain"], "x", ">= 1.5")
    yield Measurement(
        "finetune, times as slow as forward and backward alone", found["bare"] / found["ours"], "x", "<= 1.1"
    )
    first = run(__file__, "first")
    yield Measurement(f"finetune to its first step on {IMAGES} images, libraries and model loaded", first.seconds, "s")
    rss = json.loads(run(__file__, "memory").output)
    yield Measurement(f"finetune of a small random model, memory at step {LATE}", rss["late"], "GiB")
    yield Measurement(f"  as against step {EARLY}", rss["late"] / rss["early"], "x", "<= 1.02")


def style_folder():
    from dislib import data_dir

    return data_dir() / "styles" / "comic" / "train"


def training_set(pipe):
    from dislib.training.examples import TrainingSet

    return TrainingSet.from_folder(pipe, style_folder(), n=IMAGES)


def compare():
    """Steps a second of all three, the best of several rounds that take turns."""
    from dislib import load_pipeline
    from dislib.training.finetune import finetune

    pipe = load_pipeline("tiny", device="cpu")
    options = {"train_batch_size": BATCH, "learning_rate": 1e-4, "max_train_steps": 10**6}
    loops = {
        "plain": plain_loop(load_pipeline("tiny", device="cpu")),
        "bare": bare_loop(load_pipeline("tiny", device="cpu")),
        "ours": finetune(pipe, training_set(pipe), **options),
    }
    best = dict.fromkeys(loops, 0.0)
    for loop in loops.values():
        next(loop)  # the first step is slower
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            begin = time.perf_counter()
            for _ in itertools.islice(loop, STEPS):
                pass
            best[name] = max(best[name], STEPS / (time.perf_counter() - begin))
    return best


def plain_loop(pipe):
    """The loop of diffusers' examples/text_to_image/train_text_to_image.py, yielding the loss of every step."""
    import torch
    from torch.nn import functional

    unet = pipe.unet.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=1e-2)
    loader = torch.utils.data.DataLoader(Captioned(pipe), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        for pixels, tokens in loader:
            with torch.no_grad():
                latents = pipe.vae.encode(pixels).latent_dist.sample() * pipe.vae.config.scaling_factor
                context = pipe.text_encoder(tokens)[0]
            noise = torch.randn_like(latents)
            t = torch.randint(0, 1000, (BATCH,))
            guess = unet(pipe.scheduler.add_noise(latents, noise, t), t, context).sample
            loss = functional.mse_loss(guess.float(), noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            yield loss.item()


class Captioned:
    """A data set that opens, crops and normalises an image when it is asked for, as the example's does."""

    def __init__(self, pipe):
        from dislib.images.prompts import read_captions

        self.pipe, self.captions = pipe, list(read_captions(style_folder()).items())[:IMAGES]

    def __len__(self):
        return len(self.captions)

    def __getitem__(self, i):
        from dislib.core.pipeline import image_size
        from dislib.images.images import load_image

        name, caption = self.captions[i]
        length = self.pipe.tokenizer.model_max_length
        tokens = self.pipe.tokenizer(
            caption, return_tensors="pt", padding="max_length", max_length=length, truncation=True
        )
        pixels = self.pipe.image_processor.preprocess(load_image(style_folder() / name, image_size(self.pipe)))
        return pixels[0], tokens.input_ids[0]


def bare_loop(pipe):
    """Forward, backward and optimiser on one batch that lies ready."""
    from dislib.cli.footprint import bare_losses
    from dislib.training.settings import Settings

    settings = Settings(train_batch_size=BATCH, learning_rate=1e-4, max_train_steps=10**6, mixed_precision="no")
    return bare_losses(pipe, training_set(pipe), settings)


def first():
    """As a user waits: load everything, encode the images, make one step."""
    from dislib import load_pipeline
    from dislib.training.finetune import finetune

    pipe = load_pipeline("tiny", device="cpu")
    examples = training_set(pipe)
    return next(finetune(pipe, examples, noise=examples.prior(pipe), train_batch_size=BATCH)).loss


def memory():
    """Resident memory in GiB at two steps of a training of a small random model."""
    sys.path.insert(0, str(ROOT / "tests"))
    import psutil
    from helpers import build_pipeline, images

    from dislib.training.examples import TrainingSet
    from dislib.training.finetune import finetune

    pipe, held = build_pipeline(), {}
    examples = TrainingSet.from_images(pipe, images(8), [f"{letter} a" for letter in "bcdefghi"])
    for record in finetune(pipe, examples, noise=examples.prior(pipe), learning_rate=1e-4, max_train_steps=LATE):
        if record.step in (EARLY, LATE):
            held[record.step] = psutil.Process().memory_info().rss / 2**30
    return {"early": held[EARLY], "late": held[LATE]}


if __name__ == "__main__":
    print(json.dumps({"compare": compare, "first": first, "memory": memory}[sys.argv[1]]()))
