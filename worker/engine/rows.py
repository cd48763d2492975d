"""The manifest row of a URL that is over, written from what its transfer knows."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from contract.records.outcomes import Ending, Outcome, Timing, rounded
from contract.records.policy import Digest
from worker.engine.exchange import Exchange
from worker.engine.failures import Kind
from worker.engine.transfer import Fetched, Transfer


def row_of_failure(transfer: Transfer, now: float) -> Outcome:
    """Return how a URL ended without a file."""
    refused = transfer.failure is not None and transfer.failure.kind is Kind.REFUSED
    return _written(transfer, Ending.REFUSED if refused else Ending.FAILED, now, None)


def row_of_body(transfer: Transfer, fetched: Fetched) -> Outcome:
    """Return how a URL ends as soon as its body has its name."""
    return _written(transfer, Ending.OK, fetched.at, fetched)


def _written(transfer: Transfer, ending: Ending, now: float, fetched: Fetched | None) -> Outcome:
    """A bug in writing a row costs its own URL only."""
    try:
        return _row(transfer, ending, now, fetched)
    except Exception as error:
        transfer.spoiled(error)
        return _row(transfer, Ending.FAILED, now, None)


def _row(transfer: Transfer, ending: Ending, now: float, fetched: Fetched | None) -> Outcome:
    terms, exchange, hops = transfer.terms, transfer.exchange, transfer.hops
    policy = terms.policy
    head = exchange.head if exchange is not None else None
    fields = head.fields.get if head is not None else _nothing
    size = sha256 = digest = error = detail = None
    status = head.status if head is not None else None
    if fetched is not None:
        size = fetched.size
        if policy.digest is Digest.SHA256:
            sha256 = fetched.digest
        elif fetched.digest:
            digest = f"{policy.digest}:{fetched.digest}"
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
        timing=_timing(transfer, exchange, now),
        remote_ip=exchange.ended.remote_ip if exchange is not None else None,
        http_version=head.version if head is not None else None,
        worker=terms.worker,
        notes=_notes(transfer, exchange, fetched),
    )


def _timing(transfer: Transfer, exchange: Exchange | None, now: float) -> Timing:
    if transfer.began is None:
        return Timing(total=0.0)
    queued = transfer.queued
    total = rounded(now - transfer.began - queued)
    queued += max(0.0, transfer.began_wall - transfer.terms.queued)
    dns = transfer.resolved_in
    if exchange is None:
        return Timing(dns=rounded(dns), total=total, queued=rounded(queued))
    ended = exchange.ended
    took, first = ended.took, ended.at_first_byte
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
        total,
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
        if head.framing is not None and exchange.ends is None:
            notes += (f"framing={head.framing}",)
        if "content-encoding" in head.fields:
            notes += (f"encoding={head.fields['content-encoding']}",)
    if transfer.hops is not None and transfer.hops.is_downgraded:
        notes += ("downgraded",)
    return notes


def _nothing(_name: str) -> None:
    return None


def _iso(wall: float) -> str:
    second = int(wall)
    return f"{_iso_second(second)}.{int((wall - second) * 1000):03d}Z"


@lru_cache(maxsize=256)  # many transfers begin in the same second
def _iso_second(wall: int) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S")
