"""The right to run a batch: renewed while it runs, confirmed before anything is published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from contract.cluster.broker import UNREACHABLE

_PAUSE = 0.5  # seconds between two tries while Redis is unreachable


class Lease:
    """The lease of a claimed batch, as its holder sees it.

    If the lease was not renewed for as long as it lasts, by the holder's own clock, the holder asks Redis before it
    publishes, and publishes nothing while Redis is unreachable.
    """

    def __init__(
        self,
        renew: Callable[[], bool],
        *,
        seconds: float,
        is_stopping: Callable[[], bool],
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``renew`` asks the ledger; if ``is_stopping``, ``confirm`` does not wait for Redis."""
        self._renew = renew
        self._seconds = seconds
        self._is_stopping = is_stopping
        self._asking = threading.Lock()
        self._now = now
        self._pause = pause
        self._renewed = now()
        self._is_lost = False

    @property
    def is_lost(self) -> bool:
        """Has the ledger answered that the batch is closed or held by another worker?"""
        return self._is_lost

    def keep(self) -> None:
        """Renew if a third of the lease has passed; if Redis is unreachable, the next call tries again."""
        if self._now() - self._renewed > self._seconds / 3:
            self._ask()

    def confirm(self) -> bool:
        """Is the batch still ours? Waits for Redis if the lease may have expired. Thread-safe."""
        while not self._is_lost:
            if self._now() - self._renewed < self._seconds:
                return True
            if self._ask() is None:
                if self._is_stopping():
                    return False
                self._pause(_PAUSE)
        return False

    def move(self, act: Callable[[], bool], renew: Callable[[], bool]) -> bool:
        """Call ``act``, which closes the batch and opens one that we hold in its place; ``renew`` renews that one.

        False: the batch was no longer ours. ``confirm`` on other threads sees the old lease or the new one.
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
