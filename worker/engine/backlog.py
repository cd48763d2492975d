"""The backlog of a process: how many URLs its runs have yet to fetch, together."""

from __future__ import annotations

import threading


class Backlog:
    """Thread-safe."""

    def __init__(self, room: int = 1) -> None:
        """With fewer than ``room`` URLs in the backlog there is room for another batch."""
        self._room = room
        self._urls = 0
        self._lock = threading.Lock()

    def change(self, more: int) -> bool:
        """Add URLs, or take some away; True: that made room for another batch."""
        with self._lock:
            before = self._urls
            self._urls += more
            return before >= self._room > self._urls
