"""Follows a job: drains closed batches into the manifest, notes that, and forgets them in Redis."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from contract.errors import FolderError, UnknownJobError
from contract.ledger.values import Drain, JobRecord
from contract.records.reports import StoredReport, read_stored
from producer import formatting
from producer.cluster.client import AWAY, Retrying, Services
from producer.job.kept_rows import KEPT, with_what_was_known
from producer.job.live_progress import LiveProgress
from producer.job.plan import remember_rest
from producer.job.tally import Tally
from producer.storage.journal import Journal, KeptBatch
from producer.storage.manifest import Manifest
from producer.storage.stored import StoredRows

_DRAINED_AT_ONCE = 40  # batches: bounds memory to some tens of thousands of rows
_WRITTEN_AT_ONCE = 16 * 1024 * 1024  # bytes of rows, or one report's
_GATHERED_FOR = 0.05  # seconds between two drains: of batches that close quickly some are taken together
_SHORTEST_LOOK, _LONGEST_LOOK = 2.0, 10.0  # seconds without a closing until the ledger is looked at all the same
_SHORTEST_POLL, _LONGEST_POLL = 0.005, 0.1  # seconds between two looks where no closing is told


class LostJobError(UnknownJobError):
    """Redis no longer has a job it had: it was emptied, or the job expired."""

    code = "lost-job"


class Follower:
    """Follows one job into one manifest.

    Each round trip forgets what the last one brought and brings what was closed since; one is made when a closing is
    told, and otherwise the more seldom, the longer nothing was closed.
    """

    def __init__(
        self,
        job: str,
        *,
        journal: Journal,
        manifest: Manifest,
        services: Services,
        retrying: Retrying,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        written_at_once: int = _WRITTEN_AT_ONCE,
    ) -> None:
        self._job = job
        self._journal = journal
        self._manifest = manifest
        self._services = services
        self._retrying = retrying
        self._clock = clock
        self._sleep = sleep
        self._written_at_once = written_at_once
        # Kept, because a container that goes on with its volume may have another host name.
        self._place = str(journal.fact("place") or f"{platform.node()}:{formatting.path(manifest.path)}")
        journal.note(place=self._place)
        remember_rest(journal)
        self._holder = f"follower@{platform.node()}/{os.getpid()}"
        tally = journal.fact("tally")
        self.tally = Tally.from_record(tally) if tally else Tally()
        self.tally.begin_span()
        self.live = LiveProgress(self.tally, clock=clock)
        self._channel = services.channel(job, self.live.take)
        self.record: JobRecord | None = None
        self._safe: list[str] = []  # batches whose rows are on disk, and whose reports Redis still has
        self._is_all_here = False
        self._has_rung = self._is_more = False
        self._asked, self._came = float("-inf"), clock()
        self._poll = _SHORTEST_POLL

    def step(self, *, at_once: bool = False) -> int:
        """Drain what is closed, when there is reason to look; return the number of rows that came.

        Raises:
            FolderError: its outcomes are collected elsewhere.
            LostJobError: Redis no longer knows the job, or not all of it.
        """
        if not (at_once or self._is_due()):
            return 0
        self._has_rung = self._is_more = False
        safe = self._safe
        drain = self._retrying.call(
            lambda: self._services.ledger.drain(self._job, self._place, forget=safe, limit=_DRAINED_AT_ONCE)
        )
        self._asked = self._clock()
        record = self.record = self._record_of(drain)
        assert drain is not None
        if not self._channel.is_subscribed:
            self._has_rung = self._channel.subscribe()  # for what was closed in between
        self._safe = []
        if not drain.is_swept:
            self._sweep()
        rows = self._drain(drain.reports)
        left = record.undrained - len(self._safe)
        self._is_more, self._is_all_here = left > 0 and bool(drain.reports), left == 0
        if drain.reports:
            self._came, self._poll = self._asked, _SHORTEST_POLL
        else:
            self._poll = min(self._poll * 1.5, _LONGEST_POLL)
        if self._journal.count_undrained() > record.open + left:
            # A failover to a replica, or a power cut: Redis came back a little older than it was.
            raise LostJobError(f"Redis lost batches of job {self._job}.")
        return rows

    def wait(self, seconds: float) -> None:
        """Wait so long, or until there may be something to drain."""
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
        self._channel.close()

    @property
    def is_finished(self) -> bool:
        """As far as the ledger tells: is everything closed, and drained by us?"""
        return self.record is not None and self.record.is_finished and self._is_all_here

    @property
    def is_untouched(self) -> bool:
        """Has no worker taken anything of this job yet, so far as we saw?"""
        return self.record is not None and self.record.open > 0 and self.record.running == 0 and not self.tally.rows

    @property
    def totals(self) -> Mapping[str, int]:
        """What the list held, by the ledger; all that was opened so far where the producer is not done."""
        totals = self.record.totals if self.record else None
        return totals or {"lines": self.tally.rows, "duplicates": 0, "refused": 0, "urls": self.tally.rows}

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

    # ------------------------------------------------------------------ draining

    def _drain(self, closed: Sequence[tuple[str, bytes | None]]) -> int:
        if not closed:
            return 0
        known = self._journal.known_among([batch for batch, _ in closed])
        again = self._journal.drained_among([batch for batch, _ in closed])
        gone = [batch for batch, blob in closed if blob is None and batch in known - again]
        gathered: list[str] = []
        rows = sum(self._write(reports) for reports in self._counting(closed, known, again, gathered))
        self._safe = [*(batch for batch, _ in closed), *gathered]
        if gone:
            self._forget()
            raise LostJobError(f"Reports of job {self._job} are gone from Redis.")
        return rows

    def _counting(
        self, closed: Sequence[tuple[str, bytes | None]], known: set[str], again: set[str], gathered: list[str]
    ) -> Iterator[list[StoredReport]]:
        """Yield the reports that count, not those of strangers, a few at a time: as many as make a bounded write.

        A batch opened in place of another is told by that one's report, which is drained before. One that was not is
        of a hand-off that came too late: Redis came back older than the hand-off we know of, and the batch was handed
        off again, in another way. The first one decides; its batches are opened again from the journal. So are those
        that were closed with one that is drained already, or is a stranger: whose row is whose cannot be told.

        ``again`` are drained already; ``gathered`` takes the names of all that were closed with another.
        """
        reports: list[StoredReport] = []
        size = 0
        expected = set(known)
        for _, blob in closed:
            if blob is None:
                continue
            report = read_stored(blob)
            if report.head.gathered:
                gathered += report.head.gathered
                expected |= self._journal.known_among(report.head.gathered)
                again |= self._journal.drained_among(report.head.gathered)
            batches = _batches_of(report)
            if any(batch in again or ("." in batch and batch not in expected) for batch in batches):
                continue
            again.update(batches)
            expected.update(report.head.handed_off)
            reports.append(report)
            size += sum(map(len, report.rows))
            if size >= self._written_at_once:
                yield reports
                # A child closed already was drained with its parent.
                expected -= {batch for each in reports for batch in _batches_of(each)}
                reports, size = [], 0
        if reports:
            yield reports

    def _children_of(self, reports: list[StoredReport]) -> list[KeptBatch]:
        """Return the batches opened in place of these, with what the journal needs to open them again one day.

        A child that is closed already has no entries any more: its report joins ``reports``, so that both are
        drained in one step and nothing hangs on Redis in between.
        """
        ledger, job, through = self._services.ledger, self._job, self._retrying.call
        drained_with = {batch for report in reports for batch in _batches_of(report)}
        children: list[KeptBatch] = []
        for report in reports:  # grows while we go through it
            named = [child for child in report.head.handed_off if child not in drained_with]
            named = [child for child in named if child not in self._journal.drained_among(named)]
            payloads = through(lambda named=named: ledger.payloads(job, named))  # type: ignore[misc]
            children += [
                KeptBatch(child, 0, payload) for child, payload in zip(named, payloads, strict=True) if payload
            ]
            closed = [child for child, payload in zip(named, payloads, strict=True) if not payload]
            blobs = through(lambda closed=closed: ledger.reports(job, closed))  # type: ignore[misc]
            if None in blobs:
                raise LostJobError(f"Redis no longer knows a batch that took over from {report.batch} of job {job}.")
            reports += [read_stored(blob) for blob in blobs if blob is not None]
            drained_with.update(closed)
        return children

    def _write(self, reports: list[StoredReport]) -> int:
        """Append the rows of reports, and of those that belong to them, and note that; return how many they were."""
        children = self._children_of(reports)
        rows = [
            row if KEPT not in row else with_what_was_known(row, self._journal)
            for report in reports
            for row in report.rows
        ]
        start = self._manifest.offset
        offset = self._manifest.append(rows) if rows else start
        for report in reports:
            self._count(report)
        names = self.tally.add_rows(rows)
        stored = StoredRows(names, list(accumulate([len(row) + 1 for row in rows[:-1]], initial=start)) if rows else ())
        drained = [batch for report in reports for batch in _batches_of(report)]
        self._journal.record_drained(drained, children, stored=stored, offset=offset, tally=self.tally.to_record())
        self.live.end(drained)
        return len(rows)

    def _count(self, report: StoredReport) -> None:
        head = report.head
        if head.elapsed or head.busy:  # a worker ran it
            self.tally.add_batch(
                started=head.started, finished=head.finished, busy=head.busy, worker=head.worker, urls=len(report.rows)
            )

    def _forget(self) -> None:
        safe, self._safe = self._safe, []
        ledger = self._services.ledger
        self._retrying.call(lambda: ledger.drain(self._job, self._place, forget=safe, limit=0))


def _batches_of(report: StoredReport) -> Sequence[str]:
    """Name the batches whose rows it has."""
    return report.batch, *report.head.gathered
