"""The limits an exchange must keep while it runs: the URL's deadline, the wait for a body, and a floor to its speed."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, Kind
from worker.engine.transfer import Transfer

LONGEST_COURTESY = 1.0  # seconds a body nobody wants is waited for, to keep its connection
PARTS = 4  # the window of the speed floor moves on by a quarter of itself
_YOUNG = 0.3  # seconds an exchange may be young: most end before, and are never looked at


@dataclass(slots=True)
class _Watched:
    """How far an exchange was when it was looked at."""

    marked_at: float
    marks: tuple[int, ...] = ()  # how many bytes had come whenever the speed was looked at lately
    answered_at: float | None = None  # when its status was seen to say how it ends, whatever body follows


class Limits:
    """Belongs to one lane and is called by its thread only."""

    def __init__(self) -> None:
        self._watched: dict[Exchange, _Watched] = {}

    def stops(self, exchange: Exchange, transfer: Transfer, now: float) -> bool:
        """Look at an exchange, and stop it if nothing more is wanted of it, or if it is past a limit."""
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


def past_deadline(seconds: float) -> Failure:
    detail = f"The deadline of {seconds:g} s passed."
    return Failure(error=ErrorClass.TIMEOUT, kind=Kind.TRANSIENT, detail=detail)


def _is_over(exchange: Exchange, seen: _Watched, now: float) -> bool:
    """Is all that may still come of it a body nobody wants, and has that been waited for?"""
    if seen.answered_at is None:
        seen.answered_at = now if exchange.is_answered() else None
        return False
    return now - seen.answered_at >= LONGEST_COURTESY


def _past_limit(exchange: Exchange, transfer: Transfer, seen: _Watched, now: float) -> Failure | None:
    """Return the limit an exchange is past, if any; marks how far it is, for the next look at its speed.

    Only bytes of a body count: header lines, interim answers and trailers may go on for ever.
    """
    if seen.answered_at is not None:
        return None  # how it ends is known, and it ends soon
    policy = transfer.terms.policy
    if now >= transfer.deadline:
        return past_deadline(policy.timeout)
    if not exchange.received:
        return _not_begun(exchange, policy.first_byte_timeout, now)
    return _too_slow(exchange, seen, policy, now) if policy.slowest else None


def _not_begun(exchange: Exchange, limit: float, now: float) -> Failure | None:
    if not limit or now - exchange.began < limit:
        return None
    detail = f"No byte of the body came for {limit:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)


def _too_slow(exchange: Exchange, seen: _Watched, policy: JobPolicy, now: float) -> Failure | None:
    """Compare what came within the window that ends now; the first one begins when the first byte was seen."""
    window, marks = policy.slow_window, seen.marks
    if marks and now - seen.marked_at < window / PARTS:
        return None
    marks = seen.marks = (*marks[-PARTS:], exchange.received)
    seen.marked_at = now
    if len(marks) <= PARTS or marks[-1] - marks[0] >= policy.slowest * window:
        return None
    detail = f"Fewer than {policy.slowest} bytes/s came for {window:g} s."
    return Failure(error=ErrorClass.TOO_SLOW, kind=Kind.TRANSIENT, detail=detail)
