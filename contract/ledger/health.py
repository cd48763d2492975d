"""Which workers cannot do all they should, and why: a record each, which ends with the worker that renews it.

It lies in Redis, so that whoever waits for a job sees on any machine what holds it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from contract.errors import MessageError
from contract.records import wire

if TYPE_CHECKING:
    import redis

BELIEVED_FOR = 15  # seconds a record is kept: a worker renews it while it lasts

_LONGEST = 300  # characters of a reason


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a worker suffers from; ``takes_work`` is False where it takes no batches meanwhile."""

    reason: str  # a sentence for people
    takes_work: bool = False

    def __str__(self) -> str:
        return f"{'is short of space' if self.takes_work else 'takes no work'}: {self.reason}"


class WorkerHealth:
    """The records of all workers of a cluster. Methods raise ``redis.exceptions.RedisError``, as the ledger's do."""

    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        self._redis = client
        self._troubled = f"{prefix}troubled"  # a set of names; a record each below it
        self._records = f"{prefix}trouble:"

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
        workers = sorted(
            name.decode("utf-8", "replace") for name in cast("set[bytes]", self._redis.smembers(self._troubled))
        )
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
        return Trouble("It is of another version and says something that cannot be read.")
