"""Sends messages and counts those in the queue: for producer, worker and sweep alike."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, cast

from celery import Celery
from kombu import Connection
from kombu.exceptions import BatchPublishError, ChannelError  # type: ignore[attr-defined]  # kombu's stubs are older

from contract.cluster.service_urls import is_redis_url
from contract.records.messages import BATCH_TASK, BatchMessage


def send_batches(app: Celery, messages: Sequence[BatchMessage], *, about: Sequence[str] = ()) -> None:
    """Send one message per batch, to Redis all in one round trip.

    A message means that some batch waits; the ledger decides which one its worker gets. So messages carry no time
    limits: they would apply to another job's batch. Each has a unique id, because Celery's ``revoke`` makes workers
    drop every message of an id for hours. Flower shows ``about``, a text for each message, beside job and batch:
    numbers and hosts, never a URL.

    Raises:
        kombu.exceptions.OperationalError: the broker is unreachable; some messages may have been sent, and sending
            them again is harmless.
    """
    texts = chain(about, repeat(""))
    named = [(message, f"job={message.job} batch={message.batch} {next(texts)}".rstrip()) for message in messages]
    with app.producer_pool.acquire(block=True) as acquired:
        producer: Any = acquired  # kombu's stubs know no batch()
        try:
            with producer.batch():
                _send(app, producer, named)
        except BatchPublishError:  # kombu repeats single messages, but no batch of them
            _send(app, producer, named)


def _send(app: Celery, producer: Any, named: Sequence[tuple[BatchMessage, str]]) -> None:
    for message, text in named:
        app.send_task(
            BATCH_TASK,
            args=[message.to_wire()],
            task_id=f"{message.task_id}.{secrets.token_hex(4)}",
            producer=producer,
            ignore_result=True,
            argsrepr=text,
            kwargsrepr="",
        )


def queue_depth(app: Celery, queue: str) -> int | None:
    """Return how many messages wait in the queue; None if the broker cannot tell.

    Raises:
        kombu.exceptions.OperationalError, redis.exceptions.RedisError: the broker is unreachable.
    """
    with app.producer_pool.acquire(block=True) as producer:
        if is_redis_url(app.conf.broker_write_url):
            # A passive declare calls EXISTS without global_keyprefix (kombu/transport/redis.py,
            # PREFIXED_SIMPLE_COMMANDS): every queue would seem empty, and messages would be sent again and again.
            channel: Any = producer.channel
            return int(channel._size(queue))
        # A broken connection is noticed only when it is used, and is kept until it is replaced.
        connection = cast("Connection", producer.connection)
        counted: int | None = connection.ensure(producer, _count, max_retries=1)(connection, queue)
        return counted


def _count(connection: Connection, queue: str) -> int | None:
    connection.ensure_connection(max_retries=1)
    with connection.channel() as opened:  # a new channel, because the broker closes it if there is no such queue
        channel: Any = opened
        try:
            return getattr(channel.queue_declare(queue, passive=True), "message_count", None)
        except ChannelError:
            return 0
