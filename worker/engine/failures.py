"""Why an attempt failed, and what that means for the URL."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contract.records.outcomes import ErrorClass


class Kind(StrEnum):
    """What a failure means for the URL."""

    TRANSIENT = "transient"  #: trying again may help
    PERMANENT = "permanent"  #: trying again will not help
    REFUSED = "refused"  #: not allowed; nothing was sent, and it is not tried again
    LIMIT = "limit"  #: more bytes than the job allows
    LOCAL = "local"  #: the worker's disk, not the URL; it is handed back


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt.

    ``retry_after`` is the wait the server asked for, in seconds; ``not_before`` is a minimum wait in seconds. ``tries``
    limits the attempts that may end with this error class; None: as many as the job allows.
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
        """May it concern the host rather than the URL?"""
        return self.status in (429, 503) or (self.status == 403 and self.retry_after is not None)


def bug(error: BaseException) -> Failure:
    """Return the failure of a URL that hit a bug in Trawlnet."""
    detail = f"A bug in Trawlnet: {type(error).__name__}."
    return Failure(error=ErrorClass.INTERNAL, kind=Kind.PERMANENT, detail=detail)


def past_deadline(seconds: float, spent: float) -> Failure:
    """Return the failure of a URL whose deadline of ``seconds`` passed, ``spent`` of them in earlier batches."""
    earlier = f" ({spent:.1f} s of it in earlier batches)" if spent >= 0.05 else ""
    detail = f"Not finished within its deadline of {seconds:g} s{earlier}."
    return Failure(error=ErrorClass.TIMEOUT, kind=Kind.TRANSIENT, detail=detail)


class Breakage(StrEnum):
    """How an exchange failed below HTTP; the adapter translates its library's error codes into these."""

    CONNECT = "connect"  #: no connection
    CERTIFICATE = "certificate"  #: the certificate does not prove the host's identity
    HANDSHAKE = "handshake"  #: the connection or the server failed during the TLS handshake
    DISAGREEMENT = "disagreement"  #: no common TLS version or cipher, or a required feature is missing
    TIMEOUT = "timeout"  #: the library's timeout
    CUT = "cut"  #: the connection ended before the response did
    RESET = "reset"  #: the stream was reset without an error; the body is complete only if its length says so
    STALE = "stale"  #: every pooled connection tried was dead; the request was not answered
    NONSENSE = "nonsense"  #: the response is not HTTP
    PROTOCOL = "protocol"  #: the response violates HTTP/2 or HTTP/3
    COMPLAINT = "complaint"  #: the server reports a violation on our side
    REDIRECT = "redirect"  #: a redirect to several places at once
    TOO_LARGE = "too-large"  #: the announced length exceeds the cap
    STOPPED = "stopped"  #: ended on this side
    UNRESOLVED = "unresolved"  #: the library found no address
    OTHER = "other"  #: an unexpected code
