"""Writes events to the worker's log."""

from __future__ import annotations

from contract.ledger.sweep import SweepFindings
from worker import events
from worker.log_context import logger_of

logger = logger_of(__name__)


class EventLog:
    """Logs a line for each event that people should know of."""

    def notify(self, event: events.Event) -> None:
        match event:
            case events.BatchClosed(line=line, kept=str(kept)):
                logger.info("%s; its stragglers continue as %s", line, kept)
            case events.BatchClosed(line=line) | events.LeaseLost(line=line):
                logger.info(line)
            case events.BatchNotStarted(reason=reason):
                logger.error("not started: %s", reason)
            case events.CloseDelayed(error=error):
                logger.warning("cannot be closed yet: %s.", error)
            case events.WorkSuspended(reason):
                logger.error("Not taking work: %s", reason)
            case events.WorkResumed():
                logger.warning("Taking work again.")
            case events.LedgerSwept(findings):
                _log_sweep(findings)
            case events.SweepsFailed(error):
                logger.warning("The ledger cannot be swept (%s); retrying.", error)
            case events.SweepsResumed():
                logger.warning("The ledger is swept again.")


def _log_sweep(findings: SweepFindings) -> None:
    for job, batches in findings.again.items():
        logger.info("Job %s: batches put back in line: %d.", job, len(batches))
    for job, batches in findings.split.items():
        logger.warning("Job %s: split batches that killed their workers: %s", job, ", ".join(batches))
    for job, batches in findings.poisoned.items():
        logger.error("Job %s: failed as poison: %s", job, ", ".join(batches))
