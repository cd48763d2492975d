"""What kombu's Redis transport needs so that a worker outlives lost connections and malformed messages."""

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
    """Make a channel whose connection is gone raise a connection error, and drop what is no message.

    A message that is acknowledged, or put back, after its channel's connection was given up makes kombu look for the
    parameters of a connection that is None. The AttributeError is no connection error to Celery, and ends the worker
    (kombu 5.7 ``transport/redis.py``, ``Channel._connparams``; celery 5.7 ``worker/consumer/consumer.py``,
    ``on_connection_error_after_connected``).

    A message that is no JSON, or no envelope, or whose headers are of other types than Celery's, raises in the worker's
    main process, which ends ("Unrecoverable error"); some of them are in the queue again then, for the next worker.

    A message that cannot be acknowledged because Redis cannot write to its disk counts as being worked on for ever: a
    worker of one process takes no other (``QoS.ack``). It is let go, and comes again after the visibility timeout: it
    only tells that batches wait.
    """
    _channel._connparams = _parameters_of_the_living
    _channel._brpop_read = _read_what_can_be_read
    _transport._deliver = _deliver_what_is_sound
    _unacknowledged.ack = _acknowledge_or_let_go


def _parameters_of_the_living(self: Any, asynchronous: bool = False) -> Any:
    if self.connection is None or self.connection.client is None:
        raise ConnectionError("the channel's connection was given up")
    return _connection_parameters(self, asynchronous=asynchronous)


def _acknowledge_or_let_go(self: Any, delivery_tag: str) -> None:
    try:
        _acknowledge(self, delivery_tag)
    except Exception as error:
        if getattr(error, "status_code", None) != "MISCONF":  # redis-py's name for the reply's first word
            raise
        super(_unacknowledged, self).ack(delivery_tag)


def _read_what_can_be_read(self: Any, **options: Any) -> Any:
    try:
        return _read(self, **options)
    except (ValueError, RecursionError) as error:
        logger.error("Message dropped: it cannot be read (%s).", type(error).__name__)
        return True


def _deliver_what_is_sound(self: Any, message: object, queue: str) -> None:
    fault = fault_of(message)
    if fault is None:
        _deliver(self, message, queue)
    else:
        # Nothing of it is shown: it may be somebody's secret, or made for our terminal.
        logger.error("Message of queue %s dropped: %s.", queue, fault)
