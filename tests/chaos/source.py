"""A web server with predictable bodies; its hosts throttle on request, and its poison kills any
worker that fetches it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tests.support.bodies import body_bytes
from tests.support.looping import Looping
from tests.support.processes import send

_LARGEST = 30_000  # bytes of a body
_TCP_TABLE = Path("/proc/net/tcp")


@lru_cache(maxsize=20_000)
def sha256_of(number: int) -> str:
    return hashlib.sha256(body_of(number)).hexdigest()


def body_of(number: int) -> bytes:
    """Return the body of ``/<number>``: of any size up to 30 KB, unlike every other."""
    return body_bytes(number * 7919 % _LARGEST + 1, seed=number)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a host answers to everything until a moment of the monotonic clock."""

    status: int
    retry_after: int
    until: float


class Source(Looping):
    """The server, on a thread of its own; a context manager. ``served`` counts answers with a body by path."""

    def __init__(self, *, delay: float = 0.0, hosts: int = 1) -> None:
        """``delay`` is the seconds every answer takes; URLs are of the ``hosts`` in turn."""
        super().__init__("source")
        self.delay = delay
        self.hosts = [f"127.0.0.{number + 1}" for number in range(hosts)]
        self.served: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # requests by host
        self._refusals: dict[str, Refusal] = {}  # by host
        self.poisoned: list[int] = []  # pids killed
        self.port = 0
        self._servers: list[asyncio.Server] = []
        self._talks: set[asyncio.Task[None]] = set()

    def url(self, number: int) -> str:
        return f"http://{self.hosts[number % len(self.hosts)]}:{self.port}/{number}"

    def throttle(self, host: str, *, status: int, retry_after: int, seconds: float) -> None:
        """Have a host answer nothing else for so many seconds."""
        self._refusals[host] = Refusal(status, retry_after, time.monotonic() + seconds)

    def poison(self) -> str:
        """A URL that kills the process which asks for it."""
        return f"http://127.0.0.1:{self.port}/poison"

    @staticmethod
    def number_of(url: str) -> int:
        return int(url.rpartition("/")[2])

    async def _listen(self) -> None:
        for host in self.hosts:
            server = await asyncio.start_server(self._accept, host, self.port, backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side was killed, or we end
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("ascii")
            await asyncio.sleep(self.delay)
            if (refusal := self._refusal_of(writer.get_extra_info("sockname")[0])) is not None:
                fields = b"Retry-After: %d\r\nContent-Length: 0" % refusal.retry_after
                writer.write(b"HTTP/1.1 %d Busy\r\n%s\r\n\r\n" % (refusal.status, fields))
                await writer.drain()
                continue
            self.served[path] += 1
            if path == "/poison":
                self._kill(writer.get_extra_info("peername")[1])
                return
            body = body_of(int(path[1:]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    def _refusal_of(self, host: str) -> Refusal | None:
        refusal = self._refusals.get(host)
        if refusal is None or time.monotonic() >= refusal.until:
            return None
        self.refused[host] += 1
        return refusal

    def _kill(self, peer_port: int) -> None:
        pid = owner_of(peer_port)
        if pid is not None and pid != os.getpid():
            self.poisoned.append(pid)
            send(pid, signal.SIGKILL)


def owner_of(port: int) -> int | None:
    """Return the pid of the process whose loopback connection has this local port."""
    local = f"0100007F:{port:04X}"
    for line in _TCP_TABLE.read_text("ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == local:
            return _holder_of(f"socket:[{fields[9]}]")
    return None


def _holder_of(link: str) -> int | None:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if any(os.readlink(file) == link for file in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:
                continue  # it ended, or is not ours to look at
    return None
