"""The sweep's own steps: what was lost waits again, what waits gets messages, what is worn is split."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from contract.errors import MessageError
from contract.ledger.changing import MOST_ATTEMPTS
from contract.ledger.control import settle
from contract.ledger.ports import Steering
from contract.ledger.values import EARLIER, EDITION, Child, Claim, Swept
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.reports import BatchReport

LOST_AFTER = 5.0  # seconds a batch has waited when a message that is missing counts as lost, and not as on its way
SILENT_AFTER = 30.0  # seconds without a claim after which messages nobody can count are thought lost
SWEEP_PAUSE = 2.0  # seconds between two looks whether it is our turn; two sweeps are a quarter of it apart at least
LONGEST_PAUSE = 5.0  # seconds between them while nothing can become overdue

_SWEPT_AT_ONCE = 200


@dataclass(slots=True)
class SweepFindings:
    """What one sweep did: batch ids put back in line, split, and ended as poison, by job.

    ``sent`` is how many messages it sent, ``cancelled`` how many URLs of cancelled jobs it ended.
    """

    again: dict[str, list[str]] = field(default_factory=dict)
    split: dict[str, list[str]] = field(default_factory=dict)
    poisoned: dict[str, list[str]] = field(default_factory=dict)
    sent: int = 0
    cancelled: int = 0


class Sweeper:
    """Puts back in line what was lost, sends messages that are missing, splits what kills; one sweeper at a time."""

    def __init__(
        self,
        ledger: Steering,
        *,
        holder: str,
        queue_depth: Callable[[], int | None],
        send: Callable[[Sequence[BatchMessage]], None],
        poison: Callable[[Claim, BatchEntry], BatchReport],
        pause: float = SWEEP_PAUSE,
        lost_after: float = LOST_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``queue_depth`` tells how many messages the queue holds (None: the broker cannot tell).

        ``send`` sends messages; ``poison`` makes the report of a batch whose only URL wore it out.
        """
        self._ledger = ledger
        self._holder = holder
        self._queue_depth = queue_depth
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
        swept = self._step(EDITION)
        # What is parked meanwhile may come due sooner than anybody knew.
        self._from = self._clock() + min(swept.rest, self._pause)
        self._see_to(EDITION, swept, findings)
        if swept.has_others:
            self._see_to(EARLIER, self._step(EARLIER), findings)
        return findings

    def _step(self, edition: int) -> Swept:
        longest = max(self._pause, min(LONGEST_PAUSE, self._ledger.lease / 4))
        silence = max(3 * self._pause, self._ledger.lease / 2)
        return self._ledger.sweep(
            pause=self._pause, longest=longest, silence=silence, lost_after=self._lost_after, edition=edition
        )

    def _see_to(self, edition: int, swept: Swept, findings: SweepFindings) -> None:
        """Send and split what was found in one edition."""
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
            self._relieve(worn, findings)
        findings.cancelled += sum(settle(self._ledger, job, holder=self._holder) for job in swept.unsettled)

    def _missing(
        self, edition: int, again: Sequence[BatchMessage], waiting: int, have_waited: int
    ) -> Sequence[BatchMessage]:
        """Name batches for the messages that the queue lacks.

        One that a worker has taken and not yet claimed with is missing too, for a moment: hence only what has waited
        for a while is counted, or waits again since now.
        """
        depth = self._queue_depth()
        if depth is None:
            return [*again, *self._unheard_of(edition)]
        missing = min(waiting - depth, len(again) + have_waited, _SWEPT_AT_ONCE)
        if missing <= len(again):
            return again[: max(0, missing)]
        others = [message for message in self._ledger.longest_waiting(missing, edition=edition) if message not in again]
        return [*again, *others][:missing]

    def _unheard_of(self, edition: int) -> Sequence[BatchMessage]:
        """Name what waits for a message, as far as can be told without counting messages: nothing is claimed at all."""
        if self._ledger.seconds_untaken(edition) < SILENT_AFTER:
            return []
        self._ledger.note_sent(edition)
        return self._ledger.longest_waiting(_SWEPT_AT_ONCE, waited=SILENT_AFTER, edition=edition)

    def _relieve(self, message: BatchMessage, findings: SweepFindings) -> None:
        """Split a worn batch in halves, each with two attempts left; end it by name when it is a single URL."""
        ledger, job, batch = self._ledger, message.job, message.batch
        try:
            claim = ledger.claim(job, batch, holder=self._holder, even_worn=True)
            if claim is None:
                return
            entries = claim.entries()
        except MessageError:
            return  # of another version: a sweep that can read it will come; the others must not wait for it
        if len(entries) == 1:
            if ledger.close(claim, self._poison(claim, entries[0])):
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
