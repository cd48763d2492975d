"""The limits an exchange must keep while it runs: the URL's deadline, the wait for a body, and a floor to its speed."""

from __future__ import annotations

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, Kind

LONGEST_COURTESY = 1.0  # seconds a body nobody wants is waited for, to keep its connection
PARTS = 4  # the window of the speed floor moves on by a quarter of itself


def is_over(exchange: Exchange, now: float) -> bool:
    """Is all that may still come of it a body nobody wants, and has that been waited for?"""
    if exchange.answered_at is None:
        exchange.answered_at = now if exchange.is_answered() else None
        return False
    return now - exchange.answered_at >= LONGEST_COURTESY


def past_limit(exchange: Exchange, now: float) -> Failure | None:
    """Return the limit an exchange is past, if any; marks how far it is, for the next look at its speed.

    Only bytes of a body count: header lines, interim answers and trailers may go on for ever.
    """
    if exchange.answered_at is not None:
        return None  # how it ends is known, and it ends soon
    transfer = exchange.transfer
    policy = transfer.run.policy
    if now >= transfer.deadline:
        return past_deadline(policy.timeout)
    if not exchange.received:
        return _not_begun(exchange, policy.first_byte_timeout, now)
    return _too_slow(exchange, policy, now) if policy.slowest else None


def past_deadline(seconds: float) -> Failure:
    detail = f"The deadline of {seconds:g} s passed."
    return Failure(error=ErrorClass.TIMEOUT, kind=Kind.TRANSIENT, detail=detail)


def _not_begun(exchange: Exchange, limit: float, now: float) -> Failure | None:
    if not limit or now - exchange.began < limit:
        return None
    detail = f"No byte of a body came for {limit:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)


def _too_slow(exchange: Exchange, policy: JobPolicy, now: float) -> Failure | None:
    """Compare what came within the window that ends now; the first one begins when the first byte was seen."""
    window, marks = policy.slow_window, exchange.marks
    if marks and now - exchange.marked_at < window / PARTS:
        return None
    marks = exchange.marks = (*marks[-PARTS:], exchange.received)
    exchange.marked_at = now
    if len(marks) <= PARTS or marks[-1] - marks[0] >= policy.slowest * window:
        return None
    detail = f"Fewer than {policy.slowest} bytes/s came for {window:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)
