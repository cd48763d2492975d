"""The cluster as a producer sees it, in memory: what is fed, and what is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from contract.ledger.channel import JobChannel
from contract.ledger.memory import RedisMemory
from contract.records.batches import unpack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from tests.support.clocked_ledger import record_of
from tests.support.memory_ledger import MemoryLedger
from tests.support.processes import free_port

OUT_OF_MEMORY = redis.exceptions.OutOfMemoryError("OOM")


class MemoryServices:
    """A cluster in memory that notes what it is sent, and has one job at most."""

    def __init__(self, job: str = "") -> None:
        self.ledger = MemoryLedger()
        if job:
            self.ledger.create(job, JobPolicy())
        self.sent: list[str] = []
        self.about: list[str] = []

    def fill(self, percent: int) -> None:
        self.ledger.fullness = RedisMemory(used=percent, most=100, policy="noeviction")
        self.ledger.failures["open"] = [OUT_OF_MEMORY] * 1000 if self.ledger.fullness.is_full else []

    @property
    def job(self) -> str:
        (job,) = self.ledger.jobs()
        return job

    @property
    def opened(self) -> dict[str, list[str]]:
        """Return the URLs of each batch that is open."""
        batches = self.ledger.job_of(self.job).batches
        return {name: [entry.url for entry in unpack_entries(each.payload)] for name, each in batches.items()}

    @property
    def stored(self) -> list[int]:
        """Return how many outcomes each report has."""
        reports = self.ledger.reports(self.job, self.ledger.closed(self.job))
        return [len(BatchReport.from_result(blob or b"").outcomes) for blob in reports]

    @property
    def totals(self) -> Mapping[str, int] | None:
        return record_of(self.ledger, self.job).totals

    @property
    def ended(self) -> int:
        """How many URLs are open, or were refused?"""
        return sum(self.stored) + sum(map(len, self.opened.values()))

    def send(self, messages: Sequence[BatchMessage], about: Sequence[str] = ()) -> None:
        self.sent += [message.batch for message in messages]
        self.about += about

    def sweep(self, holder: str) -> None:
        """Nothing is lost."""

    def channel(self, job: str, on_snapshot: Callable[[bytes], None] | None = None) -> JobChannel:
        """Return a channel without announcements."""
        return JobChannel(redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0)), [job], sleep=self.ledger.advance)
