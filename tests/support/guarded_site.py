"""A web server on many addresses that answers as a test says and records all requests."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.support.listening import Listening

BODY = b"a page of the guarded site\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came off the wire; header names are in lower case."""

    address: str  # ours: where it was sent to
    port: int
    target: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the first header of that name, or None."""
        return next((value for known, value in self.headers if known == name), None)


Answer = Callable[[Asked], bytes]


def reply(status: int = 200, *headers: str, body: bytes = BODY) -> bytes:
    """Return the bytes of a response; `headers` are whole lines."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def moved(to: str, *headers: str, status: int = 302) -> bytes:
    """Return a redirect; what is not ASCII goes out as UTF-8."""
    return reply(status, f"Location: {to.encode().decode('latin-1')}", *headers, body=b"")


def always_ok(_asked: Asked) -> bytes:
    """Answer 200 to everything."""
    return reply()


class Site:
    """Listens on every pair of address and port, beside a `Sink` on the wildcard addresses if it shares its ports.

    Responses that say ``Connection: close`` are followed by that.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        ports: Iterable[int] = (0,),
        *,
        answer: Answer = always_ok,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Describe a site; `answer` may be changed while it runs, `tls` makes all of it https."""
        self.answer = answer
        self.ports = tuple(ports)
        self._addresses = tuple(addresses)
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._listening = Listening("guarded-site", self._answer_all, tls=tls)

    @property
    def asked(self) -> list[Asked]:
        """The requests so far, oldest first."""
        with self._lock:
            return list(self._asked)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._listening.connections

    def __enter__(self) -> Site:
        try:
            chosen = []
            for wanted in self.ports:
                port = wanted
                for address in self._addresses:
                    port = self._listening.listen(address, port)
                chosen.append(port)
            self.ports = tuple(chosen)
        except BaseException:
            self._listening.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _answer_all(self, wire: socket.socket) -> None:
        address, port = wire.getsockname()[:2]
        unread = b""
        while True:
            while b"\r\n\r\n" not in unread:
                more = wire.recv(65536)
                if not more:
                    return
                unread += more
            head, _, unread = unread.partition(b"\r\n\r\n")
            asked = _read(head, address, port)
            with self._lock:
                self._asked.append(asked)
            response = self.answer(asked)
            wire.sendall(response)
            if b"\r\nConnection: close\r\n" in response:
                return


def _read(head: bytes, address: str, port: int) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    return Asked(address, port, first.split(" ")[1], headers)


def sent_anywhere(asked: Sequence[Asked], secret: str) -> list[Asked]:
    """Return the requests that carried a secret in whatever header or target."""
    return [one for one in asked if secret in one.target or any(secret in value for _, value in one.headers)]
