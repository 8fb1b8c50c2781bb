"""`python -m dislib evaluate`: sweep the guidance weight and measure, or measure pictures made elsewhere."""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import DislibError, PromptError, printable, shorten

CLIP = "openai/clip-vit-large-patch14"  # of real runs
SHEET = 2_000_000  # bytes of the sheet of pictures: a file to look at, not a cell of a notebook
TABLE = {"kid": "KID", "fid": "FID", "nfid": "nFID", "mmd": "MMD", "clip": "CLIP score"}


def add_command(commands):
    """Add `evaluate` to the command line's parser."""
    parser = commands.add_parser(
        "evaluate",
        help="CLIP score, FID, KID and MMD along guidance weights, with bands",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m dislib evaluate --model TUNED --style comic --guidance 1,3,7.5 --n 200 --out results",
    )
    parser.set_defaults(run=run)
    command = parser.add_argument_group("what is measured")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--model", default="tiny", help="tiny (default), a hub id, a pipeline or a fine-tuned folder")
    what.add_argument("--images", metavar="DIR", help="measure these pictures instead, in step with the prompts")
    command.add_argument(
        "--style",
        action="append",
        required=True,
        metavar="DIR|NAME",
        help="what to compare with: a style of the course or a folder of pictures; repeat for more",
    )
    command.add_argument(
        "--prompts",
        metavar="FILE",
        help="prompts from .txt, .json, .jsonl, .csv or .tsv, or hub:OWNER/DATASET/FILE (default: the course's 200)",
    )
    command.add_argument(
        "--guidance",
        type=_weights,
        metavar="W,W,...",
        help="default: the paper's twelve, 1 to 20; with --images the one they were made with",
    )
    command.add_argument("--images_per_prompt", type=int, default=4, metavar="K", help="default 4")
    command.add_argument("--n", type=int, help="pictures a point, if fewer than all; a larger n later goes on from it")
    command = parser.add_argument_group("how it is sampled")
    command.add_argument(
        "--start", choices=("white", "paper", "matched", "leak"), help="default: paper with a prior, else white"
    )
    command.add_argument(
        "--prior", metavar="FILE", help="the style prior to start from; a fine-tuned folder has its own"
    )
    command.add_argument("--template", default="{}", help='what the model is told, such as "a sketch of {}"')
    command.add_argument("--seed", type=int, default=0, help="of the first picture; the next has the next (default 0)")
    command.add_argument("--steps", type=int, default=12, help="default 12")
    command.add_argument("--scheduler", default="dpm", metavar="NAME", help="a deterministic sampler (default dpm)")
    command.add_argument("--batch_size", type=int, default=16, metavar="B", help="default 16")
    command = parser.add_argument_group("what is kept, who judges, and where")
    command.add_argument("--out", required=True, metavar="DIR", help="features, results.csv and plots; goes on there")
    command.add_argument("--method", help="its name in the table; default the name of --out")
    command.add_argument(
        "--base",
        metavar="DIR",
        help="the --out of the style-agnostic base model with the same prompts and seed, for normalised FID",
    )
    command.add_argument(
        "--judge", help=f"tiny, a folder or a hub id of a CLIP; default tiny for 128-px models, else {CLIP}"
    )
    command.add_argument(
        "--features",
        metavar="NAME",
        help="FID and KID by torch-fidelity: inception-v3-compat, dinov2-vit-b-14, ... (default: the judge's own)",
    )
    command.add_argument(
        "--pictures", type=int, default=8, metavar="P", help="of how many prompts to keep one (default 8)"
    )
    command.add_argument("--device", help="cpu, cuda, mps; default the best there is")
    command.add_argument("--offline", action="store_true", help="never ask the hub, use its cache")


def run(arguments):
    """Sweep or look, then write the table and the plots."""
    from ..core.sampling import tell_truncated
    from ..device import is_main
    from ..evaluation.measure import floors, measure
    from ..evaluation.reference import Reference
    from ..evaluation.sweep import read_sweep
    from ..evaluation.sweep_folder import SETTINGS
    from ..evaluation.table import check_results_place, write_results
    from ..files import check_output_folder
    from ..progress import watch

    out, begun = check_output_folder(arguments.out), time.monotonic()
    _check_folders(arguments, out)
    check_results_place(out, begun=(out / SETTINGS).exists())
    prompts = read_prompt_list(arguments.prompts, offline=arguments.offline)
    work = (_of_images if arguments.images else _of_model)(arguments, prompts)
    tell_truncated(work.judge.processor, prompts, "prompts for the judge")
    base = _check_base(arguments, work)
    references = [Reference.of(style, work.judge, features=work.features) for style in arguments.style]
    for _ in watch(work.sweep, unit="pictures", quiet=not is_main()):
        pass
    if not is_main():
        return 0
    points = read_sweep(out, guidance=work.sweep.guidance, n=arguments.n)
    if arguments.base and base is None:
        base = points
    rows = []
    for reference in references:
        n = min(len(point.rows) for point in points.values())
        rows += measure(points, reference, method=_method(arguments), base=base)
        rows += floors(reference, n)
    write_results(out / "results.csv", rows)
    drawn = _draw(out, rows)
    _print(rows, [reference.style for reference in references])
    _say(f"{out}: results.csv, settings.json, {', '.join(drawn)}; {(time.monotonic() - begun) / 60:.0f} min")
    return 0


class _Work(NamedTuple):
    """What is to be measured, and who looks."""

    sweep: object
    judge: object
    features: object


def _check_folders(arguments, out):
    """Refuse, before any work, styles that are none or share a name, and an `--out` that would spoil pictures."""
    from ..evaluation.reference import shipped_style, style_name
    from ..files import data_dir, user_path

    named, folders = {}, [arguments.images] if arguments.images else []
    for style in arguments.style:
        if shipped_style(style) is None:
            folders.append(style)
            if not user_path(style).is_dir():
                known = ", ".join(sorted(path.name for path in (data_dir() / "styles").iterdir() if path.is_dir()))
                raise DislibError(f"there is no style {shorten(style)!r}; give a folder of pictures, or one of {known}")
        name = style_name(style)
        if name in named:
            raise DislibError(
                f"two styles are called {name!r} ({named[name]} and {style}) and would be one in tables and plots; name"
                " each once, or rename a folder"
            )
        named[name] = style
    if any(_same_folder(folder, out) for folder in folders):
        raise DislibError(f"--out {out} holds pictures to be measured, and plots would mix with them; choose another folder")


def _check_base(arguments, work):
    """The points of `--base`, found fit before hours of work; None if it is the sweep itself, or not given."""
    from ..evaluation.measure import check_base, check_enough
    from ..evaluation.sweep import read_sweep

    rows = work.sweep.rows()
    check_enough([row // work.sweep.plan.images_per_prompt for row in rows])
    if not arguments.base or _same_folder(arguments.base, arguments.out):
        return None
    try:
        base = read_sweep(arguments.base, guidance=work.sweep.guidance)
        check_base(base, work.sweep.settings, rows)
    except DislibError as error:
        later = "or leave out --base: the same command with it adds nFID later, and all else needs none"
        raise DislibError(f"{error}; {later}") from error
    return base


def _same_folder(a, b):
    from ..files import user_path

    return user_path(a).resolve() == user_path(b).resolve()


def read_prompt_list(source, *, offline=False):
    """The prompts of a file, of `hub:OWNER/DATASET/FILE`, or the course's own if `source` is None.

    Raises:
        PromptError: it cannot be had or read.
    """
    from ..files import data_dir
    from ..images.prompts import read_prompts

    if source is None:
        return read_prompts(data_dir() / "prompts" / "prompts.jsonl")
    if not source.startswith("hub:"):
        return read_prompts(source)
    try:
        owner, dataset, file = source.removeprefix("hub:").split("/", 2)
    except ValueError as error:
        raise PromptError(f"{source} should look like hub:nateraw/parti-prompts/PartiPrompts.tsv") from error
    from transformers.utils import cached_file

    try:
        return read_prompts(cached_file(f"{owner}/{dataset}", file, repo_type="dataset", local_files_only=offline))
    except OSError as error:
        raise PromptError(
            f"{source} is not in the cache and cannot be fetched; give a file ({shorten(error, 160)})"
        ) from error


def _of_model(arguments, prompts):
    """The work of `--model`."""
    from ..core.pipeline import image_size
    from ..core.prior import StylePrior
    from ..evaluation.sweep import GUIDANCE, sweep
    from ..loading import load_pipeline

    pipe = load_pipeline(arguments.model, device=_device(arguments), local_files_only=arguments.offline)
    judge, features = _eyes(arguments, real=image_size(pipe) > 128)
    work = sweep(
        pipe,
        judge,
        prompts,
        out=arguments.out,
        method=_method(arguments),
        style=arguments.style[0],
        guidance=arguments.guidance or GUIDANCE,
        images_per_prompt=arguments.images_per_prompt,
        n=arguments.n,
        start=arguments.start,
        prior=None if arguments.prior is None else StylePrior.load(arguments.prior, pipe),
        template=arguments.template,
        seed=arguments.seed,
        steps=arguments.steps,
        scheduler=arguments.scheduler,
        batch_size=arguments.batch_size,
        features=features,
        pictures=arguments.pictures,
    )
    return _Work(work, judge, features)


def _of_images(arguments, prompts):
    """The work of `--images`."""
    from ..evaluation.reference import shipped_style
    from ..evaluation.sweep import sweep_pictures
    from ..images.images import list_images

    if arguments.n:
        raise DislibError("--n is for models; with --images all pictures of the folder are measured, so leave it out")
    files, skipped = list_images(arguments.images)
    if skipped:
        raise DislibError(f"{skipped[0].file} {skipped[0].reason}: without it images and prompts fall out of step")
    record = _read_record(arguments.images)
    _check_told(record, files, prompts)
    weights = arguments.guidance or [record.get("guidance", 1.0)]
    if len(weights) > 1:
        raise DislibError(f"{len(weights)} guidance weights, but a folder of pictures is one point; name one")
    judge, features = _eyes(arguments, real=any(shipped_style(style) is None for style in arguments.style))
    work = sweep_pictures(
        files,
        judge,
        prompts,
        out=arguments.out,
        method=_method(arguments),
        guidance=weights[0],
        style=arguments.style[0],
        batch_size=arguments.batch_size,
        features=features,
    )
    return _Work(work, judge, features)


def _read_record(folder):
    """`generate.json` of pictures that this course's `generate` made, else nothing."""
    from ..files import read_json

    path = Path(folder) / "generate.json"
    try:
        record = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        told = f"{path} cannot be read ({shorten(error)}); mend it, or move it away if the pictures are not of it"
        raise DislibError(told) from error
    images = record.get("images", []) if isinstance(record, dict) else None
    whole = isinstance(images, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("file", "prompt")) for row in images
    )
    if not whole or not _is_weight(record.get("guidance", 1.0)):
        raise DislibError(f"{path} is not as `generate` wrote it; mend it, or move it away if the pictures are not of it")
    return record


def _is_weight(value):
    try:
        return not isinstance(value, (bool, str)) and 1 <= float(value) < math.inf
    except (TypeError, OverflowError):
        return False


def _check_told(record, files, prompts):
    """Refuse prompts that are not those the pictures were made with, if that is on record."""
    told = {row["file"]: row["prompt"] for row in record.get("images", [])}
    each = max(len(files) // len(prompts), 1)
    for i, file in enumerate(files):
        prompt = prompts[min(i // each, len(prompts) - 1)]
        if file.name in told and prompt not in told[file.name]:
            raise DislibError(
                f"{file.name} was made with {shorten(told[file.name])!r}, but the prompt in its place is"
                f" {shorten(prompt)!r}: images and prompts are not in step"
            )


def _eyes(arguments, *, real):
    """(the judge, the features or None) that the command asks for."""
    from ..evaluation.judge import Fidelity, load_judge

    name = arguments.judge or (CLIP if real else "tiny")
    options = {"device": _device(arguments), "local_files_only": arguments.offline}
    judge = load_judge(None if name == "tiny" else name, **options)
    return judge, Fidelity(arguments.features, device=judge.device) if arguments.features else None


def _device(arguments):
    """The device asked for; launched as several processes on GPUs, each takes its own."""
    import os

    from ..device import pick_device

    rank = os.environ.get("LOCAL_RANK")
    return arguments.device or (f"cuda:{rank}" if rank and pick_device() == "cuda" else None)


def _method(arguments):
    return arguments.method or Path(arguments.out).resolve().name


def _draw(out, rows):
    """Write the plots; their names."""
    from ..figures import curves
    from ..figures.plots import LIMIT, save_png

    figures = {}
    for style in dict.fromkeys(row.style for row in rows):
        figures[f"curve-{style}"] = curves.paper_curve(rows, style=style)
        for metric in dict.fromkeys(row.metric for row in rows if row.guidance is not None):
            figures[f"{metric}-{style}"] = curves.against_guidance(rows, metric, style=style)
    if (out / "pictures").is_dir():
        figures["pictures"] = curves.picture_sheet(out)
    for name, figure in figures.items():
        save_png(figure, out / f"{name}.png", limit=SHEET if name == "pictures" else LIMIT)
    return [f"{name}.png" for name in figures]


def _print(rows, styles):
    """A table a style: a line a weight, a column a metric; KID first, since few pictures spoil FID."""
    for style in styles:
        mine = [row for row in rows if row.style == style]
        metrics = [metric for metric in TABLE if any(row.metric == metric for row in mine)]
        lines = [["", *(TABLE[metric] for metric in metrics)]]
        cells = {(row.method, row.guidance, row.metric): row for row in mine}
        for method, weight in dict.fromkeys((row.method, row.guidance) for row in mine):
            name = shorten(method, 16) if weight is None else f"w = {weight:g}"
            lines.append([name, *(_cell(cells.get((method, weight, metric))) for metric in metrics)])
        print(printable(style), *columns(lines), sep="\n")


def columns(lines):
    """Lines of as many cells each, as text in columns that never touch."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ["   ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines]


def _cell(row):
    return f"{row.value:.4g} [{row.low:.4g}, {row.high:.4g}]" if row else "-"


def _weights(text):
    """`"1,1.5,2"` as floats."""
    from ..evaluation.sweep import check_weights

    try:
        return check_weights(part.strip() for part in text.split(","))
    except DislibError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _say(text):
    print(printable(text), file=sys.stderr, flush=True)
