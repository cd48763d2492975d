"""Host names to addresses by the system's resolver, asked in a few threads and remembered for a while."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache
from math import inf

from worker.engine.ports import Answer, Clock

FRESH = 60.0  # seconds an answer is used; getaddrinfo does not tell the record's own time to live
FRESH_FAULT = 5.0  # seconds a failure is used, except by who has failed by it
_REMEMBERED = 20_000  # hosts
_AT_ONCE = 16  # questions; a stuck name server keeps no more threads than this

_FINAL = {socket.EAI_NONAME} | {getattr(socket, name) for name in ("EAI_NODATA",) if hasattr(socket, name)}

Tell = Callable[[str, Answer], None]


class SystemResolver:
    """Keeps ``worker.engine.ports.Resolver``; ``submit`` runs a call on another thread."""

    def __init__(
        self, submit: Callable[[Callable[[], None]], object], clock: Clock, *, look_up: Callable[[str], tuple[str, ...]]
    ) -> None:
        self._submit = submit
        self._clock = clock
        self._look_up = look_up
        self._known: OrderedDict[str, tuple[Answer, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._asking: dict[str, list[Tell]] = {}
        self._queue: deque[str] = deque()
        self._threads = 0

    def known(self, host: str, *, after: float = -inf) -> Answer | None:
        found = self._known.get(host)
        if found is not None:
            answer, found_at = found
            is_fresh = self._clock.now() < found_at + (FRESH if answer.addresses else FRESH_FAULT)
            if is_fresh and (answer.addresses or found_at > after):
                return answer
        return _literal(host)

    def ask(self, host: str, tell: Tell) -> None:
        with self._lock:
            if host in self._asking:
                self._asking[host].append(tell)
                return
            self._asking[host] = [tell]
            self._queue.append(host)
            if self._threads >= _AT_ONCE:
                return
            self._threads += 1
        self._submit(self._work)

    def give_up(self, host: str) -> None:
        self._remember(host, Answer(fault="no resolver answered in time"))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                host = self._queue.popleft()
            answer = self._answer(host)
            self._remember(host, answer)
            with self._lock:
                waiting = self._asking.pop(host)
            for tell in waiting:
                tell(host, answer)

    def _answer(self, host: str) -> Answer:
        try:
            addresses = self._look_up(host)
        except socket.gaierror as error:
            if error.errno in _FINAL:
                return Answer(fault="the name does not exist", is_final=True)
            return Answer(fault=str(error.strerror or "the resolver failed").lower())
        except (OSError, UnicodeError) as error:
            return Answer(fault=f"the resolver failed ({type(error).__name__})")
        return Answer(addresses) if addresses else Answer(fault="the name has no address", is_final=True)

    def _remember(self, host: str, answer: Answer) -> None:
        found_at = self._clock.now()
        with self._lock:
            self._known[host] = (answer, found_at)
            self._known.move_to_end(host)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def look_up_addresses(host: str) -> tuple[str, ...]:
    """Ask getaddrinfo; addresses come in its order of preference (RFC 6724)."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@lru_cache(maxsize=4096)
def _literal(host: str) -> Answer | None:
    """An address in the place of a name needs no question."""
    if not (host[-1:].isdigit() or ":" in host):
        return None
    try:
        return Answer((str(ipaddress.ip_address(host)),))
    except ValueError:
        return None
