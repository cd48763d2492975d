"""Lookups: the transfers of a lane that wait for their host's address, and hold no place in its window meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.engine.failures import Failure, Kind
from worker.engine.ports import Answer, Resolver
from worker.engine.run import Run
from worker.engine.transfer import Transfer


class Lookups:
    """Belongs to one lane and is called by its thread only; a host is asked for once, however many wait for it."""

    def __init__(self, resolver: Resolver, tell: Callable[[str, Answer], None]) -> None:
        """``tell`` is called with host and answer, from any thread."""
        self._resolver = resolver
        self._tell = tell
        self._waiting: dict[str, list[tuple[Transfer, float]]] = {}  # by host, with when the wait began

    def add(self, transfer: Transfer, now: float) -> None:
        host = transfer.place.host
        waiting = self._waiting.setdefault(host, [])
        waiting.append((transfer, now))
        if len(waiting) == 1:
            self._resolver.ask(host, self._tell)

    def __iter__(self) -> Iterator[Transfer]:
        return (transfer for waiting in self._waiting.values() for transfer, _ in waiting)

    def take(self, host: str, now: float) -> list[Transfer]:
        """Remove and return those that wait for this host, with the time it took them noted."""
        waiting = self._waiting.pop(host, ())
        for transfer, since in waiting:
            transfer.resolved_in += now - since
        return [transfer for transfer, _ in waiting]

    def give_up_late(self, now: float) -> list[str]:
        """Give up the hosts one of whose transfers has waited too long, and return them."""
        late = [host for host, waiting in self._waiting.items() if any(_is_late(*each, now) for each in waiting)]
        for host in late:
            self._resolver.give_up(host)
        return late

    def remove(self, run: Run) -> list[Transfer]:
        """Remove and return those of a run. The answer is still to come: others may wait for it."""
        removed = [transfer for waiting in self._waiting.values() for transfer, _ in waiting if transfer.run is run]
        for host, waiting in self._waiting.items():
            self._waiting[host] = [each for each in waiting if each[0].run is not run]
        return removed


def usable(answer: Answer, policy: JobPolicy) -> tuple[str, ...]:
    """Return the addresses that a job may use at all."""
    if policy.ipv4_only:
        return tuple(address for address in answer.addresses if ":" not in address)
    return answer.addresses


def unresolved(answer: Answer) -> Failure:
    """Return the failure that a host without a usable address is."""
    if answer.addresses:
        return Failure(error=ErrorClass.DNS, kind=Kind.PERMANENT, detail="The host has no IPv4 address.")
    # NXDOMAIN is asked once more, because some resolvers say it when they mean "not now".
    return Failure(
        error=ErrorClass.DNS,
        kind=Kind.TRANSIENT,
        detail=f"The host's name was not resolved: {answer.fault}.",
        tries=2 if answer.is_final else None,
    )


def _is_late(transfer: Transfer, since: float, now: float) -> bool:
    return now >= transfer.deadline or now - since >= transfer.run.policy.connect_timeout
