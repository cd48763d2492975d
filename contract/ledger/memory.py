"""How full the Redis of the ledger is, and what it does when it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FULL_ABOVE = 0.7  # of Redis' maxmemory; above it nothing is fed until followers have drained some


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """``used`` and ``most`` are in bytes (``most`` 0: no limit is set); ``policy`` is Redis' maxmemory-policy."""

    used: int
    most: int
    policy: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> RedisMemory:
        """Read it out of what INFO answers."""
        used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory") or 0)
        return cls(used, most, str(info.get("maxmemory_policy", "noeviction")))

    @property
    def is_full(self) -> bool:
        """Is so little left that feeding should pause?"""
        return self.used > FULL_ABOVE * self.most > 0

    @property
    def fullness(self) -> str:
        """Say how full it is, and what follows: half a sentence for a state, without its full stop."""
        share = 100 * self.used // self.most if self.most else 0
        return f"Redis is {share} % full; nothing is sent above {FULL_ABOVE * 100:.0f} %"

    @property
    def eviction(self) -> str | None:
        """Say that it throws away what it holds, and what to set; None where it does not."""
        if self.policy == "noeviction":
            return None
        return (
            f"Redis evicts batches and reports when its memory is full ({self.policy}):"
            " set maxmemory-policy noeviction."
        )
