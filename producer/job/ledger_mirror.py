"""Copies of a followed job's open batches, from which the job is opened again if Redis loses it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contract.errors import ServiceError
from contract.ledger.values import JobRecord
from contract.records.policy import JobPolicy
from producer.cluster.client import RedisFullError, Retrying, Services
from producer.job.follower import Follower
from producer.job.sender import BatchSender, NewJob
from producer.storage.journal import Journal, KeptBatch

_FEEDER_HAS = 5.0  # seconds a feeder gets to notice that its job was cancelled, and to count the lines it has not read
_COPIED_AT_ONCE = 100  # batches: a page of the ledger


class LedgerMirror:
    """The feeding side of a job that another command feeds or fed: copies batches, and sends them again after a loss.

    A batch that was closed and lost before it could be copied or collected is gone: the sums at the end show it.
    Per-host headers are not copied, because the journal must not hold secrets; a job that has any is not opened again.
    """

    def __init__(
        self, job: str, *, journal: Journal, follower: Follower, services: Services, retrying: Retrying
    ) -> None:
        self._job = job
        self._journal = journal
        self._follower = follower
        self._services = services
        self._retrying = retrying
        self.is_behind = False
        self._unfed_since: float | None = None  # since when a cancelled job has been closed entirely, but not sealed

    @property
    def held_up(self) -> str:
        """Empty: the command that feeds the job says what holds it up."""
        return ""

    @property
    def is_done(self) -> bool:
        """Are all opened batches closed?"""
        return self._follower.is_finished and not self.is_behind and self._is_fed()

    @property
    def totals(self) -> Mapping[str, int]:
        return self._follower.totals

    def cancel(self) -> None:
        """Nothing to do: the command that feeds the job stops reading, and counts what was not read."""

    def begin(self) -> None:
        """Copy all open batches, before the first outcomes are collected."""
        record = self._retrying.call(lambda: self._services.ledger.job(self._job))
        while record is not None and self._copy(record):
            pass

    def step(self) -> bool:
        """Copy one page of batches opened since; False if there was nothing to do."""
        if self.is_behind:
            self.recover()
            return not self.is_behind
        record = self._follower.record
        return record is not None and self._copy(record)

    def recover(self) -> None:
        """Open again the batches that the manifest lacks; safe at any time.

        Raises:
            ServiceError: the job cannot be restored from the copies.
        """
        policy = self._journal.fact("policy")
        if policy is None:
            raise ServiceError(f"Redis lost job {self._job} before any of it was copied: enqueue its list again.")
        if self._journal.fact("is_secretive"):
            raise ServiceError(
                f"Redis lost job {self._job}, and its per-host headers are kept nowhere else: enqueue its list again."
            )
        job = NewJob(id=self._job, label=str(self._journal.fact("label")), policy=JobPolicy.from_wire(policy))
        sender = BatchSender(job, journal=self._journal, services=self._services, retrying=self._retrying)
        try:
            sender.open_again(self._journal.fact("sealed_with"))
            self.is_behind = False
        except RedisFullError:
            self.is_behind = True

    def _is_fed(self) -> bool:
        """Has the command that feeds the job finished, or, for a cancelled job, had enough time to?"""
        record = self._follower.record
        if record is None or record.is_sealed:
            return True
        self._unfed_since = self._unfed_since or time.monotonic()
        return time.monotonic() - self._unfed_since > _FEEDER_HAS

    def _copy(self, record: JobRecord) -> bool:
        if self._journal.fact("policy") is None:
            self._journal.note(policy=record.policy.to_wire(), label=record.label, is_secretive=record.is_secretive)
        if record.totals is not None and self._journal.fact("sealed_with") is None:
            self._journal.note(sealed_with=dict(record.totals))
        copied = int(self._journal.fact("copied", 0))
        if copied >= record.opened:
            return False
        last = min(copied + _COPIED_AT_ONCE, record.opened)
        batches = [str(number) for number in range(copied + 1, last + 1)]
        payloads = self._retrying.call(lambda: self._services.ledger.payloads(self._job, batches))
        found = [
            KeptBatch(batch, 0, payload)
            for batch, payload in zip(batches, payloads, strict=True)
            if payload is not None
        ]
        self._journal.keep(found, copied=last)
        return True
