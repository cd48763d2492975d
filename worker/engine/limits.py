"""The limits an exchange must keep while it runs: the URL's deadline, and a floor to its speed."""

from __future__ import annotations

from contract.records.outcomes import ErrorClass
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, Kind


def past_limit(exchange: Exchange, now: float) -> Failure | None:
    """Return the limit an exchange is past, if any; marks how far it is, for the next look at its speed."""
    transfer = exchange.transfer
    policy = transfer.run.policy
    if now >= transfer.deadline:
        return past_deadline(policy.timeout)
    since = now - exchange.marked_at
    if not policy.slowest or since < policy.slow_window:
        return None
    seen = exchange.seen_bytes()
    gained, exchange.marked, exchange.marked_at = seen - exchange.marked, seen, now
    return _too_slow(policy.slowest, policy.slow_window) if gained < policy.slowest * since else None


def past_deadline(seconds: float) -> Failure:
    detail = f"The deadline of {seconds:g} s passed."
    return Failure(error=ErrorClass.TIMEOUT, kind=Kind.TRANSIENT, detail=detail)


def _too_slow(floor: int, window: float) -> Failure:
    detail = f"Fewer than {floor} bytes/s came for {window:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)
