"""Builds the manifest row of a URL that has ended."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from msgspec import structs

from contract.records.outcomes import NO_TIMING, Ending, Outcome, Timing, rounded
from contract.records.policy import Digest
from worker.engine.exchange import NOT_ENDED, Exchange
from worker.engine.failures import Kind
from worker.engine.http.headers import Head
from worker.engine.ports import Ended
from worker.engine.transfer import Fetched, Transfer

OK, _SHA256 = Ending.OK, Digest.SHA256  # looking up an enum's member is slow


def row_of_failure(transfer: Transfer, now: float) -> Outcome:
    """Return the outcome of a URL without a body; a bug here costs only this URL."""
    refused = transfer.failure is not None and transfer.failure.kind is Kind.REFUSED
    try:
        return _without_body(transfer, Ending.REFUSED if refused else Ending.FAILED, now)
    except Exception as error:
        return _of_bug(transfer, error, now)


def row_of_body(transfer: Transfer, fetched: Fetched) -> Outcome:
    """Return the outcome that a URL has once its body is published; or a bug's."""
    try:
        return _with_body(transfer, fetched)
    except Exception as error:
        return _of_bug(transfer, error, fetched.at)


def _of_bug(transfer: Transfer, error: Exception, now: float) -> Outcome:
    transfer.spoiled(error)
    return _without_body(transfer, Ending.FAILED, now)


# Most rows have fifteen fields. With more keywords Python builds a dict first, which doubles the cost of a row.


def _with_body(transfer: Transfer, fetched: Fetched) -> Outcome:
    terms, exchange = transfer.terms, transfer.exchange
    assert exchange is not None
    assert exchange.head is not None
    head, ended = exchange.head, exchange.ended
    field, is_sha256 = head.fields.get, terms.policy.digest is _SHA256
    row = Outcome(
        url=transfer.entry.url,
        name=transfer.name,
        ending=OK,
        http_status=head.status,
        bytes=fetched.size,
        sha256=fetched.digest if is_sha256 else None,
        content_type=field("content-type"),
        etag=field("etag"),
        last_modified=field("last-modified"),
        attempts=transfer.attempts,
        started=_iso(transfer.began_wall),
        timing=_timing(transfer, ended, fetched.at, _lag(exchange, fetched)),
        remote_ip=ended.remote_ip,
        http_version=head.version,
        worker=terms.worker,
    )
    rest = _rest(transfer, head, _notes(exchange, head, fetched))
    if fetched.digest and not is_sha256:
        rest["digest"] = f"{terms.policy.digest}:{fetched.digest}"
    return structs.replace(row, **rest) if rest else row


def _without_body(transfer: Transfer, ending: Ending, now: float) -> Outcome:
    exchange, failure = transfer.exchange, transfer.failure
    head = exchange.head if exchange is not None else None
    ended = exchange.ended if exchange is not None else NOT_ENDED
    field = head.fields.get if head is not None else _nothing
    of_failure = failure.status if failure is not None else None
    row = Outcome(
        url=transfer.entry.url,
        name=transfer.name,
        ending=ending,
        error=failure.error if failure is not None else None,
        detail=failure.detail if failure is not None else None,
        http_status=head.status if head is not None else of_failure,
        content_type=field("content-type"),
        etag=field("etag"),
        last_modified=field("last-modified"),
        attempts=transfer.attempts,
        started=_iso(transfer.began_wall) if transfer.began is not None else None,
        timing=_timing(transfer, ended, now),
        remote_ip=ended.remote_ip,
        http_version=head.version if head is not None else None,
        worker=transfer.terms.worker,
    )
    rest = _rest(transfer, head, ())
    return structs.replace(row, **rest) if rest else row


def _rest(transfer: Transfer, head: Head | None, notes: tuple[str, ...]) -> dict[str, object]:
    """Return the fields that few rows have."""
    rest: dict[str, object] = {}
    if head is not None and "content-encoding" in head.fields:
        rest["content_encoding"] = head.fields["content-encoding"]
    hops = transfer.hops
    if hops is not None:
        rest.update(final_url=transfer.url.target, redirects=len(hops))
        if hops.is_downgraded:
            notes += ("downgraded",)
    if notes:
        rest["notes"] = notes
    return rest


def _notes(exchange: Exchange, head: Head, fetched: Fetched) -> tuple[str, ...]:
    """Return the notes for a stored body."""
    notes = fetched.notes
    if exchange.is_ranged:
        notes = ("resumed", *notes)
    if head.length is None and exchange.ends is None and head.framing is not None:
        notes += (f"framing={head.framing}",)
    if "content-encoding" in head.fields:
        notes += (f"encoding={head.fields['content-encoding']}",)
    return notes


def _timing(transfer: Transfer, ended: Ended, now: float, lag: float = 0.0) -> Timing:
    if transfer.began is None:
        return NO_TIMING
    queued = transfer.queued + lag
    total = now - transfer.began - queued
    waited = transfer.began_wall - transfer.terms.queued
    dns, took, first = transfer.resolved_in, ended.took, ended.at_first_byte
    connect = secure = 0.0
    if ended.sockets:  # else a connection was reused
        resolved = ended.at_resolved
        connected = max(ended.at_connected, resolved)
        secured = max(ended.at_secured, connected)
        dns += resolved / 1e6
        connect, secure = (connected - resolved) / 1e6, (secured - connected) / 1e6
        took, first = took - secured, max(first - secured, 0)
    return Timing(
        rounded(dns) if dns else 0.0,
        connect,
        secure,
        first / 1e6,
        (took - first) / 1e6 if took > first else 0.0,
        rounded(total) if total > 0.0 else 0.0,
        rounded(queued + waited if waited > 0.0 else queued),
    )


def _lag(exchange: Exchange, fetched: Fetched) -> float:
    """Return the seconds by which a busy lane delayed sending a request and noticing its end.

    Unknown, and 0, for a body fetched by several exchanges.
    """
    if fetched.notes and any(note.startswith("splits=") for note in fetched.notes):
        return 0.0
    lag = fetched.at - exchange.began - exchange.ended.took / 1e6
    return lag if lag > 0.0 else 0.0


def _nothing(_name: str) -> None:
    return None


@lru_cache(maxsize=1024)  # many transfers begin in the same pass of their lane
def _iso(wall: float) -> str:
    second = int(wall)
    return f"{_until_second(second)}.{int((wall - second) * 1000):03d}Z"


@lru_cache(maxsize=64)  # formatting a date takes a hundred times as long as the milliseconds
def _until_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
