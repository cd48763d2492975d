"""Bodies requested in several ranges at once: the server answers each of them, correctly or not."""

from __future__ import annotations

from tests.support.bodies import body_bytes
from tests.support.cases import Ending, Endings, expect, with_query
from tests.support.object_versions import SIZE

_BODY = body_bytes(SIZE)
_SECOND = body_bytes(SIZE, 1)

#: Meant for three attempts; how many requests are right is the client's choice.
_SPLIT = Endings(Ending((), 1, spare=60), Ending((), 1, spare=60))


def _expect_split(name: str, does: str, *, body: bytes = _BODY, **query: str | int) -> None:
    expect(with_query("/object", **query), does, _SPLIT, name=f"split-{name}", body=body, seconds=5.0, splits=True)


_expect_split("right", "answers every range")
_expect_split("right-chunked", "answers every range in chunks", answers="right-chunked")
_expect_split("capped", "answers every range at 1 MB/s per connection", rate=1_000_000)
_expect_split("full", "announces ranges, then answers 200 with everything", answers="full")
_expect_split("no-ranges", "announces no ranges", accept="none", answers="full")
_expect_split("latin-1", "has an ETag with a byte above 0x7f", tag="latin-1")
_expect_split("weak", "has a weak ETag, and ranges of mixed versions", tag="weak", answers="other-version")
_expect_split("none", "has no validator, and ranges of mixed versions", tag="none", answers="other-version")
_expect_split("busy", "answers 503 to the second request", busy=2)
_expect_split("busy-for-a-second", "answers 429 to the second request, with Retry-After: 1", busy=2, wants=1)
_expect_split("cut", "cuts the first two answers after 100,000 bytes", cuts=2, cut=100_000)
_expect_split("changed-second", "has a new version from the second request on", body=_SECOND, changes=2)
_expect_split("changed-third", "has a new version from the third request on", body=_SECOND, changes=3)
_expect_split("changed-deaf", "has a new version from the third request on, deaf to If-Range",
              body=_SECOND, changes=3, deaf=1)  # fmt: skip
_LIES = (
    "earlier", "later", "from-zero", "other-total", "no-content-range", "multipart", "416", "longer",
    "longer-chunked", "longer-closed", "shorter-chunked", "shorter-closed", "gzipped",
)  # fmt: skip
for _name in _LIES:
    _expect_split(_name, f"answers ranges wrongly ({_name})", answers=_name)
