"""A batch has a row in Flower under its own id, and so has trouble; sending them blocks nothing."""

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

from contract.ledger.health import Trouble
from contract.ledger.values import Claim
from contract.records.policy import JobPolicy
from contract.records.snapshots import ProgressSnapshot
from tests.support.clocked_ledger import report_of
from tests.support.processes import PATIENCE
from worker.events import (
    BatchClaimed,
    BatchClosed,
    BatchesProgressed,
    BatchInterrupted,
    Event,
    HandedOff,
    LeaseLost,
    TroubleSeen,
)
from worker.listeners import flower
from worker.listeners.flower import BatchRows, TroubleRow

CLAIM = Claim("job", "7", "token", b"", JobPolicy(), 1.0, 3, 5)


class Dispatcher:
    """Celery's events over a broker that behaves as scripted."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send

    @contextmanager
    def default_dispatcher(self, hostname: str) -> Iterator[SimpleNamespace]:
        assert hostname == "worker@here"
        yield SimpleNamespace(send=self._send)


def rows_over(send: Callable[..., None], *, clock: Callable[[], float] = lambda: 0.0) -> BatchRows:
    return BatchRows(cast("Celery", SimpleNamespace(events=Dispatcher(send))), "worker@here", clock=clock)


CLAIMED = BatchClaimed(CLAIM)
PROGRESSED = BatchesProgressed([(CLAIM, ProgressSnapshot("7", {"ok": 2, "failed": 1}, 300))])
CLOSED = BatchClosed(CLAIM, report_of(CLAIM, ["http://site.test/"]), HandedOff(), "ok=5")


class Shown:
    """What Celery's own book-keeping, which Flower shows, makes of what is sent, at a given time."""

    def __init__(self) -> None:
        self.state: Any = State()
        self.sent: list[str] = []
        self.now = 0.0

    def send(self, kind: str, *, retry: bool, **fields: object) -> None:
        assert not retry
        assert "pid" not in fields, "the dispatcher says that itself"
        self.sent.append(kind)
        count = len(self.sent)
        self.state.event({"type": kind, "hostname": "worker@here", "timestamp": count, "local_received": count,
                          "clock": count, "pid": 1, "utcoffset": 0, **fields})  # fmt: skip

    def after(self, *told: Event) -> Any:
        """Return the row of the batch when all this has happened, five seconds apart."""
        rows = rows_over(self.send, clock=lambda: self.now)
        for event in told:
            rows.notify(event)
            self.now += 5.0
        rows.flush(PATIENCE)
        return self.state.tasks["job.7"]


def test_a_batch_is_shown_from_its_claim_to_its_close() -> None:
    row = Shown().after(CLAIMED, PROGRESSED, CLOSED)

    assert (row.state, row.name, row.args) == ("SUCCESS", "trawlnet.batch", "job=job batch=7 urls=5")
    assert (row.result, row.runtime, row.retries) == ("ok=5", 1.0, 2)


def test_a_running_batch_stays_among_the_started_ones() -> None:
    """Guards how progress is sent: Celery makes a state of its own of an event that it does not know."""
    row = Shown().after(CLAIMED, PROGRESSED)

    assert (row.state, row.result) == ("STARTED", "3/5 ok=2")
    assert row.started == row.received, "when it began, not when it was told of"


def test_progress_is_sent_to_flower_now_and_then() -> None:
    """Guards the pause: Flower keeps every event."""
    shown = Shown()
    rows = rows_over(shown.send, clock=lambda: shown.now)
    rows.notify(CLAIMED)
    for _ in range(11):
        shown.now += 1.0
        rows.notify(PROGRESSED)
    rows.flush(PATIENCE)

    assert shown.sent.count("task-started") == 3


def test_nothing_is_sent_of_a_closed_batch() -> None:
    assert Shown().after(CLAIMED, CLOSED, PROGRESSED).result == "ok=5"


@pytest.mark.parametrize(
    ("event", "line"),
    [(LeaseLost(CLAIM, "another worker took it over"), "another worker took it over"),
     (BatchInterrupted(CLAIM), "interrupted")],
)  # fmt: skip
def test_a_lost_batch_is_not_a_success(event: Event, line: str) -> None:
    row = Shown().after(CLAIMED, event)

    assert (row.state, row.exception, row.result) == ("RETRY", line, line)


def test_a_batch_that_a_full_disk_handed_off_whole_is_a_failure() -> None:
    line = "5 handed off, 0 B in 0.1 s: The disk is full."
    handed_off = BatchClosed(CLAIM, report_of(CLAIM, []), HandedOff(later=5), line, stalled="The disk is full.")
    row = Shown().after(CLAIMED, handed_off)

    assert (row.state, row.exception, row.result) == ("FAILURE", line, line)


def test_a_hanging_broker_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the thread and the bound of its queue."""
    monkeypatch.setattr(flower, "_MOST_KEPT", 4)
    go_on, sent = threading.Event(), []

    def hang(kind: str, **_: Any) -> None:
        go_on.wait(PATIENCE)
        sent.append(kind)

    rows = rows_over(hang)
    for _ in range(20):
        rows.notify(CLAIMED)
    rows.flush(0.0)
    go_on.set()
    rows.flush(PATIENCE)

    assert 4 <= len(sent) <= 5


def test_an_unreachable_broker_ends_nothing() -> None:
    """Guards the ``except``: later events are sent."""
    sent = []

    def fail_once(kind: str, **_: Any) -> None:
        if kind == "task-received":
            raise OperationalError("away")
        sent.append(kind)

    rows = rows_over(fail_once)
    rows.notify(CLAIMED)
    rows.flush(PATIENCE)

    assert sent == ["task-started"]


def test_trouble_has_a_row_with_start_and_end_whatever_the_broker_missed() -> None:
    """Guards the second try: a row that never started cannot be ended."""
    sent: list[str] = []
    is_unreachable = [True]

    def send(kind: str, **_: Any) -> None:
        if is_unreachable[0]:
            raise OperationalError("away")
        sent.append(kind)

    row = TroubleRow(cast("Celery", SimpleNamespace(events=Dispatcher(send))), "worker@here")
    full, well = TroubleSeen(Trouble("The disk is full.")), TroubleSeen(None)
    row.notify(well)
    row.notify(full)
    is_unreachable[0] = False
    for event in (full, full, well, well):
        row.notify(event)

    assert sent == ["task-received", "task-started", "task-succeeded"]
