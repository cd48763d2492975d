"""Resuming a body: which version of it can be resumed, and which response continues it exactly.

Source: RFC 9110 sections 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range), 8.8.3 (strong validators).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from worker.engine.http.headers import Head
from worker.engine.ports import Draft

SMALLEST_PART = 64 * 1024  # bytes; less is quicker fetched again than resumed
SMALLEST_KEPT = 1024 * 1024  # bytes; shorter bodies are not kept for a later run

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})", re.IGNORECASE)
_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a body: its strong ETag, its coding, and its length in bytes (None: unknown)."""

    etag: str
    encoding: str | None
    total: int | None


@dataclass(slots=True)
class Part:
    """The first ``size`` bytes of a version, on disk; ``head`` is their response, if this run received it."""

    draft: Draft
    size: int
    version: Version
    head: Head | None


def to_record(version: Version) -> str:
    """Encode a version, to be kept with its part."""
    return json.dumps([version.etag, version.encoding, version.total])


def from_record(text: str) -> Version | None:
    """Decode what ``to_record`` returned; None if it is anything else."""
    try:
        etag, encoding, total = json.loads(text)
    except (ValueError, TypeError):
        return None
    is_right = isinstance(etag, str) and isinstance(encoding, str | None) and isinstance(total, int | None)
    return Version(etag, encoding, total) if is_right and _STRONG.fullmatch(etag) else None


def version_of(head: Head) -> Version | None:
    """Return the version of a complete response; None: it has no strong validator, or rules ranges out."""
    etag = head.fields.get("etag", "")
    if head.status != 200 or not _STRONG.fullmatch(etag) or head.fields.get("accept-ranges", "").lower() == "none":
        return None
    return Version(etag, head.fields.get("content-encoding"), head.length)


def offers_ranges(head: Head) -> bool:
    """Does the response announce support for ranges?"""
    return head.fields.get("accept-ranges", "").lower() == "bytes"


def range_fields(version: Version, start: int, end: int | None = None) -> tuple[str, str]:
    """Return the header lines that request the bytes from ``start`` up to, not including, ``end`` (None: the rest)."""
    last = "" if end is None else str(end - 1)
    return f"Range: bytes={start}-{last}", f"If-Range: {version.etag}"


class Span(NamedTuple):
    """The bytes that a partial response declares: from ``start`` up to, not including, ``end``, of ``total``."""

    start: int
    end: int
    total: int

    @property
    def is_all(self) -> bool:
        return self.end - self.start == self.total


def span_of(head: Head) -> Span | None:
    """Return the span that a 206 declares, whatever its framing; None: it is not a single range of known size.

    None also if its Content-Length differs.
    """
    match = _CONTENT_RANGE.fullmatch(head.fields.get("content-range", "").strip()) if head.status == 206 else None
    if match is None or head.fields.get("content-type", "").lower().startswith("multipart/byteranges"):
        return None
    start, end, total = int(match[1]), int(match[2]) + 1, int(match[3])
    is_right = start < end <= total and head.length in (None, end - start)
    return Span(start, end, total) if is_right else None


def continues(head: Head, version: Version, start: int, end: int | None = None) -> bool:
    """Does the response carry exactly the requested bytes of exactly this version?

    ``end`` None: to the end of the body.
    """
    span = span_of(head)
    return (
        span is not None
        and span == (start, span.total if end is None else end, span.total)
        and version.total in (None, span.total)
        and head.fields.get("etag") == version.etag
        and head.fields.get("content-encoding") == version.encoding
    )


def is_whole_already(head: Head, part: Part) -> bool:
    """Does a 416 say that the part is already complete, in the same version?"""
    match = _UNSATISFIED.fullmatch(head.fields.get("content-range", "").strip())
    return (
        head.status == 416
        and match is not None
        and int(match[1]) == part.size
        and part.version.total in (None, part.size)
        and head.fields.get("etag") == part.version.etag
    )
