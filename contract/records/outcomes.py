"""How a URL ended: its row in the manifest."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, json
from msgspec.structs import replace

from contract.records import wire


class Ending(StrEnum):
    """The four ways a URL can end."""

    OK = "ok"  #: fetched, checked and stored under its md5 name
    KEPT = "kept"  #: complete from an earlier run; nothing was fetched
    FAILED = "failed"  #: tried, or due to be tried, but not stored
    REFUSED = "refused"  #: not allowed; no byte was sent there


_STORED = (Ending.OK, Ending.KEPT)
ENDINGS = tuple(str(ending) for ending in Ending)


class ErrorClass(StrEnum):
    """Why a URL was not stored: stable names to count, filter and retry by."""

    DNS = "dns"  #: the name has no address, or no resolver answered
    CONNECT = "connect"  #: no connection could be made, or it broke before the response began
    PROXY = "proxy"  #: the worker's egress proxy cannot be reached, or opens no tunnel: not the server's fault
    TLS = "tls"  #: the certificate or the handshake was not acceptable
    TIMEOUT = "timeout"  #: the deadline for connecting or for the whole URL passed
    TOO_SLOW = "too-slow"  #: no first byte in time, or fewer bytes per second than the speed floor
    TRUNCATED = "truncated"  #: the body ended before its framing was complete
    BAD_RESPONSE = "bad-response"  #: not HTTP, or a response that cannot carry this URL's body
    NOT_READY = "not-ready"  #: the server is still preparing the body, and said when to retry (202 with Retry-After)
    HTTP_4XX = "http-4xx"  #: the server blames the request
    HTTP_5XX = "http-5xx"  #: the server reports an error of its own
    HOST_BLOCKED = "host-blocked"  #: its host only throttled, or waiting for it would exceed --host-patience
    TOO_MANY_REDIRECTS = "too-many-redirects"  #: a loop, or more hops than allowed
    BAD_REDIRECT = "bad-redirect"  #: a redirect without a usable Location
    TOO_LARGE = "too-large"  #: the body is, or claims to be, larger than the cap, or than the disk can ever hold
    REFUSED_ADDRESS = "refused-address"  #: the address may not be connected to
    REFUSED_URL = "refused-url"  #: the URL itself may not be fetched
    LOCAL_DISK = "local-disk"  #: the worker's disk could not store the file
    DIGEST = "digest"  #: the bytes do not match the digest in the list or from the server
    UNSUPPORTED = "unsupported"  #: the worker lacks what the job's options need, such as the package of its digest
    POISON = "poison"  #: the worker died every time this URL was tried
    CANCELLED = "cancelled"  #: withdrawn before it was fetched
    INTERNAL = "internal"  #: a bug in Trawlnet, confined to this URL


_WHOLE = 2.0**52  # numbers from here on have no fraction


def rounded(seconds: float) -> float:
    """Return seconds rounded to the microsecond, as in rows."""
    return (seconds * 1e6 + _WHOLE - _WHOLE) / 1e6  # a fifth of the time of round(seconds, 6)


class Attempt(Struct, frozen=True, gc=False):
    """One attempt: its error (None: none), HTTP status if any, and duration in seconds."""

    error: ErrorClass | None = None
    status: int | None = None
    seconds: float = 0.0


class Timing(Struct, frozen=True, gc=False):
    """How a URL's time was spent; all fields in seconds.

    ``dns`` to ``transfer`` are the consecutive phases of the last attempt (differences of curl's time stamps);
    ``total`` runs from the first attempt's start to the end and includes waits between attempts; ``queued`` from the
    batch's enqueueing to the first attempt. Both are of the last batch only, if others handed the URL off.
    """

    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    ttfb: float = 0.0
    transfer: float = 0.0
    total: float = 0.0
    queued: float = 0.0


NO_TIMING = Timing()


class Outcome(Struct, frozen=True, gc=False, kw_only=True, rename={"ending": "outcome"}):
    """How one URL ended, with its proof; one JSON line of the manifest, its keys in the order of the fields.

    ``started`` is UTC ISO 8601; ``path`` is relative to the output folder and None if nothing is stored;
    ``sha256`` is hex (None with another digest: then ``digest`` is ``"<algorithm>:<hex>"``).
    ``notes`` are facts that did not affect the outcome: ``framing=close`` (or ``h2``), ``downgraded``, ``resumed``.
    """

    url: str
    name: str | None
    path: str | None = None
    ending: Ending
    error: ErrorClass | None = None
    detail: str | None = None
    http_status: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    digest: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    final_url: str | None = None
    redirects: int = 0
    attempts: tuple[Attempt, ...] = ()
    started: str | None = None
    timing: Timing = NO_TIMING
    remote_ip: str | None = None
    http_version: str | None = None
    worker: str | None = None
    notes: tuple[str, ...] = ()

    def kept(self, url: str, path: str | None, worker: str | None) -> Outcome:
        """Return the outcome of a later job that finds this body there: all that is known of it, and no attempt."""
        return replace(
            self, url=url, path=path, ending=Ending.KEPT, error=None, detail=None, attempts=(), worker=worker
        )

    def stored_at(self, path: str) -> Outcome:
        """Return the outcome of a body that is stored there."""
        return replace(self, path=path)

    def failed_after_all(self, error: ErrorClass, detail: str) -> Outcome:
        """Return the outcome of a body that was complete but could not be stored."""
        return replace(self, ending=Ending.FAILED, error=error, detail=detail, bytes=None, sha256=None, digest=None)

    @property
    def is_stored(self) -> bool:
        """Is the body on disk under its md5 name?"""
        return self.ending in _STORED


_ROW = json.Decoder(Outcome)


def read_row(text: bytes) -> Outcome:
    """Read a manifest row.

    Raises:
        MessageError: it is not a manifest row.
    """
    return wire.read(_ROW, text, "A row")
