"""HTTP servers on loopback that do everything a server may do wrong, one path per behaviour, and log what they saw.

with MisbehavingSite() as site:
    for case in CASES:
        outcome = fetch(site.url(case))          # trusts site.ca_file, under cases.POLICY
        assert case.once.allows_requests(len(site.log.requests(case=case.name)))
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import (  # noqa: F401 (importing them registers their behaviours and cases)
    cases_connections,
    cases_digests,
    cases_framing,
    cases_headers,
    cases_redirects,
    cases_resume,
    cases_splits,
    cases_statuses,
    cases_timing,
    ranged_object,
)
from tests.support.cases import GOOD, POLICY, Case, Door, behaviour_of, registered
from tests.support.certificates import Certificate, PrivateAuthority
from tests.support.exchange import Exchange, Farewell, Gone, part
from tests.support.listening import Listening
from tests.support.processes import free_port
from tests.support.requests_seen import RequestLog, SeenRequest

__all__ = [
    "CASES", "GOOD", "POLICY", "SPLIT_CASES", "Case", "Door", "MisbehavingServer", "MisbehavingSite", "SeenRequest",
]  # fmt: skip

#: Every behaviour with its expected outcome.
CASES: tuple[Case, ...] = registered()

#: Behaviours towards a client that fetches several ranges of one body at once; requests are not counted exactly.
SPLIT_CASES: tuple[Case, ...] = registered(splits=True)

#: Bytes of a request head that are read before giving up on it; our clients may send URLs of 16 KiB.
LARGEST_HEAD = 64 * 1024


class MisbehavingServer:
    """Answers each request by the path asked for.

    Start and stop it as a context manager. A behaviour that raises anything but Gone is a bug of the server:
    leaving the context raises it.
    """

    def __init__(
        self,
        *,
        certificate: Certificate | None = None,
        door: Door = Door.PLAIN,
        log: RequestLog | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a server without starting it; `origins` maps doors to the origin behind them, for redirects."""
        self.port = 0
        self.door = door
        self.log = RequestLog() if log is None else log
        self._origins = {} if origins is None else origins  # filled later, when the servers are started
        self._listening = Listening(
            f"misbehaving-{door}", self._talk, tls=None if certificate is None else certificate.server_context()
        )
        self._stopping = threading.Event()
        self._faults: list[BaseException] = []

    @property
    def origin(self) -> str:
        """scheme://host:port, without a slash at the end."""
        return f"{'https' if self.door.is_tls else 'http'}://127.0.0.1:{self.port}"

    def url(self, target: str) -> str:
        """Return the URL of a request target."""
        return self.origin + target

    # ---- its life

    def start(self) -> MisbehavingServer:
        """Listen and answer; returns when connections are accepted."""
        self.port = self._listening.listen("127.0.0.1", 0)
        return self

    def stop(self) -> None:
        """Close every socket and wait for every thread; raise the first fault of a behaviour."""
        self._stopping.set()
        self._listening.close()
        if self._faults:
            raise self._faults[0]

    def __enter__(self) -> MisbehavingServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- connections

    def _talk(self, wire: socket.socket) -> None:
        farewell = Farewell.RESET
        try:
            farewell = _BEFORE_ANY_REQUEST.get(self.door, self._answer_requests)(wire)
        except (Gone, OSError):
            pass  # the client left, or stop() closed the socket
        except BaseException as fault:  # raised when the server is stopped
            self._faults.append(fault)
        if not self._stopping.is_set():
            part(wire, farewell)

    def _answer_requests(self, wire: socket.socket) -> Farewell:
        unread = b""
        for turn in itertools.count(1):
            head, unread = _read_head(wire, unread)
            if head is None:
                break
            seen = self.log.asked(*_parse(head), turn)
            exchange = Exchange(wire, seen, self.log, self._stopping, self._origin_of)
            try:
                behaviour = behaviour_of(seen.path) or _not_found
                behaviour(exchange)
            finally:
                exchange.over()
            if not exchange.keeps_open or (seen.header("connection") or "").lower() == "close":
                return exchange.farewell
        return Farewell.CLOSE

    def _origin_of(self, name: str) -> str:
        return self._origins[name] if name else self.origin


class MisbehavingSite:
    """A server for every door, with one log and one certificate authority."""

    def __init__(self, *, names: tuple[str, ...] = ()) -> None:
        """Describe a site on loopback; `names` are further host names its good certificate is valid for."""
        self.log = RequestLog()
        self._origins: dict[str, str] = {}
        self._names = ("127.0.0.1", "localhost", *names)
        self._folder = tempfile.TemporaryDirectory(prefix="certificates-")
        self._authority = PrivateAuthority(Path(self._folder.name))
        self._stack = contextlib.ExitStack()

    @property
    def ca_file(self) -> Path:
        """The PEM file a client must trust."""
        return self._authority.ca_file

    def url(
        self, case: Case | str, *, key: str | None = None, door: Door | None = None, host: str | None = None
    ) -> str:
        """Return the URL of a case, or of a target such as "/good?size=10".

        The key names the fetch in the log and keeps its visits apart from others'; a case's name is the default.
        `host` stands in for the address, for clients that resolve it to there.
        """
        target, default_key, default_door = (
            (case, "", Door.PLAIN) if isinstance(case, str) else (case.path, case.name, case.door)
        )
        named = default_key if key is None else key
        if named:
            target += f"{'&' if '?' in target else '?'}case={named}"
        origin = self._origins[door or default_door]
        if host is not None:
            origin = f"{origin.partition('://')[0]}://{host}:{origin.rpartition(':')[2]}"
        return origin + target

    def __enter__(self) -> MisbehavingSite:
        authority = self._authority
        certificates = {
            Door.TLS: authority.valid(*self._names),
            Door.TLS_WRONG_NAME: authority.wrong_name(),
            Door.TLS_SELF_SIGNED: authority.self_signed(*self._names),
            Door.TLS_EXPIRED: authority.expired(*self._names),
        }
        self._stack.enter_context(self._folder)
        for door in Door:
            server = MisbehavingServer(
                certificate=certificates.get(door), door=door, log=self.log, origins=self._origins
            )
            if door is Door.REFUSES:
                server.port = free_port()
            else:
                self._stack.enter_context(server)
            self._origins[door.value] = server.origin
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


# ---- before any request


def _ends(farewell: Farewell, *, answer: bytes = b"") -> Callable[[socket.socket], Farewell]:
    """Read a first message, say this, and leave."""

    def end(wire: socket.socket) -> Farewell:
        wire.recv(65536)
        wire.sendall(answer)
        return farewell

    return end


def _say_nothing(wire: socket.socket) -> Farewell:
    while wire.recv(65536):
        pass
    return Farewell.CUT


_OTHER_VERSIONS_ONLY = b"\x15\x03\x01\x00\x02\x02\x46"  # a fatal alert, protocol_version (RFC 8446 section 6.2)

_BEFORE_ANY_REQUEST: dict[Door, Callable[[socket.socket], Farewell]] = {
    Door.TLS_HANDSHAKE_CUT: _ends(Farewell.CUT),
    Door.TLS_HANDSHAKE_RESET: _ends(Farewell.RESET),
    Door.TLS_HANDSHAKE_SILENT: _say_nothing,
    Door.TLS_SPOKEN_TO_IN_PLAIN: _ends(Farewell.CUT, answer=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    Door.TLS_OF_ANOTHER_VERSION: _ends(Farewell.CUT, answer=_OTHER_VERSIONS_ONLY),
    Door.HANGS_UP: lambda wire: Farewell.CUT,
    Door.RESETS: lambda wire: Farewell.RESET,
    Door.SILENT: _say_nothing,
}


# ---- reading requests


def _read_head(wire: socket.socket, unread: bytes) -> tuple[bytes | None, bytes]:
    """Return a request head and what came after it; None when the client closed instead."""
    while b"\r\n\r\n" not in unread:
        more = wire.recv(65536)
        if not more:
            return None, b""
        unread += more
        if len(unread) > LARGEST_HEAD:
            raise Gone
    head, _, rest = unread.partition(b"\r\n\r\n")
    return head, rest


def _parse(head: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    _method, target, _version = first.split(" ")
    headers = (line.partition(":") for line in lines)
    return target, tuple((name.lower(), value.strip()) for name, _, value in headers)


def _not_found(exchange: Exchange) -> None:
    exchange.respond(b"no such behaviour", 404)
