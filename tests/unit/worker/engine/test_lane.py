"""What a lane does when, to the second: the window, hosts' turns, retries, redirects, hand-backs."""

from __future__ import annotations

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld, always, urls
from worker.engine.failures import Breakage
from worker.engine.ports import Answer

OPEN = JobPolicy(timeout=30.0, attempts=3)


def test_the_window_is_kept_full_and_never_exceeded() -> None:
    world = always(Reply(after=1.0))

    run = world.fetch(urls(40))

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}
    assert world.http.most_in_flight == 8
    assert [round(at) for at, _ in world.http.requests] == [second for second in range(5) for _ in range(8)]


def test_a_silent_host_that_holds_the_window_keeps_no_other_out() -> None:
    """Guards the quarter beyond the window: without it the second host waits for the first one's deadline."""
    world = VirtualWorld(lambda url, _turn: Reply(after=20.0 if "slow" in url else 0.1))
    world.start(urls(50, "slow.test"), OPEN)
    world.lane.drive_once()
    quick = world.start(urls(4, "quick.test"), OPEN)

    world.drive_until(lambda: quick.wait(0))

    assert world.clock.seconds < 5
    assert world.http.most_in_flight <= 10


def test_a_failing_url_waits_longer_each_time_and_holds_no_slot() -> None:
    world = VirtualWorld(lambda url, _turn: Reply(status=503 if url.endswith("/bad") else 200), window=1)

    run = world.fetch(["http://a.test/bad", *urls(3)], OPEN)

    first, second, third = world.http.requests_for("http://a.test/bad")
    assert second - first < third - second
    assert all(at < second for at, url in world.http.requests if not url.endswith("/bad"))
    (failed,) = (outcome for outcome in run.outcomes if outcome.ending is Ending.FAILED)
    assert (failed.error, len(failed.attempts)) == (ErrorClass.HTTP_5XX, 3)


def test_urls_that_only_wait_are_handed_back_instead_of_holding_the_batch() -> None:
    """Guards LONGEST_HOLD: a batch does not stay open for a wait of a minute."""
    world = VirtualWorld(
        lambda url, _turn: Reply(status=429, fields=(("Retry-After", "20"),)) if "busy" in url else Reply()
    )

    run = world.fetch([*urls(3), "http://busy.test/"], OPEN)

    assert world.clock.seconds < 5
    (back,) = run.leftovers
    assert back.entry.url == "http://busy.test/"
    assert (back.host, back.entry.attempts) == ("busy.test:80", ())
    assert 20 <= world.clock.seconds + back.after <= 25


def test_a_job_with_ipv4_only_uses_no_other_address() -> None:
    """Guards ``usable``: libcurl, given no address, would ask the system's resolver."""
    world = always(Reply())
    world.names.answers["both.test"] = Answer(("2001:db8::1", "192.0.2.7"))
    world.names.answers["six.test"] = Answer(("2001:db8::1",))

    run = world.fetch(["http://both.test/", "http://six.test/"], JobPolicy(ipv4_only=True))

    endings = {outcome.url: (outcome.error, outcome.detail, len(outcome.attempts)) for outcome in run.outcomes}
    assert endings["http://both.test/"] == (None, None, 1)
    assert endings["http://six.test/"] == (ErrorClass.DNS, "The host has no IPv4 address.", 1)
    assert world.http.addresses == [("192.0.2.7",)]


def test_a_dead_pooled_connection_costs_no_attempt() -> None:
    world = VirtualWorld(lambda _url, turn: Reply() if turn else Reply(breakage=Breakage.STALE))

    run = world.fetch(["http://a.test/"], OPEN)

    assert len(run.outcomes[0].attempts) == 1
    assert len(world.http.requests) == 2


def test_a_stopped_run_hands_back_unstarted_urls_and_ends_the_others() -> None:
    world = always(Reply(after=1.0))
    run = world.start(urls(20), OPEN)
    world.lane.drive_once()

    run.stop(within=5.0)
    world.drive_until(lambda: run.wait(0))

    assert (len(run.outcomes), len(run.leftovers)) == (8, 12)
    assert world.clock.seconds < 2


def test_urls_redirected_to_a_host_without_room_do_not_hold_their_batch() -> None:
    """Guards ``_rests``: each waits for a slot until the one before is past its deadline."""
    elsewhere = Reply(status=302, fields=(("Location", "http://silent.test/"),))
    world = VirtualWorld(lambda url, _turn: Reply(after=1000.0) if "silent" in url else elsewhere)

    run = world.fetch(urls(20), JobPolicy(timeout=30.0, attempts=1, per_host=1, batch_seconds=20.0))

    assert world.clock.seconds < 51.0
    assert len(run.outcomes) + len(run.leftovers) == 20
    assert {(leftover.after, leftover.entry.attempts) for leftover in run.leftovers} == {(0.0, ())}


def test_transfers_that_outlive_the_drain_are_handed_back_whole() -> None:
    world = always(Reply(after=100.0))
    run = world.start(urls(20), OPEN)
    world.lane.drive_once()

    run.stop(within=3.0)
    world.drive_until(lambda: run.wait(0))

    assert (len(run.outcomes), len(run.leftovers)) == (0, 20)
    assert 3.0 <= world.clock.seconds < 4.0
    assert not world.store.drafts
    assert not world.store.bodies
