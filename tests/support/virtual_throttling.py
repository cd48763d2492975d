"""Hosts that throttle, in virtual time, and lists that are fetched from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from contract.records.batches import BatchEntry
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_world import Reply, VirtualWorld
from worker.engine.run import Run

Answer = Callable[[str, float], Reply]  # to a URL, at a second


class Limited:
    """A host that allows so many requests a second, and answers the others with ``refusal``."""

    def __init__(self, rate: float, refusal: Reply) -> None:
        self._rate, self._refusal = rate, refusal
        self._tokens, self._at = rate, 0.0

    def __call__(self, _url: str, now: float) -> Reply:
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return Reply(after=0.005)
        return self._refusal


def refusal(status: int = 429, *, after: float = 0.005, **fields: str) -> Reply:
    """Return a throttling answer; ``fields`` are header fields, with _ for -."""
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Reply(after=after, status=status, fields=named)


def world_of(answer: Answer, *, window: int = 64) -> VirtualWorld:
    """Return a world whose servers answer like this."""
    clock = VirtualClock()
    return VirtualWorld(lambda url, _turn: answer(url, clock.seconds), window=window, clock=clock)


def fetch_all(world: VirtualWorld, urls: Sequence[str], policy: JobPolicy | None = None) -> list[Run]:
    """Fetch a list as its job would: what is handed back runs again when it is due."""
    runs: list[Run] = []
    entries: Sequence[str | BatchEntry] = urls
    while entries:
        runs.append(run := world.fetch(entries, policy))
        world.clock.seconds += max((leftover.after for leftover in run.leftovers), default=0.0)
        entries = [leftover.entry for leftover in run.leftovers]
    return runs


def endings(runs: Sequence[Run]) -> Counter[tuple[Ending, ErrorClass | None]]:
    """Count the endings, with the errors, of all URLs of these runs."""
    return Counter((outcome.ending, outcome.error) for run in runs for outcome in run.outcomes)
