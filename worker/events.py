"""The events of a worker, as frozen values, and the listeners that receive them."""

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
    """A batch was claimed and its run started, or it was opened for the stragglers of a closed batch."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class BatchNotStarted:
    """A prefetched batch could not be started, for this reason; it is retried when its lease expires."""

    claim: Claim
    reason: str


@dataclass(frozen=True, slots=True)
class BatchesProgressed:
    """The progress of a runner's batches that are open for two seconds or more; once a second."""

    snapshots: Sequence[tuple[Claim, ProgressSnapshot]]


@dataclass(frozen=True, slots=True)
class TransfersInFlight:
    """The change in a runner's transfers in flight since the last such event; negative: fewer."""

    more: int


@dataclass(frozen=True, slots=True)
class CloseDelayed:
    """A finished batch cannot be closed yet, because the ledger is unreachable; ``error`` is the exception's class."""

    claim: Claim
    error: str


@dataclass(frozen=True, slots=True)
class HandedOff:
    """How many URLs a closed batch handed off: to run at once, later, or (stragglers) still running here."""

    at_once: int = 0
    later: int = 0
    straggling: int = 0


@dataclass(frozen=True, slots=True)
class BatchClosed:
    """A batch was closed with its report, and its unfinished URLs were handed off.

    ``line`` summarises it for the log. ``stalled`` is the reason if the disk accepted no files. ``kept`` is the batch
    that its stragglers continue as; a ``BatchClaimed`` for that one follows.
    """

    claim: Claim
    report: BatchReport
    handed_off: HandedOff
    line: str
    stalled: str | None = None
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A batch's lease expired or it was closed elsewhere; this worker reports nothing of it."""

    claim: Claim
    line: str


@dataclass(frozen=True, slots=True)
class BatchInterrupted:
    """A batch's task ended before the batch did; it is retried when its lease expires."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class WorkSuspended:
    """This worker, with all its processes, takes no work because its disk accepts no files."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkResumed:
    """This worker takes work again."""


@dataclass(frozen=True, slots=True)
class TroubleSeen:
    """The worker's trouble (None: there is none), every few seconds from the main process."""

    trouble: Trouble | None


@dataclass(frozen=True, slots=True)
class LedgerSwept:
    """This worker swept the ledger, perhaps without findings."""

    findings: SweepFindings


@dataclass(frozen=True, slots=True)
class SweepsFailed:
    """Sweeping the ledger began to fail; ``error`` is the exception's class. It will be retried."""

    error: str


@dataclass(frozen=True, slots=True)
class SweepsResumed:
    """Sweeping works again."""


OfBatch = BatchClaimed | BatchNotStarted | CloseDelayed | BatchClosed | LeaseLost | BatchInterrupted
OfWorker = TransfersInFlight | WorkSuspended | WorkResumed | TroubleSeen | LedgerSwept | SweepsFailed | SweepsResumed
Event = OfBatch | BatchesProgressed | OfWorker


class Listener(Protocol):
    """Receives all events of one worker process."""

    def notify(self, event: Event) -> None:
        """Handle an event. Called on any thread, and must not block: slow work needs a thread of its own."""


class Listeners:
    """Notifies several listeners in order; an exception of one is logged and does not reach the others."""

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
        """Log each kind of failure once: there may be one per second. Leave out the text, which may hold a URL."""
        if failure not in self._failed:
            self._failed.add(failure)
            logger.error("Listener %s fails on %s events (%s); this is logged once.", *failure)


NOBODY: Listener = Listeners()


def _subject_of(event: Event) -> AbstractContextManager[None]:
    return about(event.claim.job, event.claim.batch) if isinstance(event, OfBatch) else about_the_worker()
