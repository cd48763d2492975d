"""While its disk accepts no files, a worker takes no work, logs the reason once, and retries after a growing pause."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from worker.events import NOBODY, Listener, WorkResumed, WorkSuspended

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds until work is taken again; doubled each time it fails
LONGEST_WAIT = 100.0  # seconds of a task's time; the rest must be enough for a batch (contract/cluster/broker.py)
_CHECK_INTERVAL = 0.5  # seconds
_SHOWN_FOR = 45.0  # seconds; a large body that still waits for space is retried, and noted again, sooner
_LONGEST_REASON = 400  # bytes


class DiskBackoff:
    """Shared by the processes of a worker, because they share the disk.

    Created before the fork. Plain shared numbers, because a killed process could hold a lock forever.
    """

    def __init__(
        self,
        listener: Listener = NOBODY,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``now`` must be the same clock in every process."""
        self._listener = listener
        self._now = now
        self._sleep = sleep
        self._until = RawValue("d", 0.0)
        self._pause = RawValue("d", 0.0)
        self._is_logged = _Flag()
        self._reason = RawArray("c", _LONGEST_REASON)
        self._waiting = RawArray("c", _LONGEST_REASON)
        self._waiting_until = RawValue("d", 0.0)

    @property
    def reason(self) -> str | None:
        """Why no work is taken now; None: work is taken."""
        return _read(self._reason) if self.lasts else None

    @property
    def waiting(self) -> str | None:
        """Why a large body waits for space while others are fetched; None: none waits."""
        return _read(self._waiting) if self._now() < float(self._waiting_until.value) else None

    @property
    def lasts(self) -> bool:
        """Is taking work suspended now, regardless of the disk's state?"""
        return self._now() < float(self._until.value)

    def note(self, stalled: str | None, *, began: float) -> None:
        """Note how a run ended: the reason if the disk stalled it, and when it began (the clock's seconds)."""
        if stalled is not None:
            if not self.lasts:
                self._pause.value = min(max(FIRST_PAUSE, 2 * self._pause.value), LONGEST_PAUSE)
                self._until.value = self._now() + self._pause.value
            self._say(stalled)
        elif began >= self._until.value and self._is_logged.lower():
            self._pause.value = 0.0
            self._listener.notify(WorkResumed())

    def note_waiting(self, reason: str) -> None:
        """Note that a large body waits for space, and why."""
        self._waiting.value = _cut(reason)
        self._waiting_until.value = self._now() + _SHOWN_FOR

    def wait(self, trouble: Callable[[], str | None], *, is_stopping: Callable[[], bool]) -> bool:
        """Wait until work may be taken; False: the worker is stopping, or a task may wait no longer.

        ``trouble`` returns a sentence saying why the disk accepts no files; None: it does.
        """
        until = self._now() + LONGEST_WAIT
        while not is_stopping():
            reason = trouble()  # also while work is suspended, because this reopens a folder that was replaced
            if not self.lasts:
                if reason is None:
                    return True
                self._until.value = self._now() + _CHECK_INTERVAL  # earlier runs do not show that the disk is well
                self._say(reason)
            if self._now() >= until:
                return False
            self._sleep(_CHECK_INTERVAL)
        return False

    def _say(self, reason: str) -> None:
        self._reason.value = _cut(reason)
        if self._is_logged.hoist():
            self._listener.notify(WorkSuspended(reason))


def _cut(reason: str) -> bytes:
    return reason.encode()[: _LONGEST_REASON - 1]


def _read(shared: Any) -> str:
    return bytes(shared.value).decode("utf-8", "ignore")


class _Flag:
    """A flag shared by many processes; of those that change it at the same time, exactly one gets True.

    It is a byte in one of two pipes, so only one process can read it. If a process is killed while moving it, the byte
    is lost, and from then on nothing is logged.
    """

    def __init__(self) -> None:
        self._down, self._up = Pipe(duplex=False), Pipe(duplex=False)
        for reading, _ in (self._down, self._up):
            os.set_blocking(reading.fileno(), False)
        os.write(self._down[1].fileno(), b"\0")

    def hoist(self) -> bool:
        """Raise it; False: it was up already, or another process raised it."""
        return _moves(self._down[0], self._up[1])

    def lower(self) -> bool:
        """Lower it; False: it was down already, or another process lowered it."""
        return _moves(self._up[0], self._down[1])


def _moves(start: Connection, end: Connection) -> bool:
    try:
        os.write(end.fileno(), os.read(start.fileno(), 1))
    except BlockingIOError:
        return False
    return True
