"""Notifies a follower of closed batches of its job, so that it need not poll, and passes on progress snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

_ANSWERS_WITHIN = 5.0  # seconds a subscription may take
_TRIED_EVERY = 5.0  # seconds between two attempts to subscribe


class JobChannel:
    """A subscription to the channels on which the ledger's scripts announce closed batches.

    Announcements can be lost, so callers must still poll now and then. If Redis is unreachable, the subscription is
    dropped: ``wait`` returns 1 so that the caller polls, and ``subscribe`` must be called again.
    """

    def __init__(
        self,
        client: redis.Redis,
        channels: Sequence[str],
        *,
        beside: Sequence[str] = (),
        pass_on: Callable[[bytes], None] = lambda _told: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``client`` must not retry by itself, because ``wait`` must return in time.

        Messages of the channels ``beside`` are given to ``pass_on`` during ``wait``, and do not end it.
        """
        self._client = client
        self._channels = [*channels, *beside]
        self._beside = [name.encode() for name in beside]
        self._pass_on = pass_on
        self._sleep = sleep
        self._subscription: Any = None  # redis.client.PubSub, which is not typed
        self._try_from = float("-inf")

    @property
    def is_subscribed(self) -> bool:
        return self._subscription is not None

    def subscribe(self) -> bool:
        """Subscribe; False if that is not possible now. Batches closed earlier are not announced."""
        if time.monotonic() < self._try_from:
            return False
        self._try_from = time.monotonic() + _TRIED_EVERY
        subscription: Any = None
        try:
            subscription = self._client.pubsub()  # type: ignore[no-untyped-call]  # redis-py has no annotation here
            subscription.subscribe(*self._channels)
            # One answer for each channel.
            if all(subscription.get_message(timeout=_ANSWERS_WITHIN) is not None for _ in self._channels):
                self._subscription = subscription
                return True
        except (redis.exceptions.RedisError, OSError):
            pass  # unreachable, or an ACL that allows no channel: the follower keeps polling
        if subscription is not None:
            subscription.close()
        return False

    def wait(self, within: float, enough: int = 1) -> int:
        """Wait up to ``within`` seconds for ``enough`` closings; return how many there were since the last call."""
        if self._subscription is None:
            self._sleep(within)
            return 0
        until, closings = time.monotonic() + within, 0
        try:
            message = self._subscription.get_message(timeout=within)
            while message is not None:
                closings += self._receive(message)
                left = max(0.0, until - time.monotonic()) if closings < enough else 0.0
                message = self._subscription.get_message(timeout=left)
            return closings
        except (redis.exceptions.RedisError, OSError):
            self.unsubscribe()
            return 1

    def _receive(self, message: Mapping[str, Any]) -> bool:
        """Does the message end the wait? A new subscription does: an announcement may have been missed."""
        if message["type"] == "message" and message["channel"] in self._beside:
            self._pass_on(message["data"])
            return False
        return bool(message["type"] != "pong")

    def unsubscribe(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def close(self) -> None:
        self.unsubscribe()
        self._client.close()
