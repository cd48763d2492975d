"""A batch has a row in Flower under its own id, whichever message led to it; telling of it holds up nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import Celery
from celery.events.state import State
from kombu.exceptions import OperationalError

from contract.ledger.values import Claim
from contract.records.policy import JobPolicy
from worker.batch import events as events_module
from worker.batch.events import BatchEvents

CLAIM = Claim("job", "7", "token", b"", JobPolicy(), 1.0, 3, 5)


class Dispatcher:
    """Celery's events over a broker that behaves as told."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send

    @contextmanager
    def default_dispatcher(self, hostname: str) -> Iterator[SimpleNamespace]:
        assert hostname == "worker@here"
        yield SimpleNamespace(send=self._send)


def events_over(send: Callable[..., None]) -> BatchEvents:
    return BatchEvents(cast("Celery", SimpleNamespace(events=Dispatcher(send))), "worker@here")


def rows_of(act: Callable[[BatchEvents], None]) -> Any:
    """Return the tasks as Celery's own book-keeping, which Flower shows, has them in the end."""
    state: Any = State()
    count = 0

    def send(kind: str, *, retry: bool, **fields: object) -> None:
        nonlocal count
        assert not retry
        count += 1
        assert "pid" not in fields, "the dispatcher says that itself"
        state.event({"type": kind, "hostname": "worker@here", "timestamp": count, "local_received": count,
                     "clock": count, "pid": 1, "utcoffset": 0, **fields})  # fmt: skip

    events = events_over(send)
    act(events)
    events.flush(60)
    return state.tasks


def test_a_batch_is_shown_from_its_claim_to_its_close() -> None:
    def live(events: BatchEvents) -> None:
        events.begin(CLAIM)
        events.tell(CLAIM, "3/5 ok=3")
        events.close(CLAIM, "ok=5", seconds=2.5)

    row = rows_of(live)["job.7"]

    assert (row.state, row.name, row.args) == ("SUCCESS", "trawlnet.batch", "job=job batch=7 urls=5")
    assert (row.result, row.runtime, row.retries) == ("ok=5", 2.5, 2)


def test_a_batch_that_is_told_of_stays_among_those_that_are_started() -> None:
    """Guards how progress is told: Celery makes a state of its own of an event that it does not know."""

    def live(events: BatchEvents) -> None:
        events.begin(CLAIM)
        events.tell(CLAIM, "3/5 ok=3")

    row = rows_of(live)["job.7"]

    assert (row.state, row.result) == ("STARTED", "3/5 ok=3")
    assert row.started == row.received, "when it began, not when it was told of"


def test_nothing_is_told_of_a_batch_that_is_over() -> None:
    def live(events: BatchEvents) -> None:
        events.begin(CLAIM)
        events.close(CLAIM, "ok=5", seconds=2.5)
        events.tell(CLAIM, "3/5 ok=3")

    assert rows_of(live)["job.7"].result == "ok=5"


def test_a_batch_that_was_lost_is_no_success() -> None:
    def live(events: BatchEvents) -> None:
        events.begin(CLAIM)
        events.lose(CLAIM, "another worker took it over")

    row = rows_of(live)["job.7"]

    assert (row.state, row.exception) == ("RETRY", "another worker took it over")


def test_a_batch_that_a_full_disk_handed_off_whole_is_a_failure() -> None:
    def live(events: BatchEvents) -> None:
        events.begin(CLAIM)
        events.fail(CLAIM, "5 handed off | 0.0 MB in 0.1 s: The disk is full.")

    row = rows_of(live)["job.7"]

    assert (row.state, row.exception) == ("FAILURE", "5 handed off | 0.0 MB in 0.1 s: The disk is full.")


def test_a_broker_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the thread and the bound of what it has yet to send."""
    monkeypatch.setattr(events_module, "_MOST_KEPT", 4)
    go_on, sent = threading.Event(), []

    def hang(kind: str, **_: Any) -> None:
        go_on.wait(300)
        sent.append(kind)

    events = events_over(hang)
    events.begin(CLAIM)
    for _ in range(20):
        events.tell(CLAIM, "1/5 ok=1")
    events.flush(0.0)
    go_on.set()
    events.flush(60)

    assert 4 <= len(sent) <= 5


def test_a_broker_that_is_away_ends_nothing() -> None:
    """Guards the ``except``: those that follow are sent."""
    sent = []

    def fail_once(kind: str, **_: Any) -> None:
        if kind == "task-received":
            raise OperationalError("away")
        sent.append(kind)

    events = events_over(fail_once)
    events.begin(CLAIM)
    events.flush(60)

    assert sent == ["task-started"]
