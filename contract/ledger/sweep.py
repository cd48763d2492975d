"""The sweep's own steps: what was lost wants a message again, what is worn is split."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract.errors import MessageError
from contract.ledger.keys import read_waiting_name
from contract.ledger.ledger import MOST_ATTEMPTS, Child, Claim, Ledger
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.messages import BatchMessage
from contract.records.reports import BatchReport

LOST_AFTER = 5.0  # seconds without a claim, on an empty queue, after which a message counts as lost
OVERTAKEN_AFTER = 30.0  # seconds since a later message was claimed, after which one counts as lost
SWEEP_PAUSE = 2.0  # seconds between two sweeps, whoever makes them
LONGEST_PAUSE = 5.0  # seconds between them while nothing can become overdue

_SWEPT_AT_ONCE = 200


@dataclass(slots=True)
class SweepFindings:
    """What one sweep did: batch ids sent again, split, and ended as poison, by job."""

    sent: dict[str, list[str]] = field(default_factory=dict)
    split: dict[str, list[str]] = field(default_factory=dict)
    poisoned: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sent or self.split or self.poisoned)


class Sweeper:
    """Sends again what was lost and splits what kills workers; of all sweepers one at a time."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        holder: str,
        waiting: Callable[[], int | None],
        send: Callable[[Sequence[BatchMessage]], None],
        poison: Callable[[Claim, BatchEntry], BatchReport],
        pause: float = SWEEP_PAUSE,
        lost_after: float = LOST_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``waiting`` tells how many messages the queue holds (None: the broker cannot tell); ``send`` sends messages
        of one job; ``poison`` makes the report of a batch whose only URL wore it out.
        """
        self._ledger = ledger
        self._holder = holder
        self._waiting = waiting
        self._send = send
        self._poison = poison
        self._pause = pause
        self._lost_after = lost_after
        self._clock = clock
        self._from = float("-inf")  # when it may be our turn, by the clock

    def sweep(self) -> SweepFindings:
        """Sweep all jobs, unless somebody did so a moment ago; costs nothing while that is known.

        Raises:
            redis.exceptions.RedisError, kombu.exceptions.OperationalError: a service is away; the next sweep goes on.
        """
        findings = SweepFindings()
        if self._clock() < self._from:
            return findings
        self._from = self._clock() + self._pause  # also when Redis does not answer
        milliseconds, *found = self._turn()
        self._from = self._clock() + max(0, milliseconds) / 1000
        if found:
            send, worn, may_be_lost = found
            self._see_to(send, worn, findings)
            if may_be_lost:
                self._see_to(*self._lost(), findings)
        return findings

    def _turn(self) -> Any:
        ledger, keys = self._ledger, self._ledger.keys
        longest = max(self._pause, min(LONGEST_PAUSE, ledger.lease / 4))
        silence = max(3 * self._pause, ledger.lease / 2)
        pauses = [max(1, int(seconds * 1000)) for seconds in (self._pause, longest, silence)]
        limits = [MOST_ATTEMPTS, _SWEPT_AT_ONCE, ledger.keep, self._lost_after]
        shared = [keys.active, keys.sweeping, keys.watched, keys.sent, keys.overdue, keys.ahead]
        return ledger.run("sweep", shared, [keys.of_jobs, *pauses, *limits])

    def _lost(self) -> tuple[list[bytes], list[bytes]]:
        keys, depth = self._ledger.keys, self._waiting()
        limits = [-1 if depth is None else depth, self._lost_after, OVERTAKEN_AFTER, MOST_ATTEMPTS, _SWEPT_AT_ONCE]
        send, worn = self._ledger.run("lost", [keys.taken, keys.sent, keys.overdue], [keys.of_jobs, *limits])
        return send, worn

    def _see_to(self, send: Sequence[bytes], worn: Sequence[bytes], findings: SweepFindings) -> None:
        messages: dict[str, list[BatchMessage]] = {}
        for message in map(read_waiting_name, send):
            messages.setdefault(message.job, []).append(message)
        for job, of_job in messages.items():
            findings.sent.setdefault(job, []).extend(message.batch for message in of_job)
            self._send(of_job)
        for message in map(read_waiting_name, worn):
            self._relieve(message, findings)

    def _relieve(self, message: BatchMessage, findings: SweepFindings) -> None:
        """Split a worn batch in halves, each with two attempts left; end it by name when it is a single URL."""
        ledger, job, batch = self._ledger, message.job, message.batch
        claim = ledger.claim(job, batch, holder=self._holder, even_worn=True)
        if claim is None:
            return
        try:
            entries = unpack_entries(claim.payload)
        except MessageError:
            return  # of another version: a sweep that can read it will come; the others must not wait for it
        if len(entries) == 1:
            if ledger.close(claim, self._poison(claim, entries[0])):
                findings.poisoned.setdefault(job, []).append(batch)
            return
        middle = len(entries) // 2
        halves = [Child(pack_entries(half), len(half)) for half in (entries[:middle], entries[middle:])]
        now = ledger.now()
        report = BatchReport(
            job=job, batch=batch, worker=self._holder, pid=0, queued=claim.queued, started=now, finished=now,
            elapsed=0.0, busy=0.0, outcomes=(), handed_off=[claim.child(1), claim.child(2)],
        )  # fmt: skip
        if ledger.close(claim, report, halves, worn=MOST_ATTEMPTS - 2):
            findings.split.setdefault(job, []).append(batch)
