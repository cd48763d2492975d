"""Lying servers over real sockets: one listener, a number for each server."""

from __future__ import annotations

import threading

from tests.support.cases import serves
from tests.support.exchange import Exchange
from tests.support.lying_server import Answer, Framing, LyingServer
from tests.support.misbehaving import MisbehavingServer

_CHUNK = 3_000  # bytes

_servers: list[LyingServer] = []
_lock = threading.Lock()  # a body in several ranges is asked for by several connections


def url_of(server: LyingServer, listener: MisbehavingServer) -> str:
    """Have a server answer from now on; return its URL."""
    _servers.append(server)
    return listener.url(f"/lying?server={len(_servers) - 1}")


@serves("/lying")
def _lie(exchange: Exchange) -> None:
    with _lock:
        answer = _servers[exchange.number("server")].answer(dict(exchange.seen.headers))
    exchange.send(*answer.head(), _framed(answer))
    exchange.keeps_open = answer.framing is Framing.CHUNKED and not answer.is_cut


def _framed(answer: Answer) -> bytes:
    if answer.framing is not Framing.CHUNKED:
        return answer.body
    pieces = [answer.body[at : at + _CHUNK] for at in range(0, len(answer.body), _CHUNK)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return chunks if answer.is_cut else chunks + b"0\r\n\r\n"
