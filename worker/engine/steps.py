"""What comes next for a transfer, when an exchange of it has ended."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.failures import Failure


@dataclass(frozen=True, slots=True)
class Publish:
    """The body is whole: it may get its name once it is proven to be the promised one."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Go on, at once, with the same attempt: where a redirect leads, or on a new connection."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at this moment (the clock's seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Over:
    """The URL has ended without a file."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class GoBack:
    """Our own disk failed: the URL is handed back as if this attempt had not been.

    ``after``: the disk is fine but for this body, which is to wait for so many seconds.
    """

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A host asked for time: the URL starts over when that has passed, and this attempt was none."""

    host: str


Step = Publish | Follow | Retry | Over | GoBack | Hold
PUBLISH = Publish()
FOLLOW = Follow()
