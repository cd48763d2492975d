"""The sweep: what was lost waits again, what waits has messages, what kills its workers ends by name."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from contract.cluster.dispatch import queue_depth, send_batches
from contract.ledger.ports import Steering
from contract.ledger.sweep import Sweeper
from contract.ledger.values import Claim
from contract.records.batches import BatchEntry
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.reports import BatchReport
from contract.urls.naming import output_name


def sweeper(ledger: Steering, app: Celery, *, queue: str, holder: str) -> Sweeper:
    """Return who sweeps every job's batches and sends the messages that this queue lacks."""

    def send(messages: Sequence[BatchMessage]) -> None:
        send_batches(app, messages, about="(again)")

    return Sweeper(
        ledger,
        holder=holder,
        queue_depth=lambda: queue_depth(app, queue),
        send=send,
        poison=lambda claim, entry: poison_report(claim, entry, worker=holder),
    )


def poison_report(claim: Claim, entry: BatchEntry, *, worker: str) -> BatchReport:
    """Return the report of a batch whose only URL wore it out."""
    outcome = Outcome(
        url=entry.url,
        name=output_name(entry.url),
        ending=Ending.FAILED,
        error=ErrorClass.POISON,
        detail="The worker died each time this URL was tried.",
        attempts=entry.attempts,
        worker=worker,
    )
    return BatchReport.without_work(claim.job, claim.batch, worker=worker, at=claim.queued, outcomes=[outcome])
