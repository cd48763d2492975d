"""Telling how a runner goes neither delays nor ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from contract.ledger.ledger import Ledger
from contract.records.snapshots import ProgressSnapshot
from tests.support.processes import await_condition
from worker.batch.progress import ProgressReporter

SEEN = [("job", ProgressSnapshot("1", {"ok": 2, "failed": 1}, 300)), ("job", ProgressSnapshot("2", {"ok": 1}, 100))]


class Events:
    """Celery's events over a broker that behaves as told."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send

    @contextmanager
    def default_dispatcher(self, hostname: str) -> Iterator[SimpleNamespace]:
        assert hostname == "worker@here"
        yield SimpleNamespace(send=self._send)


class Bench:
    """A teller whose neighbours do as they are told, at a time of its own."""

    def __init__(
        self, *, send: Callable[..., None] | None = None, tell: Callable[[str, ProgressSnapshot], None] | None = None
    ) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.snapshots: list[tuple[str, ProgressSnapshot]] = []
        self.now = 0.0
        app = SimpleNamespace(events=Events(send or self._send))
        ledger = SimpleNamespace(tell=tell or (lambda job, snapshot: self.snapshots.append((job, snapshot))))
        self.teller = ProgressReporter(
            cast("Celery", app), cast("Ledger", ledger), "worker@here", "job.1", clock=lambda: self.now
        )

    def tell(self, at: float) -> None:
        self.now = at
        self.teller(SEEN, 5)

    def join(self) -> None:
        assert self.teller._thread is not None
        self.teller._thread.join(60)
        assert not self.teller._thread.is_alive()

    def _send(self, kind: str, uuid: str, result: str, retry: bool) -> None:
        assert not retry
        self.events.append((kind, uuid, result))


def test_glimpses_are_told_each_time_and_an_event_now_and_then() -> None:
    bench = Bench()

    for second in range(1, 12):
        bench.tell(second)
        bench.join()

    assert bench.snapshots == SEEN * 11
    assert bench.events == [("task-progress", "job.1", "4/5 ok=3")] * 2


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


def test_neighbours_that_are_away_end_nothing() -> None:
    """Guards the ``except``: pytest makes an error of whatever a thread raises."""

    def fail_to_tell(*_: Any) -> None:
        raise redis.exceptions.ConnectionError("away")

    def fail_to_send(*_: Any, **__: Any) -> None:
        raise OperationalError("away")

    for bench in (Bench(tell=fail_to_tell), Bench(send=fail_to_send)):
        bench.tell(6.0)
        bench.join()
