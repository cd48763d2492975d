"""The sweep's count of a queue is what waits in it."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from kombu.exceptions import OperationalError

from contract.cluster.broker import build_app, connect, queue_lists
from contract.cluster.dispatch import queue_depth, send_batches
from contract.cluster.settings import ClusterSettings
from contract.ledger.values import NewBatch
from contract.records.batches import pack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from producer.cluster.client import Cluster
from tests.support.redis_server import RedisServer


def test_waiting_messages_are_counted(redis: RedisServer) -> None:
    settings = ClusterSettings.from_environment({"TRAWL_BROKER_URL": redis.celery_url()})
    app = build_app(settings)
    assert queue_depth(app, settings.queue) == 0

    send_batches(app, [BatchMessage("job", str(number)) for number in (1, 2, 3)])

    # Zero would make the sweep send all of them again: kombu's passive declare says so under a key prefix.
    assert queue_depth(app, settings.queue) == 3


def test_messages_of_one_call_share_a_round_trip_and_fail_like_single_ones(redis: RedisServer) -> None:
    """Guards the two ways of ``send_batches``: kombu has another error for a batch of messages, and does not retry."""
    messages = [BatchMessage("job", str(number)) for number in range(100)]
    settings = ClusterSettings.from_environment({"TRAWL_BROKER_URL": redis.celery_url()})
    app, client = build_app(settings), connect(settings)
    send_batches(app, messages)

    def reads() -> int:
        return int(client.info("stats")["total_reads_processed"])

    before = reads()
    send_batches(app, messages, about=["first"])
    assert reads() - before < 50, "a message each would be a hundred"

    sent = [json.loads(text)["headers"]["argsrepr"] for text in client.lrange(queue_lists(settings)[0], 0, -1)]
    assert len(sent) == 200
    assert sent.count("job=job batch=0 first") == 1
    assert sent.count("job=job batch=99") == 2

    client.config_set("maxmemory", 1)
    with pytest.raises(OperationalError):
        send_batches(app, messages)


def test_another_broker_gets_only_missing_messages(redis: RedisServer) -> None:
    """Guards the count of ``Cluster.send``, where no script can count: a restart would send all messages again."""
    url = redis.celery_url()
    settings = ClusterSettings(broker_url=url, result_backend=f"{url.removesuffix('0')}1")
    assert settings.broker_url != settings.result_backend
    with closing(Cluster(settings)) as cluster:
        cluster.ledger.create("job", JobPolicy())
        batches = [NewBatch(str(number), pack_entries([]), 0) for number in (1, 2, 3)]
        for _ in range(3):
            opened = cluster.ledger.open("job", batches)
            cluster.send([BatchMessage("job", batch) for batch in opened])

        assert len(opened) == 3
        assert queue_depth(build_app(settings), settings.queue) == 3
