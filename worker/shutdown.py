"""A worker's end: once told to stop it is gone in time, whatever still holds it, and soon if nothing is in hand."""

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

_IDLE_FOR = 3.0  # seconds a stopping worker has nothing in hand when it need not take leave any longer
_LOOK_PAUSE = 0.1  # seconds between two looks
_MOST_PROCESSES = 1024


class InHand:
    """How many tasks each process of a worker runs. Made before the fork.

    Plain shared numbers, one for each place in the pool, because a killed process can hold a lock.
    """

    def __init__(self) -> None:
        self._counts = RawArray("i", _MOST_PROCESSES)
        self._counting = threading.Lock()  # a pool of threads shares one number

    def __bool__(self) -> bool:
        return any(self._counts)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a task for as long as the context lasts."""
        place = _place()
        self._count(place, 1)
        try:
            yield
        finally:
            self._count(place, -1)

    def forget(self) -> None:
        """This process has just begun; one that was killed had its place."""
        self._counts[_place()] = 0

    def _count(self, place: int, more: int) -> None:
        with self._counting:
            self._counts[place] += more


def _place() -> int:
    return int(getattr(current_process(), "index", 0)) % _MOST_PROCESSES


class ShutdownDeadline:
    """Ends this process when it is not gone by itself ``within`` seconds of being told to stop.

    Celery's shutdown asks Redis a dozen things, one after the other, and gives each its ten seconds: where Redis is
    silent that takes 45 s (prefork) to 103 s (solo). A second signal, or SIGQUIT, ends the process at once. Either
    way the batches in hand run again elsewhere when their leases end.

    A worker with nothing in hand ends with success a few seconds after it was told: a process that has just ended its
    task may wait half a minute for an answer of the main process, which no longer listens (billiard 4.3 ``pool.py``,
    ``Worker._ensure_messages_consumed``). On Linux the processes of a pool end with it
    (celery 5.7 ``concurrency/prefork.py``, ``set_pdeathsig``), elsewhere with their batch.
    """

    def __init__(self, *, within: float, has_work: Callable[[], bool] = lambda: True) -> None:
        self._within = within
        self._has_work = has_work
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
        _thread.start_new_thread(_leave_when_idle, (self._has_work,))
        self._leave_after(self._within, f"Still running {self._within:g} s after being told to stop: exiting now")
        if callable(self._stop):
            self._stop(number, frame)

    def _leave_after(self, seconds: float, sentence: str) -> None:
        # A bare thread: making a threading.Thread takes a lock, which the code this signal interrupted may hold.
        _thread.start_new_thread(_leave, (seconds, sentence))


def _leave(seconds: float, sentence: str) -> None:
    time.sleep(seconds)
    logger.warning("%s. Batches in hand run again when their lease ends.", sentence)
    os._exit(1)


def _leave_when_idle(has_work: Callable[[], bool]) -> None:
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < _IDLE_FOR:
        time.sleep(_LOOK_PAUSE)
        if has_work():
            idle_since = time.monotonic()
    logger.info("No batch in hand: exiting.")
    os._exit(0)
