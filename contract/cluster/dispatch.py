"""How a batch's message is sent: the same way by producer, worker and sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import ChannelError

from contract.cluster.service_urls import is_redis_url
from contract.records.messages import BATCH_TASK, BatchMessage


def send_batches(app: Celery, messages: Sequence[BatchMessage], *, about: str = "") -> None:
    """Send one message per batch over one broker connection.

    Each means that a batch waits; which one a worker then takes is the ledger's to say. So it has no time limits: they
    would be of another job's batch.
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
                task_id=message.task_id,
                producer=producer,
                ignore_result=True,
                argsrepr=f"job={message.job} batch={message.batch} {about}".rstrip(),
                kwargsrepr="",
            )


def queue_depth(app: Celery, queue: str) -> int | None:
    """Return how many messages wait in the queue; None where the broker cannot tell."""
    with app.producer_pool.acquire(block=True) as producer:
        channel: Any = producer.channel
        if is_redis_url(app.conf.broker_write_url):
            # A passive declare asks for EXISTS without global_keyprefix (kombu/transport/redis.py,
            # PREFIXED_SIMPLE_COMMANDS): every queue would seem empty, and what waits would be sent again and again.
            return int(channel._size(queue))
        try:
            declared = channel.queue_declare(queue, passive=True)
        except ChannelError:
            return 0
        return getattr(declared, "message_count", None)
