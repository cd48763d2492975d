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
_LONGEST = 1e9  # seconds; whoever asks for more asks for a long wait, too


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter, capped.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter". Times are in seconds.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 120.0

    @classmethod
    def of(cls, policy: JobPolicy) -> RetryPolicy:
        return cls(
            attempts=policy.attempts,
            first_wait=policy.first_wait,
            longest_wait=policy.longest_wait,
            longest_retry_after=policy.longest_retry_after,
        )

    def wait_after(self, failure: Failure, history: Sequence[Attempt], *, random: Callable[[], float]) -> float | None:
        """Return the seconds to wait before the next attempt; None gives up.

        ``history`` holds every attempt so far, the failed one included. A server that asks for more than
        ``longest_retry_after`` is not waited for.
        """
        if not failure.is_transient or len(history) >= self.attempts:
            return None
        if failure.tries is not None and sum(each.error is failure.error for each in history) >= failure.tries:
            return None
        return self.pause_after(failure, len(history), random=random)

    def pause_after(self, failure: Failure, tries: int, *, random: Callable[[], float]) -> float | None:
        """Return the seconds to wait when so many tries have failed; None: the server asks for too long a wait."""
        backoff = max(failure.pause, random() * min(self.first_wait * 2.0 ** min(tries - 1, 60), self.longest_wait))
        if failure.retry_after is None:
            return backoff
        return None if failure.retry_after > self.longest_retry_after else max(backoff, failure.retry_after)


def retry_after(text: str | None, *, wall: float) -> float | None:
    """Read a Retry-After field (RFC 9110 section 10.2.3); nonsense counts as absent.

    Returns seconds from ``wall`` (Unix seconds), never negative.
    """
    if not text:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000" is how RFC 5322 says UTC of unknown origin
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - wall)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
