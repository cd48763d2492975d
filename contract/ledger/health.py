"""Which workers there are, and which of them cannot do all they should, and why: a record ends with its worker.

It lies in Redis, so that whoever waits for a job sees on any machine what holds it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from contract.errors import MessageError
from contract.records import wire

if TYPE_CHECKING:
    import redis

BELIEVED_FOR = 15  # seconds a record is kept: a worker renews it while it lasts

_FORGOTTEN_AFTER = 60.0  # seconds a worker that fell silent is still named

_MOST = 500  # workers named
_LONGEST = 300  # characters of a reason


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a worker suffers from; ``takes_work`` is False where it takes no batches meanwhile."""

    reason: str  # a sentence for people
    takes_work: bool = False

    def __str__(self) -> str:
        return f"{'is short of space' if self.takes_work else 'takes no work'}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Census:
    """``workers`` are those heard of within a minute, by the seconds since then; ``troubles`` what some suffer from."""

    workers: Mapping[str, float]
    troubles: Mapping[str, Trouble]

    @property
    def present(self) -> Sequence[str]:
        """Those that are there: a worker says so every few seconds, and what troubles it as long as it does."""
        heard = [worker for worker, age in self.workers.items() if age < BELIEVED_FOR]
        return sorted({*heard, *self.troubles})


class WorkerHealth:
    """The records of all workers of a cluster. Methods raise ``redis.exceptions.RedisError``, as the ledger's do."""

    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        self._redis = client
        self._troubled = f"{prefix}troubled"  # a set of names; a record each below it
        self._records = f"{prefix}trouble:"
        self._workers = f"{prefix}workers"  # names, by when each was last heard of
        self._beat = client.register_script((files("contract.ledger") / "lua" / "beat.lua").read_text("utf-8"))

    def beat(self, worker: str) -> None:
        """Say that a worker is there, for the next BELIEVED_FOR seconds."""
        self._beat(keys=[self._workers], args=[worker, _FORGOTTEN_AFTER])

    def report(self, worker: str, trouble: Trouble) -> None:
        """Say so for the next BELIEVED_FOR seconds."""
        record = {"reason": trouble.reason[:_LONGEST], "takes_work": trouble.takes_work}
        with self._redis.pipeline() as pipe:
            pipe.sadd(self._troubled, worker)
            pipe.set(self._records + worker, wire.to_json(record), ex=BELIEVED_FOR)
            pipe.execute()

    def clear(self, worker: str) -> None:
        """All is well again."""
        with self._redis.pipeline() as pipe:
            pipe.srem(self._troubled, worker)
            pipe.delete(self._records + worker)
            pipe.execute()

    def troubles(self) -> Mapping[str, Trouble]:
        """Return what is known, by worker; one that said nothing more has gone."""
        return self.census().troubles

    def census(self) -> Census:
        """Return the workers there are, and what they suffer from; one that said nothing more has gone."""
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


def _trouble(record: bytes) -> Trouble:
    try:
        found = wire.from_json(record)
        return Trouble(str(found["reason"]), takes_work=bool(found["takes_work"]))
    except (MessageError, KeyError, TypeError):
        return Trouble("It runs another version, and its trouble cannot be read.")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
