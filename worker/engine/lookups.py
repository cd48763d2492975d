"""Lookups: a lane's transfers that wait for their host's address, without holding a slot of its window."""

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

_NOT_BEFORE = 1.0  # seconds before a failed lookup is repeated (RFC 9520 section 3.2)


class Lookups:
    """Belongs to one lane and is called by its thread only. Looks each host up once, however many transfers wait."""

    def __init__(self, resolver: Resolver, deliver: Callable[[str, Answer], None]) -> None:
        """``deliver`` is called with host and answer, from any thread."""
        self._resolver = resolver
        self._deliver = deliver
        self._waiting: dict[str, list[tuple[Transfer, float]]] = {}  # by host, with the start of each wait

    def add(self, transfer: Transfer, now: float) -> None:
        host = transfer.url.host
        waiting = self._waiting.setdefault(host, [])
        waiting.append((transfer, now))
        if len(waiting) == 1:
            self._resolver.ask(host, self._deliver)

    def __iter__(self) -> Iterator[Transfer]:
        return (transfer for waiting in self._waiting.values() for transfer, _ in waiting)

    def note(self, waits: Mapping[Terms, Waits], now: float) -> None:
        """Count transfers whose host's name servers have not answered for a while."""
        for host, waiting in self._waiting.items():
            begun = self._resolver.begun(host)
            if waiting and now - (waiting[0][1] if begun is None else begun) >= QUIET_AFTER:
                for transfer, _ in waiting:
                    if (noted := waits.get(transfer.terms)) is not None:
                        noted.await_address(transfer.host_key)

    def pop(self, host: str, answer: Answer, now: float) -> list[Transfer]:
        """Remove and return the transfers that wait for this host, after recording the time of the lookup."""
        waiting = self._waiting.pop(host, ())
        for transfer, since in waiting:
            asked = max(since, min(now, answer.begun if answer.begun is not None else now))
            transfer.resolved(since, asked, now, is_found=bool(answer.addresses))
        return [transfer for transfer, _ in waiting]

    def give_up_late(self, now: float) -> list[tuple[str, Answer]]:
        """Give up hosts for which a transfer has waited too long; return each with the answer to use."""
        late = [host for host, waiting in self._waiting.items() if self._is_late(host, waiting, now)]
        return [(host, self._resolver.give_up(host)) for host in late]

    def _is_late(self, host: str, waiting: list[tuple[Transfer, float]], now: float) -> bool:
        """Is the lookup late? One that is still queued is not."""
        begun = self._resolver.begun(host)
        return begun is not None and any(
            now - max(begun, since) >= _longest(transfer.terms.policy) for transfer, since in waiting
        )

    def remove(self, terms: Terms) -> list[Transfer]:
        """Remove and return the transfers of a run. The lookup continues, because others may wait for it."""
        removed = [each for waiting in self._waiting.values() for each, _ in waiting if each.terms is terms]
        for host, waiting in self._waiting.items():
            self._waiting[host] = [each for each in waiting if each[0].terms is not terms]
        return removed


def usable(answer: Answer, policy: JobPolicy) -> tuple[str, ...]:
    """Return the addresses that the job's policy permits."""
    if policy.ipv4_only:
        return tuple(address for address in answer.addresses if ":" not in address)
    return answer.addresses


def unresolved(answer: Answer) -> Failure:
    """Return the failure of a URL whose host has no usable address."""
    if answer.addresses:
        return Failure(error=ErrorClass.DNS, kind=Kind.PERMANENT, detail="The host has no IPv4 address.")
    # NXDOMAIN is tried twice, because some resolvers return it for temporary failures.
    return Failure(
        error=ErrorClass.DNS,
        kind=Kind.TRANSIENT,
        detail=f"The host's name was not resolved: {answer.fault}.",
        not_before=_NOT_BEFORE,
        tries=2 if answer.is_final else None,
    )


def _longest(policy: JobPolicy) -> float:
    """Return the seconds a lookup may take: the connect timeout, but not more than the whole URL."""
    return min(policy.connect_timeout, policy.timeout)
