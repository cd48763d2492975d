"""Workers' trouble is visible to everyone on the same Redis, and disappears with the worker."""

from __future__ import annotations

import redis

from contract.ledger.health import BELIEVED_FOR, Trouble, WorkerHealth
from contract.ledger.reasons import Reason

FULL = Trouble("The disk is full (ENOSPC).", label=Reason.ENOSPC)
WAITS = Trouble("A body of 40 MiB waits.", takes_work=True)


def test_trouble_is_visible_until_it_is_over(client: redis.Redis) -> None:
    one, other = WorkerHealth(client, prefix="trawl:"), WorkerHealth(client, prefix="trawl:")
    one.report("celery@a", FULL)
    one.report("celery@b", WAITS)

    assert other.troubles() == {"celery@a": FULL, "celery@b": WAITS}
    one.clear("celery@a")

    assert other.troubles() == {"celery@b": WAITS}
    assert WorkerHealth(client, prefix="other:").troubles() == {}


def test_a_silent_worker_is_forgotten(client: redis.Redis) -> None:
    """Guards the record's expiry: a killed worker's trouble is no one's."""
    health = WorkerHealth(client, prefix="trawl:")
    health.report("celery@a", FULL)
    (record,) = client.keys("trawl:trouble:*")
    assert 0 < client.ttl(record) <= BELIEVED_FOR
    client.delete(record)

    assert health.troubles() == {}
    assert client.keys("trawl:trouble*") == []


def test_workers_are_listed_with_the_time_of_their_last_report(client: redis.Redis) -> None:
    """Guards what is forgotten: pods get new names each time, and the list would grow for ever."""
    health = WorkerHealth(client, prefix="trawl:")
    client.zadd("trawl:workers", {"celery@gone": 1.0})
    health.beat("celery@a")
    client.zincrby("trawl:workers", -20.0, "celery@a")
    health.beat("celery@b")

    assert client.zcard("trawl:workers") == 2
    client.zadd("trawl:workers", {"celery@gone": 1.0})
    census = health.census()

    assert sorted(census.workers) == ["celery@a", "celery@b"]
    assert census.workers["celery@a"] - census.workers["celery@b"] >= 20.0
    assert census.present == ["celery@b"]


def test_a_record_of_another_version_is_still_trouble(client: redis.Redis) -> None:
    health = WorkerHealth(client, prefix="trawl:")
    health.report("celery@a", FULL)
    client.set("trawl:trouble:celery@a", b"[]")

    assert "cannot be read" in health.troubles()["celery@a"].reason
