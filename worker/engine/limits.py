"""Limits of an exchange in flight: the URL's deadline, the wait for the body's first byte, and the speed floor."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, Kind, past_deadline
from worker.engine.transfer import Transfer

LONGEST_COURTESY = 1.0  # seconds to wait for an unwanted body, to keep its connection
PARTS = 4  # the window of the speed floor moves in quarters
_YOUNG = 0.3  # seconds before an exchange is checked; most have ended by then


@dataclass(slots=True)
class _Watched:
    """The progress of an exchange at earlier checks."""

    marked_at: float
    marks: tuple[int, ...] = ()  # bytes received at the last checks of the speed
    answered_at: float | None = None  # when its status was known to decide the outcome, whatever the body


class Limits:
    """Belongs to one lane and is called by its thread only."""

    def __init__(self) -> None:
        self._watched: dict[Exchange, _Watched] = {}

    def stops(self, exchange: Exchange, transfer: Transfer, now: float) -> bool:
        """Stop an exchange that is past a limit or no longer needed; return whether it was stopped."""
        if now - exchange.began < _YOUNG and now < transfer.deadline:
            return False
        seen = self._watched.get(exchange)
        if seen is None:
            seen = self._watched[exchange] = _Watched(exchange.began)
        if _is_over(exchange, seen, now):
            exchange.stop()
            return True
        limit = _past_limit(exchange, transfer, seen, now)
        if limit is not None:
            exchange.stop(limit)
        return limit is not None

    def forget_all_but(self, flying: Container[Exchange]) -> None:
        """Forget exchanges that are no longer in flight."""
        for exchange in [each for each in self._watched if each not in flying]:
            del self._watched[exchange]


def _is_over(exchange: Exchange, seen: _Watched, now: float) -> bool:
    """Has it been waited long enough for a body that is not needed?"""
    if seen.answered_at is None:
        seen.answered_at = now if exchange.is_answered() else None
        return False
    return now - seen.answered_at >= LONGEST_COURTESY


def _past_limit(exchange: Exchange, transfer: Transfer, seen: _Watched, now: float) -> Failure | None:
    """Return the limit that an exchange has exceeded, if any; records its progress for the next check of its speed.

    Only body bytes count: header lines, interim responses and trailers may continue for ever.
    """
    if seen.answered_at is not None:
        return None  # its outcome is decided, and it ends soon
    policy = transfer.terms.policy
    if now >= transfer.deadline:
        return past_deadline(policy.timeout, transfer.entry.spent)
    if not exchange.received:
        return _not_begun(exchange, policy.first_byte_timeout, now)
    return _too_slow(exchange, seen, policy, now) if policy.slowest else None


def _not_begun(exchange: Exchange, limit: float, now: float) -> Failure | None:
    if not limit or now - exchange.began < limit:
        return None
    detail = f"No byte of the body arrived for {limit:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)


def _too_slow(exchange: Exchange, seen: _Watched, policy: JobPolicy, now: float) -> Failure | None:
    """Check the bytes received within the window that ends now; the first window starts with the first byte."""
    window, marks = policy.slow_window, seen.marks
    if marks and now - seen.marked_at < window / PARTS:
        return None
    marks = seen.marks = (*marks[-PARTS:], exchange.received)
    seen.marked_at = now
    if len(marks) <= PARTS or marks[-1] - marks[0] >= policy.slowest * window:
        return None
    detail = f"Fewer than {policy.slowest} bytes/s arrived for {window:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)
