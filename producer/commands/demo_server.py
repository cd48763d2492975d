"""A small web server on loopback for ``trawl demo``: files of all sizes, realistic latency, intended failures.

    python -m producer.commands.demo_server --latency 0.05

prints its port and serves until its standard input closes, so that it ends with the demo.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

_LARGEST_HEAD = 16 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: status line, headers, and a body that may be cut short on purpose."""

    status: str
    body: bytes = b""
    headers: tuple[str, ...] = ()
    length: int | None = None  # bytes announced; None: as many as there are


def file_size(number: int) -> int:
    """Return the size in bytes of file ``number``: mostly some KB, sometimes 0 or some MB."""
    if number % 97 == 0:
        return 0
    if number % 41 == 0:
        return 1_000_000 + 400_000 * (number % 7)
    return 500 * (1 + number * 7919 % 61) ** 2 // 16 + number % 100


def file_body(number: int) -> bytes:
    """Return file ``number``: the same bytes every time."""
    size = file_size(number)
    block = hashlib.sha256(b"%d" % number).digest() * 32
    return (block * (size // len(block) + 1))[:size]


class DemoServer:
    """Answers requests by their path."""

    def __init__(self, latency: float, spread: float) -> None:
        """Wait ``latency`` seconds before each answer, up to ``spread`` times more or less by the path."""
        self._latency = latency
        self._spread = spread
        self._asked: dict[str, int] = {}

    def latency(self, path: str) -> float:
        chance = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") / 2**32
        return self._latency * (1 + self._spread * (2 * chance - 1))

    def answer(self, path: str) -> Answer:
        kind, _, number = path.lstrip("/").partition("/")
        if not number.isdecimal():
            return Answer("404 Not Found", b"no such page\n")
        match kind:
            case "file":
                body = file_body(int(number))
                return Answer(
                    "200 OK", body, ("Content-Type: application/octet-stream", f'ETag: "{number}-{len(body)}"')
                )
            case "moved":
                return Answer("302 Found", b"", (f"Location: /file/{number}",))
            case "busy":
                self._asked[path] = self._asked.get(path, 0) + 1
                if self._asked[path] == 1:
                    return Answer("503 Service Unavailable", b"try again\n", ("Retry-After: 1",))
                return Answer("200 OK", file_body(int(number)))
            case "broken":
                body = file_body(int(number) * 97 + 1)
                return Answer("200 OK", body[: len(body) // 2], length=len(body))
            case "gone":
                return Answer("410 Gone", b"gone\n")
        return Answer("404 Not Found", b"no such page\n")


class _Connection(asyncio.Protocol):
    """One connection; requests on it are answered one after another."""

    def __init__(self, server: DemoServer, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._server = server
        self._later = later
        self._unread = b""
        self._is_waiting = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio gives it by position
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._go_on()

    def _go_on(self) -> None:
        if self._is_waiting or self._transport is None:
            return
        head, end, rest = self._unread.partition(b"\r\n\r\n")
        if not end:
            if len(self._unread) > _LARGEST_HEAD:
                self._transport.abort()
            return
        self._unread = rest
        words = head.split(b"\r\n", 1)[0].split(b" ")
        path = words[1].decode("latin-1") if len(words) == 3 else "/"
        self._is_waiting = True
        self._later(self._server.latency(path), lambda: self._answer(path, is_head=words[0] == b"HEAD"))

    def _answer(self, path: str, *, is_head: bool) -> None:
        self._is_waiting = False
        if self._transport is None:
            return
        answer = self._server.answer(path)
        length = len(answer.body) if answer.length is None else answer.length
        head = [f"HTTP/1.1 {answer.status}", f"Content-Length: {length}", *answer.headers, "", ""]
        self._transport.write("\r\n".join(head).encode() + (b"" if is_head else answer.body))
        if length != len(answer.body):
            self._transport.close()
        else:
            self._go_on()


async def serve(latency: float, spread: float) -> None:
    """Serve on a free port of loopback until standard input closes."""
    loop = asyncio.get_running_loop()
    demo = DemoServer(latency, spread)
    server = await loop.create_server(lambda: _Connection(demo, loop.call_later), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m producer.commands.demo_server")
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--spread", type=float, default=0.0)
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.latency, options.spread))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
