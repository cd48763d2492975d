"""Removes the messages of finished jobs from a queue in Redis: each would cost a worker one futile claim."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import redis

from contract.errors import MessageError
from contract.records.messages import BatchMessage

_READ_AT_ONCE = 500


def remove_stale_messages(
    client: redis.Redis, lists: Sequence[str], *, prefix: str, is_over: Callable[[str], bool]
) -> int:
    """Remove messages whose job ``is_over`` and return their number; safe while workers take messages.

    ``lists`` are the keys of the queue. Messages that a killed worker had taken are in kombu's ``unacked`` below
    ``prefix`` (kombu 5.7 transport/redis.py, QoS) and would return after the visibility timeout. Messages that are not
    Trawlnet's are left alone.
    """
    has_gone = cache(is_over)
    return sum(_clear_list(client, key, has_gone) for key in lists) + _clear_unacked(client, prefix, has_gone)


def _clear_list(client: redis.Redis, key: str, is_over: Callable[[str], bool]) -> int:
    start = removed = 0
    while found := cast("list[bytes]", client.lrange(key, start, start + _READ_AT_ONCE - 1)):
        stale = [raw for raw in found if _is_stale(raw, is_over)]
        for raw in stale:
            removed += client.lrem(key, 1, cast("str", raw))
        start += len(found) - len(stale)
    return removed


def _clear_unacked(client: redis.Redis, prefix: str, is_over: Callable[[str], bool]) -> int:
    stale = [tag for tag, raw in client.hscan_iter(f"{prefix}unacked", count=_READ_AT_ONCE) if _is_stale(raw, is_over)]
    if stale:
        client.hdel(f"{prefix}unacked", *stale)
        client.zrem(f"{prefix}unacked_index", *stale)
    return len(stale)


def _is_stale(raw: bytes, is_over: Callable[[str], bool]) -> bool:
    job = _job_of(raw)
    return job is not None and is_over(job)


def _job_of(raw: bytes) -> str | None:
    """Return the job of a message: an item of the queue, or the first of a list if it is unacknowledged."""
    try:
        envelope: Any = json.loads(raw)
        if isinstance(envelope, list):
            envelope = envelope[0]
        arguments, _, _ = json.loads(base64.b64decode(envelope["body"]))
        return BatchMessage.from_wire(arguments[0]).job
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MessageError):
        return None
