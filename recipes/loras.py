"""Recipe of what lesson 03 loads: ``data/finetuned`` and the sheets in ``data/results/lesson_03``.

It takes the trainings of `baselines` (1,000 steps each) and trains nothing:

1. LoRAs, in half precision, each with its prior, its loss curve and its card: small enough to be shipped;
2. a sheet of pictures a style, of the same prompts and seed by every method with a full U-Net, too large to be shipped.

A part whose trainings are not there is left out and said to be missing; what is up to date stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from dislib.core.prior import StylePrior
from dislib.core.sampling import paint
from dislib.files import data_dir, make_folder, write_atomic, write_json
from dislib.images.sheets import Sheet, read_sheet, write_sheet
from dislib.loading import load_pipeline
from dislib.training.methods import METHODS
from dislib.training.result import LORA, PRIOR, RECORD, read
from dislib.training.result import card as training_card

from .baselines import STEPS, tuned

COMMAND = "python -m recipes loras"
STYLES = ("sketch", "sticker", "comic")  # as on the paper's poster: lines on white, a figure on white, an old comic
LORAS = {**{style: (style, "style-lora") for style in STYLES}, "sketch-plain": ("sketch", "lora")}
ROWS = ("base", "leak", "plain", "plain-leak", "style", "style-matched")
PROMPTS = (
    "a red house in the meadow",
    "a blue car on the street",
    "a yellow boat on the sea",
    "a pink cat in the snow",
    "a green tree at night",
)
SEED, GUIDANCE = 3, 2.0


def is_whole(path: Path) -> bool:
    """Whether a training has made all its steps: choosing the rates leaves shorter ones."""
    record = read(path)
    return record is not None and record["settings"]["max_train_steps"] >= STEPS


# --- LoRAs ----------------------------------------------------------------------------------------------------------


def ship_lora(source: Path, out: Path) -> bool:
    """Write a copy of a LoRA in half precision; False if it was there."""
    record = read(source)
    record["losses"] = [round(loss, 4) for loss in record["losses"]]
    if read(out) == json.loads(json.dumps(record)):
        return False
    make_folder(out)
    (out / RECORD).unlink(missing_ok=True)
    write_atomic(out / LORA, half(source / LORA))
    if (source / PRIOR).exists():
        write_atomic(out / PRIOR, (source / PRIOR).read_bytes())
    write_atomic(out / "README.md", card(out, record).encode())
    write_json(out / RECORD, record)  # last: it says that the folder is whole
    return True


def half(path: Path) -> bytes:
    """A safetensors file with its numbers in half precision."""
    with safe_open(path, "pt") as file:
        return save({name: file.get_tensor(name).half() for name in file.keys()}, file.metadata())  # noqa: SIM118


def card(out: Path, record: dict) -> str:
    """The fine-tuning's own card, with paths as seen from the course's folder."""
    text = training_card(out, load_pipeline("tiny", device="cpu"), record)
    for path, name in ((out.resolve(), f"data/finetuned/{out.name}"), (data_dir().resolve(), "data")):
        text = text.replace(str(path), name)
    return text


# --- sheets ---------------------------------------------------------------------------------------------------------


def tuned_by(style: str, trained: Path) -> dict:
    """From method to the folder of its training, for the methods of a sheet that have one."""
    return {name: tuned(trained, style, name) for name in ROWS if METHODS[name].training}


def draw(style: str, nets: dict):
    """The sheet's pictures, a row a method."""
    prior = StylePrior.from_images(load_pipeline("tiny", device="cpu"), data_dir() / "styles" / style / "train")
    rows = []
    for name in ROWS:
        pipe, start = load_pipeline(nets.get(name, "tiny"), device="cpu"), METHODS[name].start
        made = paint(pipe, PROMPTS, [SEED], prior=prior, start=start, guidance=GUIDANCE)
        rows.append([row[0] for row in made])
    return rows


def ship_sheet(style: str, trained: Path, out: Path) -> str:
    """Write `<style>.webp` and the facts beside it; says what was done."""
    nets = tuned_by(style, trained)
    if missing := sorted({path.name for path in nets.values() if not is_whole(path)}):
        return f"missing: {', '.join(missing)}"
    facts = {"command": COMMAND, "style": style, "seed": SEED, "guidance": GUIDANCE}
    facts["base"] = read(nets["plain"])["base"]
    facts["settings"] = {path.name: read(path)["settings"] for path in nets.values()}
    path = out / f"{style}.webp"
    sheet = Sheet(list(ROWS), list(PROMPTS), [], facts)
    if path.exists() and replace(read_sheet(path), images=[]) == sheet:
        return "up to date"
    make_folder(out)
    write_sheet(path, replace(sheet, images=draw(style, nets)))
    return "written"


# --- both -----------------------------------------------------------------------------------------------------------


def run(*, folder: Path, out: Path = Path("data")) -> Iterator[dict]:
    """Ship what is there; yields a record for each LoRA and each sheet."""
    trained = folder.parent / "baselines"
    for name, (style, method) in LORAS.items():
        source = tuned(trained, style, method)
        if not is_whole(source):
            yield {"lora": name, "state": f"missing: {source}"}
        else:
            written = ship_lora(source, out / "finetuned" / name)
            yield {"lora": name, "state": "written" if written else "up to date"}
    for style in STYLES:
        yield {"sheet": style, "state": ship_sheet(style, trained, out / "results" / "lesson_03")}
