"""A worker's lifecycle outside its tasks: the stop signal, and the end of its pool's processes."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import Celery, bootsteps, signals

from worker.shutdown import InHand, ShutdownDeadline

_COLLECT_EVERY = 50_000  # allocations minus deallocations before a collection; Python's default is 700

# Seconds. Redis may answer a pending BRPOP after the main process stopped reading, and that message is lost. BRPOP
# times out after 1 s (kombu 5.7 transport/redis.py, Channel.brpop_timeout).
_PENDING_BRPOP = 1.5

_CLOSING = 10.0  # seconds after the drain to sync files and close connections; a container has 30 in all


class Stopping:
    """Whether the worker is stopping. Created before the fork and shared with every process of the pool.

    A plain shared number, because a killed process could hold a lock forever.
    """

    def __init__(self) -> None:
        self._since = RawValue("d", 0.0)  # by the monotonic clock; 0: it is not stopping

    def begin(self) -> None:
        if not self.has_begun():
            self._since.value = time.monotonic()

    def has_begun(self) -> bool:
        """Has this worker received a stop signal?"""
        return bool(self._since.value)

    def await_silence(self) -> None:
        """If this worker is stopping, wait until no BRPOP of its own can receive a message any more."""
        if self.has_begun():
            time.sleep(max(0.0, self._since.value + _PENDING_BRPOP - time.monotonic()))


class Lifecycle:
    """Connects stop signal and shutdown deadline to Celery's signals and boot steps."""

    def __init__(self, stopping: Stopping, in_hand: InHand, *, drain: float) -> None:
        """``drain`` is how long transfers in flight may continue after the stop signal, in seconds."""
        self._stopping = stopping
        self._in_hand = in_hand
        self._drain = drain
        self._main = 0  # the pid of the main process, once it is about to start a pool

    def attach(self, app: Celery) -> None:
        app.steps["worker"].add(_leaving(self._watch))
        # weak=False: Celery keeps only weak references to receivers by default.
        signals.worker_shutting_down.connect(self._stop, weak=False)
        signals.worker_process_init.connect(self._begin_process, weak=False)

    def begin(self) -> None:
        """Note that this is the main process, which is about to start its pool."""
        self._main = os.getpid()
        calm_collector()

    def _watch(self) -> None:
        ShutdownDeadline(within=self._drain + _CLOSING, has_work=lambda: bool(self._in_hand)).watch()

    def _stop(self, **_: Any) -> None:
        self._stopping.begin()

    def _begin_process(self, **_: Any) -> None:
        # If the parent was killed before this child asked the kernel to end with it, nothing else ends the child.
        if self._main not in (0, os.getpid(), os.getppid()):
            os._exit(1)
        self._in_hand.forget()


def _leaving(begin: Callable[[], None]) -> type[bootsteps.StartStopStep]:
    """Return a boot step that runs after Celery installed its signal handlers and pool, before it connects to Redis."""

    class Leaving(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, _worker: Any) -> None:
            begin()

    return Leaving


def calm_collector() -> None:
    """Collect cyclic garbage rarely: transfers create hardly any, and collections took a ninth of a lane's time."""
    gc.collect()
    gc.freeze()  # before the fork, so that the pool's processes share these pages
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
