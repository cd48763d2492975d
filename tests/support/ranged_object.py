"""An object that can be asked for in ranges, and every way to answer a range, right and wrong (RFC 9110, 14)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from tests.support.bodies import base64_digest
from tests.support.cases import serves
from tests.support.exchange import Exchange, Header
from tests.support.object_versions import LAST_MODIFIED, SIZE, Version, digest_headers, send_body, send_whole


@serves("/all-in-one-range")
def _all_in_one_range(exchange: Exchange) -> None:
    """206 with everything, unasked, with `more` or `fewer` bytes, chunked or until it closes; or from `start` on."""
    version = Version(SIZE, 0, 1, "strong")
    _unframed(
        exchange, version, exchange.number("start"), SIZE, chunked=bool(exchange.number("chunked")),
        more=exchange.number("more"), fewer=exchange.number("fewer"),
    )  # fmt: skip


@serves("/object")
def _object(exchange: Exchange) -> None:
    """`size` bytes of `seed` that can be asked for in ranges.

    The first `cuts` answers break off after `cut` bytes; `halt` silences the first after so many.
    A range that reaches neither end stops after `held` bytes until the test lets go.
    `tag` is the validator: strong, latin-1 (strong, not all ASCII), weak, date, both, none.
    From visit `changes` on there is a new version (seed + 1). A range is answered as `answers` says, see _RANGES.
    `rate` is bytes per second and connection; `accept=none` announces no ranges, `chunked` frames whole answers in
    chunks, `busy` answers 503 at that visit, or 429 with `wants` as its Retry-After; `gone` 404 from that visit on.
    """
    changes = exchange.number("changes")
    number = 2 if changes and exchange.visit >= changes else 1
    size, seed = exchange.number("size", SIZE), exchange.number("seed") + number - 1
    version = Version(size, seed, number, exchange.text("tag", "strong"))
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.seen.header("range") or "")
    if exchange.number("busy") == exchange.visit:
        _refuse(exchange)
    elif 0 < exchange.number("gone") <= exchange.visit:
        exchange.respond(b"", 404)
    elif asked is None or not _may_continue(exchange, version):
        send_whole(exchange, version)
    else:
        start, end = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
        _RANGES[exchange.text("answers", "right")](exchange, version, start, end)


def _refuse(exchange: Exchange) -> None:
    wants = exchange.text("wants")
    if wants:
        exchange.respond(b"", 429, ("Retry-After", wants))
    else:
        exchange.respond(b"", 503)


def _may_continue(exchange: Exchange, version: Version) -> bool:
    """Whether If-Range (RFC 9110 13.1.5) lets the range be sent."""
    condition = exchange.seen.header("if-range")
    return condition is None or condition in {version.etag, LAST_MODIFIED} or exchange.number("deaf") == 1


# ---- answers to a range


def _partial(exchange: Exchange, version: Version, start: int, end: int, content_range: str, *more: Header) -> None:
    """206 with any Content-Range (empty: none) over the bytes from start to end."""
    headers = [("Content-Range", content_range)] if content_range else []
    length = ("Content-Length", str(end - start))
    exchange.head(206, *headers, *version.validators, *digest_headers(exchange, version), *more, length)
    send_body(exchange, version, start, end)


def _right(exchange: Exchange, version: Version, start: int, end: int) -> None:
    if start >= version.size:
        _unsatisfiable(exchange, version, start, end)
    else:
        _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _with_part_digest(exchange: Exchange, version: Version, start: int, end: int) -> None:
    # Content-Digest speaks of what this message carries, here a part (RFC 9530 section 2).
    digest = f"sha-256=:{base64_digest('sha256', version.part(start, end))}:"
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size}", ("Content-Digest", digest))


def _full(exchange: Exchange, version: Version, start: int, end: int) -> None:
    send_whole(exchange, version)


def _moved(exchange: Exchange, version: Version, start: int, end: int, *, by: int) -> None:
    start = min(max(0, start + by), end - 1)
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _from_zero(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, 0, version.size, f"bytes 0-{version.size - 1}/{version.size}")


def _other_version(exchange: Exchange, version: Version, start: int, end: int) -> None:
    other = Version(version.size, version.seed + 1, version.number + 1, version.tag)
    _partial(exchange, other, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _saying(exchange: Exchange, version: Version, start: int, end: int, *, content_range: str) -> None:
    """The right bytes under any Content-Range."""
    numbers = {"start": start, "last": end - 1, "size": version.size, "more": version.size + 5}
    _partial(exchange, version, start, end, content_range.format(**numbers))


def _no_etag(exchange: Exchange, version: Version, start: int, end: int) -> None:
    bare = Version(version.size, version.seed, version.number, "none")
    _partial(exchange, bare, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _misframed(exchange: Exchange, version: Version, start: int, end: int, *, more: int) -> None:
    """As many bytes ``more`` than Content-Range says, or fewer, as Content-Length says."""
    said, length = f"bytes {start}-{end - 1}/{version.size}", str(end - start + more)
    exchange.head(206, ("Content-Range", said), *version.validators, ("Content-Length", length))
    exchange.send(version.part(start, min(end, end + more)), b"x" * more)


def _unframed(
    exchange: Exchange, version: Version, start: int, end: int, *, chunked: bool, more: int = 0, fewer: int = 0
) -> None:
    """A right Content-Range without Content-Length over its bytes, with ``more`` or ``fewer`` of them."""
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
    exchange.head(206, ("Content-Range", f"bytes {start}-{end - 1}/{version.size}"), *version.validators, framing)
    body = version.part(start, end - fewer) + b"x" * more
    if chunked:
        exchange.chunk(body)
        exchange.chunk(b"")
    else:
        exchange.send(body)


def _gzipped(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size}", ("Content-Encoding", "gzip"))


def _multipart(exchange: Exchange, version: Version, start: int, end: int) -> None:
    part = (
        f"--EDGE\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Range: bytes {start}-{end - 1}/{version.size}\r\n\r\n"
    ).encode() + version.part(start, end)
    body = part + b"\r\n--EDGE--\r\n"
    exchange.respond(body, 206, ("Content-Type", "multipart/byteranges; boundary=EDGE"), *version.validators)


def _unsatisfiable(exchange: Exchange, version: Version, start: int, end: int) -> None:
    exchange.respond(b"", 416, ("Content-Range", f"bytes */{version.size}"), *version.validators)


def _unsatisfiable_otherwise(exchange: Exchange, version: Version, start: int, end: int) -> None:
    exchange.respond(b"", 416, ("Content-Range", f"bytes */{version.size + 5}"), *version.validators)


def _unsatisfiable_at_that(exchange: Exchange, version: Version, start: int, end: int) -> None:
    # The total it names is what the client has, although the object is longer: a lie that must not be published.
    exchange.respond(b"", 416, ("Content-Range", f"bytes */{start}"), ("ETag", '"another"'))


_RANGES: dict[str, Callable[[Exchange, Version, int, int], None]] = {
    "right": _right,
    "part-digest": _with_part_digest,
    "full": _full,
    "earlier": partial(_moved, by=-1000),
    "later": partial(_moved, by=1000),
    "from-zero": _from_zero,
    "other-version": _other_version,
    "other-total": partial(_saying, content_range="bytes {start}-{last}/{more}"),
    "unknown-total": partial(_saying, content_range="bytes {start}-{last}/*"),
    "no-etag": _no_etag,
    "no-content-range": partial(_saying, content_range=""),
    "wrong-unit": partial(_saying, content_range="lines {start}-{last}/{size}"),
    "reversed": partial(_saying, content_range="bytes {last}-{start}/{size}"),
    "junk": partial(_saying, content_range="bytes the rest"),
    "beyond": partial(_saying, content_range="bytes {start}-{more}/{size}"),
    "longer": partial(_misframed, more=100),
    "shorter": partial(_misframed, more=-100),
    "right-chunked": partial(_unframed, chunked=True),
    "longer-chunked": partial(_unframed, chunked=True, more=100),
    "shorter-chunked": partial(_unframed, chunked=True, fewer=100),
    "right-closed": partial(_unframed, chunked=False),
    "longer-closed": partial(_unframed, chunked=False, more=100),
    "shorter-closed": partial(_unframed, chunked=False, fewer=100),
    "gzipped": _gzipped,
    "multipart": _multipart,
    "416": _unsatisfiable,
    "416-other": _unsatisfiable_otherwise,
    "416-lie": _unsatisfiable_at_that,
    "416-bare": lambda exchange, *_: exchange.respond(b"", 416),
}
