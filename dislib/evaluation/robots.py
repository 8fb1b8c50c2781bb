"""Robot voters: a blind vote by the judge's features, to try a user study before there are people for it.

They see what the metrics see, so that their votes cannot tell whether the metrics are right. Only people can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DislibError
from .judge import clip_scores, image_features
from .ranking import chance
from .votes import LEFT, QUESTIONS, RIGHT, answer, pairs

if TYPE_CHECKING:
    from .judge import Judge
    from .votes import Vote

NEAREST = 10  # pictures of the style that a robot has in mind when it looks at one


def robot_votes(
    sheets, judge: Judge, references, *, voters: int = 8, count: int = 24, noise: float = 0.5, seed: int = 0,
) -> list[Vote]:
    """Votes of robots on both questions.

    A robot gives each picture a score: for "style", how near it is to the nearest pictures of the style; for "prompt",
    the CLIP score. It chooses by the difference of two scores in standard deviations, divided by `noise`, as
    Bradley-Terry's model has it: mostly the better one, and sometimes not.

    Args:
        sheets: from style to Sheet, a method a row and a prompt a column.
        judge: whose features they see.
        references: from style to results.Reference.
        voters: number of robots.
        count: ballots of each robot on each style, shared by both questions.
        noise: 0 would be a robot that never errs.
        seed: other robots, other votes.

    Returns:
        list of votes.Vote by voters named "robot 1", "robot 2" and so on.

    Raises:
        DislibError: a style without a reference, or a noise that is not positive.
    """
    if missing := [style for style in sheets if style not in references]:
        raise DislibError(f"no reference for {', '.join(missing)}; pass results.Reference.of(style, judge) for each")
    if not noise > 0:
        raise DislibError(f"noise is {noise}; choose a positive number, such as 0.5")
    votes, rng = [], np.random.default_rng(seed)
    for style, sheet in sheets.items():
        scores = _scores(sheet, judge, references[style])
        prompts = [str(column) for column in sheet.columns]
        for k in range(voters):
            plan = pairs(sheet.rows, prompts, count=count, style=style, seeds=sheet.facts.get("seeds"), seed=seed + k)
            for ballot in plan:
                left, right = (scores[ballot.question][name, ballot.prompt] for name in (ballot.left, ballot.right))
                chosen = LEFT if rng.random() < chance(left / noise, right / noise) else RIGHT
                votes.append(answer(ballot, chosen, voter=f"robot {k + 1}"))
    return votes


def _scores(sheet, judge, reference):
    """From question to the standardised score of each (method, prompt)."""
    places = [(row, column) for row in sheet.rows for column in sheet.columns]
    images = [sheet.at(row, column) for row, column in places]
    far = np.linalg.norm(image_features(images, judge)[:, None] - reference.pooled[None], axis=2)
    near = -np.sort(far, axis=1)[:, :NEAREST].mean(axis=1)
    told = clip_scores(images, [str(column) for _, column in places], judge)
    names = [(row, str(column)) for row, column in places]
    standard = lambda x: (x - x.mean()) / (x.std() or 1.0)
    return {q: dict(zip(names, standard(np.asarray(x, float)))) for q, x in zip(QUESTIONS, (near, told))}
