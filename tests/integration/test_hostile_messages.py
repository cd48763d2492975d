"""Foreign messages in our queue are dropped with one log line each; the worker continues with our own."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

from contract.records.messages import MESSAGE_VERSION
from tests.support.celery_worker import CeleryWorker
from tests.support.cluster import Cluster
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

ARGUMENTS = [[{"version": 1, "job": "a", "batch": "1"}], {}, {}]


def envelope(body: bytes, *, kind: str = "application/json", **headers: object) -> bytes:
    """Return a message as kombu writes it into a Redis list."""
    return json.dumps({
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": kind,
        "headers": {"lang": "py", "task": "trawlnet.batch", "id": "somebody", "argsrepr": "", **headers},
        "properties": {
            "delivery_tag": f"tag-{len(body)}", "body_encoding": "base64", "priority": 0, "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "trawl"}, "correlation_id": "somebody", "reply_to": "",
        },
    }).encode()  # fmt: skip


def arguments(*parts: object) -> bytes:
    return json.dumps(parts).encode()


HOSTILE = {
    "no JSON": b"not json",
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "a number": b"42",
    "a list": b"[1, 2]",
    "no properties": b'{"body": "x"}',
    "a nest": b"[" * 100_000,
    "a body that is not JSON": envelope(b"{{{"),
    "a body that is a number": envelope(b"7"),
    "a body of 60 MB": envelope(b'[["' + b"x" * (60 << 20) + b'"], {}, {}]'),
    "a bomb": envelope(zlib.compress(b"0" * (100 << 20)), compression="application/x-gzip"),
    "pickle": envelope(pickle.dumps(ARGUMENTS), kind="application/x-python-serialize"),
    "another task": envelope(arguments([], {}, {}), task="os.system"),
    "no task": envelope(arguments([], {}, {}), task=None),
    "no arguments": envelope(arguments([], {}, {})),
    "too many arguments": envelope(arguments([1, 2, 3], {"message": 4}, {})),
    "a path for a job": envelope(arguments([{"version": 1, "job": "../../etc", "batch": "1"}], {}, {})),
    "an unknown job": envelope(arguments([{"version": 1, "job": "nobody", "batch": "1"}], {}, {})),
    "another version": envelope(arguments([{"version": MESSAGE_VERSION + 1, "job": "a", "batch": "1"}], {}, {})),
    "a surrogate": envelope(b'[["\\ud800"], {}, {}]'),
    "words for time limits": envelope(json.dumps(ARGUMENTS).encode(), timelimit=["a", "b"]),
    "words for retries": envelope(json.dumps(ARGUMENTS).encode(), retries="many"),
    "a word for a time": envelope(json.dumps(ARGUMENTS).encode(), eta="tomorrow"),
    "tasks that follow": envelope(arguments([1], {}, {"errbacks": [{"task": "celery.backend_cleanup"}]})),
}


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_survives_every_malformed_message(redis: RedisServer, cluster: Cluster, pool: str) -> None:
    with redis.client() as client, cluster.worker(pool=pool) as worker:
        pid = worker.pid

        for message in HOSTILE.values():
            client.lpush("trawl:trawl", message)
        cluster.enqueue("job", ["http://10.0.0.1/"])  # refused, which needs no server

        assert [report.counts() for report in cluster.reports("job")] == [{"refused": 1}]
        # A message of an unknown job means that a batch waits, too: ours may be taken before its own.
        await_condition(lambda: not client.llen("trawl:trawl"), within=60, what="all that")
        assert worker.is_running
        assert worker.pid == pid

    log = worker.log()
    assert "Unrecoverable error" not in log
    assert log.count("Message dropped: it cannot be read") == 4
    assert log.count("Message of queue trawl dropped: ") == 16
    assert "Message rejected: This worker reads message version" in log
    assert "Traceback" not in log
    assert len(log) < 100_000, "a message of 60 MB is not repeated"


def test_a_malformed_event_does_no_harm(tmp_path: Path, redis: RedisServer, cluster: Cluster) -> None:
    with (
        redis.client() as client,
        CeleryWorker(tmp_path, env=cluster.environment, concurrency=1, gossips=True) as worker,
    ):
        for message in (b"not json", b"42", b'{"body": "x"}', envelope(b"7", task="x")):
            client.publish("trawl:/0.celery.pidbox", message)
            client.publish("trawl:/0.celeryev/worker.heartbeat", message)

        # A broadcast while the worker reconnects is lost.
        await_condition(lambda: cluster.app.control.ping(timeout=5, limit=1), within=20, what="an answer")
        assert worker.is_running
