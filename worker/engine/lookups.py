"""Lookups: the transfers of a lane that wait for their host's address, and hold no slot in its window meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.engine.failures import Failure, Kind
from worker.engine.ports import Answer, Resolver
from worker.engine.schedule import QUIET_AFTER
from worker.engine.terms import Terms
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits

_NOT_BEFORE = 1.0  # seconds a failed question is not asked again (RFC 9520 section 3.2): many URLs share the next one


class Lookups:
    """Belongs to one lane and is called by its thread only; a host is asked for once, however many wait for it."""

    def __init__(self, resolver: Resolver, deliver: Callable[[str, Answer], None]) -> None:
        """``deliver`` is called with host and answer, from any thread."""
        self._resolver = resolver
        self._deliver = deliver
        self._waiting: dict[str, list[tuple[Transfer, float]]] = {}  # by host, with when the wait began

    def add(self, transfer: Transfer, now: float) -> None:
        host = transfer.place.host
        waiting = self._waiting.setdefault(host, [])
        waiting.append((transfer, now))
        if len(waiting) == 1:
            self._resolver.ask(host, self._deliver)

    def __iter__(self) -> Iterator[Transfer]:
        return (transfer for waiting in self._waiting.values() for transfer, _ in waiting)

    def note(self, waits: Mapping[Terms, Waits], now: float) -> None:
        """Count those of whose host the name servers have said nothing for a while; a question may still be in line."""
        for host, waiting in self._waiting.items():
            begun = self._resolver.begun(host)
            if waiting and now - (waiting[0][1] if begun is None else begun) >= QUIET_AFTER:
                for transfer, _ in waiting:
                    if (noted := waits.get(transfer.terms)) is not None:
                        noted.await_address(transfer.host_key)

    def pop(self, host: str, answer: Answer, now: float) -> list[Transfer]:
        """Remove and return those that wait for this host, with the time it took the name servers noted."""
        waiting = self._waiting.pop(host, ())
        for transfer, since in waiting:
            asked = max(since, min(now, answer.begun if answer.begun is not None else now))
            transfer.resolved(since, asked, now, is_found=bool(answer.addresses))
        return [transfer for transfer, _ in waiting]

    def give_up_late(self, now: float) -> list[tuple[str, Answer]]:
        """Give up the hosts that one of their transfers has waited for too long, and return them with what is said."""
        late = [host for host, waiting in self._waiting.items() if self._is_late(host, waiting, now)]
        return [(host, self._resolver.give_up(host)) for host in late]

    def _is_late(self, host: str, waiting: list[tuple[Transfer, float]], now: float) -> bool:
        """A question that is still in our own queue is never late."""
        begun = self._resolver.begun(host)
        return begun is not None and any(
            now - max(begun, since) >= _longest(transfer.terms.policy) for transfer, since in waiting
        )

    def remove(self, terms: Terms) -> list[Transfer]:
        """Remove and return those of a run. The answer is still to come: others may wait for it."""
        removed = [each for waiting in self._waiting.values() for each, _ in waiting if each.terms is terms]
        for host, waiting in self._waiting.items():
            self._waiting[host] = [each for each in waiting if each[0].terms is not terms]
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
        not_before=_NOT_BEFORE,
        tries=2 if answer.is_final else None,
    )


def _longest(policy: JobPolicy) -> float:
    """Return the seconds a question may take: what a connection may, and not more than all of a URL."""
    return min(policy.connect_timeout, policy.timeout)
