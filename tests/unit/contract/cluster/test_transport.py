"""A worker survives the loss of its connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kombu.transport.redis import Channel, QoS
from redis._parsers.base import BaseParser

from contract.cluster.broker import UNREACHABLE, build_app
from contract.cluster.settings import ClusterSettings
from contract.cluster.transport import mend_redis_transport


@pytest.mark.parametrize("connection", [None, SimpleNamespace(client=None)])
def test_a_channel_without_connection_raises_an_error_that_celery_survives(connection: object) -> None:
    """Guards ``mend_redis_transport``: kombu's own AttributeError would end the worker."""
    build_app(ClusterSettings(broker_url="redis://localhost/0", result_backend="redis://localhost/0"))
    channel = Channel.__new__(Channel)
    channel.connection = cast("Any", connection)

    with pytest.raises(ConnectionError, match="given up"):
        cast("Any", channel)._connparams()


class FullDisk:
    """A channel, connection and pipeline in one, of a Redis that cannot write to its disk."""

    do_restore = False
    unacked_key = unacked_index_key = "unacked"

    @contextmanager
    def conn_or_acquire(self, client: object = None) -> Iterator[FullDisk]:
        yield self

    def pipeline(self) -> FullDisk:
        return self

    def zrem(self, *_: object) -> FullDisk:
        return self

    def hdel(self, *_: object) -> FullDisk:
        return self

    def execute(self) -> None:
        raise cast("Any", BaseParser).parse_error("MISCONF Errors writing to the AOF file: No space left on device")


def test_a_message_that_cannot_be_acknowledged_on_a_full_disk_is_released() -> None:
    """Guards the message's slot: a worker of one process got no other."""
    mend_redis_transport()
    held: Any = QoS(FullDisk(), prefetch_count=1)
    held._delivered["tag"] = object()
    assert not held.can_consume()

    held.ack("tag")

    assert held.can_consume()


def test_a_redis_that_cannot_write_to_its_disk_counts_as_unreachable() -> None:
    """Guards the class of MISCONF: redis-py raises the same error for a wrong command."""
    with pytest.raises(UNREACHABLE, match="No space left"):
        FullDisk().execute()
