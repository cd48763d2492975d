"""Flower shows a row for each reported batch, none for messages, and failures can be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.flower import Flower
from tests.support.misbehaving import MisbehavingServer
from tests.support.processes import await_condition, free_port
from tests.support.scraping import await_batches

COUNT = 12  # batches: more than the worker has processes, so that some are claimed without their message


def test_every_row_is_a_batch_with_its_own_runtime_and_result(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer
) -> None:
    """Guards ``send_events`` of the task: messages would have rows of their own that end in milliseconds."""
    batches = [
        [server.url(f"/good?seed={10 * batch + number}&size=1000") for number in range(9)]
        + [server.url(f"/status?code=404&n={batch}")]
        for batch in range(COUNT)
    ]
    port = free_port()
    with cluster.worker(concurrency=2, TRAWL_METRICS=str(port)), Flower(cluster.environment, tmp_path) as flower:
        cluster.enqueue("job", *batches)
        reports = {f"job.{report.batch}": report for report in cluster.reports("job")}

        def ended() -> bool:
            return len(flower.read("/api/tasks?state=SUCCESS")) >= COUNT

        await_condition(ended, within=60, what="a row for each batch")
        rows, page = flower.read("/api/tasks"), flower.page("/tasks").decode()
        numbers = await_batches(port, COUNT)

    assert {row["state"] for row in rows.values()} == {"SUCCESS"}
    assert set(rows) == set(reports)
    assert all("9 ok, 1 failed (http-4xx 1), " in row["result"] for row in rows.values())
    runtimes = sum(row["runtime"] for row in rows.values())
    seconds = numbers["trawl_batch_seconds_sum", ()]
    assert seconds == pytest.approx(sum(report.elapsed for report in reports.values()), rel=0.01)
    assert runtimes == pytest.approx(seconds, rel=0.01)
    columns = page[page.index("<thead>") : page.index("</thead>")]
    assert "Result" in columns
    assert "Retries" not in columns, "flowerconfig.py chooses the columns"
