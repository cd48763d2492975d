"""The main loop of a job: feed it, drain it, show it, until every line has its outcome or somebody says stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol

from producer.console import Console
from producer.feeder import Feeder
from producer.follower import Follower, LostJobError
from producer.journal import Journal

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between two looks while nothing happens
_NO_WORKER_AFTER = 15.0  # seconds without any batch taken until somebody is told


class Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a request and the second into an end at once; a context manager."""

    def __init__(self) -> None:
        self.is_requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True

    def raise_if_requested(self) -> None:
        """For places that wait for something that may never come."""
        if self.is_requested:
            raise KeyboardInterrupt


class Servants(Protocol):
    """The services a run started for itself."""

    def watch(self) -> None:
        """Start again what ended by itself."""
        ...

    def ask_worker_to_stop(self) -> None: ...

    def is_worker_running(self) -> bool: ...


def conduct(
    *,
    feeder: Feeder | None,
    follower: Follower,
    journal: Journal,
    console: Console,
    interrupts: Interrupts,
    servants: Servants | None = None,
    grace: float = 30.0,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Work until the job is finished; False when it was interrupted.

    ``grace`` is the number of seconds our own worker may take to stop.
    """
    waited = _SHORTEST_PAUSE
    begun = time.monotonic()
    told = False
    while not is_finished(feeder, follower, journal):
        if interrupts.is_requested:
            _stop(follower, console, servants, grace)
            return is_finished(feeder, follower, journal)
        if servants:
            servants.watch()
        try:
            follower.look()
            is_busy = feeder.step() if feeder else False
            is_busy = bool(follower.step()) or is_busy
        except LostJobError:
            if feeder is None:
                raise
            if not feeder.is_behind:
                console.tell("Redis has lost this job; sending again what the manifest does not have.")
                feeder.recover()
            is_busy = True
        console.state = _state(follower, servants)
        console.show(follower.tally, totals_of(feeder, follower), is_complete=feeder is None or feeder.is_done)
        if not told and not servants and time.monotonic() - begun > _NO_WORKER_AFTER and follower.is_untouched:
            told = True
            console.mention("No worker has taken a batch yet: start one with `celery -A worker worker`.")
        waited = _SHORTEST_PAUSE if is_busy else min(waited * 1.5, _LONGEST_PAUSE)
        if not is_busy:
            pause(waited)
    return True


def is_finished(feeder: Feeder | None, follower: Follower, journal: Journal) -> bool:
    """Does every line that was read have its row, and was the whole list read?"""
    if feeder is not None:
        return feeder.is_done and journal.count_undrained() == 0
    return follower.is_finished


def totals_of(feeder: Feeder | None, follower: Follower) -> Mapping[str, int]:
    """Return what the list held, as far as is known from here."""
    if feeder is not None:
        return feeder.totals
    return follower.totals


def _state(follower: Follower, servants: Servants | None) -> str:
    """Say what is waited for while no outcome has come."""
    if follower.tally.rows:
        return ""
    if follower.record is not None and follower.record.running:
        return "the first batches are being fetched"
    return "the worker is starting" if servants else "waiting for a worker"


def _stop(follower: Follower, console: Console, servants: Servants | None, grace: float) -> None:
    if servants is None:
        console.mention("Stopping here; the workers go on. The same command follows them again.")
        follower.step()
        return
    console.mention("Stopping: what is in flight may finish (Ctrl-C again: at once). The same command goes on later.")
    console.state = "stopping"
    servants.ask_worker_to_stop()
    until = time.monotonic() + grace
    while servants.is_worker_running() and time.monotonic() < until:
        follower.step()
        time.sleep(_LONGEST_PAUSE / 2)
    while follower.step():
        pass
