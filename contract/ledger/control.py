"""Changes to a running job: pause, resume, cancel, priority and weight.

A job's state is in its record, and no batch of a paused job is claimed. Workers that hold batches of it learn of the
change within about a second (``worker/batch/orders.py``), hand back what they have not begun, and close. Waiting
batches are put aside: they return when the job is resumed and, if it is cancelled, the next command or sweep ends them.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import InputError, JobStateError, MessageError, UnknownJobError
from contract.ledger.ports import Steering
from contract.ledger.values import FINISHED, Claim, JobState
from contract.records.batches import BatchEntry
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.reports import BatchReport
from contract.urls.naming import output_name

MOST_PRIORITY = 9  # the lowest is -9
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000.0

_SENT_AT_ONCE = 200  # messages; the sweep sends the others
_WITHDRAWN_AT_ONCE = 20  # batches: their URLs are in memory


def pause(ledger: Steering, job: str, *, by: str = "") -> bool:
    """Let no batch of a job be claimed until it is resumed; False if it was paused already.

    ``by`` names the command that ends this pause when it continues or is repeated; without it, ``trawl resume`` does.

    Raises:
        UnknownJobError, JobStateError: there is no such job, or nothing is left to pause.
    """
    was, _ = ledger.control(job, JobState.PAUSED, by=by)
    if was in (FINISHED, JobState.CANCELLED):
        raise JobStateError(f"Job {job} is {was}: there is nothing left to pause.")
    return was != JobState.PAUSED


def resume(ledger: Steering, job: str, *, by: str = "") -> bool:
    """End a pause; False if there is none, or if ``by`` is given and another command paused the job.

    Raises:
        UnknownJobError, JobStateError: there is no such job, or it was cancelled.
    """
    was, pauser = ledger.control(job, JobState.RUNNING, by=by)
    if was == JobState.CANCELLED:
        raise JobStateError(f"Job {job} is cancelled: run its command again to fetch what is left in a new job.")
    return was == JobState.PAUSED and by in ("", pauser)


def cancel(ledger: Steering, job: str) -> bool:
    """Stop fetching a job for good; False if it was cancelled already. ``settle`` ends its waiting batches.

    Raises:
        UnknownJobError, JobStateError: there is no such job, or it is finished.
    """
    was, _ = ledger.control(job, JobState.CANCELLED)
    if was == FINISHED:
        raise JobStateError(f"Job {job} is finished: there is nothing left to cancel.")
    return was != JobState.CANCELLED


def missing_messages(ledger: Steering) -> list[BatchMessage]:
    """Return messages for resumed batches: as many as the queue lacks, as far as the ledger can count it."""
    missing = ledger.count_waiting() - ledger.count_messages()
    return ledger.longest_waiting(min(missing, _SENT_AT_ONCE)) if missing > 0 else []


def prioritize(ledger: Steering, job: str, priority: int) -> None:
    """Set a job's priority, from the next claim on: jobs of a higher one go first. The default is 0.

    Raises:
        InputError: the priority is not between -9 and 9.
        UnknownJobError: there is no such job.
    """
    if not -MOST_PRIORITY <= priority <= MOST_PRIORITY:
        raise InputError(f"A priority is between -{MOST_PRIORITY} and {MOST_PRIORITY}, not {priority}.")
    if not ledger.prioritize(job, priority):
        raise UnknownJobError.of(job)


def weigh(ledger: Steering, job: str, weight: float) -> None:
    """Set how many turns a job gets, from the next claim on, per turn of a job of weight 1.

    Raises:
        InputError: the weight is not between 0.001 and 1,000.
        UnknownJobError: there is no such job.
    """
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:  # this also rejects nan
        raise InputError(f"A weight is between {LEAST_WEIGHT:g} and {MOST_WEIGHT:g}, not {weight:g}.")
    if not ledger.weigh(job, weight):
        raise UnknownJobError.of(job)


def state_of(ledger: Steering, job: str) -> JobState:
    return ledger.states([job])[job]


def settle(ledger: Steering, job: str, *, holder: str) -> int:
    """Finish a change of state: move waiting batches, and end some batches of a cancelled job.

    Returns the number of URLs that ended; 0 if the job is unknown. Safe to call at any time, from any process.
    """
    try:
        ledger.move(job)
    except UnknownJobError:
        return 0
    return sum(_end(ledger, claim, holder) for claim in ledger.withdraw(job, holder=holder, most=_WITHDRAWN_AT_ONCE))


def cancelled_report(job: str, batch: str, entries: Sequence[BatchEntry], *, worker: str, queued: float) -> BatchReport:
    """Return the report of a batch that was cancelled before a worker fetched it; ``queued`` is in Unix seconds."""
    outcomes = [
        failed_outcome(entry, ErrorClass.CANCELLED, "Its job was cancelled before it was fetched.", worker=worker)
        for entry in entries
    ]
    return BatchReport.without_work(job, batch, worker=worker, at=queued, outcomes=outcomes)


def failed_outcome(entry: BatchEntry, error: ErrorClass, detail: str, *, worker: str) -> Outcome:
    """Return the outcome of a URL that ends without another attempt."""
    return Outcome(
        url=entry.url,
        name=output_name(entry.url),
        ending=Ending.FAILED,
        error=error,
        detail=detail,
        attempts=entry.attempts,
        worker=worker,
    )


# ---------------------------------------------------------------------- how


def _end(ledger: Steering, claim: Claim, holder: str) -> int:
    try:
        entries = claim.entries()
    except MessageError:
        return 0  # written by another version, which can end it once this lease is over
    report = cancelled_report(claim.job, claim.batch, entries, worker=holder, queued=claim.queued)
    return len(entries) if ledger.close(claim, report) else 0
