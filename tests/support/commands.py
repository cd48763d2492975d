"""A user's commands on a given Redis: what they left there and in the folder ``out``."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.cluster.settings import ClusterSettings
from contract.ledger.values import JobRecord
from producer.cluster.client import Cluster
from tests.support.person import Person
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer


def urls(count: int) -> list[str]:
    return [f"http://h{number % 7}.example/{number}" for number in range(count)]


def every_url_once(rows: list[dict[str, Any]], expected: list[str]) -> bool:
    return Counter(row["url"] for row in rows) == Counter(expected)


class Bench(Person):
    """A Redis, and a person whose shell names it."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        super().__init__(folder, TRAWL_BROKER_URL=server.celery_url(), TRAWL_LEASE="2")
        self.server = server
        self.settings = ClusterSettings(broker_url=server.celery_url(), result_backend=server.celery_url(), lease=2.0)

    # ---- commands

    def run(self, *arguments: object) -> tuple[int, dict[str, Any], str]:
        code, out, err = self.trawl("run", *arguments, "--json")
        assert out, err
        return code, json.loads(out), err

    def enqueue(self, count: int, *options: str) -> str:
        code, out, err = self.trawl("enqueue", self.write_list(*urls(count)), "--batch-size", "10", *options)
        assert code == 0, err
        return out.strip()

    # ---- what the ledger has

    @cached_property
    def cluster(self) -> Cluster:
        """A client; its fixture closes it."""
        return Cluster(self.settings)

    def newest(self) -> JobRecord | None:
        """How the newest job stands; None: there is none yet."""
        jobs = self.cluster.ledger.jobs()
        return self.cluster.ledger.job(jobs[-1]) if jobs else None

    def record(self, job: str) -> JobRecord:
        record = self.cluster.ledger.job(job)
        assert record is not None
        return record

    def job(self) -> str:
        record = self.newest()
        assert record is not None
        return record.job

    def drains(self, job: str) -> bool:
        """Does a follower collect this job's outcomes, according to Redis?"""
        return bool(self.cluster.redis.hexists(f"trawl:2:job:{job}", "place"))

    def await_batches(self, count: int) -> None:
        def are_open() -> bool:
            record = self.newest()
            return record is not None and record.opened >= count

        await_condition(are_open, within=60, what=f"{count} batches")

    # ---- what the journal has

    def facts(self) -> dict[str, Any]:
        """What the journal says of the job; nothing before it is made."""
        journal = self.folder / "out/.trawl/journal.sqlite"
        if not journal.exists():
            return {}
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            try:
                return {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM facts")}
            except sqlite3.Error:
                return {}
