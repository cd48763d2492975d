"""Why an attempt failed, and what kind of failure that is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contract.records.outcomes import ErrorClass


class Kind(StrEnum):
    """What a failure means for the URL."""

    TRANSIENT = "transient"  #: trying again may help
    PERMANENT = "permanent"  #: trying again will not help
    REFUSED = "refused"  #: policy said no; nothing was sent, nothing is tried again
    LIMIT = "limit"  #: more bytes than the job allows
    LOCAL = "local"  #: our own disk; not the URL's fault, so the URL goes back


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt.

    ``retry_after`` is what the server asked for, in seconds; before ``not_before`` trying again is of no use. ``tries``
    bounds the attempts that may end with this error class, below what the job allows; None leaves it to the job.
    """

    error: ErrorClass
    kind: Kind
    detail: str
    status: int | None = None
    retry_after: float | None = None
    not_before: float = 0.0
    tries: int | None = None

    @property
    def is_transient(self) -> bool:
        return self.kind is Kind.TRANSIENT

    @property
    def throttles(self) -> bool:
        """May it be about the host and not about the URL?"""
        return self.status in (429, 503) or (self.status == 403 and self.retry_after is not None)


def bug(error: BaseException) -> Failure:
    """Return the failure of a URL that met a bug of ours."""
    detail = f"A bug of ours: {type(error).__name__}."
    return Failure(error=ErrorClass.INTERNAL, kind=Kind.PERMANENT, detail=detail)


class Breakage(StrEnum):
    """How an exchange ended below HTTP; the adapter's words for its library's error codes."""

    CONNECT = "connect"  #: no connection
    CERTIFICATE = "certificate"  #: the peer is not who the URL names
    HANDSHAKE = "handshake"  #: the connection, or the server, broke while TLS was agreed on
    DISAGREEMENT = "disagreement"  #: the two sides have no TLS in common, or one wants what the other has not
    TIMEOUT = "timeout"  #: the library's own clock ran out
    CUT = "cut"  #: the connection ended before the response did
    RESET = "reset"  #: the stream was reset without an error: its body is whole only if a length says so
    STALE = "stale"  #: every pooled connection tried was dead; the request was not answered
    NONSENSE = "nonsense"  #: what came is not HTTP
    PROTOCOL = "protocol"  #: what came breaks the rules of HTTP/2 or 3
    COMPLAINT = "complaint"  #: the server says that we broke them
    REDIRECT = "redirect"  #: a redirect to several places at once
    TOO_LARGE = "too-large"  #: the stated length is above the cap
    STOPPED = "stopped"  #: we ended it ourselves
    UNRESOLVED = "unresolved"  #: the library found no address
    OTHER = "other"  #: a code that should not happen
