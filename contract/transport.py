"""What kombu's Redis transport needs so that a worker outlives the loss of its connection."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as redis_transport

_connection_parameters: Any = redis_transport.Channel._connparams  # type: ignore[attr-defined]  # kombu is half typed


def mend_redis_transport() -> None:
    """Make a channel whose connection is gone raise what everybody expects then: a connection error.

    A message that is acknowledged, or put back, after its channel's connection was given up makes kombu look for the
    parameters of a connection that is None. The AttributeError is no connection error to Celery, and ends the worker
    (kombu 5.7 ``transport/redis.py``, ``Channel._connparams``; celery 5.7 ``worker/consumer/consumer.py``,
    ``on_connection_error_after_connected``).
    """
    redis_transport.Channel._connparams = _parameters_of_the_living  # type: ignore[attr-defined]  # as above


def _parameters_of_the_living(self: Any, asynchronous: bool = False) -> Any:
    if self.connection is None or self.connection.client is None:
        raise ConnectionError("the channel's connection was given up")
    return _connection_parameters(self, asynchronous=asynchronous)
