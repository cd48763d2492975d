"""GroupCommit: whole bodies wait for one another, and get their names as a group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from contract.records.batches import BatchEntry
from contract.records.outcomes import ErrorClass, Outcome
from worker.engine.exchange import bug
from worker.engine.failures import Failure, Kind
from worker.engine.ports import Disk, DiskTrouble, Draft

if TYPE_CHECKING:
    from worker.engine.run import Run

GROUP = 256  # files that are settled together at most wait for this many
GROUP_WAIT = 0.2  # seconds a finished file waits for others to be settled with


class Whole(NamedTuple):
    """A body that waits for its name, and the outcome its URL has when it gets it."""

    entry: BatchEntry
    name: str
    draft: Draft
    outcome: Outcome


class GroupCommit:
    """The files of one run. Any thread may call it; files are named on a thread that may block, one group at a time.

    It is handed its run with each call and keeps no reference to it: a run that is over needs no collector to be gone.
    """

    def __init__(self, *, disk: Disk, now: Callable[[], float], submit: Callable[[Callable[[], None]], object]) -> None:
        self._disk = disk
        self._now = now
        self._submit = submit
        self._lock = threading.Lock()
        self._group: list[Whole] = []
        self._since = 0.0  # when the first of the group joined
        self._is_settling = False

    def join(self, whole: Whole) -> None:
        """Take a body; ``settle_if_due`` is to follow."""
        with self._lock:
            if not self._group:
                self._since = self._now()
            self._group.append(whole)

    def tick(self, run: Run, now: float) -> None:
        """Settle what has waited long enough for company."""
        if self._group and now - self._since >= GROUP_WAIT:
            self._begin(run)

    def settle_if_due(self, run: Run) -> None:
        """Group commit: while one group is being settled, the next one gathers."""
        if self._is_due(run):
            self._begin(run)

    def _is_due(self, run: Run) -> bool:
        return run.fetching == 0 or len(self._group) >= GROUP

    def _begin(self, run: Run) -> None:
        with self._lock:
            if self._is_settling or not self._group:
                return
            self._is_settling = True
        self._submit(partial(self._settle, run))

    def _settle(self, run: Run) -> None:
        while True:
            with self._lock:
                group, self._group = self._group, []
            self._settle_group(run, group)
            with self._lock:
                if not (self._group and self._is_due(run)):
                    self._is_settling = False
                    return

    def _settle_group(self, run: Run, group: Sequence[Whole]) -> None:
        pairs = [(each.draft, each.name) for each in group]
        try:
            named = self._disk.publish(pairs, run.policy.layout, run.policy.sync, run.may_name)
        except DiskTrouble as trouble:
            run.stall(str(trouble))
            named = False
        except Exception as error:  # a bug must not hold the batch for ever
            run.end(_outcomes(group, bug(error)))
            return
        if named:
            run.end(_outcomes(group, None))
        else:
            for whole in group:
                whole.draft.discard()
            run.hand_back([whole.entry for whole in group], were_fetched=True)


def _outcomes(group: Sequence[Whole], failure: Failure | None) -> list[Outcome]:
    """Return how a group ended; without a ``failure``, each that got its name is ok."""
    outcomes = []
    for _, _, draft, outcome in group:
        found = failure or _unnamed(draft)
        if found is not None:
            draft.discard()
            outcome = outcome.failed_after_all(found.error, found.detail)
        outcomes.append(outcome)
    return outcomes


def _unnamed(draft: Draft) -> Failure | None:
    if draft.obstacle is None:
        return None
    return Failure(error=ErrorClass.LOCAL_DISK, kind=Kind.PERMANENT, detail=draft.obstacle)
