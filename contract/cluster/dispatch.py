"""How a batch's message is sent: the same way by producer, worker and sweep."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, cast

from celery import Celery
from kombu import Connection
from kombu.exceptions import ChannelError

from contract.cluster.service_urls import is_redis_url
from contract.records.messages import BATCH_TASK, BatchMessage


def send_batches(app: Celery, messages: Sequence[BatchMessage], *, about: str = "") -> None:
    """Send one message per batch over one broker connection.

    Each means that a batch waits; which one a worker then takes is the ledger's to say. So it has no time limits: they
    would be of another job's batch.
    And each has an id of its own: Celery's ``revoke`` makes workers drop whatever comes under an id, for hours.
    ``about`` is shown in Flower beside job and batch: numbers and hosts, never a URL.

    Raises:
        kombu.exceptions.OperationalError: the broker cannot be reached; some messages may have been sent, and
            sending them again is harmless.
    """
    with app.producer_pool.acquire(block=True) as producer:
        for message in messages:
            app.send_task(
                BATCH_TASK,
                args=[message.to_wire()],
                task_id=f"{message.task_id}.{secrets.token_hex(4)}",
                producer=producer,
                ignore_result=True,
                argsrepr=f"job={message.job} batch={message.batch} {about}".rstrip(),
                kwargsrepr="",
            )


def queue_depth(app: Celery, queue: str) -> int | None:
    """Return how many messages wait in the queue; None where the broker cannot tell.

    Raises:
        kombu.exceptions.OperationalError, redis.exceptions.RedisError: the broker cannot be reached.
    """
    with app.producer_pool.acquire(block=True) as producer:
        if is_redis_url(app.conf.broker_write_url):
            # A passive declare asks for EXISTS without global_keyprefix (kombu/transport/redis.py,
            # PREFIXED_SIMPLE_COMMANDS): every queue would seem empty, and what waits would be sent again and again.
            channel: Any = producer.channel
            return int(channel._size(queue))
        # A connection that broke is only noticed when it is used, and is kept until it is replaced.
        connection = cast("Connection", producer.connection)
        counted: int | None = connection.ensure(producer, _count, max_retries=1)(connection, queue)
        return counted


def _count(connection: Connection, queue: str) -> int | None:
    connection.ensure_connection(max_retries=1)
    with connection.channel() as opened:  # one of its own: the broker closes it where there is no such queue
        channel: Any = opened
        try:
            return getattr(channel.queue_declare(queue, passive=True), "message_count", None)
        except ChannelError:
            return 0
