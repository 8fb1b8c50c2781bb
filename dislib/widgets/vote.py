"""*Which is closer?*: a blind vote on pairs of pictures, kept in a file at once, and a ranking at the end."""

import re
import time
import zlib
from pathlib import Path

import ipywidgets as widgets

from ..errors import DislibError
from ..escaping import for_html
from ..evaluation.ranking import bradley_terry
from ..evaluation.votes import LEFT, QUESTIONS, RIGHT, TIE, VoteFile, answer, known_methods, pairs
from ..figures.curves import ranking_plot
from ..figures.plots import image_grid, png_bytes
from ..images.images import upright_rgb
from ..images.sheets import by_style
from .guidance_strip import label_of
from .panel import Panel, beside, heading, markup, picture, png

COUNT = 24  # ballots of a voter
PAUSE = 0.3  # seconds: a second press within them is the tail of a double click, not a vote on the next pair
SIDE = 256  # px of a picture
EXAMPLES, EXAMPLE_SIDE = 4, 96
ASKED = {"style": "Which picture is closer to the style of these?", "prompt": "Which picture fits these words better?"}
BLIND = {"style": "Which picture is closer to the style?", "prompt": "Which picture fits the prompt better?"}


def plan(sheets, *, voter, count=COUNT, questions=QUESTIONS):
    """A voter's ballots: the same at every start, and others for every voter, so that a class covers all pairs.

    Args:
        sheets: from style to Sheet (a method a row, a prompt a column); the styles share the ballots evenly.
        voter: a name.
        count, questions: see `evaluation.votes.pairs`.

    Returns:
        list of Ballot.
    """
    ballots, seed = [], zlib.crc32(voter.strip().encode())
    for k, (style, sheet) in enumerate(sheets.items()):
        share = count // len(sheets) + (k < count % len(sheets))
        columns = [str(column) for column in sheet.columns]
        seeds = sheet.facts.get("seeds") or [0] * len(columns)
        made = pairs(sheet.rows, columns, count=share, style=style, questions=questions, seeds=seeds, seed=seed + k)
        ballots += made
    return ballots


def file_of(voter):
    """Where a voter's votes are kept unless a path is given: votes/NAME.csv in the present folder."""
    name = re.sub(r"[^\w-]+", "_", voter).strip("_").lower()
    return Path("votes") / f"{name or 'voter'}.csv"


class WhichIsCloser(Panel):
    """Two pictures, one question, three buttons: a blind vote, and at the end a ranking of the methods behind them.

    No name of a method is in the page before the end. Every vote is in the file before the next pair is shown, and a
    voter whose file is there goes on where it ends. Merge the files of a class by `evaluation.votes.read_votes`.

    Args:
        sheets: from style to Sheet (a method a row, a prompt a column), or one Sheet.
        voter: a name, which stands in the file; each voter needs one of their own.
        path: of the file; by default `file_of(voter)`.
        examples: from style to pictures of it, up to four of which stand beside the question about the style.
        methods: which rows take part; by default all.
        count: number of ballots, at least two a question and style.
        questions: one or both of "style" and "prompt".
        pause: seconds within which a second press is ignored.
        on_error: see `Panel`.

    Raises:
        DislibError: an empty name, a file that cannot be read, or a plan that cannot be made.
    """

    def __init__(
        self,
        sheets,
        voter,
        path=None,
        *,
        examples=None,
        methods=None,
        count=COUNT,
        questions=QUESTIONS,
        pause=PAUSE,
        on_error=None,
    ):
        super().__init__(on_error)
        if not str(voter).strip():
            raise DislibError("the voter has no name; write one, such as your initials")
        self.sheets = {style: _rows(sheet, methods) for style, sheet in by_style(sheets).items()}
        fewest = 2 * len(questions) * len(self.sheets)
        if count < fewest:
            raise DislibError(f"{count} ballots are too few; give at least {fewest}, two for each question and style")
        self.voter, self.examples, self.pause, self._shown_at = voter.strip(), examples or {}, pause, 0.0
        rows = [name for sheet in self.sheets.values() for name in sheet.rows]
        self.file = VoteFile(path or file_of(self.voter), methods=dict.fromkeys([*known_methods(), *rows]))
        self.plan = plan(self.sheets, voter=self.voter, count=count, questions=questions)
        self._build()
        self.act(self.draw)

    @property
    def left_over(self):
        """The ballots that this voter has not answered yet."""
        answered = {vote.ballot.key for vote in self.file.of(self.voter)}
        return [ballot for ballot in self.plan if ballot.key not in answered]

    def vote(self, choice):
        """Keep the vote on the present pair, then show the next one."""
        if time.monotonic() - self._shown_at < self.pause or not self.left_over:
            return
        self.file.add(answer(self.left_over[0], choice, voter=self.voter))
        self.draw()

    def draw(self):
        """Show the present pair and its question, or the ranking when all have been answered."""
        left_over = self.left_over
        self.progress.value = markup(f"{len(self.plan) - len(left_over)} of {len(self.plan)} answered")
        for button in self.buttons.values():
            button.disabled = not left_over
        if left_over:
            self._ask(left_over[0])
            self._shown_at = time.monotonic()
        else:
            self._reveal()

    def rankings(self):
        """From question to the ranking by all votes in the file on these styles; empty before the end."""
        if self.left_over:
            return {}
        votes = [vote for vote in self.file.votes if vote.style in self.sheets]
        found = {}
        for question in dict.fromkeys(ballot.question for ballot in self.plan):
            found[question] = bradley_terry([vote for vote in votes if vote.question == question])
        return found

    def twin(self):
        """The present pair as a figure, still blind, with the examples; or the ranking on the first question."""
        if rankings := self.rankings():
            return _figure(*next(iter(rankings.items())))
        ballot = self.left_over[0]
        words = f': "{ballot.prompt}"' if ballot.question == "prompt" else f" ({ballot.style})"
        title, pair = f"{BLIND[ballot.question]}{words}", self._pair(ballot)
        examples = [upright_rgb(image).resize(pair[0].size) for image in self._examples(ballot)]
        beside_them = f" and {len(examples)} of the style" if examples else ""
        told = f"{title} Two pictures, left and right{beside_them}; who made the two is told at the end of the vote."
        labels = ["Left", "Right", *["the style"] * len(examples)]
        return image_grid([*pair, *examples], col_labels=labels, title=title, alt=told, width=820)

    def _examples(self, ballot):
        return self.examples.get(ballot.style, [])[:EXAMPLES] if ballot.question == "style" else []

    def _pair(self, ballot):
        sheet = self.sheets[ballot.style]
        column = next(column for column in sheet.columns if str(column) == ballot.prompt)
        return [sheet.at(method, column) for method in (ballot.left, ballot.right)]

    def _ask(self, ballot):
        examples = self._examples(ballot)
        for view, image in zip(self.example_views, [*examples, *[None] * EXAMPLES]):
            view.layout.display = "none" if image is None else ""
            if image is not None:
                view.value = png(upright_rgb(image).resize((EXAMPLE_SIDE, EXAMPLE_SIDE)))
        self.question.value = markup(_question(ballot, examples), bold=True)
        for view, image in zip(self.views, self._pair(ballot)):
            view.value = png(image)

    def _reveal(self):
        self.stage.layout.display = "none"
        self.question.value = markup("Thank you! Here is who was behind the pictures.", bold=True)
        rankings = self.rankings()
        for view, (question, ranking) in zip(self.charts, rankings.items()):
            view.value, view.layout.display = png_bytes(_figure(question, ranking)), ""
        self.told.value = markup("<br>".join(_told(question, ranking) for question, ranking in rankings.items()))

    def _build(self):
        self.views, self.charts = [picture(SIDE) for _ in range(2)], [picture(700) for _ in QUESTIONS]
        self.example_views = [picture(EXAMPLE_SIDE) for _ in range(EXAMPLES)]
        for view in (*self.charts, *self.example_views):
            view.layout.display, view.layout.margin = "none", "0 6px 6px 0"
        self.question, self.progress, self.told = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.buttons = {
            LEFT: self._button("Left", LEFT),
            TIE: self._button("Can't say", TIE),
            RIGHT: self._button("Right", RIGHT),
        }
        row = widgets.HBox(list(self.buttons.values()))
        shown = beside(*self.example_views)
        if self.examples:  # the buttons stay where they are, whichever question is asked
            shown.layout.min_height = f"{EXAMPLE_SIDE + 6}px"
        self.question.layout.min_height = "48px"
        sides = [widgets.VBox([view], layout=widgets.Layout(margin="0 12px 6px 0")) for view in self.views]
        self.stage = widgets.VBox([shown, beside(*sides), row])
        head = [heading("Which is closer?"), self.progress, self.question]
        self.ui = widgets.VBox([*head, self.stage, self.message, *self.charts, self.told])

    def _button(self, text, choice):
        button = widgets.Button(description=text, layout=widgets.Layout(width="172px", margin="0 4px 0 0"))
        button.on_click(lambda _: self.act(lambda: self.vote(choice)))
        return button


def _question(ballot, examples):
    if ballot.question == "prompt":
        return f"{ASKED['prompt']} “{for_html(ballot.prompt)}”"
    return ASKED["style"] if examples else f"Which picture is closer to the style “{for_html(ballot.style)}”?"


def _rows(sheet, methods):
    """A sheet of some of its rows."""
    if methods is None:
        return sheet
    images = [[sheet.at(name, column) for column in sheet.columns] for name in methods]
    return type(sheet)(list(methods), sheet.columns, images, sheet.facts)


def _figure(question, ranking):
    labels = {standing.method: label_of(standing.method) for standing in ranking}
    return ranking_plot(ranking, labels=labels, title=f"Closer to the {question}, by the votes")


def _told(question, ranking):
    names = ", ".join(for_html(label_of(standing.method)) for standing in ranking)
    votes = sum(standing.n for standing in ranking) // 2
    return f"{BLIND[question]} {votes} votes say, from first to last: {names}."
