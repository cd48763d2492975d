"""Writes a job's batches to the ledger and sends them: new ones, and after a loss those that the manifest lacks."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from contract.errors import CancelledJobError
from contract.ledger import control
from contract.ledger.control import cancelled_report
from contract.ledger.values import JobState
from contract.records.batches import unpack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from producer.cluster.client import Retrying, Services
from producer.storage.journal import Journal, KeptBatch
from producer.storage.memory import Memory

_REOPENED_AT_ONCE = 4  # batches


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What the ledger is given for a job: its id, label, policy and per-host headers (packed)."""

    id: str
    label: str
    policy: JobPolicy
    secrets: bytes | None = None


class BatchSender:
    """Opens the batches of one job; every call may be repeated."""

    def __init__(self, job: NewJob, *, journal: Journal | Memory, services: Services, retrying: Retrying) -> None:
        self.job = job
        self._journal = journal
        self._services = services
        self._retrying = retrying
        self.is_cancelled = False  # by the ledger's last answer to a request to open batches
        self._holder = f"producer@{platform.node()}"

    def open(self, kept: Sequence[KeptBatch], about: Sequence[str] = ()) -> None:
        """Write batches to the ledger and send those that wait for a worker.

        Raises:
            UnknownJobError: the ledger does not know the job, or has lost it.
        """
        ledger, job = self._services.ledger, self.job.id
        new = [_counted(each) for each in kept if not each.is_report]
        waiting = self._opened(new) if new else set()
        for each in kept:
            if each.is_report:
                ledger.store(job, each.report or BatchReport.from_result(each.payload), each.payload)
        wanted = [index for index, each in enumerate(new) if each.batch in waiting]
        if wanted:
            messages = [BatchMessage(job, new[index].batch) for index in wanted]
            self._services.send(messages, [about[index] for index in wanted] if about else ())

    def _opened(self, new: Sequence[KeptBatch]) -> set[str]:
        """Open these and return those that wait for a worker; if the job was cancelled, they end instead."""
        ledger, job = self._services.ledger, self.job.id
        try:
            return set(ledger.open(job, [each.to_new() for each in new]))
        except CancelledJobError:
            self.is_cancelled = True
            for each in new:
                entries = unpack_entries(each.payload)
                ledger.store(job, cancelled_report(job, each.batch, entries, worker=self._holder, queued=time.time()))
            return set()

    def open_again(self, totals: Mapping[str, int] | None) -> None:
        """Make sure that the ledger has the job and every batch that the manifest lacks; ``totals`` seal it.

        Raises:
            RedisFullError: it has no room now.
        """
        self._retrying.call(self._make_known, even_when_full=False)
        after = ""
        # A few at a time: a Redis with little memory left accepts some, which are fetched first.
        while kept := self._journal.uncollected(after, limit=_REOPENED_AT_ONCE):
            self._retrying.call(lambda: self.open(kept), even_when_full=False)
            after = kept[-1].batch
        if totals is not None:
            self._retrying.call(lambda: self._services.ledger.seal(self.job.id, totals), even_when_full=False)

    def _make_known(self) -> None:
        job = self.job
        if self._services.ledger.job(job.id) is None:
            self._services.ledger.create(job.id, job.policy, label=job.label, secrets=job.secrets)
            match self._journal.fact("halted"):
                case JobState.CANCELLED:
                    control.cancel(self._services.ledger, job.id)
                case JobState.PAUSED:
                    control.pause(self._services.ledger, job.id)


def _counted(kept: KeptBatch) -> KeptBatch:
    """Count the URLs of a batch from its payload."""
    return kept if kept.urls else replace(kept, urls=len(unpack_entries(kept.payload)))
