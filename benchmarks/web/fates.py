"""What row W has beside nginx: a name server, and behind nginx the fates that are more than a file.

    /once/NUMBER/SIZE  /throttled/NUMBER/SIZE  /silent/NUMBER/SIZE  /dripping/NUMBER/SIZE  /cut/NUMBER/SIZE

nginx sends the file of a URL whose time has come. A line on standard input forgets which URLs were asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

_DRIP_EVERY = 0.5  # seconds
_DRIP = b"x" * 5
_A, _NO_SUCH_NAME, _ANSWER = 1, 3, 0x8580  # RFC 1035: a response, authoritative, recursion desired and available
_TTL = 300  # seconds


class Names(asyncio.DatagramProtocol):
    """Answers for the names it is given; others do not exist."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = {
            b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0": socket.inet_aton(
                address
            )
            for name, address in addresses.items()
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str | int, int]) -> None:
        end = data.index(b"\0", 12) + 1
        question, found = data[12 : end + 4], self._addresses.get(data[12:end].lower())
        records = b""
        if found is not None and question[-3] == _A:
            records = b"\xc0\x0c\0\1\0\1" + _TTL.to_bytes(4, "big") + b"\0\4" + found
        flags = _ANSWER | (_NO_SUCH_NAME if found is None else 0)
        counts = b"\0\1" + (b"\0\1" if records else b"\0\0") + b"\0\0\0\0"
        self._transport.sendto(data[:2] + flags.to_bytes(2, "big") + counts + question + records, address)


class Fated(asyncio.Protocol):
    """A connection from nginx, with one request."""

    def __init__(self, asked: set[str]) -> None:
        self._asked = asked
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if b"\r\n\r\n" in self._unread:
            path = self._unread.split(b" ", 2)[1].decode()
            _, fate, number, size = path.split("/")
            is_first = path not in self._asked
            self._asked.add(path)
            answers: Mapping[str, Callable[[], None]] = {
                "once": lambda: self._later("503 Busy", number, is_first),
                "throttled": lambda: self._later("429 Slow", number, is_first, "Retry-After: 1"),
                "silent": lambda: None,
                "dripping": self._drip,
                "cut": lambda: self._cut(int(size)),
            }
            answers[fate]()

    def _later(self, status: str, number: str, is_first: bool, *fields: str) -> None:
        if is_first:
            self._reply(status, *fields)
        else:
            self._reply("200 OK", f"X-Accel-Redirect: /good/{number}")

    def _reply(self, status: str, *fields: str) -> None:
        self._write(status, 0, *fields)
        self._transport.close()

    def _cut(self, size: int) -> None:
        self._write("200 OK", size)
        self._transport.write(b"x" * (size // 2))
        self._transport.close()

    def _drip(self) -> None:
        self._write("200 OK", 1_000_000)
        self._drop()

    def _drop(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_DRIP)
            asyncio.get_running_loop().call_later(_DRIP_EVERY, self._drop)

    def _write(self, status: str, length: int, *fields: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *fields, "", ""]
        self._transport.write("\r\n".join(lines).encode())


async def _serve(addresses: Mapping[str, str]) -> None:
    loop, asked = asyncio.get_running_loop(), set[str]()
    await loop.create_datagram_endpoint(lambda: Names(addresses), ("127.0.0.1", 53))
    server = await loop.create_server(lambda: Fated(asked), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while await orders.readline():
        asked.clear()
        print("forgot", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("addresses", type=Path, help="JSON: addresses by name")
    asyncio.run(_serve(json.loads(parser.parse_args().addresses.read_text("utf-8"))))


if __name__ == "__main__":
    main()
