"""What the ledger costs: the same runners on row A with the real ledger and with one in memory, turn by turn."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from benchmarks import corpora, relay, server
from benchmarks.corpora import ROWS
from benchmarks.meter import cpu_seconds, tree_below
from contract.cluster.broker import connect
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import Child, Claim, NewBatch
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from producer.cluster.embedded import Embedded
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.runner import BatchRunner
from worker.downloader import Downloader
from worker.engine.run import Run
from worker.settings import WorkerSettings

BATCH = 500  # URLs, as `trawl run` cuts them
_JOB = "cost"


class InMemory:
    """A ledger without Redis: what a runner asks of one, answered at once. Reports are made, and thrown away."""

    def __init__(self, policy: JobPolicy) -> None:
        self._policy = policy
        self._waiting: deque[NewBatch] = deque()

    def open(self, _job: str, batches: Sequence[NewBatch]) -> None:
        self._waiting.extend(batches)

    def claim_next(self, *, holder: str, waited: float) -> Claim | None:
        if not self._waiting or waited < 0:
            return None
        new = self._waiting.popleft()
        token = f"{holder}/{secrets.token_hex(8)}"
        return Claim(_JOB, new.batch, token, new.payload, self._policy, time.time(), 1, new.urls)

    def renew(self, _claim: Claim) -> bool:
        return True

    def close(
        self, _claim: Claim, report: BatchReport, _children: Sequence[Child], *, kept: Claim | None = None
    ) -> bool:
        del kept  # stragglers of a machine that is busy: they go on
        return bool(report.to_result())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks ledger-cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default: %(default)s)")
    told = parser.parse_args(arguments)
    row = ROWS["A"]
    with server.work_folder(None) as folder, server.running(folder, late=False) as nginx:
        corpora.prepare(row, nginx.corpora)
        policy = JobPolicy(allow_nets=("127.0.0.0/8", relay.NETWORK))
        urls = nginx.urls(row)
        batches = [
            NewBatch(str(number), pack_entries(BatchEntry(url=url) for url in urls[start : start + BATCH]), BATCH)
            for number, start in enumerate(range(0, len(urls), BATCH), start=1)
        ]
        with Embedded(folder / "services", environment={}, echo=print) as services:
            services.wait_until_ready()
            settings = services.settings
            ledger = RedisLedger(connect(settings), prefix=settings.prefix)

            def with_redis() -> RedisLedger:
                ledger.remove(_JOB)
                ledger.create(_JOB, policy)
                return ledger

            turns: dict[str, list[tuple[float, float]]] = {"in memory": [], "in Redis": []}
            for _ in range(told.rounds):
                turns["in memory"].append(_turn(folder / "out", lambda: cast("RedisLedger", InMemory(policy)), batches))
                turns["in Redis"].append(_turn(folder / "out", with_redis, batches))
    for name, taken in turns.items():
        rate = len(urls) / statistics.median(seconds for seconds, _ in taken)
        cpu = statistics.median(cpu for _, cpu in taken) / len(urls) * 1000
        print(f"ledger {name:10} {rate:9,.0f} URL/s  {cpu:.3f} CPU-s per 1,000, Redis counted")
    pairs = [redis[0] / memory[0] for memory, redis in zip(turns["in memory"], turns["in Redis"], strict=True)]
    print(f"in Redis / in memory: {statistics.median(pairs):.3f} of the time, pair by pair (target: at most 1.05)")
    return 0


def _turn(output: Path, make: Callable[[], RedisLedger], batches: Sequence[NewBatch]) -> tuple[float, float]:
    """Fetch everything in this process; return seconds and CPU seconds, from opening to the last batch closed."""
    shutil.rmtree(output, ignore_errors=True)
    ledger = make()
    downloader = Downloader(WorkerSettings(output=str(output)))

    def starts(claim: Claim, *, may_publish: Callable[[], bool], wake: Callable[[], None]) -> Run:
        entries = unpack_entries(claim.payload)
        return downloader.start(
            entries, claim.policy, queued=claim.queued, worker="cost", may_publish=may_publish, wake=wake
        )

    pids = [os.getpid(), *tree_below(os.getpid())]
    begun, used = time.monotonic(), cpu_seconds(pids)
    ledger.open(_JOB, batches)
    while claim := ledger.claim_next(holder="cost", waited=0.0):
        runner = BatchRunner(
            ledger,
            worker="cost",
            lease_seconds=20.0,
            drain=0.0,
            room=downloader.settings.transfers,
            disk_backoff=DiskBackoff(),
            starts=starts,
            is_stopping=lambda: False,
            send=lambda _messages: None,
        )
        runner.work(claim)
    took, used = time.monotonic() - begun, cpu_seconds(pids) - used
    downloader.close()
    return took, used
