"""A follower, on a Redis that answers and takes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from contract.cluster.broker import RedisDiskError
from producer.cluster.client import Retrying
from producer.job.follower import Collected, Follower
from tests.support.memory_services import OUT_OF_MEMORY, MemoryServices


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


def test_a_redis_that_takes_nothing_is_said_until_somebody_has_swept() -> None:
    """Guards what is made of a sweep that failed: where nothing is closed, nothing else writes."""
    services = Refusing("job")
    follower = Follower("job", Nowhere(), services=services, retrying=Retrying(print))
    said = []

    for services.fault in (RedisDiskError("MISCONF"), OUT_OF_MEMORY, None, None):
        follower.step(at_once=True)
        said.append(follower.held_up)
    follower.finish()

    disk, memory = "Redis cannot write to its disk: it is full or failing", "Redis is out of memory"
    assert said == [disk, memory, memory, ""]
