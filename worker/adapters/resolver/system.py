"""The system's own resolver, called on threads: it knows all of this machine's names, but blocks."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable

from worker.engine.ports import Answer

AT_ONCE = 32  # calls; a stuck resolver blocks no more threads than this

_FINAL = {socket.EAI_NONAME} | {getattr(socket, name) for name in ("EAI_NODATA",) if hasattr(socket, name)}


class SystemLookups:
    """``submit`` runs a call on another thread, where ``begin`` and ``deliver`` are called."""

    def __init__(
        self,
        submit: Callable[[Callable[[], None]], object],
        look_up: Callable[[str], tuple[str, ...]],
        *,
        begin: Callable[[str], None],
        deliver: Callable[[str, Answer], None],
    ) -> None:
        self._submit = submit
        self._look_up = look_up
        self._begin = begin
        self._deliver = deliver
        self._lock = threading.Lock()
        self._queue: deque[str] = deque()
        self._threads = 0

    def ask(self, host: str) -> None:
        with self._lock:
            self._queue.append(host)
            if self._threads >= AT_ONCE:
                return
            self._threads += 1
        self._submit(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                host = self._queue.popleft()
            self._begin(host)
            self._deliver(host, self._answer(host))

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


def look_up_addresses(host: str) -> tuple[str, ...]:
    """Ask getaddrinfo; addresses come in its order of preference (RFC 6724)."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
