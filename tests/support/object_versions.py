"""The object behind a URL in one of its versions, and how a server sends it: whole, slowly, or cut off."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

from tests.support.bodies import base64_digest, body_part
from tests.support.exchange import Exchange, Header

#: Big enough that continuing is worth it to any client; below the cap.
SIZE = 2 * 1024 * 1024
#: Where a body is cut. Neither half of SIZE nor a round number.
CUT = 1_300_001

LAST_MODIFIED = formatdate(1_700_000_000, usegmt=True)


@dataclass(frozen=True, slots=True)
class Version:
    """One state of the object at a URL."""

    size: int
    seed: int
    number: int
    tag: str  # strong, latin-1, weak, date, both or none

    def part(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end, the last one not included."""
        return body_part(start, end - start, self.seed)

    @property
    def etag(self) -> str:
        """The ETag header's value; empty if it has none."""
        opaque = f'"{self.number}-{self.size}-{self.seed}"'
        return {"strong": opaque, "latin-1": f'"\xe9{opaque[1:]}', "both": opaque, "weak": "W/" + opaque}.get(
            self.tag, ""
        )

    @property
    def validators(self) -> list[Header]:
        """The headers that say which version this is."""
        dated = [("Last-Modified", LAST_MODIFIED)] if self.tag in {"date", "both"} else []
        return [*([("ETag", self.etag)] if self.etag else []), *dated]


def send_whole(exchange: Exchange, version: Version) -> None:
    """Answer 200 with all of a version."""
    accepts = [] if exchange.text("accept") == "silent" else [("Accept-Ranges", exchange.text("accept", "bytes"))]
    digests = digest_headers(exchange, version)
    if exchange.number("chunked"):
        exchange.head(200, *accepts, *version.validators, *digests, ("Transfer-Encoding", "chunked"))
        exchange.chunk(version.part(0, version.size))
        if exchange.visit > exchange.number("cuts"):
            exchange.chunk(b"")
        return
    exchange.head(200, *accepts, *version.validators, *digests, ("Content-Length", str(version.size)))
    send_body(exchange, version, 0, version.size)


def digest_headers(exchange: Exchange, version: Version) -> list[Header]:
    """Repr-Digest speaks of the whole object, in whole and partial answers alike (RFC 9530 section 3)."""
    wanted = exchange.text("digest")
    if not wanted:
        return []
    body = version.part(0, version.size) if wanted == "right" else b"something else"
    return [("Repr-Digest", f"sha-256=:{base64_digest('sha256', body)}:")]


def send_body(exchange: Exchange, version: Version, start: int, end: int) -> None:
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
