"""Learns, within two seconds, which jobs of a runner's batches were paused or cancelled meanwhile.

That anything was, the answers to claims and closes tell. A runner that has not heard any for a while asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from contract.cluster.broker import UNREACHABLE
from contract.ledger.values import Changes, JobState

_PAUSE = 1.5  # seconds without an answer until one is asked for: nothing may start three seconds after the order
_RETRY_PAUSE = 0.5  # seconds until a ledger that did not answer is asked again


class Orders:
    """``ask`` returns the states of jobs, and with them the ledger hears of all ``changes``.

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
        """``known`` is how many changes there were when its first batch was claimed."""
        self._ask = ask
        self._changes = changes
        self._now = now
        self._known = known
        self._not_before = now()

    def halted(self, jobs: Collection[str]) -> Collection[str]:
        """Return those of these jobs of which nothing more is to start; none while there is nothing new."""
        now = self._now()
        has_news = self._changes.number != self._known or now - self._changes.heard >= _PAUSE
        if not jobs or not has_news or now < self._not_before:
            return ()
        heard = self._changes.number  # before the answer: others hear of changes too, that it knows nothing of
        try:
            states = self._ask(sorted(jobs))
        except UNREACHABLE:
            self._not_before = now + _RETRY_PAUSE
            return ()
        self._known = heard
        return [job for job, state in states.items() if state is not JobState.RUNNING]
