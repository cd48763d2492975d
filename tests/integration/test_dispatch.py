"""The sweep's count of a queue is what waits in it."""

from __future__ import annotations

from contextlib import closing

from contract.cluster.broker import build_app
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
