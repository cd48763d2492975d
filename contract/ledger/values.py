"""The values that go into the ledger and come out of it: batches, claims, job records, reports."""

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

FINISHED = "finished"  # state of a job whose batches are all closed; it can no longer be changed


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be opened: its id, its packed entries and their number."""

    batch: str
    payload: bytes
    urls: int


@dataclass(frozen=True, slots=True)
class Child:
    """A batch opened in place of a closed one: packed entries, their number, and the seconds until it may be claimed.

    If its URLs wait for paused hosts, ``hosts`` has the number of URLs per host, and the batch is parked until the
    pauses end.
    """

    payload: bytes
    urls: int
    after: float = 0.0
    hosts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A parked batch: its packed entries, and the seconds by which its due time was moved."""

    batch: str
    payload: bytes
    late: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch held under a lease; ``token`` fences off earlier holders.

    ``queued`` is the Unix time when the batch, or the one it was handed off from, was opened; ``attempt`` counts from
    1; ``secrets`` are the job's packed credentials; ``changes`` is the number of state changes of jobs so far;
    ``edition`` is that of its keys. For a batch gathered from parked pieces, ``late`` is the seconds by which its due
    time was moved, and ``pieces`` are the others, closed together with it. ``is_owner``: it is the only batch of its
    host in line, so the next one is gathered when it is closed.
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
        """Unpack its entries and those of its pieces.

        Raises:
            MessageError: they are damaged, or of another version.
        """
        found: list[BatchEntry] = []
        for piece in (Piece(self.batch, self.payload, self.late), *self.pieces):
            entries = unpack_entries(piece.payload)
            found += [structs.replace(each, waited=each.waited + piece.late) for each in entries]
        return found

    def child(self, index: int) -> str:
        """Return the id of the index-th batch (from 1) opened in place of this one."""
        return child_batch(self.batch, index, self.token)

    def kept(self, index: int, payload: bytes, urls: int) -> Claim:
        """Return a claim of the index-th of these batches, for the holder that closes this one and continues with it.

        Its token is new, because its own children are named after it.
        """
        token = f"{self.token.rpartition('/')[0]}/{secrets.token_hex(8)}"
        child = replace(self, batch=self.child(index), token=token, payload=payload, urls=urls)
        return replace(child, late=0.0, pieces=(), is_owner=False)


class JobState(StrEnum):
    """The state people set a job to; whether it is finished is in its ``JobRecord``."""

    RUNNING = "running"  #: workers claim its batches in turn
    PAUSED = "paused"  #: nothing of it is claimed until it is resumed
    CANCELLED = "cancelled"  #: nothing more of it is fetched; what was left ends as cancelled


@dataclass(slots=True)
class Changes:
    """How many times jobs were paused, resumed or cancelled, and when that number was received (monotonic seconds).

    The number comes with answers to claims and closes, so that a busy worker need not ask whether anything changed.
    """

    number: int = -1
    heard: float = float("-inf")

    def hear(self, number: int) -> None:
        self.number, self.heard = number, time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job's record. ``open`` counts batches without a report, ``running`` those held, ``undrained`` those reported
    but not collected yet.

    ``created`` is in Unix seconds; ``counts`` has outcomes by ending, and bytes. ``opened`` is the highest number a
    producer gave a batch; ``is_secretive``: it has credentials. ``pauser`` names the command that paused the job and
    resumes it by itself; it is empty if ``trawl resume`` is needed.
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
        """Has the producer opened its last batch?"""
        return self.totals is not None

    @property
    def is_finished(self) -> bool:
        """Are all batches closed, and no more to come?"""
        return (self.is_sealed or self.is_cancelled) and self.open == 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The number of a job's URLs that wait for a paused host, and the seconds left of the pause."""

    host: str
    seconds: float
    urls: int


@dataclass(frozen=True, slots=True)
class Held:
    """The batches of a job that one worker holds, and their URLs."""

    batches: Sequence[str]
    urls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBatches:
    """A job's open batches: ``running`` ones are held, ``deferred`` ones wait for a time or host, others for a worker.

    ``due`` is the seconds until the first deferred one may be claimed; None: none is deferred. ``held`` is by worker,
    for the first few hundred batches; ``elsewhere`` counts held batches of other jobs. ``state`` and ``pauser`` are as
    in the job's record.
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
        """The number of batches that wait for a worker."""
        return max(0, self.open - self.running - self.deferred)


@dataclass(frozen=True, slots=True)
class Drain:
    """What a follower gets: the next closed batches with their reports, and the job's record.

    ``place`` is where the job's outcomes are collected: by another follower if ``record`` is None. A report is None if
    Redis has lost it. ``is_swept``: the last sweep was a moment ago.
    """

    place: str
    record: JobRecord | None = None
    reports: Sequence[tuple[str, bytes | None]] = ()
    is_swept: bool = True


@dataclass(frozen=True, slots=True)
class Swept:
    """The result of one step of the sweep. The next one is due in ``rest`` seconds.

    ``is_our_turn``: this process swept. ``again`` are batches put back in line, ``worn`` those that lost their worker
    too often. ``waiting`` counts the waiting batches of both editions, ``have_waited`` those, up to a bound, that have
    waited so long that their message may be lost. ``unsettled`` jobs have batches to move or end, ``ready`` ones parked
    pieces that came due. ``has_others``: the first edition has jobs.
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
