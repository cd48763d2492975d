"""Kills a stuck pool process, so that the pool replaces it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType

from billiard import current_process

from worker.log_context import logger_of

logger = logger_of(__name__)

_PATIENCE = 300.0  # seconds without a sign of life; a runner gives one far more often, whatever it waits for
_CHECK_INTERVAL = 5.0  # seconds


def end_process(reason: str) -> None:
    """Kill this process if it belongs to a pool; its batches are retried. A solo worker would not be restarted."""
    logger.critical(reason)
    if hasattr(current_process(), "index"):  # billiard's index of a pool process
        os.kill(os.getpid(), signal.SIGKILL)


class Watchdog:
    """Watches a runner while its context is active.

    Celery's time limits cannot do this: they apply to a message, and one message may lead to many batches in a row.
    """

    def __init__(self, end: Callable[[str], None], *, patience: float = _PATIENCE) -> None:
        self._end = end
        self._patience = patience
        self._looked = time.monotonic()
        self._over = threading.Event()

    def look(self) -> None:
        """Record a sign of life of the runner."""
        self._looked = time.monotonic()

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        was_late = False  # late twice in a row: a process that was frozen and thawed gets a moment
        while not self._over.wait(min(_CHECK_INTERVAL, self._patience)):
            is_late = time.monotonic() - self._looked > self._patience
            if is_late and was_late:
                self._end(f"A process of this worker has been stuck for {self._patience:g} s; stopping it.")
                self.look()
            was_late = is_late
