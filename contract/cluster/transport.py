"""Patches of kombu's Redis transport: a worker survives lost connections and malformed messages."""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis as redis_transport

from contract.cluster.envelopes import fault_of

logger = logging.getLogger(__name__)

_channel: Any = redis_transport.Channel  # kombu is half typed
_transport: Any = redis_transport.Transport
_unacknowledged: Any = redis_transport.QoS
_connection_parameters = _channel._connparams
_read = _channel._brpop_read
_deliver = _transport._deliver
_acknowledge = _unacknowledged.ack


def mend_redis_transport() -> None:
    """Patch kombu's Redis transport in three ways; safe to call again.

    1. If a message is acknowledged or returned after its channel's connection was closed, kombu reads the parameters of
    a connection that is None. Celery does not treat the AttributeError as a connection error, and the worker exits
    (kombu 5.7 ``transport/redis.py``, ``Channel._connparams``; celery 5.7 ``worker/consumer/consumer.py``,
    ``on_connection_error_after_connected``). Now it is a connection error.

    2. A message that is not JSON, not an envelope, or has headers of unexpected types raises in the worker's main
    process, which exits ("Unrecoverable error"); some return to the queue, for the next worker. Now they are dropped.

    3. A message that cannot be acknowledged because Redis cannot write to its disk counts as in progress for ever, so a
    worker of one process gets no other (``QoS.ack``). Now it is released. It is delivered again after the visibility
    timeout, which is harmless: it only means that batches wait.
    """
    _channel._connparams = _connection_parameters_or_raise
    _channel._brpop_read = _read_if_valid
    _transport._deliver = _deliver_if_valid
    _unacknowledged.ack = _acknowledge_or_release


def _connection_parameters_or_raise(self: Any, asynchronous: bool = False) -> Any:
    if self.connection is None or self.connection.client is None:
        raise ConnectionError("the channel's connection was given up")
    return _connection_parameters(self, asynchronous=asynchronous)


def _acknowledge_or_release(self: Any, delivery_tag: str) -> None:
    try:
        _acknowledge(self, delivery_tag)
    except Exception as error:
        if getattr(error, "status_code", None) != "MISCONF":  # redis-py's attribute for the first word of the reply
            raise
        super(_unacknowledged, self).ack(delivery_tag)


def _read_if_valid(self: Any, **options: Any) -> Any:
    try:
        return _read(self, **options)
    except (ValueError, RecursionError) as error:
        logger.error("Message dropped: it cannot be read (%s).", type(error).__name__)
        return True


def _deliver_if_valid(self: Any, message: object, queue: str) -> None:
    fault = fault_of(message)
    if fault is None:
        _deliver(self, message, queue)
    else:
        # Nothing of it is quoted: it may hold a secret or control characters.
        logger.error("Message of queue %s dropped: %s.", queue, fault)
