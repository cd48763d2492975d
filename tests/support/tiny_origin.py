"""A web server that answers every request with two bytes, thousands of times a second."""

from __future__ import annotations

import asyncio

from tests.support.looping import Looping

_END = b"\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class TinyOrigin(Looping):
    """The server, on a loopback port and a thread of its own; a context manager."""

    def __init__(self) -> None:
        super().__init__("tiny origin")
        self.port = 0
        self._talks: set[asyncio.WriteTransport] = set()
        self._server: asyncio.Server | None = None

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(lambda: _Talk(self._talks), "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.abort()
        await asyncio.sleep(0)  # transports close at the loop's next turn


class _Talk(asyncio.Protocol):
    """One connection; heads are counted, not read."""

    def __init__(self, talks: set[asyncio.WriteTransport]) -> None:
        self._talks = talks
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._talks.add(transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(_END)
        self._transport.write(_ANSWER * len(heads))

    def connection_lost(self, exc: Exception | None) -> None:
        self._talks.discard(self._transport)
