"""Follows a job: drains closed batches into the manifest, notes that, and forgets them in Redis."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence

from contract.errors import FolderError, UnknownJobError
from contract.ledger import JobRecord
from producer import words
from producer.client import AWAY, Patience, Services
from producer.drained import DrainedReport, read_report
from producer.journal import Journal, KeptBatch
from producer.manifest import Manifest
from producer.tally import Tally

_DRAINED_AT_ONCE = 40  # batches: bounds memory to some tens of thousands of rows
_LOOK_EVERY = 2.0  # seconds between two looks at the job and two offers to sweep


class LostJobError(UnknownJobError):
    """Redis no longer has a job it had: it was emptied, or the job expired."""

    code = "lost-job"


class Follower:
    """Follows one job into one manifest."""

    def __init__(
        self,
        job: str,
        *,
        journal: Journal,
        manifest: Manifest,
        services: Services,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._journal = journal
        self._manifest = manifest
        self._services = services
        self._patience = patience
        self._clock = clock
        self._looked = float("-inf")
        # Kept, because a container that goes on with its volume may have another host name.
        self._place = str(journal.fact("place") or f"{platform.node()}:{words.path(manifest.path)}")
        journal.note(place=self._place)
        self._is_ours = False
        self._holder = f"follower@{platform.node()}/{os.getpid()}"
        tally = journal.fact("tally")
        self.tally = Tally.from_record(tally) if tally else Tally()
        self.tally.begin_span()
        self.record: JobRecord | None = None

    def step(self) -> int:
        """Drain what is closed; return the number of rows that came. 0: nothing to do now."""
        if not self._is_ours:
            return 0
        closed = self._patience.through(lambda: self._services.ledger.closed(self._job, _DRAINED_AT_ONCE))
        return self._drain(closed) if closed else 0

    def look(self) -> None:
        """Every other second, see how the job stands and sweep.

        Raises:
            FolderError: its outcomes are collected elsewhere.
            LostJobError: Redis no longer knows the job.
        """
        now = self._clock()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        self.record = self._patience.through(lambda: self._services.ledger.job(self._job))
        if self.record is None:
            raise LostJobError(f"Redis no longer knows job {self._job}.")
        self._make_ours()
        if self._journal.count_undrained() > self.record.open + self.record.undrained:
            # A failover to a replica, or a power cut: Redis came back a little older than it was.
            raise LostJobError(f"Redis has lost batches of job {self._job}.")
        try:
            self._services.sweep(self._holder)
        except AWAY:
            pass  # the next look sweeps; a Redis without room must not keep us from making some

    def _make_ours(self) -> None:
        """Be the one who collects this job's outcomes.

        Raises:
            FolderError: somebody collects them elsewhere; each would get some of them.
        """
        try:
            place = self._services.ledger.collected_in(self._job, self._place)
        except AWAY:
            return  # nothing is drained before we know
        if place != self._place:
            raise FolderError(f"Job {self._job} is collected in {place}: follow it there, or enqueue the list again.")
        self._is_ours = True

    @property
    def is_finished(self) -> bool:
        """As far as the ledger tells: is everything closed, and drained by us?"""
        record = self.record
        return record is not None and record.is_finished and record.undrained == 0

    @property
    def is_untouched(self) -> bool:
        """Has no worker taken anything of this job yet, so far as we saw?"""
        return self.record is not None and self.record.open > 0 and self.record.running == 0 and not self.tally.rows

    @property
    def totals(self) -> Mapping[str, int]:
        """What the list held, by the ledger; all that was opened so far where the producer is not done."""
        totals = self.record.totals if self.record else None
        return totals or {"lines": self.tally.rows, "duplicates": 0, "refused": 0, "urls": self.tally.rows}

    def look_again(self) -> None:
        """Let the next ``look`` look at once."""
        self._looked = float("-inf")

    # ------------------------------------------------------------------ how

    def _drain(self, closed: Sequence[str]) -> int:
        ledger, job = self._services.ledger, self._job
        again = self._journal.drained_among(closed)
        reports, gone = self._read([batch for batch in closed if batch not in again])
        children = self._children_of(reports)
        rows = [row for report in reports for row in report.rows]
        if reports:
            self._write(reports, rows, children)
        done = [*again, *(report.batch for report in reports), *gone]
        self._patience.through(lambda: ledger.forget(job, done))
        if gone:
            raise LostJobError(f"Reports of job {job} are gone from Redis.")
        return len(rows)

    def _read(self, batches: Sequence[str]) -> tuple[list[DrainedReport], list[str]]:
        """Return the reports of closed batches, and the batches whose report Redis has lost."""
        blobs = self._patience.through(lambda: self._services.ledger.reports(self._job, batches))
        found = list(zip(batches, blobs, strict=True))
        gone = [batch for batch, blob in found if blob is None]
        return [read_report(blob) for _, blob in found if blob is not None], gone

    def _children_of(self, reports: list[DrainedReport]) -> list[KeptBatch]:
        """Return the batches opened in place of these, with what the journal needs to open them again one day.

        A child that is closed already has no entries any more: its report joins ``reports``, so that both are
        drained in one step and nothing hangs on Redis in between.
        """
        ledger, job = self._services.ledger, self._job
        drained_with = {report.batch for report in reports}
        children: list[KeptBatch] = []
        for report in reports:  # grows while we go through it
            for child in report.head.handed_off:
                if child in drained_with:
                    continue
                payload = self._patience.through(lambda child=child: ledger.payload(job, child))  # type: ignore[misc]
                if payload is not None:
                    children.append(KeptBatch(child, 0, payload))
                    continue
                drained_with.add(child)
                if self._journal.drained_among([child]):
                    continue
                more, gone = self._read([child])
                if gone:
                    raise LostJobError(f"Redis no longer knows batch {child} of job {job}.")
                reports += more
        return children

    def _write(self, reports: Sequence[DrainedReport], rows: Sequence[str], children: Sequence[KeptBatch]) -> None:
        offset = self._manifest.append(rows) if rows else self._manifest.offset
        for report in reports:
            self._count(report)
        self.tally.add_rows(rows)
        drained = [report.batch for report in reports]
        self._journal.record_drained(drained, children, offset=offset, tally=self.tally.to_record())

    def _count(self, report: DrainedReport) -> None:
        head = report.head
        if head.elapsed or head.busy:  # a worker ran it
            self.tally.add_batch(
                started=head.started, finished=head.finished, busy=head.busy, worker=head.worker, urls=len(report.rows)
            )
