"""One request being answered, byte by byte, as correctly or badly as a behaviour wants."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from enum import StrEnum
from http import HTTPStatus

from tests.support.bodies import body_pieces
from tests.support.requests_seen import RequestLog, SeenRequest

Header = tuple[str, str]


class Gone(Exception):
    """The client left, or the server is being stopped: nothing more can be said."""


class Farewell(StrEnum):
    """How a connection ends."""

    CLOSE = "close"  #: in order: close_notify under TLS, then FIN
    CUT = "cut"  #: FIN without close_notify
    RESET = "reset"  #: RST


class Exchange:
    """The server's side of one request; what it sends is counted in the log."""

    def __init__(
        self,
        wire: socket.socket,
        seen: SeenRequest,
        log: RequestLog,
        stopping: threading.Event,
        origin: Callable[[str], str],
    ) -> None:
        """Answer `seen` on `wire`; `origin` returns scheme://host:port of a server by its name ("": of this one)."""
        self.wire = wire
        self.seen = seen
        self.origin = origin
        self.keeps_open = False  # and never where the client asked to close
        self.farewell = Farewell.CLOSE
        self._log = log
        self._stopping = stopping

    # ---- what was asked

    @property
    def visit(self) -> int:
        """How often this very target was asked for, this time included."""
        return self.seen.visit

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter of the query."""
        return self.seen.query.get(name, default)

    def number(self, name: str, default: int = 0) -> int:
        """Return a parameter of the query as an integer."""
        return int(self.seen.query.get(name, default))

    def onward(self, target: str) -> str:
        """Return a target that still belongs to the same case."""
        if not self.seen.case:
            return target
        return f"{target}{'&' if '?' in target else '?'}case={self.seen.case}"

    # ---- answering

    def send(self, *parts: bytes | str) -> None:
        """Send bytes as they are; raises Gone if the client has left."""
        for part in parts:
            raw = part.encode("latin-1") if isinstance(part, str) else part
            for start in range(0, len(raw), 65536):
                self._send_piece(raw[start : start + 65536])

    def head(self, status: int = 200, *headers: Header, version: str = "HTTP/1.1") -> None:
        """Send a status line and headers, Date included, and nothing about framing."""
        lines = [f"{version} {status} {_reason(status)}", f"Date: {formatdate(usegmt=True)}"]
        lines.extend(f"{name}: {value}" for name, value in headers)
        self.send("\r\n".join(lines), "\r\n\r\n")

    def respond(self, body: bytes = b"", status: int = 200, *headers: Header, version: str = "HTTP/1.1") -> None:
        """Send a complete, right response and keep the connection open."""
        self.head(status, *headers, ("Content-Length", str(len(body))), version=version)
        self.send(body)
        self.keeps_open = version == "HTTP/1.1"

    def stream(self, start: int, size: int, seed: int = 0, *, rate: float = 0.0) -> None:
        """Send bytes of a foretold body, at `rate` bytes per second (0: as fast as they go)."""
        began, sent = time.monotonic(), 0
        for piece in body_pieces(start, size, seed):
            step = len(piece) if not rate else max(1, min(len(piece), int(rate / 50)))
            for offset in range(0, len(piece), step):
                self._send_piece(piece[offset : offset + step])
                sent += min(step, len(piece) - offset)
                if rate:
                    self.pause(began + sent / rate - time.monotonic())

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; no bytes make the last one."""
        self.send(f"{len(data):x}\r\n", data, "\r\n")

    def drip(self, pieces: Iterable[bytes], every: float) -> None:
        """Send pieces with `every` seconds between them."""
        for piece in pieces:
            self.send(piece)
            self.pause(every)

    def pause(self, seconds: float) -> None:
        """Wait; raises Gone as soon as the server is stopped."""
        if seconds > 0 and self._stopping.wait(seconds):
            raise Gone

    def think(self, seconds: float) -> None:
        """Wait, unless the test has let go."""
        if not self._log.let_go.is_set():
            self.pause(seconds)

    def await_release(self) -> None:
        """Say nothing until the test lets go; raises Gone as soon as the server is stopped."""
        while not self._log.let_go.wait(0.02):
            self.pause(0.001)

    def hold(self) -> None:
        """Say nothing until the client leaves or the server is stopped."""
        with contextlib.suppress(OSError):
            while self.wire.recv(65536):
                pass
        raise Gone

    def cut(self) -> None:
        """End the connection without TLS's close_notify."""
        self.farewell, self.keeps_open = Farewell.CUT, False

    def reset(self) -> None:
        """End the connection with RST."""
        self.farewell, self.keeps_open = Farewell.RESET, False

    def over(self) -> None:
        """Note that the answer is complete or broken off."""
        with self._log.changing():
            self.seen.is_over = True

    def _send_piece(self, piece: bytes) -> None:
        try:
            self.wire.sendall(piece)
        except (OSError, ValueError) as left:
            raise Gone from left
        with self._log.changing():
            self.seen.sent += len(piece)


def part(wire: socket.socket, farewell: Farewell) -> None:
    """End a connection in one of the ways a server may; never raises."""
    with contextlib.suppress(OSError, ValueError):
        if farewell is Farewell.RESET:
            # Lingering for zero seconds turns close into RST (socket(7), SO_LINGER).
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if farewell is Farewell.CLOSE and isinstance(wire, ssl.SSLSocket):
            _send_close_notify(wire)
        wire.shutdown(socket.SHUT_WR)
        # Closing with unread bytes in our buffer would send RST and may take the answer with it.
        wire.settimeout(1.0)
        while wire.recv(65536):
            pass


def _send_close_notify(wire: ssl.SSLSocket) -> None:
    wire.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
        wire.unwrap()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unheard Of"
