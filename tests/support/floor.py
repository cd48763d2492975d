"""The surroundings of a batch runner, without Redis or network: it records what is claimed, started and sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from contract.ledger.values import Claim
from contract.records.batches import BatchEntry
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, Outcome
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from tests.support.clocked_ledger import batch_of, claimed, stored
from tests.support.memory_job import Batch
from tests.support.memory_ledger import MemoryLedger
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.runner import BatchRunner
from worker.engine.results import Leftover, Progress, Settled
from worker.engine.run import Run
from worker.events import BatchClaimed, BatchClosed, BatchInterrupted, Event, LeaseLost

URL = "http://example.com/{}"


class FakeRun:
    """Ends when `tells` was called as often as it takes, or when it is stopped."""

    def __init__(self, batch: str, wake: Callable[[], None], *, fetching: int, leftovers: Sequence[Leftover]) -> None:
        self.fetching = fetching
        self.unfinished = max(1, fetching)
        self.rest: Sequence[BatchEntry] = [BatchEntry(url=URL.format(f"{batch}-slow"))]
        self.stalled: str | None = None
        self.short_of_space: str | None = None
        self.busy = 1.0
        self.is_over = False
        self.is_straggling = False
        self.stopped_within: float | None = None
        self.is_abandoned = False
        self.has_due = False
        self.leftovers = list(leftovers)
        self.progress = Progress(total=2, bytes=3, ok=1, kept=0, failed=0, refused=0)
        self.outcomes = [Outcome(url=URL.format(batch), name="0" * 32, ending=Ending.OK, bytes=1)]
        self._wake = wake

    def end(self) -> None:
        self.is_over = True
        self.unfinished = 0
        self._wake()

    def pop_settled(self) -> Settled | None:
        settled = Settled(self.outcomes, self.leftovers, self.rest, self.busy)
        self.outcomes, self.leftovers, self.has_due = [], [], False
        return settled

    def is_due(self, within: float) -> bool:
        assert within > 0
        return self.has_due

    def wait(self, timeout: float) -> bool:
        assert timeout == 0
        return self.is_over

    def stop(self, within: float) -> None:
        self.stopped_within = within
        self.end()

    def abandon(self) -> None:
        self.is_abandoned = True
        self.end()


@dataclass
class Floor:
    """A runner's surroundings: what it started, sent and reported, and whether its worker is stopping."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    lost: set[str] = field(default_factory=set)  # batches that another worker claims as soon as they start
    fetching: int = 0
    leftovers: Sequence[Leftover] = ()
    ends_at_once: bool = True
    is_stopping: bool = False
    halted: set[str] = field(default_factory=set)
    stalled: str | None = None
    disk_backoff: DiskBackoff = field(default_factory=DiskBackoff)
    runs: dict[str, FakeRun] = field(default_factory=dict)
    sent: list[BatchMessage] = field(default_factory=list)
    on_start: Callable[[str], None] = lambda _batch: None
    begun: dict[str, Claim] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)  # of which batch, in order
    stuck: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger.create("job", JobPolicy())

    def line_up(self, *batches: str) -> None:
        """Have these waited for long enough to be claimed ahead, one after the other."""
        for batch in batches:
            self.ledger.open("job", [batch_of(batch, URL.format(batch))])
            self.ledger.advance(1.0)

    def claim(self, batch: str) -> Claim:
        self.ledger.open("job", [batch_of(batch, URL.format(batch))])
        return claimed(self.ledger, batch, job="job")

    @property
    def waiting(self) -> list[str]:
        return [message.batch for message in self.ledger.longest_waiting(100)]

    @property
    def closed(self) -> list[str]:
        return self.ledger.closed("job")

    def report(self, batch: str) -> BatchReport:
        return stored(self.ledger, batch, job="job")

    def handed_off(self, batch: str) -> list[Batch]:
        """Return what was opened in place of a batch."""
        return [self.ledger.job_of("job").batches[child] for child in self.report(batch).handed_off]

    def runner(self, *, room: int = 64, lease_seconds: float = 30.0) -> BatchRunner:
        return BatchRunner(
            self.ledger,
            worker="worker@here",
            lease_seconds=lease_seconds,
            drain=7.0,
            room=room,
            disk_backoff=self.disk_backoff,
            starts=self._start,
            is_stopping=lambda: self.is_stopping,
            send=self.sent.extend,
            halted=lambda jobs: self.halted & set(jobs),
            listener=self,
            end=self.stuck.append,
        )

    def notify(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case BatchClaimed(claim):
                self.begun[claim.batch] = claim
                self.told.append(("begun", claim.batch))
            case BatchClosed(claim):
                self.told.append(("closed", claim.batch))
            case LeaseLost(claim) | BatchInterrupted(claim):
                self.told.append(("lost", claim.batch))

    def _start(self, claim: Claim, *, may_publish: Callable[[], bool], wake: Callable[[], None]) -> Run:
        assert may_publish()
        run = FakeRun(claim.batch, wake, fetching=self.fetching, leftovers=self.leftovers)
        run.stalled = self.stalled
        self.runs[claim.batch] = run
        if claim.batch in self.lost:
            del self.ledger.job_of("job").batches[claim.batch]
        self.on_start(claim.batch)
        if self.ends_at_once:
            run.end()
        return cast("Run", run)
