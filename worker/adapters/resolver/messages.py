"""DNS messages (RFC 1035): the question for a name's addresses, and the addresses in an answer.

Only what a stub resolver needs, and strict: an unusual message does not count as an answer; the system is asked then.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """The record types that are requested."""

    A = 1
    AAAA = 28


class Code(IntEnum):
    """The response codes that are handled (RFC 1035 section 4.1.1)."""

    NOERROR = 0  #: the name exists, but may have no such record
    SERVFAIL = 2  #: the name server failed to resolve it
    NXDOMAIN = 3  #: the name does not exist


class Reply(NamedTuple):
    """A name server's answer: to which question, and with which result. ``ttl`` is in seconds."""

    number: int
    asked: bytes  # the question section, in lower case
    code: int
    is_cut: bool  # truncated: the rest must be fetched over TCP
    addresses: tuple[str, ...]
    ttl: int


_CNAME = 5
_INTERNET = 1
_LONGEST_NAME = 255  # bytes on the wire
_MOST_ALIASES = 16
_RECURSION_DESIRED = 0x0100
_RESPONSE, _OPCODE, _TRUNCATED, _CODE = 0x8000, 0x7800, 0x0200, 0x000F
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_FAMILIES = {Kind.A: (socket.AF_INET, 4), Kind.AAAA: (socket.AF_INET6, 16)}


def question(name: str, kind: Kind) -> bytes | None:
    """Return the question section for a name's addresses; None: DNS cannot encode the name."""
    labels = name.encode("ascii", "replace").lower().split(b".")
    if not all(0 < len(label) < 64 for label in labels) or len(name) > _LONGEST_NAME - 2:
        return None
    return b"".join(bytes([len(label)]) + label for label in labels) + struct.pack(">xHH", kind, _INTERNET)


def message(number: int, asked: bytes) -> bytes:
    """Return the message with a question section."""
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + asked


def read(data: bytes) -> Reply | None:
    """Parse a datagram from a name server; None: it is not a complete, well-formed answer to one question."""
    try:
        number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
        if not flags & _RESPONSE or flags & _OPCODE or questions != 1:
            return None
        name, at = _name(data, 12)
        kind, of = struct.unpack_from(">HH", data, at)
        asked = data[12 : at + 4].lower()
        if kind not in _FAMILIES or of != _INTERNET:
            return None
        is_cut = bool(flags & _TRUNCATED)
        addresses, ttl = ((), 0) if is_cut else _addresses(data, at + 4, answers, name, Kind(kind))
    except (IndexError, ValueError, struct.error):
        return None
    return Reply(number, asked, flags & _CODE, is_cut, addresses, ttl)


def _addresses(data: bytes, at: int, count: int, name: bytes, kind: Kind) -> tuple[tuple[str, ...], int]:
    """Return the addresses of a name after following its aliases, and their time to live in seconds."""
    aliases: dict[bytes, tuple[bytes, int]] = {}
    found: dict[bytes, list[tuple[str, int]]] = {}
    family, size = _FAMILIES[kind]
    for _ in range(count):
        owner, at = _name(data, at)
        record, of, ttl, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        body = data[at : at + length]
        if len(body) != length:
            raise ValueError("a record that ends beyond its message")
        if of == _INTERNET and record == kind:
            if length != size:
                raise ValueError("an address of another size")
            found.setdefault(owner, []).append((socket.inet_ntop(family, body), ttl))
        elif of == _INTERNET and record == _CNAME:
            aliases[owner] = _name(data, at)[0], ttl
        at += length
    longest = 0x7FFFFFFF
    for _ in range(_MOST_ALIASES):
        if name in found or name not in aliases:
            break
        name, ttl = aliases[name]
        longest = min(longest, ttl)
    own = found.get(name, [])
    return tuple(dict.fromkeys(address for address, _ in own)), min([longest, *(ttl for _, ttl in own)])


def _name(data: bytes, at: int) -> tuple[bytes, int]:
    """Parse a name, which may end in a pointer to an earlier one; return it in lower case, and the offset after it."""
    labels: list[bytes] = []
    end = size = 0
    for _ in range(_LONGEST_NAME):
        length = data[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            continue
        label = data[at : at + 1 + length]
        size += len(label)
        if length > 63 or len(label) != 1 + length or size > _LONGEST_NAME:
            break
        at += 1 + length
        if not length:
            return b"".join(labels).lower(), end or at
        labels.append(label)
    raise ValueError("a name that does not end")
