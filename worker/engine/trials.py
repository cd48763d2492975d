"""The trials of a host's throttled URLs: whether it is time for them, and what the last ones point at."""

from __future__ import annotations

_MOST_DOUBTS = 4  # pauses without a trial after as many trials that pointed at the host


class Trials:
    """URLs are identified by name."""

    __slots__ = ("_doubts", "_pauses", "accused", "in_succession", "tried")

    def __init__(self) -> None:
        self.tried: set[str] = set()  # URLs throttled again on trial since the last pause
        self.accused: set[str] = set()  # by the last trials
        self.in_succession = 0  # number of those trials
        self._doubts = 0  # successive trials that pointed at the host
        self._pauses = 0  # since the last of them

    @property
    def are_due(self) -> bool:
        """Is it time for trials after this pause?"""
        return self._pauses >= min(self._doubts, _MOST_DOUBTS)

    @property
    def is_control_first(self) -> bool:
        """Should the next trial request the control first, other than the one before?"""
        return self.in_succession % 2 == 1

    def pause(self) -> None:
        """Note a pause, after which all URLs may be tried again."""
        self.tried.clear()
        self._pauses += 1

    def note_throttled(self, name: str) -> None:
        """Note that the URL on trial was throttled again."""
        self.tried.add(name)

    def accuse(self, name: str) -> None:
        """Record a trial against a URL: its control was answered well."""
        self._doubts = 0
        self.accused.add(name)
        self.in_succession += 1

    def acquit(self) -> None:
        """Record a trial without result: the URL was answered well."""
        self.accused.clear()
        self.in_succession = 0

    def doubt(self) -> None:
        """Record a trial that points at the host: the other URL was throttled as well."""
        self.acquit()
        self._pauses = 0
        self._doubts += 1
