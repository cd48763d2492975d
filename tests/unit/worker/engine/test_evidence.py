"""When a throttled URL itself is the reason: by trials, by other URLs of its host, and when that is withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from worker.engine.evidence import Evidence
from worker.engine.trials import Trials


def _own(evidence: Evidence, name: str, *, good_at: float = 0.0, now: float = 1.0, is_probe: bool = False) -> bool:
    """Record a throttling answer; return whether the URL itself is the reason."""
    evidence.throttled(name, good_at, now, is_answering=not is_probe, is_probe=is_probe)
    return evidence.by_url.explains(name)


def _convicting(*names: str) -> Evidence:
    """Return the evidence after a pause that these URLs had a part in, and a trial of each."""
    evidence = Evidence()
    _try(evidence, names)
    return evidence


def _try(evidence: Evidence, names: Iterable[str]) -> None:
    for name in names:
        evidence.suspect(name, 0.0)
    for name in names:
        evidence.by_url.trials.note_throttled(name)
        evidence.by_url.accuse(name)


def test_two_trials_in_succession_convict_both_urls() -> None:
    evidence = _convicting("a")
    assert not _own(evidence, "a")

    evidence = _convicting("a", "b")

    assert _own(evidence, "a")
    assert _own(evidence, "b")


@pytest.mark.parametrize("end", [Trials.acquit, Trials.doubt])
def test_a_trial_that_ends_otherwise_restarts_the_count(end: Callable[[Trials], None]) -> None:
    evidence = _convicting("a")
    end(evidence.by_url.trials)

    _try(evidence, "b")
    assert not _own(evidence, "b")
    _try(evidence, "b")

    assert _own(evidence, "b")
    assert not _own(evidence, "a"), "nothing was proven of it since"


def test_a_host_with_two_such_urls_may_have_more() -> None:
    evidence = _convicting("a", "b")

    assert evidence.by_url.holds
    assert _own(evidence, "new")


def test_one_such_url_says_nothing_of_others() -> None:
    evidence = _convicting("a")
    evidence.by_url.trials.pause()
    _try(evidence, "a")
    assert _own(evidence, "a")

    assert not evidence.by_url.holds
    assert not _own(evidence, "new")
    evidence.by_url.trials.pause()
    assert not evidence.by_url.is_question("a"), "it needs no more trials"


def test_new_urls_count_as_such_only_while_others_are_answered() -> None:
    evidence = _convicting("a", "b")

    assert not _own(evidence, "new", is_probe=True)


def test_if_one_is_answered_all_is_withdrawn_and_needs_twice_the_evidence() -> None:
    for answered in ("b", "new"):
        evidence = _convicting("a", "b")
        assert _own(evidence, "new")
        assert _own(evidence, "newer")

        evidence.answered(answered)

        assert not _own(evidence, "a")
        assert not _own(evidence, "newer")
        _try(evidence, ["c", "d", "e"])
        assert not _own(evidence, "c")
        _try(evidence, ["f"])
        assert _own(evidence, "c")


def test_eight_new_urls_in_a_row_mean_the_host_throttles() -> None:
    evidence = _convicting("a", "b")

    found = [_own(evidence, f"new {number}") for number in range(8)]

    assert found == [True] * 7 + [False]
    assert not evidence.by_url.holds


def test_new_urls_throttled_while_nothing_is_concluded_are_no_mistake() -> None:
    evidence = Evidence()
    for number in range(8):
        _own(evidence, f"new {number}")

    _try(evidence, ["a", "b"])

    assert evidence.by_url.holds


def test_with_good_answers_in_between_many_urls_may_be_such() -> None:
    evidence = _convicting("a", "b")

    for number in range(20):
        assert _own(evidence, f"new {number}")
        evidence.answered("other")


def test_findings_of_another_process_are_adopted() -> None:
    evidence = Evidence()
    evidence.by_url.believe()

    assert _own(evidence, "new")
    evidence.answered("new")
    assert not evidence.by_url.holds, "until one is answered here"


def test_the_last_url_is_the_reason_if_others_were_answered_meanwhile() -> None:
    """Guards ``times``: if no other URL can be its control, there is no trial."""
    evidence = Evidence()
    for now in (1.0, 3.0, 5.0):
        assert not _own(evidence, "a", good_at=now - 1, now=now)
    assert not _own(evidence, "b", good_at=4.0, now=5.0)
    for now in (4.5, 5.5, 6.5):
        assert not _own(evidence, "c", good_at=4.0, now=now, is_probe=True)

    evidence.answered("d")
    assert not _own(evidence, "a", good_at=4.0, now=6.8, is_probe=True), "another probe was answered before"
    assert _own(evidence, "a", good_at=4.0, now=7.0, is_probe=True)
    assert not _own(evidence, "b", good_at=4.0, now=7.0, is_probe=True)


def _first_requests(count: int) -> Evidence:
    """Return the evidence after so many new URLs were throttled, each after a throttled one was answered."""
    evidence = Evidence()
    for number in range(count):
        evidence.suspect(f"again {number}", 0.0)
        evidence.answered(f"again {number}")
        assert not _own(evidence, f"new {number}")
        assert not _own(evidence, f"newer {number}")
    return evidence


def test_four_new_urls_throttled_among_answers_show_throttling_of_first_requests() -> None:
    evidence = _first_requests(3)
    assert not evidence.first_requests.holds
    for answered in ("other", "new 0"):
        evidence.answered(answered)
    _own(evidence, "new")
    assert not evidence.first_requests.holds, "a new one was answered, so the count begins anew"

    evidence = _first_requests(4)

    assert evidence.first_requests.holds
    evidence.answered("other")
    assert evidence.first_requests.holds


def test_a_second_throttled_request_means_the_host_and_doubles_the_evidence() -> None:
    evidence = _first_requests(3)
    _own(evidence, "new 0")
    assert not evidence.is_suspects_turn

    evidence = _first_requests(4)
    _own(evidence, "new 0")

    assert not evidence.first_requests.holds
    for number in range(8):
        assert not evidence.first_requests.holds
        evidence.answered(f"newer {number % 4}" if number < 4 else f"late {number - 4}")
        _own(evidence, f"late {number}")
    assert evidence.first_requests.holds


def test_after_three_new_probes_a_throttled_url_has_every_second_turn() -> None:
    evidence = Evidence()

    turns = []
    for number in range(6):
        turns.append(evidence.is_suspects_turn)
        _own(evidence, f"new {number}", is_probe=True)

    assert turns == [False, False, False, True, False, True]
    evidence.answered("new 0")
    assert not evidence.is_suspects_turn
    _own(evidence, "new")
    assert evidence.is_suspects_turn, "it was throttled where the one before was answered"


def test_a_throttled_url_that_probes_in_turn_is_not_the_last_one() -> None:
    evidence = Evidence()
    for now in (1.0, 3.0, 5.0):
        _own(evidence, "a", good_at=now - 1, now=now)
    for number in range(3):
        _own(evidence, f"new {number}", good_at=4.0, now=6.0, is_probe=True)

    assert not _own(evidence, "a", good_at=4.0, now=7.0, is_probe=True)


def test_a_host_convicted_by_trials_has_fewer_of_them() -> None:
    evidence = Evidence()
    evidence.suspect("a", 0.0)

    found = []
    for _ in range(6):
        evidence.by_url.trials.doubt()
        found.append(0)
        while not evidence.by_url.has_questions:
            evidence.by_url.trials.pause()
            found[-1] += 1

    assert found == [1, 2, 3, 4, 4, 4]
    evidence.by_url.trials.doubt()
    evidence.by_url.accuse("a")
    assert evidence.by_url.has_questions


def test_a_url_is_tried_once_after_a_pause() -> None:
    evidence = _convicting("a")

    assert not evidence.by_url.is_question("a")
    evidence.by_url.trials.pause()
    assert evidence.by_url.is_question("a")
    evidence.answered("a")
    assert not evidence.by_url.is_question("a")


def test_throttled_urls_are_not_remembered_for_ever() -> None:
    evidence = _convicting("a", "b")

    for number in range(10_001):
        evidence.suspect(str(number), 0.0)

    assert not evidence.is_suspect("0")
    assert evidence.is_suspect("10000")
    assert not evidence.by_url.holds
