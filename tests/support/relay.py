"""A TCP relay a test puts between two parties: it delays, freezes, drops and resets what passes.

with Relay(("127.0.0.1", redis.port), latency=0.025) as relay:
    client = connect(relay.port)
    relay.freeze()        # half-open: all stay connected, nothing passes
    relay.thaw()
    relay.reset()         # RST to both sides of every connection
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.looping import Looping


@dataclass(slots=True)
class _Conditions:
    """The current condition of the path, read for every piece that passes."""

    latency: float  # seconds one way
    cut_after: int  # bytes from the target per connection; 0: no cut
    is_frozen: bool = False


class Relay(Looping):
    """Listens on a loopback port and passes bytes to and from a target; controlled from any thread.

    A change of conditions is in force when the call that made it returns. Linux completes TCP handshakes before
    anybody accepts them, so the round trip of a handshake is paid by holding the first bytes back for twice the
    latency more: end to end a fresh connection costs what it costs on a real path, only the client's own measure of
    "connect" stays near zero.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        latency: float = 0.0,
        cut_after: int = 0,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Describe a relay without starting it.

        `latency` is seconds one way, `cut_after` resets a connection after so many bytes from the target (0: never).
        With `tls` clients speak it up to here and the target does not, as before stunnel.
        """
        super().__init__("relay")
        self.target = target
        self.address = address
        self.port = 0
        self._conditions = _Conditions(latency, cut_after)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._accepted = 0

    # ---- what passed

    @property
    def accepted(self) -> int:
        """How many connections were accepted so far."""
        return self._accepted

    # ---- conditions

    def set(self, *, latency: float | None = None, cut_after: int | None = None) -> None:
        """Change the path for every byte that arrives from now on."""

        def change() -> None:
            conditions = self._conditions
            conditions.latency = conditions.latency if latency is None else latency
            conditions.cut_after = conditions.cut_after if cut_after is None else cut_after

        self._on_loop(change)

    def freeze(self) -> None:
        """Let nothing pass any more, in old and new connections: half-open for both sides."""
        self._on_loop(lambda: self._set_frozen(True))

    def thaw(self) -> None:
        """Let everything pass again, beginning with what was held back."""
        self._on_loop(lambda: self._set_frozen(False))

    def drop(self) -> None:
        """Close every connection in order (FIN), losing what is under way."""
        self._on_loop(lambda: self._end_links(by_reset=False))

    def reset(self) -> None:
        """Reset every connection (RST) on both sides."""
        self._on_loop(lambda: self._end_links(by_reset=True))

    def refuse(self) -> None:
        """Stop listening: new connections are refused, open ones live on."""
        self._on_loop(self._stop_listening)

    # ---- on the loop's thread

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: _ClientSide(_Link(self)), self.address, self.port, backlog=1024, ssl=self._tls
        )
        if self._tls is not None:  # a handshake that the client breaks off is what some tests are about
            self._loop.set_exception_handler(lambda _loop, _context: None)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._stop_listening()
        self._end_links(by_reset=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # transports close at the loop's next turn

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _set_frozen(self, frozen: bool) -> None:
        self._conditions.is_frozen = frozen
        for link in list(self._links):
            link.conditions_changed()

    def _end_links(self, *, by_reset: bool) -> None:
        for link in list(self._links):
            link.end(by_reset=by_reset)

    # ---- from other threads

    def _on_loop(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        self._run(act())


class _Direction:
    """The bytes on their way to one side of a connection, each with the time it is due there."""

    def __init__(self, link: _Link, number: int) -> None:
        self.link = link
        self.number = number  # 0 to the target, 1 from it
        self.writer: asyncio.Transport | None = None
        self._queue: deque[tuple[float, bytes]] = deque()  # no bytes: the sender has ended
        self._last_due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, piece: bytes) -> None:
        """Forward a piece; an empty one means the end."""
        relay = self.link.relay
        conditions = relay._conditions
        due = max(relay._loop.time() + conditions.latency, self._last_due)
        self._last_due = due
        self._queue.append((due, piece))
        self.deliver()

    def deliver(self) -> None:
        """Hand over what is due, and come back for the rest."""
        relay = self.link.relay
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = relay._loop.time()
        while self._queue and self.writer is not None and not relay._conditions.is_frozen:
            due, piece = self._queue[0]
            if due > now:
                self._timer = relay._loop.call_at(due, self.deliver)
                break
            self._queue.popleft()
            self._hand_over(piece)

    def stop(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self.writer = None

    def _hand_over(self, piece: bytes) -> None:
        assert self.writer is not None
        if not piece:
            if self.writer.can_write_eof() and not self.writer.is_closing():
                with contextlib.suppress(OSError):  # that side was killed, and we are about to hear of it
                    self.writer.write_eof()
            self.link.half_over()
            return
        self.writer.write(piece)
        if self.number == 1:
            self.link.delivered(len(piece))


class _Link:
    """One client's connection with the one to the target that belongs to it."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.to_target = _Direction(self, 0)
        self.from_target = _Direction(self, 1)
        self._halves_over = 0
        self._delivered = 0
        self._dialling: asyncio.Task[None] | None = None

    def client_arrived(self, transport: asyncio.Transport) -> None:
        self.relay._links.add(self)
        self.relay._accepted += 1
        self.from_target.writer = transport
        self._dialling = self.relay._loop.create_task(self._dial())

    async def _dial(self) -> None:
        # The target learns of a connection when the handshake's third packet reaches it, and the client's first bytes
        # travel right behind that.
        await asyncio.sleep(3 * self.relay._conditions.latency)
        try:
            await self.relay._loop.create_connection(lambda: _TargetSide(self), *self.relay.target)
        except OSError:
            self.end(by_reset=True)

    def target_answered(self, transport: asyncio.Transport) -> None:
        self.to_target.writer = transport
        self.to_target.deliver()

    def conditions_changed(self) -> None:
        self.to_target.deliver()
        self.from_target.deliver()

    def delivered(self, count: int) -> None:
        self._delivered += count
        if 0 < self.relay._conditions.cut_after <= self._delivered:
            self.end(by_reset=True)

    def half_over(self) -> None:
        self._halves_over += 1
        if self._halves_over == 2:
            self.end(by_reset=False)

    def broken(self) -> None:
        """One side was lost without an orderly end: let the other one know after the path's latency."""
        self.relay._loop.call_later(self.relay._conditions.latency, lambda: self.end(by_reset=True))

    def end(self, *, by_reset: bool) -> None:
        if self not in self.relay._links:
            return
        self.relay._links.discard(self)
        if self._dialling is not None:
            self._dialling.cancel()
        ends = (self.from_target.writer, self.to_target.writer)
        self.to_target.stop()
        self.from_target.stop()
        for transport in ends:
            if transport is None:
                continue
            if by_reset:
                _reset(transport)
            else:
                transport.close()


class _Side(asyncio.Protocol):
    """One end of a link: what arrives goes to the other one."""

    def __init__(self, link: _Link) -> None:
        self.link = link
        self.onward: _Direction

    def data_received(self, data: bytes) -> None:
        self.onward.put(data)

    def eof_received(self) -> bool:
        self.onward.put(b"")
        return self.link.relay._tls is None  # the other half stays open, which TLS does not know

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.link.broken()


class _ClientSide(_Side):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.onward = self.link.to_target
        self.link.client_arrived(transport)


class _TargetSide(_Side):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.onward = self.link.from_target
        self.link.target_answered(transport)


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST: lingering for zero seconds throws away what is unsent (socket(7))."""
    wire = transport.get_extra_info("socket")
    if wire is not None:
        with contextlib.suppress(OSError):
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
