"""A web server in a process of its own; a URL's path says what becomes of it.

    /FATE/MILLISECONDS/BYTES/NAME       as in /ok/60/2000/17, /once-503/60/2000/17, /limit-busy/5/200/17

It listens on every address of this machine at one port, so that each loopback address is a host of its own. Two more
ports lead nowhere: one refuses connections, and one answers no SYN, as its queue of connections is full. What stands on
its standard input is a question about what was asked so far; its end ends the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import formatdate

_DRIPS_EVERY = 0.5  # seconds
_BACKLOG = 8192

Limits = dict[str, dict[str, float | int | str]]


class Bucket:
    """So many requests a second, and a second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate, self._tokens, self._at = rate, 0.0, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Site:
    """What all connections share: how hosts limit, what was asked, and which URLs were asked before."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buckets: dict[tuple[str, str], Bucket] = {}
        self.first_asked: dict[tuple[str, str], float] = {}
        self.clear()

    def clear(self) -> None:
        self.requests: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.first_asked.clear()
        self.buckets.clear()

    def note(self, fate: str) -> None:
        self.requests[fate] += 1
        if "-" in fate:  # only those fates are asked about by the second that have a parameter
            self.times.setdefault(fate, []).append(time.time())

    def report(self) -> dict[str, object]:
        return {"requests": self.requests, "answers": self.answers, "times": self.times}


class Connection(asyncio.Protocol):
    def __init__(self, site: Site) -> None:
        self._site = site
        self._unread = b""
        self._fates: dict[str, Callable[[str, float, int], None]] = {
            "ok": self._ok,
            "hang": self._hang,
            "drip": self._drip,
            "status": self._status,
            "once": self._once,
            "cut": self._cut,
            "to": self._redirect,
            "limit": self._limit,
            "first": self._first,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host = str(transport.get_extra_info("sockname")[0])

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head, self._unread = self._unread[:end], self._unread[end + 4 :]
            self._path = head.split(b" ", 2)[1].decode("ascii")
            self._answer(*self._path.split("/")[1:4])

    def _answer(self, fate: str, milliseconds: str, size: str) -> None:
        self._site.note(fate)
        name, _, self._parameter = fate.partition("-")
        asyncio.get_running_loop().call_later(
            int(milliseconds) / 1000, self._fates[name], fate, int(milliseconds), int(size)
        )

    def _body(self, size: int) -> bytes:
        return body_of(self._path, size)

    def _reply(self, status: int, body: bytes = b"", *fields: str, length: int | None = None) -> None:
        if self._transport.is_closing():
            return
        self._site.answers[str(status)] += 1
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *fields, "", ""]
        self._transport.write("\r\n".join(lines).encode() + body)

    # ------------------------------------------------------------------------------------------------ fates

    def _ok(self, _fate: str, _wait: float, size: int) -> None:
        self._reply(200, self._body(size))

    def _hang(self, _fate: str, _wait: float, _size: int) -> None:
        """Never answer."""

    def _drip(self, _fate: str, _wait: float, size: int) -> None:
        """As many bytes a second as the parameter says, of a body that takes for ever."""
        rate = int(self._parameter)
        self._reply(200, b"", length=max(size, 3600 * rate))
        self._drop(rate)

    def _drop(self, rate: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"x" * max(1, int(rate * _DRIPS_EVERY)))
            asyncio.get_running_loop().call_later(_DRIPS_EVERY, self._drop, rate)

    def _status(self, _fate: str, _wait: float, _size: int) -> None:
        self._reply(int(self._parameter), b"no")

    def _once(self, _fate: str, _wait: float, size: int) -> None:
        """Answer the first request for it with a status, and the others well."""
        if self._is_first():
            self._reply(int(self._parameter), b"later")
        else:
            self._reply(200, self._body(size))

    def _cut(self, _fate: str, _wait: float, size: int) -> None:
        """Break off the first body in the middle."""
        if not self._is_first():
            self._reply(200, self._body(size))
            return
        self._reply(200, self._body(size)[: size // 2], length=size)
        self._transport.close()

    def _redirect(self, _fate: str, wait: float, size: int) -> None:
        self._reply(302, b"", f"Location: /ok/{wait:g}/{size}/{self._path.rsplit('/', 1)[1]}")

    def _first(self, _fate: str, _wait: float, size: int) -> None:
        """Ask for a pause of so many seconds when a URL is asked for first; answer well from then on."""
        if self._is_first():
            self._reply(429, b"", f"Retry-After: {self._parameter}")
        else:
            self._reply(200, self._body(size))

    def _limit(self, fate: str, _wait: float, size: int) -> None:
        """Answer so many requests a second, and throttle the rest as the limit of that name says."""
        limit = self._site.limits[self._parameter]
        key = (self._host, self._parameter)
        bucket = self._site.buckets.get(key)
        if bucket is None:
            bucket = self._site.buckets[key] = Bucket(float(limit["rate"]))
        if bucket.take():
            self._reply(200, self._body(size))
        else:
            self._reply(int(limit["status"]), b"slow down", *_asking(limit))

    def _is_first(self) -> bool:
        key = (self._host, self._path)
        return self._site.first_asked.setdefault(key, now := time.monotonic()) == now


def body_of(path: str, size: int) -> bytes:
    """Return the bytes that are right for a path, so that a body can be told from every other."""
    line = path.encode() + b"\n"
    return (line * (size // len(line) + 1))[:size]


def _asking(limit: dict[str, float | int | str]) -> list[str]:
    """Return the fields in which a host says when to come again: in seconds, or as a moment by a clock of its own."""
    if "retry_after" not in limit:
        return []
    seconds = float(limit["retry_after"])
    if "clock" not in limit:
        return [f"Retry-After: {seconds:g}"]
    theirs = time.time() + float(limit["clock"])
    return [f"Date: {formatdate(theirs, usegmt=True)}", f"Retry-After: {formatdate(theirs + seconds, usegmt=True)}"]


def refusing(stack: ExitStack) -> int:
    """Return a port that refuses connections for as long as we run: it is ours, and nobody listens."""
    taken = stack.enter_context(socket.socket())
    taken.bind(("0.0.0.0", 0))
    return int(taken.getsockname()[1])


def silent(stack: ExitStack) -> int:
    """Return a port that answers no SYN: nobody takes the connections that fill its queue (listen(2))."""
    full = stack.enter_context(socket.socket())
    full.bind(("0.0.0.0", 0))
    full.listen(0)
    port = int(full.getsockname()[1])
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    return port


async def _serve(limits: Limits, stack: ExitStack) -> None:
    site, loop = Site(limits), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(site), "0.0.0.0", 0, backlog=_BACKLOG)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "refusing": refusing(stack), "silent": silent(stack)}), flush=True)
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while question := (await questions.readline()).strip():
        print(json.dumps(site.report()), flush=True)
        if question == b"clear":
            site.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limits", type=json.loads, default={})
    told = parser.parse_args()
    with ExitStack() as stack:
        asyncio.run(_serve(told.limits, stack))


if __name__ == "__main__":
    main()
