"""A Redis with the ledger in it, and the environment a worker needs to join."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

from contract.cluster.broker import build_app, connect
from contract.cluster.dispatch import send_batches
from contract.cluster.settings import ClusterSettings
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import NewBatch
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from tests.support.celery_worker import CeleryWorker
from tests.support.processes import PATIENCE, await_condition

POLICY = JobPolicy(allow_nets=("127.0.0.0/8",), first_wait=0.01)


class Cluster:
    """What a test does in a producer's place: enqueues batches, waits for their reports."""

    def __init__(self, broker: str, folder: Path, *, lease: float = 30.0) -> None:
        """Describe the cluster on the Redis at this URL; workers store and log below `folder`.

        `lease` is in seconds: a worker whose machine forgets it for that long loses its batch.
        """
        self.folder = folder
        self.output = folder / "out"
        self.environment = {
            "TRAWL_BROKER_URL": broker,
            "TRAWL_LEASE": str(lease),
            "TRAWL_OUTPUT": str(self.output),
            "TRAWL_DRAIN": "0.5",
        }
        settings = ClusterSettings.from_environment(self.environment)
        self.app: Celery = build_app(settings)
        self.queue = settings.queue
        self.ledger = RedisLedger(connect(settings, timeout=PATIENCE * 10.0), prefix=settings.prefix, lease=lease)

    def worker(self, *, concurrency: int = 1, pool: str = "prefork", **variables: str) -> CeleryWorker:
        """Describe a worker, with these variables set beside the cluster's own."""
        return CeleryWorker(self.folder, env=self.environment | variables, pool=pool, concurrency=concurrency)

    def enqueue(self, job: str, *batches: list[str], policy: JobPolicy = POLICY) -> None:
        self.ledger.create(job, policy)
        new = [
            NewBatch(str(number), pack_entries(BatchEntry(url=url) for url in urls), len(urls))
            for number, urls in enumerate(batches, start=1)
        ]
        waiting = self.ledger.open(job, new)
        send_batches(self.app, [BatchMessage(job, batch) for batch in waiting])
        self.ledger.seal(job, {"urls": sum(len(urls) for urls in batches)})

    def reports(self, job: str) -> list[BatchReport]:
        """Wait until the job is finished and return its reports."""

        def finished() -> bool:
            record = self.ledger.job(job)
            return record is not None and record.is_finished

        await_condition(lambda: finished() or None, within=40.0, what=f"the end of job {job}")
        closed = self.ledger.closed(job)
        return [BatchReport.from_result(blob) for blob in self.ledger.reports(job, closed) if blob is not None]
