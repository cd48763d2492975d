"""What the ledger is given and hands out: batches to open, claims, jobs as they are, reports to drain."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from msgspec import structs

from contract.records.batches import BatchEntry, unpack_entries
from contract.records.messages import BatchMessage, child_batch
from contract.records.policy import JobPolicy

EARLIER, EDITION = 1, 2  # of the ledger's keys

FINISHED = "finished"  # what a job is that neither goes on nor can be changed any more


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch about to be opened: its id, its packed entries and how many URLs they are."""

    batch: str
    payload: bytes
    urls: int


@dataclass(frozen=True, slots=True)
class Child:
    """A batch opened in place of a closed one: packed entries, their number, seconds from now until it may run.

    Where these are a host's to say, ``hosts`` counts the URLs of each: it is parked until the hosts may be asked.
    """

    payload: bytes
    urls: int
    after: float = 0.0
    hosts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """What was parked under one name: its packed entries, and how many seconds longer it had to wait for its hosts."""

    batch: str
    payload: bytes
    late: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch held under a lease; ``token`` fences off everybody who held it before.

    ``queued`` is the Unix time the batch (or the one it was handed off from) was opened; ``attempt`` counts
    from 1; ``secrets`` are the job's per-host headers, packed, or None; ``changes`` is how many there were of control;
    ``edition`` tells under whose keys it lies. ``late`` and ``pieces`` are of what waited for hosts: pieces gathered
    with it, which are closed with it. It ``is_owner`` where it is the only batch that its host has in line: when it is
    closed, the next one is to be gathered.
    """

    job: str
    batch: str
    token: str
    payload: bytes
    policy: JobPolicy
    queued: float
    attempt: int
    urls: int
    secrets: bytes | None = None
    changes: int = 0
    edition: int = EDITION
    late: float = 0.0
    pieces: Sequence[Piece] = ()
    is_owner: bool = False

    def entries(self) -> Sequence[BatchEntry]:
        """Unpack all its URLs.

        Raises:
            MessageError: damaged, or of another version.
        """
        found: list[BatchEntry] = []
        for piece in (Piece(self.batch, self.payload, self.late), *self.pieces):
            entries = unpack_entries(piece.payload)
            found += [structs.replace(each, waited=each.waited + piece.late) for each in entries]
        return found

    def child(self, index: int) -> str:
        """Name the index-th batch (from 1) opened in place of this one."""
        return child_batch(self.batch, index, self.token)

    def kept(self, index: int, payload: bytes, urls: int) -> Claim:
        """Make the claim of the index-th of these batches for whoever closes this one and goes on with that.

        Its token is new, as the children it may have are named after it.
        """
        token = f"{self.token.rpartition('/')[0]}/{secrets.token_hex(8)}"
        child = replace(self, batch=self.child(index), token=token, payload=payload, urls=urls)
        return replace(child, late=0.0, pieces=(), is_owner=False)


class JobState(StrEnum):
    """What people want of a job. Whether it is finished, ``JobRecord`` says."""

    RUNNING = "running"  #: workers claim its batches in turn
    PAUSED = "paused"  #: nothing of it is claimed until somebody resumes it
    CANCELLED = "cancelled"  #: nothing more of it is fetched; what was left ends as cancelled


@dataclass(slots=True)
class Changes:
    """How often any job was paused, resumed or cancelled, and when that was heard last (monotonic seconds).

    It comes with the answers to calls that are made anyway: who makes them need not ask whether anything changed.
    """

    number: int = -1
    heard: float = float("-inf")

    def hear(self, number: int) -> None:
        self.number, self.heard = number, time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as the ledger sees it now. ``open`` counts batches without a report, ``running`` those under a lease.

    ``opened`` is the highest number a producer gave a batch; ``is_secretive`` tells that it has per-host headers.
    ``pauser`` names the command whose end or continuation ends the pause; it is empty where ``resume`` does.
    """

    job: str
    label: str
    policy: JobPolicy
    created: float
    totals: Mapping[str, int] | None
    counts: Mapping[str, int]
    open: int
    running: int
    undrained: int
    opened: int = 0
    is_secretive: bool = False
    errors: Mapping[str, int] = field(default_factory=dict)  # outcomes by error class
    state: JobState = JobState.RUNNING
    pauser: str = ""
    priority: int = 0
    weight: float = 1.0

    @property
    def is_paused(self) -> bool:
        return self.state is JobState.PAUSED and not self.is_finished

    @property
    def is_cancelled(self) -> bool:
        return self.state is JobState.CANCELLED

    @property
    def is_sealed(self) -> bool:
        """Will no more batches be opened by the producer?"""
        return self.totals is not None

    @property
    def is_finished(self) -> bool:
        """Is all that was opened closed, and nothing more to come?"""
        return (self.is_sealed or self.is_cancelled) and self.open == 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """URLs of a job that wait for a host, and for how many seconds from now."""

    host: str
    seconds: float
    urls: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker holds of a job."""

    batches: Sequence[str]
    urls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What of a job is open: ``running`` batches are held, ``deferred`` ones wait for a moment or a host, others for a
    worker.

    ``due`` is how many seconds from now the first deferred one may run; None: none is deferred. ``held`` is by worker,
    and of the first some hundred batches; ``elsewhere`` counts the held batches of other jobs. ``state`` and ``pauser``
    are the job's, as in its record.
    """

    open: int
    running: int
    deferred: int
    due: float | None
    held: Mapping[str, Held]
    elsewhere: int
    state: JobState = JobState.RUNNING
    pauser: str = ""

    @property
    def waiting(self) -> int:
        """How many batches wait for a worker?"""
        return max(0, self.open - self.running - self.deferred)


@dataclass(frozen=True, slots=True)
class Drain:
    """What a follower is handed: batches closed and not forgotten, their reports, and how their job stands.

    ``place`` is where the job's outcomes are collected: elsewhere, when ``record`` is None. A report is None where
    Redis has lost it. ``is_swept`` tells that all jobs were swept a moment ago.
    """

    place: str
    record: JobRecord | None = None
    reports: Sequence[tuple[str, bytes | None]] = ()
    is_swept: bool = True


@dataclass(frozen=True, slots=True)
class Swept:
    """What a step of the sweep found, if it was anybody's turn: it is again in ``rest`` seconds.

    ``again`` waits again now, ``worn`` has lost its worker too often. ``waiting`` counts what waits in both editions,
    ``have_waited`` what has for so long, up to a bound, that its message may be lost. Of the ``unsettled`` jobs
    something is to be moved or ended, of the ``ready`` ones some URLs' hosts may be asked now.
    """

    rest: float
    is_our_turn: bool = False
    again: Sequence[BatchMessage] = ()
    worn: Sequence[BatchMessage] = ()
    waiting: int = 0
    have_waited: int = 0
    unsettled: Sequence[str] = ()
    ready: Sequence[str] = ()
    has_others: bool = False
