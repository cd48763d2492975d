"""What holds workers up is told when it changes, and shown while it lasts."""

from __future__ import annotations

import redis.exceptions

from contract.ledger.health import Trouble
from producer.job.troubles import Troubles

FULL = Trouble("The disk is full (ENOSPC).")
WAITS = Trouble("A body of 40 MiB waits.", takes_work=True)


class World:
    """Workers with their troubles, and what a person was told."""

    def __init__(self, *, is_own: bool = False) -> None:
        self.time = 0.0
        self.found: dict[str, Trouble] = {}
        self.is_away = False
        self.asked = 0
        self.told: list[str] = []
        self.troubles = Troubles(self._ask, self.told.append, is_own=is_own, clock=lambda: self.time)

    def _ask(self) -> dict[str, Trouble]:
        self.asked += 1
        if self.is_away:
            raise redis.exceptions.ConnectionError
        return self.found

    def look(self, **found: Trouble) -> list[str]:
        """Return what is told of what is found now."""
        self.found, self.time = found, self.time + 2.0
        before = len(self.told)
        self.troubles.look()
        return self.told[before:]


def test_each_trouble_is_told_once_with_its_end() -> None:
    world = World()

    assert world.look(a=FULL) == ["Worker a takes no work: The disk is full (ENOSPC)."]
    assert world.look(a=FULL, b=WAITS) == ["Worker b is short of space: A body of 40 MiB waits."]
    assert world.troubles.state.startswith("2 workers: ")
    assert world.look() == ["Worker a takes work again.", "Worker b has space again."]
    assert world.troubles.state == ""


def test_the_own_worker_needs_no_name() -> None:
    world = World(is_own=True)

    assert world.look(a=FULL) == ["The worker takes no work: The disk is full (ENOSPC)."]
    assert world.troubles.state == "takes no work: The disk is full (ENOSPC)."


def test_of_many_workers_a_few_are_named() -> None:
    world = World()

    told = world.look(**{f"w{number}": FULL for number in range(50)})

    assert len(told) == 4
    assert told[-1] == "... and 47 more workers."
    assert world.troubles.state == "50 workers: takes no work: The disk is full (ENOSPC)."


def test_it_asks_seldom_and_keeps_what_it_knows_while_redis_is_away() -> None:
    world = World()
    world.look(a=FULL)
    world.troubles.look()
    assert world.asked == 1
    world.is_away = True

    assert world.look() == []
    assert world.troubles.state == "1 worker: takes no work: The disk is full (ENOSPC)."
