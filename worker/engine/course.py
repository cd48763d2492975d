"""How a run is to go on: until when it starts more, when it must end, and what our own disk has to say."""

from __future__ import annotations

from math import inf


class Course:
    """May be called from any thread. Times are the clock's seconds."""

    __slots__ = ("_is_ending", "abandoned", "drain_at", "short_of_space", "stalled", "starts_until")

    def __init__(self, until: float) -> None:
        self.starts_until = until  # lanes ask before each first attempt: it is a comparison
        self.abandoned = False
        self.drain_at: float | None = None
        self.stalled: str | None = None  # what our own disk suffers from: take no more work
        self.short_of_space: str | None = None  # why a large body waits while others are fetched
        self._is_ending = False

    def stop(self, drain_at: float) -> None:
        """Start no more; what is in flight then is handed back."""
        self.drain_at = drain_at
        self._end()

    def abandon(self, now: float) -> None:
        """The batch belongs to somebody else."""
        self.abandoned = True
        self.stop(now)

    def stall(self, reason: str) -> None:
        """Our own disk failed: start no more."""
        self.stalled = self.stalled or reason
        self._end()

    def wait_for_space(self, reason: str) -> None:
        self.short_of_space = reason

    def renew(self, until: float) -> None:
        """Start more until then, if it was not told otherwise."""
        self.starts_until = until
        if self._is_ending:  # by now: whoever said so may have come first
            self.starts_until = -inf

    def must_end(self, now: float) -> bool:
        """Must transfers in flight be given up?"""
        return self.abandoned or (self.drain_at is not None and now >= self.drain_at)

    def _end(self) -> None:
        self._is_ending = True
        self.starts_until = -inf
