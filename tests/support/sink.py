"""A listener on many addresses and ports that counts what reaches it, for tests that expect nothing."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.processes import PATIENCE


@dataclass(slots=True)
class Caught:
    """One connection (or, over UDP, one datagram) that reached the sink."""

    address: str  # ours
    port: int  # ours
    transport: str  # tcp or udp
    received: int = 0  # bytes


class Sink:
    """Accepts on every pair of address and port, reads and counts, never answers.

    Wildcard addresses (0.0.0.0, ::) catch every address of the machine: with `netbox`'s `every_address` that is
    every address there is.
    """

    def __init__(
        self, addresses: Iterable[str] = ("127.0.0.1",), ports: Iterable[int] = (0,), *, udp: bool = False
    ) -> None:
        """Describe a sink; port 0 takes one free port and uses it on all addresses. `udp` listens there too."""
        self.addresses = tuple(addresses)
        self.ports = tuple(ports)
        self._udp = udp
        self._selector = selectors.DefaultSelector()
        self._changed = threading.Condition()
        self._caught: list[Caught] = []
        self._settled = 0  # how often the thread has found nothing left to take, after being asked to look
        self._asked = 0
        # A pair of sockets is how another thread interrupts select().
        self._channel, self._bell_rope = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="sink", daemon=True)

    # ---- what came

    @property
    def caught(self) -> list[Caught]:
        """Everything that came before this was asked, oldest first; what the kernel still holds is taken first."""
        self._settle()
        with self._changed:
            return list(self._caught)

    @property
    def connections(self) -> int:
        """How many connections (and datagrams) came."""
        return len(self.caught)

    # ---- its life

    def __enter__(self) -> Sink:
        try:
            self._listen()
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bell_rope.close()
        self._thread.join(PATIENCE * 10.0)
        self._close()

    def _listen(self) -> None:
        chosen = []
        for wanted in self.ports:
            port = wanted
            for address in self.addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                port = self._bind(socket.socket(family, socket.SOCK_STREAM), address, port)
                if self._udp:
                    self._bind(socket.socket(family, socket.SOCK_DGRAM), address, port)
            chosen.append(port)
        self.ports = tuple(chosen)
        self._selector.register(self._channel, selectors.EVENT_READ)

    def _bind(self, wire: socket.socket, address: str, port: int) -> int:
        self._selector.register(wire, selectors.EVENT_READ)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wire.family == socket.AF_INET6:
            # Otherwise :: would take IPv4 as well, and 0.0.0.0 could not be bound beside it.
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        wire.setblocking(False)
        wire.bind((address, port))
        if wire.type == socket.SOCK_STREAM:
            wire.listen(1024)
        bound: int = wire.getsockname()[1]
        return bound

    def _close(self) -> None:
        for key in list((self._selector.get_map() or {}).values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._channel.close()
        self._bell_rope.close()

    def _settle(self) -> None:
        """Wait until the sink's thread has taken all that reached our sockets before now.

        A connection counts for its client as soon as the kernel has it: without this, a test that expects none
        could look too early.
        """
        with self._changed:
            if not self._thread.is_alive():
                return
            self._asked += 1
            turn = self._asked
            self._bell_rope.send(b"!")
            if not self._changed.wait_for(lambda: self._settled >= turn, PATIENCE * 10.0):
                raise TimeoutError("the sink's thread is stuck")

    # ---- the sink's thread

    def _watch(self) -> None:
        while True:
            for key, _events in self._selector.select():
                wire = key.fileobj
                assert isinstance(wire, socket.socket)
                if wire is self._channel:
                    rung = len(wire.recv(4096))
                    while self._take_ready():
                        pass
                    with self._changed:
                        self._settled += rung
                        self._changed.notify_all()
                    if not rung:
                        return
                else:
                    self._take(wire, key.data)

    def _take_ready(self) -> bool:
        """Take what is ready now; whether anything was."""
        ready = [key for key, _events in self._selector.select(0) if key.fileobj is not self._channel]
        for key in ready:
            assert isinstance(key.fileobj, socket.socket)
            self._take(key.fileobj, key.data)
        return bool(ready)

    def _take(self, wire: socket.socket, open_one: Caught | None) -> None:
        if wire.fileno() < 0:
            return  # closed since select() named it
        with contextlib.suppress(OSError):
            if open_one is not None:
                self._read(wire, open_one)
            elif wire.type == socket.SOCK_STREAM:
                accepted, _ = wire.accept()
                accepted.setblocking(False)
                self._selector.register(accepted, selectors.EVENT_READ, self._note(accepted, "tcp"))
            else:
                self._note(wire, "udp").received = len(wire.recv(65536))

    def _note(self, wire: socket.socket, transport: str) -> Caught:
        address, port = wire.getsockname()[:2]
        one = Caught(address, port, transport)
        with self._changed:
            self._caught.append(one)
        return one

    def _read(self, wire: socket.socket, one: Caught) -> None:
        try:
            data = wire.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        one.received += len(data)
        if not data:
            self._selector.unregister(wire)
            wire.close()
