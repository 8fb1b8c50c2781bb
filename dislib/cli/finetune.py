"""`python -m dislib finetune`: fine-tune on a folder of images from the command line, on one process or several."""

import argparse

from ..errors import DislibError, OutputError, printable, shorten
from ..images.captions import SOURCES

# Options of Settings that the command takes under the same name: (name, type, help).
TRAINING = (
    ("max_train_steps", int, "optimiser steps (default 1000)"),
    ("train_batch_size", int, "images a step on each process (default 8)"),
    ("gradient_accumulation_steps", int, "batches to a step (default 1)"),
    ("learning_rate", float, "default: what the model's card says, or else 1e-5, and 1e-4 for a LoRA"),
    ("lr_warmup_steps", int, "steps over which the rate rises (default 0)"),
    ("snr_gamma", float, "Min-SNR weights with this gamma, such as 5 (default: none)"),
    ("log_snr_mean", float, "style-friendly SNR sampler: draw timesteps whose log-SNR is normal around this, such as -3"),
    ("log_snr_std", float, "its standard deviation (default 2)"),
    ("max_grad_norm", float, "longest gradient (default 1)"),
    ("adam_weight_decay", float, "of AdamW (default 0.01)"),
    ("noise_offset", float, "strength of --noise offset (default 0.1)"),
    ("rank", int, "train a LoRA of this rank in place of all weights"),
    ("caption_dropout", float, "share of empty captions (default 0.1)"),
    ("seed", int, "of the images drawn and of all noise (default 0)"),
)
KEEPING = (
    ("checkpointing_steps", int, "steps between two checkpoints (default 500)"),
    ("checkpoints_total_limit", int, "how many are kept (default 1)"),
    ("validation_steps", int, "steps between two sample sheets (default 100)"),
)
NUMBERS = (*TRAINING, *KEEPING)
WORDS = (
    ("lr_scheduler", None, "constant (default), linear, cosine, ... as diffusers names them"),
    ("mixed_precision", ("no", "fp16", "bf16"), "default: fp16 on CUDA, else no"),
    ("report_to", None, "a tracker of accelerate, such as tensorboard"),
    ("resume_from_checkpoint", None, 'a checkpoint, "latest" (default) or "none"'),
)
FLAGS = (
    ("gradient_checkpointing", "less memory, a fifth slower"),
    ("use_8bit_adam", "8-bit optimiser states (bitsandbytes)"),
    ("use_ema", "average the weights over the steps"),
)


def add_command(commands):
    """Add `finetune` to the command line's parser."""
    command = commands.add_parser(
        "finetune", help="fine-tune the U-Net on a folder of images, with style noise or white",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m dislib finetune --images PICTURES --rank 8 --max_train_steps 500 --out TUNED",
    )
    command.set_defaults(run=run)
    machine = command.add_argument_group("model and machine")
    machine.add_argument("--model", default="tiny", help="tiny (default), a hub id, a pipeline or a fine-tuned folder")
    machine.add_argument("--out", required=True, metavar="DIR")
    machine.add_argument("--device", help="cpu, cuda, mps; default the best there is")
    machine.add_argument("--offline", action="store_true", help="never ask the hub, use its cache")
    pictures, training, keeping = map(command.add_argument_group, ("pictures and captions", "training", "what is kept"))
    _add_pictures(pictures)
    training.add_argument("--noise", choices=("white", "style", "offset"), default="style", help="default style")
    training.add_argument("--lora_targets", nargs="+", metavar="LAYER", help="layers of the LoRA (default: all that can"
                          " have one), such as to_q to_k to_v to_out.0")
    for group, options in ((training, TRAINING), (keeping, KEEPING)):
        for name, kind, text in options:
            group.add_argument(f"--{name}", type=kind, metavar="N" if kind is int else "X", help=text)
    for name, choices, text in WORDS:
        group = keeping if name in ("report_to", "resume_from_checkpoint") else training
        group.add_argument(f"--{name}", choices=choices, metavar=None if choices else "NAME", help=text)
    for name, text in FLAGS:
        training.add_argument(f"--{name}", action="store_true", help=text)
    keeping.add_argument("--validation_prompts", action="append", default=[], metavar="TEXT", help="a prompt of the"
                         " sample sheet; repeat for more")


def _add_pictures(command):
    command.add_argument("--images", required=True, metavar="DIR", help="folder of images with metadata.jsonl")
    command.add_argument("--n", type=int, help="how many images, drawn by seed; default all, at most 50")
    command.add_argument("--caption", choices=SOURCES, default="metadata", help="where captions come from")
    command.add_argument("--leave_out", action="append", default=[], metavar="WORDS", help="take these words out of the"
                         " captions (repeat for more), so that the style is left to the noise")
    command.add_argument("--resolution", type=int, help="side of the pictures in pixels; default the model's own")
    command.add_argument("--center_crop", type=_yes_or_no, default=True, metavar="yes|no", help="default yes; no cuts"
                         " each square out at a random place")
    command.add_argument("--random_flip", action="store_true", help="also train on mirror images")


def run(arguments):
    """Train, show a bar, leave the result in --out."""
    from ..core.pipeline import set_resolution
    from ..device import is_main
    from ..files import user_path
    from ..loading import load_pipeline
    from ..progress import watch
    from ..training.examples import TrainingSet
    from ..training.finetune import finetune
    from ..training.result import RECORD, check_place, has_weights, is_finished

    settings, out = settings_of(arguments), check_place(arguments.out)
    if out.resolve() == user_path(arguments.images).resolve():
        raise OutputError(f"--out {printable(out)} is the folder of the training pictures; choose another")
    pipe = load_pipeline(arguments.model, device=arguments.device, local_files_only=arguments.offline)
    if arguments.resolution is not None:
        set_resolution(pipe, arguments.resolution)
    examples = TrainingSet.from_folder(
        pipe, arguments.images, n=arguments.n, seed=settings.seed, caption=arguments.caption,
        leave_out=arguments.leave_out, random_flip=arguments.random_flip, center_crop=arguments.center_crop,
    )
    noise = examples.prior(pipe) if arguments.noise == "style" else arguments.noise
    records = finetune(pipe, examples, noise=noise, out=out, settings=settings)
    if is_finished(out, settings) and not has_weights(out):
        (out / RECORD).unlink(missing_ok=True)  # of a result whose weights somebody has deleted: made again
    elif is_finished(out, settings):
        print(f"{printable(out)}: this very fine-tuning is there already")
        return 0
    last = None
    for last in watch(records, settings.max_train_steps, quiet=not is_main()):
        _keep_sheet(out, last, settings.validation_prompts)
    if is_main():
        _keep_losses(out)
        print(f"{printable(out)}: {settings.max_train_steps} steps on {len(examples)} images with {arguments.noise} noise"
              f"{f', last loss {last.loss:.4f}, {last.images_per_second:.1f} images/s' if last else ''}")
    return 0


def settings_of(arguments):
    """The Settings that the command line asks for; what it does not name keeps its default."""
    from ..training.settings import Settings

    given = {name: getattr(arguments, name) for name, *_ in (*NUMBERS, *WORDS, *FLAGS)}
    given["lora_targets"] = arguments.lora_targets
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if given.get("resume_from_checkpoint") == "none":
        given["resume_from_checkpoint"] = None
    return Settings(**given, validation_prompts=tuple(arguments.validation_prompts))


def _keep_losses(out):
    """`loss.png`: the loss of every step, those before an interruption too, and its running mean."""
    from ..figures.plots import curve, save_png
    from ..progress import Smoothed
    from ..training.result import read

    losses, mean = read(out)["losses"], Smoothed()
    smooth = [mean.add(loss) for loss in losses]
    steps = range(0, len(losses), max(len(losses) // 100, 1))  # as many as can be told apart
    lines = {"one step": [losses[i] for i in steps], "running mean": [smooth[i] for i in steps]}
    figure = curve([i + 1 for i in steps], lines, xlabel="step", ylabel="loss", title="Loss of the training")
    save_png(figure, out / "loss.png")


def _keep_sheet(out, record, prompts):
    if record.images:
        from ..figures.plots import image_grid, save_png
        from ..files import make_folder

        sheet = image_grid(record.images, col_labels=list(prompts), rows=1, title=f"step {record.step}")
        save_png(sheet, make_folder(out / "samples") / f"{record.step:05d}.png")


def _yes_or_no(text):
    if text not in ("yes", "no"):
        raise DislibError(f"--center_crop must be yes or no, got {shorten(text)!r}")
    return text == "yes"
