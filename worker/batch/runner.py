"""What a worker does with one message: the batch whose turn it is, and others while there is room.

A batch that comes to its end leaves a lane half empty: its last URLs are in flight, and the next message is still on
its way through Celery. So a runner prefetches: when it has room and a batch has been waiting longer than an idle worker
would let it wait, it claims that batch as well, of whichever job. A message means that a batch waits, not which: one
that is left over finds nothing to do, and costs a millisecond.

A few URLs that take long must not keep the reports of ever more batches waiting, nor the process idle: a batch is then
closed around its stragglers, which go on, undisturbed, as a batch of their own.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from contract.cluster.broker import UNREACHABLE
from contract.errors import MessageError, TrawlError
from contract.ledger.ports import Claiming
from contract.ledger.values import EDITION, Child, Claim
from contract.outage import Outage
from contract.records.batches import pack_entries
from contract.records.messages import BatchMessage
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.held_batch import HeldBatch, children_of, handed_off_of, line_of
from worker.batch.lease import Lease
from worker.batch.watchdog import Watchdog, end_process
from worker.engine.run import Run
from worker.events import (
    NOBODY,
    BatchClaimed,
    BatchClosed,
    BatchesProgressed,
    BatchInterrupted,
    BatchNotStarted,
    CloseDelayed,
    LeaseLost,
    Listener,
    TransfersInFlight,
)
from worker.log_context import about

_GLANCE = 0.2  # seconds between two looks at the signals a runner has to obey
_TELLING_PAUSE = 1.0  # seconds between two words about how it goes
_TOLD_FROM = 2.0  # seconds a batch has run: others are closed before anybody would look
_CLOSE_PAUSE = 0.5  # seconds between two attempts to close a batch while Redis is away
_CLOSE_PATIENCE = 8.0  # seconds a stopping worker goes on trying to close its batch

_UNWANTED = 0.1  # seconds a batch has waited when no idle worker is about to take it
_LOOK_PAUSE, _LONGEST_LOOK_PAUSE = _UNWANTED, 2.0  # seconds until a ledger with nothing to claim is looked at again
_MOST_HELD = 2  # times the largest batch (or the room): URLs without a report, all fetched again after a crash
_MOST_UNFINISHED = 40  # times the room: URLs in memory, where all that is fetched of them is reported
_LONGEST_SHIFT = 3000.0  # seconds after which nothing more is claimed ahead; a message is delivered again after 3,600


class Starts(Protocol):
    """Starts the run of a claimed batch; the downloader's side of the bargain."""

    def __call__(self, claim: Claim, *, may_publish: Callable[[], bool], wake: Callable[[], None]) -> Run:
        """``may_publish`` is asked before files get their names, ``wake`` called when there is room, and at the end."""


class BatchRunner:
    """Sees batches through, from claim to close."""

    def __init__(
        self,
        ledger: Claiming,
        *,
        worker: str,
        lease_seconds: float,
        drain: float,
        room: int,
        disk_backoff: DiskBackoff,
        starts: Starts,
        is_stopping: Callable[[], bool],
        send: Callable[[Sequence[BatchMessage]], None],
        look_at_hosts: Callable[[], None] = lambda: None,
        halted: Callable[[Collection[str]], Collection[str]] = lambda _jobs: (),
        listener: Listener = NOBODY,
        end: Callable[[str], None] = end_process,
    ) -> None:
        """``room`` is how many URLs can be in flight; with fewer left to fetch, the runner looks ahead.

        ``look_at_hosts`` is called several times a second; ``halted`` says, as often, which of these jobs were paused
        or cancelled; ``end`` is told why this process is stuck.
        """
        self._ledger = ledger
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._drain = drain
        self._room = room
        self._disk_backoff = disk_backoff
        self._starts = starts
        self._is_stopping = is_stopping
        self._send = send
        self._look_at_hosts = look_at_hosts
        self._halted = halted
        self._listener = listener
        self._end_process = end
        self._watchdog = Watchdog(end)
        self._excused = 0.0  # by the monotonic clock, when a Redis that was away came back: batches had to wait for it
        self._held: list[HeldBatch] = []
        self._change = threading.Event()
        self._began = self._told = time.monotonic()
        self._looks_from, self._look_pause = self._began, _LOOK_PAUSE
        self._drains = False
        self._flying = 0  # transfers, as the listener knows

    def work(self, claim: Claim) -> str:
        """Run the batch and what is claimed ahead of its message; return a line about the first, for the log."""
        with self._watchdog:
            return self._work(claim)

    def _work(self, claim: Claim) -> str:
        lines: list[str] = []
        try:
            self._begin(claim)
            while self._held:
                self._watchdog.look()
                self._change.wait(self._pause())
                self._change.clear()
                self._obey()
                self._let_go_what_is_due()
                # Before the reports: what is claimed now is fetched while they are written.
                self._look_ahead()
                ended = [batch for batch in self._held if batch.run.wait(0)]
                lines += [self._end(batch) for batch in ended]
                if ended:
                    self._look_ahead()
        except BaseException:
            for batch in self._held:
                batch.run.abandon()
                self._listener.notify(BatchInterrupted(batch.claim))
            raise
        finally:
            self._count_flying([])
        return lines[0] if len(lines) == 1 else f"{lines[0]} and {len(lines) - 1} batches ahead"

    def _begin(self, claim: Claim) -> None:
        self._look_at_hosts()
        lease = Lease(lambda: self._ledger.renew(claim), seconds=self._lease_seconds, gives_up=self._is_stopping)
        with about(claim.job, claim.batch):
            run = self._starts(claim, may_publish=lease.confirm, wake=self._change.set)
        self._held.append(HeldBatch(claim, lease, run))
        self._listener.notify(BatchClaimed(claim))

    def _obey(self) -> None:
        """Keep the leases, tell how it goes, and heed a worker told to stop."""
        self._look_at_hosts()
        for batch in self._held:
            batch.lease.keep()
            if batch.lease.is_lost:
                batch.run.abandon()
            if batch.run.unfinished and time.monotonic() - max(batch.began, self._excused) > batch.longest:
                self._excused = time.monotonic()
                with about(batch.claim.job, batch.claim.batch):
                    self._end_process(f"not over after {batch.longest:.0f} s: stuck.")
        self._heed_orders()
        if self._is_stopping() and not self._drains:
            self._drains = True
            for batch in self._held:
                batch.run.stop(within=self._drain)
        if time.monotonic() - self._told >= _TELLING_PAUSE:
            self._told = now = time.monotonic()
            self._count_flying(self._held)
            told = [batch for batch in self._held if now - batch.began >= _TOLD_FROM]
            if told:
                self._listener.notify(BatchesProgressed([(batch.claim, batch.snapshot()) for batch in told]))

    def _heed_orders(self) -> None:
        """Begin nothing more of a job that was paused or cancelled; what is in flight drains."""
        halted = self._halted({batch.claim.job for batch in self._held if not batch.is_halted})
        for batch in self._held:
            if batch.claim.job in halted and not batch.is_halted:
                batch.is_halted = True
                batch.run.stop(within=self._drain)

    def _let_go_what_is_due(self) -> None:
        """Let nothing that was handed back wait longer than it should for what its batch is still fetching."""
        now = time.monotonic()
        for batch in self._held:
            if batch.is_due and batch.may_part(now) and not (self._drains or batch.is_halted):
                self._close_around(batch)

    def _count_flying(self, batches: Sequence[HeldBatch]) -> None:
        flying = sum(batch.run.progress.waits.flying for batch in batches)
        self._listener.notify(TransfersInFlight(flying - self._flying))
        self._flying = flying

    # ------------------------------------------------------------------ looking ahead

    def _look_ahead(self) -> None:
        while self._has_room():
            if not self._holds_few():
                if not self._close_around_stragglers():
                    return
                continue
            claim = self._claim_ahead()
            if claim is None:
                self._looks_from = time.monotonic() + self._look_pause
                self._look_pause = min(self._look_pause * 2, _LONGEST_LOOK_PAUSE)
                return
            self._look_pause = _LOOK_PAUSE
            try:
                self._begin(claim)
            except TrawlError as error:  # the others of this runner may be of another job, and no fault of it
                self._listener.notify(BatchNotStarted(claim, str(error)))

    def _pause(self) -> float:
        """Seconds until the next look ahead, or at the signals; whatever changes ends them."""
        look = max(self._looks_from, self._began + _LOOK_PAUSE)  # before that nobody else's batch has waited enough
        until_look = look - time.monotonic()
        return min(_GLANCE, until_look) if until_look > 0 else _GLANCE

    def _has_room(self) -> bool:
        now = time.monotonic()
        return (
            bool(self._held)
            and self._looks_from <= now < self._began + _LONGEST_SHIFT
            and sum(batch.run.fetching for batch in self._held) < self._room
            and not self._is_stopping()
            and not self._disk_backoff.lasts
            and all(batch.run.stalled is None for batch in self._held)
        )

    def _holds_few(self) -> bool:
        """May another batch be taken, by what a crash would cost and by what lies in memory?"""
        unreported = sum(len(batch.run.outcomes) for batch in self._held)
        unfinished = sum(batch.run.unfinished for batch in self._held)
        largest = max(self._room, *(batch.claim.urls for batch in self._held))
        if unreported + unfinished < _MOST_HELD * largest:
            return True
        return unreported < largest and unfinished < max(_MOST_UNFINISHED * self._room, _MOST_HELD * largest)

    def _close_around_stragglers(self) -> bool:
        """Report what the batch has that has most to report, and go on with its other URLs; False: none is worth it."""
        now = time.monotonic()
        batch = max(
            (batch for batch in self._held if batch.may_part(now)),
            key=lambda batch: len(batch.run.outcomes),
            default=None,
        )
        return batch is not None and self._close_around(batch)

    def _close_around(self, batch: HeldBatch) -> bool:
        """Close a batch with what it has; its other URLs go on as one that is opened, and ours, in the same step.

        False: there is nothing to part it by, or it is no longer ours.
        """
        part = batch.run.part()
        if part is None:
            return False
        claim = batch.claim
        children = children_of(part.leftovers, parks=claim.edition == EDITION)
        kept = claim.kept(len(children) + 1, pack_entries(part.rest), len(part.rest))
        handed_off = [*(claim.child(number) for number, _ in enumerate(children, start=1)), kept.batch]
        report = batch.report(self._worker, part.outcomes, handed_off, busy=part.busy)

        def close() -> bool:
            return self._insist(lambda: self._ledger.close(claim, report, children, kept=kept), claim)

        if not batch.lease.move(close, lambda: self._ledger.renew(kept)):
            return False
        line = line_of(report, len(part.leftovers) + len(part.rest))
        urls = handed_off_of(part.leftovers, straggling=len(part.rest))
        self._listener.notify(BatchClosed(claim, report, urls, line, kept=kept.batch))
        self._listener.notify(BatchClaimed(kept))
        batch.go_on_as(kept)
        self._send_for(claim, children)
        return True

    def _claim_ahead(self) -> Claim | None:
        try:
            return self._ledger.claim_next(holder=self._worker, waited=_UNWANTED)
        except (*UNREACHABLE, MessageError):
            return None  # the batch's message will come, and with it whatever there is to say

    # ------------------------------------------------------------------ ending

    def _end(self, batch: HeldBatch) -> str:
        self._disk_backoff.note(batch.run.stalled, began=batch.began)
        if batch.run.short_of_space is not None:
            self._disk_backoff.note_waiting(batch.run.short_of_space)
        ended, opened = self._close(batch)
        self._held.remove(batch)
        self._listener.notify(ended)
        if isinstance(ended, BatchClosed):
            self._send_for(batch.claim, opened)
        return ended.line

    def _close(self, batch: HeldBatch) -> tuple[BatchClosed | LeaseLost, Sequence[Child]]:
        """Close a batch, unless it is no longer ours; return how it ended, and what was opened in its place."""
        claim, run = batch.claim, batch.run
        children = children_of(run.leftovers, parks=claim.edition == EDITION)
        handed_off = [claim.child(number) for number, _ in enumerate(children, start=1)]
        report = batch.report(self._worker, run.outcomes, handed_off, busy=run.busy)
        why = "" if run.stalled is None else f": {run.stalled}"
        if batch.lease.is_lost or not self._insist(lambda: self._ledger.close(claim, report, children), claim):
            return LeaseLost(claim, f"another worker took it over{why}"), ()
        line = line_of(report, len(run.leftovers)) + why
        return BatchClosed(claim, report, handed_off_of(run.leftovers), line, run.stalled), children

    def _send_for(self, claim: Claim, children: Sequence[Child]) -> None:
        """Send messages for what the close of a batch has put in line, or let be put there."""
        numbered = enumerate(children, start=1)
        ready = [claim.child(number) for number, child in numbered if child.after <= 0 and not child.hosts]
        if claim.is_owner:
            ready += self._gather(claim.job)
        if ready:
            with about(claim.job, claim.batch):
                self._send([BatchMessage(claim.job, batch) for batch in ready])

    def _gather(self, job: str) -> Sequence[str]:
        try:
            return self._ledger.gather(job)
        except UNREACHABLE:
            return ()  # the sweep does it

    def _insist(self, close: Callable[[], bool], claim: Claim) -> bool:
        """Close the batch however long Redis is away; a worker told to stop gives up after a while.

        Returns the answer of ``close``: False, the batch was no longer ours.

        Raises:
            UNREACHABLE: the worker was told to stop, and Redis is still away.
        """
        until, outage = math.inf, Outage()
        while True:
            self._watchdog.look()
            try:
                answer = close()
            except UNREACHABLE as error:
                if outage.begin():
                    self._listener.notify(CloseDelayed(claim, type(error).__name__))
                if self._is_stopping():
                    until = min(until, time.monotonic() + _CLOSE_PATIENCE)
                if time.monotonic() > until:
                    raise
                time.sleep(_CLOSE_PAUSE)
                continue
            if outage.end() is not None:  # the others waited for Redis as well
                self._excused = time.monotonic()
            return answer
