"""A worker's end: once told to stop it is gone in time, whatever still holds it."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import time
from types import FrameType

logger = logging.getLogger(__name__)


class ShutdownDeadline:
    """Ends this process when it is not gone by itself ``within`` seconds of being told to stop.

    Celery's shutdown asks Redis a dozen things, one after the other, and gives each its ten seconds: where Redis is
    silent that takes 45 s (prefork) to 103 s (solo). A second signal, or SIGQUIT, ends the process at once. Either
    way the batches in hand run again elsewhere when their leases end. On Linux the processes of a pool end with it
    (celery 5.7 ``concurrency/prefork.py``, ``set_pdeathsig``), elsewhere with their batch.
    """

    def __init__(self, *, within: float) -> None:
        self._within = within
        self._is_told = False
        self._stop = signal.getsignal(signal.SIGTERM)  # Celery's, that lets tasks come to their end

    def watch(self) -> None:
        """Take note of every signal that ends a worker."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._take_note)

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        if self._is_told or number == signal.SIGQUIT:
            self._leave_after(0.0, "Ending at once")
            return
        self._is_told = True
        self._leave_after(self._within, f"Still here {self._within:g} s after being told to stop: ending now")
        if callable(self._stop):
            self._stop(number, frame)

    def _leave_after(self, seconds: float, sentence: str) -> None:
        # A bare thread: making a threading.Thread takes a lock, which the code this signal interrupted may hold.
        _thread.start_new_thread(_leave, (seconds, sentence))


def _leave(seconds: float, sentence: str) -> None:
    time.sleep(seconds)
    logger.warning("%s. What is in hand runs again when its lease ends.", sentence)
    os._exit(1)
