"""Tells a follower what workers tell of its job, above all that a batch was closed: it need not ask again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

_ANSWERS_WITHIN = 5.0  # seconds a subscription may take
_TRIED_EVERY = 5.0  # seconds between two tries to hang it


class JobChannel:
    """Rings when a batch is closed: the scripts publish it on a channel. It may miss a closing: look now and then.

    What is told on a channel ``beside`` rings nothing, and is passed on while somebody waits for the channel.

    Whenever Redis cannot be reached it falls down, which is a reason to look, and has to be hung again.
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
        """``client`` must not try again by itself: whoever waits for a channel has other things to do."""
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
        """Listen from now on; False where that cannot be done now. What was closed before is not told."""
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
            pass  # away, or an ACL that allows no channel: the follower asks every so often, as it did before
        if subscription is not None:
            subscription.close()
        return False

    def wait(self, within: float) -> bool:
        """Wait up to so many seconds for a closing; True at once when there was one since the last call."""
        if self._subscription is None:
            self._sleep(within)
            return False
        try:
            message = self._subscription.get_message(timeout=within)
            rang = False
            while message is not None:
                rang = self._receive(message) or rang
                message = self._subscription.get_message(timeout=0.0)
            return rang
        except (redis.exceptions.RedisError, OSError):
            self.unsubscribe()
            return True

    def _receive(self, message: Mapping[str, Any]) -> bool:
        """Does it ring? A connection that was made again does: something may have been missed."""
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
