"""A standstill: while its disk takes no files a worker takes no work, says why once, and tries again after a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from worker.events import NOBODY, Listener, WorkResumed, WorkSuspended

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds until work is taken again; doubled while it does not help
LONGEST_WAIT = 100.0  # seconds of one task's time; what is left must be enough for a batch (contract/cluster/broker.py)
_LOOK_PAUSE = 0.5  # seconds between two looks
_SHOWN_FOR = 45.0  # seconds after which a large body that waits for space was tried again and would have said so
_LONGEST_REASON = 400  # bytes


class DiskBackoff:
    """Shared by the processes of a worker, because they share the disk.

    Made before the fork. Plain shared numbers, because a killed process can hold a lock.
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
        self._told = _Flag()
        self._reason = RawArray("c", _LONGEST_REASON)
        self._waiting = RawArray("c", _LONGEST_REASON)
        self._waiting_until = RawValue("d", 0.0)

    @property
    def reason(self) -> str | None:
        """Why no work is taken now; None: it is."""
        return _read(self._reason) if self.lasts else None

    @property
    def waiting(self) -> str | None:
        """Why a large body waits for space while others are fetched; None: none does."""
        return _read(self._waiting) if self._now() < float(self._waiting_until.value) else None

    @property
    def lasts(self) -> bool:
        """Must no work be taken now, whatever the disk looks like?"""
        return self._now() < float(self._until.value)

    def note(self, stalled: str | None, *, began: float) -> None:
        """Take in how a run ended: why it stalled, or None, and when it began by the clock."""
        if stalled is not None:
            if not self.lasts:
                self._pause.value = min(max(FIRST_PAUSE, 2 * self._pause.value), LONGEST_PAUSE)
                self._until.value = self._now() + self._pause.value
            self._say(stalled)
        elif began >= self._until.value and self._told.lower():
            self._pause.value = 0.0
            self._listener.notify(WorkResumed())

    def note_waiting(self, reason: str) -> None:
        """Take in that a large body waits for space."""
        self._waiting.value = _cut(reason)
        self._waiting_until.value = self._now() + _SHOWN_FOR

    def wait(self, trouble: Callable[[], str | None], *, gives_up: Callable[[], bool]) -> bool:
        """Wait until work may be taken; False: ``gives_up`` said so, or it takes longer than a task may wait.

        ``trouble`` says in a sentence why the disk takes no files now.
        """
        until = self._now() + LONGEST_WAIT
        while not gives_up():
            reason = trouble()  # while work is suspended too: a folder that was replaced is opened anew by looking
            if not self.lasts:
                if reason is None:
                    return True
                self._until.value = self._now() + _LOOK_PAUSE  # a run that began before this proves nothing
                self._say(reason)
            if self._now() >= until:
                return False
            self._sleep(_LOOK_PAUSE)
        return False

    def _say(self, reason: str) -> None:
        self._reason.value = _cut(reason)
        if self._told.hoist():
            self._listener.notify(WorkSuspended(reason))


def _cut(reason: str) -> bytes:
    return reason.encode()[: _LONGEST_REASON - 1]


def _read(shared: Any) -> str:
    return bytes(shared.value).decode("utf-8", "ignore")


class _Flag:
    """Is hoisted and lowered by many processes, and each time one of them is told that it did it.

    A byte that lies in one of two pipes: only one process can read it. It is lost with a process that is killed while
    it moves it; then nobody is told any more.
    """

    def __init__(self) -> None:
        self._down, self._up = Pipe(duplex=False), Pipe(duplex=False)
        for reading, _ in (self._down, self._up):
            os.set_blocking(reading.fileno(), False)
        os.write(self._down[1].fileno(), b"\0")

    def hoist(self) -> bool:
        """Hoist it; False: it was up, or somebody else did it."""
        return _moves(self._down[0], self._up[1])

    def lower(self) -> bool:
        """Lower it; False: it was down, or somebody else did it."""
        return _moves(self._up[0], self._down[1])


def _moves(start: Connection, end: Connection) -> bool:
    try:
        os.write(end.fileno(), os.read(start.fileno(), 1))
    except BlockingIOError:
        return False
    return True
