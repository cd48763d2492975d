"""The ledger in Redis: which batches are open, who holds each, and the atomic step that closes them.

It shares the result backend's Redis, so that storing a report and closing its batch are one step. Redis's clock is the
only clock. Every change is a script in ``contract/ledger/lua``, called by its digest.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import redis
from msgspec import structs

from contract.errors import CancelledJobError, MessageError, UnknownJobError
from contract.ledger.changing import MOST_ATTEMPTS, Changing
from contract.ledger.health import computing_key
from contract.ledger.keys import PARTS, SNAPSHOTS, Keys, result_key, waiting_name
from contract.ledger.reading import ERROR, pieces_of, policy_of, record_of, text_of
from contract.ledger.values import Changes, Child, Claim, Drain, NewBatch
from contract.records import wire
from contract.records.batches import PAYLOAD_VERSION
from contract.records.messages import BatchMessage
from contract.records.policy import POLICY_VERSION, JobPolicy
from contract.records.reports import BatchReport
from contract.records.snapshots import ProgressSnapshot

#: The policy fields we read; the last one comes from the first edition and is ignored.
_POLICY_FIELDS = "".join(f"{name}," for name in [*JobPolicy().to_wire(), "longest_retry_after"])

_OPENED_AT_ONCE = 100
_FORGOTTEN_AT_ONCE = 500
_GATHERED_AT_ONCE = 200

Item = TypeVar("Item")


class RedisLedger(Changing):
    """Opens, claims, renews and closes the batches of all jobs.

    Every method may raise ``redis.exceptions.RedisError`` if Redis is unreachable or out of memory, and may then be
    repeated. ``contract/ledger/ports.py`` says what each promises.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        prefix: str = "trawl:",
        lease: float = 20.0,
        keep: float = 7 * 86400.0,
        queue: Sequence[str] = (),
        lacks: Collection[str] = (),
    ) -> None:
        """``lease`` and ``keep`` are in seconds; ``queue`` has the keys of the queue's lists if this Redis holds it.

        ``lacks`` has the digests that this process cannot compute: ``claim_next`` leaves their batches to workers that
        can, while one is alive.
        """
        super().__init__(client, prefix, queue)
        self._lacks = "".join(f"{digest}," for digest in lacks)
        self._computes = computing_key(prefix, "")
        self._has_earlier = False  # were batches of the first edition waiting at the last claim?
        self.lease = lease
        self.keep = int(keep)
        self.changes = Changes()

    # ------------------------------------------------------------------ a job's life

    def create(self, job: str, policy: JobPolicy, *, label: str = "", secrets: bytes | None = None) -> bool:
        key = self.keys.job(job)
        self._remember(job, self.keys)
        created = self.now()
        fields: dict[str, Any] = {"policy": wire.to_json(policy.to_wire()), "label": label, "created": repr(created)}
        if secrets is not None:
            fields["secrets"] = secrets
        # One transaction: half a job, left by a kill in between, could neither be used nor created again.
        with self._redis.pipeline() as pipe:
            for name, value in fields.items():
                pipe.hsetnx(key, name, value)
            pipe.zadd(self.keys.jobs, {job: created}, nx=True)
            pipe.expire(key, self.keep)
            return bool(pipe.execute()[0])

    def open(self, job: str, batches: Iterable[NewBatch]) -> list[str]:
        """Write batches and return the ids of those that need a message.

        If the queue is in the same Redis, these are at most as many as messages are missing: a message means that some
        batch waits, not which. Opening a batch again changes nothing; one that is held or closed is not returned.

        Raises:
            UnknownJobError: the job was never created, or Redis has lost it.
            CancelledJobError: the job is cancelled; nothing is opened.
        """
        waiting: list[str] = []
        for some in _in_slices(batches, _OPENED_AT_ONCE):
            arguments: list[Any] = [job, self.keep, PAYLOAD_VERSION, len(self._queue), *self._queue]
            for each in some:
                arguments += [each.batch, each.urls, each.payload]
            keys = self.keys_of(job)
            shared = [keys.active, keys.sent, keys.job(job, "line"), keys.turns, keys.taken, keys.job(job, "aside")]
            shared += [keys.priorities, self.others(keys).sent]
            parts = keys.parts(job, "", "batches", "payloads", "closed")
            answer = self.call("open", [*parts, *shared], arguments)
            if answer is None:
                raise UnknownJobError(f"Redis no longer knows job {job}.")
            if answer == 0:
                raise CancelledJobError(f"Job {job} is cancelled.")
            waiting += [text_of(batch) for batch in answer]
        return waiting

    def store(self, job: str, report: BatchReport, result: bytes | None = None) -> bool:
        keys = [*self.keys_of(job).parts(job, "", "batches", "closed"), result_key(job, report.batch)]
        packed = report.to_result() if result is None else result
        answer = self.call("store", keys, [report.batch, packed, self.keep, *_counters(report)])
        if answer < 0:
            raise UnknownJobError(f"Redis no longer knows job {job}.")
        return bool(answer)

    def seal(self, job: str, totals: Mapping[str, int]) -> None:
        if not self.call("seal", [self.keys_of(job).job(job)], [wire.to_json(dict(totals)), self.keep]):
            raise UnknownJobError(f"Redis no longer knows job {job}.")

    def remove(self, job: str) -> None:
        while batches := self.closed(job):
            self.forget(job, batches)
        keys = self.keys_of(job)
        opened = cast("list[bytes]", self._redis.hkeys(keys.job(job, "batches")))
        priority = cast("bytes | None", self._redis.hget(keys.job(job), "priority")) or b"0"
        with self._redis.pipeline() as pipe:
            pipe.delete(*keys.parts(job, *PARTS))
            pipe.srem(keys.active, job)
            pipe.zrem(keys.jobs, job)
            pipe.zrem(keys.turns if priority == b"0" else f"{keys.turns}:{priority.decode()}", job)
            for some in _in_slices([waiting_name(job, text_of(batch)) for batch in opened], _FORGOTTEN_AT_ONCE):
                pipe.zrem(keys.sent, *some)
                pipe.zrem(keys.overdue, *some)
            pipe.execute()

    # ------------------------------------------------------------------ a worker's side

    def claim(self, job: str, batch: str, *, holder: str, even_worn: bool = False) -> Claim | None:
        """Claim one batch; None if it is closed, held, deferred, unknown or worn.

        A *worn* batch has lost its worker MOST_ATTEMPTS times: only the sweep claims it, to split it.

        Raises:
            MessageError: the batch has a version that this process cannot read; it is not claimed.
        """
        most = 0 if even_worn else MOST_ATTEMPTS
        return self._claim(self.keys_of(job), waiting_name(job, batch), holder, most=most)

    def claim_next(self, *, holder: str, waited: float, message: BatchMessage | None = None) -> Claim | None:
        """Claim the next batch, of any job, that has waited for at least ``waited`` seconds; None if there is none.

        Overdue batches come first, then the job that has had the fewest turns for its weight, and of that job the batch
        that has waited longest. The batch that ``message`` names makes no difference; without a message, one is removed
        from the queue. Waiting batches of the first edition get every other claim.

        Raises:
            MessageError: all waiting batches are left to other workers: their version cannot be read here, or their
                digest not computed. Nothing is claimed.
        """

        def claim(keys: Keys) -> Claim | None:
            return self._claim(keys, "", holder, waited=waited, has_message=message is not None)

        if self._has_earlier:
            self._has_earlier = False
            if (found := claim(self.earlier)) is not None:
                return found
        try:
            found = claim(self.keys)
        except MessageError:
            if not self._has_earlier:
                raise
            found = None
        return claim(self.earlier) if found is None and self._has_earlier else found

    def _claim(
        self,
        keys: Keys,
        waits: str,
        holder: str,
        *,
        most: int = MOST_ATTEMPTS,
        waited: float = 0.0,
        has_message: bool = True,
    ) -> Claim | None:
        token = f"{holder}/{secrets.token_hex(8)}"
        shared = [keys.sent, keys.overdue, keys.taken, keys.ahead, keys.turns, keys.priorities, self.others(keys).sent]
        about = [keys.of_jobs, waits, token, self.lease, most, self.keep, waited, int(has_message)]
        reads = [_POLICY_FIELDS, POLICY_VERSION, PAYLOAD_VERSION, "" if waits else self._lacks, self._computes]
        answer = self.call("claim", shared, [*about, *reads, *self._queue])
        if not isinstance(answer, list):
            return None
        has_others, *answer = answer
        if keys is self.keys:
            self._has_earlier = bool(has_others)
        if len(answer) == 1:
            raise MessageError(_why_left(text_of(answer[0])))
        if keys is self.keys:
            self.changes.hear(answer[-1])
        if len(answer) == 2:  # none waits
            return None
        job, batch, payload, policy, hidden, queued, attempt, urls, late, pieces, owns, changes = answer
        self._remember(text_of(job), keys)
        held = text_of(job), text_of(batch), token
        edition, parts = self.edition_of(keys), pieces_of(pieces)
        known = policy_of(policy), float(queued)
        return Claim(*held, payload, *known, attempt, urls, hidden, changes, edition, float(late), parts, bool(owns))

    def send_snapshot(self, job: str, snapshot: ProgressSnapshot) -> None:
        self._redis.publish(self.keys_of(job).job(job, SNAPSHOTS), snapshot.to_wire())

    def renew(self, claim: Claim) -> bool:
        keys = self.keys_at(claim.edition).parts(claim.job, "batches", "leases")
        return bool(self.call("renew", keys, [claim.batch, claim.token, self.lease, self.keep]))

    def close(
        self,
        claim: Claim,
        report: BatchReport,
        children: Sequence[Child] = (),
        *,
        worn: int = 0,
        kept: Claim | None = None,
    ) -> bool:
        """Store the report, close the batch and open its children in one atomic step; False if the lease was lost.

        ``report.handed_off`` must name the children in order. ``worn`` is the number of attempts the children start
        with. ``kept``, made by ``Claim.kept``, is one more child, the last: the caller holds it already, and it keeps
        the number of attempts of its batch.
        """
        job, batch = claim.job, claim.batch
        counters = _counters(report)
        if claim.pieces:
            report = structs.replace(report, gathered=[piece.batch for piece in claim.pieces])
        arguments: list[Any] = [
            job,
            batch,
            claim.token,
            report.to_result(),
            self.keep,
            worn,
            PAYLOAD_VERSION,
            len(counters) // 2,
            *counters,
        ]
        for index, child in enumerate(children, start=1):
            hosts = wire.to_json(dict(child.hosts)) if child.hosts else ""
            arguments += [claim.child(index), child.urls, child.after, "", hosts, child.payload]
        if kept is not None:
            arguments += [kept.batch, kept.urls, self.lease, kept.token, "", kept.payload]
        keys = self.keys_at(claim.edition)
        shared = [keys.active, result_key(job, batch), keys.sent, keys.overdue, keys.ahead, keys.job(job, "aside")]
        parked = [*keys.parts(job, "waits", "parcels", "parked", "owners"), keys.sweeping]
        changes = self.call("close", [*keys.parts(job, *PARTS[:6]), *shared, keys.taken, *parked], arguments)
        if changes is None:
            return False
        if keys is self.keys:
            self.changes.hear(changes)
        return True

    def gather(self, job: str) -> list[str]:
        keys = self.keys_of(job)
        parts = keys.parts(job, "", "batches", "waits", "parcels", "parked", "owners")
        heads = self.call("gather", [*parts, keys.sent, keys.overdue, keys.hosts], [job, self.keep, _GATHERED_AT_ONCE])
        return [text_of(batch) for batch in heads]

    # ------------------------------------------------------------------ a follower's side

    def drain(self, job: str, place: str, *, forget: Sequence[str] = (), limit: int = 40) -> Drain | None:
        """Delete the reports in ``forget`` and return the next ``limit`` ones; None if the job is unknown.

        ``place`` identifies the collector. The first one is recorded and no other gets any reports: two followers would
        each get some of the outcomes, and delete them before the other has seen them.
        """
        keys = self.keys_of(job)
        touched = [*keys.parts(job, "", "batches", "leases", "closed"), keys.sweeping, keys.job(job, "payloads")]
        answer = self.call("drain", touched, [place, result_key(job, ""), limit, *forget])
        if answer is None:
            return None
        found = answer[0].decode("utf-8", "replace")
        if len(answer) == 1:
            return Drain(found)
        _, flat, count, running, undrained, is_swept, batches, reports = answer
        record = record_of(job, dict(zip(flat[::2], flat[1::2], strict=True)), count, running, undrained)
        return Drain(found, record, list(zip(map(text_of, batches), reports, strict=True)), bool(is_swept))

    def forget(self, job: str, batches: Sequence[str]) -> None:
        """Delete reports that are stored elsewhere."""
        if not batches:
            return
        key = self.keys_of(job).job(job, "closed")
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrem(key, *batches)
            pipe.delete(*(result_key(job, batch) for batch in batches))
            pipe.execute()


def _why_left(answer: str) -> str:
    job, _, digest = answer.partition("/")
    if digest:
        return f"Job {job} wants the digest {digest}: it is left to the workers that can compute it."
    return (
        f"Job {job} was sent by a newer version that this worker cannot read in full:"
        " run the same Trawlnet on both sides."
    )


def _counters(report: BatchReport) -> list[str | int]:
    sums, flat = report.sums, list[str | int]()
    for name, amount in (*sums.counts.items(), ("bytes", sums.fetched)):
        if amount:
            flat += [name, amount]
    for error, amount in sums.errors.items():
        flat += [f"{ERROR.decode()}{error}", amount]
    return flat


def _in_slices(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
