"""A job that is paused or cancelled while it is followed: shown, recorded in the journal, and ended."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from contract.errors import JobStateError, UnknownJobError
from contract.ledger.values import JobState
from producer.cluster.client import UNREACHABLE, Retrying
from producer.job.control import JobControl
from producer.job.follower import Follower
from producer.storage.journal import Journal


class Reader(Protocol):
    """The feeding side of a job."""

    def cancel(self) -> None:
        """Stop reading, and count the lines that were not read."""
        ...


class Halts:
    """Whether one job is paused or cancelled, as its follower sees it.

    The state is recorded in the journal, so that a job that Redis has lost is restored with it.
    """

    def __init__(
        self,
        control: JobControl,
        *,
        follower: Follower,
        journal: Journal,
        retrying: Retrying,
        echo: Callable[[str], None],
        resumed_by: str,
    ) -> None:
        """``echo`` prints one line; ``resumed_by`` is the command that ends a pause."""
        self.control = control
        self._follower = follower
        self._journal = journal
        self._retrying = retrying
        self._echo = echo
        self._resumed_by = resumed_by
        self._seen = JobState.RUNNING

    def begin(self) -> None:
        """End a pause left behind by a command of this folder that was killed while stopped (Ctrl-Z)."""
        record = self._retrying.call(self.control.record)
        if record is not None and record.is_paused and record.pauser:
            self._retrying.call(lambda: self.control.resume(by=record.pauser))

    def look(self, reader: Reader) -> bool:
        """Read the state from the job's record; True if anything was ended."""
        record = self._follower.record
        if record is None or (record.is_finished and record.state is JobState.PAUSED):
            return False
        state = record.state
        if state is not self._seen:
            self._seen = state
            self._journal.note(halted=None if state is JobState.RUNNING else state)
            self._echo(self._sentence(record.job, state))
            if state is JobState.CANCELLED:
                reader.cancel()
        return state is JobState.CANCELLED and bool(self._retrying.call(self.control.settle_some))

    @property
    def is_cancelled(self) -> bool:
        return self._seen is JobState.CANCELLED

    @property
    def state(self) -> str:
        """What to show beside the counts; "" if the job is running."""
        return "" if self._seen is JobState.RUNNING else str(self._seen)

    def _sentence(self, job: str, state: JobState) -> str:
        if state is JobState.PAUSED:
            return f"Job {job} is paused: `{self._resumed_by}` resumes it."
        if state is JobState.CANCELLED:
            return f"Job {job} is cancelled: URLs not fetched yet end as cancelled."
        return f"Job {job} is resumed."


class Suspension:
    """Ctrl-Z pauses the job before it stops the command, and `fg` resumes it; a context manager.

    Such a pause ends with its command, also if the terminal is closed. If the command is killed while stopped, its next
    start ends the pause (``Halts.begin``); an embedded server is gone with its command anyway.
    """

    def __init__(
        self, control: JobControl, *, retrying: Retrying, echo: Callable[[str], None], hide: Callable[[], None]
    ) -> None:
        """``hide`` removes the live display while the shell has the terminal."""
        self.is_requested = False
        self._control = control
        self._retrying = retrying
        self._echo = echo
        self._hide = hide
        self._who = f"trawl run on {platform.node()} (process {os.getpid()})"
        self._before: Any = None

    def __enter__(self) -> Suspension:
        self._before = signal.signal(signal.SIGTSTP, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTSTP, self._before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_requested:  # pausing takes too long: stop anyway
            self._stop()
        self.is_requested = True

    def serve(self) -> None:
        """Pause the job, stop until SIGCONT, and resume it."""
        is_ours = self._pause()
        self._hide()
        before = signal.getsignal(signal.SIGHUP)
        hung_up: list[int] = []
        if is_ours and before is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, lambda number, _frame: hung_up.append(number))
        self._stop()
        self.is_requested = False
        if is_ours:
            self._resume()
        signal.signal(signal.SIGHUP, before)
        if hung_up:  # the terminal was closed while we were stopped: that ends the command, and with it the pause
            os.kill(os.getpid(), signal.SIGHUP)

    def _pause(self) -> bool:
        try:
            is_ours = self._control.pause(by=self._who)
        except (JobStateError, UnknownJobError):
            return False
        except UNREACHABLE:
            self._echo("Redis cannot be reached: the job continues while this command is suspended.")
            return False
        if is_ours:
            self._echo(f"Job {self._control.job} is paused until this command is resumed (fg).")
        return is_ours

    def _resume(self) -> None:
        try:
            if self._retrying.call(lambda: self._control.resume(by=self._who)):
                self._echo(f"Resuming job {self._control.job}.")
        except (JobStateError, UnknownJobError):
            pass  # cancelled meanwhile, or lost: the follower reports it

    def _stop(self) -> None:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._on_signal)
