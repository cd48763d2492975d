"""A hard deadline on worker shutdown, and a quick exit if no task is running."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray
from types import FrameType

from billiard import current_process

logger = logging.getLogger(__name__)

_IDLE_FOR = 3.0  # seconds without a running task after which a stopping worker exits
_POLL_INTERVAL = 0.1  # seconds
_MOST_PROCESSES = 1024


class InHand:
    """Counts the running tasks of each process of a worker. Created before the fork.

    Plain shared numbers, one per pool slot, because a killed process could hold a lock forever.
    """

    def __init__(self) -> None:
        self._counts = RawArray("i", _MOST_PROCESSES)
        self._counting = threading.Lock()  # the threads of a thread pool share one number

    def __bool__(self) -> bool:
        return any(self._counts)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a task while the context is active."""
        index = _pool_index()
        self._count(index, 1)
        try:
            yield
        finally:
            self._count(index, -1)

    def forget(self) -> None:
        """Reset the count of a new process; the one it replaces may have been killed."""
        self._counts[_pool_index()] = 0

    def _count(self, index: int, more: int) -> None:
        with self._counting:
            self._counts[index] += more


def _pool_index() -> int:
    return int(getattr(current_process(), "index", 0)) % _MOST_PROCESSES


class ShutdownDeadline:
    """Ends this process if it has not exited ``within`` seconds of the stop signal.

    Celery's shutdown makes a dozen requests to Redis, one after another, each with a timeout of ten seconds: if Redis
    does not answer, it takes 45 s (prefork) to 103 s (solo). A second signal, or SIGQUIT, ends the process at once. In
    either case unfinished batches are retried when their leases expire.

    A worker without running tasks exits with status 0 a few seconds after the signal: a pool process that has finished
    its task may wait half a minute for the main process, which no longer reads its results (billiard 4.3 ``pool.py``,
    ``Worker._ensure_messages_consumed``). On Linux the pool's processes end with the main process (celery 5.7
    ``concurrency/prefork.py``, ``set_pdeathsig``), elsewhere with their batch.
    """

    def __init__(self, *, within: float, has_work: Callable[[], bool]) -> None:
        self._within = within
        self._has_work = has_work
        self._is_stopping = False
        self._stop = signal.getsignal(signal.SIGTERM)  # Celery's handler, which lets tasks finish

    def watch(self) -> None:
        """Handle every signal that ends a worker."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_stopping or number == signal.SIGQUIT:
            self._exit_after(0.0, "Exiting now")
            return
        self._is_stopping = True
        _thread.start_new_thread(_exit_when_idle, (self._has_work,))
        self._exit_after(self._within, f"Still running {self._within:g} s after the stop signal; exiting now")
        if callable(self._stop):
            self._stop(number, frame)

    def _exit_after(self, seconds: float, sentence: str) -> None:
        # A bare thread: threading.Thread acquires a lock that the interrupted code may hold.
        _thread.start_new_thread(_exit, (seconds, sentence))


def _exit(seconds: float, sentence: str) -> None:
    time.sleep(seconds)
    logger.warning("%s. Unfinished batches are retried when their leases expire.", sentence)
    os._exit(1)


def _exit_when_idle(has_work: Callable[[], bool]) -> None:
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < _IDLE_FOR:
        time.sleep(_POLL_INTERVAL)
        if has_work():
            idle_since = time.monotonic()
    logger.info("No batch is running; exiting.")
    os._exit(0)
