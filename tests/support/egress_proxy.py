"""A small forward proxy: tunnels by CONNECT (RFC 9110 section 9.3.6) or SOCKS5 (RFC 1928, RFC 1929), all remembered."""

from __future__ import annotations

import base64
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.support.listening import Listening

CONNECTED = 200
_PIECE = 65536
# RFC 1928 section 6
_SOCKS_DENIED, _SOCKS_UNREACHABLE = 2, 4


@dataclass(frozen=True, slots=True)
class Told:
    """One tunnel that was asked for: where to, in the client's own words."""

    kind: Literal["connect", "socks5"]
    host: str  # without brackets
    port: int
    login: str | None  # user:password

    @property
    def is_address(self) -> bool:
        """Was it an address, and so nothing that the proxy has to look up?"""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


class EgressProxy:
    """Listens on one address; speaks both protocols on its one port, and TLS around them if asked to."""

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        kind: Literal["connect", "socks5"] = "connect",
        tls: ssl.SSLContext | None = None,
        login: str | None = None,
        answer: Callable[[Told], int] = lambda _told: CONNECTED,
    ) -> None:
        """Describe a proxy.

        ``login`` is the ``user:password`` it insists on. ``answer`` gives the status of a CONNECT, or the reply code
        of SOCKS where it is not ``CONNECTED``; only then is there a tunnel.
        """
        self.address, self.port = address, port
        self.answer = answer
        self._kind = kind
        self._login = login
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self._tunnels = 0
        self._listening = Listening("egress-proxy", self._talk, tls=tls)

    @property
    def told(self) -> list[Told]:
        """The tunnels asked for so far, oldest first."""
        with self._lock:
            return list(self._told)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._listening.connections

    @property
    def tunnels(self) -> int:
        """How many tunnels were made."""
        with self._lock:
            return self._tunnels

    def __enter__(self) -> EgressProxy:
        self.port = self._listening.listen(self.address, self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _talk(self, wire: socket.socket) -> None:
        onward = self._connect(wire) if self._kind == "connect" else self._socks(wire)
        if onward is not None:
            with onward:
                _relay(wire, onward)

    def _onward(self, told: Told) -> tuple[int, socket.socket | None]:
        with self._lock:
            self._told.append(told)
        code = self.answer(told)
        if code != CONNECTED:
            return code, None
        try:
            onward = socket.create_connection((told.host, told.port), timeout=10.0)
        except OSError:
            return 0, None
        onward.settimeout(None)
        with self._lock:
            self._tunnels += 1
        self._listening.keep(onward)
        return CONNECTED, onward

    def _connect(self, wire: socket.socket) -> socket.socket | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = wire.recv(_PIECE)
            if not more:
                return None
            head += more
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        scheme, _, coded = fields.get("proxy-authorization", "").partition(" ")
        login = base64.b64decode(coded).decode() if scheme == "Basic" else None
        host, _, port = target.rpartition(":")
        if method != "CONNECT":
            with self._lock:
                self._told.append(Told("connect", target, 0, login))  # a client sent a request through us
            code, onward = 405, None
        elif self._login is not None and login != self._login:
            code, onward = 407, None
        else:
            code, onward = self._onward(Told("connect", host.strip("[]"), int(port), login))
        extra = "Proxy-Authenticate: Basic\r\n" if code == 407 else ""
        length = "" if code == CONNECTED else "Content-Length: 0\r\n"
        _say(wire, f"HTTP/1.1 {code or 502} Said\r\n{extra}{length}\r\n".encode(), onward)
        return onward

    def _socks(self, wire: socket.socket) -> socket.socket | None:
        _version, count = _exactly(wire, 2)
        methods = _exactly(wire, count)
        login = None
        if self._login is not None:
            if 2 not in methods:
                wire.sendall(b"\x05\xff")
                return None
            wire.sendall(b"\x05\x02")
            user = _exactly(wire, _exactly(wire, 2)[1]).decode()
            password = _exactly(wire, _exactly(wire, 1)[0]).decode()
            login = f"{user}:{password}"
            is_right = login == self._login
            wire.sendall(b"\x01\x00" if is_right else b"\x01\x01")
            if not is_right:
                return None
        else:
            wire.sendall(b"\x05\x00")
        _version, _command, _reserved, kind = _exactly(wire, 4)
        if kind == 3:
            host = _exactly(wire, _exactly(wire, 1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(_exactly(wire, 4 if kind == 1 else 16)))
        port = int.from_bytes(_exactly(wire, 2), "big")
        code, onward = self._onward(Told("socks5", host, port, login))
        reply = 0 if code == CONNECTED else code or _SOCKS_UNREACHABLE
        _say(wire, bytes((5, reply, 0, 1)) + bytes(6), onward)
        return onward


def _exactly(wire: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = wire.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _say(wire: socket.socket, answer: bytes, onward: socket.socket | None) -> None:
    """Answer the client, if it is still there."""
    try:
        wire.sendall(answer)
    except OSError:
        if onward is not None:
            onward.close()
        raise


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    poller = select.poll()  # select() cannot see the descriptors of a crowd
    by_number = {wire.fileno(): wire for wire in (one, other)}
    for number in by_number:
        poller.register(number, select.POLLIN)
    while True:
        waiting = isinstance(one, ssl.SSLSocket) and one.pending()
        ready = [one] if waiting else [by_number[number] for number, _ in poller.poll()]
        for wire in ready:
            data = wire.recv(_PIECE)
            if not data:
                return
            (other if wire is one else one).sendall(data)
