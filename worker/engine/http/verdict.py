"""Decides whether a body may be published: the only success predicate.

A body is published only if the final status is 200 or 203 (206 for our own validated range), the header block and the
framing are complete (RFC 9112 sections 8 and 9.8), the size is within the cap and nothing stopped the exchange. libcurl
reports success for a truncated header block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from msgspec import Struct

from contract.records.outcomes import ErrorClass
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.http.headers import Head
from worker.engine.http.redirects import FOLLOWED
from worker.engine.http.retry import retry_after

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})
BODY_STATUSES = frozenset({200, 203})
LONGEST_DISCARD = 64 * 1024  # bytes of an unwanted body that are read to keep the connection


@dataclass(frozen=True, slots=True)
class Redirected:
    """The final response is a redirect; ``location`` is the raw field."""

    status: int
    location: str | None


class Reception(Struct, frozen=True, gc=False):
    """The facts of an exchange that has ended.

    ``received`` counts body bytes, ``length`` is the announced number, if any; ``stopped`` is why this side ended the
    exchange. ``ranged``: the response is a validated answer to our Range.
    """

    head: Head | None
    received: int
    length: int | None
    breakage: Breakage | None
    detail: str = ""
    stopped: Failure | None = None
    ranged: bool = False
    enough: bool = False  # this side stopped reading an unwanted body


def judge(reception: Reception, wall: float) -> Failure | Redirected | None:
    """Return why the body may not be published, or the redirect; None: it may be published.

    ``wall`` is the current time in Unix seconds, for a Retry-After with a date.
    """
    if reception.stopped is not None:
        return reception.stopped
    head = reception.head
    if head is None:
        return _headless(reception)
    if head.status in FOLLOWED:
        return Redirected(head.status, head.get("location"))
    failure = of_status(head, wall, reception.ranged)
    return failure or _of_body(reception)


def of_status(head: Head, wall: float, ranged: bool = False) -> Failure | None:
    """Judge the status alone; None: its body may be published."""
    status = head.status
    if status in BODY_STATUSES or (status == 206 and ranged):
        return None
    kind = Kind.TRANSIENT if status in TRANSIENT_STATUSES else Kind.PERMANENT
    wanted = retry_after(head.get("retry-after"), date=head.get("date"), wall=wall)
    detail = f"Status {status}."
    if 400 <= status < 500:
        error = ErrorClass.HTTP_4XX
    elif 500 <= status < 600:
        error = ErrorClass.HTTP_5XX
    elif status == 202 and head.get("retry-after") is not None:  # RFC 9110 section 15.3.3: still being prepared
        error, kind, detail = ErrorClass.NOT_READY, Kind.TRANSIENT, "Status 202: the body is not ready yet."
    else:
        return bad_response(f"Status {status} carries no body to store.", status=status)
    return Failure(error=error, kind=kind, detail=detail, status=status, retry_after=wanted)


def too_large(status: int | None, cap: int) -> Failure:
    return Failure(
        error=ErrorClass.TOO_LARGE, kind=Kind.LIMIT, status=status, detail=f"The body exceeds the limit of {cap} bytes."
    )


def bad_response(detail: str, *, status: int | None = None) -> Failure:
    return Failure(error=ErrorClass.BAD_RESPONSE, kind=Kind.PERMANENT, status=status, detail=detail)


def _headless(reception: Reception) -> Failure:
    """Judge an exchange without a complete final header block."""
    match reception.breakage:
        case Breakage.CERTIFICATE:
            return _failure(ErrorClass.TLS, Kind.PERMANENT, reception, "The certificate was not accepted")
        case Breakage.HANDSHAKE:
            return _failure(ErrorClass.TLS, Kind.TRANSIENT, reception, "The TLS handshake failed")
        case Breakage.DISAGREEMENT:
            return _failure(ErrorClass.TLS, Kind.PERMANENT, reception, "The two sides cannot agree on TLS")
        case Breakage.PROTOCOL | Breakage.COMPLAINT:
            return _broken_rules(reception)
        case Breakage.TIMEOUT:
            return _failure(ErrorClass.TIMEOUT, Kind.TRANSIENT, reception, "The deadline passed before the response")
        case Breakage.NONSENSE:
            return _failure(ErrorClass.BAD_RESPONSE, Kind.PERMANENT, reception, "The answer is not usable HTTP")
        case Breakage.REDIRECT:
            return _failure(ErrorClass.BAD_REDIRECT, Kind.PERMANENT, reception, "The redirect is not usable")
        case Breakage.UNRESOLVED:
            return _failure(ErrorClass.DNS, Kind.TRANSIENT, reception, "The host's name was not resolved")
        case Breakage.OTHER:
            return _failure(ErrorClass.INTERNAL, Kind.TRANSIENT, reception, "The exchange failed unexpectedly")
        case Breakage.TOO_LARGE:
            return _failure(ErrorClass.TOO_LARGE, Kind.LIMIT, reception, "The body exceeds the limit")
        case None:
            return _failure(ErrorClass.TRUNCATED, Kind.TRANSIENT, reception, "The header block was cut short")
        case _:
            return _failure(ErrorClass.CONNECT, Kind.TRANSIENT, reception, "The connection failed")


def _of_body(reception: Reception) -> Failure | None:
    """Judge framing and size of a response with a good status."""
    match reception.breakage:
        case None:
            pass
        case Breakage.RESET if reception.length is not None:
            pass  # the length is compared below
        case Breakage.TIMEOUT:
            return _failure(ErrorClass.TIMEOUT, Kind.TRANSIENT, reception, "The deadline passed within the body")
        case Breakage.NONSENSE:
            return _failure(ErrorClass.BAD_RESPONSE, Kind.PERMANENT, reception, "The body's framing is not usable")
        case Breakage.PROTOCOL:
            return _broken_rules(reception)
        case Breakage.TOO_LARGE:
            return _failure(ErrorClass.TOO_LARGE, Kind.LIMIT, reception, "The body exceeds the limit")
        case Breakage.OTHER | Breakage.STOPPED:
            return _failure(ErrorClass.INTERNAL, Kind.TRANSIENT, reception, "The exchange failed unexpectedly")
        case _:
            return _failure(ErrorClass.TRUNCATED, Kind.TRANSIENT, reception, "The body was cut short")
    length = reception.length
    if length is not None and length != reception.received:
        arrived = f"{reception.received} of {length} bytes arrived"
        return _failure(ErrorClass.TRUNCATED, Kind.TRANSIENT, reception, arrived)
    return None


def _broken_rules(reception: Reception) -> Failure:
    """Allow one retry, on a connection of its own: earlier streams of the first connection may be the cause."""
    sentence = "The rules of HTTP/2 or HTTP/3 were broken"
    return replace(_failure(ErrorClass.BAD_RESPONSE, Kind.TRANSIENT, reception, sentence), tries=2)


def _failure(error: ErrorClass, kind: Kind, reception: Reception, sentence: str) -> Failure:
    status = reception.head.status if reception.head else None
    detail = f"{sentence}: {reception.detail}." if reception.detail else f"{sentence}."
    return Failure(error=error, kind=kind, status=status, detail=detail)
