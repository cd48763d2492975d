"""What counts against a URL's deadline, and what is due to our own queue or a name server."""

from __future__ import annotations

import random
from collections import deque

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld, always, urls
from worker.engine.exchange import Exchange
from worker.engine.ports import Answer, Ended

OPEN = JobPolicy(timeout=30.0, attempts=3)


def test_the_deadline_ends_a_silent_exchange() -> None:
    world = always(Reply(after=1000.0))

    run = world.fetch(["http://a.test/"], JobPolicy(timeout=5.0, attempts=1))

    assert run.outcomes[0].error is ErrorClass.TIMEOUT
    assert 5.0 <= world.clock.seconds < 6.0
    assert not world.store.drafts


def test_a_name_that_never_resolves_holds_only_its_own_urls() -> None:
    world = always(Reply())
    world.names.slow.add("stuck.test")

    run = world.fetch([*urls(20), *urls(2, "stuck.test")], JobPolicy(timeout=5.0, connect_timeout=2.0, attempts=1))

    assert [at for at, _ in world.http.requests][-1] < 1
    stuck = [outcome for outcome in run.outcomes if "stuck" in outcome.url]
    assert {outcome.error for outcome in stuck} == {ErrorClass.DNS}
    assert len(stuck) == 2


def test_a_name_that_resolves_late_starts_its_urls() -> None:
    world = always(Reply())
    world.names.slow.add("late.test")
    run = world.start(urls(2, "late.test"), OPEN)
    world.drive_until(lambda: "late.test" in world.names.held)

    world.names.held["late.test"]("late.test", Answer(("192.0.2.7",)))
    world.names.slow.clear()
    world.drive_until(lambda: run.wait(0))

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}


def test_a_name_waiting_in_our_own_queue_is_not_late() -> None:
    """Guards ``begun``: our own queue is neither the host's fault nor the URL's time."""
    world = always(Reply(after=1.0))
    world.names.slow.add("queued.test")
    world.names.queued.add("queued.test")
    run = world.start(["http://queued.test/"], JobPolicy(timeout=5.0, connect_timeout=2.0, attempts=1))
    world.drive_until(lambda: world.clock.seconds > 60.0)

    world.names.slow.clear()
    world.names.held["queued.test"]("queued.test", Answer(("192.0.2.7",), begun=world.clock.seconds))
    world.drive_until(lambda: run.wait(0))

    (outcome,) = run.outcomes
    assert outcome.ending is Ending.OK
    assert outcome.timing.total < 2.0
    assert outcome.timing.queued > 60.0


def test_time_added_by_a_busy_lane_is_not_the_urls() -> None:
    """Guards _lag: for small files of a fast server, more than half of ``total`` was in no phase."""
    world = always(Reply(after=1.0))
    wait = world.http.wait

    def late(seconds: float | None) -> object:
        ended = wait(seconds)
        if ended:
            world.clock.seconds += 5.0
        return ended

    world.http.wait = late  # type: ignore[method-assign, assignment]  # a lane that sees to others in between
    run = world.fetch(["http://a.test/"], JobPolicy(attempts=1))

    (outcome,) = run.outcomes
    assert outcome.timing.total == pytest.approx(1.0, abs=0.2)
    assert outcome.timing.queued >= 5.0


def test_a_body_that_has_come_is_no_timeout_however_late_the_lane_notices() -> None:
    """Guards ``is_due`` in ``drive_once``: a machine at ten times its load lost 700 of 7,552 bodies that had come."""
    world = always(Reply(after=1.0))
    wait, held = world.http.wait, deque[tuple[Exchange, Ended]]()

    def one_by_one(seconds: float | None) -> list[tuple[Exchange, Ended]]:
        came = wait(0.0 if held else seconds)
        if came and not held:
            world.clock.seconds += 60.0  # others have the processor
        held.extend(came)
        return [held.popleft()] if held else []

    world.http.wait = one_by_one  # type: ignore[method-assign]  # a few at a time, as libcurl's are taken
    run = world.fetch(urls(8), JobPolicy(timeout=5.0, attempts=1))

    assert [outcome.ending for outcome in run.outcomes] == [Ending.OK] * 8


def test_a_urls_clock_starts_when_it_has_an_address() -> None:
    """Guards the deadline: a lookup may take long, and so may the transfer after it."""
    world = always(Reply(after=4.0))
    world.names.slow.add("late.test")
    run = world.start(["http://late.test/"], JobPolicy(timeout=5.0, attempts=1))
    world.drive_until(lambda: world.clock.seconds > 3.0)

    world.names.slow.clear()
    world.names.held["late.test"]("late.test", Answer(("192.0.2.7",), begun=0.0))
    world.drive_until(lambda: run.wait(0))

    (outcome,) = run.outcomes
    assert outcome.ending is Ending.OK
    assert outcome.timing.dns == pytest.approx(3.0, abs=0.2)
    assert outcome.timing.total == pytest.approx(7.0, abs=0.5)


def test_a_urls_clock_starts_when_it_has_a_slot() -> None:
    """Guards ``leave_queue`` and ``ready_at``: after its lookup, and after a failure, a URL waits for us."""
    slow = Reply(after=8.0)
    script = {"http://late.test/": (Reply(status=503, after=0.5), Reply(after=3.0))}
    world = VirtualWorld(lambda url, turn: script.get(url, (slow, slow))[turn], window=1)
    world.names.slow.add("late.test")
    policy = JobPolicy(timeout=10.0, attempts=3)
    run = world.start(["http://late.test/"], JobPolicy(timeout=5.0, attempts=3))
    world.drive_until(lambda: "late.test" in world.names.held)
    others = [world.start(urls(1, f"{name}.test"), policy) for name in "abcdef"]
    world.drive_until(lambda: len(world.http.requests) == 1)

    world.names.slow.clear()
    world.names.held["late.test"]("late.test", Answer(("192.0.2.7",), begun=0.0))
    world.drive_until(lambda: run.wait(0) and all(each.wait(0) for each in others))

    (outcome,) = run.outcomes
    assert (outcome.ending, len(outcome.attempts)) == (Ending.OK, 2)
    assert world.http.requests_for("http://late.test/")[0] > 7.0
    assert outcome.timing.total < 5.0


def test_a_thousand_urls_of_a_dead_name_share_each_lookup() -> None:
    """Guards ``_NOT_BEFORE``: each attempt needs a later answer, which attempts close together share."""
    asked = []

    def look_up(host: str) -> tuple[str, ...]:
        asked.append(host)
        raise OSError("no server answered")

    world = VirtualWorld(look_up=look_up)
    world.lane._random = random.Random(2026).random  # retries at a thousand different moments

    run = world.fetch(urls(1000, "dead.test"), JobPolicy(timeout=300.0, attempts=4))

    assert {len(outcome.attempts) for outcome in run.outcomes} == {4}
    assert len(asked) < 12
