"""Sockets to name servers, and which question was sent on which, under which number."""

from __future__ import annotations

import selectors
import socket
from random import SystemRandom
from typing import Generic, TypeVar

from worker.adapters.resolver.configuration import Server

_MOST = 200  # questions per port: this keeps numbers hard to guess, and all answers fit the buffer

_random_bits = SystemRandom().getrandbits

T = TypeVar("T")


class Wire(Generic[T]):
    """A socket connected to one name server; the kernel drops datagrams from others."""

    __slots__ = ("is_closed", "questions", "sent", "server", "socket")

    def __init__(self, server: Server) -> None:
        """Raises OSError."""
        address, port = server
        found = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        family, _, _, _, place = found[0]
        self.server = server
        self.sent = 0
        self.is_closed = False
        self.questions: dict[int, T] = {}
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            self.socket.connect(place)
        except OSError:
            self.socket.close()
            raise


class Wires(Generic[T]):
    """The wires of one thread, which ``selector`` watches."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._current: dict[Server, Wire[T]] = {}  # for the next questions

    def number(self, server: Server, asked: T) -> tuple[Wire[T], int]:
        """Choose the socket and the number for a question; raises OSError."""
        wire = self._current.get(server)
        if wire is None or wire.sent >= _MOST:
            wire = self._current[server] = Wire(server)
            self._selector.register(wire.socket, selectors.EVENT_READ, wire)
        number = _random_bits(16)
        while number in wire.questions:
            number = _random_bits(16)
        wire.sent += 1
        wire.questions[number] = asked
        return wire, number

    def forget(self, wire: Wire[T], number: int) -> None:
        """Ignore further answers to this question."""
        del wire.questions[number]
        self._close_if_done(wire)

    def drop(self, wire: Wire[T]) -> list[T]:
        """Close a socket whose server is unreachable, and return the questions sent on it."""
        if self._current.get(wire.server) is wire:
            del self._current[wire.server]
        lost = list(wire.questions.values())
        wire.questions.clear()
        self._close_if_done(wire)
        return lost

    def retire(self) -> None:
        """Use none of the sockets for further questions."""
        before, self._current = self._current, {}
        for wire in before.values():
            self._close_if_done(wire)

    def _close_if_done(self, wire: Wire[T]) -> None:
        if not wire.questions and self._current.get(wire.server) is not wire:
            wire.is_closed = True
            self._selector.unregister(wire.socket)
            wire.socket.close()
