"""A TLS front for a plain server on loopback, as stunnel is one; the embedded Valkey speaks no TLS itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from tests.support.certificates import Certificate
from tests.support.processes import PATIENCE


class TlsRelay:
    """Takes TLS connections and passes what they carry to a port in plain; a context manager.

    One event loop in one thread: an ``ssl`` socket must not be read and written by two threads at once.
    """

    def __init__(self, target: int, certificate: Certificate, *, address: str = "127.0.0.1") -> None:
        self._target = target
        self._certificate = certificate
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-relay", daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0
        self.handshakes = 0

    def __enter__(self) -> TlsRelay:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE * 10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE * 10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE * 10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        context = self._certificate.server_context()
        # A handshake that the client broke off is what some tests are about; it ends here without a word.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        return await asyncio.start_server(self._serve, self._address, 0, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes += 1
        try:
            inner_reader, inner_writer = await asyncio.open_connection(self._address, self._target)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            for end in (writer, inner_writer):
                end.transport.abort()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # transports close in later turns of the loop: TLS, then the socket below it
            await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
