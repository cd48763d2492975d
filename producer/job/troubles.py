"""Reports workers' trouble when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contract.ledger.health import Trouble

_MOST_NAMED = 3  # workers named at once


class Troubles:
    """The workers that have trouble, as reported to those who wait for a job."""

    def __init__(self, echo: Callable[[str], None], *, is_own: bool = False) -> None:
        """``echo`` prints one line; ``is_own``: the only worker is embedded."""
        self._echo = echo
        self._is_own = is_own
        self._known: Mapping[str, Trouble] = {}

    def update(self, found: Mapping[str, Trouble]) -> None:
        """Take the current trouble of all workers, and print what is new."""
        self._echo_all(sorted(found.keys() - self._known.keys()), lambda worker: str(found[worker]))
        self._echo_all(sorted(self._known.keys() - found.keys()), lambda worker: _over(self._known[worker]))
        self._known = dict(found)

    def _echo_all(self, workers: list[str], say: Callable[[str], str]) -> None:
        for worker in workers[:_MOST_NAMED]:
            self._echo(f"{'The worker' if self._is_own else f'Worker {worker}'} {say(worker)}")
        if len(workers) > _MOST_NAMED:
            self._echo(f"... and {len(workers) - _MOST_NAMED} more workers.")


def _over(trouble: Trouble) -> str:
    return "has space again." if trouble.takes_work else "takes work again."
