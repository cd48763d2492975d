"""Foreign messages in our queue are dropped with one log line each; the worker continues with our own."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from contract.cluster.broker import build_app, connect
from contract.cluster.dispatch import send_batches
from contract.cluster.settings import ClusterSettings
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import NewBatch
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import MESSAGE_VERSION, BatchMessage
from contract.records.policy import JobPolicy
from tests.support.celery_worker import CeleryWorker
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
def test_a_worker_survives_every_malformed_message(tmp_path: Path, pool: str) -> None:
    with RedisServer(tmp_path / "redis") as server, server.client() as client:
        environment = {"TRAWL_BROKER_URL": server.celery_url(), "TRAWL_OUTPUT": str(tmp_path / "out")}
        with CeleryWorker(tmp_path, env=environment, pool=pool, concurrency=1) as worker:
            pid = worker.pid

            for message in HOSTILE.values():
                client.lpush("trawl:trawl", message)
            enqueue(ClusterSettings.from_environment(environment))

            # A message of an unknown job means that a batch waits, too: ours may be taken before its own.
            await_condition(lambda: is_finished(client) and not client.llen("trawl:trawl"), within=60, what="all that")
            assert worker.is_running
            assert worker.pid == pid

    log = worker.log()
    assert "Unrecoverable error" not in log
    assert log.count("Message dropped: it cannot be read") == 4
    assert log.count("Message of queue trawl dropped: ") == 16
    assert "Message rejected: This worker reads message version" in log
    assert "Traceback" not in log
    assert len(log) < 100_000, "a message of 60 MB is not repeated"


def enqueue(settings: ClusterSettings) -> None:
    """Enqueue a batch whose only URL is refused: that needs no server."""
    ledger = RedisLedger(connect(settings))
    ledger.create("job", JobPolicy())
    entries = pack_entries([BatchEntry(url="http://10.0.0.1/")])
    waiting = ledger.open("job", [NewBatch("1", entries, 1)])
    send_batches(build_app(settings), [BatchMessage("job", batch) for batch in waiting])


def is_finished(client: redis.Redis) -> bool:
    closed: Any = client.zcard("trawl:2:job:job:closed")
    return cast("int", closed) == 1


def test_a_malformed_event_does_no_harm(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server, server.client() as client:
        environment = {"TRAWL_BROKER_URL": server.celery_url(), "TRAWL_OUTPUT": str(tmp_path / "out")}
        with CeleryWorker(tmp_path, env=environment, concurrency=1, gossips=True) as worker:
            for message in (b"not json", b"42", b'{"body": "x"}', envelope(b"7", task="x")):
                client.publish("trawl:/0.celery.pidbox", message)
                client.publish("trawl:/0.celeryev/worker.heartbeat", message)

            app = build_app(ClusterSettings.from_environment(environment))
            # A broadcast while the worker reconnects is lost.
            await_condition(lambda: app.control.ping(timeout=5, limit=1), within=20, what="an answer")
            assert worker.is_running
