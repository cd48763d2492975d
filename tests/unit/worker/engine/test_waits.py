"""What a run's URLs wait for is reported for each run, and only for URLs that do wait."""

from __future__ import annotations

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld
from worker.engine.ports import Answer
from worker.engine.waits import Waits

PATIENT = JobPolicy(timeout=300.0)


def turn_for(world: VirtualWorld, seconds: float) -> None:
    until = world.clock.seconds + seconds
    world.drive_until(lambda: world.clock.seconds >= until)


def test_transfers_in_flight_and_quiet_ones_are_counted_by_host() -> None:
    """Guards Slots.note: without it slow answers could not be named as what holds a job up."""
    world = VirtualWorld(lambda url, _turn: Reply(after=60.0 if "slow" in url else 0.1))
    run = world.start([f"http://slow.test/{index}" for index in range(3)], PATIENT)
    other = world.start(["http://slow.test/other"], PATIENT)
    turn_for(world, 1.5)

    assert run.progress.waits == Waits(flying=3)
    turn_for(world, 3.0)

    assert run.progress.waits.quiet == 3
    assert run.progress.waits.hosts == {"slow.test:80": 3}
    assert other.progress.waits.flying == 1


def test_only_urls_waiting_for_silent_name_servers_are_counted() -> None:
    """Guards the two seconds of Lookups.note: a name that takes a moment does not mean a silent name server."""
    world = VirtualWorld()
    world.names.slow |= {"dead.test", "behind.test"}
    world.names.queued.add("behind.test")
    run = world.start(["http://dead.test/1", "http://dead.test/2", "http://behind.test/", "http://b.test/"], PATIENT)
    turn_for(world, 1.5)

    assert run.progress.waits.unresolved == 0
    turn_for(world, 3.0)

    assert run.progress.waits.hosts == {"dead.test:80": 1, "behind.test:80": 1}
    deliver = world.names.held.pop("dead.test")
    deliver("dead.test", Answer(("192.0.2.9",)))
    turn_for(world, 1.5)
    assert run.progress.waits.hosts == {"behind.test:80": 1}


def test_urls_waiting_for_a_throttling_host_are_reported_with_the_seconds_left() -> None:
    """Guards HostWaits.note: nothing was reported to hold up a job whose hosts all throttled."""
    fields = (("Retry-After", "4"),)
    world = VirtualWorld(lambda url, _turn: Reply(status=429, fields=fields) if "busy" in url else Reply(after=60.0))
    run = world.start([f"http://busy.test/{index}" for index in range(5)], PATIENT)
    other = world.start(["http://good.test/"], PATIENT)
    turn_for(world, 1.5)

    assert run.progress.waits.throttled == 5
    assert 2.0 < run.progress.waits.throttling["busy.test:80"] < 3.5
    assert other.progress.waits == Waits(flying=1)


def test_errors_are_counted_by_class_until_they_are_reported() -> None:
    """Guards what ``pop_settled`` removes: each would be counted twice, in the report and in what continues."""
    world = VirtualWorld(
        lambda url, _turn: Reply(after=900.0) if "slow" in url else Reply(status=404 if "gone" in url else 200)
    )
    run = world.start(["http://a.test/gone", "http://a.test/gone2", "http://a.test/", "http://slow.test/"], PATIENT)
    world.drive_until(lambda: len(run.outcomes) == 3)

    assert run.progress.errors == {ErrorClass.HTTP_4XX: 2}
    assert run.pop_settled() is not None
    assert run.progress.errors == {}
