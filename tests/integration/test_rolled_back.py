"""Redis that comes back a little older than it was, after a failover or a power cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import redis

from contract.ledger import Ledger
from contract.settings import ClusterSettings
from tests.support.processes import await_condition, end
from tests.support.redis_server import RedisServer
from tests.support.stand_in_worker import StandInWorker

ROOT = Path(__file__).resolve().parents[2]
URLS = [f"http://host.test/{number}" for number in range(60)]


def test_batches_redis_forgot_are_sent_again(tmp_path: Path) -> None:
    """Guards the comparison of journal and ledger in ``Follower.look``: without it the run waits for ever."""
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in URLS))
    with RedisServer(tmp_path / "redis", unix=True) as server, redis.Redis.from_url(server.url()) as client:
        settings = ClusterSettings(broker_url=server.celery_url(), result_backend=server.celery_url(), lease=2.0)
        ledger = Ledger(client)
        run = subprocess.Popen(
            [sys.executable, "-P", "-m", "producer", "run", "urls.txt", "-o", "out", "--batch-size", "10"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TRAWL_BROKER_URL": server.celery_url()},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            job = await_condition(lambda: next(iter(ledger.jobs()), None), within=30, what="a job")
            await_condition(lambda: (record := ledger.job(job)) and record.is_sealed, within=30, what="its end")

            for batch in ("2", "3"):
                client.hdel(f"trawl:job:{job}:batches", batch)
                client.hdel(f"trawl:job:{job}:payloads", batch)
                client.zrem(f"trawl:job:{job}:sent", batch)

            with StandInWorker(settings):
                assert run.wait(60) == 0
        finally:
            end(run)
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert Counter(row["url"] for row in rows) == Counter(URLS)
