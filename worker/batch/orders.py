"""Learns within two seconds which jobs of a runner's batches were paused or cancelled.

Answers to claims and closes carry the number of changes so far. A runner without such an answer for a while asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from contract.cluster.broker import UNREACHABLE
from contract.ledger.values import Changes, JobState

_PAUSE = 1.5  # seconds without an answer until the runner asks; three seconds after an order nothing may start
_RETRY_PAUSE = 0.5  # seconds until the next try after the ledger was unreachable


class Orders:
    """``ask`` returns the states of jobs, and updates ``changes``.

    See ``contract.ledger.ports.Steering.states``.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Mapping[str, JobState]],
        changes: Changes,
        *,
        known: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``known`` is the number of changes when the runner's first batch was claimed."""
        self._ask = ask
        self._changes = changes
        self._now = now
        self._known = known
        self._not_before = now()

    def halted(self, jobs: Collection[str]) -> Collection[str]:
        """Return those of these jobs that were paused or cancelled; asks the ledger only if there may be news."""
        now = self._now()
        has_news = self._changes.number != self._known or now - self._changes.heard >= _PAUSE
        if not jobs or not has_news or now < self._not_before:
            return ()
        heard = self._changes.number  # read before asking: other threads may learn of later changes meanwhile
        try:
            states = self._ask(sorted(jobs))
        except UNREACHABLE:
            self._not_before = now + _RETRY_PAUSE
            return ()
        self._known = heard
        return [job for job, state in states.items() if state is not JobState.RUNNING]
