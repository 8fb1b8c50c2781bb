"""The words of the model card and of the day-one page; every number in them comes from a measurement."""

from __future__ import annotations

import json

from dislib.files import data_dir

MODEL_CARD = """---
license: apache-2.0
learning_rate: {learning_rate}
lora_learning_rate: {lora_learning_rate}
---
# The embedded model

A Stable Diffusion in small, trained by this project on pictures it painted itself: the same classes
(`StableDiffusionPipeline` of `AutoencoderKL`, `CLIPTextModel`, `UNet2DConditionModel`, DDIM), the same folder layout,
128 px pictures and latents of 4 x 16 x 16. VAE {vae:.1f} M, text encoder {text_encoder:.1f} M, U-Net {unet:.1f} M
parameters.

**Not Stable Diffusion's schedule.** Epsilon prediction, `scaled_linear` from 0.00085, but `beta_end` = {beta_end} in
place of 0.012. A small latent averages over fewer positions, so with Stable Diffusion's schedule the mean of a picture
could hardly be read in z_T. `beta_end` is calibrated so that the pictures' channel means are as readable as on the
real model: sqrt(abar_T) = {sqrt_abar_T}, readability {rms} (rms over channels; Stable Diffusion 1.5 on photographs:
1.65).

## Measured

On freshly painted pictures that training never saw; `python -m recipes report` makes this table again.

| measure | value | floor | aim | reached |
|---|---|---|---|---|
{rows}

PSNR in dB. Prompt following in per cent of {prompts} prompts at w = {guidance:g}, judged zero-shot by the project's own
CLIP in `data/judge`, whose own mistakes count against it; chance is 10, 12.5, 20 and 25. *Seed share* is the part of
the thumbnails' variance left by the prompt which the initial latent explains; chance is {chance:.3f}, and shuffled
pairing gives {shuffled:.3f}.

{missed}
## Trained on

Scenes of `dislib.world` (the natural painter, one in ten in a generic medium); the VAE also on doodles in random
colours and on crops of free photographs (`data/PROVENANCE.md`). No picture of a target style trained the U-Net.
Recipes: `python -m recipes vae`, then `unet`, `judge`, `ship`, `report`.

## Limits

It knows the words of its small world and nothing else; it is for teaching. Weights: Apache-2.0.
"""

# For goals that are missed: what was tried, and the best idea left.
NOTES = {
    "vae": "the autoencoder had 5,000 steps on two CPU cores; best idea left: `vae --warm` trains the decoder on, and "
    "the latents stay what they are",
    "prompt": "the U-Net had 3,400 steps, under an hour on two CPU cores; best idea left: `unet --warm`, more steps "
    "with a smaller rate, or ten minutes of a GPU",
    "judge": "the judge had 6,700 steps in all on two CPU cores, the last 4,800 with 30,000 styled pictures; its "
    "accuracy on held-out pictures no longer rises. Best idea left: a loss that draws a style's pictures together, "
    "since the floor is the spread of their contents",
    "schedule": "beta_end was calibrated on the training pictures; best idea left: calibrate again",
    "speed": "12 steps with guidance are 24 U-Net passes; best idea left: one thread a picture, or fewer steps",
}
KIND = {
    "thing": "prompt",
    "colour": "prompt",
    "ground": "prompt",
    "time": "prompt",
    "seconds a picture": "speed",
    "seed share": "prompt",
    "readability": "schedule",
}


# For fine-tuning at batch 8, until `baselines` has chosen: what day one used, and ten times as much for a LoRA.
RATES = {"style": 3e-4, "style-lora": 3e-3}


def chosen_rates() -> dict[str, float]:
    """The learning rates that `baselines` found best, by training."""
    found = data_dir() / "results" / "rates.json"
    return json.loads(found.read_text(encoding="utf-8"))["chosen"] if found.exists() else RATES


def model_card(found: dict, sizes: dict[str, float]) -> str:
    """The model card from the report and the parts' sizes in millions of parameters."""
    goals, prompts, share = found["goals"], found["prompt following"], found["seeds"]["seed share"]
    rows = [f"| {k} | {g['value']} | {g['floor']} | {g['aim'] or '-'} | {g['reached']} |" for k, g in goals.items()]
    rates = chosen_rates()
    return MODEL_CARD.format(
        **sizes,
        learning_rate=rates["style"],
        lora_learning_rate=rates["style-lora"],
        **found["readability"],
        rows="\n".join(rows),
        missed=missed(goals),
        prompts=prompts["prompts"],
        guidance=prompts["guidance"],
        chance=share["chance"],
        shuffled=share["shuffled"],
    )


def missed(goals: dict) -> str:
    """A line for every goal that was missed and every aim that was not reached."""
    lines = []
    for name, goal in goals.items():
        short = goal["reached"] == "missed" or (goal["reached"] == "floor" and goal["aim"] and name != "readability")
        if short:
            kind = KIND.get(name, "vae" if name.startswith("vae") else "judge")
            goals_told = f"floor {goal['floor']}, aim {goal['aim'] or 'none'}"
            lines.append(f"- *{name}*: {goal['value']} ({goals_told}). Tried: {NOTES[kind]}.")
    return "\n".join(["## Short of the aim", "", *lines, ""]) if lines else ""


DAY_ONE = """# Day one: can a small model tell the truth?

Does a Stable Diffusion of a few million parameters show what the paper is about? This page asks before anything larger
is built on it. `python -m recipes day_one` makes it again, numbers and pictures, from the weights that are shipped.

## The autoencoder on everything

| pictures it never saw | PSNR in dB |
|---|---|
{psnr}

![Originals above their reconstructions: natural scenes, five styles, photographs](images/day-one-vae.png)

## One initial latent, one look

The initial latent explains {share:.2f} [{low:.2f}, {high:.2f}] of the thumbnail variance that the prompt leaves open
({prompts} prompts, {seeds} initial latents). Chance is {chance:.3f}; with shuffled pairing it is {shuffled:.3f}.

## The noise schedule

With `beta_end` = {beta_end}, sqrt(abar_T) = {sqrt_abar_T}, and the mean of a picture is readable in z_T with rms {rms}
over channels (by channel {by_channel}). Stable Diffusion 1.5 on photographs has 1.65; hence this value.

{sections}
## What stays

The autoencoder (blocks 24, 48, 96, 96), the U-Net (64, 96, 96; cross-attention at 8 x 8 and 4 x 4) and the calibrated
schedule were chosen from early sheets and from the readability above; these numbers give no reason to change them. The
distances come from the project's own judge; its accuracy is in the
[model card](../data/tiny-sd/README.md), and a better judge moves them all. Compare a style's rows with each other and
with the two floors, not one style with another.
"""

STYLE_SECTION = """## {title}

{table}

Columns: iterations. Floor (fresh renders of the style against the reference): {floor:.2f}. The same renders through
the autoencoder: {autoencoder:.2f}, below which no method can be expected. {pictures} pictures a number, w = 2,
12 steps; 50 style images, batch 16.

![{style}: rows are method and start at 0 and {last} iterations, columns are prompts](images/day-one-{style}.png)
"""


def style_section(table: str, facts: dict, last: int) -> str:
    """One style's table, floors and picture."""
    return STYLE_SECTION.format(title=facts["style"].capitalize(), table=table, last=last, **facts)


def day_one_page(numbers: dict, sections: list[str]) -> str:
    """The whole page from the measured numbers."""
    psnr = "\n".join(f"| {kind} | {value:.1f} |" for kind, value in numbers["vae psnr"].items())
    seeds, readable = numbers["seeds"], numbers["readability"]
    return DAY_ONE.format(
        psnr=psnr,
        sections="\n".join(sections),
        prompts=seeds["prompts"],
        seeds=seeds["seeds"],
        by_channel=", ".join(str(c) for c in readable["channels"]),
        **seeds["seed share"],
        **readable,
    )
