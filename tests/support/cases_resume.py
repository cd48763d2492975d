"""Bodies that are cut short and resumed: the server continues them, correctly or not."""

from __future__ import annotations

from tests.support.bodies import body_bytes
from tests.support.cases import Ending, Endings, expect, ok, permanent, recovers, transient, with_query
from tests.support.object_versions import SIZE

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
    "right-chunked", "cuts the body, then continues it in chunks", _SECOND_IS_ENOUGH, answers="right-chunked"
)
_expect_resume("right-closed", "cuts the body, then continues it and closes", _SECOND_IS_ENOUGH, answers="right-closed")
_expect_resume(
    "reset-twice", "cuts twice, each time further on", recovers("truncated", requests=3), cuts=2, cut=700_000
)
_expect_resume("both-validators", "has an ETag and a date, and continues", _SECOND_IS_ENOUGH, tag="both")
_expect_resume("latin-1", "has an ETag with a byte above 0x7f, and continues", _SECOND_IS_ENOUGH, tag="latin-1")
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
    "longer-chunked": "answers 206 in chunks, with more bytes than Content-Range says",
    "shorter-chunked": "answers 206 in chunks, with fewer bytes than Content-Range says",
    "longer-closed": "answers 206 until it closes, with more bytes than Content-Range says",
    "shorter-closed": "answers 206 until it closes, with fewer bytes than Content-Range says",
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

# 206 without having been asked for a range.
expect("/all-in-one-range", "answers 206 with everything and closes", ok(), body=_BODY, seconds=3.0)
expect("/all-in-one-range?chunked=1", "answers 206 with everything in chunks", ok(), body=_BODY, seconds=3.0)
for _chunked, _framing in enumerate(("closed", "chunked")):
    expect(
        with_query("/all-in-one-range", chunked=_chunked, fewer=100),
        f"answers 206 with less than everything, {_framing}",
        transient("truncated"),
        name=f"all-in-one-range-shorter-{_framing}",
    )
    expect(
        with_query("/all-in-one-range", chunked=_chunked, more=100),
        f"answers 206 with more than everything, {_framing}",
        permanent("bad-response"),
        name=f"all-in-one-range-longer-{_framing}",
    )
expect("/all-in-one-range?start=5", "answers 206 with a part nobody asked for", permanent("bad-response"))
