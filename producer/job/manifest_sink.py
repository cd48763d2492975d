"""The sink of a command: writes outcomes to the manifest, and records that in the journal."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate

from contract.errors import MessageError
from contract.records.reports import StoredReport, read_stored
from producer import formatting
from producer.cluster.client import Retrying, Services
from producer.job.follower import Collected, Follower, LostJobError
from producer.job.kept_rows import KEPT, completed_row
from producer.job.live_progress import LiveProgress
from producer.job.plan import remember_rest
from producer.job.tally import Tally
from producer.storage.journal import Journal, KeptBatch
from producer.storage.manifest import Manifest, printable, stored_name
from producer.storage.stored import StoredRows

_WRITTEN_AT_ONCE = 4 * 1024 * 1024  # bytes of rows, or one report's
_TIMES_EVERY = 4 * 1024 * 1024  # bytes of new rows until times are recorded again; fewer if that doubles the rows


def following(
    job: str, *, journal: Journal, manifest: Manifest, services: Services, retrying: Retrying
) -> tuple[Follower, ManifestSink]:
    """Return the follower of a job, and the sink that writes its manifest."""
    sink = ManifestSink(job, journal=journal, manifest=manifest, services=services, retrying=retrying)
    return Follower(job, sink, services=services, retrying=retrying), sink


class ManifestSink:
    """Writes one job's outcomes into one manifest."""

    def __init__(
        self, job: str, *, journal: Journal, manifest: Manifest, services: Services, retrying: Retrying
    ) -> None:
        self._job = job
        self._journal = journal
        self._manifest = manifest
        self._services = services
        self._retrying = retrying
        self._written_at_once = _WRITTEN_AT_ONCE
        # Stored, because a container that resumes with its volume may have another host name.
        self.place = str(journal.fact("place") or f"{platform.node()}:{formatting.path(manifest.path)}")
        journal.note(place=self.place)
        remember_rest(journal)
        self.tally = self._recorded_tally()
        self.tally.begin_span()
        self.live = LiveProgress(self.tally)
        self.on_snapshot = self.live.add_snapshot

    @property
    def rows(self) -> int:
        return self.tally.rows

    def count_uncollected(self) -> int:
        return self._journal.count_uncollected()

    def collect(self, closed: Sequence[tuple[str, bytes | None]]) -> Collected:
        if not closed:
            return Collected()
        known = self._journal.known_among([batch for batch, _ in closed])
        again = self._journal.collected_among([batch for batch, _ in closed])
        gone = [batch for batch, blob in closed if blob is None and batch in known - again]
        gathered: list[str] = []
        rows = sum(self._write(reports) for reports in self._counting(closed, known, again, gathered))
        return Collected(rows, gathered, is_short=bool(gone))

    def _counting(
        self, closed: Sequence[tuple[str, bytes | None]], known: set[str], again: set[str], gathered: list[str]
    ) -> Iterator[list[StoredReport]]:
        """Yield the reports that count, without those of strangers, in groups of a bounded size.

        A batch opened in place of another is named by that one's report, which is collected first. If it is not, it
        comes from a later hand-off: Redis came back older than the known one, and the batch was handed off again in
        another way. The first hand-off counts; its batches are opened again from the journal. The same happens to
        batches closed together with one that is already collected or a stranger, because their rows cannot be told
        apart.

        ``again`` are already collected; ``gathered`` receives the names of all that were closed with another.
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
                again |= self._journal.collected_among(report.head.gathered)
            batches = _batches_of(report)
            if any(batch in again or ("." in batch and batch not in expected) for batch in batches):
                continue
            again.update(batches)
            expected.update(report.head.handed_off)
            reports.append(report)
            size += sum(map(len, report.rows))
            if size >= self._written_at_once:
                yield reports
                # A child that was closed already was collected with its parent.
                expected -= {batch for each in reports for batch in _batches_of(each)}
                reports, size = [], 0
        if reports:
            yield reports

    def _children_of(self, reports: list[StoredReport]) -> list[KeptBatch]:
        """Return the batches opened in place of these, with what the journal needs to open them again.

        A child that is closed already has no entries any more: its report is added to ``reports``, so that both are
        collected in one step and nothing depends on Redis in between.
        """
        ledger, job, through = self._services.ledger, self._job, self._retrying.call
        collected_with = {batch for report in reports for batch in _batches_of(report)}
        children: list[KeptBatch] = []
        for report in reports:  # grows during the loop
            named = [child for child in report.head.handed_off if child not in collected_with]
            named = [child for child in named if child not in self._journal.collected_among(named)]
            payloads = through(lambda named=named: ledger.payloads(job, named))  # type: ignore[misc]
            children += [
                KeptBatch(child, 0, payload) for child, payload in zip(named, payloads, strict=True) if payload
            ]
            closed = [child for child, payload in zip(named, payloads, strict=True) if not payload]
            blobs = through(lambda closed=closed: ledger.reports(job, closed))  # type: ignore[misc]
            if None in blobs:
                raise LostJobError(f"Redis no longer knows a batch that took over from {report.batch} of job {job}.")
            reports += [read_stored(blob) for blob in blobs if blob is not None]
            collected_with.update(closed)
        return children

    def _write(self, reports: list[StoredReport]) -> int:
        """Append the rows of reports, and of their children, and record that; return the number of rows."""
        children = self._children_of(reports)
        rows = self._completed([row for report in reports for row in report.rows])
        start = self._manifest.offset
        offset = self._manifest.append(rows) if rows else start
        for report in reports:
            self._count(report)
        starts = list(accumulate([len(row) + 1 for row in rows[:-1]], initial=start)) if rows else ()
        stored = StoredRows([stored_name(row) for row in rows], starts)
        collected = [batch for report in reports for batch in _batches_of(report)]
        facts = {"offset": offset, "tally": self.tally.to_record()}
        if offset - self._times_until >= min(_TIMES_EVERY, self._times_until):
            facts["times"] = {"until": offset, **self.tally.times_record()}
        self._journal.record_collected(collected, children, stored=stored, **facts)
        self.live.end(collected)
        return len(rows)

    @property
    def _times_until(self) -> int:
        """The offset of the first row whose times are not recorded."""
        times = self._journal.fact("times")
        return times["until"] if times else -_TIMES_EVERY

    def _recorded_tally(self) -> Tally:
        record = self._journal.fact("tally")
        if not record:
            return Tally()
        tally = Tally.from_record(record, self._journal.fact("times"))
        if self._times_until >= 0:
            with suppress(MessageError):  # the file was edited: other times are not worth giving up
                tally.add_times(list(self._manifest.rows(self._times_until)))
        return tally

    def _completed(self, rows: Sequence[bytes]) -> Sequence[bytes]:
        text = b"".join(rows)  # one search takes a fifth of what it takes row by row
        if KEPT not in text and printable(text) == text:
            return rows
        return [printable(row if KEPT not in row else completed_row(row, self._journal)) for row in rows]

    def _count(self, report: StoredReport) -> None:
        head, sums = report.head, report.sums
        if sums is None or self.tally.lacks_example(sums):
            self.tally.add_rows(report.rows)
        else:
            self.tally.add(sums)
        if head.elapsed or head.busy:  # run by a worker
            self.tally.add_batch(
                started=head.started, finished=head.finished, busy=head.busy, worker=head.worker, urls=len(report.rows)
            )


def _batches_of(report: StoredReport) -> Sequence[str]:
    """Return the names of the batches whose rows it has."""
    return report.batch, *report.head.gathered
