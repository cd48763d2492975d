"""The ledger: which batches are open, who holds each, and the one step that closes it.

It lives in the result backend's Redis, so that storing a report and closing its batch are one atomic step;
Redis's own clock is the only clock. Every change is a script below ``contract/lua``, sent by its digest.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice
from typing import Any, cast

import redis

from contract import wire
from contract.batches import BatchEntry, pack_entries, unpack_entries
from contract.broker import RESULT_KEY_PREFIX
from contract.errors import MessageError, UnknownJobError
from contract.messages import BatchMessage, child_batch, task_id
from contract.policy import JobPolicy
from contract.reports import BatchReport

MOST_ATTEMPTS = 5  # times a batch may lose its worker before it is split
LOST_AFTER = 5.0  # seconds without a claim, on an empty queue, after which a message counts as lost
OVERTAKEN_AFTER = 30.0  # seconds since a later message was claimed, after which one counts as lost
SWEEP_PAUSE = 2.0  # seconds between two sweeps, whoever makes them

_OPENED_AT_ONCE = 100
_SWEPT_AT_ONCE = 200
_COUNTED = ("ok", "kept", "failed", "refused")


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch about to be opened: its id, its packed entries and how many URLs they are."""

    batch: str
    payload: bytes
    urls: int


@dataclass(frozen=True, slots=True)
class Child:
    """A batch opened in place of a closed one: packed entries, their number, seconds from now until it may run."""

    payload: bytes
    urls: int
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch held under a lease; ``token`` fences off everybody who held it before.

    ``queued`` is the Unix time the batch (or the one it was handed off from) was opened; ``attempt`` counts
    from 1; ``secrets`` are the job's per-host headers, packed, or None.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as the ledger sees it now. ``open`` counts batches without a report, ``running`` those under a lease."""

    job: str
    label: str
    policy: JobPolicy
    created: float
    totals: Mapping[str, int] | None
    counts: Mapping[str, int]
    open: int
    running: int
    undrained: int

    @property
    def is_sealed(self) -> bool:
        """Will no more batches be opened by the producer?"""
        return self.totals is not None

    @property
    def is_finished(self) -> bool:
        return self.is_sealed and self.open == 0


@dataclass(slots=True)
class SweepFindings:
    """What one sweep did: batch ids sent again, split, and ended as poison, by job."""

    sent: dict[str, list[str]] = field(default_factory=dict)
    split: dict[str, list[str]] = field(default_factory=dict)
    poisoned: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sent or self.split or self.poisoned)


class Ledger:
    """Open, claim, renew, close: the life of every batch of every job.

    Every method may raise ``redis.exceptions.RedisError`` when Redis cannot be reached or is out of memory;
    all of them may then be repeated.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "trawl:", lease: float = 20.0, keep: float = 7 * 86400.0):
        self._redis = client
        self._prefix = prefix
        self._lease = lease
        self._keep = int(keep)
        self._scripts = {name: client.register_script(text) for name, text in _scripts().items()}

    # ------------------------------------------------------------------ a job's life

    def create(self, job: str, policy: JobPolicy, *, label: str = "", secrets: bytes | None = None) -> bool:
        """Make a job known; False when it is already."""
        key = self._key(job)
        created = self.now()
        fields: dict[str, Any] = {"policy": wire.to_json(policy.to_wire()), "label": label, "created": repr(created)}
        if secrets is not None:
            fields["secrets"] = secrets
        # One transaction: half a job, left by a kill in between, could neither be used nor made again.
        with self._redis.pipeline() as pipe:
            for name, value in fields.items():
                pipe.hsetnx(key, name, value)
            pipe.zadd(self._jobs, {job: created}, nx=True)
            pipe.expire(key, self._keep)
            return bool(pipe.execute()[0])

    def open(self, job: str, batches: Iterable[NewBatch]) -> list[str]:
        """Write batches before they are sent and return those that wait for a worker, so want a message.

        Opening a batch again changes nothing: one that is held or closed is left out of the answer.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        waiting: list[str] = []
        for some in _in_slices(batches, _OPENED_AT_ONCE):
            arguments: list[Any] = [job, self._keep]
            for each in some:
                arguments += [each.batch, each.urls, each.payload]
            keys = [*self._keys(job, "", "batches", "payloads", "sent", "closed"), self._active]
            answer = self._run("open", keys, arguments)
            if answer is None:
                raise UnknownJobError(f"Redis no longer knows job {job}.")
            waiting += [_text(batch) for batch in answer]
        return waiting

    def store(self, job: str, report: BatchReport) -> bool:
        """Store the report of a batch that needs no worker; False when it was stored before.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        keys = [*self._keys(job, "", "batches", "closed"), _result_key(job, report.batch)]
        answer = self._run("store", keys, [report.batch, report.to_result(), self._keep, *_counters(report)])
        if answer < 0:
            raise UnknownJobError(f"Redis no longer knows job {job}.")
        return bool(answer)

    def seal(self, job: str, totals: Mapping[str, int]) -> None:
        """Say that nothing more will be opened, and what the list held (lines, duplicates, urls, refused).

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
        """
        if not self._run("seal", [self._key(job)], [wire.to_json(dict(totals)), self._keep]):
            raise UnknownJobError(f"Redis no longer knows job {job}.")

    def job(self, job: str) -> JobRecord | None:
        """Return what is known of a job; None when nothing is."""
        with self._redis.pipeline() as pipe:  # one transaction: the counts belong to the batches counted
            pipe.hgetall(self._key(job))
            pipe.hlen(self._key(job, "batches"))
            pipe.zcard(self._key(job, "leases"))
            pipe.zcard(self._key(job, "closed"))
            fields, count, running, undrained = pipe.execute()
        if b"policy" not in fields or b"created" not in fields:
            return None
        totals = fields.get(b"totals")
        return JobRecord(
            job=job,
            label=fields.get(b"label", b"").decode("utf-8", "replace"),
            policy=_policy(fields[b"policy"]),
            created=float(fields[b"created"]),
            totals=wire.from_json(totals) if totals else None,
            counts={name: int(fields.get(name.encode(), 0)) for name in (*_COUNTED, "bytes")},
            open=count,
            running=running,
            undrained=undrained,
        )

    def jobs(self) -> list[str]:
        """List the known jobs, oldest first; those Redis has let expire drop out."""
        listed = [_text(job) for job in cast("list[bytes]", self._redis.zrange(self._jobs, 0, -1))]
        if not listed:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for job in listed:
                pipe.exists(self._key(job))
            is_there = dict(zip(listed, pipe.execute(), strict=True))
        gone = [job for job in listed if not is_there[job]]
        if gone:
            self._redis.zrem(self._jobs, *gone)
        return [job for job in listed if is_there[job]]

    def remove(self, job: str) -> None:
        """Forget a job and everything kept for it, whatever its state."""
        while batches := self.closed(job):
            self.forget(job, batches)
        with self._redis.pipeline() as pipe:
            pipe.delete(*self._keys(job, *_JOB_KEYS))
            pipe.srem(self._active, job)
            pipe.zrem(self._jobs, job)
            pipe.execute()

    # ------------------------------------------------------------------ a worker's side

    def claim(
        self, job: str, batch: str, *, holder: str, is_ahead: bool = False, even_worn: bool = False
    ) -> Claim | None:
        """Take a batch's lease; None when it is closed, held, deferred, unknown or worn.

        ``is_ahead`` says that its message did not come: messages sent before it are not overtaken. A *worn*
        batch lost its worker MOST_ATTEMPTS times: only the sweep may take it, to split it.
        """
        token = f"{holder}/{secrets.token_hex(8)}"
        keys = [*self._keys(job, "", "batches", "payloads", "sent", "leases"), self._taken, self._key(job, "overdue")]
        most = 0 if even_worn else MOST_ATTEMPTS
        answer = self._run("claim", keys, [batch, token, self._lease, most, self._keep, int(is_ahead)])
        if not isinstance(answer, list):
            return None
        payload, policy, hidden, queued, attempt, urls = answer
        return Claim(job, batch, token, payload, _policy(policy), float(queued), attempt, urls, hidden)

    def next_waiting(self, job: str, *, waited: float) -> str | None:
        """Name the batch of a job whose turn it is, if it has waited for a worker for at least ``waited`` seconds.

        What was lost or handed off comes first, as in the queue; else whichever has waited longest.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for key in self._keys(job, "overdue", "sent"):
                pipe.zrange(key, 0, 0, withscores=True)
            (whole, micro), *oldest = pipe.execute()
        for batch, since in (each[0] for each in oldest if each):
            if whole + micro / 1e6 - since >= waited:
                return _text(batch)
        return None

    def renew(self, claim: Claim) -> bool:
        """Hold the batch for another lease; False when it is no longer ours: publish nothing more of it."""
        keys = self._keys(claim.job, "batches", "leases")
        return bool(self._run("renew", keys, [claim.batch, claim.token, self._lease, self._keep]))

    def close(self, claim: Claim, report: BatchReport, children: Sequence[Child] = (), *, worn: int = 0) -> bool:
        """Store the report, close the batch and open its children, all or nothing; False when it is not ours.

        ``report.handed_off`` must name the children in their order. ``worn`` is the number of attempts
        the children start with.
        """
        job, batch = claim.job, claim.batch
        counters = _counters(report)
        arguments: list[Any] = [
            job,
            batch,
            claim.token,
            report.to_result(),
            self._keep,
            worn,
            len(counters) // 2,
            *counters,
        ]
        for index, child in enumerate(children, start=1):
            arguments += [child_batch(batch, index), child.urls, child.after, child.payload]
        keys = [*self._keys(job, *_JOB_KEYS), self._active, _result_key(job, batch)]
        return bool(self._run("close", keys, arguments))

    # ------------------------------------------------------------------ a follower's side

    def collected_in(self, job: str, place: str) -> str:
        """Note where a job's outcomes are collected, unless that was noted before; return the place that counts.

        Two followers would each get some of the outcomes and forget them under the other.
        """
        self._redis.hsetnx(self._key(job), "place", place)
        found = cast("bytes | None", self._redis.hget(self._key(job), "place"))
        return found.decode("utf-8", "replace") if found else place

    def closed(self, job: str, limit: int = 500) -> list[str]:
        """List closed batches whose report is not forgotten, in the order they were closed."""
        found = self._redis.zrange(self._key(job, "closed"), 0, limit - 1)
        return [_text(batch) for batch in cast("list[bytes]", found)]

    def reports(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        """Return the stored reports, for ``BatchReport.from_result``; None where Redis has none."""
        if not batches:
            return []
        return cast("list[bytes | None]", self._redis.mget([_result_key(job, batch) for batch in batches]))

    def forget(self, job: str, batches: Sequence[str]) -> None:
        """Drop reports that are safe elsewhere."""
        if not batches:
            return
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrem(self._key(job, "closed"), *batches)
            pipe.delete(*(_result_key(job, batch) for batch in batches))
            pipe.execute()

    def payload(self, job: str, batch: str) -> bytes | None:
        """Return the packed entries of an open batch."""
        return cast("bytes | None", self._redis.hget(self._key(job, "payloads"), batch))

    def held(self, job: str, batches: Sequence[str]) -> set[str]:
        """Return those of the batches that a worker holds now."""
        if not batches:
            return set()
        scores = self._redis.zmscore(self._key(job, "leases"), list(batches))
        return {batch for batch, score in zip(batches, scores, strict=True) if score is not None}

    # ------------------------------------------------------------------ recovery

    def sweep(
        self,
        *,
        holder: str,
        waiting: Callable[[], int | None],
        send: Callable[[Sequence[BatchMessage]], None],
        poison: Callable[[Claim, BatchEntry], BatchReport],
        pause: float = SWEEP_PAUSE,
        lost_after: float = LOST_AFTER,
    ) -> SweepFindings:
        """Send again what was lost and split what kills workers; at most one sweep per ``pause`` seconds in all.

        ``waiting`` tells how many messages the queue holds (None: the broker cannot tell); ``send`` sends
        messages; ``poison`` makes the report of a batch whose only URL wore it out.
        """
        findings = SweepFindings()
        if not self._redis.set(f"{self._prefix}sweeping", holder, nx=True, px=max(1, int(pause * 1000))):
            return findings
        jobs = [_text(job) for job in cast("set[bytes]", self._redis.smembers(self._active))]
        if not jobs:
            return findings
        was_watched = self._watch(pause)
        depth = waiting()
        lost_before = self._run(
            "overtaken", [self._taken], [-1 if depth is None else depth, lost_after, OVERTAKEN_AFTER]
        )
        limits = [int(was_watched), lost_before or "", MOST_ATTEMPTS, _SWEPT_AT_ONCE, self._keep]
        for job in jobs:
            lost, worn = self._run("sweep", [*self._keys(job, *_JOB_KEYS), self._active], [job, *limits])
            if lost:
                findings.sent[job] = [_text(batch) for batch in lost]
                send([BatchMessage(job, batch) for batch in findings.sent[job]])
            for batch in worn:
                self._relieve(job, _text(batch), holder, poison, findings)
        return findings

    def _watch(self, pause: float) -> bool:
        """Note that the ledger is looked after, and say whether it was until now.

        After a silence (Redis was away, every worker frozen) leases have run out through no fault of their
        holders, who get until the next sweep to renew them.
        """
        silence = max(3 * pause, self._lease / 2)
        before = self._redis.set(f"{self._prefix}watched", b"1", px=max(1, int(silence * 1000)), get=True)
        return before is not None

    def _relieve(
        self,
        job: str,
        batch: str,
        holder: str,
        poison: Callable[[Claim, BatchEntry], BatchReport],
        findings: SweepFindings,
    ) -> None:
        """Split a worn batch in halves, each with two attempts left; end it by name when it is a single URL."""
        claim = self.claim(job, batch, holder=holder, even_worn=True)
        if claim is None:
            return
        try:
            entries = unpack_entries(claim.payload)
        except MessageError:
            return  # of another version: a sweep that can read it will come; the others must not wait for it
        if len(entries) == 1:
            if self.close(claim, poison(claim, entries[0])):
                findings.poisoned.setdefault(job, []).append(batch)
            return
        middle = len(entries) // 2
        halves = [Child(pack_entries(half), len(half)) for half in (entries[:middle], entries[middle:])]
        now = self.now()
        report = BatchReport(
            job=job, batch=batch, worker=holder, pid=0, queued=claim.queued, started=now, finished=now,
            elapsed=0.0, busy=0.0, outcomes=(), handed_off=[child_batch(batch, 1), child_batch(batch, 2)],
        )  # fmt: skip
        if self.close(claim, report, halves, worn=MOST_ATTEMPTS - 2):
            findings.split.setdefault(job, []).append(batch)

    def now(self) -> float:
        """Return Redis's clock in Unix seconds."""
        whole, micro = self._redis.time()
        return whole + micro / 1e6

    # ------------------------------------------------------------------ keys

    @property
    def _jobs(self) -> str:
        return f"{self._prefix}jobs"

    @property
    def _active(self) -> str:
        return f"{self._prefix}active"

    @property
    def _taken(self) -> str:
        """Which messages of the queue were taken, over all jobs: how far, and when last."""
        return f"{self._prefix}taken"

    def _key(self, job: str, part: str = "") -> str:
        return f"{self._prefix}job:{job}:{part}" if part else f"{self._prefix}job:{job}"

    def _keys(self, job: str, *parts: str) -> list[str]:
        return [self._key(job, part) for part in parts]

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return self._scripts[script](keys=list(keys), args=list(arguments))


_JOB_KEYS = ("", "batches", "payloads", "sent", "leases", "due", "closed", "overdue")


def _result_key(job: str, batch: str) -> str:
    return RESULT_KEY_PREFIX + task_id(job, batch)


def _counters(report: BatchReport) -> list[str | int]:
    counts = report.counts()
    stored = sum(row.get("bytes") or 0 for row in report.outcomes if row["outcome"] == "ok")
    flat: list[str | int] = []
    for name, amount in [*((name, counts[name]) for name in _COUNTED), ("bytes", stored)]:
        if amount:
            flat += [name, amount]
    return flat


@lru_cache(maxsize=64)
def _policy(text: bytes) -> JobPolicy:
    return JobPolicy.from_wire(wire.from_json(text))


@cache
def _scripts() -> dict[str, str]:
    folder = files("contract") / "lua"
    return {
        entry.name.removesuffix(".lua"): entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua")
    }


def _in_slices(items: Iterable[NewBatch], size: int) -> Iterator[list[NewBatch]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
