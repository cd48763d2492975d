"""What people change of a job that is on its way: it is paused, resumed or cancelled, or goes before others.

The state is in the job's record, and nothing of a job that has one is claimed. Workers that hold batches of it learn of
it within a second or so (``worker/batch/orders.py``), hand back what they have not begun, and close. What waits lies
aside: it is resumed from there or, once cancelled, ended there, by whichever command or sweep comes first.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from contract.errors import InputError, JobStateError, MessageError, UnknownJobError
from contract.ledger.keys import result_key
from contract.ledger.ledger import Ledger, pieces_of
from contract.ledger.values import Claim, JobState
from contract.records import wire
from contract.records.batches import BatchEntry
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from contract.urls.naming import output_name

MOST_PRIORITY = 9  # and as many below nought
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000.0

_MOVED_AT_ONCE = 500  # batches
_KEPT_AT_ONCE = 1_000  # reports
_SENT_AT_ONCE = 200  # messages; the sweep sends the others
_WITHDRAWN_AT_ONCE = 20  # batches: their URLs are in memory

_FINISHED = "finished"


def pause(ledger: Ledger, job: str, *, by: str = "") -> bool:
    """Have nothing more of a job claimed until it is resumed; False when it was paused already.

    ``by`` names the command that ends this pause when it goes on or is given again; without it ``resume`` does.

    Raises:
        UnknownJobError, JobStateError: there is no such job, or nothing of it is left to pause.
    """
    was, _ = _change(ledger, job, JobState.PAUSED, by)
    if was in (_FINISHED, JobState.CANCELLED):
        raise JobStateError(f"Job {job} is {was}: there is nothing left to pause.")
    _keep_reports(ledger, job, 0)
    return was != JobState.PAUSED


def resume(ledger: Ledger, job: str, *, by: str = "") -> bool:
    """End a pause; False when there is none, or where ``by`` is given and somebody else made it.

    Raises:
        UnknownJobError, JobStateError: there is no such job, or it was cancelled.
    """
    was, pauser = _change(ledger, job, JobState.RUNNING, by)
    if was == JobState.CANCELLED:
        raise JobStateError(f"Job {job} is cancelled: the command that began it begins another job for what is left.")
    is_ended = was == JobState.PAUSED and by in ("", pauser)
    if is_ended:
        _keep_reports(ledger, job, ledger.keep)
    return is_ended


def cancel(ledger: Ledger, job: str) -> bool:
    """Let nothing more of a job be fetched, for good; False when it was cancelled already.

    What waits is ended by ``settle``.

    Raises:
        UnknownJobError, JobStateError: there is no such job, or it is finished.
    """
    was, _ = _change(ledger, job, JobState.CANCELLED, "")
    if was == _FINISHED:
        raise JobStateError(f"Job {job} is finished: there is nothing left to cancel.")
    _keep_reports(ledger, job, ledger.keep)
    return was != JobState.CANCELLED


def missing_messages(ledger: Ledger) -> list[BatchMessage]:
    """Return messages for what was resumed, no more than the queue lacks, as far as that can be told from here."""
    missing = ledger.count_waiting() - ledger.count_messages()
    return ledger.longest_waiting(min(missing, _SENT_AT_ONCE)) if missing > 0 else []


def prioritize(ledger: Ledger, job: str, priority: int) -> None:
    """Let a job go before all of a lower priority, from the next claim on; jobs have 0.

    Raises:
        InputError: it is not between -9 and 9.
        UnknownJobError: there is no such job.
    """
    if not -MOST_PRIORITY <= priority <= MOST_PRIORITY:
        raise InputError(f"A priority is between -{MOST_PRIORITY} and {MOST_PRIORITY}, not {priority}.")
    keys = ledger.keys_of(job)
    shared = [keys.turns, keys.taken, keys.priorities]
    if not ledger.run("prioritize", [keys.job(job), *shared], [job, priority, ledger.keep]):
        raise UnknownJobError.of(job)


def weigh(ledger: Ledger, job: str, weight: float) -> None:
    """Give a job so many turns for each of one of weight 1, from the next claim on.

    Raises:
        InputError: it is not between 0.001 and 1,000.
        UnknownJobError: there is no such job.
    """
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:  # nor is nan
        raise InputError(f"A weight is between {LEAST_WEIGHT:g} and {MOST_WEIGHT:g}, not {weight:g}.")
    if not ledger.run("weigh", [ledger.keys_of(job).job(job)], [repr(weight)]):
        raise UnknownJobError.of(job)


def states_of(ledger: Ledger, jobs: Sequence[str]) -> dict[str, JobState]:
    """Return the states of jobs; one that is unknown counts as running. The ledger has then heard of all changes."""
    states: dict[str, JobState] = {}
    for keys in (ledger.earlier, ledger.keys):
        some = [job for job in jobs if ledger.keys_of(job) is keys]
        if some or keys is ledger.keys:
            changes, *found = ledger.run("states", [ledger.keys.taken], [keys.of_jobs, *some])
            ledger.changes.hear(changes)
            named = zip(some, found, strict=True)
            states |= {job: JobState((state or b"running").decode()) for job, state in named}
    return states


def state_of(ledger: Ledger, job: str) -> JobState:
    return states_of(ledger, [job])[job]


def settle(ledger: Ledger, job: str, *, holder: str, most: int = _WITHDRAWN_AT_ONCE) -> int:
    """Finish what a change began: move what waits where it belongs, and end some batches of a cancelled job.

    Returns the number of URLs that ended. Safe to call at any time, by anybody; a job that is unknown is left alone.
    """
    try:
        _move_all(ledger, job)
    except UnknownJobError:
        return 0
    return sum(_end(ledger, claim, holder) for claim in _withdrawn(ledger, job, holder, most))


def cancelled_report(job: str, batch: str, entries: Sequence[BatchEntry], *, worker: str, queued: float) -> BatchReport:
    """Return the report of a batch that was cancelled before anybody fetched it."""
    outcomes = [
        Outcome(
            url=entry.url,
            name=output_name(entry.url),
            ending=Ending.FAILED,
            error=ErrorClass.CANCELLED,
            detail="Its job was cancelled before it was fetched.",
            attempts=entry.attempts,
            worker=worker,
        )
        for entry in entries
    ]
    return BatchReport(
        job=job, batch=batch, worker=worker, pid=0, queued=queued, started=queued, finished=queued, elapsed=0.0,
        busy=0.0, outcomes=outcomes,
    )  # fmt: skip


# ---------------------------------------------------------------------- how


def _change(ledger: Ledger, job: str, wanted: JobState, by: str) -> tuple[str, str]:
    """Make the change, move what waits, and return what the job was before and who had paused it."""
    if ledger.keys_of(job) is ledger.earlier:
        raise JobStateError(f"Job {job} was begun by an earlier version, which knows no such change: it goes on.")
    was, pauser, moved = _control(ledger, job, wanted, by)
    if moved >= _MOVED_AT_ONCE:  # what was lost or handed off is moved beside them
        _move_all(ledger, job)
    return was, pauser


def _move_all(ledger: Ledger, job: str) -> None:
    while _control(ledger, job)[2] >= _MOVED_AT_ONCE:
        pass


def _control(ledger: Ledger, job: str, wanted: str = "", by: str = "") -> tuple[str, str, int]:
    keys = ledger.keys_of(job)
    shared = [keys.sent, keys.overdue, keys.turns, keys.taken, keys.priorities, keys.active]
    arguments = [job, wanted, by, _MOVED_AT_ONCE, ledger.keep]
    answer = ledger.run("control", [*keys.parts(job, "", "batches", "line", "aside"), *shared], arguments)
    if answer is None:
        raise UnknownJobError.of(job)
    return answer[0].decode(), answer[1].decode(), int(answer[2])


def _keep_reports(ledger: Ledger, job: str, seconds: int) -> None:
    seen, closed = 0, ledger.keys_of(job).job(job, "closed")
    arguments: list[Any] = [result_key(job, ""), seen, _KEPT_AT_ONCE, seconds]
    while (more := ledger.run("keep_reports", [closed], arguments)) == _KEPT_AT_ONCE:
        seen += more
        arguments[1] = seen


def _withdrawn(ledger: Ledger, job: str, holder: str, most: int) -> list[Claim]:
    """Take batches of a cancelled job that nobody holds."""
    keys = ledger.keys_of(job)
    parts = keys.parts(job, "", "batches", "payloads", "leases", "due", "aside", "parcels", "parked", "waits")
    answer = ledger.run("withdraw", parts, [f"{holder}/{secrets.token_hex(8)}-", ledger.lease, most])
    if answer is None:
        return []
    policy = JobPolicy.from_wire(wire.from_json(answer[0]))
    return [
        Claim(
            job,
            batch.decode(),
            token.decode(),
            payload,
            policy,
            float(queued),
            attempt,
            urls,
            edition=ledger.edition_of(keys),
            pieces=pieces_of(pieces),
        )
        for batch, token, queued, attempt, urls, payload, pieces in zip(
            *(answer[1][at::7] for at in range(7)), strict=True
        )
    ]


def _end(ledger: Ledger, claim: Claim, holder: str) -> int:
    try:
        entries = claim.entries()
    except MessageError:
        return 0  # of another version: somebody who can read it will come when this lease is over
    report = cancelled_report(claim.job, claim.batch, entries, worker=holder, queued=claim.queued)
    return len(entries) if ledger.close(claim, report) else 0
