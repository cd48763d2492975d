"""Flower's states follow a batch: it runs, or loses its lease; and it can be found."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.flower import Flower
from tests.support.misbehaving import MisbehavingServer
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer


@pytest.fixture
def cluster(tmp_path: Path, redis: RedisServer) -> Cluster:
    return Cluster(redis.celery_url(), tmp_path, lease=3.0)


def await_row(flower: Flower, state: str) -> dict[str, Any]:
    """Return the first row that Flower's tasks page has in this state: it has a filter for each."""
    rows = await_condition(lambda: flower.read(f"/api/tasks?state={state}"), within=60, what=f"a row that is {state}")
    return dict(next(iter(rows.values())))


def found(flower: Flower, search: str) -> set[str]:
    """Return the ids of the rows that the search field of the tasks page leaves."""
    query = {
        "draw": "1", "start": "0", "length": "50", "search[value]": search,
        "order[0][column]": "0", "order[0][dir]": "asc", "columns[0][data]": "uuid",
    }  # fmt: skip
    return {row["uuid"] for row in flower.read(f"/tasks/datatable?{urllib.parse.urlencode(query)}")["data"]}


def test_a_batch_is_started_while_it_runs_and_a_retry_when_its_lease_is_lost(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer
) -> None:
    """Guards how progress is sent: an event of our own type would remove the row from the started ones."""

    def is_told(row: dict[str, Any]) -> bool:
        return row["uuid"] == "running.1" and "0/1 ok=0" in str(row["result"])

    with cluster.worker(concurrency=2), Flower(cluster.environment, tmp_path) as flower:
        cluster.enqueue("running", [server.url("/silence?after=head")])
        started = await_row(flower, "STARTED")
        await_condition(lambda: is_told(await_row(flower, "STARTED")), within=60, what="how far it is, still started")
        told = await_row(flower, "STARTED")
        numbers = flower.page("/metrics").decode()
        cluster.ledger.remove("running")  # as if another worker had taken it over and ended it
        lost = await_row(flower, "RETRY")

    assert "urls=1" in started["args"]
    assert (told["received"], told["started"]) == (started["received"], started["started"])
    assert re.findall(r"^flower_worker_prefetched_tasks\{.*\} (.*)$", numbers, re.M) == ["0.0"]
    assert (lost["uuid"], lost["result"]) == ("running.1", "another worker took it over")


def test_rows_are_found_by_job_and_by_error_class(tmp_path: Path, cluster: Cluster, server: MisbehavingServer) -> None:
    with cluster.worker(concurrency=2), Flower(cluster.environment, tmp_path) as flower:
        cluster.enqueue("first-job", [server.url("/status?code=404")], [server.url("/good?seed=1")])
        cluster.enqueue("second-job", [server.url("/good?seed=2")])
        await_condition(lambda: len(flower.read("/api/tasks?state=SUCCESS")) == 3, within=60, what="three rows")

        assert found(flower, "first-job") == {"first-job.1", "first-job.2"}
        assert found(flower, "http-4xx") == {"first-job.1"}
        assert found(flower, "nothing to do") == set()
