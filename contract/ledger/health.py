"""Which workers are alive, and which of them have trouble: records in Redis that expire with their worker.

Followers read them on any machine, to show what holds a job up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from contract.errors import MessageError
from contract.ledger.reasons import Reason
from contract.records import wire

if TYPE_CHECKING:
    import redis

BELIEVED_FOR = 15  # seconds until a record expires unless the worker renews it

_FORGOTTEN_AFTER = 60.0  # seconds a silent worker is still listed

_MOST = 500  # workers listed
_LONGEST = 300  # characters of a reason


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem of a worker; ``takes_work`` is False if it takes no batches meanwhile."""

    reason: str  # a sentence for people
    takes_work: bool = False
    label: Reason = Reason.OTHER  # the same for metrics

    def __str__(self) -> str:
        return f"{'is short of space' if self.takes_work else 'takes no work'}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Census:
    """``workers`` have reported within a minute: seconds since then by name; ``troubles`` are theirs by name."""

    workers: Mapping[str, float]
    troubles: Mapping[str, Trouble]

    @property
    def present(self) -> Sequence[str]:
        """The names of the workers that are alive: each reports every few seconds."""
        heard = [worker for worker, age in self.workers.items() if age < BELIEVED_FOR]
        return sorted({*heard, *self.troubles})


class WorkerHealth:
    """The records of all workers of a cluster. Methods raise ``redis.exceptions.RedisError`` like the ledger's."""

    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        self._redis = client
        self._troubled = f"{prefix}troubled"  # a set of names; each has a record below
        self._records = f"{prefix}trouble:"
        self._prefix = prefix
        self._workers = f"{prefix}workers"  # names, by the time of their last report
        self._beat = client.register_script((files("contract.ledger") / "lua" / "beat.lua").read_text("utf-8"))

    def beat(self, worker: str, *, computes: Collection[str] = ()) -> None:
        """Report that a worker is alive, for the next BELIEVED_FOR seconds, and can compute these digests."""
        digests = [computing_key(self._prefix, digest) for digest in computes]
        self._beat(keys=[self._workers, *digests], args=[worker, _FORGOTTEN_AFTER, BELIEVED_FOR])

    def report(self, worker: str, trouble: Trouble) -> None:
        """Record a worker's trouble for the next BELIEVED_FOR seconds."""
        record = {"reason": trouble.reason[:_LONGEST], "takes_work": trouble.takes_work, "label": trouble.label}
        with self._redis.pipeline() as pipe:
            pipe.sadd(self._troubled, worker)
            pipe.set(self._records + worker, wire.to_json(record), ex=BELIEVED_FOR)
            pipe.execute()

    def clear(self, worker: str) -> None:
        """Remove a worker's trouble."""
        with self._redis.pipeline() as pipe:
            pipe.srem(self._troubled, worker)
            pipe.delete(self._records + worker)
            pipe.execute()

    def troubles(self) -> Mapping[str, Trouble]:
        """Return the troubles by worker; expired ones are left out."""
        return self.census().troubles

    def census(self) -> Census:
        """Return the workers that are alive and their troubles; expired records are left out."""
        with self._redis.pipeline() as pipe:
            pipe.smembers(self._troubled)
            pipe.zrevrangebyscore(self._workers, "+inf", "-inf", start=0, num=_MOST, withscores=True)
            pipe.time()
            troubled, heard, (whole, micro) = pipe.execute()
        now = whole + micro / 1e6
        ages = {_text(name): max(0.0, now - at) for name, at in heard}
        workers = {name: age for name, age in ages.items() if age < _FORGOTTEN_AFTER}
        return Census(workers, self._troubles_of(sorted(map(_text, troubled))))

    def _troubles_of(self, workers: Sequence[str]) -> Mapping[str, Trouble]:
        if not workers:
            return {}
        found = cast("list[bytes | None]", self._redis.mget([self._records + worker for worker in workers]))
        gone = [worker for worker, record in zip(workers, found, strict=True) if record is None]
        if gone:
            self._redis.srem(self._troubled, *gone)
        return {worker: _trouble(record) for worker, record in zip(workers, found, strict=True) if record is not None}


def computing_key(prefix: str, digest: str) -> str:
    """Return the key that exists while a worker of a cluster is alive that can compute a digest."""
    return f"{prefix}computes:{digest}"


def _trouble(record: bytes) -> Trouble:
    try:
        found = wire.from_json(record)
        return Trouble(str(found["reason"]), bool(found["takes_work"]), Reason.of(found.get("label")))
    except (MessageError, KeyError, TypeError):
        return Trouble("It runs another version, whose trouble cannot be read here.")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
