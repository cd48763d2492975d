"""Resolves hosts: caches answers, and asks the name servers or the system for the rest."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import inf
from typing import Protocol

from worker.adapters.resolver.questions import Found
from worker.adapters.resolver.system import SystemLookups, look_up_addresses
from worker.engine.ports import Answer, Clock

FRESH = 60.0  # seconds an answer of getaddrinfo is used, which has no time to live
FRESH_FAULT = 10.0  # seconds a failure is used, except for those who got it already (RFC 9520: 1 s to 5 min)
REMEMBERED = 20_000  # hosts

Deliver = Callable[[str, Answer], None]


class Asking(Protocol):
    """Finds addresses by asking the name servers directly."""

    def answer_to(self, begin: Callable[[str], None], deliver: Callable[[str, Found | None], None]) -> None:
        """Set the callbacks, called on another thread: when a host is first asked for, and with what was found.

        None as what was found: the system must be asked.
        """

    def ask(self, host: str) -> None:
        """Find the addresses of a host."""

    def close(self) -> None:
        """Stop, and call no callback any more."""


@dataclass(slots=True)
class _Asked:
    """Who waits for a host's addresses, and since when they are being looked up."""

    waiting: list[Deliver] = field(default_factory=list)
    begun: float | None = None


class SystemResolver:
    """Implements ``worker.engine.ports.Resolver``."""

    def __init__(
        self,
        submit: Callable[[Callable[[], None]], object],
        clock: Clock,
        *,
        look_up: Callable[[str], tuple[str, ...]] = look_up_addresses,
        name_servers: Asking | None = None,
    ) -> None:
        """``submit`` runs a call on another thread, where ``look_up`` may block; it resolves what ``name_servers`` do
        not know for certain, or everything.
        """
        self._clock = clock
        self._known: OrderedDict[str, tuple[Found, float]] = OrderedDict()  # and when it was found
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}
        self._system = SystemLookups(submit, look_up, begin=self._begin, deliver=self._answered_by_the_system)
        self._name_servers = name_servers
        if name_servers is not None:
            name_servers.answer_to(self._begin, self._answered_by_name_servers)

    def known(self, host: str, after: float = -inf) -> Answer | None:
        known = self._known.get(host)
        if known is not None:
            found, found_at = known
            answer = found.answer
            is_fresh = self._clock.now() < found_at + (found.seconds or (FRESH if answer.addresses else FRESH_FAULT))
            if is_fresh and (answer.addresses or found_at > after):
                return answer
        return _literal(host)

    def ask(self, host: str, deliver: Deliver) -> None:
        with self._lock:
            asked = self._asked.get(host)
            if asked is not None:
                asked.waiting.append(deliver)
                return
            self._asked[host] = _Asked([deliver])
            known = self._known.get(host)
        if self._name_servers is None or (known is not None and known[0].is_doubtful):
            self._system.ask(host)
        else:
            self._name_servers.ask(host)

    def begun(self, host: str) -> float | None:
        asked = self._asked.get(host)
        return asked.begun if asked is not None else None

    def give_up(self, host: str) -> Answer:
        return self._remember(host, Found(Answer(fault="no resolver answered in time")))

    def close(self) -> None:
        """Stop asking name servers."""
        if self._name_servers is not None:
            self._name_servers.close()

    # --------------------------------------------------------------------------------------- from other threads

    def _begin(self, host: str) -> None:
        asked = self._asked.get(host)
        if asked is not None and asked.begun is None:
            asked.begun = self._clock.now()

    def _answered_by_name_servers(self, host: str, found: Found | None) -> None:
        if found is not None:
            self._deliver(host, found)
            return
        if host in self._asked:
            self._asked[host].begun = None  # it waits again
            self._system.ask(host)

    def _answered_by_the_system(self, host: str, answer: Answer) -> None:
        self._deliver(host, Found(answer))

    def _deliver(self, host: str, found: Found) -> None:
        with self._lock:
            asked = self._asked.pop(host, None)
        if asked is None:  # answered before
            return
        answer = self._remember(host, found, asked.begun)
        for deliver in asked.waiting:
            deliver(host, answer)

    def _remember(self, host: str, found: Found, begun: float | None = None) -> Answer:
        found_at = self._clock.now()
        answer = replace(found.answer, begun=begun)
        with self._lock:
            self._known[host] = replace(found, answer=answer), found_at
            self._known.move_to_end(host)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return answer


@lru_cache(maxsize=4096)
def _literal(host: str) -> Answer | None:
    """Return the answer for a host that is an address already."""
    if not (host[-1:].isdigit() or ":" in host):
        return None
    try:
        return Answer((str(ipaddress.ip_address(host)),))
    except ValueError:
        return None
