"""A tiny authoritative DNS server whose answers a test scripts, query by query (RFC 1035).

with DnsStub() as dns:
    dns.script("good.test", "93.184.216.34", "2606:2800:220:1::1")      # always the same
    dns.script("rebind.test", Reply("93.184.216.34"), Reply("127.0.0.1"))  # the second query gets the second
    dns.script("broken.test", SERVFAIL)
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tests.support.listening import Listening
from tests.support.processes import PATIENCE, free_port

#: Bytes of an answer over UDP that need no EDNS (RFC 1035 4.2.1).
LARGEST_DATAGRAM = 512


class Kind(IntEnum):
    """The record types the stub knows; it answers others with no records."""

    A = 1
    CNAME = 5
    AAAA = 28


class Code(IntEnum):
    """Response codes (RFC 1035 4.1.1)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    REFUSED = 5


class Reply:
    """One scripted answer: addresses of both families (each query gets those of its own), and how it is given."""

    __slots__ = ("addresses", "alias", "code", "cuts_udp", "is_silent", "only", "seconds", "ttl")

    def __init__(
        self,
        *addresses: str,
        code: Code = Code.NOERROR,
        seconds: float = 0.0,
        is_silent: bool = False,
        only: Kind | None = None,
        cuts_udp: bool = False,
        alias: str | None = None,
        ttl: int = 0,
    ) -> None:
        """Describe an answer.

        `seconds` is how late it comes, `is_silent` never answers, `only` answers queries of one type, `cuts_udp` sets
        TC over UDP so that the client asks again over TCP, `alias` puts a CNAME before the addresses (they are the
        alias's), `ttl` is in seconds.
        """
        self.addresses = tuple(ipaddress.ip_address(address) for address in addresses)
        self.code = code
        self.seconds = seconds
        self.is_silent = is_silent
        self.only = only
        self.cuts_udp = cuts_udp
        self.alias = alias
        self.ttl = ttl


SERVFAIL = Reply(code=Code.SERVFAIL)
NXDOMAIN = Reply(code=Code.NXDOMAIN)
REFUSED = Reply(code=Code.REFUSED)
NO_RECORDS = Reply()
SILENCE = Reply(is_silent=True)


@dataclass(frozen=True, slots=True)
class Query:
    """One question as it came; names are in lower case and without the last dot."""

    name: str
    kind: int
    transport: str  # udp or tcp


class DnsStub:
    """Answers over UDP and TCP on one port; names without a script do not exist."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, *, default: Reply = NXDOMAIN) -> None:
        """Describe a stub; port 0 takes a free one, `default` answers for names without a script."""
        self.address = address
        self.port = port
        self.default = default
        self._scripts: dict[str, tuple[Reply, ...]] = {}
        self._asked: dict[tuple[str, int], int] = {}
        self._queries: list[Query] = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._listening = Listening("dns-stub", self._answer_stream)
        self._thread = threading.Thread(target=self._watch, name="dns-stub", daemon=True)
        self._late: list[threading.Thread] = []

    # ---- for the test

    def script(self, name: str, *replies: Reply | str) -> None:
        """Say what queries for a name get: the first reply, then the second, and the last one from then on.

        A and AAAA queries go through the script each by itself. Bare addresses make one reply together.
        """
        addresses = [reply for reply in replies if isinstance(reply, str)]
        given = [reply for reply in replies if isinstance(reply, Reply)]
        if addresses and given:
            raise ValueError("give addresses or replies, not both")
        with self._changed:
            self._scripts[_key(name)] = tuple(given) if given else (Reply(*addresses),)
            for known in [known for known in self._asked if known[0] == _key(name)]:
                del self._asked[known]

    def queries(self, name: str | None = None, kind: Kind | None = None) -> list[Query]:
        """Return the queries seen, oldest first."""
        with self._changed:
            return [
                query
                for query in self._queries
                if (name is None or query.name == _key(name)) and (kind is None or query.kind == kind)
            ]

    def wait_for_queries(self, count: int) -> None:
        """Return once there are at least `count`; raises TimeoutError after PATIENCE times five seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._queries) >= count, PATIENCE * 5.0):
                raise TimeoutError(f"{len(self._queries)} of {count} queries")

    # ---- its life

    def __enter__(self) -> DnsStub:
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # The same number for both: one that is free for datagrams may be taken for streams, and the other way round.
        for tries_left in range(20, -1, -1):
            wanted = self.port or free_port(self.address)
            try:
                self._datagrams.bind((self.address, wanted))
                break
            except OSError:
                if self.port or not tries_left:
                    self._datagrams.close()
                    raise
        self.port = self._listening.listen(self.address, wanted)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._datagrams.sendto(b"", (self.address, self.port))  # wakes the thread that waits for it
        for thread in (self._thread, *self._late):
            thread.join(PATIENCE * 10.0)
        self._listening.close()
        self._datagrams.close()

    # ---- answering

    def _watch(self) -> None:
        while True:
            question, peer = self._datagrams.recvfrom(4096)
            if self._stopping.is_set():
                return
            self._spawn(question, peer)

    def _spawn(self, question: bytes, peer: tuple[str, int]) -> None:
        # A thread each: a late answer must not hold up the next question.
        thread = threading.Thread(target=self._answer_datagram, args=(question, peer), name="dns-stub", daemon=True)
        self._late = [known for known in self._late if known.is_alive()]
        self._late.append(thread)
        thread.start()

    def _answer_datagram(self, question: bytes, peer: tuple[str, int]) -> None:
        answer = self._answer(question, "udp")
        if answer is not None:
            with contextlib.suppress(OSError):
                self._datagrams.sendto(answer, peer)

    def _answer_stream(self, wire: socket.socket) -> None:
        """Messages over TCP have their length before them (RFC 1035 4.2.2)."""
        while len(prefix := _read(wire, 2)) == 2:
            answer = self._answer(_read(wire, int.from_bytes(prefix, "big")), "tcp")
            if answer is None:
                self._stopping.wait(60.0)
                return
            wire.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, question: bytes, transport: str) -> bytes | None:
        """Return the bytes of the answer, when it is time for them; None answers nothing."""
        try:
            name, kind, asked = _read_question(question)
        except (IndexError, struct.error, UnicodeDecodeError):
            return question[:2] + struct.pack(">HHHHH", 0x8000 | Code.FORMERR, 0, 0, 0, 0)
        with self._changed:
            self._queries.append(Query(name, kind, transport))
            reply = self._next_reply(name, kind, transport)
            self._changed.notify_all()
        if reply.seconds and self._stopping.wait(reply.seconds):
            return None
        is_silent = reply.is_silent or kind != (reply.only or kind)
        return None if is_silent else _write_answer(question[:2], asked, kind, reply, transport)

    def _next_reply(self, name: str, kind: int, transport: str) -> Reply:
        script: Sequence[Reply] = self._scripts.get(name, (self.default,))
        turn = self._asked.get((name, kind), 0)
        reply = script[min(turn, len(script) - 1)]
        # A truncated answer and its repetition over TCP are one turn of the script.
        if not (transport == "udp" and reply.cuts_udp):
            self._asked[name, kind] = turn + 1
        return reply


def _key(name: str) -> str:
    return name.rstrip(".").lower()


def _read(wire: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = wire.recv(count - len(data))
        if not more:
            break
        data += more
    return data


def _read_question(message: bytes) -> tuple[str, int, bytes]:
    """Return the name, the type and the bytes of a message's first question."""
    labels, at = [], 12
    while message[at]:
        length = message[at]
        labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    kind, _class = struct.unpack_from(">HH", message, at + 1)
    return _key(".".join(labels)), kind, message[12 : at + 5]


def _write_answer(number: bytes, question: bytes, kind: int, reply: Reply, transport: str) -> bytes:
    records = _records(kind, reply)
    body = b"".join(records)
    cut = transport == "udp" and (reply.cuts_udp or 12 + len(question) + len(body) > LARGEST_DATAGRAM)
    if cut:
        records, body = [], b""
    # Response, authoritative, recursion available; TC tells to ask again over TCP.
    flags = 0x8000 | 0x0400 | 0x0100 | 0x0080 | (0x0200 if cut else 0) | reply.code
    return number + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question + body


def _records(kind: int, reply: Reply) -> list[bytes]:
    owner, records = b"\xc0\x0c", []  # a pointer to the question's name
    if reply.alias is not None:
        owner = _spell(reply.alias)
        records.append(_record(b"\xc0\x0c", Kind.CNAME, reply.ttl, owner))
    version = {int(Kind.A): 4, int(Kind.AAAA): 6}.get(kind)
    fitting = (address for address in reply.addresses if address.version == version)
    return [*records, *(_record(owner, kind, reply.ttl, address.packed) for address in fitting)]


def _record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def _spell(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in _key(name).split(".")) + b"\0"
