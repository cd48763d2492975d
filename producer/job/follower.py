"""Follows a job: collects closed batches into a sink, and deletes their reports from Redis."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.errors import FolderError, UnknownJobError
from contract.ledger.values import Drain, JobRecord
from producer.cluster.client import UNREACHABLE, Retrying, Services, explain

_COLLECTED_AT_ONCE = 40  # batches: bounds memory to some tens of thousands of rows
# Seconds between two collections, so that batches that close quickly are collected together; the shorter one if none
# of those that were open is left, or if there are as many as can be collected at once.
_SHORTEST_GATHERING, _LONGEST_GATHERING = 0.05, 0.5
_SHORTEST_LOOK, _LONGEST_LOOK = 2.0, 10.0  # seconds without a closed batch until the ledger is queried anyway
_SHORTEST_POLL, _LONGEST_POLL = 0.005, 0.1  # seconds between two checks if closed batches are not announced


class LostJobError(UnknownJobError):
    """Redis no longer has a job it had: it was emptied, or the job expired."""

    code = "lost-job"


@dataclass(frozen=True, slots=True)
class Collected:
    """How many rows came, which additional batches they belong to, and whether Redis had lost any."""

    rows: int = 0
    gathered: Sequence[str] = ()
    is_short: bool = False


class Sink(Protocol):
    """Where a job's outcomes go."""

    place: str  #: its name, as shown to others who try to collect the job

    @property
    def on_snapshot(self) -> Callable[[bytes], None] | None:
        """Where snapshots of open batches go; None: they are not needed."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it has, including those of earlier commands."""
        ...

    def collect(self, closed: Sequence[tuple[str, bytes | None]]) -> Collected:
        """Store reports for good: the next round trip deletes them from Redis. None: Redis has lost one."""
        ...

    def count_uncollected(self) -> int:
        """How many known batches of the job have no rows yet?"""
        ...


class Follower:
    """Follows one job into one sink.

    Each round trip deletes the reports of the last one and returns those closed since. One is made when a closed batch
    is announced, and otherwise less and less often while nothing is closed.
    """

    def __init__(
        self,
        job: str,
        sink: Sink,
        *,
        services: Services,
        retrying: Retrying,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._sink = sink
        self._services = services
        self._retrying = retrying
        self._clock = clock
        self._holder = f"follower@{platform.node()}/{os.getpid()}"
        self._channel = services.channel(job, sink.on_snapshot)
        self.record: JobRecord | None = None
        self.held_up = ""  # why Redis takes nothing, in half a sentence, although it answers
        self._safe: list[str] = []  # batches that the sink has, and whose reports Redis still has
        self._is_all_here = False
        self._announced = 0  # closings since the last round trip
        self._is_more = False
        self._asked, self._came = float("-inf"), clock()
        self._poll = _SHORTEST_POLL

    def step(self, *, at_once: bool = False) -> int:
        """Collect closed batches, if it is time to look; return the number of rows collected.

        With ``at_once`` it does not wait for announcements.

        Raises:
            FolderError: its outcomes are collected elsewhere.
            LostJobError: Redis no longer knows the job, or not all of it.
        """
        if not (at_once or self._is_due()):
            return 0
        self._announced, self._is_more = 0, False
        safe = self._safe
        drain = self._retrying.call(
            lambda: self._services.ledger.drain(self._job, self._sink.place, forget=safe, limit=_COLLECTED_AT_ONCE)
        )
        self._asked = self._clock()
        record = self.record = self._record_of(drain)
        assert drain is not None
        if not at_once and not self._channel.is_subscribed:
            self._announced += self._channel.subscribe()  # for batches closed in between
        self._safe = []
        if drain.is_swept:
            self.held_up = ""
        else:
            self._sweep()
        collected = self._sink.collect(drain.reports)
        self._safe = [*(batch for batch, _ in drain.reports), *collected.gathered]
        if collected.is_short:
            self._forget()
            raise LostJobError(f"Reports of job {self._job} are gone from Redis.")
        left = record.undrained - len(self._safe)
        self._is_more, self._is_all_here = left > 0 and bool(drain.reports), left == 0
        if drain.reports:
            self._came, self._poll = self._asked, _SHORTEST_POLL
        else:
            self._poll = min(self._poll * 1.5, _LONGEST_POLL)
        if self._sink.count_uncollected() > record.open + left:
            # After a failover to a replica, or a power cut: Redis came back slightly older.
            raise LostJobError(f"Redis lost batches of job {self._job}.")
        return collected.rows

    def wait(self, seconds: float) -> None:
        """Wait this long, or until there may be something to collect."""
        if self._is_more:
            return
        until = self._clock() + seconds
        if not self._announced:
            self._announced = self._channel.wait(seconds if self._channel.is_subscribed else min(seconds, self._poll))
        if self._announced and (left := min(until, self._gathers_until) - self._clock()) > 0:
            self._announced += self._channel.wait(left, self._enough - self._announced)

    def finish(self) -> None:
        """Delete the reports collected last."""
        while self._safe:
            self._forget()
        self.close()

    def close(self) -> None:
        """Stop listening for now; the next step deletes the reports collected last."""
        self._channel.close()

    @property
    def is_finished(self) -> bool:
        """As far as the ledger knows, is everything closed and collected?"""
        return self.record is not None and self.record.is_finished and self._is_all_here

    @property
    def is_untouched(self) -> bool:
        """Has no worker claimed a batch of this job yet, as far as is known?"""
        return self.record is not None and self.record.open > 0 and self.record.running == 0 and not self._sink.rows

    @property
    def totals(self) -> Mapping[str, int]:
        """The list's totals from the ledger; those of the batches opened so far if the producer is not done."""
        totals = self.record.totals if self.record else None
        return totals or {"lines": self._sink.rows, "duplicates": 0, "refused": 0, "urls": self._sink.rows}

    # ------------------------------------------------------------------ when to ask

    def _is_due(self) -> bool:
        if self._is_more:
            return True
        now = self._clock()
        if not self._announced and self._channel.is_subscribed:
            self._announced = self._channel.wait(0.0)
        if self._announced:
            return now >= self._gathers_until
        if not self._channel.is_subscribed:
            return now - self._asked >= self._poll
        # Announcements can be missed, and an emptied Redis sends none.
        return now - self._asked >= min(max((now - self._came) / 2, _SHORTEST_LOOK), _LONGEST_LOOK)

    @property
    def _gathers_until(self) -> float:
        return self._asked + (_SHORTEST_GATHERING if self._announced >= self._enough else _LONGEST_GATHERING)

    @property
    def _enough(self) -> int:
        """How many closings are worth a collection at once?"""
        return min(self.record.open, _COLLECTED_AT_ONCE) if self.record is not None else 1

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
        except UNREACHABLE as error:
            # The next check sweeps; a full Redis must not keep us from making room in it.
            self.held_up = explain(error).removesuffix(".")

    def _forget(self) -> None:
        safe, self._safe = self._safe, []
        ledger = self._services.ledger
        self._retrying.call(lambda: ledger.drain(self._job, self._sink.place, forget=safe, limit=0))
