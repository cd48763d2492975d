"""Snapshots of batches are published; that neither delays nor ends a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import redis

from contract.ledger.values import Claim
from contract.records.policy import JobPolicy
from contract.records.snapshots import ProgressSnapshot
from tests.support.processes import PATIENCE, await_condition
from worker.events import BatchesProgressed
from worker.listeners.snapshots import Snapshots


def a_claim(batch: str, urls: int) -> Claim:
    return Claim("job", batch, "token", b"", JobPolicy(), 1.0, 1, urls)


SEEN = [
    (a_claim("1", 5), ProgressSnapshot("1", {"ok": 2, "failed": 1}, 300)),
    (a_claim("2", 4), ProgressSnapshot("2", {"ok": 1}, 100)),
]


class Bench:
    """A listener over a Redis that behaves as scripted."""

    def __init__(self, *, publish: Callable[[str, ProgressSnapshot], None] | None = None) -> None:
        self.published: list[tuple[str, ProgressSnapshot]] = []
        self.listener = Snapshots(publish or (lambda job, snapshot: self.published.append((job, snapshot))))

    def notify(self) -> None:
        self.listener.notify(BatchesProgressed(SEEN))

    def join(self) -> None:
        thread = self.listener._thread
        if thread is not None:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_hanging_redis_blocks_nothing_and_gets_each_batchs_last_snapshot() -> None:
    """Guards the thread, since the notifying thread renews leases, and what is queued for it."""
    go_on, asked = threading.Event(), threading.Semaphore(0)
    published: list[str] = []

    def hang(_job: str, snapshot: ProgressSnapshot) -> None:
        asked.release()
        go_on.wait(PATIENCE)
        published.append(snapshot.batch)

    bench = Bench(publish=hang)
    bench.notify()
    await_condition(lambda: asked.acquire(blocking=False), within=10, what="the first")
    for _ in range(5):
        bench.notify()
    was_asked_again = asked.acquire(blocking=False)
    go_on.set()
    bench.join()

    assert not was_asked_again
    assert published == ["1", "2", "1"]


def test_an_unreachable_redis_ends_nothing() -> None:
    """Guards the ``except``: pytest turns any exception of a thread into an error."""

    def fail(*_: Any) -> None:
        raise redis.exceptions.ConnectionError("away")

    bench = Bench(publish=fail)
    bench.notify()
    bench.join()
