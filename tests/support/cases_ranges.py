"""Range requests answered rightly and wrongly: continuing after a cut, several ranges at once (RFC 9110, 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate

from tests.support.bodies import base64_digest, body_bytes, body_part
from tests.support.cases import Ending, Endings, expect, recovers, serves, with_query
from tests.support.exchange import Exchange, Header

#: Big enough that continuing is worth it to any client; below the cap.
SIZE = 2 * 1024 * 1024
#: Where a body is cut. Neither half of SIZE nor a round number.
CUT = 1_300_001

_LAST_MODIFIED = formatdate(1_700_000_000, usegmt=True)


@dataclass(frozen=True, slots=True)
class Version:
    """One state of the object at a URL."""

    size: int
    seed: int
    number: int
    tag: str  # strong, weak, date, both or none

    def part(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end, the last one not included."""
        return body_part(start, end - start, self.seed)

    @property
    def etag(self) -> str:
        """The ETag header's value; empty if it has none."""
        opaque = f'"{self.number}-{self.size}-{self.seed}"'
        return {"strong": opaque, "both": opaque, "weak": "W/" + opaque}.get(self.tag, "")

    @property
    def validators(self) -> list[Header]:
        """The headers that say which version this is."""
        dated = [("Last-Modified", _LAST_MODIFIED)] if self.tag in {"date", "both"} else []
        return [*([("ETag", self.etag)] if self.etag else []), *dated]


@serves("/object")
def _object(exchange: Exchange) -> None:
    """`size` bytes of `seed` that can be asked for in ranges.

    The first `cuts` answers break off after `cut` bytes; `halt` silences the first after so many.
    A range that reaches neither end stops after `held` bytes until the test lets go.
    `tag` is the validator: strong, weak, date, both, none.
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
        _whole(exchange, version)
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
    return condition is None or condition in {version.etag, _LAST_MODIFIED} or exchange.number("deaf") == 1


def _whole(exchange: Exchange, version: Version) -> None:
    accepts = [] if exchange.text("accept") == "silent" else [("Accept-Ranges", exchange.text("accept", "bytes"))]
    digests = _digests(exchange, version)
    if exchange.number("chunked"):
        exchange.head(200, *accepts, *version.validators, *digests, ("Transfer-Encoding", "chunked"))
        exchange.chunk(version.part(0, version.size))
        if exchange.visit > exchange.number("cuts"):
            exchange.chunk(b"")
        return
    exchange.head(200, *accepts, *version.validators, *digests, ("Content-Length", str(version.size)))
    _body(exchange, version, 0, version.size)


def _digests(exchange: Exchange, version: Version) -> list[Header]:
    """Repr-Digest speaks of the whole object, in whole and partial answers alike (RFC 9530 section 3)."""
    wanted = exchange.text("digest")
    if not wanted:
        return []
    body = version.part(0, version.size) if wanted == "right" else b"something else"
    return [("Repr-Digest", f"sha-256=:{base64_digest('sha256', body)}:")]


def _body(exchange: Exchange, version: Version, start: int, end: int) -> None:
    """Send bytes of a version, cut after `cut` of them while the visits are few; the first visit may halt for good."""
    if exchange.visit == 1 and exchange.number("halt"):
        exchange.stream(start, exchange.number("halt"), version.seed)
        exchange.hold()
    if exchange.visit <= exchange.number("cuts"):
        exchange.stream(start, min(end - start, exchange.number("cut", CUT)), version.seed)
        return
    held = min(exchange.number("held"), end - start) if start > 0 and end < version.size else 0
    if held:
        exchange.stream(start, held, version.seed)
        exchange.await_release()
    exchange.stream(start + held, end - start - held, version.seed, rate=exchange.number("rate"))
    exchange.keeps_open = True


# ---- answers to a range


def _partial(exchange: Exchange, version: Version, start: int, end: int, content_range: str, *more: Header) -> None:
    """206 with any Content-Range (empty: none) over the bytes from start to end."""
    headers = [("Content-Range", content_range)] if content_range else []
    length = ("Content-Length", str(end - start))
    exchange.head(206, *headers, *version.validators, *_digests(exchange, version), *more, length)
    _body(exchange, version, start, end)


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
    _whole(exchange, version)


def _earlier(exchange: Exchange, version: Version, start: int, end: int) -> None:
    start = max(0, start - 1000)
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _later(exchange: Exchange, version: Version, start: int, end: int) -> None:
    start = min(start + 1000, end - 1)
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _from_zero(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, 0, version.size, f"bytes 0-{version.size - 1}/{version.size}")


def _other_version(exchange: Exchange, version: Version, start: int, end: int) -> None:
    other = Version(version.size, version.seed + 1, version.number + 1, version.tag)
    _partial(exchange, other, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _other_total(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/{version.size + 5}")


def _unknown_total(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, f"bytes {start}-{end - 1}/*")


def _no_etag(exchange: Exchange, version: Version, start: int, end: int) -> None:
    bare = Version(version.size, version.seed, version.number, "none")
    _partial(exchange, bare, start, end, f"bytes {start}-{end - 1}/{version.size}")


def _no_content_range(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, "")


def _wrong_unit(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, f"lines {start}-{end - 1}/{version.size}")


def _reversed(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, f"bytes {end - 1}-{start}/{version.size}")


def _junk(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, "bytes the rest")


def _beyond(exchange: Exchange, version: Version, start: int, end: int) -> None:
    _partial(exchange, version, start, end, f"bytes {start}-{version.size + 99}/{version.size}")


def _longer(exchange: Exchange, version: Version, start: int, end: int) -> None:
    exchange.head(
        206,
        ("Content-Range", f"bytes {start}-{end - 1}/{version.size}"),
        *version.validators,
        ("Content-Length", str(end - start + 100)),
    )
    exchange.send(version.part(start, end), b"x" * 100)


def _shorter(exchange: Exchange, version: Version, start: int, end: int) -> None:
    exchange.head(
        206,
        ("Content-Range", f"bytes {start}-{end - 1}/{version.size}"),
        *version.validators,
        ("Content-Length", str(end - start - 100)),
    )
    exchange.send(version.part(start, end - 100))


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


def _unsatisfiable_bare(exchange: Exchange, version: Version, start: int, end: int) -> None:
    exchange.respond(b"", 416)


_RANGES = {
    "right": _right,
    "part-digest": _with_part_digest,
    "full": _full,
    "earlier": _earlier,
    "later": _later,
    "from-zero": _from_zero,
    "other-version": _other_version,
    "other-total": _other_total,
    "unknown-total": _unknown_total,
    "no-etag": _no_etag,
    "no-content-range": _no_content_range,
    "wrong-unit": _wrong_unit,
    "reversed": _reversed,
    "junk": _junk,
    "beyond": _beyond,
    "longer": _longer,
    "shorter": _shorter,
    "gzipped": _gzipped,
    "multipart": _multipart,
    "416": _unsatisfiable,
    "416-other": _unsatisfiable_otherwise,
    "416-lie": _unsatisfiable_at_that,
    "416-bare": _unsatisfiable_bare,
}


# ---- resuming: the first answer is cut, what comes next differs

_BODY = body_bytes(SIZE)
_SECOND = body_bytes(SIZE, 1)

#: A client that asked for a range gets nothing of use and starts over (3 requests); one that finds the partial too
#: small to continue starts over at once (2 requests). Both store the right bytes.
_STARTS_OVER = recovers("truncated", requests=2, spare=1)
_SECOND_IS_ENOUGH = recovers("truncated", requests=2)


def _expect_resume(
    name: str,
    does: str,
    endings: Endings,
    *,
    body: bytes = _BODY,
    never_sends: tuple[str, ...] = (),
    **query: str | int,
) -> None:
    target = with_query("/object", **{"cuts": 1, **query})
    expect(target, does, endings, name=f"resume-{name}", body=body, never_sends=never_sends, seconds=3.0)


_expect_resume("right", "cuts the body, then continues it", _SECOND_IS_ENOUGH)
_expect_resume(
    "reset-twice", "cuts twice, each time further on", recovers("truncated", requests=3), cuts=2, cut=700_000
)
_expect_resume("both-validators", "has an ETag and a date, and continues", _SECOND_IS_ENOUGH, tag="both")
_expect_resume("unannounced", "continues although it never announced ranges", _SECOND_IS_ENOUGH, accept="silent")
_expect_resume("full", "announces ranges, then answers 200 with everything", _SECOND_IS_ENOUGH, answers="full")
_expect_resume("no-ranges", "announces that it has no ranges", _SECOND_IS_ENOUGH, accept="none", answers="full")
_expect_resume("changed", "has a new version at the second request", _SECOND_IS_ENOUGH, body=_SECOND, changes=2)
_expect_resume(
    "changed-unasked", "has a new version and continues with that, deaf to If-Range", _STARTS_OVER,
    body=_SECOND, changes=2, deaf=1,
)  # fmt: skip
# A body may be continued on a strong validator only: these must be asked for from the start.
_expect_resume(
    "weak", "has a weak ETag only", _SECOND_IS_ENOUGH, never_sends=("range",), tag="weak", answers="other-version"
)
_expect_resume(
    "none", "has no validator", _SECOND_IS_ENOUGH, never_sends=("range",), tag="none", answers="other-version"
)
# A date is strong under conditions (RFC 9110 8.8.2.2); we would rather not, but a right answer is right.
_expect_resume("date", "has a Last-Modified only", _SECOND_IS_ENOUGH, tag="date")

for _name, _does in {
    "earlier": "continues 1,000 bytes too early",
    "later": "continues 1,000 bytes too late",
    "from-zero": "answers 206 with everything",
    "other-version": "continues with another version's bytes, and says so in the ETag",
    "other-total": "continues, but with another total in Content-Range",
    "unknown-total": "continues without saying the total",
    "no-etag": "continues without saying the version",
    "no-content-range": "answers 206 without Content-Range",
    "wrong-unit": "answers 206 in lines",
    "reversed": "answers 206 with first and last byte exchanged",
    "junk": "answers 206 with a sentence as Content-Range",
    "beyond": "answers 206 with a last byte above the total",
    "longer": "answers 206 with more bytes than Content-Range says",
    "shorter": "answers 206 with fewer bytes than Content-Range says",
    "gzipped": "answers 206 in another content encoding",
    "multipart": "answers 206 as multipart/byteranges",
    "416": "answers 416 with a total above what we have",
    "416-other": "answers 416 with a total that is not the object's",
    "416-lie": "answers 416 with exactly what we have as the total, of another version",
    "416-bare": "answers 416 without Content-Range",
}.items():
    # `deaf` keeps a client without If-Range from being saved by the server.
    _expect_resume(_name, f"cuts the body, then {_does}", _STARTS_OVER, answers=_name)
_expect_resume(
    "no-content-range-half", "answers 206 without Content-Range, with as many bytes as we have", _STARTS_OVER,
    answers="no-content-range", cut=SIZE // 2,
)  # fmt: skip
_expect_resume(
    "416-whole", "cuts a chunked body before its last chunk, then answers 416 with what we have", _SECOND_IS_ENOUGH,
    chunked=1,
)  # fmt: skip
_expect_resume(
    "gone", "cuts the body, then answers 404", Endings(Ending(("truncated",), 1), Ending(("http-4xx",), 2)), gone=2
)
_expect_resume("busy", "cuts the body, is busy once, then continues", recovers("truncated", requests=3), busy=2)
_expect_resume("digest", "continues; Repr-Digest is that of the whole", _SECOND_IS_ENOUGH, digest="right")
_expect_resume("part-digest", "continues; Content-Digest is that of the part", _SECOND_IS_ENOUGH, answers="part-digest")
# "Transient once, then failed": the digest fails at the second request and, fetched from the start, at the third.
_expect_resume(
    "digest-wrong", "continues; Repr-Digest is wrong",
    Endings(Ending(("truncated",), 1), Ending(("digest",), 2, spare=1)), digest="wrong",
)  # fmt: skip


# ---- several ranges at once

#: Meant for three attempts; how many requests are right is the client's choice.
_SPLIT = Endings(Ending((), 1, spare=60), Ending((), 1, spare=60))


def _expect_split(name: str, does: str, *, body: bytes = _BODY, **query: str | int) -> None:
    expect(with_query("/object", **query), does, _SPLIT, name=f"split-{name}", body=body, seconds=5.0, splits=True)


_expect_split("right", "answers every range")
_expect_split("capped", "answers every range at 1 MB/s per connection", rate=1_000_000)
_expect_split("full", "announces ranges, then answers 200 with everything", answers="full")
_expect_split("no-ranges", "announces no ranges", accept="none", answers="full")
_expect_split("weak", "has a weak ETag, and ranges of mixed versions", tag="weak", answers="other-version")
_expect_split("none", "has no validator, and ranges of mixed versions", tag="none", answers="other-version")
_expect_split("busy", "answers 503 to the second request", busy=2)
_expect_split("busy-for-a-second", "answers 429 to the second request, with Retry-After: 1", busy=2, wants=1)
_expect_split("cut", "cuts the first two answers after 100,000 bytes", cuts=2, cut=100_000)
_expect_split("changed-second", "has a new version from the second request on", body=_SECOND, changes=2)
_expect_split("changed-third", "has a new version from the third request on", body=_SECOND, changes=3)
_expect_split("changed-deaf", "has a new version from the third request on, deaf to If-Range",
              body=_SECOND, changes=3, deaf=1)  # fmt: skip
for _name in (
    "earlier",
    "later",
    "from-zero",
    "other-total",
    "no-content-range",
    "multipart",
    "416",
    "longer",
    "gzipped",
):
    _expect_split(_name, f"answers ranges wrongly ({_name})", answers=_name)
