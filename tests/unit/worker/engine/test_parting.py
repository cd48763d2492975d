"""A run is divided: what is settled is taken out of it, and its other URLs continue undisturbed."""

from __future__ import annotations

from contract.records.outcomes import Ending
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld
from worker.engine.results import Settled
from worker.engine.run import Run

POLICY = JobPolicy(timeout=100.0, attempts=3)
QUICK = [f"http://a.test/{number}" for number in range(5)]
SLOW, FAILS, WAITS = "http://slow.test/", "http://fails.test/", "http://waits.test/"


def answer(url: str, turn: int) -> Reply:
    if url == SLOW:
        return Reply(after=20.0)
    if url == FAILS and turn == 0:
        return Reply(status=503, after=0.5)
    if url == FAILS:
        return Reply(after=20.0)
    return Reply(status=429, fields=(("Retry-After", "60"),)) if url == WAITS else Reply()


def parted(world: VirtualWorld, urls: list[str]) -> tuple[Run, Settled]:
    """Start these URLs and part them five seconds later."""
    run = world.start(urls, POLICY)
    world.drive_until(lambda: world.clock.seconds >= 5.0)
    settled = run.pop_settled()
    assert settled is not None
    return run, settled


def test_every_url_is_in_one_part_and_transfers_in_flight_continue_undisturbed() -> None:
    world = VirtualWorld(answer)

    run, settled = parted(world, [*QUICK, SLOW, FAILS])
    seen, unfinished = run.progress, run.unfinished
    world.drive_until(lambda: run.wait(0))

    assert sorted(outcome.url for outcome in settled.outcomes) == QUICK
    assert settled.busy > 0
    assert (seen.total, seen.ok, seen.bytes, unfinished) == (2, 0, 0, 2), "its progress starts over"
    assert {entry.url for entry in settled.rest} == {outcome.url for outcome in run.outcomes} == {SLOW, FAILS}
    assert {outcome.ending for outcome in (*settled.outcomes, *run.outcomes)} == {Ending.OK}
    assert len(world.http.requests_for(SLOW)) == 1
    assert 20.0 <= world.clock.seconds < 22.0


def test_attempts_and_time_spent_go_with_the_rest() -> None:
    """Guards ``leftover`` in ``pop_settled``: a crash after it would give each straggler all its attempts again."""
    world = VirtualWorld(answer)

    _, settled = parted(world, [*QUICK, FAILS, SLOW])

    entries = {entry.url: entry for entry in settled.rest}
    assert [attempt.status for attempt in entries[FAILS].attempts] == [503]
    assert entries[SLOW].attempts == ()
    assert 4.0 < entries[SLOW].spent < 6.0


def test_leftovers_go_with_the_settled_part() -> None:
    world = VirtualWorld(answer)

    run = world.start([*QUICK, WAITS, SLOW], POLICY)
    world.drive_until(lambda: len(run.outcomes) == len(QUICK) and len(run.leftovers) == 1)
    settled = run.pop_settled()

    assert settled is not None
    assert [each.entry.url for each in settled.leftovers] == [WAITS]
    assert [each.url for each in settled.rest] == [SLOW]
    assert (run.leftovers, run.outcomes) == ([], [])


def test_a_leftover_waits_from_when_it_was_handed_back() -> None:
    """Guards the time noted: a pause of 40 s would be over after a minute, beside a URL that takes 20 s."""
    world = VirtualWorld(answer)
    run = world.start([WAITS, SLOW], POLICY)

    world.drive_until(lambda: len(run.leftovers) == 1)
    (first,) = run.leftovers
    assert first.after >= 60.0
    world.drive_until(lambda: run.wait(0))

    (last,) = run.leftovers
    assert 19.0 <= first.after - last.after <= 21.0
    assert not run.is_due(within=last.after - 0.1)
    assert run.is_due(within=last.after)


def test_a_leftover_that_is_due_is_released_even_alone() -> None:
    world = VirtualWorld(answer)
    run = world.start([WAITS, SLOW], POLICY)
    world.drive_until(lambda: len(run.leftovers) == 1)
    assert not run.is_due()

    world.clock.seconds += 67.0
    settled = run.pop_settled()

    assert settled is not None
    assert [(each.entry.url, each.after) for each in settled.leftovers] == [(WAITS, 0.0)]
    assert [each.url for each in settled.rest] == [SLOW]
    assert not run.is_due()


def test_a_run_is_not_divided_if_nothing_or_everything_is_settled() -> None:
    world = VirtualWorld(answer)
    run = world.start([SLOW], POLICY)
    world.lane.drive_once()
    assert run.pop_settled() is None

    world.drive_until(lambda: run.wait(0))

    assert run.pop_settled() is None
    assert len(run.outcomes) == 1


def test_a_batch_with_a_duplicate_url_is_not_divided() -> None:
    """Guards the count: one of the two would be in neither part."""
    world = VirtualWorld(answer)
    run = world.start([*QUICK, SLOW, SLOW], POLICY)
    world.drive_until(lambda: len(run.outcomes) == len(QUICK))

    assert run.pop_settled() is None
    world.drive_until(lambda: run.wait(0))
    assert len(run.outcomes) == len(QUICK) + 2
