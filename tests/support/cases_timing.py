"""Slow servers: silence, drips, and a pace that never gets there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.support.bodies import body_bytes
from tests.support.cases import GOOD, GOOD_SIZE, POLICY, Door, expect, ok, recovers, serves, transient
from tests.support.exchange import Exchange

_HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {GOOD_SIZE}\r\n\r\n".encode()

#: What has been said before the silence.
_SAID = {
    "nothing": b"",
    "status": b"HTTP/1.1 200 OK\r\n",
    "half-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "head": _HEAD,
    "half": _HEAD + GOOD[: GOOD_SIZE // 2],
    "nearly": _HEAD + GOOD[:-1],
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    "last-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "close-framed": b"HTTP/1.1 200 OK\r\n\r\n" + GOOD,
}

#: Seconds after which the limits on the first byte and on the speed have spoken, with a second to spare.
_FLOOR = max(POLICY.first_byte_timeout, POLICY.slow_window) + 1.0

_SLOW = transient("too-slow")


@serves("/silence")
def _silence(exchange: Exchange) -> None:
    """Nothing more after a beginning, the first `fails` times or always."""
    if exchange.number("fails") and exchange.visit > exchange.number("fails"):
        exchange.respond(GOOD)
        return
    exchange.send(_SAID[exchange.text("after", "nothing")])
    exchange.hold()


for _after in _SAID:
    expect(f"/silence?after={_after}", f"falls silent after: {_after}", _SLOW, seconds=_FLOOR)
expect("/silence?after=half", "falls silent after half the body, over TLS", _SLOW, door=Door.TLS, seconds=_FLOOR)
expect("/silence?after=half&fails=1", "falls silent once, then answers", recovers("too-slow"), seconds=_FLOOR)


def _singly(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


@serves("/drip")
def _drip(exchange: Exchange) -> None:
    """One byte every 200 ms of the `part`: body, head, status line, chunk sizes, interim responses."""
    part = exchange.text("part")
    if part == "body":
        exchange.send(_HEAD)
        exchange.drip(_singly(GOOD), 0.2)
    elif part == "head":
        exchange.drip(_singly(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 4096 + b"\r\n" + _HEAD), 0.2)
    elif part == "chunks":
        exchange.head(200, ("Transfer-Encoding", "chunked"))
        exchange.drip(itertools.repeat(b"1\r\na\r\n"), 0.2)
    elif part == "close":
        exchange.head(200, ("Connection", "close"))
        exchange.drip(itertools.repeat(b"a"), 0.2)
    else:
        exchange.drip(itertools.repeat(b"HTTP/1.1 102 Processing\r\n\r\n"), 0.2)


for _part in ("body", "head", "chunks", "close", "interim"):
    expect(f"/drip?part={_part}", f"sends a byte every 200 ms of: {_part}", _SLOW, seconds=_FLOOR)


@serves("/steady")
def _steady(exchange: Exchange) -> None:
    """Faster than the speed floor, and yet not done by the deadline."""
    size = POLICY.max_size
    exchange.head(200, ("Content-Length", str(size)))
    exchange.stream(0, size, rate=10.0 * POLICY.slowest)


# One deadline for the URL in all: nothing is left of it for a second attempt.
expect(
    "/steady",
    "keeps above the speed floor but would need ten times the deadline",
    transient("timeout", thrice=1),
    seconds=POLICY.timeout + 1.0,
)


@serves("/held")
def _held(exchange: Exchange) -> None:
    """An answer of `size` bytes of `seed` that comes when the test says so."""
    exchange.await_release()
    exchange.respond(body_bytes(exchange.number("size", GOOD_SIZE), exchange.number("seed")))


@serves("/thinks")
def _thinks(exchange: Exchange) -> None:
    """A pause of `ms` before the head, and again before the body; none once the test lets go."""
    exchange.think(exchange.number("ms") / 1000)
    exchange.head(200, ("Content-Length", str(GOOD_SIZE)))
    exchange.think(exchange.number("ms") / 1000)
    exchange.send(GOOD)
    exchange.keeps_open = True


expect("/thinks?ms=300", "thinks for 300 ms before head and body: slow, but right", ok(), seconds=2.0)
expect("/good?size=10000&rate=8000", "sends 10 KB at 8 KB/s", ok(), body=body_bytes(10_000), seconds=3.0)
