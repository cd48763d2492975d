"""Which URLs a host is asked for after its pause, in which order, and what opens it."""

from __future__ import annotations

import pytest

from worker.engine.evidence import Evidence
from worker.engine.pace import Pace
from worker.engine.probing import LOOK, Probing


def _probing(*suspects: str, pace: Pace | None = None) -> tuple[Probing, Evidence]:
    evidence = Evidence()
    for name in suspects:
        evidence.suspect(name, 0.0)
    return Probing(pace or Pace(0.0), evidence, 0.0), evidence


def _probe(probing: Probing) -> None:
    """Have the probe answered at second 1."""
    assert probing.reserve("good", 0.5) == 0
    probing.passes("good", 0.5, 1.0)


def test_without_a_suspect_the_probe_opens_the_host() -> None:
    probing, _ = _probing()
    assert probing.reserve("good", 0.5) == 0

    assert probing.reserve("other", 0.6) == LOOK
    assert probing.passes("good", 0.5, 1.0)


def test_a_throttled_url_does_not_probe_but_is_tried_next() -> None:
    probing, _ = _probing("bad")

    assert probing.wants("good")
    assert not probing.wants("bad")
    _probe(probing)
    assert probing.wants("bad")
    assert not probing.wants("good")


def test_a_trial_has_one_control() -> None:
    probing, _ = _probing("bad", "worse")
    _probe(probing)

    assert probing.reserve("good 2", 1.1) == LOOK
    assert probing.reserve("bad", 1.1) == 0
    assert probing.wants("good 2")
    assert not probing.wants("worse")
    assert probing.reserve("good 2", 1.1) == 0
    assert probing.reserve("good 3", 1.1) == LOOK


@pytest.mark.parametrize("is_control_first", [True, False])
def test_a_convicting_trial_is_followed_by_the_next_and_the_last_opens_the_host(is_control_first: bool) -> None:
    probing, evidence = _probing("bad", "worse", "worst")
    _probe(probing)

    opened = []
    for now, name in ((2.0, "bad"), (3.0, "worse")):
        for each in (name, "good") if name == "bad" else ("good", name):
            assert probing.wants(each)
            assert probing.reserve(each, now) == 0
        if is_control_first:
            assert not probing.passes("good", now, now + 0.1)
        assert probing.note_failure(name)
        opened.append(probing.ends_trial(now + 0.2) if is_control_first else probing.passes("good", now, now + 0.2))

    assert opened == [False, True], "two are enough, the third needs no trial"
    assert evidence.by_url.holds


def test_a_url_on_trial_that_is_answered_opens_the_host_without_its_control() -> None:
    probing, evidence = _probing("bad", "worse")
    evidence.by_url.accuse("worse")
    _probe(probing)
    for name in ("good", "bad"):
        probing.reserve(name, 2.0)

    assert probing.passes("bad", 2.0, 2.1)
    assert evidence.by_url.trials.in_succession == 0


def test_an_answer_from_before_the_trial_is_not_its_controls() -> None:
    probing, evidence = _probing("bad", "worse")
    _probe(probing)
    probing.reserve("bad", 2.0)
    assert probing.note_failure("bad")

    assert not probing.passes("good", 1.9, 2.1)
    assert not evidence.by_url.trials.is_control_first, "nothing tells against the URL yet"
    assert probing.reserve("good 2", 2.2) == 0


def test_a_trial_respects_the_pace() -> None:
    pace = Pace(0.0)
    pace.slow_down(0.0, 8.0, is_open=True)  # now it is 5 starts a second
    probing, _ = _probing("bad", pace=pace)
    _probe(probing)

    assert probing.reserve("bad", 1.1) == LOOK
    assert probing.reserve("bad", 1.3) == 0


def test_without_a_suspect_the_host_is_not_kept_waiting() -> None:
    probing, _ = _probing("bad")
    _probe(probing)

    assert not probing.is_stuck(1.1)
    assert probing.is_stuck(1.1 + LOOK)


def test_without_a_suspect_beside_the_control_the_host_is_not_kept_waiting() -> None:
    probing, _ = _probing("bad", "worse")
    _probe(probing)
    probing.reserve("bad", 2.0)
    probing.reserve("good", 2.0)
    probing.note_failure("bad")
    probing.passes("good", 2.0, 2.1)

    assert probing.reserve("good 2", 4.0) == 0
    assert probing.reserve("good 3", 4.0) == LOOK, "only a URL on trial goes with it"
    assert not probing.is_stuck(4.0)
    assert probing.is_stuck(4.0 + LOOK)


def test_if_a_trial_is_not_answered_its_control_is_enough_after_a_while() -> None:
    probing, _ = _probing("bad")
    _probe(probing)
    probing.reserve("bad", 2.0)
    probing.reserve("good", 2.0)
    assert not probing.is_stuck(9.0), "neither was answered"
    assert not probing.passes("good", 2.0, 2.1)

    assert not probing.is_stuck(6.0)
    assert probing.is_stuck(7.0)


def test_only_the_first_failure_of_a_url_on_trial_belongs_to_the_trial() -> None:
    probing, _ = _probing("bad")
    assert not probing.note_failure("bad"), "it is no trial yet"
    _probe(probing)
    probing.reserve("bad", 2.0)

    assert not probing.note_failure("good")
    assert probing.note_failure("bad")
    assert not probing.note_failure("bad")
