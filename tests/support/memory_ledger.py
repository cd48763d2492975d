"""The ledger in memory, on a clock that the test sets: what tests below Redis use, and what the scripts are held to.

It passes the tests in ``tests/integration/ledger`` that are about what a ledger promises, and lives every life of
``test_model.py`` beside the scripts. It knows one edition, one version of policies and entries, and no queue.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from msgspec import structs

from contract.errors import CancelledJobError, UnknownJobError
from contract.ledger.changing import MOST_ATTEMPTS
from contract.ledger.memory import RedisMemory
from contract.ledger.values import (
    EDITION,
    FINISHED,
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
from tests.support.clocked_ledger import Clocked
from tests.support.memory_job import Batch, Job

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Method = Callable[Concatenate["MemoryLedger", Given], Answer]
Waits = tuple[float, str, BatchMessage]  # since when, its name among all, and what it is


def atomic(method: Method[Given, Answer]) -> Method[Given, Answer]:
    """One call at a time, as Redis runs its scripts; what is to fail fails before it has done anything."""

    def call(self: MemoryLedger, /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        with self._lock:
            self.calls[method.__name__] += 1
            if failures := self.failures.get(method.__name__):
                raise failures.pop(0)
            return method(self, *args, **kwargs)

    return call


class MemoryLedger(Clocked):
    """A ledger of one process. ``failures`` are raised by the next calls of each method, which ``calls`` counts."""

    def __init__(self, *, lease: float = 20.0) -> None:
        self.lease = lease
        self.changes = Changes()
        self.failures: dict[str, list[Exception]] = {}
        self.calls: Counter[str] = Counter()
        self.told: list[tuple[str, ProgressSnapshot]] = []
        self.fullness = RedisMemory(used=10, most=100, policy="noeviction")
        self._lock = threading.Lock()
        self._clock = 1_700_000_000.0
        self.empty()

    def empty(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._ahead: dict[str, tuple[str, str]] = {}  # which batch each token holds that was not claimed by name
        self._least: dict[int, float] = {}  # what the job had that was claimed of last, by priority
        self._pauses: dict[str, float] = {}  # until when hosts are to be left alone
        self._number = 0  # changes of control there were
        self._taken = 0.0  # when a batch was claimed last
        self._next_sweep = self._watched_until = -math.inf

    # ------------------------------------------------------------------ the clock, and what a test may set

    def now(self) -> float:
        return self._clock

    def set_clock(self, now: float) -> None:
        self._clock = now

    def learn_pause(self, host: str, seconds: float) -> None:
        self._pauses[host] = self._clock + seconds

    def let_sweep(self, *, after_silence: bool) -> None:
        self._next_sweep, self._watched_until = -math.inf, -math.inf if after_silence else math.inf

    def job_of(self, job: str) -> Job:
        """Return all that is known of a job; of one that is unknown that is nothing."""
        return self._jobs.get(job, Job())

    # ------------------------------------------------------------------ looking

    @atomic
    def job(self, job: str) -> JobRecord | None:
        return self._jobs[job].record(job) if job in self._jobs else None

    @atomic
    def jobs(self) -> list[str]:
        return sorted(self._jobs, key=lambda job: (self._jobs[job].created, job))

    @atomic
    def open_batches(self, job: str) -> OpenBatches:
        its = self.job_of(job)
        return its.open_batches(self._clock, max(0, len(self._ahead) - len(its.having("held"))))

    @atomic
    def waits(self, job: str, limit: int = 20) -> list[Waiting]:
        its, found = self.job_of(job), list[Waiting]()
        for due, parcel in sorted((due, parcel) for parcel, due in its.waits.items())[:limit]:
            names = its.parked(parcel)
            hosts = its.batches[names[0]].hosts if parcel.startswith("/") else {parcel: its.urls_of(names)}
            found += [Waiting(host, max(0.0, due - self._clock), urls) for host, urls in hosts.items()]
        return found

    @atomic
    def held(self, job: str, batches: Sequence[str]) -> set[str]:
        return set(batches) & set(self.job_of(job).having("held"))

    @atomic
    def count_waiting(self) -> int:
        return len(self._waiting())

    @atomic
    def count_in_line(self, job: str) -> int:
        its = self.job_of(job)
        return len(its.line() if its.is_running else its.having("queued"))

    def count_messages(self) -> int:
        return 0

    @atomic
    def longest_waiting(self, limit: int, *, waited: float = 0.0, edition: int = EDITION) -> list[BatchMessage]:
        found = [what for since, _, what in self._waiting() if not waited or since <= self._clock - waited]
        return found[:limit] if edition == EDITION else []

    @atomic
    def memory(self) -> RedisMemory:
        return self.fullness

    def seconds_untaken(self, edition: int = EDITION) -> float:  # there is one
        return self._clock - self._taken

    def note_sent(self, edition: int = EDITION) -> None:  # there is one
        self._taken = self._clock

    def _waiting(self) -> list[Waits]:
        """Return what waits for a worker, of all jobs, the longest-waiting first."""
        return sorted(
            (its.batches[name].since, f"{job}/{name}", BatchMessage(job, name))
            for job, its in self._jobs.items()
            for name in (its.having("queued") if its.is_running else ())
        )

    def _overdue(self) -> list[Waits]:
        return [each for each in self._waiting() if self._batch(each[2]).is_overdue]

    def _batch(self, of: BatchMessage) -> Batch:
        return self._jobs[of.job].batches[of.batch]

    # ------------------------------------------------------------------ feeding

    @atomic
    def create(self, job: str, policy: JobPolicy, *, label: str = "", secrets: bytes | None = None) -> bool:
        is_new = job not in self._jobs
        self._jobs.setdefault(job, Job(policy, label, self._clock, secrets))
        return is_new

    @atomic
    def open(self, job: str, batches: Iterable[NewBatch]) -> list[str]:
        its = self._known(job)
        if its.state is JobState.CANCELLED:
            raise CancelledJobError(f"Job {job} is cancelled.")
        opened, had_line = list(batches), bool(its.line())
        for new in opened:
            if new.batch not in its.batches and not its.is_closed(new.batch):
                its.batches[new.batch] = Batch(new.payload, new.urls, self._clock, since=self._clock)
            if new.batch.isdecimal():
                its.opened, its.size = max(its.opened, int(new.batch)), max(its.size, new.urls)
        self._come_back(its, had_line=had_line)
        waiting = its.having("queued") if its.is_running else {}
        return [new.batch for new in opened if new.batch in waiting]

    @atomic
    def store(self, job: str, report: BatchReport, result: bytes | None = None) -> bool:
        its = self._known(job)
        is_new = report.batch not in its.batches and not its.is_closed(report.batch)
        if is_new:
            its.report(report)
        return is_new

    @atomic
    def seal(self, job: str, totals: Mapping[str, int]) -> None:
        self._known(job).totals = dict(totals)

    @atomic
    def remove(self, job: str) -> None:
        self._jobs.pop(job, None)

    def _known(self, job: str) -> Job:
        if job not in self._jobs:
            raise UnknownJobError(f"Redis no longer knows job {job}.")
        return self._jobs[job]

    def _come_back(self, its: Job, *, had_line: bool) -> None:
        """Put a job that has batches in line again where the others are, or later: it saves up no turns."""
        if its.line() and not had_line:
            its.turn = max(its.had, self._least.get(its.priority, 0.0))

    # ------------------------------------------------------------------ claiming

    @atomic
    def claim(self, job: str, batch: str, *, holder: str, even_worn: bool = False) -> Claim | None:
        token, its = f"{holder}/{secrets.token_hex(8)}", self.job_of(job)
        each = its.batches.get(batch)
        if each is None:
            return None
        is_worn = even_worn and each.state == "held" and each.until <= self._clock
        is_to_have = is_worn or (each.state == "queued" and (even_worn or each.attempts < MOST_ATTEMPTS))
        if each.token != token and not (its.is_running and is_to_have):
            return None
        return self._hold(job, batch, token)

    @atomic
    def claim_next(
        self,
        *,
        holder: str,
        waited: float,
        message: BatchMessage | None = None,  # a batch waits, says a message, not which
    ) -> Claim | None:
        token = f"{holder}/{secrets.token_hex(8)}"
        self.changes.hear(self._number)
        found = self._ahead.get(token) or self._next_in_turn(waited)
        if found is None:
            return None
        claim = self._hold(*found, token)
        self._ahead[token] = found
        return claim

    def _hold(self, job: str, batch: str, token: str) -> Claim:
        """Take a batch out of the line it is in, and count the turn; its holder's call may be made again."""
        its, each = self._jobs[job], self._jobs[job].batches[batch]
        if each.token != token:
            self._ahead.pop(each.token, None)
            if each.state == "queued":
                self._taken = self._clock
            if each.state == "queued" and not each.is_overdue:
                its.had = its.turn = its.turn + each.urls / its.weight
            each.state, each.token, each.attempts = "held", token, each.attempts + 1
        each.until = self._clock + self.lease
        self.changes.hear(self._number)
        return its.claim_of(job, batch, changes=self._number)

    def _next_in_turn(self, waited: float) -> tuple[str, str] | None:
        """Say whose turn it is: of what is overdue, of the next job, of all that waits, the longest waiting."""
        for line in (self._overdue, self._line_of_next_job, self._waiting):
            while found := line():
                since, _, first = found[0]
                its, each = self._jobs[first.job], self._batch(first)
                if self._clock - since < waited:
                    break
                if each.attempts < MOST_ATTEMPTS:
                    if line == self._line_of_next_job:
                        self._least[its.priority] = its.turn
                    return first.job, first.batch
                each.state, each.until = "held", self._clock  # for the sweep to split
        return None

    def _line_of_next_job(self) -> list[Waits]:
        """Of the highest priority, the line of the job that has had least for its weight."""
        in_turn = [(-its.priority, its.turn, job) for job, its in self._jobs.items() if its.line()]
        *_, job = min(in_turn, default=("",))
        its = self.job_of(str(job))
        return [(its.batches[name].since, name, BatchMessage(str(job), name)) for name in its.line()]

    @atomic
    def renew(self, claim: Claim) -> bool:
        return self._renewed(claim) is not None

    def _renewed(self, claim: Claim) -> Batch | None:
        """Hold a batch for longer, if it is its holder who asks."""
        each = self.job_of(claim.job).batches.get(claim.batch)
        if each is None or each.token != claim.token:
            return None
        each.until = self._clock + self.lease
        return each

    @atomic
    def close(
        self,
        claim: Claim,
        report: BatchReport,
        children: Sequence[Child] = (),
        *,
        worn: int = 0,
        kept: Claim | None = None,
    ) -> bool:
        its, now = self.job_of(claim.job), self._clock
        if claim.pieces:
            report = structs.replace(report, gathered=[piece.batch for piece in claim.pieces])
        each = self._renewed(claim)
        if each is None:
            return claim.batch not in its.batches and its.reports.get(claim.batch) == report.to_result()
        self.changes.hear(self._number)
        self._ahead.pop(claim.token, None)
        its.take_out(claim.batch)
        its.report(report)
        for index, child in enumerate(children, start=1):
            its.open_child(claim.child(index), child, each, worn=worn, now=now)
        self._next_sweep = min([self._next_sweep, *its.ends()])
        if kept is not None:
            about = each.queued, "held", kept.token, each.attempts
            its.batches[kept.batch] = Batch(kept.payload, kept.urls, *about, until=now + self.lease)
        if each.owns and its.parked(each.owns):
            its.waits.setdefault(each.owns, now)
        return True

    def send_snapshot(self, job: str, snapshot: ProgressSnapshot) -> None:
        self.told.append((job, snapshot))

    @atomic
    def gather(self, job: str) -> list[str]:
        its = self.job_of(job)
        return its.gather(self._clock, self._pauses) if its.is_running else []

    # ------------------------------------------------------------------ collecting

    @atomic
    def drain(self, job: str, place: str, *, forget: Sequence[str] = (), limit: int = 40) -> Drain | None:
        if job not in self._jobs:
            return None
        its = self._jobs[job]
        its.place = its.place or place
        if its.place != place:
            return Drain(its.place)
        its.forget(forget)
        return Drain(place, its.record(job), list(its.reports.items())[:limit], self._clock < self._next_sweep)

    @atomic
    def closed(self, job: str, limit: int = 500) -> list[str]:
        its = self.job_of(job)
        return [*its.reports, *sorted(its.reported_with_others)][:limit]

    @atomic
    def reports(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        return [self.job_of(job).reports.get(batch) for batch in batches]

    @atomic
    def payloads(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        its = self._known(job) if batches else Job()
        found = its.gathered | {name: each.payload for name, each in its.batches.items()}
        return [found.get(batch) for batch in batches]

    # ------------------------------------------------------------------ control

    @atomic
    def control(self, job: str, wanted: JobState, *, by: str = "") -> tuple[str, str]:
        its = self._asked_for(job)
        was, pauser, had_line = its.state_now, its.pauser, bool(its.line())
        if wanted is JobState.RUNNING:
            changes = was == JobState.PAUSED and by in ("", pauser)
        else:  # a pause that ends with a command does not take the place of one that does not
            may_be = wanted is JobState.CANCELLED or was == JobState.RUNNING or not by
            changes = may_be and was not in (FINISHED, JobState.CANCELLED)
        if changes:
            its.state, its.pauser = wanted, by if wanted is not JobState.RUNNING else ""
            self._number += 1
            self._come_back(its, had_line=had_line)
        return was, pauser

    def _asked_for(self, job: str) -> Job:
        if job not in self._jobs:
            raise UnknownJobError.of(job)
        return self._jobs[job]

    @atomic
    def move(self, job: str) -> None:
        self._asked_for(job)  # what is set aside is known by the state of its job

    @atomic
    def withdraw(self, job: str, *, holder: str, most: int) -> list[Claim]:
        token, its, claims = f"{holder}/{secrets.token_hex(8)}-", self.job_of(job), list[Claim]()
        for name in list(its.withdrawable(most)) if its.state is JobState.CANCELLED else ():
            each = its.batches[name]
            each.state, each.token, each.attempts = "held", f"{token}{name}", each.attempts + 1
            each.until = self._clock + self.lease
            claims.append(its.claim_of(job, name))
        if not its.having("parked"):
            its.waits.clear()
        return claims

    @atomic
    def prioritize(self, job: str, priority: int) -> bool:
        if job in self._jobs:
            its = self._jobs[job]
            its.priority, its.had = priority, self._least.get(priority, 0.0)
            its.turn = its.had
        return job in self._jobs

    @atomic
    def weigh(self, job: str, weight: float) -> bool:
        if job in self._jobs:
            self._jobs[job].weight = weight
        return job in self._jobs

    @atomic
    def states(self, jobs: Sequence[str]) -> dict[str, JobState]:
        self.changes.hear(self._number)
        return {job: self.job_of(job).state for job in jobs}

    # ------------------------------------------------------------------ the sweep

    @atomic
    def sweep(
        self, *, pause: float, longest: float, silence: float, lost_after: float, edition: int = EDITION
    ) -> Swept:
        now = self._clock
        if now < self._next_sweep or edition != EDITION:
            return Swept(max(0.0, self._next_sweep - now))
        jobs = {job: its for job, its in sorted(self._jobs.items()) if its.batches}
        if not jobs:
            self._next_sweep = now + pause
            return Swept(pause, True)
        was_watched, self._watched_until = now < self._watched_until, now + silence
        again, worn = list[BatchMessage](), list[BatchMessage]()
        for job, its in jobs.items():
            for name in its.overdue(now, was_watched=was_watched):
                each = its.batches[name]
                if its.is_running and each.state == "held" and each.attempts >= MOST_ATTEMPTS:
                    worn.append(BatchMessage(job, name))
                    continue
                self._ahead.pop(each.token, None)
                each.state, each.token, each.since, each.is_overdue = "queued", "", now, True
                again += [BatchMessage(job, name)] if its.is_running else []
        ends = [end - now for its in jobs.values() for end in its.ends()]
        rest = max(pause / 4, min([longest, *ends])) if was_watched else pause
        self._next_sweep = now + rest
        waiting = self._waiting()
        have_waited = sum(since <= now - lost_after for since, *_ in waiting)
        unsettled = [job for job, its in jobs.items() if its.state is JobState.CANCELLED]
        ready = [job for job, its in jobs.items() if its.is_running and min(its.waits.values(), default=now + 1) <= now]
        return Swept(rest, True, again, worn, len(waiting), have_waited, unsettled, ready)
