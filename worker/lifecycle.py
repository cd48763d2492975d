"""A worker's life outside its tasks: it is told to stop, and its processes end with it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import Celery, bootsteps, signals

from worker.shutdown import InHand, ShutdownDeadline

_COLLECT_EVERY = 50_000  # more objects made than freed; 700 is Python's own

# Seconds: kombu 5.7 transport/redis.py, Channel.brpop_timeout is 1. Redis may still answer the last question of a main
# process that no longer listens, and that message is gone.
_LAST_QUESTION = 1.5

_TAKING_LEAVE = 10.0  # seconds after the drain to sync, close and say goodbye; a container gets 30 in all


class Stopping:
    """Whether the worker was told to stop. Made before the fork and shared with every process of the pool.

    A plain number, because a killed process can hold a lock.
    """

    def __init__(self) -> None:
        self._since = RawValue("d", 0.0)  # by the monotonic clock; 0: it was not

    def begin(self) -> None:
        if not self.has_begun():
            self._since.value = time.monotonic()

    def has_begun(self) -> bool:
        """Was this worker told to stop?"""
        return bool(self._since.value)

    def await_silence(self) -> None:
        """Wait, when this worker is stopping, until it cannot swallow a message meant for the others."""
        if self.has_begun():
            time.sleep(max(0.0, self._since.value + _LAST_QUESTION - time.monotonic()))


class Lifecycle:
    """Hooks the life of a worker's processes to Celery's."""

    def __init__(self, stopping: Stopping, in_hand: InHand, *, drain: float) -> None:
        """``drain`` is the seconds transfers in flight may go on once the worker is told to stop."""
        self._stopping = stopping
        self._in_hand = in_hand
        self._drain = drain
        self._main = 0  # the pid of the main process, once it is about to start a pool

    def attach(self, app: Celery) -> None:
        app.steps["worker"].add(_leaving(self._watch))
        # Celery keeps only weak references to receivers unless told otherwise.
        signals.worker_shutting_down.connect(self._stop, weak=False)
        signals.worker_process_init.connect(self._begin_process, weak=False)

    def begin(self) -> None:
        """The main process is about to start its pool."""
        self._main = os.getpid()
        calm_collector()

    def _watch(self) -> None:
        ShutdownDeadline(within=self._drain + _TAKING_LEAVE, has_work=lambda: bool(self._in_hand)).watch()

    def _stop(self, **_: Any) -> None:
        self._stopping.begin()

    def _begin_process(self, **_: Any) -> None:
        # One whose parent was killed before it had asked the kernel to end with it would never end.
        if self._main not in (0, os.getpid(), os.getppid()):
            os._exit(1)
        self._in_hand.forget()


def _leaving(begin: Callable[[], None]) -> type[bootsteps.StartStopStep]:
    """Return a step that begins once Celery's own signal handlers and the pool are there, before Redis is asked."""

    class Leaving(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, _worker: Any) -> None:
            begin()

    return Leaving


def calm_collector() -> None:
    """Look for garbage in cycles seldom: transfers make hardly any, and looking took a ninth of a lane's time."""
    gc.collect()
    gc.freeze()  # before the fork, so that the pool's processes share these pages
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
