"""Telling how a runner goes neither delays nor ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import redis

from contract.ledger.ports import Ledger
from contract.ledger.values import Claim
from contract.records.policy import JobPolicy
from contract.records.snapshots import ProgressSnapshot
from tests.support.processes import await_condition
from worker.batch.events import BatchEvents
from worker.batch.progress import ProgressReporter


def a_claim(batch: str, urls: int) -> Claim:
    return Claim("job", batch, "token", b"", JobPolicy(), 1.0, 1, urls)


SEEN = [
    (a_claim("1", 5), ProgressSnapshot("1", {"ok": 2, "failed": 1}, 300)),
    (a_claim("2", 4), ProgressSnapshot("2", {"ok": 1}, 100)),
]


class Bench:
    """A reporter whose neighbours do as they are told, at a time of its own."""

    def __init__(self, *, tell: Callable[[str, ProgressSnapshot], None] | None = None) -> None:
        self.events: list[tuple[str, str]] = []
        self.snapshots: list[tuple[str, ProgressSnapshot]] = []
        self.now = 0.0
        ledger = SimpleNamespace(tell=tell or (lambda job, snapshot: self.snapshots.append((job, snapshot))))
        events = SimpleNamespace(tell=lambda claim, line: self.events.append((claim.batch, line)))
        self.reporter = ProgressReporter(cast("Ledger", ledger), cast("BatchEvents", events), clock=lambda: self.now)

    def tell(self, at: float) -> None:
        self.now = at
        self.reporter(SEEN)

    def join(self) -> None:
        assert self.reporter._thread is not None
        self.reporter._thread.join(60)
        assert not self.reporter._thread.is_alive()


def test_snapshots_are_told_each_time_and_an_event_of_each_batch_now_and_then() -> None:
    bench = Bench()

    for second in range(1, 12):
        bench.tell(second)
        bench.join()

    assert bench.snapshots == [("job", snapshot) for _, snapshot in SEEN] * 11
    assert bench.events == [("1", "3/5 ok=2"), ("2", "1/4 ok=1")] * 2


def test_a_redis_that_hangs_holds_up_nobody_and_is_asked_once() -> None:
    """Guards the thread: leases are renewed by the one that tells."""
    go_on, asked = threading.Event(), threading.Semaphore(0)

    def hang(_job: str, _snapshot: ProgressSnapshot) -> None:
        asked.release()
        go_on.wait(300)

    bench = Bench(tell=hang)
    for second in range(1, 4):
        bench.tell(second)
    await_condition(lambda: asked.acquire(blocking=False), within=10, what="the question")
    was_asked_again = asked.acquire(blocking=False)
    go_on.set()
    bench.join()

    assert not was_asked_again


def test_a_redis_that_is_away_ends_nothing() -> None:
    """Guards the ``except``: pytest makes an error of whatever a thread raises."""

    def fail_to_tell(*_: Any) -> None:
        raise redis.exceptions.ConnectionError("away")

    bench = Bench(tell=fail_to_tell)
    bench.tell(6.0)
    bench.join()
