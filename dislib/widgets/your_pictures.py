"""*Your pictures*: draw them, or upload them; what was taken, what was refused and why, and a caption for each."""

import ipywidgets as widgets

from ..errors import DislibError
from ..escaping import for_html
from ..figures.plots import image_grid
from ..images.images import load_image
from ..images.uploads import LEDGER, Upload, read_ledger, take_in
from ..lessons.lesson_07 import LEAST, Workshop
from .paint_latent import side_by_side
from .panel import CARE, RIGHT, Panel, caption, markup, note, picture, png

TILE, ROW = 96, 8  # px of a picture on the sheet, pictures in a row

# A drawing surface that needs no kernel: its own little page, whose button saves what was drawn as a PNG. It has no way to
# send the drawing to the kernel, so the saved file is uploaded like any other.
_SURFACE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><style>
body{margin:0;font:14px system-ui,sans-serif;background:#fbfbf8;color:#1b1b1b}
canvas{border:1px solid #888;touch-action:none;cursor:crosshair;display:block;background:#fff}
p{margin:4px 0} button,input{font:inherit;margin-right:8px;vertical-align:middle}
input[type=range]{width:80px} input[type=color]{width:40px}
</style><p><label>Ink <input type="color" id="ink" value="#1b1b1b"></label>
<label>Paper <input type="color" id="paper" value="#ffffff"></label>
<label>Width <input type="range" id="width" min="2" max="40" value="10"></label></p>
<canvas id="c" width="512" height="512" style="width:320px;height:320px" aria-label="A square to draw on"></canvas>
<p><button id="undo">Undo</button><button id="clear">Clear</button><button id="save">Save as PNG</button></p><script>
const $=id=>document.getElementById(id),c=$("c"),g=c.getContext("2d");let strokes=[],now=null,n=0;
function at(e){const r=c.getBoundingClientRect();return[(e.clientX-r.left)*512/r.width,(e.clientY-r.top)*512/r.height]}
function draw(){g.fillStyle=$("paper").value;g.fillRect(0,0,512,512);g.lineCap=g.lineJoin="round";
for(const s of strokes){g.strokeStyle=s.ink;g.lineWidth=s.width;g.beginPath();g.moveTo(...s.p[0]);
for(const q of s.p)g.lineTo(...q);g.stroke()}}
c.onpointerdown=e=>{c.setPointerCapture(e.pointerId);now={ink:$("ink").value,width:+$("width").value,p:[at(e)]};
strokes.push(now);draw()};c.onpointermove=e=>{if(now){now.p.push(at(e));draw()}};c.onpointerup=()=>{now=null};
$("undo").onclick=()=>{strokes.pop();draw()};$("clear").onclick=()=>{strokes=[];draw()};$("paper").oninput=draw;
$("save").onclick=()=>{const a=document.createElement("a");a.download="drawing-"+(++n)+".png";a.href=c.toDataURL();a.click()};
draw();</script></html>"""


def surface():
    """The drawing surface as HTML for a widget."""
    return (f'<iframe title="A surface to draw on" srcdoc="{for_html(_SURFACE)}" width="348" height="440"'
            ' style="border:0"></iframe>')


def uploads_of(value):
    """What a FileUpload holds, of ipywidgets 7 (a dict by name) and 8 (a tuple) alike, as `Upload`s."""
    if isinstance(value, dict):
        return [Upload(str(name), bytes(each["content"])) for name, each in value.items()]
    return [Upload(str(each["name"]), bytes(each["content"])) for each in value]


class YourPictures(Panel):
    """Draw or upload pictures into the workshop's `uploads/`, see what was taken and what was not, and write captions.

    Args:
        workshop: the lesson's `Workshop`.
        on_error: see `Panel`.
    """

    def __init__(self, workshop: Workshop, *, on_error=None):
        super().__init__(on_error)
        self.workshop, self.refused = workshop, []
        self._build()
        self.draw()

    def receive(self, uploads):
        """Take in `Upload`s and show what became of them."""
        taken = take_in(self.workshop.uploads, uploads)
        self.refused = taken.refused
        self.draw()
        found = f"Pictures taken: {len(taken.pictures)}, captions: {taken.captions}, files refused: {len(taken.refused)}."
        self.report.value = note(found, CARE if taken.refused else RIGHT) + _listed(taken.refused)

    def save_captions(self):
        """Keep the captions in the box, a line each."""
        self.workshop.write_captions(self.captions.value.splitlines())
        self.report.value = note("The captions are kept.", RIGHT)

    def forget(self):
        """Delete what was uploaded."""
        for row in read_ledger(self.workshop.uploads):
            for suffix in (".png", ".txt"):
                (self.workshop.uploads / row["file"]).with_suffix(suffix).unlink(missing_ok=True)
        (self.workshop.uploads / LEDGER).unlink(missing_ok=True)
        self.refused, self.report.value = [], ""
        self.draw()

    def draw(self):
        """Bring the sheet and the captions up to date."""
        self.images = [load_image(file, TILE) for file in self._files()]
        rows = [self.images[i : i + ROW] for i in range(0, len(self.images), ROW)]
        for view, row in zip(self.sheet, rows + [None] * len(self.sheet)):
            view.layout.display = None if row else "none"
            if row:
                view.value, view.layout.width = png(side_by_side(row)), f"{len(row) * (TILE + 4)}px"
        said = self.workshop.captions().values() if self.images else ()
        self.captions.value = "\n".join(said)
        own = len(list(self.workshop.uploads.glob("*.png")))
        need = f"{LEAST - own} more and your own take the place of those painted by numbers" if own < LEAST else "yours count"
        self.count.value = markup(f"Pictures of your own: {own}; {need}. Below, those that count now.")

    def twin(self):
        """The pictures that count and their captions as a figure; with those refused."""
        if not self.images:
            raise DislibError("there are no pictures yet; paint some by numbers in the cell above")
        shown = self.images[: 2 * ROW]
        told = f"{len(self.images)} pictures in {self.workshop.pictures.name}/" + "".join(
            f"; refused: {name} {why}" for name, why in self.refused)
        return image_grid(shown, cols=ROW, rows=-(-len(shown) // ROW), title=told, width=760)

    def _files(self):
        try:
            return self.workshop.files()
        except DislibError:
            return []

    def _chosen(self, _):
        if uploads := uploads_of(self.upload.value):
            self.act(lambda: self.receive(uploads))

    def _build(self):
        self.upload = widgets.FileUpload(accept="image/*,.txt", multiple=True, description="Upload pictures",
                                         layout=widgets.Layout(width="160px"))
        self.upload.observe(self._chosen, "value")
        self.surface = widgets.HTML(surface())
        self.count, self.report = widgets.HTML(), widgets.HTML()
        self.sheet = [picture(ROW * (TILE + 4)) for _ in range(25)]
        self.captions = widgets.Textarea(description="Captions", rows=8, layout=widgets.Layout(width="700px"),
                                         continuous_update=False)
        self.save_button = widgets.Button(description="Keep captions", icon="check")
        self.save_button.on_click(lambda _: self.press(self.save_captions))
        self.forget_button = widgets.Button(description="Delete my uploads", icon="trash",
                                            layout=widgets.Layout(width="180px"))
        self.forget_button.on_click(lambda _: self.press(self.forget))
        drawing = widgets.Accordion([self.surface])
        drawing.set_title(0, "Draw (save each drawing, then upload it)")
        drawing.selected_index = None
        self.ui = widgets.VBox([
            caption("Your pictures", bold=True), widgets.HBox([self.upload, self.forget_button]), drawing, self.report,
            self.message, self.count, *self.sheet, self.captions, self.save_button,
        ])


def _listed(refused):
    """Names and reasons, as text: a file name is a stranger's words."""
    rows = "".join(f"<li><b>{for_html(name)}</b> {for_html(reason)}</li>" for name, reason in refused)
    return markup(f"<ul>{rows}</ul>") if rows else ""
