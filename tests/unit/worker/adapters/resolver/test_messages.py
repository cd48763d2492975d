"""What is accepted from a name server's answer, and what is not."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from worker.adapters.resolver.messages import Code, Kind, Reply, message, question, read

NAME = "www.example.test"
FOUR, SIX = "93.184.216.34", "2606:2800:220:1::1"


def _spelled(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(owner: bytes, kind: int, data: bytes, *, ttl: int = 60, of: int = 1, length: int | None = None) -> bytes:
    return owner + struct.pack(">HHIH", kind, of, ttl, len(data) if length is None else length) + data


def _answer(*records: bytes, kind: Kind = Kind.A, flags: int = 0x8180, name: str = NAME, questions: int = 1) -> bytes:
    asked = _spelled(name) + struct.pack(">HH", kind, 1)
    return struct.pack(">HHHHHH", 77, flags, questions, len(records), 0, 0) + asked * questions + b"".join(records)


_ASKED = b"\xc0\x0c"  # a pointer to the name that was asked for
_A = _record(_ASKED, 1, socket.inet_aton(FOUR))


def _read(data: bytes) -> Reply:
    reply = read(data)
    assert reply is not None
    return reply


def test_a_query_is_lower_case_and_recognised_in_any_case() -> None:
    asked = question("WWW.Example.test", Kind.A)
    assert asked is not None

    assert message(77, asked) == struct.pack(">HHHHHH", 77, 0x0100, 1, 0, 0, 0) + _spelled(NAME) + b"\0\1\0\1"
    assert _read(_answer(_A, name="wWw.eXample.TEST")).asked == asked


@pytest.mark.parametrize("name", ["a..b", ".a", f"{'l' * 64}.test", ".".join(["l" * 63] * 4)])
def test_names_that_dns_cannot_encode_are_not_queried(name: str) -> None:
    assert question(name, Kind.A) is None


@pytest.mark.parametrize(
    ("kind", "address", "packed"),
    [(Kind.A, FOUR, socket.inet_aton(FOUR)), (Kind.AAAA, SIX, socket.inet_pton(socket.AF_INET6, SIX))],
)
def test_only_addresses_of_the_name_are_accepted(kind: Kind, address: str, packed: bytes) -> None:
    reply = _read(_answer(_record(_ASKED, kind, packed), _record(_ASKED, kind, packed), kind=kind))

    assert reply == Reply(77, question(NAME, kind) or b"", Code.NOERROR, False, (address,), 60)


def test_aliases_are_followed_in_any_order() -> None:
    chain = [
        _record(_spelled("c.test"), 1, socket.inet_aton(FOUR), ttl=300),
        _record(_spelled("b.test"), 5, _spelled("c.test"), ttl=20),
        _record(_ASKED, 5, _spelled("B.test"), ttl=100),
    ]

    for order in (chain, chain[::-1]):
        reply = _read(_answer(*order))
        assert (reply.addresses, reply.ttl) == ((FOUR,), 20)


def test_records_of_other_names_are_ignored() -> None:
    """Guards the check of the owner's name: an answer may contain records of any name."""
    assert _read(_answer(_record(_spelled("other.test"), 1, socket.inet_aton(FOUR)))).addresses == ()
    assert _read(_answer(_record(_ASKED, 1, socket.inet_aton(FOUR), of=3))).addresses == ()
    assert _read(_answer(_record(_ASKED, 16, b"\3txt"))).addresses == ()


def test_circular_aliases_have_no_address() -> None:
    circle = [_record(_ASKED, 5, _spelled("b.test")), _record(_spelled("b.test"), 5, _spelled(NAME))]

    assert _read(_answer(*circle)).addresses == ()


@pytest.mark.parametrize("code", list(Code))
def test_codes_are_read(code: Code) -> None:
    assert _read(_answer(flags=0x8180 | code)).code == code


def test_a_truncated_answer_yields_only_that() -> None:
    reply = _read(_answer(_A, flags=0x8380)[:-3])

    assert (reply.is_cut, reply.addresses) == (True, ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\x4d\x81\x83",
        _answer(_A, flags=0x0100),  # a question
        _answer(_A, flags=0x9180),  # another kind of transaction
        _answer(_A, questions=2),
        _answer(_A, questions=0),
        _answer(_record(b"\xc0\xff", 1, socket.inet_aton(FOUR))),  # a pointer beyond the end
        _answer(_record(b"\xc0\x1e", 1, socket.inet_aton(FOUR))),  # into the middle of things
        _answer(_record(_ASKED, 1, b"\x5d\xb8\xd8")),  # three bytes of address
        _answer(_record(_ASKED, 1, socket.inet_aton(FOUR), length=400)),
        _answer(_record(_ASKED, 1, socket.inet_aton(FOUR)))[:-1],
        _answer(_record(b"\xc0" + bytes([12 + len(_spelled(NAME)) + 4]), 1, socket.inet_aton(FOUR))),  # to itself
        _answer(_record(b"\x80\0", 1, socket.inet_aton(FOUR))),  # a label of a kind that never was
    ],
)
def test_a_malformed_message_is_no_answer(data: bytes) -> None:
    reply = read(data)

    assert (reply.addresses if reply else ()) == ()


def test_no_bytes_raise_an_error() -> None:
    """Every change of a byte and every truncation of a whole answer, and seeded noise."""
    whole = _answer(_record(_ASKED, 5, _spelled("b.test")), _record(_spelled("b.test"), 1, socket.inet_aton(FOUR)), _A)
    noise = random.Random(2026)

    for at in range(len(whole)):
        read(whole[:at])
        for byte in (0, 0xC0, 0xFF, noise.randrange(256)):
            read(whole[:at] + bytes([byte]) + whole[at + 1 :])
    for _ in range(5_000):
        read(whole[:2] + noise.randbytes(noise.randrange(80)))
