"""A job of the ledger in memory: its batches, what waits for hosts, and its reports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract.ledger.values import FINISHED, Child, Claim, Held, JobRecord, JobState, OpenBatches, Piece
from contract.records.outcomes import ENDINGS, Ending
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport


@dataclass(slots=True)
class Batch:
    """An open batch: queued, held, deferred, parked, or gathered with another."""

    payload: bytes
    urls: int
    queued: float  # when it, or what it was handed off from, was opened
    state: str = "queued"
    token: str = ""
    attempts: int = 0
    since: float = 0.0  # when it came to wait for a worker
    until: float = 0.0  # when its lease ends, or it is due
    is_overdue: bool = False
    hosts: Mapping[str, int] = field(default_factory=dict)  # it was parked for
    parcel: str = ""
    late: float = 0.0
    pieces: Sequence[str] = ()  # gathered with it
    owns: str = ""  # the host whose only batch it is


@dataclass(slots=True)
class Job:
    """A job. ``had`` is what it has had for its weight, ``turn`` where it is among those with batches in line."""

    policy: JobPolicy = field(default_factory=JobPolicy)
    label: str = ""
    created: float = 0.0
    secrets: bytes | None = None
    batches: dict[str, Batch] = field(default_factory=dict)
    reports: dict[str, bytes] = field(default_factory=dict)  # in the order they came
    reported_with_others: set[str] = field(default_factory=set)
    gathered: dict[str, bytes] = field(default_factory=dict)  # entries, until the report of them is forgotten
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    totals: Mapping[str, int] | None = None
    place: str | None = None
    state: JobState = JobState.RUNNING
    pauser: str = ""
    priority: int = 0
    weight: float = 1.0
    had: float = 0.0
    turn: float = 0.0
    opened: int = 0
    size: int = 0
    waits: dict[str, float] = field(default_factory=dict)  # parcels without an owner, and when they may be asked

    @property
    def is_running(self) -> bool:
        return self.state is JobState.RUNNING

    @property
    def state_now(self) -> str:
        """Return its state, or that it is finished."""
        is_over = self.totals is not None and not self.batches and self.state is not JobState.CANCELLED
        return FINISHED if is_over else str(self.state)

    def having(self, *states: str) -> dict[str, Batch]:
        return {name: each for name, each in self.batches.items() if each.state in states}

    def line(self) -> list[str]:
        """Return what waits for its first turn, the longest-waiting first."""
        waiting = self.having("queued") if self.is_running else {}
        return sorted((name for name in waiting if not waiting[name].is_overdue), key=self.by_wait)

    def by_wait(self, name: str) -> tuple[float, str]:
        return self.batches[name].since, name

    def by_end(self, name: str) -> tuple[float, str]:
        return self.batches[name].until, name

    def is_closed(self, name: str) -> bool:
        return name in self.reports or name in self.reported_with_others

    def record(self, job: str) -> JobRecord:
        return JobRecord(
            job=job,
            label=self.label,
            policy=self.policy,
            created=self.created,
            totals=self.totals,
            counts={name: self.counts[name] for name in (*ENDINGS, "bytes")},
            errors=dict(self.errors),
            open=len(self.batches),
            running=len(self.having("held")),
            undrained=len(self.reports) + len(self.reported_with_others),
            opened=self.opened,
            is_secretive=self.secrets is not None,
            state=self.state,
            pauser=self.pauser,
            priority=self.priority,
            weight=self.weight,
        )

    def open_batches(self, now: float, elsewhere: int) -> OpenBatches:
        running, deferred = self.having("held"), self.having("deferred")
        dues = [*self.waits.values(), *(each.until for each in deferred.values())]
        held: dict[str, Held] = {}
        for name in sorted(running, key=self.by_end, reverse=True):
            if worker := running[name].token.rpartition("/")[0]:
                seen = held.get(worker, Held((), 0))
                held[worker] = Held([*seen.batches, name], seen.urls + running[name].urls)
        return OpenBatches(
            open=len(self.batches) - len(self.having("gathered")),
            running=len(running),
            deferred=len(deferred) + len(self.having("parked")),
            due=max(0.0, min(dues) - now) if dues else None,
            held=held,
            elsewhere=elsewhere,
            state=self.state,
            pauser=self.pauser,
        )

    def claim_of(self, job: str, name: str, *, changes: int = 0) -> Claim:
        its = self.batches[name]
        pieces = [Piece(each, self.batches[each].payload, self.batches[each].late) for each in its.pieces]
        about = its.payload, self.policy, its.queued, its.attempts, its.urls, self.secrets, changes
        return Claim(job, name, its.token, *about, late=its.late, pieces=pieces, is_owner=bool(its.owns))

    # ------------------------------------------------------------------ closing

    def take_out(self, name: str) -> None:
        """Close a batch with the pieces gathered with it, whose entries stay until their report is forgotten."""
        together = (name, *self.batches[name].pieces)
        if len(together) > 1:
            self.gathered |= {each: self.batches[each].payload for each in together}
        self.reported_with_others.update(together[1:])
        for each in together:
            del self.batches[each]

    def report(self, report: BatchReport) -> None:
        self.reports[report.batch] = report.to_result()
        self.counts.update(report.counts())
        self.counts["bytes"] += sum(each.bytes or 0 for each in report.outcomes if each.ending is Ending.OK)
        self.errors.update(str(each.error) for each in report.outcomes if each.error is not None)

    def forget(self, names: Sequence[str]) -> None:
        self.reported_with_others -= set(names)
        for name in names:
            self.reports.pop(name, None)
            if name not in self.batches:
                self.gathered.pop(name, None)

    def open_child(self, name: str, child: Child, parent: Batch, *, worn: int, now: float) -> None:
        opened = Batch(child.payload, child.urls, parent.queued, attempts=worn, since=now, until=now + child.after)
        self.batches[name] = opened
        if child.hosts:
            self._park(name, opened, child)
        elif child.after > 0:
            opened.state = "deferred"
        else:
            opened.is_overdue = True

    # ------------------------------------------------------------------ what waits for hosts

    def _park(self, name: str, piece: Batch, child: Child) -> None:
        piece.state, piece.hosts, piece.parcel = "parked", dict(child.hosts), next(iter(child.hosts))
        if len(child.hosts) > 1:  # pieces of several hosts come due at the same moments
            piece.parcel = f"/{name}"
            grid = 2 ** max(0, math.floor(math.log2(max(child.after, 8) / 8)))
            piece.until = math.ceil(piece.until / grid) * grid
        if piece.parcel not in {each.owns for each in self.batches.values()}:
            self.waits[piece.parcel] = max(piece.until, self.waits.get(piece.parcel, piece.until))

    def parked(self, parcel: str) -> list[str]:
        return sorted(name for name, each in self.having("parked").items() if each.parcel == parcel)

    def urls_of(self, names: Sequence[str]) -> int:
        return sum(self.batches[name].urls for name in names)

    def gather(self, now: float, pauses: Mapping[str, float]) -> list[str]:
        """Make batches of the pieces that have come due, of the job's size but for a last one; return these."""
        size, heads, pool = self.size or 500, list[str](), list[str]()
        for since, parcel in sorted((due, parcel) for parcel, due in self.waits.items() if due <= now):
            names = self.parked(parcel)
            ends = self._paused_until(names[0], pauses)
            if ends > now:
                self.waits[parcel] = ends
                continue
            is_its_own = self.urls_of(names) > size
            some = self._first(names, size) if is_its_own else names
            for name in some:
                self.batches[name].late = max(0.0, since - self.batches[name].until)
            del self.waits[parcel]
            if is_its_own:
                heads.append(self._form(some, now, parcel))
                continue
            pool += some
            while self.urls_of(pool) >= size:
                some = self._first(pool, size)
                pool = pool[len(some) :]
                heads.append(self._form(some, now))
        return [*heads, self._form(pool, now)] if pool else heads

    def _paused_until(self, name: str, pauses: Mapping[str, float]) -> float:
        """Until when its hosts have asked to wait since, unless that exceeds its URLs' patience."""
        piece = self.batches[name]
        ends = min(pauses.get(host, 0.0) for host in piece.hosts)
        return ends if ends - piece.until < self.policy.host_patience else 0.0

    def _first(self, names: Sequence[str], urls: int) -> list[str]:
        """Return the first of these that hold so many URLs."""
        some = list[str]()
        while len(some) < len(names) and self.urls_of(some) < urls:
            some.append(names[len(some)])
        return some

    def _form(self, names: Sequence[str], now: float, owns: str = "") -> str:
        """Make a batch of pieces, and put it in line."""
        pieces = [self.batches[name] for name in names]
        for each in pieces:
            each.state = "gathered"
        head = pieces[0]
        head.urls, head.queued = self.urls_of(names), min(each.queued for each in pieces)
        head.state, head.is_overdue, head.since = "queued", True, now
        head.pieces, head.owns = names[1:], owns
        return names[0]

    # ------------------------------------------------------------------ what is to be seen to

    def overdue(self, now: float, *, was_watched: bool) -> list[str]:
        """Return batches that lost their lease (none after a silence), then those that came due, in order."""
        found = list[str]()
        for state in ("held", "deferred") if was_watched else ("deferred",):
            ended = (name for name, each in self.having(state).items() if each.until <= now)
            found += sorted(ended, key=self.by_end)
        return found

    def ends(self) -> list[float]:
        """Return when something may become overdue."""
        waits = self.waits.values() if self.is_running else ()
        return [*(each.until for each in self.having("held", "deferred").values()), *waits]

    def withdrawable(self, most: int) -> Iterator[str]:
        keys: dict[str, Any] = {"queued": self.by_wait, "deferred": self.by_end, "parked": self._by_parcel}
        for state, key in keys.items():
            yield from sorted(self.having(state), key=key)[:most]

    def _by_parcel(self, name: str) -> str:
        return f"{self.batches[name].parcel} {name}"
