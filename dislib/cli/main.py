"""`python -m dislib doctor | prior | generate | finetune | evaluate | latent`: the main job without a notebook.

Exit codes: 0 done; 1 the work failed (a FAIL of doctor, a full disk, too little memory); 2 the call or its input is
wrong; 130 interrupted. Results go to stdout, everything else to stderr.
"""

import argparse
import contextlib
import math
import os
import platform
import sys
import warnings

from .. import __version__
from ..errors import (
    DislibError,
    DislibWarning,
    OutputError,
    PriorError,
    check_processes,
    check_text,
    printable,
    shorten,
)

MAX_PICTURES = 1_000_000


def main(argv=None):
    """Run one command; returns its exit code. `argv` as in `sys.argv[1:]`."""
    for name in ("stdout", "stderr"):  # closed by whoever started us: nobody listens
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    for stream in (sys.stdout, sys.stderr):  # file names can hold what a terminal cannot show
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(_spelt(sys.argv[1:] if argv is None else argv))
    try:
        check_processes()
        with _only_our_warnings():
            code = arguments.run(arguments)
            print(end="", flush=True)  # a full disk behind `> file` is told here rather than at exit
            return code
    except DislibError as error:
        return _fail(error, error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on or starts clean", 130)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:
        _close_output()
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        return _fail("out of memory; close other programs or pass a smaller --batch_size", 1)


def _spelt(argv):
    """The words of a command with every option's name as diffusers spells it: --batch-size is --batch_size."""
    words, rest = list(argv), []
    if "--" in words:
        words, rest = words[: words.index("--")], words[words.index("--") :]
    split = [word.partition("=") if word.startswith("--") else (word, "", "") for word in words]
    return [
        "--" + name[2:].replace("-", "_") + sign + value if name.startswith("--") else name
        for name, sign, value in split
    ] + rest


def doctor(arguments):
    """Print a line for each check; 1 if one fails."""
    from .doctor import checks

    failed = 0
    for passed, question, answer in checks(arguments.model):
        print(f"{'OK  ' if passed else 'FAIL'}  {question:<13} {printable(answer)}", flush=True)
        failed += not passed
    print(f"{failed} FAIL; mend the first one first" if failed else "All is well.")
    return 1 if failed else 0


def prior(arguments):
    """Compute the prior of a folder of images and save it."""
    from ..files import check_output_file
    from ..images.images import list_images

    out = check_output_file(arguments.out, suffix=".safetensors")
    images = list_images(arguments.images)  # what can be wrong with them is told before a model is loaded

    from ..core.prior import StylePrior
    from ..loading import load_pipeline
    from ..progress import Bar

    if out.exists():
        _check_overwriting(StylePrior, out)
    pipe = load_pipeline(arguments.model, device=arguments.device, local_files_only=arguments.offline)
    result = StylePrior.from_images(
        pipe, images, n=arguments.n, seed=arguments.seed, shrink=arguments.shrink,
        batch_size=arguments.batch_size, report=Bar("images"),
    )
    result.save(out)
    for name, reason in result.meta["skipped"]:
        _say(f"skipped {name}: it {reason}")
    positions = result.std.numel()
    print(
        f"{printable(out)}: {result.meta['n']} images of {shorten(arguments.images, 200)},"
        f" {len(result.meta['skipped'])} skipped,"
        f" latents {result.shape}, {result.meta['floored']} of {positions} positions at the least std"
    )
    return 0


def _check_overwriting(StylePrior, out):
    """A prior may be computed again; a model's weights under a mistyped name must not be lost."""
    try:
        StylePrior.load(out)
    except PriorError as error:
        raise OutputError(f"{out} is there already and is no style prior; choose another --out or delete it") from error


def generate(arguments):
    """Make pictures and write them with every setting; goes on after an interruption."""
    from ..core import sampling
    from ..core.prior import StylePrior
    from ..files import check_output_folder
    from ..images.prompts import parse_seeds, read_prompts
    from ..loading import load_pipeline
    from .gallery import Gallery

    seeds = parse_seeds(arguments.seeds)
    prompts = arguments.prompt or read_prompts(arguments.prompts)
    for text in [*prompts, arguments.negative or ""]:
        check_text(text)
    if (total := len(prompts) * len(seeds)) > MAX_PICTURES:
        raise DislibError(f"{len(prompts):,} prompts by {len(seeds):,} seeds are {total:,} pictures;"
                          f" at most {MAX_PICTURES:,} go into one folder")
    sampling.check_guidance(arguments.guidance)
    check_output_folder(arguments.out)
    if arguments.prior == "none":
        raise DislibError("--prior none is now called --start white")
    prior = None if arguments.prior is None else StylePrior.load(arguments.prior)
    pipe = load_pipeline(arguments.model, device=arguments.device, local_files_only=arguments.offline)
    work = sampling.check_generation(
        pipe, prompts, seeds, prior=prior, start=arguments.start, guidance=arguments.guidance, steps=arguments.steps,
        scheduler=arguments.scheduler, batch_size=arguments.batch_size, negative=arguments.negative,
    )
    gallery = Gallery(arguments.out, _settings(work, arguments.scheduler), total)
    first = gallery.resume()
    if gallery.is_complete():
        print(f"{printable(gallery.folder)}: all {total} pictures of these settings are there already")
        return 0
    _fill(gallery, work, first)
    print(f"{printable(gallery.folder)}: {total} pictures{f', {first} of them from before' if first else ''}")
    return 0


def _fill(gallery, work, first):
    from ..core.sampling import truncated_part
    from ..progress import Bar

    gallery.begin()
    report = Bar("pictures", first=first)
    for batch in work.batches(first):
        for sample in batch:
            gallery.add(sample)
        report(batch[-1].index + 1, gallery.total)
    rows = [(prompt, seed) for prompt in work.prompts for seed in work.seeds]
    images = [{"file": gallery.path(i).name, "prompt": p, "seed": s} for i, (p, s) in enumerate(rows)]
    lost = {prompt: part for prompt in work.prompts if (part := truncated_part(work.pipe, prompt))}
    gallery.finish(images=images, truncated=lost, versions=_versions(), **_worked_out(work))


def _settings(work, scheduler):
    """All that the pictures depend on; two runs with equal settings make equal pictures."""
    from ..core.pipeline import image_size, model_id, pipeline_fingerprint

    pipe = work.pipe
    return {
        "model": model_id(pipe), "fingerprint": pipeline_fingerprint(pipe), "image_size": image_size(pipe),
        "device": pipe.device.type, "dtype": str(pipe.unet.dtype).removeprefix("torch."),
        "prompts": work.prompts, "seeds": work.seeds, "negative": work.negative, "guidance": work.guidance,
        "steps": work.steps, "batch_size": work.batch_size, "scheduler": scheduler,
        "scheduler_class": type(work.scheduler).__name__, "scheduler_config": _plain(work.scheduler.config),
        "start": work.start, "prior": work.prior.identity() if work.prior else None,
    }


def _worked_out(work):
    """What follows from the settings by computing, which is told but never compared."""
    from ..core.prior import first_timestep
    from ..core.schedulers import latent_scale

    return {
        "first_timestep": first_timestep(work.scheduler, work.steps)[0],
        "latent_scale": latent_scale(work.scheduler, work.steps),
        "prior_sha256": work.prior.sha256() if work.prior else None,
    }


def _plain(config):
    """A scheduler's public settings as JSON; what JSON does not know (infinity, arrays of betas) as text."""

    def plain(value):
        known = math.isfinite(value) if isinstance(value, float) else isinstance(value, (str, int, type(None)))
        return value if known else str(value)

    return {key: plain(value) for key, value in config.items() if not key.startswith("_")}


def _versions():
    import diffusers
    import torch
    import transformers

    modules = (torch, diffusers, transformers)
    return {"python": platform.python_version(), **{m.__name__: str(m.__version__) for m in modules}}


Plain = argparse.RawDescriptionHelpFormatter  # leaves the lines of an example as they are


def example(words):
    """The end of a command's help."""
    return f"example:\n  python -m dislib {words}"


def _parser():
    from . import evaluate, finetune, latent

    parser = _Parser(prog="python -m dislib", description="Diffusion in Style from the command line.")
    parser.add_argument("--version", action="version", version=f"dislib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="doctor | prior | generate | finetune | evaluate | latent")
    _add_doctor(commands)
    _add_prior(commands)
    _add_generate(commands)
    finetune.add_command(commands)
    evaluate.add_command(commands)
    latent.add_command(commands, _add_common)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        super().error(printable(message))  # what it does not know it tells as it came, colour codes too


def _add_doctor(commands):
    command = commands.add_parser("doctor", help="check this machine and the model; a line OK or FAIL each",
                                  epilog=example("doctor"), formatter_class=Plain)
    command.set_defaults(run=doctor)
    command.add_argument("--model", default="tiny", help="tiny (default), a hub id or a pipeline folder")


def _add_prior(commands):
    command = commands.add_parser("prior", help="compute the style prior of a folder of images",
                                  epilog=example("prior --images PICTURES --out style.safetensors"), formatter_class=Plain)
    command.set_defaults(run=prior)
    _add_common(command)
    command.add_argument("--images", required=True, metavar="DIR", help="folder of images (not its subfolders)")
    command.add_argument("--out", required=True, metavar="FILE.safetensors")
    command.add_argument("--n", type=int, help="how many images; default all that are readable, at most 50")
    command.add_argument("--seed", type=int, default=0, help="of the draw of N images (default 0)")
    command.add_argument("--shrink", type=float, default=0.0, metavar="S", help="0 (as measured) to 1: move mean and"
                         " spread toward those of their channel; needed for a single image")


def _add_generate(commands):
    command = commands.add_parser(
        "generate", help="make pictures: every seed for every prompt", formatter_class=Plain,
        epilog=example('generate --model TUNED --prompt "a red house" --seeds 0-3 --out pictures'),
    )
    command.set_defaults(run=generate)
    _add_common(command)
    group = command.add_argument_group("what is made")
    texts = group.add_mutually_exclusive_group(required=True)
    texts.add_argument("--prompt", action="append", metavar="TEXT", help="a prompt; repeat for more")
    texts.add_argument("--prompts", metavar="FILE", help="prompts from .txt, .json, .jsonl, .csv or .tsv")
    group.add_argument("--out", required=True, metavar="DIR")
    group.add_argument("--seeds", default="0-7", help="such as 0-7 (default) or 0,3,12")
    command = command.add_argument_group("how it is sampled")
    command.add_argument("--guidance", type=float, default=3.0, metavar="W", help="1 (none) or more (default 3)")
    command.add_argument("--prior", metavar="FILE", help="the style prior to start from; default: the one the model was"
                         " fine-tuned with, if any")
    command.add_argument("--start", choices=("white", "paper", "matched", "leak"), help="default: paper with a prior,"
                         " else white")
    command.add_argument("--steps", type=int, default=12, help="default 12")
    command.add_argument("--scheduler", default="dpm", metavar="NAME", help="a deterministic sampler: dpm (default),"
                         " ddim, pndm, unipc, deis, euler, heun, lms, dpm-single, dpm2")
    command.add_argument("--negative", metavar="TEXT", help="negative prompt")


def _add_common(command):
    command = command.add_argument_group("model and machine")
    command.add_argument("--model", default="tiny", help="tiny (default), a hub id, a pipeline or a fine-tuned folder")
    command.add_argument("--batch_size", type=_positive, default=8, metavar="B", help="default 8; less saves memory")
    command.add_argument("--device", help="cpu, cuda, mps; default the best there is")
    command.add_argument("--offline", action="store_true", help="never ask the hub, use its cache")


def _positive(text):
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shorten(text)!r} is not a whole number from 1")
    return int(text)


@contextlib.contextmanager
def _only_our_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DislibWarning)
        warnings.showwarning = lambda message, *_: _say(f"note: {message}")
        yield


def _is_out_of_memory(error):
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error)


def _say(text):
    with contextlib.suppress(OSError):  # nobody listens
        print(printable(text), file=sys.stderr, flush=True)


def _fail(error, code):
    _say(f"error: {error}")
    return code


def _close_output():
    """Let go of a stdout that cannot be written to, or Python complains once more at exit."""
    try:
        print(end="", flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
