"""Bradley-Terry and Kendall's tau: known answers, recovery, and votes that determine no ranking."""

import math
import warnings

import numpy as np
import pytest

from dislib.errors import DislibError, DislibWarning
from dislib.evaluation.ranking import Standing, agreement, bradley_terry, chance, fit, kendall, win_table
from dislib.evaluation.votes import Ballot, answer
from dislib.figures.curves import ranking_plot
from dislib.figures.plots import CourseFigure

TRUTH = {"base": -1.0, "plain": -0.2, "lora": 0.2, "style": 1.0}


def votes_of(*results, voter="Ann"):
    """A vote each for (left, right, choice)."""
    return [
        answer(Ballot("sketch", "style", "p", a, b, k), choice, voter=voter) for k, (a, b, choice) in enumerate(results)
    ]


def simulated(count, *, voters=1, seed=0, truth=TRUTH):
    rng, votes = np.random.default_rng(seed), []
    for k in range(count):
        a, b = rng.choice(list(truth), size=2, replace=False)
        choice = "left" if rng.random() < chance(truth[a], truth[b]) else "right"
        votes += votes_of((str(a), str(b), choice), voter=f"voter {k % voters}")
    return votes


def strengths(ranking):
    return {standing.method: standing.strength for standing in ranking}


def test_three_to_one_is_log_three():
    votes = votes_of(*[("a", "b", "left")] * 2, ("b", "a", "right"), ("a", "b", "right"))
    first, second = bradley_terry(votes, prior=0)
    assert (first.method, first.n, second.n) == ("a", 4, 4)
    assert first.strength - second.strength == pytest.approx(math.log(3), abs=1e-8)
    assert math.isnan(first.low) and math.isnan(first.high)
    assert chance(first.strength, second.strength) == pytest.approx(0.75)


def test_ties_are_half_a_win_each():
    votes = votes_of(("a", "b", "tie"), ("a", "b", "tie"))
    assert strengths(bradley_terry(votes)) == pytest.approx({"a": 0, "b": 0})
    names, table = win_table(votes)
    assert names == ["a", "b"] and table.sum(axis=0).tolist() == [[0, 1], [1, 0]]


def test_the_prior_is_half_a_win_and_half_a_loss_against_the_average():
    """Two methods, 3 : 1: with s and -s, the slope 3.5 - 4 sigma(2 s) - sigma(s) is 0."""
    votes = votes_of(*[("a", "b", "left")] * 3, ("a", "b", "right"))
    s = strengths(bradley_terry(votes))["a"]
    assert 3.5 - 4 * chance(2 * s) - chance(s) == pytest.approx(0, abs=1e-8)
    assert 0 < 2 * s < math.log(3)


def test_the_fit_is_the_maximum_of_the_likelihood():
    wins = np.random.default_rng(0).integers(1, 20, size=(5, 5)) * (1 - np.eye(5))
    s = fit(wins, prior=0)
    chances = 1 / (1 + np.exp(s[None] - s[:, None]))
    assert (wins.sum(axis=1) - ((wins + wins.T) * chances).sum(axis=1)) == pytest.approx(np.zeros(5), abs=1e-6)
    assert np.allclose(fit(np.stack([wins, wins.T]), prior=0), [s, -s])


def test_known_strengths_are_recovered():
    found = strengths(bradley_terry(simulated(6000), draws=20))
    assert found == pytest.approx(TRUTH, abs=0.12)


@pytest.mark.parametrize("count", [8, 24, 200])
def test_the_bands_hold_the_truth_as_often_as_they_say(count):
    inside = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DislibWarning)  # of eight votes, some leave a method out
        for seed in range(20):
            for standing in bradley_terry(simulated(count, seed=seed), draws=60):
                inside.append(standing.low <= TRUTH[standing.method] <= standing.high)
                assert standing.low < standing.strength < standing.high
    assert np.mean(inside) >= 0.93


def test_few_votes_give_wide_bands():
    (first, *_) = bradley_terry(votes_of(*[("a", "b", "left")] * 3))
    assert first.method == "a" and first.low < 0  # three of three: no proof


def test_the_bands_narrow_with_the_root_of_the_votes():
    few, many = (bradley_terry(simulated(n))[0] for n in (400, 1600))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.25)


def test_voters_are_drawn_whole_where_there_are_enough():
    one_mind = [
        v for k in range(8) for v in votes_of(*[("a", "b", "left" if k % 2 else "right")] * 10, voter=f"voter {k}")
    ]
    by_voter, by_vote = (bradley_terry(one_mind, by=by)[0] for by in ("voter", "vote"))
    assert by_voter.high - by_voter.low > 2 * (by_vote.high - by_vote.low)
    assert bradley_terry(one_mind)[0] == by_voter
    assert bradley_terry(one_mind[:40])[0] == bradley_terry(one_mind[:40], by="vote")[0]


def test_neither_order_nor_names_nor_sides_matter():
    votes = simulated(300)
    found = strengths(bradley_terry(votes))
    shuffled = [votes[k] for k in np.random.default_rng(1).permutation(len(votes))]
    assert strengths(bradley_terry(shuffled)) == pytest.approx(found)
    other = {"left": "right", "right": "left"}
    swapped = [v._replace(left=v.right, right=v.left, choice=other[v.choice]) for v in votes]
    assert strengths(bradley_terry(swapped)) == pytest.approx(found)
    renamed = [v._replace(left=v.left[::-1], right=v.right[::-1]) for v in votes]
    assert strengths(bradley_terry(renamed)) == pytest.approx({name[::-1]: s for name, s in found.items()})


def test_unbeaten_methods_are_finite_by_the_prior_only():
    votes = votes_of(("a", "b", "left"), ("a", "c", "left"), ("b", "c", "left"), ("c", "b", "left"))
    first = bradley_terry(votes)[0]
    assert first.method == "a" and 0 < first.strength < 5
    with pytest.raises(
        DislibError, match=r"of one group ever lost to, or ever beat, another's: a \| b, c; .*prior=0.5"
    ):
        bradley_terry(votes, prior=0)


def test_groups_that_never_met_are_named():
    votes = votes_of(("a", "b", "left"), ("b", "a", "left"), ("c", "d", "left"), ("d", "c", "tie"))
    with pytest.raises(DislibError, match=r"never compared: a, b \| c, d; vote on pairs across them, or rank with a"):
        bradley_terry(votes, prior=0)
    with pytest.warns(DislibWarning, match=r"never compared: a, b \| c, d; only ranks within a group"):
        assert len(bradley_terry(votes)) == 4


def test_a_long_chain_of_methods_is_one_group():
    votes = votes_of(*[(f"m{k:02d}", f"m{k + 1:02d}", c) for k in range(30) for c in ("left", "right", "tie")])
    assert list(strengths(bradley_terry(votes, prior=0)).values()) == pytest.approx([0] * 31, abs=1e-6)


@pytest.mark.parametrize(
    "votes, options, words",
    [
        ([], {}, "at least 2 votes, got 0"),
        (votes_of(("a", "b", "left")), {}, "at least 2 votes, got 1"),
        (votes_of(*[("a", "b", "left")] * 2), {"by": "voter"}, "by='voter' with 1 voters"),
        (votes_of(*[("a", "b", "left")] * 2), {"by": "week"}, "by='week'"),
        (votes_of(*[("a", "b", "left")] * 2), {"prior": -1}, "prior = -1 wins"),
    ],
)
def test_what_cannot_be_ranked(votes, options, words):
    with pytest.raises(DislibError, match=words):
        bradley_terry(votes, **options)


def test_two_questions_are_ranked_apart():
    votes = votes_of(("a", "b", "left"), ("a", "b", "right"))
    with pytest.raises(DislibError, match="the votes answer prompt and style; rank each apart: select"):
        bradley_terry([votes[0], votes[1]._replace(question="prompt")])


# --- agreement --------------------------------------------------------------------------------------------------------


def ranked(**strength):
    return [Standing(name, s, s - 1, s + 1, 10) for name, s in strength.items()]


def test_kendall_known_answers():
    assert kendall([1, 2, 3, 4], [1, 2, 3, 4]) == 1 and kendall([1, 2, 3], [3, 2, 1]) == -1
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert kendall([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / math.sqrt(6))  # tau-b of a tie


def test_agreement_knows_which_way_is_better():
    voters = ranked(a=2, b=1, c=-1, d=-2)
    numbers = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 9.0, "unknown": 0.0}
    found = agreement(voters, numbers, lower_is_better=True)
    assert found == (1.0, pytest.approx(1 / 24), 4)
    assert agreement(voters, numbers, lower_is_better=False).tau == -1
    assert str(found) == "tau = +1.00 (4 methods; 4.2% of shuffled orders agree as well)"


def test_shuffles_stand_in_for_all_orders():
    names = "abcdefghi"
    found = agreement(ranked(**{n: k for k, n in enumerate(names)}), dict(zip(names, range(9))), lower_is_better=False)
    assert found.tau == 1 and found.by_chance < 0.001


@pytest.mark.parametrize(
    "numbers, words",
    [
        ({"a": 1, "b": 2}, "share 2 methods; agreement needs at least 3, named alike"),
        ({"a": 1, "b": 2, "c": math.nan}, "not finite, or all equal"),
        ({"a": 1, "b": 1, "c": 1}, "not finite, or all equal"),
    ],
)
def test_numbers_without_an_order(numbers, words):
    with pytest.raises(DislibError, match=words):
        agreement(ranked(a=1, b=0, c=-1), numbers, lower_is_better=True)


def test_the_plot_has_words():
    figure = ranking_plot(bradley_terry(simulated(200)), labels={"style": "Diffusion in Style"}, title="Voters")
    assert isinstance(figure, CourseFigure) and "Diffusion in Style 0." in figure.alt and "average 0.5" in figure.alt
    ranking_plot(bradley_terry(simulated(200), prior=0))
