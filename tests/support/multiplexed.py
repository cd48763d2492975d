"""HTTPS servers that carry many streams on one connection: HTTP/2 over TCP and HTTP/3 over QUIC, on one port."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer, serve
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent, StopSendingReceived, StreamReset

from contract.records.policy import JobPolicy
from tests.support.bodies import body_bytes
from tests.support.certificates import Certificate
from tests.support.fetching import OPEN
from tests.support.looping import Looping

Fields = list[tuple[bytes, bytes]]

_PORTS_TRIED = 20
_LAWLESS = b"\0\0\1\0\0\0\0\0\0x"  # DATA on stream 0 (RFC 9113 section 6.1)
_H2_RESETS = {"reset": h2.errors.ErrorCodes.INTERNAL_ERROR, "quiet": h2.errors.ErrorCodes.NO_ERROR}
_H3_RESETS = {"reset": ErrorCode.H3_INTERNAL_ERROR, "quiet": ErrorCode.H3_NO_ERROR}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a server saw it."""

    version: str  # 2 or 3
    connection: int  # counted from 1 on, over both versions
    target: str


@dataclass(slots=True)
class Reply:
    """What goes out on a stream: all of ``body``, or its first bytes and then no regular end."""

    fields: Fields
    body: bytes
    # whole, reset (the stream), quiet (a reset with NO_ERROR), early (ends as if that were all), stall (says no more);
    # HTTP/2 alone: lawless (no answer but a frame that must not be), accused (a reset with PROTOCOL_ERROR, no answer)
    end: str = "whole"


@dataclass(slots=True)
class _Gathering:
    """Streams that are answered together, once there are enough of them."""

    waiting: list[Callable[[], None]] = field(default_factory=list)


class _Wire(ABC):
    """One connection; what both versions have in common."""

    def __init__(self, site: MultiplexedSite, version: str) -> None:
        self.site = site
        self.version = version
        self.number = site.connected(version)

    def asked(self, stream: int, fields: Fields) -> None:
        given = {name.decode(): value.decode() for name, value in fields}
        target = given[":path"]
        is_again = self.site.note(Asked(self.version, self.number, target))
        query = parse_qs(urlsplit(target).query)
        reply = reply_to(query, given.get("range", ""))
        guests = int(query.get("gather", ["0"])[0])
        if guests and not is_again:
            self.site.gather(guests, lambda: self.answer(stream, reply))
        else:
            self.answer(stream, reply)

    @abstractmethod
    def answer(self, stream: int, reply: Reply) -> None:
        """Send a reply; called on the loop's thread."""

    @abstractmethod
    def hang_up(self) -> None:
        """End the connection."""


def reply_to(query: dict[str, list[str]], asked: str) -> Reply:
    """Read a query: `size`, `seed`, `sent` and `end` of a body, `to` for a redirect, `alt` for an Alt-Svc field.

    `bare=1` leaves Content-Length out; with `ranges=1` the body has a version and can be ``asked`` for in ranges.
    """

    def text(key: str, default: str = "") -> str:
        return query.get(key, [default])[0]

    fields: Fields = [(b":status", b"302" if "to" in query else b"200")]
    if "to" in query:
        fields.append((b"location", text("to").encode()))
    if "alt" in query:
        fields.append((b"alt-svc", text("alt").encode()))
    body = b"" if "to" in query else body_bytes(int(text("size", "4096")), int(text("seed", "0")))
    if text("ranges"):
        fields += [(b"etag", b'"1"'), (b"accept-ranges", b"bytes")]
        start, _, last = asked.removeprefix("bytes=").partition("-")
        if start:
            end = int(last) + 1 if last else len(body)
            fields[0] = (b":status", b"206")
            fields.append((b"content-range", f"bytes {start}-{end - 1}/{len(body)}".encode()))
            body = body[int(start) : end]
    if not text("bare"):
        fields.append((b"content-length", str(len(body)).encode()))
    return Reply(fields, body[: int(text("sent", str(len(body))))], text("end", "whole"))


class _Http2(asyncio.Protocol, _Wire):
    def __init__(self, site: MultiplexedSite) -> None:
        self._parent = site
        self._pending: dict[int, tuple[bytes, str]] = {}
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        _Wire.__init__(self, self._parent, "2")
        self._transport = transport
        self.site.wires.add(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.site.wires.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self.hang_up()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                assert event.headers is not None
                assert event.stream_id is not None
                self.asked(event.stream_id, [(bytes(name), bytes(value)) for name, value in event.headers])
            elif isinstance(event, h2.events.StreamReset):
                self._pending.pop(event.stream_id or 0, None)
        for stream in list(self._pending):
            self._go_on(stream)
        self._flush()

    def answer(self, stream: int, reply: Reply) -> None:
        if self._transport is None:
            return
        if reply.end == "lawless":
            self._transport.write(_LAWLESS)
            return
        if reply.end == "accused":
            self._h2.reset_stream(stream, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            self._flush()
            return
        self._h2.send_headers(stream, reply.fields)
        self._pending[stream] = (reply.body, reply.end)
        self._go_on(stream)
        self._flush()

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self, stream: int) -> None:
        body, end = self._pending[stream]
        try:
            while body:
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(body))
                if not room:
                    self._pending[stream] = (body, end)
                    return
                self._h2.send_data(stream, body[:room])
                body = body[room:]
            if end in _H2_RESETS:
                self._h2.reset_stream(stream, _H2_RESETS[end])
            elif end != "stall":
                self._h2.end_stream(stream)
        except h2.exceptions.StreamClosedError:
            pass  # the client wants no more of it
        del self._pending[stream]

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(self._h2.data_to_send())


class _Http3(QuicConnectionProtocol, _Wire):
    def __init__(self, quic: QuicConnection, stream_handler: Any = None, *, site: MultiplexedSite) -> None:
        QuicConnectionProtocol.__init__(self, quic, stream_handler)
        self._parent = site
        self._h3: H3Connection | None = None
        self._gone: set[int] = set()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            _Wire.__init__(self, self._parent, "3")
            self.site.wires.add(self)
            self._h3 = H3Connection(self._quic)
        elif isinstance(event, ConnectionTerminated):
            self._parent.wires.discard(self)
            self._h3 = None
        elif isinstance(event, StopSendingReceived | StreamReset):
            self._gone.add(event.stream_id)
        if self._h3 is not None:
            for each in self._h3.handle_event(event):
                self._take(each)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self.asked(event.stream_id, list(event.headers))

    def answer(self, stream: int, reply: Reply) -> None:
        if self._h3 is None or stream in self._gone:
            return
        is_last = reply.end in ("whole", "early")
        self._h3.send_headers(stream, reply.fields, end_stream=is_last and not reply.body)
        if reply.body:
            self._h3.send_data(stream, reply.body, end_stream=is_last)
        if reply.end in _H3_RESETS:
            # What is queued would never leave once the stream is reset.
            self.transmit()
            self._loop.call_later(0.05, self._reset, stream, _H3_RESETS[reply.end])
        self.transmit()

    def hang_up(self) -> None:
        self.close()

    def _reset(self, stream: int, code: int) -> None:
        if self._h3 is not None and stream not in self._gone:
            self._quic.reset_stream(stream, code)
            self.transmit()


class MultiplexedSite(Looping):
    """Both versions on one port of one address; a context manager. One event loop in one thread serves them."""

    def __init__(self, certificate: Certificate, *, http2: bool = True, http3: bool = True, deaf: bool = False) -> None:
        """``deaf`` without HTTP/3: datagrams are taken and never answered, not even by the kernel."""
        super().__init__("multiplexed")
        self.address = "127.0.0.1"
        self.port = 0
        self.wires: set[_Wire] = set()
        self._certificate = certificate
        self._speaks_http2 = http2
        self._speaks_http3 = http3
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._connections: list[str] = []
        self._gatherings: dict[int, _Gathering] = {}
        self._is_deaf = deaf
        self._door = socket.socket()  # bound and never listening, it refuses who comes by TCP
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp: asyncio.Server | None = None
        self._quic: QuicServer | None = None

    def url(self, *, host: str = "127.0.0.1", **query: object) -> str:
        spelled = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items())
        return f"https://{host}:{self.port}/?{spelled}"

    @property
    def asked(self) -> list[Asked]:
        with self._lock:
            return list(self._asked)

    def connections(self, version: str) -> int:
        """Return how many connections of a version there have been, handshake and all."""
        with self._lock:
            return self._connections.count(version)

    # ---- for connections

    def connected(self, version: str) -> int:
        with self._lock:
            self._connections.append(version)
            return len(self._connections)

    def note(self, asked: Asked) -> bool:
        """Remember a request; was its target asked for before?"""
        with self._lock:
            is_again = any(each.target == asked.target for each in self._asked)
            self._asked.append(asked)
        return is_again

    def gather(self, guests: int, answer: Callable[[], None]) -> None:
        """Answer when as many streams wait as there are to be guests; what is asked again is answered at once."""
        waiting = self._gatherings.setdefault(guests, _Gathering()).waiting
        waiting.append(answer)
        if len(waiting) >= guests:
            del self._gatherings[guests]
            for each in waiting:
                each()

    # ---- its life

    async def _listen(self) -> None:
        # A handshake that the client broke off is no fault of ours.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        for _ in range(_PORTS_TRIED):
            self._door.bind((self.address, 0))
            self.port = self._door.getsockname()[1]
            try:
                await self._open()
                return
            except OSError:  # our TCP port's number is in use over UDP
                self._door.close()
                self._door = socket.socket()
        raise OSError("no port is free over TCP and UDP")

    async def _open(self) -> None:
        if self._is_deaf:
            self._ear.bind((self.address, self.port))
        if self._speaks_http3:
            configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
            configuration.load_cert_chain(self._certificate.chain, self._certificate.key)
            self._quic = await serve(
                self.address,
                self.port,
                configuration=configuration,
                create_protocol=lambda *given, **named: _Http3(*given, **named, site=self),
            )
        if self._speaks_http2:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.chain, self._certificate.key)
            context.set_alpn_protocols(["h2"])
            self._tcp = await self._loop.create_server(lambda: _Http2(self), sock=self._door, ssl=context, backlog=1024)

    async def _end(self) -> None:
        for wire in list(self.wires):
            wire.hang_up()
        if self._tcp is not None:
            self._tcp.close()
        if self._quic is not None:
            self._quic.close()
        self._door.close()
        self._ear.close()
        for _ in range(3):  # transports close in later turns of the loop: TLS, then the socket below it
            await asyncio.sleep(0)


ALONE = {"2": {"http3": False}, "3": {"http2": False}}  #: a site that speaks this version alone: no race decides
LARGE = 300_000  #: bytes


@dataclass(frozen=True, slots=True)
class Version:
    """An HTTP version, a site that speaks it, and the policy that asks for it."""

    name: str
    site: MultiplexedSite

    def policy(self, policy: JobPolicy = OPEN) -> JobPolicy:
        return replace(policy, http3=self.name == "3")
