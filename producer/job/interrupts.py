"""Ctrl-C and SIGTERM: the first asks a command to stop, the second ends it at once."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a request, and the second into an immediate exit; a context manager."""

    def __init__(self) -> None:
        self.is_requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True

    def raise_if_requested(self) -> None:
        """For code that waits for something that may never happen."""
        if self.is_requested:
            raise KeyboardInterrupt
