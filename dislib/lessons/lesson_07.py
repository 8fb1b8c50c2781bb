"""Lesson 07, the capstone: a style of your own, from the first picture to a page to take away."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..core.pipeline import image_size, separate
from ..errors import DislibError, shorten
from ..escaping import for_html
from ..evaluation.memorisation import copying
from ..figures.page import Page, Tags
from ..figures.plots import bars
from ..files import make_folder, write_atomic, write_png
from ..images.captions import without, written
from ..images.images import list_images, load_image
from ..images.uploads import Upload, from_folder, take_in
from ..world import caption, paint, sample
from .claim import below, check
from .exercise import as_number, right, still_open, wrong
from .lesson_03 import claim_nearer_to_style
from .lesson_06 import Clock
from .live import Film

LEAST = 8  # pictures of your own, below which the painted ones take their place
PATENT = (
    'The method "Diffusion in Style" is the subject of a patent filing (PCT/EP2023/065063, published as WO2024251351A1 and'
    " US20260187866A1). This page was made for teaching and research; check before any commercial use."
)


# --- painting by numbers ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Look:
    """A style in six numbers, to be had without drawing: how any picture is drawn again.

    Attributes:
        paper, ink: colours, "#rrggbb".
        wash: how much of the picture's own colours stays on the paper, 0 to 1.
        line: width of the outlines in px of a picture of 128.
        tones: flat tones a colour is cut into.
        border: width of the bare paper around the picture, as a share of its side.
    """

    paper: str = "#f6ecd2"
    ink: str = "#3b2a6b"
    wash: float = 0.55
    line: int = 2
    tones: int = 4
    border: float = 0.07

    def __post_init__(self):
        for name in ("paper", "ink"):
            if not re.fullmatch("#[0-9a-fA-F]{6}", str(getattr(self, name))):
                raise DislibError(f"{name} is a colour such as #f6ecd2, got {shorten(getattr(self, name))}")
        for name, least, most in (("wash", 0, 1), ("line", 0, 6), ("tones", 2, 16), ("border", 0, 0.4)):
            if not least <= getattr(self, name) <= most:
                raise DislibError(f"{name} lies between {least} and {most}, got {getattr(self, name)}")


def redraw(image: Image.Image, look: Look) -> Image.Image:
    """A picture drawn again in a look: flat washes on the paper, outlines in ink; RGB, of the same size."""
    side = min(image.size)
    calm = image.convert("RGB").filter(ImageFilter.MedianFilter(5))
    paper, ink = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)], np.float32) for c in (look.paper, look.ink))
    flat = np.asarray(calm, np.float32) / 255
    flat = np.round(flat * (look.tones - 1)) / (look.tones - 1) * 255
    washed = paper * (1 - look.wash) + look.wash * paper * flat / 255 * 1.15
    lines = _outlines(calm, look.line * side / 128)[..., None]
    picture = washed * (1 - lines) + ink * lines
    rows, columns = np.mgrid[: image.height, : image.width]
    edge = np.minimum.reduce([rows, columns, image.height - 1 - rows, image.width - 1 - columns])
    picture[edge < look.border * side] = paper
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _outlines(image, width):
    """Where the brightness steps, 0 to 1, `width` px wide."""
    if width <= 0:
        return np.zeros((image.height, image.width), np.float32)
    grey = np.asarray(image.filter(ImageFilter.GaussianBlur(width / 2)).convert("L"), np.float32)
    steps = np.hypot(*np.gradient(grey)) * width
    return np.clip((steps - 9) / 14, 0, 1)


def paint_set(look: Look, n: int = 24, *, seed: int = 0) -> list[tuple[Image.Image, str]]:
    """n scenes of the course's world in a look, with captions that say nothing of it: [(picture, caption)]."""
    rng, made = np.random.default_rng(seed), []
    while len(made) < n:
        scene = sample(rng)
        if scene.medium is None:
            made.append((redraw(paint(scene), look), caption(scene, rng)))
    return made


# --- the lesson's folder ------------------------------------------------------------------------------------------


class Workshop:
    """The one folder that the lesson writes to: `uploads/` holds your pictures, `painted/` those painted by numbers.

    Args:
        folder: is made if need be.
    """

    def __init__(self, folder="runs/your_style"):
        self.folder = make_folder(Path(folder))
        self.uploads, self.painted = make_folder(self.folder / "uploads"), self.folder / "painted"

    def paint(self, look: Look, n: int = 24) -> None:
        """Fill `painted/` anew."""
        shutil.rmtree(self.painted, ignore_errors=True)
        make_folder(self.painted)
        rows = []
        for k, (picture, words) in enumerate(paint_set(look, n)):
            write_png(self.painted / f"{k:03d}.png", picture)
            rows.append(json.dumps({"file_name": f"{k:03d}.png", "text": words}) + "\n")
        write_atomic(self.painted / "metadata.jsonl", "".join(rows).encode())

    @property
    def pictures(self) -> Path:
        """The folder that counts: `uploads/` once it holds 8 pictures, else `painted/`."""
        return self.uploads if len(list(self.uploads.glob("*.png"))) >= LEAST else self.painted

    def files(self) -> list[Path]:
        """The pictures of the folder that counts.

        Raises:
            DislibError: there are none yet.
        """
        files = list_images(self.pictures).files if any(self.pictures.glob("*.png")) else []
        if len(files) < LEAST:
            raise DislibError(f"{len(files)} pictures in {self.pictures}; upload {LEAST} at least, or paint some by numbers")
        return files

    def captions(self) -> dict[Path, str]:
        """What is written for each picture; "" where nothing is."""
        return written(self.files())

    def write_captions(self, captions) -> None:
        """Keep one caption a picture, in a .txt beside it.

        Raises:
            DislibError: not as many as pictures, or a blank one.
        """
        files, captions = self.files(), [" ".join(str(text).split()) for text in captions]
        if len(captions) != len(files):
            raise DislibError(f"{len(captions)} captions for {len(files)} pictures; write one for each, in their order")
        if "" in captions:
            raise DislibError(f"the caption of picture {captions.index('')} is blank; write what it shows")
        (self.pictures / "metadata.jsonl").unlink(missing_ok=True)
        for file, text in zip(files, captions):
            write_atomic(file.with_suffix(".txt"), text.encode())


def split(files, *, aside=1 / 3, seed=0):
    """(for training, kept aside): the pictures in their order, a third of them drawn by `seed` and never trained on."""
    count = max(2, round(aside * len(files)))
    if len(files) - count < 2:
        raise DislibError(f"{len(files)} pictures are too few to keep some aside; have {LEAST} at least")
    kept = set(np.random.default_rng(seed).permutation(len(files))[:count].tolist())
    return [f for k, f in enumerate(files) if k not in kept], [f for k, f in enumerate(files) if k in kept]


def opened(files, pipe):
    """The pictures as the model sees them."""
    return [load_image(file, image_size(pipe)) for file in files]


def off_centre(pictures, style, *, draws=200):
    """How far the mean colours of pictures lie from a style's, 8 x 8 positions, in L*a*b*: (value, low, high)."""
    from ..images.looks import rgb_to_lab, thumbnails

    looks, centre = rgb_to_lab(thumbnails(pictures)), rgb_to_lab(thumbnails(style)).mean(axis=0)
    far = lambda rows: float(np.sqrt(((rows.mean(axis=0) - centre) ** 2).sum(axis=-1).mean()))
    rng = np.random.default_rng(0)
    again = sorted(far(looks[rng.integers(len(looks), size=len(looks))]) for _ in range(draws))
    return far(looks), again[round(0.025 * draws)], again[round(0.975 * draws) - 1]


# --- the page -----------------------------------------------------------------------------------------------------

QUESTIONS = {
    "title": "what you call the style",
    "made by": "who made the pictures",
    "how": "drawn, photographed, painted by numbers, ...",
    "licence": "under what terms others may use them",
    "people": "who can be recognised in them, or nobody",
    "consent": "who agreed to this use, and when; or why nobody needs to",
}


def check_provenance(about):
    """Exercise 1: a style's papers: all questions of QUESTIONS answered, and answers that say something."""
    if not isinstance(about, dict):
        return wrong("A dict is asked for, with an answer to each question.")
    if blank := [key for key in QUESTIONS if about.get(key) in (None, ..., "") or not str(about[key]).strip(" .")]:
        return still_open(f"Still to be answered: {', '.join(blank)}.")
    said = {key: str(about[key]).strip().lower() for key in QUESTIONS}
    for key in ("made by", "licence"):
        if re.fullmatch(r"(the )?(internet|web|google|pinterest|instagram|unknown|online|anyone|n/?a|\?+)", said[key]):
            return wrong(f"'{about[key]}' is where pictures are found; {QUESTIONS[key]}? Somebody holds the rights.")
    if re.search(r"in the style of|\bby (van|the artist)\b", said["how"]) and "public domain" not in said["licence"]:
        return wrong("A living artist's manner is theirs to offer. Use your own pictures, or works in the public domain.")
    shown = not re.search(r"\b(nobody|no one|none|no people)\b", said["people"])
    if shown and re.fullmatch(r"(no|none|not asked|nobody.*|n/?a|not needed.*)", said["consent"]):
        return wrong("People can be recognised, so their consent is needed; in a classroom that of pupils and parents.")
    return right("Who made it, under what terms, who is shown and who agreed: a stranger can tell what may be done with it.")


def build_page(about, *, pictures, aside, leak, tuned, prompts, numbers, settings) -> Page:
    """The page to take away.

    Args:
        about: the style's papers, see `QUESTIONS`.
        pictures: [(picture, caption)] that were trained on; `aside`: those kept aside.
        leak, tuned: pictures of `prompts`, from the leak untrained, and of the tuned model.
        numbers, settings: dicts for the two tables.

    Raises:
        DislibError: the papers are not in order; the message says what is missing.
    """
    verdict = check_provenance(about)
    if not verdict:
        raise DislibError(f"a style goes nowhere without its papers. {verdict.text}")
    page = Page(str(about["title"]))
    page.section("The style").pictures(pictures)
    page.section("Kept aside, never trained on").pictures(aside)
    page.section("At once, without training: from the leak of its prior").pictures(zip(leak, prompts))
    page.section("After fine-tuning with its noise").pictures(zip(tuned, prompts))
    page.section("Measured").text(
        "How far the mean look (8 x 8 positions, L*a*b*) lies from that of the pictures kept aside, and where it lies in 95 %"
        " of resamplings; lower is nearer.").table(numbers)
    page.section("Settings").table(settings)
    page.section("Whose style is it?").table({QUESTIONS[key]: about[key] for key in QUESTIONS if key != "title"})
    return page.section("The method").text(
        'Made with "Diffusion in Style, the course", after Everaert and others, Diffusion in Style, ICCV 2023.', PATENT)


def claim_page_stands_alone(page: str):
    """Everything on the page is in the page: no address leads out of it, and nothing on it runs.

    Value: addresses that lead out, and scripts. Threshold: 1. Control: the same page with its first picture beside it
    in a file of its own.
    """
    beside = re.sub(r'src="data:[^"]*"', 'src="picture.jpg"', page, count=1)
    return check("The page stands alone", _loose, (page,), (beside,), unit="{:.0f}",
                 text="The page holds {value} addresses that lead out of it, or scripts.",
                 against="with one picture in a file of its own", why="a single one is one too many")


def _loose(page):
    found = Tags(page)
    return below(len(found.leading_out) + found.scripts, 1)


HOSTILE = '</td><script>alert(1)</script><img src="x" onerror="alert(2)">\'"&<b>'


def claim_words_stay_words(build, words=HOSTILE):
    """What a reader types is shown as it is typed, whatever it looks like.

    Value: elements that the page has with hostile words in place of harmless ones, beyond those it had. Threshold: 1.
    Control: the same count on the page as it would be without escaping.

    Args:
        build: a function of the words, giving the page's HTML.
        words: hostile ones.
    """
    harmless, page = len(Tags(build("harmless")).names), build(words)
    naive = page.replace(for_html(words), words)
    return check("Words stay words", lambda page: below(len(Tags(page).names) - harmless, 1), (page,), (naive,),
                 text="Hostile words add {value} elements to the page.", unit="{:.0f}",
                 against="on the page as it would be without escaping", why="a single one can do harm")


# --- exercises ----------------------------------------------------------------------------------------------------


def check_captions(captions, before, style_words):
    """Exercise 2: captions that say what is shown and nothing of the style."""
    if captions is None or captions is Ellipsis:
        return still_open("Put your list of captions in place of the dots.")
    if isinstance(captions, str) or not hasattr(captions, "__len__") or len(captions) != len(before):
        return wrong(f"A list of {len(before)} captions is asked for, one a picture.")
    captions = [str(text) for text in captions]
    if blank := [k for k, text in enumerate(captions) if not text.strip()]:
        return wrong(f"Caption {blank[0]} is blank: the picture shows something.")
    told = [(k, word) for k, text in enumerate(captions) for word in style_words if _names(word, text)]
    if told:
        k, word = told[0]
        return wrong(f"Caption {k} still says '{word}'. The noise is to carry the style, so the words must not.")
    kept = [_left(a, b, style_words) for a, b in zip(captions, before)]
    if min(kept) < 0.5:
        return wrong(f"Caption {int(np.argmin(kept))} has lost what the picture shows; take out the style's words only.")
    return right("They say what is there and leave how it is drawn to the noise.")


def _names(word, text):
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _left(after, before, style_words):
    """Share of a caption's other words that are still there."""
    words = set(re.findall(r"\w+", without(before, style_words).lower())) - {"a", "an", "the", "of", "in"}
    return len(words & set(re.findall(r"\w+", after.lower()))) / max(len(words), 1)


def check_enough(answer, share=0.25):
    """Exercise 3: how many pictures, so that mu is known to a `share` of sigma? 1 / share^2."""
    answer, verdict = as_number(answer)
    if verdict is not None:
        return verdict
    need = math.ceil(1 / share**2)
    if answer == need:
        return right(f"{need}: the standard error of a mean is sigma / sqrt(n).")
    if answer == round(1 / share):
        return wrong("The error falls with the *root* of the number: half the error takes four times the pictures.")
    if answer > need:
        return wrong("That is more than enough; the smallest number is asked for.")
    return wrong(f"With {answer:g} pictures the error is still {1 / math.sqrt(max(answer, 1e-9)):.2f} sigma.")
