"""What the sweep is told about a queue is what waits in it."""

from __future__ import annotations

from pathlib import Path

from contract.cluster.broker import build_app
from contract.cluster.dispatch import queue_depth, send_batches
from contract.cluster.settings import ClusterSettings
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from tests.support.redis_server import RedisServer


def test_messages_that_wait_are_counted(tmp_path: Path) -> None:
    with RedisServer(tmp_path, unix=True) as server:
        settings = ClusterSettings.from_environment({"TRAWL_BROKER_URL": server.celery_url()})
        app = build_app(settings)
        assert queue_depth(app, settings.queue) == 0

        send_batches(app, [BatchMessage("job", str(number)) for number in (1, 2, 3)], JobPolicy())

        # Zero would make the sweep send all of them again: kombu's passive declare says so under a key prefix.
        assert queue_depth(app, settings.queue) == 3
