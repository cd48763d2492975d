"""An outage is reported once when it begins, and once when it is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Outage:
    """Whether something that is tried again and again has failed since it last worked."""

    def __init__(self, *, repeat: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        """``repeat``: a lasting outage is reported again after this many seconds."""
        self._repeat = repeat
        self._clock = clock
        self._began: float | None = None
        self._reported = -math.inf

    def begin(self) -> bool:
        """Note a failure; True if it is to be reported now."""
        now = self._clock()
        if self._began is None:
            self._began, self._reported = now, -math.inf
        if now - self._reported < self._repeat:
            return False
        self._reported = now
        return True

    def end(self) -> float | None:
        """Note a success; return the seconds since the first failure, or None if there was none."""
        began, self._began = self._began, None
        return None if began is None else self._clock() - began
