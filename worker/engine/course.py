"""A run's course: until when it starts transfers, when it must end, and trouble with the worker's disk."""

from __future__ import annotations

from math import inf


class Course:
    """Thread-safe. Times are the clock's seconds."""

    __slots__ = ("_is_ending", "abandoned", "drain_at", "short_of_space", "stalled", "starts_until")

    def __init__(self, until: float) -> None:
        self.starts_until = until  # compared by lanes before each first attempt
        self.abandoned = False
        self.drain_at: float | None = None
        self.stalled: str | None = None  # the disk's trouble; no more work is taken
        self.short_of_space: str | None = None  # why a large body waits while others are fetched
        self._is_ending = False

    def stop(self, drain_at: float) -> None:
        """Start no more transfers; those in flight at ``drain_at`` are handed back."""
        self.drain_at = drain_at
        self._end()

    def abandon(self, now: float) -> None:
        """End at once: the lease is lost, and another worker may hold the batch."""
        self.abandoned = True
        self.stop(now)

    def stall(self, reason: str) -> None:
        """Start no more transfers, because the disk failed."""
        self.stalled = self.stalled or reason
        self._end()

    def wait_for_space(self, reason: str) -> None:
        self.short_of_space = reason

    def renew(self, until: float) -> None:
        """Allow starts until then, unless the run was stopped."""
        self.starts_until = until
        if self._is_ending:  # checked last: another thread may have stopped it meanwhile
            self.starts_until = -inf

    def must_end(self, now: float) -> bool:
        """Must transfers in flight be given up?"""
        return self.abandoned or (self.drain_at is not None and now >= self.drain_at)

    def _end(self) -> None:
        self._is_ending = True
        self.starts_until = -inf
