"""The header block is read as received, whatever it contains."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.http.headers import Head, _known_fields, read_head, values_of

_NAMES = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20)
_VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f\x85\xa0"), max_size=40)


def _lines(text: str) -> list[bytes]:
    return [line.encode("latin-1") for line in text.splitlines(keepends=True)]


def _head(lines: str | list[bytes]) -> Head:
    head = read_head(_lines(lines) if isinstance(lines, str) else lines)
    assert head is not None
    return head


def test_the_final_block_counts() -> None:
    head = _head('HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nETag: "a"\r\n\r\n')

    assert (head.status, head.version, head.fields) == (200, "1.1", {"etag": '"a"'})


def test_trailers_change_nothing() -> None:
    assert _head('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nETag: "late"\r\n\r\n').get("etag") is None


def test_an_incomplete_block_does_not_count() -> None:
    """Guards the success predicate's point (b): libcurl reports success for a header block that was cut short."""
    assert read_head(_lines("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")) is None
    assert read_head([]) is None


def test_switching_protocols_ends_http() -> None:
    assert _head("HTTP/1.1 101 Switching\r\n\r\n").status == 101


def test_folded_and_repeated_fields_are_joined() -> None:
    head = _head("HTTP/1.1 200 OK\r\nX: a\r\n  b\r\nY: 1\r\ny: 2\r\nNo colon\r\n\r\n")

    assert head.fields == {"x": "a b", "y": "1, 2"}


def test_the_same_length_twice_is_one_length() -> None:
    for text, length in [("5", 5), ("5, 5", 5), ("5, 6", None), ("-5", None), ("+5", None), ("5x", None), ("", None),
                         ("0", 0), ("9" * 19, None), ("\u0665", None)]:  # fmt: skip
        assert _head([b"HTTP/1.1 200 OK\r\n", f"Content-Length: {text}\r\n".encode(), b"\r\n"]).length == length, text


def test_framed_bodies_differ_from_those_ended_by_closing() -> None:
    for text, framing in {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n": None,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n": None,
        "HTTP/1.0 200 OK\r\nServer: x\r\n\r\n": "close",
        "HTTP/2 200 \r\ncontent-length: 5\r\n\r\n": None,
        "HTTP/2 200 \r\n\r\n": "h2",
        "HTTP/3 200\r\n\r\n": "h3",
    }.items():
        assert _head(text).framing == framing, text


def test_the_values_of_a_repeated_field_can_be_read_separately() -> None:
    """Guards that fields of interim responses or trailers are not among them, nor those with a longer name."""
    block = (
        "HTTP/1.1 103 Early Hints\r\nSet-Cookie: early=1\r\n\r\n"
        "HTTP/1.1 302 Found\r\nSET-COOKIE: a=1, b\xa0\r\nSet-Cookie2: no=1\r\n"
        "set-cookie:\tc=3 \r\n\r\nSet-Cookie: late=1\r\n"
    )

    assert values_of("set-cookie", _lines(block)) == ["a=1, b\xa0", "c=3"]


def test_chunked_framing_overrules_a_length() -> None:
    assert _head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n").length is None


def test_long_lines_are_not_cached() -> None:
    """Guards ``_LONGEST_REMEMBERED``: a server that keeps sending new long lines must not fill our memory."""
    _known_fields.clear()

    head = _head([b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 5000 + b"\r\n", b"ETag: y\r\n", b"\r\n"])

    assert head.get("etag") == "y"
    assert set(_known_fields) == {b"ETag: y\r\n"}


def test_blocks_may_end_in_a_bare_line_feed() -> None:
    head = _head([b"HTTP/1.1 100 Go on\n", b"\n", b"HTTP/1.1 200 OK\n", b"ETag: y\n", b"\n", b"Late: z\n"])

    assert head.fields == {"etag": "y"}


@given(st.dictionaries(_NAMES.map(str.lower), _VALUES, max_size=8))
def test_written_headers_are_read_back(fields: dict[str, str]) -> None:
    block = [b"HTTP/1.1 200 OK\r\n", *(f"{name}: {value}\r\n".encode("latin-1") for name, value in fields.items())]

    assert _head([*block, b"\r\n"]).fields == fields
