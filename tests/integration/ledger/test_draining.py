"""What a follower asks of the ledger: outcomes once, in order, in one place, and the memory they free."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import cast

import redis

from contract.cluster.broker import build_app
from contract.cluster.settings import ClusterSettings
from contract.ledger.channel import JobChannel
from contract.ledger.values import Drain
from contract.records.messages import task_id
from contract.records.reports import BatchReport
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    batch_of,
    claimed,
    drained,
    record_of,
    refused_report,
    report_of,
    round_trips,
)
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer


def test_one_round_trip_deletes_safe_reports_and_returns_new_ones(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards drain.lua: what it deletes, what it keeps, and what it returns about the job."""
    ledger.open(JOB, [batch_of(str(number)) for number in range(1, 7)])
    held = claimed(ledger, "6")
    for batch in ("3", "1", "5", "2"):
        claim = claimed(ledger, batch)
        ledger.close(claim, report_of(claim))

    first = drained(ledger, limit=3)
    assert [batch for batch, _ in first.reports] == ["3", "1", "5"]
    assert [BatchReport.from_result(blob).batch for _, blob in first.reports if blob] == ["3", "1", "5"]
    assert first.record == ledger.job(JOB)
    assert [batch for batch, _ in drained(ledger, limit=3).reports] == ["3", "1", "5"], "nothing was said to be safe"

    second = drained(ledger, limit=3, forget=["3", "1"])
    assert [batch for batch, _ in second.reports] == ["5", "2"]
    record = second.record
    assert record is not None
    assert (record.undrained, record.open, record.running, record.counts["ok"]) == (2, 2, 1, 4)
    assert ledger.reports(JOB, ["3", "1"]) == [None, None]
    assert drained(ledger, limit=0, forget=["5"]).reports == []
    client.delete(f"celery-task-meta-{task_id(JOB, '2')}")
    assert drained(ledger).reports == [("2", None)], "gone from Redis"
    ledger.close(held, report_of(held))
    assert len(round_trips(client, lambda: drained(ledger, forget=["2"]))) == 1


def test_one_drain_is_bounded_in_bytes_too(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards drain.lua: forty reports with large rows were more than a follower can hold."""
    for batch, size in (("1", 5_000_000), ("2", 2_000_000), ("3", 2_000_000), ("4", 2_000_000)):
        ledger.open(JOB, [batch_of(batch)])
        claim = claimed(ledger, batch)
        assert ledger.close(claim, report_of(claim))
        client.set(f"celery-task-meta-{task_id(JOB, batch)}", bytes(size))

    assert [batch for batch, _ in drained(ledger).reports] == ["1"], "one always comes, whatever its size"
    assert [batch for batch, _ in drained(ledger, forget=["1"]).reports] == ["2", "3"]
    assert [batch for batch, _ in drained(ledger, forget=["2", "3"]).reports] == ["4"]


def test_outcomes_go_to_one_place(ledger: Clocked) -> None:
    """Guards the place in drain.lua: no other collector gets, or deletes, anything."""
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    ledger.close(claim, report_of(claim))
    assert len(drained(ledger, place="here").reports) == 1
    assert drained(ledger, place="there", forget=["1"]) == Drain("here")
    assert len(drained(ledger, place="here").reports) == 1


def test_a_follower_can_free_a_full_redis(ledger: ClockedLedger, full: Callable[[], None], client: redis.Redis) -> None:
    """Guards the read before the place is written: a write needs memory, and nothing could be deleted."""
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    ledger.close(claim, report_of(claim))
    drained(ledger)

    full()

    assert drained(ledger, forget=["1"]).reports == []
    assert not client.exists(f"celery-task-meta-{task_id(JOB, '1')}")


def test_a_follower_is_notified_of_closed_batches(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the PUBLISH on the job's channel in close.lua and store.lua."""
    ledger.open(JOB, [batch_of("1")])
    with closing(JobChannel(client, [f"trawl:2:job:{JOB}"])) as channel:
        assert channel.subscribe()
        assert not channel.wait(0.0)
        claim = claimed(ledger, "1")
        ledger.close(claim, report_of(claim))
        assert channel.wait(20.0)
        assert not channel.wait(0.0)
        ledger.store(JOB, refused_report(JOB, "2"))
        assert channel.wait(20.0)


def test_a_follower_sleeps_until_enough_batches_are_closed(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards ``enough`` of JobChannel.wait: each end of a wait costs the producer a turn of its loop."""
    with closing(JobChannel(client, [f"trawl:2:job:{JOB}"])) as channel:
        assert channel.subscribe()
        ledger.store(JOB, refused_report(JOB, "1"))
        begun = time.monotonic()
        assert channel.wait(0.2, 2) == 1
        assert time.monotonic() - begun >= 0.2
        ledger.store(JOB, refused_report(JOB, "2"))
        ledger.store(JOB, refused_report(JOB, "3"))
        assert channel.wait(20.0, 2) == 2


def test_the_highest_batch_number_is_recorded(ledger: Clocked) -> None:
    """Guards ``opened`` in open.lua: a follower copies the batches up to that number."""
    assert record_of(ledger).opened == 0
    ledger.open(JOB, [batch_of("10"), batch_of("9")])
    claim = claimed(ledger, "10")
    ledger.close(claim, report_of(claim))

    ledger.open(JOB, [batch_of("10"), batch_of("3"), batch_of("77.ab-1"), batch_of("78.2e5")])

    assert record_of(ledger).opened == 10


def test_any_celery_client_reads_a_report_as_the_task_s_result(server: RedisServer, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    ledger.close(claim, report_of(claim))
    app = build_app(ClusterSettings(broker_url=server.celery_url(), result_backend=server.celery_url()))

    with app:
        result = app.AsyncResult(task_id(JOB, "1"))
        assert result.status == "SUCCESS"
        value = result.get(timeout=100)

    assert value["summary"] == {"ok": 1}
    assert value["outcomes"][0]["url"] == "http://host.test/1"


def test_a_waiting_celery_client_is_notified(server: RedisServer, ledger: ClockedLedger) -> None:
    """Guards the PUBLISH of close.lua: ``get()`` listens and does not poll."""
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    app = build_app(ClusterSettings(broker_url=server.celery_url(), result_backend=server.celery_url()))

    with app, ThreadPoolExecutor(1) as threads:
        ledger._redis.config_resetstat()
        channel = f"celery-task-meta-{task_id(JOB, '1')}"
        waiting = threads.submit(lambda: app.AsyncResult(task_id(JOB, "1")).get(timeout=200))
        await_condition(lambda: has_looked(ledger._redis, channel), within=20, what="a client that listens")
        ledger.close(claim, report_of(claim))
        value = waiting.result()

    assert value["batch"] == "1"


def has_looked(client: redis.Redis, channel: str) -> bool:
    """Has a client subscribed and then looked whether the result is there already?"""
    listening = dict(cast("list[tuple[bytes, int]]", client.pubsub_numsub(channel)))[channel.encode()]
    return bool(listening) and "cmdstat_get" in client.info("commandstats")
