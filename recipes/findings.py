"""The page of what was measured, `docs/measured.md`, from the tables in `data/results`: `python -m recipes findings`.

No number on it is typed: a test holds the page against the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import indent

from dislib.errors import DislibError
from dislib.evaluation.learning import BOTH, VARIANTS, over_seeds, pick, races, read_learning
from dislib.evaluation.table import FLOOR, TRAINING, read_results, standings
from dislib.figures.learning_curves import LABELS
from dislib.files import data_dir, write_atomic
from dislib.training.methods import METHODS

PAGE = Path("docs/measured.md")
OURS = ("style", "style-matched", "style-lora", "style-lora-matched")  # what is trained with style noise
LOW = (1.0, 1.5, 2.0, 3.0)  # guidance weights at which a style is meant to be reached


def table(head: Iterable, lines: Iterable[Iterable]) -> str:
    """A Markdown table."""
    rows = [list(map(str, head)), *(list(map(str, line)) for line in lines)]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def band(row) -> str:
    return f"{row.value:.0f} ({row.low:.0f} to {row.high:.0f})"


def of_methods(rows: list, metric: str) -> str:
    """Methods by styles; in bold what no other method beats beyond doubt."""
    styles = list(dict.fromkeys(row.style for row in rows))
    [weight] = {row.guidance for row in rows if row.guidance is not None}
    place = {(r.method, s): (p, r) for s in styles for p, r in standings(rows, style=s, guidance=weight, metric=metric)}
    cell = lambda place, row: f"**{row.value:.1f}**" if place == 1 else f"{row.value:.1f}"
    lines = [[METHODS[name].label, *(cell(*place[name, style]) for style in styles)] for name in METHODS]
    for name in (TRAINING, FLOOR) if metric == "fid" else ():
        found = {row.style: row.value for row in rows if (row.method, row.metric) == (name, metric)}
        lines.append([f"*{name}*", *(f"*{found[style]:.1f}*" for style in styles)])
    return table([metric.upper() if metric == "fid" else "CLIP score", *styles], lines)


def of_rates(found: dict) -> str:
    """FID at each rate that was tried, in bold the one that a method has kept."""
    lines = []
    for name, kept in found["of methods"].items():
        fids = found["fid"][METHODS[name].training]
        told = (f"{rate}: {of[name]:.0f}" for rate, of in fids.items())
        bold = (f"**{text}**" if float(rate) == kept else text for rate, text in zip(fids, told))
        lines.append([METHODS[name].label, *bold])
    return table(["rate: FID", "lowest", "middle", "highest"], lines)


def firsts(rows: list, weight: float, methods: Iterable[str]) -> list[str]:
    """Styles on which one of these methods shares the first place by FID."""
    styles = dict.fromkeys(row.style for row in rows)
    first = {style: [r.method for p, r in standings(rows, style=style, guidance=weight) if p == 1] for style in styles}
    return [style for style in styles if set(methods) & set(first[style])]


def runs(rows: list, style: str) -> int:
    """How many trainings were followed to the end."""
    return len(pick(rows, style=style, method="style-matched", metric="fid", iterations=1000, images=50))


def along(rows: list, axis: str, **same) -> str:
    """Methods by iterations or by images, the seeds of a style together."""
    rows = over_seeds(pick(rows, metric="fid", variant=BOTH, **same))
    columns = sorted({getattr(row, axis) for row in rows})
    at = {(row.method, getattr(row, axis)): band(row) for row in rows}
    return table(["FID", *columns], [[LABELS[m], *(at.get((m, c), "") for c in columns)] for m in LABELS])


def of_parts(rows: list, style: str) -> str:
    rows = over_seeds(pick(rows, metric="fid", style=style, iterations=300, images=50))
    at = {(row.variant, row.method): band(row) for row in rows}
    head = ["FID after 300 iterations", "paper's start", "matched start"]
    return table(head, [[v, at.get((v, "style"), ""), at.get((v, "style-matched"), "")] for v in VARIANTS])


def of_starts(rows: list, style: str) -> str:
    """The 2 x 2 of start and U-Net, with the matched start as a third column."""
    rows = over_seeds(pick(rows, style=style, images=50, variant=BOTH))
    lines = []
    for net, iterations, white in (("base U-Net", 0, "plain"), ("tuned with style noise", 1000, "style-white")):
        told = []
        for method in (white, "style", "style-matched"):
            fids, clips = (pick(rows, method=method, iterations=iterations, metric=m) for m in ("fid", "clip"))
            told.append(f"FID {fids[0].value:.0f}, CLIP {clips[0].value:.0f}" if fids else "")
        lines.append([net, *told])
    return table(["", "white start", "paper's start", "matched start"], lines)


def along_guidance(rows: list, style: str, metric: str) -> str:
    """All swept methods by guidance weights; in bold the lowest FID, or the highest CLIP score, of each."""
    at = {(r.method, r.guidance): r for r in rows if (r.style, r.metric) == (style, metric) and r.guidance is not None}
    weights, lines = sorted({weight for _, weight in at}), []
    for name in (name for name in METHODS if (name, weights[0]) in at):
        values = [at[name, weight].value for weight in weights]
        best = (max if metric == "clip" else min)(values)
        told = [f"**{value:.0f}**" if value == best else f"{value:.0f}" for value in values]
        lines.append([METHODS[name].label, at[name, weights[0]].n, *told])
    return table([metric.upper() if metric == "fid" else "CLIP score", "n", *(f"w = {w:g}" for w in weights)], lines)


def of_places(rows: list, metric: str = "fid") -> str:
    """The guidance weights at which a method shares the first place, a column a style."""
    styles, found = list(dict.fromkeys(row.style for row in rows)), {}
    for style in styles:
        for weight in sorted({row.guidance for row in rows if row.style == style} - {None}):
            for place, row in standings(rows, style=style, guidance=weight, metric=metric):
                if place == 1:
                    found.setdefault((row.method, style), []).append(f"{weight:g}")
    weights = {row.guidance for row in rows} - {None}
    tell = lambda first: "all" if len(first) == len(weights) else ", ".join(first)
    told = lambda name: [tell(found.get((name, style), ())) for style in styles]
    swept = [name for name in METHODS if name in {row.method for row in rows}]
    return table(["first at w =", *styles], [[METHODS[name].label, *told(name)] for name in swept])


def of_layers(found: dict) -> str:
    lines = [
        [kind, of["megabytes in float32"], *(f"{of[m]['fid']:.0f}" for m in ("style-lora", "style-lora-matched"))]
        for kind, of in found["layers"].items()
    ]
    return table(["LoRA on", "MB in float32", "FID, paper's start", "FID, matched start"], lines)


def of_stochastic(found: dict) -> str:
    """What a sampler with fresh noise does, on a Gaussian and on the model."""
    line, styles = found["one dimension"], found["styles"]
    kinds = [kind for kind in line if all(kind in of for of in styles.values())]
    head = ["sampler", "mean, one dimension", "std", *(f"{style}: mean latent off by, in mu" for style in styles)]
    lines = [
        [kind, line[kind]["mean"], line[kind]["std"], *(f"{of[kind]['share of mu']:+.2f}" for of in styles.values())]
        for kind in kinds
    ]
    blank = [""] * len(styles)
    return table(head, [*lines, ["*as it should be*", line["target"]["mean"], line["target"]["std"], *blank]])


def count(styles: list[str], of: int) -> str:
    if len(styles) == of:
        return f"all {of} styles"
    return f"{len(styles)} of {of} styles" + (f" ({', '.join(styles)})" if styles else "")


def verdicts(found: list) -> str:
    """Such as "ahead on neon, level on comic, sketch"."""
    styles = {v: [race.early.style for race in found if race.verdict == v] for v in ("ahead", "level", "behind")}
    return ", ".join(f"{verdict} on {' and '.join(of)}" for verdict, of in styles.items() if of)


def anew(rows: list, style: str, method: str) -> str:
    """FID after all iterations in each training run."""
    found = pick(rows, style=style, method=method, metric="fid", iterations=1000, images=50, variant=BOTH)
    return ", ".join(f"{row.value:.0f}" for row in sorted(found, key=lambda row: row.seed))


def page(results: Path) -> str:
    """The whole page.

    Raises:
        DislibError: a table is missing.
    """
    rows, learnt = read_results(results / "baselines.csv"), read_learning(results / "learning.csv")
    files = (json.loads((results / f"{name}.json").read_text()) for name in ("lora_layers", "stochastic", "rates"))
    layers, stochastic, tried = files
    styles = list(dict.fromkeys(row.style for row in rows))
    followed = list(dict.fromkeys(row.style for row in pick(learnt, iterations=10)))
    [weight] = {row.guidance for row in rows if row.guidance is not None}
    run_of = {method: races(read_results(results / "race.csv"), rows, method) for method in OURS[:2]}
    swept, few = (read_results(results / f"{name}.csv") for name in ("sweeps", "sweeps_few"))
    by_weight = list(dict.fromkeys(row.style for row in swept))
    facts = {
        "n": max(row.n for row in rows if row.method in METHODS), "weight": f"{weight:g}", "fid": of_methods(rows, "fid"),
        "clip": of_methods(rows, "clip"),
        "rates": indent(of_rates(tried), "  "),
        "first": count(firsts(rows, weight, OURS[:2]), len(styles)),
        "first_lora": count(firsts(rows, weight, OURS), len(styles)),
        "first_leak": count(firsts(rows, weight, ["plain-leak"]), len(styles)),
        "first_dreambooth": count(firsts(rows, weight, ["dreambooth-leak"]), len(styles)),
        "first_plain": count(firsts(rows, weight, ["plain"]), len(styles)),
        "shared": " and ".join(f"{name} {tried['chosen'][name]:g}" for name in ("plain", "style")),
        "races": "\n".join(str(race) for method in OURS[:2] for race in run_of[method]),
        "won": verdicts(run_of["style"]), "won_matched": verdicts(run_of["style-matched"]),
        "anew": anew(learnt, followed[0], "plain-leak"), "anew_matched": anew(learnt, followed[0], "style-matched"),
        "runs": ", ".join(f"{runs(learnt, s)} of {s}" for s in followed) + " (trainings on other images of the style)",
        "curves": each(followed, lambda s: along(learnt, "iterations", style=s, images=50)),
        "images": each(followed, lambda s: along(learnt, "images", style=s, iterations=100)),
        "parts": each(followed, lambda s: of_parts(learnt, s)), "starts": each(followed, lambda s: of_starts(learnt, s)),
        "swept": " and ".join(", ".join(by_weight).rsplit(", ", 1)), "places": of_places(few),
        "places_full": of_places(swept), "places_kid": of_places(swept, "kid"), "full": max(row.n for row in swept if row.method in METHODS),
        "few": max(row.n for row in few if row.method in METHODS),
        "fids": each(by_weight, lambda s: along_guidance(swept, s, "fid")),
        "clips": each(by_weight, lambda s: along_guidance(swept, s, "clip")),
        "layers": of_layers(layers), "stochastic": of_stochastic(stochastic),
    }  # fmt: skip
    return TEXT.format(**facts)


def each(styles: list[str], made) -> str:
    return "\n\n".join(f"**{style}**\n\n{made(style)}" for style in styles)


def run(*, folder: Path, out: Path = PAGE) -> Iterator[dict]:
    """Write the page."""
    del folder  # nothing is kept
    if not out.parent.is_dir():
        raise DislibError(f"there is no folder {out.parent}; run this where the course lies")
    text = page(data_dir() / "results")
    write_atomic(out, text.encode())
    yield {"page": str(out), "lines": text.count("\n")}


TEXT = """\
# What was measured

Every number here was measured on the embedded model, which is small and has an easy world; none says anything about real
Stable Diffusion. `python -m recipes findings` writes this page from the tables in `data/results`, which name the commands
that made them. FID is by the course's own judge, against 800 fresh pictures of the style; the brackets are bands over
prompts and, where several trainings were made, over those. What the methods are: [methods.md](methods.md).

## Every method on every style

1,000 iterations on 50 images, {n} pictures at guidance weight {weight}. In bold: no other method is better with bands apart.

{fid}

*training images* are 100 of those that the methods learnt from or beside, *floor* is {n} other pictures of the very
style.

{clip}

**From the paper's or the matched start, Diffusion in Style has or shares the lowest FID on {first}.**
If its LoRA counts, it is {first_lora}. Plain fine-tuning from the leak has or shares it on {first_leak},
DreamBooth from the leak on {first_dreambooth}, plain fine-tuning from white noise on {first_plain}.

So our model agrees with half of the paper's story. The start decides much: from white noise, plain fine-tuning, LoRA and DreamBooth stay
far away on the styles with a white page (sketch, sticker), which the base model never paints. Only offset noise, whose training
unlearns to read the mean of the noise, comes as near from white noise, on sketch though not on sticker. But training with style noise is not the only
way to give a picture the right start. What we found out about that:

- **The leak is a strong rival**, and a fair one: it brings the style's mean into the first latent too, without any change to
  training. The paper does not compare with it; its authors proposed it in their next one.
- **Another training gives another order.** The bands of this table cover prompts, not trainings. On sketch, trained anew on
  other images (at the rates of the learning curves below), plain fine-tuning from the leak reaches {anew}, and style noise
  from the matched start {anew_matched}: a lead of ten points in one column is no lead of a method.
- **Starts ask for rates.** Each method has the best of three rates, chosen on sketch after 400 iterations:

{rates}

  The leak wants a higher rate than white noise. The matched start bears one that spoils the paper's start, but gains next to
  nothing by it, and as a LoRA it does not. We read it so: the better a U-Net has learnt its noise, the more exactly it reads its
  start, and the more it minds what the paper's start lacks, the method's own leak (lesson 03, section 8). On comic the rate that
  was best on sketch seems too high for both: compare with the learning curve below.
- **Lines are hard for all.** On sketch and blueprint every method that draws the style stays far above the floor, and CLIP scores
  say that things are poorly recognised: broken outlines. Where the start is right, what is left to learn is drawing, and there, at
  this weight, we see no difference by the noise.

## Style noise after 100 iterations, plain fine-tuning after 1,000

FID, each method at its own rate; "ahead" and "behind" only where the bands are apart.

```text
{races}
```

**In a tenth of the iterations style noise is {won} from the paper's start, and {won_matched} from the matched one.** We had
hoped to see it ahead on four. But on a model as small as ours, and in a world as easy, plain fine-tuning also gets there in a thousand
iterations, or in a hundred where the base model has the colours (comic). What it does not get from white noise is a white page
(sketch, sticker).

## What was learnt when

Guidance weight {weight}; {runs}. Both trainings at the rate that is best on average over their starts ({shared}).

{curves}

## How many images it takes

After 100 iterations.

{images}

## What of the prior matters

"mu only" has a spread of 1, "sigma only" a mean of 0; "per channel" has one mean and one spread for a whole channel, so no
layout.

{parts}

## The start and the U-Net belong together

{starts}

## Along the guidance weight

The paper's protocol on {swept}: 12 weights, the same initial latents at every weight and for every method; n is the number
of pictures a point. `sweeps.csv` has every metric with its band. In bold: the best point of each method.

{fids}

{clips}

All eleven methods, each on the same {few} pictures of a quarter of the prompts (`sweeps_few.csv`; such FIDs are larger, and
comparable among themselves only). These are the weights at which no other method is better, by FID with bands apart:

{places}

Style noise from the matched start is among the first at every weight on every style: on the white pages (sketch, sticker) mostly with
others that start from the style's mean, on comic, neon and blueprint with most of the fine-tuned methods, on sketch at the largest
weights alone.

With {full} pictures a point the bands are narrower, and more is decided among the five methods of the first tables:

{places_full}

The signal leak and the matched start lead, and each has its styles: under much guidance the matched start keeps sketch longer, the
leak sticker. At low weights the leak and plain fine-tuning from white noise are ahead of the matched start on blueprint, and on comic
plain fine-tuning and the paper's start are. On neon the bands do not tell the leak and the matched start apart.

How far to trust these orders? The bands cover prompts. Each method was trained once on each style, and another training moves FID farther
than they reach (see the first section), and hundreds of pairs are compared: so leads of ten or so are leads of these models, not of
the methods. And they are FID's orders. KID gives much the same on four styles; on blueprint, at w = 15 and 20, it finds the base model
nearest, which FID finds farthest. Here is who is first by KID:

{places_kid}

How this compares with the paper's poster, whose axes bear no numbers: there, Diffusion in Style lies lowest in FID at
low and middle weights on all three styles, by a wide margin at w = 1, its FID rises with w, and its CLIP score lies
below the base model's. Here the margin over plain fine-tuning from white noise, LoRA and prompt engineering is wide,
too, on the two white pages, and at low and middle weights its CLIP score lies below the base model's, too. Different are four
things. Its FID first falls with w, but on sticker. From the *paper's* start, with {full} pictures, it shares the lowest FID at every weight on comic only; on the other four its curve lies above that of the
leak, or meets it at an end. On comic, whose colours the base model has, no start is wrong, and style noise gains nothing over plain fine-tuning but
at w = 20. And on our small model guidance pays less: beyond w = 5 or so the prompt suffers as well, so that curves turn
back where those of the poster go on.

## Which layers a LoRA needs

Sketch, 400 iterations, rank 8.

{layers}

## Samplers that add fresh noise

A stochastic sampler adds noise on its way. With style noise, fresh noise of mean 0 lets the mean fade, and of unit spread
besides adds too much. The centred step (`dislib.core.stochastic`) puts the mean back. The first two columns are a Gaussian whose law
is known, in one dimension; the others are the model.

{stochastic}
"""
