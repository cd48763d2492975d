"""Outages are waited out, reported once, and can be given up."""

import kombu.exceptions
import pytest
import redis.exceptions

from producer.cluster.client import RedisFullError, Retrying


class World:
    """Time that passes only during sleeps, and a call that fails a number of times."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.now = 0.0
        self.left = failures
        self.error = error or redis.exceptions.ConnectionError("redis://:secret@host refused")
        self.told: list[str] = []
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)

    def call(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"

    def retrying(self) -> Retrying:
        return Retrying(self.told.append, clock=lambda: self.now, sleep=self.sleep)


def test_an_outage_and_its_end_are_reported_once() -> None:
    world = World(failures=6)

    answer = world.retrying().call(world.call)

    assert answer == "answer"
    assert len(world.told) == 2
    assert "cannot be reached" in world.told[0]
    assert "is back after" in world.told[1]
    assert not any("secret" in line for line in world.told)
    assert world.waits == sorted(world.waits)
    assert max(world.waits) <= 5.0


def test_a_long_outage_is_reported_repeatedly() -> None:
    world = World(failures=40)

    world.retrying().call(world.call)

    assert 3 < len(world.told) < 10


def test_other_errors_are_not_waited_for() -> None:
    world = World(failures=1, error=ValueError("a bug"))

    with pytest.raises(ValueError, match="a bug"):
        world.retrying().call(world.call)


def test_a_full_redis_is_recognised_even_if_kombu_wraps_the_error() -> None:
    try:
        try:
            raise redis.exceptions.OutOfMemoryError("OOM")
        except redis.exceptions.OutOfMemoryError as cause:
            raise kombu.exceptions.OperationalError("OOM") from cause
    except kombu.exceptions.OperationalError as error:
        wrapped = error
    world = World(failures=1, error=wrapped)

    with pytest.raises(RedisFullError):
        world.retrying().call(world.call, even_when_full=False)
    assert World(failures=1, error=wrapped).retrying().call(lambda: "answer") == "answer"
