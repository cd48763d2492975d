"""The memory of the ledger's Redis: how full it is, and whether it evicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FULL_ABOVE = 0.7  # of Redis' maxmemory; above it nothing is sent until followers have collected some


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """``used`` and ``most`` are in bytes (``most`` 0: no limit is set); ``policy`` is Redis' maxmemory-policy."""

    used: int
    most: int
    policy: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> RedisMemory:
        """Read the reply to INFO."""
        used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory") or 0)
        return cls(used, most, str(info.get("maxmemory_policy", "noeviction")))

    @property
    def is_full(self) -> bool:
        """Should producers pause?"""
        return self.used > FULL_ABOVE * self.most > 0

    @property
    def fullness(self) -> str:
        """A sentence without its full stop: how full Redis is, and the consequence."""
        share = 100 * self.used // self.most if self.most else 0
        return f"Redis is {share} % full; nothing is sent above {FULL_ABOVE * 100:.0f} %"

    @property
    def eviction(self) -> str | None:
        """A warning that Redis evicts keys, and what to set; None if it does not."""
        if self.policy == "noeviction":
            return None
        return (
            f"Redis evicts batches and reports when its memory is full ({self.policy}):"
            " set maxmemory-policy noeviction."
        )
