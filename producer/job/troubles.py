"""What holds workers up: asked for every few seconds, told when it changes, shown while it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from contract.ledger.health import Trouble
from producer.cluster.client import AWAY

_ASKED_EVERY = 2.0  # seconds
_MOST_TOLD = 3  # workers told of by name at once


class Troubles:
    """The workers that cannot do all they should, as their job's follower shows them."""

    def __init__(
        self,
        ask: Callable[[], Mapping[str, Trouble]],
        tell: Callable[[str], None],
        *,
        is_own: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``tell`` prints one line; ``is_own``: there is one worker, our own."""
        self._ask = ask
        self._tell = tell
        self._is_own = is_own
        self._clock = clock
        self._asked = float("-inf")
        self._known: Mapping[str, Trouble] = {}

    def look(self) -> None:
        """Ask if it is time to, and tell what is new."""
        now = self._clock()
        if now - self._asked < _ASKED_EVERY:
            return
        self._asked = now
        try:
            found = dict(self._ask())
        except AWAY:
            return  # what is known stays; the follower says that Redis is away
        self._tell_of(sorted(found.keys() - self._known.keys()), lambda worker: str(found[worker]))
        self._tell_of(sorted(self._known.keys() - found.keys()), lambda worker: _over(self._known[worker]))
        self._known = found

    @property
    def state(self) -> str:
        """What to show of it beside the counts; "" where all is well."""
        if not self._known:
            return ""
        reasons = [str(trouble) for trouble in self._known.values()]
        if self._is_own:
            return reasons[0]
        return f"{len(reasons)} worker{'s' if len(reasons) > 1 else ''}: {max(reasons, key=reasons.count)}"

    def _tell_of(self, workers: list[str], say: Callable[[str], str]) -> None:
        for worker in workers[:_MOST_TOLD]:
            self._tell(f"{'The worker' if self._is_own else f'Worker {worker}'} {say(worker)}")
        if len(workers) > _MOST_TOLD:
            self._tell(f"... and {len(workers) - _MOST_TOLD} more workers.")


def _over(trouble: Trouble) -> str:
    return "has space again." if trouble.takes_work else "takes work again."
