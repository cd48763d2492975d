"""The ledger's queries: job records, waiting batches, reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from contract.errors import UnknownJobError
from contract.ledger.editions import Editions
from contract.ledger.keys import Keys, read_waiting_name, result_key
from contract.ledger.memory import RedisMemory
from contract.ledger.values import EDITION, Held, JobRecord, JobState, OpenBatches, Piece, Waiting
from contract.records import wire
from contract.records.messages import BatchMessage
from contract.records.outcomes import ENDINGS
from contract.records.policy import JobPolicy

ERROR = b"error "  # prefix of the fields of a job's record that count error classes

_SHOWN_HELD = 300  # batches whose holder is looked up


class Reading(Editions):
    """``contract/ledger/ports.py`` says what each method promises."""

    def job(self, job: str) -> JobRecord | None:
        keys = self._known.get(job, self.keys)
        with self._redis.pipeline() as pipe:  # one transaction: the counts belong to the batches counted
            pipe.exists(self.earlier.job(job))
            pipe.hgetall(keys.job(job))
            pipe.hlen(keys.job(job, "batches"))
            pipe.zcard(keys.job(job, "leases"))
            pipe.zcard(keys.job(job, "closed"))
            is_earlier, fields, count, running, undrained = pipe.execute()
        if job not in self._known:
            self._remember(job, self.earlier if is_earlier else self.keys)
            if is_earlier:
                return self.job(job)
        return record_of(job, fields, count, running, undrained)

    def open_batches(self, job: str) -> OpenBatches:
        keys = self.keys_of(job)
        leases = keys.job(job, "leases")
        with self._redis.pipeline() as pipe:  # one transaction: the counts belong together
            pipe.hlen(keys.job(job, "batches"))
            pipe.zcard(leases)
            pipe.zrevrangebyscore(leases, "+inf", "-inf", start=0, num=_SHOWN_HELD)
            pipe.zcard(keys.job(job, "due"))
            pipe.zcard(keys.job(job, "parcels"))
            pipe.hget(keys.job(job), "gathered")
            pipe.zrangebyscore(keys.job(job, "due"), "-inf", "+inf", start=0, num=1, withscores=True)
            pipe.zrangebyscore(keys.job(job, "waits"), "-inf", "+inf", start=0, num=1, withscores=True)
            pipe.hlen(keys.ahead)
            pipe.hmget(keys.job(job), "state", "pauser")
            pipe.time()
            *counts, (state, pauser), (whole, micro) = pipe.execute()
        open_, running, batches, deferred, parked, gathered, *firsts, held = counts
        dues = [due for first in firsts for _, due in first]
        return OpenBatches(
            open=open_ - int(gathered or 0),
            running=running,
            deferred=deferred + parked,
            due=max(0.0, min(dues) - whole - micro / 1e6) if dues else None,
            held=self._held_by(job, batches),
            elsewhere=max(0, held - running),
            state=JobState((state or b"running").decode()),
            pauser=(pauser or b"").decode("utf-8", "replace"),
        )

    def _held_by(self, job: str, batches: Sequence[bytes]) -> Mapping[str, Held]:
        found: dict[str, Held] = {}
        texts = self._redis.hmget(self.keys_of(job).job(job, "batches"), batches) if batches else []
        for batch, text in zip(batches, cast("list[bytes | None]", texts), strict=True):
            record = wire.from_json(text) if text is not None else {}
            worker = str(record.get("token", "")).rpartition("/")[0]
            if worker:
                held = found.get(worker, Held((), 0))
                found[worker] = Held([*held.batches, text_of(batch)], held.urls + int(record.get("urls", 0)))
        return found

    def jobs(self) -> list[str]:
        """Return the ids of all known jobs, oldest first, and drop those that have expired."""
        return [*self._jobs_of(self.earlier), *self._jobs_of(self.keys)]

    def _jobs_of(self, keys: Keys) -> list[str]:
        listed = [text_of(job) for job in cast("list[bytes]", self._redis.zrange(keys.jobs, 0, -1))]
        with self._redis.pipeline(transaction=False) as pipe:
            for job in listed:
                pipe.exists(keys.job(job))
            is_there = dict(zip(listed, pipe.execute(), strict=True))
        gone = [job for job in listed if not is_there[job]]
        if gone:
            self._redis.zrem(keys.jobs, *gone)
        return [job for job in listed if is_there[job]]

    def waits(self, job: str, limit: int = 20) -> list[Waiting]:
        keys = self.keys_of(job)
        found: Any = self._redis.zrange(keys.job(job, "waits"), 0, limit - 1, withscores=True)
        if not found:
            return []
        names = [text_of(parcel).partition("/")[2] for parcel, _ in found]
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.job(job, "parked"), [parcel for parcel, _ in found])
            pipe.hmget(keys.job(job, "batches"), names)
            counts, texts = pipe.execute()
        waits, now = list[Waiting](), self.now()
        for (parcel, due), count, text in zip(found, counts, texts, strict=True):
            hosts = wire.from_json(text)["hosts"] if text else {text_of(parcel): int(count or 0)}
            waits += [Waiting(host, max(0.0, due - now), urls) for host, urls in hosts.items()]
        return waits

    # ------------------------------------------------------------------ what waits for workers

    def count_waiting(self) -> int:
        return self._redis.zcard(self.keys.sent) + self._redis.zcard(self.earlier.sent)

    def count_in_line(self, job: str) -> int:
        keys = self.keys_of(job)
        with self._redis.pipeline() as pipe:  # one transaction: batches move from one to the other
            pipe.zcard(keys.job(job, "line"))
            pipe.zcard(keys.job(job, "aside"))
            return sum(pipe.execute())

    def count_messages(self) -> int:
        return sum(self._redis.llen(key) for key in self._queue)

    def longest_waiting(self, limit: int, *, waited: float = 0.0, edition: int = EDITION) -> list[BatchMessage]:
        before = self.now() - waited if waited else "+inf"
        found = self._redis.zrangebyscore(self.keys_at(edition).sent, "-inf", before, start=0, num=limit)
        return [read_waiting_name(name) for name in cast("list[bytes]", found)]

    def seconds_untaken(self, edition: int = EDITION) -> float:
        last = cast("bytes | None", self._redis.hget(self.keys_at(edition).taken, "last"))
        return self.now() - float(last or 0)

    def note_sent(self, edition: int = EDITION) -> None:
        self._redis.hset(self.keys_at(edition).taken, "last", repr(self.now()))

    # ------------------------------------------------------------------ what is closed, and what is open

    def closed(self, job: str, limit: int = 500) -> list[str]:
        found = self._redis.zrange(self.keys_of(job).job(job, "closed"), 0, limit - 1)
        return [text_of(batch) for batch in cast("list[bytes]", found)]

    def reports(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        if not batches:
            return []
        return cast("list[bytes | None]", self._redis.mget([result_key(job, batch) for batch in batches]))

    def payloads(self, job: str, batches: Sequence[str]) -> list[bytes | None]:
        if not batches:
            return []
        keys = self.keys_of(job)
        with self._redis.pipeline() as pipe:
            pipe.hexists(keys.job(job), "policy")
            pipe.hmget(keys.job(job, "payloads"), list(batches))
            is_known, found = pipe.execute()
        if not is_known:
            raise UnknownJobError(f"Redis no longer knows job {job}.")
        return cast("list[bytes | None]", found)

    def held(self, job: str, batches: Sequence[str]) -> set[str]:
        if not batches:
            return set()
        scores = self._redis.zmscore(self.keys_of(job).job(job, "leases"), list(batches))
        return {batch for batch, score in zip(batches, scores, strict=True) if score is not None}

    def memory(self) -> RedisMemory:
        return RedisMemory.of(self._redis.info("memory"))


def record_of(job: str, fields: Mapping[bytes, bytes], count: int, running: int, undrained: int) -> JobRecord | None:
    if b"policy" not in fields or b"created" not in fields:
        return None
    totals = fields.get(b"totals")
    return JobRecord(
        job=job,
        label=fields.get(b"label", b"").decode("utf-8", "replace"),
        policy=policy_of(fields[b"policy"]),
        created=float(fields[b"created"]),
        totals=wire.from_json(totals) if totals else None,
        counts={name: int(fields.get(name.encode(), 0)) for name in (*ENDINGS, "bytes")},
        errors={
            name[len(ERROR) :].decode("utf-8", "replace"): int(number)
            for name, number in fields.items()
            if name.startswith(ERROR)
        },
        open=count,
        running=running,
        undrained=undrained,
        opened=int(fields.get(b"opened", 0)),
        is_secretive=b"secrets" in fields,
        state=JobState(fields.get(b"state", b"running").decode()),
        pauser=fields.get(b"pauser", b"").decode("utf-8", "replace"),
        priority=int(fields.get(b"priority", 0)),
        weight=float(fields.get(b"weight", 1)),
    )


@lru_cache(maxsize=64)
def policy_of(text: bytes) -> JobPolicy:
    return JobPolicy.from_wire(wire.from_json(text))


def text_of(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def pieces_of(flat: Sequence[Any]) -> list[Piece]:
    """Parse pieces as the scripts return them: name, payload and lateness in turn."""
    return [
        Piece(text_of(name), payload, float(late))
        for name, payload, late in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
