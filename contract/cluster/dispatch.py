"""How a batch's message is sent: the same way by producer, worker and sweep."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from celery import Celery
from kombu.exceptions import ChannelError

from contract.cluster.service_urls import is_redis_url
from contract.records.messages import BATCH_TASK, BatchMessage
from contract.records.policy import JobPolicy

_GRACE = 120  # seconds between a batch's own deadlines and Celery's, which are a backstop
_LEAST_LIMIT = 780  # seconds


def send_batches(app: Celery, messages: Sequence[BatchMessage], policy: JobPolicy, *, about: str = "") -> None:
    """Send one message per batch over one broker connection.

    Each means that a batch waits; which one a worker then takes is the ledger's to say, and what it names is a hint.
    ``about`` is shown in Flower beside job and batch: numbers and hosts, never a URL.

    Raises:
        kombu.exceptions.OperationalError: the broker cannot be reached; some messages may have been sent, and
            sending them again is harmless.
    """
    soft, hard = time_limits(policy)
    with app.producer_pool.acquire(block=True) as producer:
        for message in messages:
            app.send_task(
                BATCH_TASK,
                args=[message.to_wire()],
                task_id=message.task_id,
                producer=producer,
                ignore_result=True,
                soft_time_limit=soft,
                time_limit=hard,
                argsrepr=f"job={message.job} batch={message.batch} {about}".rstrip(),
                kwargsrepr="",
            )


def time_limits(policy: JobPolicy) -> tuple[int, int]:
    """Return Celery's soft and hard limit in seconds for a batch of this policy.

    A batch starts transfers for ``batch_seconds`` and each may take ``timeout``; it ends itself long before these.
    """
    soft = max(_LEAST_LIMIT, ceil(policy.batch_seconds + policy.timeout) + _GRACE)
    return soft, soft + _GRACE


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
