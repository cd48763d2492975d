"""The system's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Implements ``worker.engine.ports.Clock``."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
