"""One batch from claim to close: run, watched over, reported, its rest handed off."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.batches import pack_entries
from contract.broker import AWAY
from contract.ledger import Child, Claim, Ledger
from contract.messages import BatchMessage, child_batch
from contract.reports import BatchReport
from worker.engine.run import Leftover, Run
from worker.lease import Lease

logger = logging.getLogger(__name__)

_GLANCE = 0.2  # seconds between two looks at the signals a run has to obey
_PROGRESS_PAUSE = 5.0  # seconds between two progress events
_CLOSE_PAUSE = 0.5  # seconds between two attempts to close a batch while Redis is away
_CLOSE_PATIENCE = 20.0  # seconds a stopping worker goes on trying to close its batch


class Starts(Protocol):
    """Starts the run of a claimed batch; the workshop's side of the bargain."""

    def __call__(self, claim: Claim, *, may_publish: Callable[[], bool]) -> Run: ...


@dataclass(frozen=True, slots=True)
class Shift:
    """Everything one task needs to see a claimed batch through."""

    ledger: Ledger
    claim: Claim
    worker: str
    lease_seconds: float
    drain: float
    starts: Starts
    is_stopping: Callable[[], bool]
    tell_progress: Callable[[str], None]
    send: Callable[[Sequence[BatchMessage]], None]

    def work(self) -> str:
        """Run the batch, store its report and close it; return a line about it for Flower and the log."""
        started = time.time()
        lease = Lease(lambda: self.ledger.renew(self.claim), seconds=self.lease_seconds, gives_up=self.is_stopping)
        run = self.starts(self.claim, may_publish=lease.confirm)
        try:
            self._watch(run, lease)
        except BaseException:
            run.abandon()
            raise
        if lease.is_lost:
            return f"batch {self.claim.batch}: another worker took it over"
        return self._close(run, started)

    def _watch(self, run: Run, lease: Lease) -> None:
        told = time.monotonic()
        stopped = False
        while not run.wait(_GLANCE):
            lease.keep()
            if lease.is_lost:
                run.abandon()
            if self.is_stopping() and not stopped:
                stopped = True
                run.stop(within=self.drain)
            if time.monotonic() - told >= _PROGRESS_PAUSE:
                told = time.monotonic()
                progress = run.progress
                self.tell_progress(f"{progress.done}/{progress.total} ok={progress.ok}")

    def _close(self, run: Run, started: float) -> str:
        outcomes, leftovers = run.outcomes, run.leftovers
        children = _children(leftovers)
        report = self._report([outcome.to_row() for outcome in outcomes], len(children), started, run.busy)
        if not self._insist(lambda: self.ledger.close(self.claim, report, children)):
            return f"batch {self.claim.batch}: somebody else closed it"
        ready = [number for number, child in enumerate(children, start=1) if child.after <= 0]
        if ready:
            self.send([BatchMessage(self.claim.job, child_batch(self.claim.batch, number)) for number in ready])
        return _line(report, len(leftovers))

    def _report(self, rows: list[dict[str, object]], children: int, started: float, busy: float) -> BatchReport:
        finished = time.time()
        return BatchReport(
            job=self.claim.job,
            batch=self.claim.batch,
            worker=self.worker,
            pid=os.getpid(),
            queued=self.claim.queued,
            started=started,
            finished=finished,
            elapsed=finished - started,
            busy=busy,
            outcomes=rows,
            handed_off=[child_batch(self.claim.batch, number) for number in range(1, children + 1)],
        )

    def _insist(self, close: Callable[[], bool]) -> bool:
        """Close the batch however long Redis is away; a worker told to stop gives up after a while."""
        gives_up: float | None = None
        told = False
        while True:
            try:
                return close()
            except AWAY as error:
                if gives_up is None and self.is_stopping():
                    gives_up = time.monotonic() + _CLOSE_PATIENCE
                if gives_up is not None and time.monotonic() > gives_up:
                    raise
                if not told:
                    logger.warning("Batch %s waits to be closed: %s.", self.claim.batch, type(error).__name__)
                    told = True
                time.sleep(_CLOSE_PAUSE)


def _children(leftovers: Sequence[Leftover]) -> list[Child]:
    """Open one batch for what may run at once and one for what has to wait (as long as its most patient URL)."""
    now = [leftover.entry for leftover in leftovers if leftover.after <= 0]
    later = [leftover for leftover in leftovers if leftover.after > 0]
    children = [Child(pack_entries(now), len(now))] if now else []
    if later:
        wait = max(leftover.after for leftover in later)
        children.append(Child(pack_entries(leftover.entry for leftover in later), len(later), wait))
    return children


def _line(report: BatchReport, handed_off: int) -> str:
    counts = " ".join(f"{ending}={count}" for ending, count in sorted(report.counts().items()))
    rest = f" handed-off={handed_off}" if handed_off else ""
    return f"{counts}{rest} {report.elapsed:.1f}s x{report.concurrency:.1f}".lstrip()
