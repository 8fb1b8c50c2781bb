"""The widgets as a reader meets them: JupyterLab in a real browser, and a keyboard.

Everything waits for what it needs, with limits of minutes: two busy cores are slow, and a sleep is never long enough.
A picture of the screen is left in `build/` when a test fails.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from conftest import ROOT, find_browser

pytestmark = pytest.mark.browser

MINUTE = 60_000  # in ms, as Playwright counts
STEPS = 4 * MINUTE  # for the slowest single thing: the first cell imports torch and loads the model
# Nothing that looks for news on a network, and no cell that is left out while it is off the screen.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


# --- JupyterLab and the browser ---------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until_up(url, process, *, seconds=240):
    """Until the server answers; an error with what it said when it dies or stays silent."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=10).close()
        time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not come up at {url}")


class Lab:
    """A JupyterLab of its own on a folder: own port, own settings, nothing of the user's."""

    def __init__(self, folder):
        self.folder, self.token = folder, secrets.token_hex(8)
        self.address = f"http://127.0.0.1:{free_port()}"
        for name, values in SETTINGS.items():
            plugin, file = name.split("/")
            path = folder / "settings" / "@jupyterlab" / plugin / f"{file}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")

    def __enter__(self):
        places = ("CONFIG", "RUNTIME")
        env = {f"JUPYTER_{place}_DIR": str(self.folder / place.lower()) for place in places}
        env |= {
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
        }
        command = [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.address.rpartition(':')[2]}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.folder}",
        ]
        self.log = (self.folder / "jupyterlab.log").open("w")
        self.process = subprocess.Popen(
            command, env={**os.environ, **env}, cwd=self.folder, stdout=self.log, stderr=subprocess.STDOUT
        )
        try:
            wait_until_up(f"{self.address}/api/status?token={self.token}", self.process)
        except BaseException as error:
            self.__exit__()
            raise RuntimeError((self.folder / "jupyterlab.log").read_text()[-2000:]) from error
        return self

    def __exit__(self, *_):
        self.process.terminate()  # JupyterLab then ends its kernels
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
        self.log.close()

    def notebook(self, name, *cells):
        """Write a notebook; the address at which the Lab opens it."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / name)
        # A workspace of its own, else the tabs of the test before come back.
        return f"{self.address}/lab/workspaces/{name.partition('.')[0]}/tree/{name}?token={self.token}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = [] if getattr(os, "geteuid", lambda: 1)() else ["--no-sandbox"]  # Chromium has none for root
        arguments = [*sandbox, "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=find_browser(), args=arguments, timeout=2 * MINUTE)
        yield browser
        browser.close()


@pytest.fixture
def open_notebook(lab, browser, request):
    """Open a notebook of the given cells and run them all; the page. A failing test leaves a picture of it."""
    pages = []

    def run(*cells):
        page = browser.new_page(viewport={"width": 1400, "height": 1300})
        pages.append(page)
        page.set_default_timeout(STEPS)
        page.add_locator_handler(page.get_by_role("button", name="Select Kernel", exact=True), lambda b: b.click())
        page.goto(lab.notebook(f"{request.node.name}.ipynb", *cells), timeout=STEPS)
        run_all(page)
        return page

    before = request.session.testsfailed
    yield run
    for page in pages:
        keep(page, request.node.name, failed=request.session.testsfailed > before)
        page.close()


def playwright_timeout():
    from playwright.sync_api import TimeoutError

    return TimeoutError


def run_all(page, *, tries=10):
    """Run all cells by the menu. JupyterLab drops the order when its kernel is not there yet: then again."""
    page.get_by_text("(ipykernel) | Idle").wait_for()
    for _ in range(tries):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(playwright_timeout()):
            return page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|1)\]")).first.wait_for(
                timeout=MINUTE // 4
            )
    raise RuntimeError("JupyterLab does not run the cells")


def keep(page, name, *, failed):
    """A picture of the page in `build/`, when a test failed or DISLIB_SCREENSHOTS asks for it."""
    if failed or os.environ.get("DISLIB_SCREENSHOTS"):
        (ROOT / "build").mkdir(exist_ok=True)
        page.screenshot(path=ROOT / "build" / f"browser-{name}{'-failed' if failed else ''}.png")


# --- the widgets ------------------------------------------------------------------------------------------------------

LOAD = "from dislib import load_pipeline, widgets\npipe = load_pipeline()"
PIXELS = """image => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""
CHANGED = f"([image, before]) => image.complete && image.naturalWidth && ({PIXELS})(image) !== before"


def wait_for_change(page, image, before):
    """Until the pixels on the screen differ from `before`; an address may change without them."""
    page.wait_for_function(CHANGED, arg=[image.element_handle(), before], timeout=STEPS)


def test_paint_the_latent_by_keyboard(open_notebook):
    page = open_notebook(LOAD, "widgets.PaintTheLatent(pipe)")
    picture = page.locator("img.widget-image").nth(1)
    picture.wait_for()
    before = picture.evaluate(PIXELS)
    slider = page.locator(".widget-slider", has_text="channel 0").get_by_role("slider")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    wait_for_change(page, picture, before)
    assert float(slider.get_attribute("aria-valuenow")) == -8
    assert picture.evaluate("image => image.naturalWidth") == 128
    assert page.get_by_role("alert").count() == 0


def test_sliders_hammered_in_a_browser(open_notebook):
    """Twice a second for ten seconds: grey while it draws, no error, and in the end the picture of the last value."""
    page = open_notebook(LOAD, "panel = widgets.PaintTheLatent(pipe)\npanel", "print('errors:', panel.error)")
    picture = page.locator("img.widget-image").nth(1)
    picture.wait_for()
    before = picture.evaluate(PIXELS)
    slider = page.locator(".widget-slider", has_text="channel 0").get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.locator("img.dislib-stale").first.wait_for()
    for k in range(20):
        page.keyboard.press("ArrowLeft" if k % 3 else "ArrowRight")
        page.wait_for_timeout(500)
    wait_for_change(page, picture, before)
    page.wait_for_function("() => !document.querySelector('img.dislib-stale')", timeout=STEPS)
    assert page.get_by_role("alert").count() == 0
    kept = picture.evaluate(PIXELS)
    page.wait_for_timeout(3000)
    assert picture.evaluate(PIXELS) == kept  # nothing older comes in afterwards


def test_a_cell_that_runs_while_sliders_move(open_notebook):
    """The callbacks of a widget run beside the cell: both use one model."""
    paint = "made = [paint(pipe, ['a red house'], range(4))[0][0].tobytes() for _ in range(3)]\nprint('kinds:', len(set(made)))"
    page = open_notebook(LOAD + "\nfrom dislib import paint", "widgets.PaintTheLatent(pipe)", paint)
    picture = page.locator("img.widget-image").nth(1)
    picture.wait_for()
    slider = page.locator(".widget-slider", has_text="channel 0").get_by_role("slider")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(250)
    page.get_by_text("kinds: 1").first.wait_for()
    page.wait_for_function("() => !document.querySelector('img.dislib-stale')", timeout=STEPS)
    assert page.get_by_role("alert").count() == 0


def test_the_game_keeps_its_shape_and_deals_one_round(open_notebook):
    page = open_notebook(LOAD, "widgets.SameLatent(pipe, seeds=[0, 4, 6, 9])")
    pictures = page.locator("img.widget-image")
    pictures.last.wait_for()
    buttons = page.locator(".dislib-tight .widget-toggle-button").locator("visible=true")
    clipped = buttons.evaluate_all("all => all.filter(b => b.scrollWidth > b.clientWidth + 1).length")
    assert buttons.count() == 12 * 4 and clipped == 0
    places = lambda: pictures.evaluate_all("all => all.map(i => Math.round(i.getBoundingClientRect().top))")
    before = places()
    page.get_by_role("button", name="Reveal").press("Enter")
    page.get_by_text("of 12 right").wait_for()
    assert places() == before
    seeds = page.get_by_label("Seeds")
    new = page.get_by_role("button", name="New latents")
    for _ in range(3):
        new.click(force=True)
    page.get_by_text("Which latent is behind").wait_for()
    first = seeds.input_value()
    page.wait_for_timeout(5000)
    assert seeds.input_value() == first and first != "0, 4, 6, 9"


def test_how_many_images_by_keyboard(open_notebook):
    files = "list_images(folders['sketch']).files[:20]"
    encoded = f"from dislib import encode\nz = encode(pipe, [load_image(file, 128) for file in {files}])"
    page = open_notebook(LOAD + STYLES + encoded, "widgets.HowManyImages(pipe, z)")
    picture = page.locator("img.widget-image").first
    picture.wait_for()
    before = picture.evaluate(PIXELS)
    page.locator(".widget-slider", has_text="n pictures").get_by_role("slider").focus()
    page.keyboard.press("End")
    wait_for_change(page, picture, before)
    page.get_by_text("From the prior of all 20 pictures, μ of 20 is 0.00").wait_for()
    assert page.get_by_role("alert").count() == 0


def test_same_latent_by_keyboard(open_notebook):
    page = open_notebook(LOAD, "widgets.SameLatent(pipe)")
    pictures = page.locator("img.widget-image")
    pictures.last.wait_for()
    assert pictures.count() == 12
    page.locator(".widget-toggle-buttons", has_text="A").get_by_role("button", name="2").press("Enter")
    page.get_by_role("button", name="Reveal").press("Enter")
    page.get_by_text("of 9 right").wait_for()
    assert page.get_by_text("not guessed").locator("visible=true").count() == 8
    assert page.get_by_role("alert").count() == 0


STYLES = """
from dislib import StylePrior, data_dir
from dislib.images.images import list_images, load_image
folders = {name: data_dir() / "styles" / name / "train" for name in ("sketch", "neon")}
priors = {name: StylePrior.from_images(pipe, folder, n=8) for name, folder in folders.items()}
pictures = {name: load_image(list_images(folder).files[0], 128) for name, folder in folders.items()}
"""


def test_forward_process_by_keyboard(open_notebook):
    page = open_notebook(LOAD + STYLES, "widgets.ForwardProcess(pipe, pictures, priors, t=600)")
    in_style_noise = page.locator("img.widget-image").nth(2)
    in_style_noise.wait_for()
    before = in_style_noise.evaluate(PIXELS)
    slider = page.locator(".widget-slider", has_text="t").get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    wait_for_change(page, in_style_noise, before)
    assert float(slider.get_attribute("aria-valuenow")) == 0
    page.get_by_text("= 1.00 z").first.wait_for()
    assert page.get_by_role("alert").count() == 0


def test_style_mixer_by_keyboard(open_notebook):
    page = open_notebook(LOAD + STYLES, "widgets.StyleMixer(pipe, priors)")
    picture = page.locator("img.widget-image").first
    picture.wait_for()
    before = picture.evaluate(PIXELS)
    slider = page.locator(".widget-slider", has_text="μ sketch").get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    wait_for_change(page, picture, before)
    page.get_by_text("mu 0% : 100%, sigma 50% : 50%").wait_for()
    assert page.get_by_role("alert").count() == 0


SHEETS = """
from dislib import data_dir, widgets
from dislib.images.images import list_images, load_image
from dislib.images.sheets import Sheet
files = list_images(data_dir() / "styles" / "sketch" / "train").files
pictures = [load_image(file, 128) for file in files[:12]]
rows = [pictures[:4], pictures[4:8], pictures[8:]]
"""


def test_guidance_strip_by_keyboard(open_notebook):
    sheet = "strip = Sheet(['base', 'plain', 'style'], [1, 3, 7, 20], rows, {'style': 'sketch', 'prompt': 'a cat'})"
    page = open_notebook(SHEETS + sheet, "widgets.GuidanceStrip(strip, weight=7)")
    pictures = page.locator("img.widget-image")
    pictures.last.wait_for()
    assert pictures.count() == 4  # a picture of the style, then three methods
    example, before = pictures.first.evaluate(PIXELS), pictures.last.evaluate(PIXELS)
    page.locator(".widget-slider", has_text="Guidance w").get_by_role("slider").focus()
    page.keyboard.press("End")
    wait_for_change(page, pictures.last, before)
    assert pictures.first.evaluate(PIXELS) == example
    page.get_by_text("w = 20, sketch").wait_for()
    page.get_by_text("Diffusion in Style").wait_for()
    assert page.get_by_role("alert").count() == 0


def test_a_blind_vote_by_keyboard(open_notebook):
    sheet = "ballots = Sheet(['base', 'plain', 'lora'], ['a cat', 'a boat', 'a tree', 'a car'], rows, {'style': 'sketch'})"
    options = "examples={'sketch': pictures}, count=6, pause=0"
    page = open_notebook(SHEETS + sheet, f"widgets.WhichIsCloser(ballots, 'Ann', {options})")
    page.get_by_text("0 of 6 answered").wait_for()
    assert page.get_by_text("fine-tuning").count() == 0
    buttons = [page.locator("button.widget-button", has_text=text) for text in ("Left", "Can't say", "Right")]
    for k in range(6):
        buttons[k % 3].focus()
        page.keyboard.press("Enter" if k % 2 else "Space")
        page.get_by_text(f"{k + 1} of 6 answered").wait_for()
    page.get_by_text("Here is who was behind the pictures").wait_for()
    page.get_by_text("from first to last").wait_for()
    assert page.locator("img.widget-image").locator("visible=true").count() == 2
    assert page.get_by_text("plain fine-tuning").count() == 1
    assert page.get_by_role("alert").count() == 0


STORED_ALTS = "() => [...document.querySelectorAll('.jp-OutputArea img')].map(i => [i.alt, i.naturalWidth])"


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/0*.ipynb")), ids=lambda path: path.stem)
def test_stored_pictures_have_their_alt_text_in_jupyterlab(lab, browser, path):
    """As they are opened, not trusted and not run."""
    notebook = nbformat.read(path, as_version=4)
    told = [o["data"]["text/plain"] for c in notebook.cells if c.cell_type == "code" for o in c.outputs
            if "<img" in o.get("data", {}).get("text/html", "")]  # fmt: skip
    nbformat.write(notebook, lab.folder / path.name)
    page = browser.new_page(viewport={"width": 1400, "height": 1300})
    page.goto(f"{lab.address}/lab/workspaces/alt-{path.stem}/tree/{path.name}?token={lab.token}", timeout=STEPS)
    page.wait_for_function(f"n => ({STORED_ALTS})().length >= n", arg=len(told), timeout=STEPS)
    page.wait_for_function(f"() => ({STORED_ALTS})().every(([_, width]) => width > 0)", timeout=STEPS)
    found = page.evaluate(STORED_ALTS)
    page.close()
    assert [" ".join(alt.split()) for alt, _ in found] == [" ".join(alt.split()) for alt in told]


def test_a_figure_has_its_alt_text_when_it_is_drawn(open_notebook):
    page = open_notebook("from dislib.figures.plots import bars\nbars({'a': 1.0}, alt='One bar, as high as \"1\"')")
    page.locator(".jp-OutputArea img").first.wait_for()
    assert page.locator(".jp-OutputArea img").first.get_attribute("alt") == 'One bar, as high as "1"'


def test_a_bar_shows_the_time_left_and_goes(open_notebook):
    loop = "for _ in watch(range(30), 30): time.sleep(0.3)\nprint('done')"
    page = open_notebook(f"import time\nfrom dislib.progress import watch\n{loop}")
    page.get_by_text(re.compile(r"\d+/30\s\[\d\d:\d\d<\d\d:\d\d")).first.wait_for()
    page.locator(".jp-OutputArea-output", has_text="done").wait_for()
    assert page.locator(".jp-OutputArea .widget-hbox").count() == 0
    assert page.get_by_text("Error displaying widget").count() == 0


def test_a_drawing_is_saved_and_uploaded(open_notebook, tmp_path):
    page = open_notebook(
        "from dislib.lessons.lesson_07 import Look, Workshop\nfrom dislib import widgets",
        f"workshop = Workshop({str(tmp_path / 'ws')!r})\nworkshop.paint(Look(), 8)\nwidgets.YourPictures(workshop)",
    )
    page.get_by_text("Draw (save each drawing, then upload it)").click()
    surface = page.frame_locator("iframe[title='A surface to draw on']")
    canvas = surface.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 220, steps=12)
    page.mouse.up()
    with page.expect_download() as saved:
        surface.get_by_role("button", name="Save as PNG").click()
    drawing = tmp_path / "drawing.png"
    saved.value.save_as(drawing)
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04")
    with page.expect_file_chooser() as chooser:  # ipywidgets makes its input when the button is pressed
        page.get_by_role("button", name="Upload pictures").click()
    chooser.value.set_files([drawing, tmp_path / "no.zip"])
    page.get_by_text("Pictures taken: 1, captions: 0, files refused: 1").wait_for()
    page.get_by_text("is an archive; unpack it").wait_for()
    taken = tmp_path / "ws" / "uploads" / "000.png"
    assert taken.is_file()
    from PIL import Image

    with Image.open(taken) as image:
        dark = sum(image.convert("L").histogram()[:100])
        assert image.size == (512, 512) and 1000 < dark < 20000  # a line on white
