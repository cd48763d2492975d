"""HTTP servers on loopback that do everything a server may do wrong, one path per behaviour, and log what they saw.

with MisbehavingSite(tmp_path) as site:
    for case in CASES:
        outcome = fetch(site.url(case))          # trusts site.ca_file, under cases.POLICY
        assert case.once.allows_requests(len(site.log.requests(case=case.name)))
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
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
from tests.support.cases import GOOD, POLICY, Case, Door, Ending, Kind, behaviour_of, registered
from tests.support.certificates import Certificate, PrivateAuthority
from tests.support.exchange import Exchange, Farewell, Gone, part
from tests.support.processes import PATIENCE, free_port
from tests.support.requests_seen import RequestLog, SeenConnection, SeenRequest

__all__ = [
    "CASES", "GOOD", "POLICY", "SPLIT_CASES", "Case", "Door", "Ending", "Kind", "MisbehavingServer", "MisbehavingSite",
    "RequestLog", "SeenConnection", "SeenRequest",
]  # fmt: skip

#: Every behaviour with its expected outcome.
CASES: tuple[Case, ...] = registered()

#: Behaviours towards a client that fetches several ranges of one body at once; requests are not counted exactly.
SPLIT_CASES: tuple[Case, ...] = registered(splits=True)

#: Bytes of a request head that are read before giving up on it; our clients may send URLs of 16 KiB.
LARGEST_HEAD = 64 * 1024


class MisbehavingServer:
    """One listening socket; a thread per connection answers by the path asked for.

    Start and stop it as a context manager. A behaviour that raises anything but Gone is a bug of the server:
    leaving the context raises it.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        certificate: Certificate | None = None,
        door: Door = Door.PLAIN,
        log: RequestLog | None = None,
        origins: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        """Describe a server without starting it.

        `origins` maps names of servers to their scheme://host:port for redirects among them, `name` is what the log
        calls this one. Port 0 takes a free one.
        """
        self.address = address
        self.port = port
        self.door = door
        self.name = name or door.value
        self.log = RequestLog() if log is None else log
        self._origins = {} if origins is None else origins  # filled later, by whoever starts the servers
        self._context = None if certificate is None else certificate.server_context()
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._accepting: threading.Thread | None = None
        self._faults: list[BaseException] = []

    @property
    def origin(self) -> str:
        """scheme://host:port, without a slash at the end."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.door.is_tls else 'http'}://{host}:{self.port}"

    def url(self, target: str) -> str:
        """Return the URL of a request target."""
        return self.origin + target

    # ---- its life

    def start(self) -> MisbehavingServer:
        """Listen and answer; returns when connections are accepted."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listener = socket.create_server((self.address, self.port), family=family, backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._accepting = self._spawn(self._accept, self._listener)
        return self

    def stop(self) -> None:
        """Close every socket and wait for every thread; raise the first fault of a behaviour."""
        self._stopping.set()
        if self._listener is not None:
            # Closing a socket does not wake a thread that waits in accept(); shutting it down does.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self._accepting is not None:
            self._accepting.join(PATIENCE * 10.0)  # first: it may be about to start a thread for one more connection
        with self._lock:
            for wire in self._open.values():
                with contextlib.suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join(PATIENCE * 10.0)
        if self._faults:
            raise self._faults[0]

    def __enter__(self) -> MisbehavingServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- connections

    def _spawn(self, story: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=story, args=arguments, name=f"misbehaving-{self.name}", daemon=True)
        with self._lock:
            self._threads = [known for known in self._threads if known.is_alive() or known.ident is None]
            self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                wire, peer = listener.accept()
            except OSError:
                return
            seen = self.log.connected(self.name, f"{peer[0]}:{peer[1]}")
            with self._lock:
                self._open[seen.number] = wire
            self._spawn(self._talk, wire, seen)

    def _talk(self, accepted: socket.socket, seen: SeenConnection) -> None:
        farewell = Farewell.RESET
        try:
            # Small answers would otherwise wait for the client's delayed acknowledgement.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.door in _BEFORE_ANY_REQUEST:
                farewell = _BEFORE_ANY_REQUEST[self.door](accepted)
            else:
                farewell = self._answer_requests(self._through_the_door(accepted, seen), seen)
        except (Gone, OSError):
            pass  # the client left, or stop() closed the socket
        except BaseException as fault:  # handed to whoever stops the server
            self._faults.append(fault)
        finally:
            # Under TLS it is another socket than the one accepted, even when the handshake failed.
            wire = self._open[seen.number]
            if not self._stopping.is_set():
                part(wire, farewell)
            with self._lock:
                del self._open[seen.number]
            wire.close()
            with self.log.changing():
                seen.closed = time.monotonic()

    def _through_the_door(self, accepted: socket.socket, seen: SeenConnection) -> socket.socket:
        if self._context is None:
            return accepted
        wire = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open[seen.number] = wire  # `accepted` is an empty shell from here on
        wire.do_handshake()
        return wire

    def _answer_requests(self, wire: socket.socket, connection: SeenConnection) -> Farewell:
        unread = b""
        while True:
            head, unread = _read_head(wire, unread)
            if head is None:
                return Farewell.CLOSE
            seen = self.log.asked(connection, *_parse(head))
            exchange = Exchange(wire, seen, self.log, self._stopping, self._origin_of)
            try:
                behaviour = behaviour_of(seen.path) or _not_found
                behaviour(exchange)
            finally:
                exchange.over()
            if not exchange.keeps_open or (seen.header("connection") or "").lower() == "close":
                return exchange.farewell

    def _origin_of(self, name: str) -> str:
        return self.origin if name == self.name else self._origins[name]


class MisbehavingSite:
    """A server for every door, with one log and one certificate authority."""

    def __init__(self, folder: Path | None = None, *, address: str = "127.0.0.1", names: tuple[str, ...] = ()) -> None:
        """Describe a site on a loopback address; `names` are further host names its good certificate is valid for.

        Certificates go to `folder`, or to a temporary folder that is removed at the end.
        """
        self.address = address
        self.log = RequestLog()
        self.origins: dict[str, str] = {}
        self.servers: dict[Door, MisbehavingServer] = {}
        self._names = (address, "localhost", *names)
        self._temporary = tempfile.TemporaryDirectory(prefix="certificates-") if folder is None else None
        self._folder = folder or Path(self._temporary.name if self._temporary else "")
        self._stack = contextlib.ExitStack()
        self._authority: PrivateAuthority | None = None

    @property
    def ca_file(self) -> Path:
        """The PEM file a client must trust."""
        if self._authority is None:
            raise RuntimeError("the site has not been started")
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
        origin = self.origins[door or default_door]
        if host is not None:
            origin = f"{origin.partition('://')[0]}://{host}:{origin.rpartition(':')[2]}"
        return origin + target

    def __enter__(self) -> MisbehavingSite:
        self._authority = authority = PrivateAuthority(self._folder)
        certificates = {
            Door.TLS: authority.valid(*self._names),
            Door.TLS_WRONG_NAME: authority.wrong_name(),
            Door.TLS_SELF_SIGNED: authority.self_signed(*self._names),
            Door.TLS_EXPIRED: authority.expired(*self._names),
        }
        for door in Door:
            server = MisbehavingServer(
                self.address, certificate=certificates.get(door), door=door, log=self.log, origins=self.origins
            )
            if door is Door.REFUSES:
                server.port = free_port(self.address)
            else:
                self._stack.enter_context(server)
            self.servers[door] = server
            self.origins[door.value] = server.origin
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stack.close()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()


# ---- before any request


def _cut_handshake(wire: socket.socket) -> Farewell:
    wire.recv(65536)
    return Farewell.CUT


def _reset_handshake(wire: socket.socket) -> Farewell:
    wire.recv(65536)
    return Farewell.RESET


def _answer_handshake_in_plain(wire: socket.socket) -> Farewell:
    wire.recv(65536)
    wire.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    return Farewell.CUT


def _speak_another_version(wire: socket.socket) -> Farewell:
    wire.recv(65536)
    wire.sendall(b"\x15\x03\x01\x00\x02\x02\x46")  # a fatal alert, protocol_version (RFC 8446 section 6.2)
    return Farewell.CUT


def _say_nothing(wire: socket.socket) -> Farewell:
    while wire.recv(65536):
        pass
    return Farewell.CUT


_BEFORE_ANY_REQUEST: dict[Door, Callable[[socket.socket], Farewell]] = {
    Door.TLS_HANDSHAKE_CUT: _cut_handshake,
    Door.TLS_HANDSHAKE_RESET: _reset_handshake,
    Door.TLS_HANDSHAKE_SILENT: _say_nothing,
    Door.TLS_SPOKEN_TO_IN_PLAIN: _answer_handshake_in_plain,
    Door.TLS_OF_ANOTHER_VERSION: _speak_another_version,
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


def _parse(head: bytes) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _version = first.split(" ")
    headers = (line.partition(":") for line in lines)
    return method, target, tuple((name.lower(), value.strip()) for name, _, value in headers)


def _not_found(exchange: Exchange) -> None:
    exchange.respond(b"no such behaviour", 404)
