"""The right to run a batch: renewed while it runs, confirmed before anything is published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from contract.cluster.broker import UNREACHABLE

_PAUSE = 0.5  # seconds between two questions to a Redis that does not answer


class Lease:
    """A claimed batch's lease, as its holder sees it.

    The holder trusts its own clock only for shorter than the lease: once that time is over without a renewal,
    it asks before it publishes, and publishes nothing while Redis does not answer.
    """

    def __init__(
        self,
        renew: Callable[[], bool],
        *,
        seconds: float,
        gives_up: Callable[[], bool],
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``renew`` asks the ledger; ``gives_up`` tells that waiting for it has no more use: the worker ends."""
        self._renew = renew
        self._seconds = seconds
        self._gives_up = gives_up
        self._asking = threading.Lock()
        self._now = now
        self._pause = pause
        self._renewed = now()
        self._is_lost = False

    @property
    def is_lost(self) -> bool:
        """Did the ledger say that the batch is closed or somebody else's?"""
        return self._is_lost

    def keep(self) -> None:
        """Renew when a third of the lease is over; a Redis that does not answer is asked again the next time."""
        if self._now() - self._renewed > self._seconds / 3:
            self._ask()

    def confirm(self) -> bool:
        """Is the batch ours right now? Waits for Redis when the lease may have run out; called by any thread."""
        while not self._is_lost:
            if self._now() - self._renewed < self._seconds:
                return True
            if self._ask() is None:
                if self._gives_up():
                    return False
                self._pause(_PAUSE)
        return False

    def move(self, act: Callable[[], bool], renew: Callable[[], bool]) -> bool:
        """Let ``act`` close the batch and open one in its place that is ours already, which ``renew`` asks for then.

        False: the batch was no longer ours. What is published meanwhile is of a batch we hold, the old or the new one.
        """
        with self._asking:
            asked = self._now()
            if act():
                self._renew, self._renewed = renew, asked
            else:
                self._is_lost = True
            return not self._is_lost

    def _ask(self) -> bool | None:
        with self._asking:
            asked = self._now()
            try:
                is_ours = self._renew()
            except UNREACHABLE:
                return None
            if is_ours:
                self._renewed = asked
            else:
                self._is_lost = True
            return is_ours
