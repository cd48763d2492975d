"""Parses the header block of a response from its raw lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

_STATUS = re.compile(rb"HTTP/([0-9](?:\.[0-9])?) ([0-9]{3})(?:[ \r\n]|$)")
_END = b"\r\n"
_OTHER_ENDS = frozenset({b"\n", b""})
_BLANKS = ("", " ", "\t", "\r")
_NO_FIELD = " "  # a pseudo name; no field can have it
_LONGEST_LENGTH = 18  # digits; longer values are not lengths
_MOST_REMEMBERED = 1024  # lines
_LONGEST_REMEMBERED = 512  # bytes of a line: limits what a server can make us store
V = TypeVar("V")


class Head(Struct, frozen=True, gc=False):
    """The final response's status and fields.

    Field names are lower-case; values are text (Latin-1); a field sent several times is joined by ``, ``
    (RFC 9110 section 5.3). ``version`` is ``"1.1"``, ``"2"`` and so on. ``length`` is Content-Length in
    bytes; None if it is missing, invalid or overridden by chunked framing.
    """

    status: int
    version: str
    fields: dict[str, str]
    is_chunked: bool
    length: int | None

    @classmethod
    def of(cls, status: int, version: str, fields: dict[str, str]) -> Head:
        """Derive the framing from the fields."""
        is_chunked = "transfer-encoding" in fields and "chunked" in fields["transfer-encoding"].lower()
        return cls(status, version, fields, is_chunked, None if is_chunked else _length(fields.get("content-length")))

    def get(self, name: str) -> str | None:
        return self.fields.get(name)

    @property
    def framing(self) -> str | None:
        """Return the only event that marks the end of the body; None: a length or chunks do.

        ``"close"`` is the end of the connection, ``"h2"`` and ``"h3"`` the end of the stream (RFC 9113 section 8.1).
        """
        if self.length is not None or self.is_chunked:
            return None
        return "close" if self.version in ("1.0", "1.1") else f"h{self.version}"


def read_head(lines: Sequence[bytes]) -> Head | None:
    """Parse the lines of all header blocks of one exchange; None if the final block is incomplete.

    Interim responses (1xx, RFC 9110 section 15.2) are skipped, except 101, which ends HTTP. Lines after the final
    block are trailers and are ignored. Never raises.
    """
    head = _read_plain(lines) or _read(lines)
    if head is not None or _OTHER_ENDS.isdisjoint(lines):
        return head
    return _read([_END if line in _OTHER_ENDS else line for line in lines])


def _read_plain(lines: Sequence[bytes]) -> Head | None:
    """Parse a single block of different fields, as almost every one is; None: it is another one, or incomplete."""
    if not lines or lines[-1] != _END:
        return None
    first = _first_lines[lines[0]]
    if first is None or not first[2]:
        return None
    block = lines[1:-1]
    fields = dict(map(_field_of, block))
    if len(fields) != len(block) or _NO_FIELD in fields:
        return None
    return Head.of(first[0], first[1], fields)


def _read(lines: Sequence[bytes]) -> Head | None:
    """Parse as ``read_head`` does, if CRLF ends all blocks; None also if the final block ends otherwise."""
    start = 0
    while True:
        try:
            end = lines.index(_END, start)
        except ValueError:
            return None
        first = _first_lines[lines[start]]
        if first is None:
            return None
        status, version, is_final = first
        if is_final:
            break
        start = end + 1
    block = lines[start + 1 : end]
    return Head.of(status, version, _joined(block)) if _OTHER_ENDS.isdisjoint(block) else None


def values_of(name: str, lines: Iterable[bytes]) -> list[str]:
    """Return each value of a field (lower-case ``name``) of the final header block; some fields cannot be joined."""
    found: list[str] = []
    is_open = False
    for line in lines:
        if line.startswith(b"HTTP/"):
            found, is_open = [], True
        elif line in _OTHER_ENDS or line == _END:
            is_open = False  # trailers follow
        elif is_open and line[: len(name) + 1].lower() == f"{name}:".encode():
            found.append(line[len(name) + 1 :].decode("latin-1").strip(" \t\r\n"))
    return found


def _first_line(line: bytes) -> tuple[int, str, bool] | None:
    """Return status, version, and whether the block is the final one; None: it is no such line."""
    match = _STATUS.match(line)
    if match is None:
        return None
    status = int(match[2])
    return status, match[1].decode(), status >= 200 or status == 101


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isdecimal() and len(text) <= _LONGEST_LENGTH:  # Latin-1 has no other decimal digits than ASCII
        return int(text)
    # The same length several times is one length (RFC 9110 section 8.6).
    several = {part.strip() for part in text.split(",")}
    return _length(several.pop()) if "," in text and len(several) == 1 else None


def _field(line: bytes) -> tuple[str, str]:
    """Return name and value; ``_NO_FIELD`` has what continues the field before (RFC 9112 section 5.2), if anything."""
    name, colon, value = line.decode("latin-1").partition(":")
    if name[:1] in _BLANKS:
        return _NO_FIELD, f"{name}{colon}{value}".strip()
    return (name.rstrip(" \t").lower(), value.strip()) if colon else (_NO_FIELD, "")


def _joined(lines: Sequence[bytes]) -> dict[str, str]:
    """Return the fields of a block with folded lines or repeated fields."""
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        name, value = _field_of(line)
        if name != _NO_FIELD:
            last = name
            fields[last] = f"{fields[last]}, {value}" if last in fields else value
        elif last and value:
            fields[last] = f"{fields[last]} {value}"
    return fields


class _Remembered(dict[bytes, V]):
    """Lines as ``parse`` reads them; servers repeat most of theirs. Shared by the lanes of a process."""

    def __init__(self, parse: Callable[[bytes], V]) -> None:
        self._parse = parse

    def __missing__(self, line: bytes) -> V:
        found = self._parse(line)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[line] = found
        return found


_first_lines, _known_fields = _Remembered(_first_line), _Remembered(_field)
_field_of = _known_fields.__getitem__
