"""Counts events for Prometheus.

No label holds a URL, host or job.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from contract import metrics as known
from contract.ledger.health import Trouble
from contract.ledger.reasons import Reason
from contract.ledger.sweep import SweepFindings
from contract.records.outcomes import Ending, ErrorClass
from contract.records.reports import BatchReport
from worker import events

if TYPE_CHECKING:
    from prometheus_client import Counter as Count
    from prometheus_client import Gauge, Histogram

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Meter:
    """Counts the events of this process. Created before the fork; each process then writes files of its own."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is private to this worker. A process can create only one meter."""
        from prometheus_client import values

        os.environ[_FOLDER] = str(folder)
        # prometheus_client chooses the value class on import, and Celery's command line has imported it, with Flower.
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # untyped

        self._urls = _count(known.URLS)
        self._attempts = _count(known.ATTEMPTS)
        self._bytes = _count(known.STORED_BYTES)
        self._seconds = _histogram(known.URL_SECONDS)
        self._phases = _count(known.PHASE_SECONDS)
        self._batches = _count(known.BATCHES)
        self._batch_seconds = _histogram(known.BATCH_SECONDS)
        self._in_progress = _gauge(known.URLS_IN_PROGRESS)
        self._in_flight = _gauge(known.TRANSFERS_IN_FLIGHT)
        self._trouble = _gauge(known.WORKER_TROUBLE)
        self._lost = _count(known.LEASES_LOST)
        self._handed_off = _count(known.HANDED_OFF)
        self._sent_again = _count(known.MESSAGES_SENT_AGAIN)
        self._put_back = _count(known.BATCHES_PUT_BACK)
        self._split = _count(known.BATCHES_SPLIT)

    def notify(self, event: events.Event) -> None:
        match event:
            case events.BatchClaimed(claim):
                self._in_progress.inc(claim.urls)
            case events.TransfersInFlight(more):
                self._in_flight.inc(more)
            case events.BatchClosed(claim, report, handed_off):
                self._in_progress.dec(claim.urls)
                self._hand_off(handed_off)
                self._report(report)
            case events.LeaseLost(claim):
                self._in_progress.dec(claim.urls)
                self._lost.inc()
            case events.BatchInterrupted(claim):
                self._in_progress.dec(claim.urls)
            case events.TroubleSeen(trouble):
                self._note_trouble(trouble)
            case events.LedgerSwept(findings):
                self._sweep(findings)

    def _report(self, report: BatchReport) -> None:
        endings = Counter((outcome.ending, outcome.error or "") for outcome in report.outcomes)
        for (ending, error), number in endings.items():
            self._urls.labels(ending, error).inc(number)
        self._attempts.inc(sum(len(outcome.attempts) for outcome in report.outcomes))
        self._bytes.inc(sum(outcome.bytes or 0 for outcome in report.outcomes if outcome.ending is Ending.OK))
        tried = [outcome.timing for outcome in report.outcomes if outcome.attempts]
        for timing in tried:
            self._seconds.observe(timing.total)
        for (phase,) in known.PHASE_SECONDS.series:
            self._phases.labels(phase).inc(sum(getattr(timing, phase) for timing in tried))
        self._batch_seconds.observe(report.elapsed)
        self._batches.inc()  # last: once it is visible, the rest is too

    def _hand_off(self, urls: events.HandedOff) -> None:
        for how, number in (("at-once", urls.at_once), ("later", urls.later), ("straggling", urls.straggling)):
            self._handed_off.labels(how).inc(number)

    def _sweep(self, findings: SweepFindings) -> None:
        self._sent_again.inc(findings.sent)
        self._put_back.inc(sum(map(len, findings.again.values())))
        self._split.inc(sum(map(len, findings.split.values())))
        poisoned = sum(map(len, findings.poisoned.values()))  # of one URL each
        self._urls.labels(Ending.FAILED, ErrorClass.POISON).inc(poisoned)
        self._urls.labels(Ending.FAILED, ErrorClass.CANCELLED).inc(findings.cancelled)

    def _note_trouble(self, trouble: Trouble | None) -> None:
        label = trouble.label if trouble is not None else None
        for each in Reason:
            self._trouble.labels(each).set(each is label)


def _count(metric: known.Metric) -> Count:
    from prometheus_client import Counter as Count

    made = Count(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=None)
    for values in metric.series:
        made.labels(*values)  # so that rates of what has not happened yet are 0, not absent
    return made


def _gauge(metric: known.Metric) -> Gauge:
    from prometheus_client import Gauge

    made = Gauge(metric.name, metric.help, metric.labels, registry=None, multiprocess_mode="livesum")
    for values in metric.series:
        made.labels(*values)
    return made


def _histogram(metric: known.Metric) -> Histogram:
    from prometheus_client import Histogram

    return Histogram(metric.name, metric.help, buckets=known.BUCKETS, registry=None)
