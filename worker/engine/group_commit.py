"""Group commit: complete bodies wait for one another and are published as a group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from contract.records.batches import BatchEntry
from contract.records.outcomes import ErrorClass, Outcome
from worker.engine.failures import Failure, Kind, bug
from worker.engine.ports import DiskTrouble, Draft, Obstacle, Store

GROUP = 256  # bodies after which a group is published without waiting for more
GROUP_WAIT = 0.2  # seconds a complete body waits for others


class Whole(Struct, frozen=True, gc=False):
    """A complete body that waits to be published, and its URL's outcome except for the path."""

    entry: BatchEntry
    draft: Draft
    outcome: Outcome


class Owner(Protocol):
    """The run whose bodies are published."""

    @property
    def fetching(self) -> int:
        """How many of its URLs may soon bring more bodies."""

    def may_name(self) -> bool:
        """May bodies still be published? Called right before they are."""

    def stall(self, reason: str) -> None:
        """The disk failed."""

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes of bodies that were published or cannot be."""

    def hand_back(self, entries: Sequence[BatchEntry]) -> None:
        """Hand back the URLs whose bodies were not published."""


class GroupCommit:
    """Publishes the bodies of one run on a thread that may block, one group at a time. Thread-safe.

    It gets its run with each call and keeps no reference, so that a finished run is freed without the cycle collector.
    """

    def __init__(
        self, *, store: Store, now: Callable[[], float], submit: Callable[[Callable[[], None]], object]
    ) -> None:
        self._store = store
        self._now = now
        self._submit = submit
        self._lock = threading.Lock()
        self._group: list[Whole] = []
        self._since = 0.0  # when the first body of the group joined
        self._is_settling = False

    def join(self, bodies: Sequence[Whole]) -> None:
        """Add bodies; the caller then calls ``settle_if_due``."""
        with self._lock:
            if not self._group:
                self._since = self._now()
            self._group += bodies

    def tick(self, run: Owner, now: float) -> None:
        """Publish the group if it has waited long enough."""
        if self._group and now - self._since >= GROUP_WAIT:
            self._begin(run)

    def settle_if_due(self, run: Owner) -> None:
        """Publish the group if it is full or no more bodies are coming; while it is published, the next one gathers."""
        if self._is_due(run):
            self._begin(run)

    def _is_due(self, run: Owner) -> bool:
        return run.fetching == 0 or len(self._group) >= GROUP

    def _begin(self, run: Owner) -> None:
        with self._lock:
            if self._is_settling or not self._group:
                return
            self._is_settling = True
        self._submit(partial(self._settle, run))

    def _settle(self, run: Owner) -> None:
        while True:
            with self._lock:
                group, self._group = self._group, []
            self._settle_group(run, group)
            with self._lock:
                if not (self._group and self._is_due(run)):
                    self._is_settling = False
                    return

    def _settle_group(self, run: Owner, group: Sequence[Whole]) -> None:
        try:
            paths = self._store.publish([whole.draft for whole in group], run.may_name)
        except DiskTrouble as trouble:
            run.stall(str(trouble))
            paths = None
        except Exception as error:  # a bug must not block the batch for ever
            failure = bug(error)
            run.end([_failed(whole, failure) for whole in group])
            return
        if paths is not None:
            run.end([_ended(whole, path) for whole, path in zip(group, paths, strict=True)])
        else:
            for whole in group:
                whole.draft.discard()
            run.hand_back([whole.entry for whole in group])


def _ended(whole: Whole, path: str | Obstacle) -> Outcome:
    if isinstance(path, str):
        return whole.outcome.stored_at(path)
    return _failed(whole, Failure(error=ErrorClass.LOCAL_DISK, kind=Kind.PERMANENT, detail=path.reason))


def _failed(whole: Whole, failure: Failure) -> Outcome:
    whole.draft.discard()
    return whole.outcome.failed_after_all(failure.error, failure.detail)
