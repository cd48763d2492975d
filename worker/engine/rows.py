"""The manifest row of a URL that is over, written from what its transfer knows."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from contract.records.outcomes import NO_TIMING, Ending, Outcome, Timing, rounded
from contract.records.policy import Digest
from worker.engine.exchange import NOT_ENDED, Exchange
from worker.engine.failures import Kind
from worker.engine.ports import Ended
from worker.engine.transfer import Fetched, Transfer

OK, _SHA256 = Ending.OK, Digest.SHA256  # an enum looks its members up by name, as slowly as it is asked often


def row_of_failure(transfer: Transfer, now: float) -> Outcome:
    """Return how a URL ended without a file; a bug in writing it costs its own URL only."""
    refused = transfer.failure is not None and transfer.failure.kind is Kind.REFUSED
    try:
        return _row(transfer, Ending.REFUSED if refused else Ending.FAILED, now, None)
    except Exception as error:
        return _row_of_bug(transfer, error, now)


def row_of_body(transfer: Transfer, fetched: Fetched) -> Outcome:
    """Return how a URL ends as soon as its body has its name, or that it met a bug."""
    try:
        return _row(transfer, OK, fetched.at, fetched)
    except Exception as error:
        return _row_of_bug(transfer, error, fetched.at)


def _row_of_bug(transfer: Transfer, error: Exception, now: float) -> Outcome:
    transfer.spoiled(error)
    return _row(transfer, Ending.FAILED, now, None)


def _row(transfer: Transfer, ending: Ending, now: float, fetched: Fetched | None) -> Outcome:
    terms, exchange, hops = transfer.terms, transfer.exchange, transfer.hops
    head = exchange.head if exchange is not None else None
    fields = head.fields.get if head is not None else _nothing
    size = sha256 = digest = error = detail = None
    status = head.status if head is not None else None
    if fetched is not None:
        size = fetched.size
        if terms.policy.digest is _SHA256:
            sha256 = fetched.digest
        elif fetched.digest:
            digest = f"{terms.policy.digest}:{fetched.digest}"
    elif transfer.failure is not None:
        error, detail = transfer.failure.error, transfer.failure.detail
        status = transfer.failure.status if head is None else status
    return Outcome(
        url=transfer.entry.url,
        name=transfer.name,
        ending=ending,
        error=error,
        detail=detail,
        http_status=status,
        bytes=size,
        sha256=sha256,
        digest=digest,
        content_type=fields("content-type"),
        content_encoding=fields("content-encoding"),
        etag=fields("etag"),
        last_modified=fields("last-modified"),
        final_url=transfer.place.target if hops is not None else None,
        redirects=len(hops) if hops is not None else 0,
        attempts=transfer.attempts,
        started=_iso(transfer.began_wall) if transfer.began is not None else None,
        timing=_timing(transfer, exchange.ended if exchange is not None else NOT_ENDED, now),
        remote_ip=exchange.ended.remote_ip if exchange is not None else None,
        http_version=head.version if head is not None else None,
        worker=terms.worker,
        notes=_notes(transfer, exchange, fetched),
    )


def _lag(transfer: Transfer, ended: Ended) -> float:
    """Return the seconds that a lane with many others to see to kept a request from going out, and its end from notice.

    Of a body that several exchanges brought nobody can say.
    """
    exchange, fetched = transfer.exchange, transfer.fetched
    if exchange is None or fetched is None or any(note.startswith("splits=") for note in fetched.notes):
        return 0.0
    return max(0.0, fetched.at - exchange.began - ended.took / 1e6)


def _timing(transfer: Transfer, ended: Ended, now: float) -> Timing:
    if transfer.began is None:
        return NO_TIMING
    queued = transfer.queued + _lag(transfer, ended)
    total = max(0.0, now - transfer.began - queued)
    queued += max(0.0, transfer.began_wall - transfer.terms.queued)
    dns, took, first = transfer.resolved_in, ended.took, ended.at_first_byte
    connect = secure = 0
    if ended.sockets:  # else an open connection was used
        resolved = ended.at_resolved
        connected = max(ended.at_connected, resolved)
        secured = max(ended.at_secured, connected)
        connect, secure, first = connected - resolved, secured - connected, max(first - secured, 0)
        took -= secured
        dns += resolved / 1e6
    return Timing(
        rounded(dns) if dns else 0.0,
        connect / 1e6,
        secure / 1e6,
        first / 1e6,
        (took - first) / 1e6 if took > first else 0.0,
        rounded(total),
        rounded(queued),
    )


def _notes(transfer: Transfer, exchange: Exchange | None, fetched: Fetched | None) -> tuple[str, ...]:
    """Return what is worth noting of the stored body, if there is one, and of the way to it."""
    notes: tuple[str, ...] = ()
    head = exchange.head if exchange is not None else None
    if fetched is not None and exchange is not None and head is not None:
        if exchange.is_ranged:
            notes += ("resumed",)
        notes += fetched.notes
        if head.length is None and exchange.ends is None and head.framing is not None:
            notes += (f"framing={head.framing}",)
        if "content-encoding" in head.fields:
            notes += (f"encoding={head.fields['content-encoding']}",)
    if transfer.hops is not None and transfer.hops.is_downgraded:
        notes += ("downgraded",)
    return notes


def _nothing(_name: str) -> None:
    return None


@lru_cache(maxsize=1024)  # many transfers begin in the same turn of their lane
def _iso(wall: float) -> str:
    second = int(wall)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{int((wall - second) * 1000):03d}Z"
