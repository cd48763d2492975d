"""The header block of a response, read from the raw lines as they came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/([0-9](?:\.[0-9])?) ([0-9]{3})(?:[ \r\n]|$)")
_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Head:
    """The final response's status and fields.

    Field names are lower-case; values are text (Latin-1, as the bytes came); a field sent several times is joined
    by ``, `` (RFC 9110 section 5.3). ``version`` is ``"1.1"``, ``"2"`` and so on.
    """

    status: int
    version: str
    fields: dict[str, str]

    def get(self, name: str) -> str | None:
        return self.fields.get(name)

    @property
    def length(self) -> int | None:
        """Content-Length in bytes; None where absent, meaningless or overruled by chunked framing."""
        if self.is_chunked:
            return None
        text = self.fields.get("content-length", "")
        if "," in text:  # the same length several times is one length (RFC 9110 section 8.6)
            several = {part.strip() for part in text.split(",")}
            text = several.pop() if len(several) == 1 else ""
        return int(text) if _DIGITS.fullmatch(text) else None

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def is_framed(self) -> bool:
        """Does anything but the end of the connection say where the body ends?"""
        return self.version not in ("1.0", "1.1") or self.is_chunked or self.length is not None


def read_head(lines: Sequence[bytes]) -> Head | None:
    """Read the lines of all header blocks of one exchange; None if the final block did not end.

    Interim responses (1xx, RFC 9110 section 15.2) are skipped, except 101, which ends HTTP. Lines after the final
    block are trailers and are ignored. Never raises.
    """
    start = 0
    for index, line in enumerate(lines):
        if line not in (b"\r\n", b"\n", b""):
            continue
        match = _STATUS.match(lines[start]) if index > start else None
        if match is None:
            return None
        status = int(match[2])
        if status >= 200 or status == 101:
            return Head(status, match[1].decode(), _fields(lines[start + 1 : index]))
        start = index + 1
    return None


def _fields(lines: Sequence[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        text = line.decode("latin-1")
        if text[:1] in (" ", "\t"):  # obsolete folding (RFC 9112 section 5.2)
            if last:
                fields[last] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        if not colon:
            continue
        last = name.strip().lower()
        value = value.strip()
        fields[last] = f"{fields[last]}, {value}" if last in fields else value
    return fields
