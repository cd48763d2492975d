"""Transfers that stall give their slots to others, and get one back later."""

from __future__ import annotations

import pytest

from contract.records.batches import BatchEntry
from contract.records.outcomes import Attempt, Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_pace import Pace, PacedHttp
from tests.support.virtual_world import Reply, VirtualWorld, urls
from worker.engine.backlog import Backlog
from worker.engine.schedule import QUIET_AFTER

OPEN = JobPolicy(timeout=30.0, attempts=3)


def _hangs(url: str, _turn: int) -> Reply:
    return Reply(after=1000.0 if "hang" in url else 0.1)


@pytest.mark.parametrize("drip", [0.0, 100.0])
def test_a_stalled_transfer_costs_the_others_a_slot_for_two_seconds(drip: float) -> None:
    """Guards Slots: eight silent URLs, or drips, fill the window until their speed floor ends them, after 30 s."""
    stalls = Reply(after=1000.0, body=bytes(100_000), drip=drip)
    world = VirtualWorld(lambda url, _turn: stalls if "hang" in url else Reply())
    hanging = world.start(urls(8, "hang.test"), OPEN)
    world.lane.drive_once()
    good = world.start([f"http://{host}.test/" for host in range(80)], OPEN)

    world.drive_until(lambda: good.wait(0))

    assert world.clock.seconds < 4
    world.drive_until(lambda: world.clock.seconds > 25 or world.lane._schedule.quiet < 8)
    assert world.clock.seconds > 25
    world.drive_until(lambda: hanging.wait(0))
    assert not world.store.drafts


@pytest.mark.parametrize(("takes", "noticed"), [(0.05, 0.4), (0.2, 0.8), (1.0, 2.0)])
@pytest.mark.parametrize("window", [4, 16])
def test_silence_is_noticed_after_four_times_what_the_others_take(takes: float, noticed: float, window: int) -> None:
    """Guards _Turnover: each silent URL among fast ones cost them a slot for two seconds."""
    world = VirtualWorld(lambda url, _turn: Reply(after=1000.0 if "hang" in url else takes), window=window)
    world.start([f"http://{number % (window // 2)}.test/{number}" for number in range(int(10 * window / takes))], OPEN)
    world.drive_until(lambda: world.clock.seconds > 4)
    began = world.clock.seconds

    world.start(urls(max(1, window // 8), "hang.test/hang"), OPEN)
    world.drive_until(lambda: world.lane._schedule.quiet > 0)

    assert noticed <= world.clock.seconds - began < noticed + 0.4


def test_slow_answers_among_fast_ones_make_silence_no_less_conspicuous() -> None:
    """Guards what ``ended`` leaves out: each slow answer held a slot for longer than the one before."""
    world = VirtualWorld(lambda url, _turn: Reply(after=2.0 if "slow" in url else 0.1), window=8)

    world.fetch([f"http://{'slow' if number % 5 == 0 else number % 20}.{number}.test/" for number in range(500)], OPEN)

    assert world.clock.seconds < 16


def test_a_host_with_many_in_flight_is_not_asked_for_more_so_soon() -> None:
    """Guards the two seconds of such a host: one that pauses for a second would be sent more and more requests."""
    world = VirtualWorld(_hangs, window=8)
    world.fetch(urls(80, "b.test"), OPEN)
    began = world.clock.seconds

    world.start(urls(80, "b.test/hang"), OPEN)
    world.drive_until(lambda: world.lane._schedule.quiet > 0)

    assert world.clock.seconds - began >= QUIET_AFTER


def test_a_quiet_transfer_whose_bytes_come_continues_undisturbed() -> None:
    world = VirtualWorld(lambda url, _turn: Reply(after=10.0 if "late" in url else 1.0), window=2)

    run = world.fetch([*urls(2, "late.test"), *urls(40, "b.test")], OPEN)

    assert [outcome.ending for outcome in run.outcomes] == [Ending.OK] * 42
    assert len(world.http.requests) == 42
    assert world.lane._schedule.quiet == world.lane._schedule.flying == 0


def test_a_quiet_transfer_whose_bytes_flow_again_holds_a_slot() -> None:
    clock = VirtualClock()
    flows_late = Pace(lambda seconds: 50_000 * max(0.0, seconds - 4), size=200_000)
    http = PacedHttp(clock, [flows_late, Pace(lambda seconds: 5000 * seconds, size=5000)])
    world = VirtualWorld(clock=clock, http=http, window=2)
    schedule = world.lane._schedule
    late, others = world.start(urls(1, "late.test"), OPEN), world.start(urls(20, "b.test"), OPEN)

    world.drive_until(lambda: clock.seconds > 3.5)
    assert (schedule.quiet, schedule.flying, late.fetching, late.progress.waits.quiet) == (1, 3, 0, 1)
    world.drive_until(lambda: clock.seconds > 7)
    assert (schedule.quiet, schedule.flying, late.fetching, late.progress.waits.quiet) == (0, 2, 1, 0)
    world.drive_until(lambda: late.wait(0) and others.wait(0))
    assert (schedule.quiet, schedule.flying) == (0, 0)


def test_a_retry_of_a_stalled_url_takes_no_slot() -> None:
    """Guards Tier.STALLED: each retry would cost the others a slot for as long as its silence is not noticed."""
    policy = JobPolicy(timeout=300.0, attempts=3, first_byte_timeout=5.0)
    world = VirtualWorld(_hangs, window=2)
    world.start([f"http://h{host}.test/hang" for host in range(6)], policy)
    good = world.start(urls(400, "b.test"), policy)

    world.drive_until(lambda: good.wait(0))

    tries = [url for _, url in world.http.requests if "hang" in url]
    assert len(tries) > 12
    assert world.clock.seconds < 400 * 0.1 / 2 + 5


def test_a_retry_that_finds_no_slot_ends_at_its_deadline() -> None:
    """Guards _end_overdue: no URL outlives its deadline, whatever it waits for."""
    world = VirtualWorld(_hangs, window=2)
    run = world.start(["http://c.test/hang"], JobPolicy(timeout=12.0, attempts=2, first_byte_timeout=5.0))
    world.start([f"http://h{host}.test/hang" for host in range(20)], JobPolicy(timeout=500.0, first_byte_timeout=0))

    world.drive_until(lambda: run.wait(0))

    assert 12 <= world.clock.seconds < 14
    assert [len(outcome.attempts) for outcome in run.outcomes] == [1]


def test_a_retry_of_an_earlier_batch_that_finds_no_slot_waits_for_one() -> None:
    """Guards has_stalled: the deadline of a URL that has not begun in this run is not known, and so not over."""
    world = VirtualWorld(_hangs, window=2)
    world.start([f"http://h{host}.test/hang" for host in range(20)], JobPolicy(timeout=20.0, first_byte_timeout=0))
    world.drive_until(lambda: world.lane._schedule.quiet == 8)
    stalled = Attempt(ErrorClass.TIMEOUT, None, 5.0)

    run = world.fetch([BatchEntry(url="http://c.test/", attempts=(stalled,), spent=5.0)], OPEN)

    assert world.clock.seconds > 10
    assert [outcome.ending for outcome in run.outcomes] == [Ending.OK]


def test_quiet_transfers_leave_room_for_another_batch() -> None:
    """Guards Run.rest: a process with only silent URLs took no other work until they were over."""
    world = VirtualWorld(_hangs)
    run = world.start([*urls(8, "hang.test"), *urls(3, "limited.test/hang")], JobPolicy(per_host=1))
    assert run.fetching == 11

    world.drive_until(lambda: world.clock.seconds > 3)

    assert run.fetching == 0
    assert run.is_straggling
    assert not run.wait(0)


def test_there_is_room_as_soon_as_all_runs_together_have_few_urls_left() -> None:
    """Guards Backlog: each run looked at its own URLs only, and a process with many runs noticed its room too late."""
    world = VirtualWorld(lambda url, _turn: Reply(after=1.5 if "slow" in url else 0.1))
    backlog, left = Backlog(room=8), []

    def wake() -> None:
        left.append(sum(run.fetching for run in runs))

    runs = [world.start(urls(5, host), backlog=backlog, wake=wake) for host in ("slow.test", "fast.test")]

    world.drive_until(lambda: bool(left))

    assert left == [6]  # of ten: they come in pairs, and the fast ones are not over


def test_hosts_that_only_stall_cost_the_others_no_more_slots() -> None:
    """Guards Host.set_back: once silence is all that came of a host, its first tries take no slot either."""
    policy = JobPolicy(slow_window=600.0)
    world = VirtualWorld(_hangs)
    world.start([url for host in range(8) for url in urls(4, f"hang{host}.test")], policy)
    world.lane.drive_once()
    good = world.start(urls(160, "good.test"), policy)

    world.drive_until(lambda: good.wait(0))

    assert world.clock.seconds < QUIET_AFTER + 160 * 0.1 / 8 + 1
