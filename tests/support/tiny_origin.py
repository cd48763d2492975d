"""A web server that answers whatever is asked with two bytes, and does so thousands of times a second."""

from __future__ import annotations

import asyncio
import threading

_END = b"\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class TinyOrigin:
    """The server, on a loopback port and a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tiny origin", daemon=True)
        self._talks: set[asyncio.WriteTransport] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> TinyOrigin:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

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
