"""What happens in a worker: a frozen event each, and listeners that are told of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from contract.ledger.health import Trouble
from contract.ledger.sweep import SweepFindings
from contract.ledger.values import Claim
from contract.records.reports import BatchReport
from contract.records.snapshots import ProgressSnapshot
from worker.log_context import about, about_the_worker, logger_of

logger = logger_of(__name__)


@dataclass(frozen=True, slots=True)
class BatchClaimed:
    """A batch is ours and has begun: claimed, or opened for the stragglers of one that was closed."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class BatchNotStarted:
    """A batch that was prefetched cannot be run here, for this reason; it is sent again when its lease ends."""

    claim: Claim
    reason: str


@dataclass(frozen=True, slots=True)
class BatchesProgressed:
    """Once a second: how far the batches of a runner are that it has had for a while."""

    snapshots: Sequence[tuple[Claim, ProgressSnapshot]]


@dataclass(frozen=True, slots=True)
class TransfersInFlight:
    """A runner has so many more transfers in flight than it said last; negative: fewer."""

    more: int


@dataclass(frozen=True, slots=True)
class CloseDelayed:
    """A batch is over and cannot be closed yet, because the ledger does not answer: the error's class."""

    claim: Claim
    error: str


@dataclass(frozen=True, slots=True)
class HandedOff:
    """How many URLs of a batch are another batch's since its close: by when they may run, and why."""

    at_once: int = 0
    later: int = 0
    straggling: int = 0


@dataclass(frozen=True, slots=True)
class BatchClosed:
    """A batch was closed with its report, whose outcomes are all there will be of it, and handed off what it left.

    ``line`` says how it went. ``stalled`` is why our disk took nothing, if it did not; ``kept`` the batch that its
    stragglers are now, which a ``BatchClaimed`` follows for.
    """

    claim: Claim
    report: BatchReport
    handed_off: HandedOff
    line: str
    stalled: str | None = None
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A batch is another worker's, or nobody's any more: nothing of it is reported by us."""

    claim: Claim
    line: str


@dataclass(frozen=True, slots=True)
class BatchInterrupted:
    """A batch ended with its task, before its end: it is sent again when its lease ends."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class WorkSuspended:
    """This worker, with all its processes, takes no work since its disk takes no files."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkResumed:
    """It takes work again."""


@dataclass(frozen=True, slots=True)
class TroubleSeen:
    """Every few seconds, in the main process: what the worker suffers from now; None: all is well."""

    trouble: Trouble | None


@dataclass(frozen=True, slots=True)
class LedgerSwept:
    """A sweep of ours went through the ledger, and may have found nothing."""

    findings: SweepFindings


@dataclass(frozen=True, slots=True)
class SweepsFailed:
    """The ledger can no longer be swept: the error's class. It is tried again."""

    error: str


@dataclass(frozen=True, slots=True)
class SweepsResumed:
    """It can be swept again."""


OfBatch = BatchClaimed | BatchNotStarted | CloseDelayed | BatchClosed | LeaseLost | BatchInterrupted
OfWorker = TransfersInFlight | WorkSuspended | WorkResumed | TroubleSeen | LedgerSwept | SweepsFailed | SweepsResumed
Event = OfBatch | BatchesProgressed | OfWorker


class Listener(Protocol):
    """Is told of everything that happens in one process of a worker."""

    def notify(self, event: Event) -> None:
        """Take note of what happened, on the thread of it and of any other: what takes long belongs on its own."""


class Listeners:
    """Tells several listeners, each in its turn; what one of them raises costs nothing but a line in the log."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = listeners
        self._failed: set[tuple[str, ...]] = set()

    def notify(self, event: Event) -> None:
        with _subject_of(event):
            for listener in self._listeners:
                try:
                    listener.notify(event)
                except Exception as error:
                    self._note(type(listener).__name__, type(event).__name__, type(error).__name__)

    def _note(self, *failure: str) -> None:
        """Log a failure, once: there may be one per second. Not its text, which may hold a URL."""
        if failure not in self._failed:
            self._failed.add(failure)
            logger.error("The listener %s fails at events %s (%s); this is logged once.", *failure)


NOBODY: Listener = Listeners()


def _subject_of(event: Event) -> AbstractContextManager[None]:
    return about(event.claim.job, event.claim.batch) if isinstance(event, OfBatch) else about_the_worker()
