"""Recognises files that are not lists by their start: compressed, binary, wrongly encoded, or only refused lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from contract.errors import InputError
from contract.urls.lines import Refusal, intake

_HEAD = 4096  # bytes at the start of a list that are inspected
_TRIED = 1_000  # lines
_MOST_CONTROLS = 0.05  # largest share of the bytes of a text
_UNPACK = "is compressed with {0}; unpack it first: `{1} LIST | trawl run - -o OUT`."
_CONVERT = "is {0}; convert it first: iconv -f {0} -t UTF-8 LIST."
_EXPORT = "is {0}; write the column of its URLs into a text file first, one URL per line."

# The first bytes of each kind of file: RFC 1952, RFC 8878, xz-file-format.txt, and the formats' own documents.
_MAGIC = {
    b"\x1f\x8b": _UNPACK.format("gzip", "zcat"),
    b"\x28\xb5\x2f\xfd": _UNPACK.format("Zstandard", "zstdcat"),
    b"\xfd7zXZ\0": _UNPACK.format("xz", "xzcat"),
    b"BZh": _UNPACK.format("bzip2", "bzcat"),
    b"\x04\x22\x4d\x18": _UNPACK.format("LZ4", "lz4cat"),
    b"PK\x03\x04": _UNPACK.format("zip", "unzip -p"),
    b"PAR1": _EXPORT.format("Parquet"),
    b"ARROW1": _EXPORT.format("Arrow"),
    b"SQLite format 3\0": _EXPORT.format("a SQLite database"),
    b"\xff\xfe\0\0": _CONVERT.format("UTF-32"),
    b"\0\0\xfe\xff": _CONVERT.format("UTF-32"),
    b"\xff\xfe": _CONVERT.format("UTF-16"),
    b"\xfe\xff": _CONVERT.format("UTF-16"),
}
_UTF16 = {"LE": re.compile(rb"(?:[^\0]\0){4}"), "BE": re.compile(rb"(?:\0[^\0]){4}")}
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"


class Ahead(Protocol):
    """Lists whose first lines can be inspected before they are read."""

    def peek(self, lines: int) -> Sequence[bytes]:
        """Return the first lines of the first list, as far as they are available."""
        ...

    @property
    def is_seen_whole(self) -> bool:
        """Did ``peek`` return all there is?"""
        ...

    @property
    def shown(self) -> str:
        """The display name of the current list."""
        ...


def fault_of_head(head: bytes) -> str | None:
    """Say what a list is, judging by its first bytes (``is compressed with gzip; ...``); None if it may be text."""
    head = head[:_HEAD]
    for magic, said in _MAGIC.items():
        if head.startswith(magic):
            return said
    for order, pattern in _UTF16.items():
        if pattern.match(head):
            return _CONVERT.format(f"UTF-16{order}")
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if not head.startswith(b"http") and controls > _MOST_CONTROLS * len(head):
        return "is not text; name a file with one URL per line."
    return None


def check_has_urls(lists: Ahead) -> None:
    """Reject an empty list, and one without a URL in its first 1,000 lines, before anything is started.

    Raises:
        InputError: there is no line, or all are refused; the sentence says why the first one was.
    """
    read = [intake(raw, line=number) for number, raw in enumerate(lists.peek(_TRIED), start=1)]
    asked = [each for each in read if each is not None]
    refused = [each for each in asked if isinstance(each, Refusal)]
    if lists.is_seen_whole and not asked:
        raise InputError(f"{lists.shown} holds no URLs: put one per line.")
    if len(read) < _TRIED or len(refused) < len(asked) or not refused:
        return
    first = refused[0]
    raise InputError(
        f"{lists.shown} has no URL in its first {_TRIED:,} lines, and nothing was started:"
        f" line {first.line}: {first.reason}"
    )
