"""When to try again, and after how long."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from contract.records.outcomes import Attempt
from contract.records.policy import JobPolicy
from worker.engine.failures import Failure

_SECONDS = re.compile(r"[0-9]+")
_LONGEST = 1e10  # seconds; longer waits are cut to this


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter, capped.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter". Times are in seconds.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0

    @classmethod
    def of(cls, policy: JobPolicy) -> RetryPolicy:
        return cls(attempts=policy.attempts, first_wait=policy.first_wait, longest_wait=policy.longest_wait)

    def wait_after(self, failure: Failure, history: Sequence[Attempt], *, random: Callable[[], float]) -> float | None:
        """Return the seconds to wait before the next attempt; None gives up.

        ``history`` holds every attempt so far, the failed one included.
        """
        if not failure.is_transient or len(history) >= self.attempts:
            return None
        if failure.tries is not None and sum(each.error is failure.error for each in history) >= failure.tries:
            return None
        return self.pause_after(failure, len(history), random=random)

    def pause_after(self, failure: Failure, tries: int, *, random: Callable[[], float]) -> float:
        """Return the seconds to wait after this many failed tries."""
        backoff = max(
            failure.not_before, random() * min(self.first_wait * 2.0 ** min(tries - 1, 60), self.longest_wait)
        )
        return backoff if failure.retry_after is None else max(backoff, failure.retry_after)


def retry_after(text: str | None, *, date: str | None = None, wall: float) -> float | None:
    """Read a Retry-After field (RFC 9110 section 10.2.3); zero, past dates and invalid values count as absent.

    A date is relative to the server's clock, from its ``date`` field; without one, to ``wall`` (Unix seconds).
    """
    if not text:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST) or None
    moment = _moment(text)
    if moment is None:
        return None
    sent = _moment(date) if date else None
    wanted = moment - (wall if sent is None else sent)
    return min(wanted, _LONGEST) if wanted > 0 else None


def _moment(text: str) -> float | None:
    """Read an HTTP date; returns Unix seconds."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000" means UTC of unknown origin (RFC 5322)
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
