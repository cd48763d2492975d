"""A server that answers all requests only when the last one has arrived."""

from __future__ import annotations

import socket
import threading

from tests.support.processes import PATIENCE

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Gathering:
    """A server that answers no request until ``guests`` have arrived."""

    def __init__(self, guests: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        self.most = 0
        self._guests = guests
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        open_ = []
        for _ in range(self._guests):
            wire, _ = self.listener.accept()
            open_.append(wire)
            self.most = max(self.most, len(open_))
        for wire in open_:
            wire.recv(65536)
            wire.sendall(_ANSWER)
        for wire in open_:
            wire.close()

    def urls(self) -> list[str]:
        """Return a URL for each guest."""
        return [f"http://127.0.0.1:{self.port}/{index}" for index in range(self._guests)]

    def __enter__(self) -> Gathering:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE * 20.0)
        self.listener.close()
