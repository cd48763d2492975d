"""Where a batch runner works, without Redis or network: what it was given, started, sent and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from contract.ledger.ports import Claiming
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, Outcome
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.runner import BatchRunner
from worker.engine.results import Leftover, Part, Progress
from worker.engine.run import Run

URL = "http://example.com/{}"


def a_claim(batch: str) -> Claim:
    return Claim(
        "job", batch, f"token-{batch}", pack_entries([BatchEntry(url=URL.format(batch))]), JobPolicy(), 1.0, 1, 1
    )


@dataclass
class FakeLedger:
    """Remembers what was closed; has the batches of `waiting` to be claimed ahead."""

    waiting: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    closed: dict[str, tuple[BatchReport, Sequence[Child]]] = field(default_factory=dict)
    kept: dict[str, Claim] = field(default_factory=dict)
    gathered: list[str] | Exception = field(default_factory=list)
    looks: int = 0

    def renew(self, claim: Claim) -> bool:
        return claim.batch not in self.lost

    def claim_next(self, *, holder: str, waited: float) -> Claim | None:
        assert waited > 0
        assert holder == "worker@here"
        self.looks += 1
        return a_claim(self.waiting.pop(0)) if self.waiting else None

    def close(self, claim: Claim, report: BatchReport, children: Sequence[Child], *, kept: Claim | None = None) -> bool:
        if self.failures:
            raise self.failures.pop(0)
        if claim.batch in self.lost:
            return False
        self.closed[claim.batch] = report, children
        if kept is not None:
            self.kept[claim.batch] = kept
        return True

    def gather(self, job: str) -> list[str]:
        assert job == "job"
        assert self.closed
        if isinstance(self.gathered, Exception):
            raise self.gathered
        return self.gathered


class FakeRun:
    """Ends when `tells` was called as often as it takes, or when it is stopped."""

    def __init__(self, batch: str, tell: Callable[[], None], *, fetching: int, leftovers: Sequence[Leftover]) -> None:
        self.fetching = fetching
        self.unfinished = max(1, fetching)
        self.rest: Sequence[BatchEntry] = [BatchEntry(url=URL.format(f"{batch}-slow"))]
        self.stalled: str | None = None
        self.short_of_space: str | None = None
        self.busy = 1.0
        self.is_over = False
        self.stopped_within: float | None = None
        self.is_abandoned = False
        self.leftovers = list(leftovers)
        self.progress = Progress(total=2, bytes=3, ok=1, kept=0, failed=0, refused=0)
        self.outcomes = [Outcome(url=URL.format(batch), name="0" * 32, ending=Ending.OK, bytes=1)]
        self._tell = tell

    def end(self) -> None:
        self.is_over = True
        self.unfinished = 0
        self._tell()

    def part(self) -> Part | None:
        part = Part(self.outcomes, self.leftovers, self.rest, self.busy)
        self.outcomes, self.leftovers = [], []
        return part

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
    """Where a runner works: what it started, sent and told, and whether its worker is stopping."""

    ledger: FakeLedger = field(default_factory=FakeLedger)
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
    told: list[tuple[str, str]] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    def runner(self, *, room: int = 64, lease_seconds: float = 30.0) -> BatchRunner:
        return BatchRunner(
            cast("Claiming", self.ledger),
            worker="worker@here",
            lease_seconds=lease_seconds,
            drain=7.0,
            room=room,
            disk_backoff=self.disk_backoff,
            starts=self._start,
            is_stopping=lambda: self.is_stopping,
            tell=lambda _seen: None,
            send=self.sent.extend,
            halted=lambda jobs: self.halted & set(jobs),
            events=self,
            end=self.stuck.append,
        )

    def begin(self, claim: Claim) -> None:
        self.told.append(("begun", claim.batch))

    def close(self, claim: Claim, line: str, *, seconds: float) -> None:
        assert line
        assert seconds >= 0
        self.told.append(("closed", claim.batch))

    def fail(self, claim: Claim, line: str) -> None:
        assert line
        self.told.append(("failed", claim.batch))

    def lose(self, claim: Claim, line: str) -> None:
        assert line
        self.told.append(("lost", claim.batch))

    def _start(self, claim: Claim, *, may_publish: Callable[[], bool], tell: Callable[[], None]) -> Run:
        assert may_publish()
        run = FakeRun(claim.batch, tell, fetching=self.fetching, leftovers=self.leftovers)
        run.stalled = self.stalled
        self.runs[claim.batch] = run
        self.on_start(claim.batch)
        if self.ends_at_once:
            run.end()
        return cast("Run", run)
