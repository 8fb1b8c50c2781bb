"""The campaign itself: a few cases of each kind, and that it notices what it is for."""

import hostile
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(diffusers|numpy)")


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_few_cases_of_each_kind(kind):
    assert [wrong for *_, wrong in hostile.campaign(0, 60, [kind], cases=15) if wrong] == []


FAULTS = {
    "pictures": (hostile, "load_image", lambda *_: 1 / 0),
    "records": (hostile.evaluate, "_read_record", lambda _: [][1]),
    "captions": (hostile, "captions_of", lambda *_, **__: ["\ud800"]),
    "votes": (hostile, "read_votes", lambda *_, **__: []),
    "tables": (hostile, "read_results", lambda _: []),
    "texts": (hostile, "for_html", str),
    "kills": (hostile.files, "sweep_partials", lambda _: None),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_noticed(kind, monkeypatch):
    monkeypatch.setattr(*FAULTS[kind])
    assert any(wrong for *_, wrong in hostile.campaign(0, 60, [kind], cases=150))


@pytest.mark.skipif(not hasattr(hostile.signal, "SIGALRM"), reason="no alarms here")
def test_what_waits_for_ever_is_noticed(monkeypatch):
    monkeypatch.setattr(hostile, "PATIENCE", 1)

    def wait(*_):
        hostile.time.sleep(9)

    assert hostile.attempt(wait, 0, 0)


def test_a_case_comes_back():
    seen = []

    def kind(rng, _):
        seen.append(rng.random())

    for case in (5, 5, 6):
        hostile.attempt(kind, 3, case)
    assert seen[0] == seen[1] != seen[2]
