"""Lying servers over real sockets: one listener, a path for each server."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.lying_server import Answer, Framing, LyingServer

_CHUNK = 3_000  # bytes


class LyingSite:
    """A context manager; ``add`` gives a server its URL."""

    def __init__(self) -> None:
        self._servers: list[LyingServer] = []
        self._lock = threading.Lock()
        site = self

        class Talk(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                given = {name.lower(): value for name, value in self.headers.items()}
                answer = site._answer(int(self.path.strip("/")), given)
                self.close_connection = answer.is_cut or answer.framing is not Framing.CHUNKED
                self.wfile.write(b"".join(answer.head()) + _framed(answer))

            def handle(self) -> None:
                with suppress(OSError):  # the client has had enough
                    super().handle()

            def log_message(self, *_words: object) -> None:
                """Say nothing."""

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Talk)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    def add(self, server: LyingServer) -> str:
        self._servers.append(server)
        return f"http://127.0.0.1:{self._listener.server_port}/{len(self._servers) - 1}"

    def _answer(self, number: int, given: dict[str, str]) -> Answer:
        with self._lock:  # a body in several ranges is asked for by several connections
            return self._servers[number].answer(given)

    def __enter__(self) -> LyingSite:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


def _framed(answer: Answer) -> bytes:
    if answer.framing is not Framing.CHUNKED:
        return answer.body
    pieces = [answer.body[at : at + _CHUNK] for at in range(0, len(answer.body), _CHUNK)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return chunks if answer.is_cut else chunks + b"0\r\n\r\n"
