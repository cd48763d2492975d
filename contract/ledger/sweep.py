"""The sweep: puts lost batches back in line, sends missing messages, and splits or ends batches that kill workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from celery import Celery

from contract.cluster.dispatch import queue_depth, send_batches
from contract.errors import MessageError
from contract.ledger.changing import MOST_ATTEMPTS
from contract.ledger.control import failed_outcome, settle
from contract.ledger.ports import Steering
from contract.ledger.values import EARLIER, EDITION, Child, Claim, Swept
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import ErrorClass
from contract.records.reports import BatchReport

LOST_AFTER = 5.0  # seconds a batch must have waited before its missing message counts as lost rather than on its way
SILENT_AFTER = 30.0  # seconds without a claim after which messages are sent again, if the broker cannot count them
SWEEP_PAUSE = 2.0  # seconds between two attempts of one process; sweeps are at least a quarter of it apart
LONGEST_PAUSE = 5.0  # seconds between sweeps while nothing can become overdue

_SWEPT_AT_ONCE = 200


@dataclass(slots=True)
class SweepFindings:
    """The batches that one sweep put back in line, split, and ended as poison: ids by job.

    ``sent`` counts messages, ``cancelled`` the URLs of cancelled jobs that it ended.
    """

    again: dict[str, list[str]] = field(default_factory=dict)
    split: dict[str, list[str]] = field(default_factory=dict)
    poisoned: dict[str, list[str]] = field(default_factory=dict)
    sent: int = 0
    cancelled: int = 0


class Sweeper:
    """Sweeps the batches of all jobs. Of all sweepers of a cluster, the ledger lets one work at a time."""

    def __init__(
        self,
        ledger: Steering,
        *,
        holder: str,
        queue_depth: Callable[[], int | None],
        send: Callable[[Sequence[BatchMessage]], None],
        pause: float = SWEEP_PAUSE,
        lost_after: float = LOST_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``queue_depth`` counts the messages in the queue (None: the broker cannot tell), ``send`` sends some.

        ``pause`` and ``lost_after`` are in seconds; ``holder`` names this process in leases and reports.
        """
        self._ledger = ledger
        self._holder = holder
        self._queue_depth = queue_depth
        self._send = send
        self._pause = pause
        self._lost_after = lost_after
        self._clock = clock
        self._from = float("-inf")  # when to ask the ledger next, by the clock

    def sweep(self) -> SweepFindings:
        """Sweep all jobs, unless they were swept a moment ago; free of round trips while this process knows that.

        Raises:
            redis.exceptions.RedisError, kombu.exceptions.OperationalError: Redis or the broker is unreachable; the next
                sweep continues.
        """
        findings = SweepFindings()
        if self._clock() < self._from:
            return findings
        self._from = self._clock() + self._pause  # even if Redis does not answer
        swept = self._step(EDITION)
        # What is parked in the meantime may come due sooner than the ledger knew.
        self._from = self._clock() + min(swept.rest, self._pause)
        self._act_on(EDITION, swept, findings)
        if swept.has_others:
            self._act_on(EARLIER, self._step(EARLIER), findings)
        return findings

    def _step(self, edition: int) -> Swept:
        longest = max(self._pause, min(LONGEST_PAUSE, self._ledger.lease / 4))
        silence = max(3 * self._pause, self._ledger.lease / 2)
        return self._ledger.sweep(
            pause=self._pause, longest=longest, silence=silence, lost_after=self._lost_after, edition=edition
        )

    def _act_on(self, edition: int, swept: Swept, findings: SweepFindings) -> None:
        """Act on what was found in one edition."""
        if not swept.is_our_turn:
            return
        again = list(swept.again)
        for job in swept.ready:
            again += [BatchMessage(job, batch) for batch in self._ledger.gather(job)]
        for message in again:
            findings.again.setdefault(message.job, []).append(message.batch)
        if again or swept.have_waited:
            waiting = swept.waiting + len(again) - len(swept.again)
            missing = self._missing(edition, again, waiting, swept.have_waited)
            self._send(missing)
            findings.sent += len(missing)
        for worn in swept.worn:
            self._split_or_end(worn, findings)
        findings.cancelled += sum(settle(self._ledger, job, holder=self._holder) for job in swept.unsettled)

    def _missing(
        self, edition: int, again: Sequence[BatchMessage], waiting: int, have_waited: int
    ) -> Sequence[BatchMessage]:
        """Name batches for the messages that the queue lacks.

        A message is also missing for the moment between its delivery and the claim; so only batches count that have
        waited for a while, or that were put back just now.
        """
        depth = self._queue_depth()
        if depth is None:
            return [*again, *self._unclaimed(edition)]
        missing = min(waiting - depth, len(again) + have_waited, _SWEPT_AT_ONCE)
        if missing <= len(again):
            return again[: max(0, missing)]
        return self._ledger.longest_waiting(missing, edition=edition)

    def _unclaimed(self, edition: int) -> Sequence[BatchMessage]:
        """Name waiting batches if nothing was claimed for long: the best guess if messages cannot be counted."""
        if self._ledger.seconds_untaken(edition) < SILENT_AFTER:
            return []
        self._ledger.note_sent(edition)
        return self._ledger.longest_waiting(_SWEPT_AT_ONCE, waited=SILENT_AFTER, edition=edition)

    def _split_or_end(self, message: BatchMessage, findings: SweepFindings) -> None:
        """Split a worn batch in halves with two attempts left each; a single URL ends as poison."""
        ledger, job, batch = self._ledger, message.job, message.batch
        try:
            claim = ledger.claim(job, batch, holder=self._holder, even_worn=True)
            if claim is None:
                return
            entries = claim.entries()
        except MessageError:
            return  # written by another version, whose sweep can read it
        if len(entries) == 1:
            if ledger.close(claim, poison_report(claim, entries[0], worker=self._holder)):
                findings.poisoned.setdefault(job, []).append(batch)
            return
        middle = len(entries) // 2
        halves = [Child(pack_entries(half), len(half)) for half in (entries[:middle], entries[middle:])]
        handed_off = [claim.child(1), claim.child(2)]
        report = BatchReport.without_work(
            job, batch, worker=self._holder, at=ledger.now(), queued=claim.queued, handed_off=handed_off
        )
        if ledger.close(claim, report, halves, worn=MOST_ATTEMPTS - 2):
            findings.split.setdefault(job, []).append(batch)


def sweeper(ledger: Steering, app: Celery, *, queue: str, holder: str) -> Sweeper:
    """Return a sweeper that counts and sends messages through Celery."""

    def send(messages: Sequence[BatchMessage]) -> None:
        send_batches(app, messages, about=["(again)"] * len(messages))

    return Sweeper(ledger, holder=holder, queue_depth=lambda: queue_depth(app, queue), send=send)


def poison_report(claim: Claim, entry: BatchEntry, *, worker: str) -> BatchReport:
    """Return the report of a batch whose only URL has killed its workers."""
    outcome = failed_outcome(entry, ErrorClass.POISON, "The worker died each time this URL was tried.", worker=worker)
    return BatchReport.without_work(claim.job, claim.batch, worker=worker, at=claim.queued, outcomes=[outcome])
