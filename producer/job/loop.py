"""The main loop of a job: feed it, drain it, show it, until every line has its outcome or somebody says stop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from contract.errors import UnknownJobError
from producer.formatting import command
from producer.job.follower import Follower
from producer.job.halts import Halts, Suspension
from producer.job.interrupts import Interrupts
from producer.job.live_progress import Progress
from producer.job.troubles import Troubles
from producer.storage.journal import Journal

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between two looks while nothing happens
_NO_WORKER_AFTER = 15.0  # seconds without any batch taken until somebody is told


class Source(Protocol):
    """What a job is fed from: lists, or what another command opened."""

    @property
    def is_done(self) -> bool:
        """Does the ledger have all there is?"""
        ...

    @property
    def is_complete(self) -> bool:
        """Was the whole list read?"""
        ...

    @property
    def is_behind(self) -> bool:
        """Is there anything that the ledger may have lost, and no room for it now?"""
        ...

    @property
    def held_up(self) -> str:
        """By what, in half a sentence, nothing more is sent now; empty where nothing is in the way."""
        ...

    @property
    def totals(self) -> Mapping[str, int]:
        """What the list held, as far as is known from here."""
        ...

    def step(self) -> bool:
        """Do the next bit of work; False when there is nothing to do now."""
        ...

    def recover(self) -> None:
        """Make sure that the ledger has what the manifest has not."""
        ...

    def cancel(self) -> None:
        """Read no more: the job was cancelled."""
        ...


class Display(Protocol):
    """What shows a person how the job is doing."""

    state: str  #: what is waited for, or "" while outcomes come

    def tell(self, line: str) -> None:
        """Print one line, even when quiet."""
        ...

    def mention(self, line: str) -> None:
        """Print one line that a quiet run leaves out."""
        ...

    def show(self, progress: Progress, totals: Mapping[str, int], *, is_complete: bool) -> None:
        """Show how far the job is; may be called often."""
        ...


class EmbeddedServices(Protocol):
    """The services a run started for itself."""

    def watch(self) -> None:
        """Start again what ended by itself."""
        ...

    def ask_worker_to_stop(self) -> None: ...

    def is_worker_running(self) -> bool: ...


def conduct(
    *,
    feeder: Source,
    follower: Follower,
    journal: Journal,
    console: Display,
    interrupts: Interrupts,
    troubles: Troubles,
    halts: Halts,
    suspension: Suspension | None = None,
    servants: EmbeddedServices | None = None,
    grace: float = 30.0,
) -> bool:
    """Work until the job is finished; False when it was interrupted.

    ``grace`` is the number of seconds our own worker may take to stop; without ``suspension`` Ctrl-Z stops this command
    only.
    """
    waited = _SHORTEST_PAUSE
    begun = time.monotonic()
    told = False
    while not is_finished(feeder, journal):
        if interrupts.is_requested:
            _stop(follower, console, servants, grace)
            break
        journal.expect_in_place()
        if servants:
            servants.watch()
        try:
            if suspension and suspension.is_requested:
                suspension.serve()
                follower.step(at_once=True)
            is_busy = feeder.step()
            is_busy = bool(follower.step()) or is_busy
            is_busy = halts.look(feeder) or is_busy
        except UnknownJobError:
            if not feeder.is_behind:
                console.tell("Redis has lost this job; sending again what the manifest does not have.")
                feeder.recover()
            is_busy = True
        troubles.look()
        console.state = troubles.state or halts.state or feeder.held_up or _state(follower, servants)
        console.show(follower.live, feeder.totals, is_complete=feeder.is_complete)
        if (
            not told
            and not servants
            and not troubles.state
            and not halts.state
            and time.monotonic() - begun > _NO_WORKER_AFTER
            and follower.is_untouched
        ):
            told = True
            console.mention(f"No worker has taken a batch yet: start one with `{command('worker')}`.")
        waited = _SHORTEST_PAUSE if is_busy else min(waited * 1.5, _LONGEST_PAUSE)
        if not is_busy:
            follower.wait(waited)
    follower.finish()
    return is_finished(feeder, journal)


def is_finished(feeder: Source, journal: Journal) -> bool:
    """Does every line that was read have its row, and was the whole list read?"""
    return feeder.is_done and journal.count_undrained() == 0


def _state(follower: Follower, servants: EmbeddedServices | None) -> str:
    """Say what is waited for while no outcome has come."""
    # The tally first: the live view adds up every open batch, and this is asked in each turn.
    if follower.tally.rows or follower.live.rows or follower.live.fetched:
        return ""
    if follower.record is not None and follower.record.running:
        return "the first batches are being fetched"
    return "the worker is starting" if servants else "waiting for a worker"


def _stop(follower: Follower, console: Display, servants: EmbeddedServices | None, grace: float) -> None:
    if servants is None:
        console.mention("Stopping here; the workers go on. The same command follows them again.")
        follower.step(at_once=True)
        return
    console.mention("Stopping: what is in flight may finish (Ctrl-C again: at once). The same command goes on later.")
    console.state = "stopping"
    servants.ask_worker_to_stop()
    until = time.monotonic() + grace
    while servants.is_worker_running() and time.monotonic() < until:
        follower.step()
        follower.wait(_LONGEST_PAUSE / 2)
    while follower.step(at_once=True):
        pass
