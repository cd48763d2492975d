"""Processes one message: runs the next batch, and prefetches others while there is room.

The last URLs of a batch leave a lane half empty, while the next message is still on its way through Celery. So a runner
with room also claims a batch, of any job, that has waited longer than an idle worker would let it wait. A message says
that some batch waits, not which; one that is left over finds no batch and costs a millisecond.

A few slow URLs must neither delay the reports of more and more batches nor leave the process idle. So a batch can be
closed early with the outcomes it has; its stragglers stay in flight and continue as a batch of their own.
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

_POLL_INTERVAL = 0.2  # seconds between two checks of leases, orders and shutdown
_SNAPSHOT_INTERVAL = 1.0  # seconds between two progress snapshots
_SNAPSHOTS_FROM = 2.0  # seconds a batch must have run; shorter ones need no snapshots
_CLOSE_PAUSE = 0.5  # seconds between two attempts to close a batch while Redis is unreachable
_CLOSE_PATIENCE = 8.0  # seconds a stopping worker keeps trying to close a batch

_PREFETCH_AFTER = 0.1  # seconds a batch must have waited: an idle worker would have claimed it by then
_PREFETCH_PAUSE, _LONGEST_PREFETCH_PAUSE = (_PREFETCH_AFTER, 2.0)  # seconds between tries with nothing to claim
_MOST_HELD = 2  # times the largest batch (or the room): unreported URLs, which a crash would have fetched again
_MOST_UNFINISHED = 40  # times the room: unfinished URLs in memory, if few outcomes are unreported
_PREFETCHES_FOR = 3000.0  # seconds after which a runner prefetches no more; its message is redelivered after 3,600


class Starts(Protocol):
    """Starts the run of a claimed batch."""

    def __call__(self, claim: Claim, *, may_publish: Callable[[], bool], wake: Callable[[], None]) -> Run:
        """``may_publish`` is called before files are renamed; ``wake`` when there is room, and at the end."""


class BatchRunner:
    """Runs batches from claim to close."""

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
        """With fewer than ``room`` URLs left to fetch, the runner prefetches.

        ``look_at_hosts`` is called several times a second, and so is ``halted``, which returns those of the given jobs
        that were paused or cancelled. ``end`` is called with the reason if this process is stuck.
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
        self._excused = 0.0  # when Redis last came back, by the monotonic clock: batches had to wait for it
        self._held: list[HeldBatch] = []
        self._change = threading.Event()
        self._began = self._snapshots_sent = time.monotonic()
        self._prefetches_from, self._prefetch_pause = self._began, _PREFETCH_PAUSE
        self._is_draining = False
        self._flying = 0  # transfers, as last sent to the listener

    def work(self, claim: Claim) -> str:
        """Run the batch, and those prefetched meanwhile; return a line about the first for the log."""
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
                self._check_signals()
                self._hand_off_due()
                # Before the reports, so that the next batch is fetched while they are written.
                self._prefetch()
                ended = [batch for batch in self._held if batch.run.wait(0)]
                lines += [self._end(batch) for batch in ended]
                if ended:
                    self._prefetch()
        except BaseException:
            for batch in self._held:
                batch.run.abandon()
                self._listener.notify(BatchInterrupted(batch.claim))
            raise
        finally:
            self._count_flying([])
        return lines[0] if len(lines) == 1 else f"{lines[0]}; {len(lines) - 1} prefetched"

    def _begin(self, claim: Claim) -> None:
        self._look_at_hosts()
        lease = Lease(lambda: self._ledger.renew(claim), seconds=self._lease_seconds, is_stopping=self._is_stopping)
        with about(claim.job, claim.batch):
            run = self._starts(claim, may_publish=lease.confirm, wake=self._change.set)
        self._held.append(HeldBatch(claim, lease, run))
        self._listener.notify(BatchClaimed(claim))

    def _check_signals(self) -> None:
        """Renew leases, obey orders and the shutdown signal, send snapshots."""
        self._look_at_hosts()
        for batch in self._held:
            batch.lease.keep()
            if batch.lease.is_lost:
                batch.run.abandon()
            if batch.run.unfinished and time.monotonic() - max(batch.began, self._excused) > batch.longest:
                self._excused = time.monotonic()
                with about(batch.claim.job, batch.claim.batch):
                    self._end_process(f"not finished after {batch.longest:.0f} s: stuck.")
        self._stop_halted()
        if self._is_stopping() and not self._is_draining:
            self._is_draining = True
            for batch in self._held:
                batch.run.stop(within=self._drain)
        if time.monotonic() - self._snapshots_sent >= _SNAPSHOT_INTERVAL:
            self._snapshots_sent = now = time.monotonic()
            self._count_flying(self._held)
            shown = [batch for batch in self._held if now - batch.began >= _SNAPSHOTS_FROM]
            if shown:
                self._listener.notify(BatchesProgressed([(batch.claim, batch.snapshot()) for batch in shown]))

    def _stop_halted(self) -> None:
        """Start no more transfers of paused and cancelled jobs; those in flight drain."""
        halted = self._halted({batch.claim.job for batch in self._held if not batch.is_halted})
        for batch in self._held:
            if batch.claim.job in halted and not batch.is_halted:
                batch.is_halted = True
                batch.run.stop(within=self._drain)

    def _hand_off_due(self) -> None:
        """Close batches early whose leftovers are due, so that these need not wait for the other URLs."""
        now = time.monotonic()
        for batch in self._held:
            if batch.is_due and batch.may_part(now) and not (self._is_draining or batch.is_halted):
                self._close_early(batch)

    def _count_flying(self, batches: Sequence[HeldBatch]) -> None:
        flying = sum(batch.run.progress.waits.flying for batch in batches)
        self._listener.notify(TransfersInFlight(flying - self._flying))
        self._flying = flying

    # ------------------------------------------------------------------ prefetching

    def _prefetch(self) -> None:
        while self._has_room():
            if not self._holds_few():
                if not self._close_one_early():
                    return
                continue
            claim = self._claim_another()
            if claim is None:
                self._prefetches_from = time.monotonic() + self._prefetch_pause
                self._prefetch_pause = min(self._prefetch_pause * 2, _LONGEST_PREFETCH_PAUSE)
                return
            self._prefetch_pause = _PREFETCH_PAUSE
            try:
                self._begin(claim)
            except TrawlError as error:  # the fault of that job; the runner's other batches may belong to others
                self._listener.notify(BatchNotStarted(claim, str(error)))

    def _pause(self) -> float:
        """Return the seconds until the next prefetch or check of signals, whichever comes first."""
        first = max(self._prefetches_from, self._began + _PREFETCH_PAUSE)  # until then no batch has waited long enough
        until_prefetch = first - time.monotonic()
        return min(_POLL_INTERVAL, until_prefetch) if until_prefetch > 0 else _POLL_INTERVAL

    def _has_room(self) -> bool:
        now = time.monotonic()
        return (
            bool(self._held)
            and self._prefetches_from <= now < self._began + _PREFETCHES_FOR
            and sum(batch.run.fetching for batch in self._held) < self._room
            and not self._is_stopping()
            and not self._disk_backoff.lasts
            and all(batch.run.stalled is None for batch in self._held)
        )

    def _holds_few(self) -> bool:
        """May another batch be claimed, considering memory and what a crash would cost?"""
        unreported = sum(len(batch.run.outcomes) for batch in self._held)
        unfinished = sum(batch.run.unfinished for batch in self._held)
        largest = max(self._room, *(batch.claim.urls for batch in self._held))
        if unreported + unfinished < _MOST_HELD * largest:
            return True
        return unreported < largest and unfinished < max(_MOST_UNFINISHED * self._room, _MOST_HELD * largest)

    def _close_one_early(self) -> bool:
        """Close a batch early: one that only straggles, or the one with the most outcomes; False: none may be."""
        now = time.monotonic()
        batch = max(
            (batch for batch in self._held if batch.may_part(now)),
            key=lambda batch: (batch.run.is_straggling, len(batch.run.outcomes)),
            default=None,
        )
        return batch is not None and self._close_early(batch)

    def _close_early(self, batch: HeldBatch) -> bool:
        """Close a batch with its outcomes so far; the same step opens one, held by us, for its other URLs.

        False: no outcome can be reported yet, or the batch is no longer ours.
        """
        settled = batch.run.pop_settled()
        if settled is None:
            return False
        claim = batch.claim
        children = children_of(settled.leftovers, parks=claim.edition == EDITION)
        kept = claim.kept(len(children) + 1, pack_entries(settled.rest), len(settled.rest))
        handed_off = [*(claim.child(number) for number, _ in enumerate(children, start=1)), kept.batch]
        report = batch.report(self._worker, settled.outcomes, handed_off, busy=settled.busy)

        def close() -> bool:
            return self._close_patiently(lambda: self._ledger.close(claim, report, children, kept=kept), claim)

        if not batch.lease.move(close, lambda: self._ledger.renew(kept)):
            return False
        line = line_of(report, len(settled.leftovers) + len(settled.rest))
        urls = handed_off_of(settled.leftovers, straggling=len(settled.rest))
        self._listener.notify(BatchClosed(claim, report, urls, line, kept=kept.batch))
        self._listener.notify(BatchClaimed(kept))
        batch.continue_as(kept)
        self._send_for(claim, children)
        return True

    def _claim_another(self) -> Claim | None:
        try:
            return self._ledger.claim_next(holder=self._worker, waited=_PREFETCH_AFTER)
        except (*UNREACHABLE, MessageError):
            return None  # its message will come, and report the error

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
        """Close a batch, unless it is no longer ours; return the event and the batches opened for its leftovers."""
        claim, run = batch.claim, batch.run
        children = children_of(run.leftovers, parks=claim.edition == EDITION)
        handed_off = [claim.child(number) for number, _ in enumerate(children, start=1)]
        report = batch.report(self._worker, run.outcomes, handed_off, busy=run.busy)
        why = "" if run.stalled is None else f": {run.stalled}"
        if batch.lease.is_lost or not self._close_patiently(lambda: self._ledger.close(claim, report, children), claim):
            return LeaseLost(claim, f"another worker took it over{why}"), ()
        line = line_of(report, len(run.leftovers)) + why
        return BatchClosed(claim, report, handed_off_of(run.leftovers), line, run.stalled), children

    def _send_for(self, claim: Claim, children: Sequence[Child]) -> None:
        """Send messages for the batches that the close of a batch made claimable."""
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
            return ()  # the sweep will do it

    def _close_patiently(self, close: Callable[[], bool], claim: Claim) -> bool:
        """Retry ``close`` until Redis answers, a stopping worker for a limited time; return its answer.

        Raises:
            UNREACHABLE: the worker is stopping, and Redis is still unreachable.
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
            if outage.end() is not None:  # the other batches waited for Redis too
                self._excused = time.monotonic()
            return answer
