"""Listening sockets with a thread for every connection; all threads end together."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

from tests.support.processes import PATIENCE


class Listening:
    """What servers share that talk in blocking steps; `tell` says what is said on a connection."""

    def __init__(self, name: str, tell: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None) -> None:
        """Listen nowhere yet; `tell` gets each connection and may raise what a socket raises; with `tls`, after the
        handshake.
        """
        self._name = name
        self._tell = tell
        self._tls = tls
        self._lock = threading.Lock()
        self._connections = 0
        self._open: set[socket.socket] = set()
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_stopping = False

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._lock:
            return self._connections

    def listen(self, address: str, port: int) -> int:
        """Accept connections to an address from now on; return the port, which is a free one for 0."""
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # beside a sink on every address
            if listener.family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen(1024)
        except BaseException:
            listener.close()
            raise
        self._listeners.append(listener)
        self._spawn(self._accept, listener)
        bound: int = listener.getsockname()[1]
        return bound

    def keep(self, wire: socket.socket) -> None:
        """Let a socket that a thread waits for end with the others."""
        with self._lock:
            self._open.add(wire)

    def close(self) -> None:
        """End every connection, wait for every thread, and listen no more."""
        with self._lock:
            self._is_stopping = True
            wires = [*self._listeners, *self._open]
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        for thread in self._threads:
            thread.join(PATIENCE * 10.0)
        for listener in self._listeners:
            listener.close()

    # ---- the threads

    def _spawn(self, story: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=story, args=arguments, name=self._name, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                wire, _peer = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_stopping:
                    wire.close()
                    return
                self._connections += 1
                self._open.add(wire)
            self._spawn(self._talk, wire)

    def _talk(self, accepted: socket.socket) -> None:
        wire = accepted
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                wire = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open.discard(accepted)
                    self._open.add(wire)
                wire.do_handshake()
            self._tell(wire)
        except (OSError, ValueError, EOFError):
            pass  # the client left, or the server is being stopped
        finally:
            with self._lock:
                self._open.discard(accepted)
                self._open.discard(wire)
            wire.close()
