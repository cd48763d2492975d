"""The ledger as those see it who use it: each asks for the part it needs, so that a test can tell what that is.

``RedisLedger`` is the ledger; the one in memory, in tests/support, passes the same tests. Every method may raise
``redis.exceptions.RedisError`` when Redis cannot be reached or is out of memory, and may then be
repeated.
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
    Standing,
    Swept,
    Waiting,
)
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from contract.records.snapshots import ProgressSnapshot


class Looking(Protocol):
    """Changes nothing."""

    def now(self) -> float:
        """Return the ledger's clock in Unix seconds."""
        ...

    def job(self, job: str) -> JobRecord | None:
        """Return what is known of a job; None when nothing is."""
        ...

    def jobs(self) -> list[str]:
        """List the known jobs, oldest first."""
        ...

    def standing(self, job: str) -> Standing:
        """Return what is open of a job, and who holds what of it; of one that is unknown nothing is."""
        ...

    def waits(self, job: str, limit: int = 20) -> list[Waiting]:
        """Return the hosts that URLs of a job wait for, those that may be asked soonest first."""
        ...

    def held(self, job: str, batches: Sequence[str]) -> set[str]:
        """Return those of the batches that a worker holds now."""
        ...

    def count_waiting(self) -> int:
        """How many batches of all jobs wait for a worker?"""
        ...

    def count_messages(self) -> int:
        """How many messages lie in the queue, where that is in the same Redis? 0 elsewhere."""
        ...

    def longest_waiting(self, limit: int, *, waited: float = 0.0, edition: int = EDITION) -> list[BatchMessage]:
        """Return batches of all jobs that have waited for so many seconds, the longest-waiting first."""
        ...

    def memory(self) -> RedisMemory:
        """Return how full Redis is."""
        ...


class Feeding(Looking, Protocol):
    """What a producer makes of a list."""

    def create(self, job: str, policy: JobPolicy, *, label: str = "", secrets: bytes | None = None) -> bool:
        """Make a job known; False when it is already, and then nothing of it is changed."""
        ...

    def open(self, job: str, batches: Iterable[NewBatch]) -> list[str]:
        """Write batches and return those that want a message; opening one again changes nothing.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
            CancelledJobError: it was cancelled; nothing is opened.
        """
        ...

    def store(self, job: str, report: BatchReport) -> bool:
        """Store the report of a batch that needs no worker; False when it is open, or was stored before.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        ...

    def seal(self, job: str, totals: Mapping[str, int]) -> None:
        """Say that nothing more will be opened, and what the list held.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        ...

    def remove(self, job: str) -> None:
        """Forget a job and everything kept for it, whatever its state."""
        ...


class Collecting(Looking, Protocol):
    """What whoever collects the outcomes of a job asks for."""

    def drain(self, job: str, place: str, *, forget: Sequence[str] = (), limit: int = 40) -> Drain | None:
        """Forget reports that are safe elsewhere and hand over the next ones; None when the job is unknown.

        Only the first ``place`` that asked gets any.
        """
        ...

    def closed(self, job: str, limit: int = 500) -> list[str]:
        """List closed batches whose report is not forgotten, in the order they were closed."""
        ...

    def reports(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        """Return the stored reports, for ``BatchReport.from_result``; None where there is none."""
        ...

    def payloads(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        """Return the packed entries of open batches; None for each that is not open.

        Raises:
            UnknownJobError: Redis has lost the job, so that nothing follows from a batch not being there.
        """
        ...


class Claiming(Protocol):
    """What a worker asks for."""

    changes: Changes  #: how many changes of control there were, as far as the last answer told

    def claim_next(self, *, holder: str, waited: float, message: BatchMessage | None = None) -> Claim | None:
        """Take the lease of the batch, of any job, whose turn it is, if it has waited for at least ``waited`` seconds.

        Raises:
            MessageError: all that waits is of a version that cannot be read here; nothing is claimed.
        """
        ...

    def renew(self, claim: Claim) -> bool:
        """Hold the batch for another lease; False when it is no longer ours: publish nothing more of it."""
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
        """Store the report, close the batch and open its children, all or nothing; False when it is not ours.

        ``worn`` is the number of attempts the children start with; ``kept`` is one child more, the last, held already.
        """
        ...

    def gather(self, job: str) -> list[str]:
        """Put in line what waited for hosts that may be asked now; return the batches that wait for a worker then."""
        ...

    def send_snapshot(self, job: str, snapshot: ProgressSnapshot) -> None:
        """Show how far a batch is to whoever watches its job now; nothing of it is kept."""
        ...


class Steering(Looking, Claiming, Protocol):
    """What control and sweep are made of: ``contract/ledger/control.py`` and ``contract/ledger/sweep.py``."""

    lease: float  #: seconds a batch is held unless its lease is renewed

    def claim(self, job: str, batch: str, *, holder: str, even_worn: bool = False) -> Claim | None:
        """Take a batch's lease; None when it is closed, held, deferred, unknown, or worn where that is not asked for.

        Raises:
            MessageError: it is of a version that cannot be read here; it is not claimed.
        """
        ...

    def control(self, job: str, wanted: JobState, *, by: str = "") -> tuple[str, str]:
        """Give a job this state and move what waits; return what it was (or ``finished``) and who had paused it.

        Raises:
            UnknownJobError: there is no such job.
            JobStateError: it is of the first edition, which knows no such change.
        """
        ...

    def move(self, job: str) -> None:
        """Move what waits of a job where its state wants it: aside, or back in line.

        Raises:
            UnknownJobError: there is no such job.
        """
        ...

    def withdraw(self, job: str, *, holder: str, most: int) -> list[Claim]:
        """Take batches of a cancelled job that nobody holds, so many of each kind; none of any other job."""
        ...

    def prioritize(self, job: str, priority: int) -> bool:
        """Let a job go before all of a lower priority, from the next claim on; False when it is unknown."""
        ...

    def weigh(self, job: str, weight: float) -> bool:
        """Give a job so many turns for each of one of weight 1; False when it is unknown."""
        ...

    def states(self, jobs: Sequence[str]) -> dict[str, JobState]:
        """Return the states of jobs; one that is unknown counts as running. ``changes`` are then all heard of."""
        ...

    def sweep(
        self, *, pause: float, longest: float, silence: float, lost_after: float, edition: int = EDITION
    ) -> Swept:
        """Put back in line what lost its lease or has come due, of all jobs, unless it is nobody's turn to look.

        The next turn comes after ``pause`` seconds, or ``longest`` while nothing can become overdue; after a
        ``silence`` no lease ends. A message is thought lost when its batch has waited for ``lost_after`` seconds.
        """
        ...

    def seconds_untaken(self, edition: int = EDITION) -> float:
        """Return the seconds since a batch was claimed, or ``note_sent`` called."""
        ...

    def note_sent(self, edition: int = EDITION) -> None:
        """Note that messages were sent for what waits, where nobody can count them."""
        ...


class Ledger(Feeding, Collecting, Steering, Protocol):
    """All of it."""
