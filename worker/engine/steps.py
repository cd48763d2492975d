"""What a transfer does after one of its exchanges has ended."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.failures import Failure


@dataclass(frozen=True, slots=True)
class Publish:
    """The body is complete: publish it once it is proven."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Continue the same attempt at once: follow a redirect, or use a new connection."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at this time (the clock's seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Over:
    """The URL has ended without a body."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class GoBack:
    """The worker's disk failed: hand the URL back and do not count this attempt.

    ``after``: only this body does not fit, and waits for this many seconds.
    """

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """The host is paused: start over after the pause and do not count this attempt."""

    host: str


Step = Publish | Follow | Retry | Over | GoBack | Hold
PUBLISH = Publish()
FOLLOW = Follow()
