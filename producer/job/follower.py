"""Follows a job: drains closed batches into a sink, and forgets them in Redis."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.errors import FolderError, UnknownJobError
from contract.ledger.values import Drain, JobRecord
from producer.cluster.client import AWAY, Retrying, Services

_DRAINED_AT_ONCE = 40  # batches: bounds memory to some tens of thousands of rows
_GATHERED_FOR = 0.05  # seconds between two drains: of batches that close quickly some are taken together
_SHORTEST_LOOK, _LONGEST_LOOK = 2.0, 10.0  # seconds without a closing until the ledger is looked at all the same
_SHORTEST_POLL, _LONGEST_POLL = 0.005, 0.1  # seconds between two looks where no closing is told


class LostJobError(UnknownJobError):
    """Redis no longer has a job it had: it was emptied, or the job expired."""

    code = "lost-job"


@dataclass(frozen=True, slots=True)
class Taken:
    """How many rows came, which more batches they are of than was said, and whether Redis had lost any."""

    rows: int = 0
    gathered: Sequence[str] = ()
    is_short: bool = False


class Sink(Protocol):
    """Where the outcomes of a job go."""

    place: str  #: its name for whoever wants them, too

    @property
    def told(self) -> Callable[[bytes], None] | None:
        """Take a snapshot of an open batch; None: of no use here."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it has, those of earlier commands among them."""
        ...

    def take(self, closed: Sequence[tuple[str, bytes | None]]) -> Taken:
        """Take reports for good: they are forgotten in Redis with the next round trip. None: it has lost one."""
        ...

    def count_undrained(self) -> int:
        """How many batches of the job does it know that it has no rows of?"""
        ...


class Follower:
    """Follows one job into one sink.

    Each round trip forgets what the last one brought and brings what was closed since; one is made when a closing is
    told, and otherwise the more seldom, the longer nothing was closed.
    """

    def __init__(
        self,
        job: str,
        sink: Sink,
        *,
        services: Services,
        retrying: Retrying,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._job = job
        self._sink = sink
        self._services = services
        self._retrying = retrying
        self._clock = clock
        self._sleep = sleep
        self._holder = f"follower@{platform.node()}/{os.getpid()}"
        self._channel = services.channel(job, sink.told)
        self.record: JobRecord | None = None
        self._safe: list[str] = []  # batches that the sink has, and whose reports Redis still has
        self._is_all_here = False
        self._has_rung = self._is_more = False
        self._asked, self._came = float("-inf"), clock()
        self._poll = _SHORTEST_POLL

    def step(self, *, at_once: bool = False) -> int:
        """Drain what is closed, when there is reason to look; return the number of rows that came.

        Whoever looks ``at_once`` has no need to be told of closings.

        Raises:
            FolderError: its outcomes are collected elsewhere.
            LostJobError: Redis no longer knows the job, or not all of it.
        """
        if not (at_once or self._is_due()):
            return 0
        self._has_rung = self._is_more = False
        safe = self._safe
        drain = self._retrying.call(
            lambda: self._services.ledger.drain(self._job, self._sink.place, forget=safe, limit=_DRAINED_AT_ONCE)
        )
        self._asked = self._clock()
        record = self.record = self._record_of(drain)
        assert drain is not None
        if not at_once and not self._channel.is_subscribed:
            self._has_rung = self._channel.subscribe()  # for what was closed in between
        self._safe = []
        if not drain.is_swept:
            self._sweep()
        taken = self._sink.take(drain.reports)
        self._safe = [*(batch for batch, _ in drain.reports), *taken.gathered]
        if taken.is_short:
            self._forget()
            raise LostJobError(f"Reports of job {self._job} are gone from Redis.")
        left = record.undrained - len(self._safe)
        self._is_more, self._is_all_here = left > 0 and bool(drain.reports), left == 0
        if drain.reports:
            self._came, self._poll = self._asked, _SHORTEST_POLL
        else:
            self._poll = min(self._poll * 1.5, _LONGEST_POLL)
        if self._sink.count_undrained() > record.open + left:
            # A failover to a replica, or a power cut: Redis came back a little older than it was.
            raise LostJobError(f"Redis lost batches of job {self._job}.")
        return taken.rows

    def wait(self, seconds: float) -> None:
        """Wait so long, or until there may be something to drain."""
        if self._is_more:
            return
        now = self._clock()
        if self._has_rung:
            self._sleep(max(0.0, min(seconds, self._asked + _GATHERED_FOR - now)))
        else:
            self._has_rung = self._channel.wait(
                min(seconds, self._poll) if not self._channel.is_subscribed else seconds
            )

    def finish(self) -> None:
        """Forget what was drained last."""
        while self._safe:
            self._forget()
        self.close()

    def close(self) -> None:
        """Listen no more, for now; what was drained last is forgotten with the next step."""
        self._channel.close()

    @property
    def is_finished(self) -> bool:
        """As far as the ledger tells: is everything closed, and drained by us?"""
        return self.record is not None and self.record.is_finished and self._is_all_here

    @property
    def is_untouched(self) -> bool:
        """Has no worker taken anything of this job yet, so far as we saw?"""
        return self.record is not None and self.record.open > 0 and self.record.running == 0 and not self._sink.rows

    @property
    def totals(self) -> Mapping[str, int]:
        """What the list held, by the ledger; all that was opened so far where the producer is not done."""
        totals = self.record.totals if self.record else None
        return totals or {"lines": self._sink.rows, "duplicates": 0, "refused": 0, "urls": self._sink.rows}

    # ------------------------------------------------------------------ when to ask

    def _is_due(self) -> bool:
        if self._is_more:
            return True
        now = self._clock()
        if not self._has_rung and self._channel.is_subscribed:
            self._has_rung = self._channel.wait(0.0)
        if self._has_rung:
            return now - self._asked >= _GATHERED_FOR
        if not self._channel.is_subscribed:
            return now - self._asked >= self._poll
        # What is told can be missed, and a Redis that was emptied tells nothing.
        return now - self._asked >= min(max((now - self._came) / 2, _SHORTEST_LOOK), _LONGEST_LOOK)

    def _record_of(self, drain: Drain | None) -> JobRecord:
        if drain is None:
            raise LostJobError(f"Redis no longer knows job {self._job}.")
        if drain.record is None:
            raise FolderError(
                f"Job {self._job} is already collected in {drain.place}: follow it there, or enqueue the list again."
            )
        return drain.record

    def _sweep(self) -> None:
        try:
            self._services.sweep(self._holder)
        except AWAY:
            pass  # the next look sweeps; a Redis without room must not keep us from making some

    def _forget(self) -> None:
        safe, self._safe = self._safe, []
        ledger = self._services.ledger
        self._retrying.call(lambda: ledger.drain(self._job, self._sink.place, forget=safe, limit=0))
