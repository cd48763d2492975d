"""The main loop of a job: feed, collect and show it, until every line has its outcome or the command is interrupted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from contract.errors import UnknownJobError
from producer.formatting import command
from producer.job.follower import Follower
from producer.job.halts import Halts, Suspension
from producer.job.interrupts import Interrupts
from producer.job.observer import STOPPING, Observer, Seen
from producer.job.status import JobStatus
from producer.storage.journal import Journal

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.1  # seconds between two checks while nothing happens
_REST = 0.25  # likewise, once the ledger has the whole list: only closed batches bring work, and they are announced
_NO_WORKER_AFTER = 15.0  # seconds without any batch claimed until a hint is shown


class Source(Protocol):
    """The feeding side of a job: from lists, or by another command."""

    @property
    def is_done(self) -> bool:
        """Does the ledger have all batches?"""
        ...

    @property
    def is_behind(self) -> bool:
        """Are there batches that the ledger may lack but has no room for now?"""
        ...

    @property
    def held_up(self) -> str:
        """Why no more batches are sent now, in half a sentence; empty if nothing prevents it."""
        ...

    @property
    def totals(self) -> Mapping[str, int]:
        """The totals of the list, as far as known here."""
        ...

    def step(self) -> bool:
        """Do the next piece of work; False if there is nothing to do now."""
        ...

    def recover(self) -> None:
        """Make sure that the ledger has every batch that the manifest lacks."""
        ...

    def cancel(self) -> None:
        """Stop reading: the job was cancelled."""
        ...


class Display(Protocol):
    """Shows people a job's progress."""

    def echo(self, line: str) -> None:
        """Print one line, even when quiet."""
        ...

    def mention(self, line: str) -> None:
        """Print one line that a quiet run leaves out."""
        ...

    def exemplify(self, examples: Mapping[str, str]) -> None:
        """Print one example of each error class, once; may be called often."""
        ...

    def is_due(self) -> bool:
        """Is it time to show the status?"""
        ...

    def show(self, status: JobStatus) -> None:
        """Show the status."""
        ...


class EmbeddedServices(Protocol):
    """The services that a run started."""

    def watch(self) -> None:
        """Restart those that have exited."""
        ...

    def ask_worker_to_stop(self) -> None: ...

    def is_worker_running(self) -> bool: ...


def work_through(
    *,
    feeder: Source,
    follower: Follower,
    journal: Journal,
    console: Display,
    interrupts: Interrupts,
    observer: Observer,
    halts: Halts,
    suspension: Suspension | None = None,
    embedded: EmbeddedServices | None = None,
    grace: float = 30.0,
) -> bool:
    """Work until the job is finished; False if it was interrupted.

    ``grace`` is the number of seconds the embedded worker may take to stop. Without ``suspension``, Ctrl-Z only stops
    this command.
    """
    waited = _SHORTEST_PAUSE
    begun = time.monotonic()
    has_hinted = False
    while not is_finished(feeder, journal):
        if interrupts.is_requested:
            _stop(feeder, follower, observer, console, embedded, grace)
            break
        journal.expect_in_place()
        if embedded:
            embedded.watch()
        try:
            if suspension and suspension.is_requested:
                suspension.serve()
                follower.step(at_once=True)
            is_busy = feeder.step()
            is_busy = bool(follower.step()) or is_busy
            is_busy = halts.look(feeder) or is_busy
        except UnknownJobError:
            if not feeder.is_behind:
                console.echo("Redis lost this job; sending again what is missing from the manifest.")
                feeder.recover()
            is_busy = True
        _show(feeder, follower, observer, console)
        if (
            not has_hinted
            and not embedded
            and not (observer.census is not None and observer.census.present)
            and not halts.state
            and time.monotonic() - begun > _NO_WORKER_AFTER
            and follower.is_untouched
        ):
            has_hinted = True
            console.mention(f"No worker has taken a batch yet: start one with `{command('worker')}`.")
        waited = _SHORTEST_PAUSE if is_busy else min(waited * 1.5, _LONGEST_PAUSE)
        if not is_busy:
            follower.wait(_REST if feeder.is_done else waited)
    follower.finish()
    return is_finished(feeder, journal)


def is_finished(feeder: Source, journal: Journal) -> bool:
    """Was the whole list read, and does every line have its row?"""
    return feeder.is_done and journal.count_uncollected() == 0


def _show(feeder: Source, follower: Follower, observer: Observer, console: Display) -> None:
    held_up = feeder.held_up or follower.held_up
    observer.look(Seen(record=follower.record, totals=feeder.totals, redis=held_up))
    console.exemplify(observer.examples)
    if console.is_due():
        console.show(observer.status())


def _stop(
    feeder: Source,
    follower: Follower,
    observer: Observer,
    console: Display,
    embedded: EmbeddedServices | None,
    grace: float,
) -> None:
    if embedded is None:
        console.mention("Stopping; the workers continue. Run the same command to follow them again.")
        follower.step(at_once=True)
        return
    console.mention("Waiting for transfers in flight; press Ctrl-C again to stop now. Run the same command to resume.")
    observer.stage = STOPPING
    embedded.ask_worker_to_stop()
    until = time.monotonic() + grace
    while embedded.is_worker_running() and time.monotonic() < until:
        follower.step(at_once=True)
        if follower.record is not None and not follower.record.running:
            break  # all its batches are closed; Celery would take three more seconds to exit
        _show(feeder, follower, observer, console)
        follower.wait(_LONGEST_PAUSE / 2)
    while follower.step(at_once=True):
        pass
