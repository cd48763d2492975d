"""The ledger's interfaces: one protocol per kind of caller.

``RedisLedger`` implements all of them; the in-memory ledger in tests/support passes the same tests. Every method may
raise ``redis.exceptions.RedisError`` if Redis is unreachable or out of memory, and may then be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from contract.ledger.memory import RedisMemory
from contract.ledger.values import (
    EDITION,
    Changes,
    Child,
    Claim,
    Drain,
    JobRecord,
    JobState,
    NewBatch,
    OpenBatches,
    Swept,
    Waiting,
)
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from contract.records.snapshots import ProgressSnapshot


class Looking(Protocol):
    """Queries that change nothing."""

    def now(self) -> float:
        """Return the ledger's clock in Unix seconds."""
        ...

    def job(self, job: str) -> JobRecord | None:
        """Return a job's record; None if the job is unknown."""
        ...

    def jobs(self) -> list[str]:
        """Return the ids of all known jobs, oldest first."""
        ...

    def open_batches(self, job: str) -> OpenBatches:
        """Return a job's open batches and their holders; an unknown job has none."""
        ...

    def waits(self, job: str, limit: int = 20) -> list[Waiting]:
        """Return up to ``limit`` paused hosts that URLs of a job wait for, ordered by the end of their pause."""
        ...

    def held(self, job: str, batches: Sequence[str]) -> set[str]:
        """Return the subset of these batches that workers hold now."""
        ...

    def count_waiting(self) -> int:
        """Return how many batches, of all jobs, wait for a worker."""
        ...

    def count_in_line(self, job: str) -> int:
        """Return how many batches of a job wait for their first claim, or are aside until it is resumed."""
        ...

    def count_messages(self) -> int:
        """Return the length of the queue if it is in the same Redis, else 0."""
        ...

    def longest_waiting(self, limit: int, *, waited: float = 0.0, edition: int = EDITION) -> list[BatchMessage]:
        """Return up to ``limit`` batches of all jobs that have waited ``waited`` seconds; the longest wait first."""
        ...

    def memory(self) -> RedisMemory:
        """Return Redis's memory use, limit and eviction policy."""
        ...


class Feeding(Looking, Protocol):
    """What a producer calls to send a list."""

    def create(self, job: str, policy: JobPolicy, *, label: str = "", secrets: bytes | None = None) -> bool:
        """Create a job; False if it exists, in which case nothing changes. ``secrets`` are packed credentials."""
        ...

    def open(self, job: str, batches: Iterable[NewBatch]) -> list[str]:
        """Write batches and return the ids of those that need a message; opening a batch again changes nothing.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
            CancelledJobError: the job is cancelled; nothing is opened.
        """
        ...

    def store(self, job: str, report: BatchReport, result: bytes | None = None) -> bool:
        """Store the report of a batch that needs no worker; False if the batch is open or was reported before.

        ``result`` is what its ``to_result`` returned, if that is there already.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        ...

    def seal(self, job: str, totals: Mapping[str, int]) -> None:
        """Record the totals of the list; after that, no more batches are opened.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        ...

    def remove(self, job: str) -> None:
        """Delete a job and everything stored for it, whatever its state."""
        ...


class Collecting(Looking, Protocol):
    """What a follower calls to collect a job's outcomes."""

    def drain(self, job: str, place: str, *, forget: Sequence[str] = (), limit: int = 40) -> Drain | None:
        """Delete the reports in ``forget`` and return the next ``limit`` ones; None if the job is unknown.

        ``place`` identifies the collector; only the first place that drains a job gets its reports.
        """
        ...

    def closed(self, job: str, limit: int = 500) -> list[str]:
        """Return the ids of closed batches whose reports still exist, in closing order."""
        ...

    def reports(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        """Return the stored reports, as ``BatchReport.from_result`` reads them; None for each that is missing."""
        ...

    def payloads(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        """Return the packed entries of open batches; None for each that is not open.

        Raises:
            UnknownJobError: Redis has lost the job, so a missing batch means nothing.
        """
        ...


class Claiming(Protocol):
    """What a worker calls."""

    changes: Changes  #: the number of state changes of jobs, as of the last answer

    def claim_next(self, *, holder: str, waited: float, message: BatchMessage | None = None) -> Claim | None:
        """Claim the next batch, of any job, that has waited for at least ``waited`` seconds; None if there is none.

        Raises:
            MessageError: all waiting batches are left to other workers: their version cannot be read here, or their
                digest not computed. Nothing is claimed.
        """
        ...

    def renew(self, claim: Claim) -> bool:
        """Renew the lease; False if the batch was taken away: then publish nothing more of it."""
        ...

    def close(
        self,
        claim: Claim,
        report: BatchReport,
        children: Sequence[Child] = (),
        *,
        worn: int = 0,
        kept: Claim | None = None,
    ) -> bool:
        """Store the report, close the batch and open its children in one atomic step; False if the lease was lost.

        ``worn`` is the number of attempts the children start with. ``kept`` is one more child, the last, which the
        caller holds already.
        """
        ...

    def gather(self, job: str) -> list[str]:
        """Turn a job's parked pieces that came due into batches; return the ids of those that wait for a worker."""
        ...

    def send_snapshot(self, job: str, snapshot: ProgressSnapshot) -> None:
        """Publish a batch's progress to the followers of its job; nothing is stored."""
        ...


class Steering(Looking, Claiming, Protocol):
    """The steps that ``contract/ledger/control.py`` and ``contract/ledger/sweep.py`` consist of."""

    lease: float  #: seconds until a lease that is not renewed ends

    def claim(self, job: str, batch: str, *, holder: str, even_worn: bool = False) -> Claim | None:
        """Claim one batch; None if it is closed, held, deferred, unknown, or worn and ``even_worn`` is False.

        Raises:
            MessageError: the batch has a version that this process cannot read; it is not claimed.
        """
        ...

    def control(self, job: str, wanted: JobState, *, by: str = "") -> tuple[str, str]:
        """Set a job's state and move its waiting batches; return its state before (or ``finished``) and its pauser.

        Raises:
            UnknownJobError: there is no such job.
            JobStateError: the job belongs to the first edition, which has no states.
        """
        ...

    def move(self, job: str) -> None:
        """Move a job's waiting batches to where its state requires: aside, or back in line.

        Raises:
            UnknownJobError: there is no such job.
        """
        ...

    def withdraw(self, job: str, *, holder: str, most: int) -> list[Claim]:
        """Claim up to ``most`` free batches of each kind of a cancelled job; none if the job is not cancelled."""
        ...

    def prioritize(self, job: str, priority: int) -> bool:
        """Set a job's priority, from the next claim on; False if the job is unknown."""
        ...

    def weigh(self, job: str, weight: float) -> bool:
        """Set how many turns a job gets per turn of a job of weight 1; False if the job is unknown."""
        ...

    def states(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """Return the states of jobs; an unknown job counts as running. Updates ``changes``."""
        ...

    def sweep(
        self, *, pause: float, longest: float, silence: float, lost_after: float, edition: int = EDITION
    ) -> Swept:
        """Put batches of all jobs back in line that lost their lease or came due, unless a sweep has just been done.

        All times are in seconds. The next sweep may follow after ``pause``, or after ``longest`` while nothing can
        become overdue. If no sweep happened for ``silence``, leases are given time instead of being ended. A message
        counts as lost if its batch has waited for ``lost_after``.
        """
        ...

    def seconds_untaken(self, edition: int = EDITION) -> float:
        """Return the seconds since the last claim, or since ``note_sent``."""
        ...

    def note_sent(self, edition: int = EDITION) -> None:
        """Note that messages were sent for waiting batches, for brokers that cannot count them."""
        ...


class Ledger(Feeding, Collecting, Steering, Protocol):
    """All of the above."""
