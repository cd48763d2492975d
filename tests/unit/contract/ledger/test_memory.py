"""What is reported of a Redis that is nearly full, or that evicts keys."""

from __future__ import annotations

from contract.ledger.memory import RedisMemory


def test_a_redis_above_the_limit_is_reported_with_the_consequence() -> None:
    memory = RedisMemory.of({"used_memory": 799, "maxmemory": 1000, "maxmemory_policy": "noeviction"})

    assert memory.is_full
    assert memory.fullness == "Redis is 79 % full; nothing is sent above 70 %"
    assert memory.eviction is None


def test_a_redis_below_or_without_a_limit_is_not_full() -> None:
    assert not RedisMemory(used=700, most=1000, policy="noeviction").is_full
    assert not RedisMemory.of({"used_memory": 10**12, "maxmemory": 0}).is_full


def test_a_redis_that_evicts_is_reported_with_what_to_set() -> None:
    for policy in ("allkeys-lru", "volatile-ttl"):
        eviction = RedisMemory(used=1, most=0, policy=policy).eviction

        assert eviction is not None
        assert f"({policy})" in eviction
        assert eviction.endswith("set maxmemory-policy noeviction.")
