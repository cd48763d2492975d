"""A follower on a Redis that answers but rejects writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from contract.cluster.broker import RedisDiskError
from contract.ledger.channel import JobChannel
from contract.ledger.values import NewBatch
from contract.records.batches import pack_entries
from producer.cluster.client import Retrying
from producer.job.follower import Collected, Follower
from tests.support.memory_services import OUT_OF_MEMORY, MemoryServices

URL = "http://h/x"


class Nowhere:
    """A sink that takes everything and keeps nothing."""

    place = "nowhere"
    on_snapshot = None
    rows = 0

    def collect(self, closed: Sequence[tuple[str, bytes | None]]) -> Collected:
        return Collected()

    def count_uncollected(self) -> int:
        return 0


class Refusing(MemoryServices):
    """A cluster whose sweep fails as long as there is a fault."""

    fault: Exception | None = None

    def sweep(self, holder: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.ledger.swept()


class Announcing(JobChannel):
    """A channel on which a test announces closings, and on which no time passes."""

    is_subscribed = True

    def __init__(self) -> None:
        self.closings = 0

    def wait(self, within: float, enough: int = 1) -> int:
        closings, self.closings = self.closings, 0
        return closings

    def close(self) -> None:
        """There is no connection."""


class Announced(MemoryServices):
    """A cluster that has such a channel."""

    def __init__(self) -> None:
        super().__init__("job")
        self.announcing = Announcing()

    def channel(self, job: str, on_snapshot: Callable[[bytes], None] | None = None) -> JobChannel:
        return self.announcing


@pytest.mark.parametrize(("opened", "enough"), [(3, 3), (100, 40)])
def test_batches_are_collected_together_and_soon_if_they_are_the_last_or_fill_a_collection(
    opened: int, enough: int
) -> None:
    """Guards Follower._gathers_until: each collection costs as much as some hundred rows, or a job ends later."""
    services, now = Announced(), 0.0
    services.ledger.open("job", [NewBatch(str(number), pack_entries([URL]), 1) for number in range(opened)])
    follower = Follower("job", Nowhere(), services=services, retrying=Retrying(print), clock=lambda: now)
    follower.step(at_once=True)

    def is_collected(at: float, *, closings: int) -> bool:
        nonlocal now
        now = at
        services.announcing.closings = closings
        before = services.ledger.calls["drain"]
        follower.step()
        follower.wait(0.1)
        return services.ledger.calls["drain"] > before

    assert [is_collected(at, closings=1) for at in (0.1, 0.2)] == [False, False]
    assert is_collected(0.51, closings=0)
    assert not is_collected(0.52, closings=enough - 1)
    assert not is_collected(0.57, closings=1)
    assert is_collected(0.58, closings=0)


def test_a_redis_that_rejects_writes_is_reported_until_a_sweep_succeeds() -> None:
    """Guards the handling of a failed sweep: while nothing is closed, nothing else writes."""
    services = Refusing("job")
    follower = Follower("job", Nowhere(), services=services, retrying=Retrying(print))
    said = []

    for services.fault in (RedisDiskError("MISCONF"), OUT_OF_MEMORY, None, None):
        follower.step(at_once=True)
        said.append(follower.held_up)
    follower.finish()

    disk, memory = "Redis cannot write to its disk: it is full or failing", "Redis is out of memory"
    assert said == [disk, memory, memory, ""]
