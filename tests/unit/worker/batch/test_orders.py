"""When a runner asks whether it may continue, and what happens if the ledger does not answer."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from contract.ledger.values import Changes, JobState
from worker.batch.orders import Orders


class Desk:
    """Where orders come from; ``asked`` is what was asked for."""

    def __init__(self, *, known: int = 7) -> None:
        self.seconds = 100.0
        self.asked: list[Sequence[str]] = []
        self.states: dict[str, JobState] = {}
        self.is_unreachable = False
        self.number = 7
        self.changes = Changes(7, 100.0)
        self.orders = Orders(self._states, self.changes, known=known, now=lambda: self.seconds)

    def _states(self, jobs: Sequence[str]) -> dict[str, JobState]:
        self.asked.append(jobs)
        if self.is_unreachable:
            raise redis.exceptions.ConnectionError
        self.hear()
        return {job: self.states.get(job, JobState.RUNNING) for job in jobs}

    def hear(self) -> None:
        """Some call is answered."""
        self.changes.number, self.changes.heard = self.number, self.seconds

    def halted(self, *jobs: str, after: float) -> list[str]:
        self.seconds += after
        return list(self.orders.halted(set(jobs)))


def test_states_are_queried_only_after_a_while_without_any_answer() -> None:
    desk = Desk()
    for _ in range(20):
        assert desk.halted("b", "a", after=0.25) == []
        desk.hear()
    assert desk.asked == []

    for _ in range(13):
        desk.halted("b", "a", after=0.25)

    assert desk.asked == [["a", "b"]] * 2


def test_a_change_reported_by_an_answer_is_queried_at_once() -> None:
    desk = Desk()
    desk.states, desk.number = {"a": JobState.PAUSED, "b": JobState.CANCELLED}, 8
    desk.hear()

    assert desk.halted("a", "b", "c", after=0.1) == ["a", "b"]
    desk.halted("c", after=0.1)

    assert len(desk.asked) == 1


def test_a_change_before_the_claims_answer_is_queried() -> None:
    """Guards ``known``: another runner of the process may have heard of the change first."""
    desk = Desk(known=6)
    desk.states = {"a": JobState.PAUSED}

    assert desk.halted("a", after=0.0) == ["a"]


def test_a_change_while_an_answer_is_on_its_way_is_queried() -> None:
    """Guards what is known after an answer: another runner of the process may hear of more before we see it."""
    desk = Desk()
    desk.number = 8
    assert desk.halted("a", after=2.0) == []
    desk.states = {"a": JobState.PAUSED}

    assert desk.halted("a", after=0.1) == ["a"]


def test_without_batches_nothing_is_queried() -> None:
    desk = Desk()

    assert desk.halted(after=5.0) == []

    assert desk.asked == []


def test_a_ledger_that_does_not_answer_is_asked_again_soon() -> None:
    desk = Desk()
    desk.states, desk.is_unreachable = {"a": JobState.PAUSED}, True
    assert desk.halted("a", after=2.0) == []
    desk.is_unreachable = False

    assert desk.halted("a", after=0.4) == []
    assert desk.halted("a", after=0.1) == ["a"]
