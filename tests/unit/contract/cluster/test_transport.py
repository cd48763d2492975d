"""A worker outlives the loss of its connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from kombu.transport.redis import Channel

from contract.cluster.broker import build_app
from contract.cluster.settings import ClusterSettings


@pytest.mark.parametrize("connection", [None, SimpleNamespace(client=None)])
def test_a_channel_without_its_connection_says_so_in_a_way_celery_survives(connection: object) -> None:
    """Guards ``mend_redis_transport``: kombu's own AttributeError would end the worker."""
    build_app(ClusterSettings(broker_url="redis://localhost/0", result_backend="redis://localhost/0"))
    channel = Channel.__new__(Channel)
    channel.connection = cast("Any", connection)

    with pytest.raises(ConnectionError, match="given up"):
        cast("Any", channel)._connparams()
