"""What a lane does when, to the second: the window, hosts' turns, retries, deadlines, hand-backs."""

from __future__ import annotations

import gc
import hashlib
import random
import weakref
from collections import deque

import pytest

from contract.records.outcomes import Ending, ErrorClass, Timing
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld
from worker.engine import rows
from worker.engine.exchange import NOT_ENDED, Exchange
from worker.engine.failures import Breakage
from worker.engine.ports import Answer, Ended
from worker.engine.schedule import QUIET_AFTER
from worker.engine.transfer import Transfer

OPEN = JobPolicy(timeout=30.0, attempts=3)


def _urls(count: int, host: str = "a.test") -> list[str]:
    return [f"http://{host}/{index}" for index in range(count)]


def _always(reply: Reply) -> VirtualWorld:
    return VirtualWorld(lambda _url, _turn: reply)


def test_the_window_is_kept_full_and_never_exceeded() -> None:
    world = _always(Reply(after=1.0))

    run = world.fetch(_urls(40))

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}
    assert world.http.most_in_flight == 8
    assert [round(at) for at, _ in world.http.requests] == [second for second in range(5) for _ in range(8)]


def test_a_silent_host_that_holds_the_window_keeps_nobody_out() -> None:
    """Guards the quarter beyond the window: without it the second host waits for the first one's deadline."""
    world = VirtualWorld(lambda url, _turn: Reply(after=20.0 if "slow" in url else 0.1))
    world.start(_urls(50, "slow.test"), OPEN)
    world.lane.drive_once()
    quick = world.start(_urls(4, "quick.test"), OPEN)

    world.drive_until(lambda: quick.wait(0))

    assert world.clock.seconds < 5
    assert world.http.most_in_flight <= 10


def test_at_most_per_host_of_one_host_are_in_flight() -> None:
    world = _always(Reply(after=1.0))

    world.fetch(_urls(9), JobPolicy(per_host=3))

    assert world.http.most_in_flight == 3


def test_a_failing_url_waits_longer_each_time_and_holds_no_slot() -> None:
    world = VirtualWorld(lambda url, _turn: Reply(status=503 if url.endswith("/bad") else 200), window=1)

    run = world.fetch(["http://a.test/bad", *_urls(3)], OPEN)

    first, second, third = world.http.requests_for("http://a.test/bad")
    assert second - first < third - second
    assert all(at < second for at, url in world.http.requests if not url.endswith("/bad"))
    (failed,) = (outcome for outcome in run.outcomes if outcome.ending is Ending.FAILED)
    assert (failed.error, len(failed.attempts)) == (ErrorClass.HTTP_5XX, 3)


def test_a_wish_to_be_asked_later_is_granted() -> None:
    world = VirtualWorld(lambda _url, turn: Reply() if turn else Reply(status=429, fields=(("Retry-After", "1"),)))

    run = world.fetch(["http://a.test/"], OPEN)

    first, second = world.http.requests_for("http://a.test/")
    assert second - first >= 1.0
    assert run.outcomes[0].ending is Ending.OK


def test_urls_that_only_wait_are_handed_back_instead_of_holding_the_batch() -> None:
    """Guards LONGEST_HOLD: a batch does not stay open for a minute's wait."""
    world = VirtualWorld(
        lambda url, _turn: Reply(status=429, fields=(("Retry-After", "20"),)) if "busy" in url else Reply()
    )

    run = world.fetch([*_urls(3), "http://busy.test/"], OPEN)

    assert world.clock.seconds < 5
    (back,) = run.leftovers
    assert back.entry.url == "http://busy.test/"
    assert (back.host, back.entry.attempts) == ("busy.test:80", ())
    assert 20 <= world.clock.seconds + back.after <= 25


def test_the_deadline_ends_an_exchange_that_says_nothing() -> None:
    world = _always(Reply(after=1000.0))

    run = world.fetch(["http://a.test/"], JobPolicy(timeout=5.0, attempts=1))

    assert run.outcomes[0].error is ErrorClass.TIMEOUT
    assert 5.0 <= world.clock.seconds < 6.0
    assert not world.store.drafts


def test_a_name_that_never_resolves_holds_only_its_own_urls() -> None:
    world = _always(Reply())
    world.names.slow.add("stuck.test")

    run = world.fetch([*_urls(20), *_urls(2, "stuck.test")], JobPolicy(timeout=5.0, connect_timeout=2.0, attempts=1))

    assert [at for at, _ in world.http.requests][-1] < 1
    stuck = [outcome for outcome in run.outcomes if "stuck" in outcome.url]
    assert {outcome.error for outcome in stuck} == {ErrorClass.DNS}
    assert len(stuck) == 2


def test_a_name_that_resolves_late_lets_its_urls_go() -> None:
    world = _always(Reply())
    world.names.slow.add("late.test")
    run = world.start(_urls(2, "late.test"), OPEN)
    world.drive_until(lambda: "late.test" in world.names.held)

    world.names.held["late.test"]("late.test", Answer(("192.0.2.7",)))
    world.names.slow.clear()
    world.drive_until(lambda: run.wait(0))

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}


def test_a_name_that_waits_for_its_turn_with_us_is_never_late() -> None:
    """Guards ``begun``: a queue of our own is neither the host's fault nor the URL's time."""
    world = _always(Reply(after=1.0))
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


def test_what_a_busy_lane_adds_is_our_own_queue_and_no_time_of_the_url() -> None:
    """Guards _lag: of small files of a fast server more than half of ``total`` was in no phase."""
    world = _always(Reply(after=1.0))
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


def test_what_has_come_is_no_timeout_however_late_the_lane_hears_of_it() -> None:
    """Guards ``is_due`` in ``drive_once``: a machine at ten times its load lost 700 of 7,552 bodies that were there."""
    world = _always(Reply(after=1.0))
    wait, held = world.http.wait, deque[tuple[Exchange, Ended]]()

    def one_by_one(seconds: float | None) -> list[tuple[Exchange, Ended]]:
        came = wait(0.0 if held else seconds)
        if came and not held:
            world.clock.seconds += 60.0  # others have the processor
        held.extend(came)
        return [held.popleft()] if held else []

    world.http.wait = one_by_one  # type: ignore[method-assign]  # a few at a time, as libcurl's are taken
    run = world.fetch(_urls(8), JobPolicy(timeout=5.0, attempts=1))

    assert [outcome.ending for outcome in run.outcomes] == [Ending.OK] * 8


def test_the_clock_of_a_url_starts_when_it_holds_an_address() -> None:
    """Guards the deadline: a name may take long, and what is fetched from it too."""
    world = _always(Reply(after=4.0))
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


def test_the_clock_of_a_url_starts_when_it_holds_a_slot() -> None:
    """Guards ``leave_queue`` and ``ready_at``: after its look-up, and after a failure, a URL waits for us."""
    slow = Reply(after=8.0)
    script = {"http://late.test/": (Reply(status=503, after=0.5), Reply(after=3.0))}
    world = VirtualWorld(lambda url, turn: script.get(url, (slow, slow))[turn], window=1)
    world.names.slow.add("late.test")
    policy = JobPolicy(timeout=10.0, attempts=3)
    run = world.start(["http://late.test/"], JobPolicy(timeout=5.0, attempts=3))
    world.drive_until(lambda: "late.test" in world.names.held)
    others = [world.start(_urls(1, f"{name}.test"), policy) for name in "abcdef"]
    world.drive_until(lambda: len(world.http.requests) == 2)

    world.names.slow.clear()
    world.names.held["late.test"]("late.test", Answer(("192.0.2.7",), begun=0.0))
    world.drive_until(lambda: run.wait(0) and all(each.wait(0) for each in others))

    (outcome,) = run.outcomes
    assert (outcome.ending, len(outcome.attempts)) == (Ending.OK, 2)
    assert world.http.requests_for("http://late.test/")[0] > 7.0
    assert outcome.timing.total < 5.0


def test_a_thousand_urls_of_a_dead_name_share_each_look_up() -> None:
    """Guards ``_NOT_BEFORE``: each attempt needs a later answer, which those that come soon share."""
    asked = []

    def look_up(host: str) -> tuple[str, ...]:
        asked.append(host)
        raise OSError("no server answered")

    world = VirtualWorld(look_up=look_up)
    world.lane._random = random.Random(2026).random  # retries at a thousand different moments

    run = world.fetch(_urls(1000, "dead.test"), JobPolicy(timeout=300.0, attempts=4))

    assert {len(outcome.attempts) for outcome in run.outcomes} == {4}
    assert len(asked) < 12


def test_a_job_that_uses_ipv4_only_asks_no_other_address() -> None:
    """Guards ``usable``: libcurl, handed nothing, would ask the system's resolver."""
    world = _always(Reply())
    world.names.answers["both.test"] = Answer(("2001:db8::1", "192.0.2.7"))
    world.names.answers["six.test"] = Answer(("2001:db8::1",))

    run = world.fetch(["http://both.test/", "http://six.test/"], JobPolicy(ipv4_only=True))

    endings = {outcome.url: (outcome.error, outcome.detail, len(outcome.attempts)) for outcome in run.outcomes}
    assert endings["http://both.test/"] == (None, None, 1)
    assert endings["http://six.test/"] == (ErrorClass.DNS, "The host has no IPv4 address.", 1)
    assert world.http.addresses == [("192.0.2.7",)]


def test_a_redirect_is_followed_within_its_attempt_by_the_next_hosts_turn() -> None:
    world = VirtualWorld(
        lambda url, _turn: (
            Reply(status=302, fields=(("Location", "http://b.test/there"),)) if "a.test" in url else Reply()
        )
    )

    run = world.fetch(["http://a.test/"], OPEN)

    (outcome,) = run.outcomes
    assert (outcome.ending, outcome.redirects, len(outcome.attempts)) == (Ending.OK, 1, 1)
    assert outcome.final_url == "http://b.test/there"


def test_a_dead_pooled_connection_costs_no_attempt() -> None:
    world = VirtualWorld(lambda _url, turn: Reply() if turn else Reply(breakage=Breakage.STALE))

    run = world.fetch(["http://a.test/"], OPEN)

    assert len(run.outcomes[0].attempts) == 1
    assert len(world.http.requests) == 2


def test_a_stopped_run_gives_back_what_has_not_begun_and_ends_what_has() -> None:
    world = _always(Reply(after=1.0))
    run = world.start(_urls(20), OPEN)
    world.lane.drive_once()

    run.stop(within=5.0)
    world.drive_until(lambda: run.wait(0))

    assert (len(run.outcomes), len(run.leftovers)) == (8, 12)
    assert world.clock.seconds < 2


def test_what_outlives_the_drain_is_given_back_whole() -> None:
    world = _always(Reply(after=100.0))
    run = world.start(_urls(20), OPEN)
    world.lane.drive_once()

    run.stop(within=3.0)
    world.drive_until(lambda: run.wait(0))

    assert (len(run.outcomes), len(run.leftovers)) == (0, 20)
    assert 3.0 <= world.clock.seconds < 4.0
    assert not world.store.drafts
    assert not world.store.bodies


def test_an_outcome_is_the_bodys_proof() -> None:
    world = _always(Reply(body=b"proof"))

    (outcome,) = world.fetch(["http://a.test/"], OPEN).outcomes

    assert outcome.sha256 == hashlib.sha256(b"proof").hexdigest()
    assert world.store.bodies == {outcome.name: b"proof"}
    assert not world.store.drafts


def test_transfers_leave_the_collector_nothing() -> None:
    """Guards Transfer.let_go: garbage in cycles cost a lane a twelfth of its time."""
    world = _always(Reply())
    world.fetch(_urls(10))
    gc.collect()
    gc.disable()
    try:
        world.fetch(_urls(500))
        world.lane.drive_once()
        found = gc.collect()
    finally:
        gc.enable()

    assert found < 500


def test_a_run_that_is_over_needs_no_collector() -> None:
    """Guards Settlement's keeping no reference to its run: each would hold its outcomes until the collector came."""
    world = _always(Reply())
    gc.disable()
    try:
        run = weakref.ref(world.fetch(_urls(10)))
        world.drive_until(lambda: world.lane.is_idle)
        assert run() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("status", "digest"),
    [
        pytest.param(200, "", id="of a body"),
        pytest.param(200, "sha-256=:Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU=:", id="of a body read back"),
        pytest.param(404, "", id="of a failure"),
    ],
)
def test_an_outcome_that_cannot_be_written_costs_its_own_url_only(
    status: int, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the try in rows._written: without it the lane fails, and its URLs go round for ever."""

    def break_down(transfer: Transfer, ended: Ended, now: float, _lag: float = 0.0) -> Timing:
        if ended is not NOT_ENDED and "odd" in transfer.entry.url:
            raise RuntimeError("a bug")
        return Timing(total=now)

    monkeypatch.setattr(rows, "_timing", break_down)
    fields = (("Content-Digest", digest),) if digest else ()
    world = VirtualWorld(lambda url, _turn: Reply(status=status if "odd" in url else 200, fields=fields))

    run = world.fetch([*_urls(20), "http://a.test/odd"], OPEN)

    endings = {outcome.url: (outcome.ending, outcome.error) for outcome in run.outcomes}
    assert endings.pop("http://a.test/odd") == (Ending.FAILED, ErrorClass.INTERNAL)
    assert endings == dict.fromkeys(_urls(20), (Ending.OK, None))
    assert not world.store.drafts


def test_an_attempt_that_cannot_begin_costs_its_own_url_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the try around _begin_attempt: a partial body may be anything."""

    def break_down(transfer: Transfer) -> None:
        if "odd" in transfer.entry.url:
            raise RecursionError("a bug")

    monkeypatch.setattr(Transfer, "find_part", break_down)
    world = _always(Reply())

    run = world.fetch(["http://a.test/odd", *_urls(20)], JobPolicy(resume=True, per_host=1))

    endings = {outcome.url: (outcome.ending, outcome.error) for outcome in run.outcomes}
    assert endings.pop("http://a.test/odd") == (Ending.FAILED, ErrorClass.INTERNAL)
    assert endings == dict.fromkeys(_urls(20), (Ending.OK, None))


def _hangs(url: str, _turn: int) -> Reply:
    return Reply(after=1000.0 if "hang" in url else 0.1)


@pytest.mark.parametrize("drip", [0.0, 10.0])
def test_what_stalls_costs_the_others_a_slot_for_two_seconds(drip: float) -> None:
    """Guards Slots: eight silent URLs, or drips, fill the window until their speed floor ends them, after 30 s."""
    stalls = Reply(after=1000.0, body=bytes(100_000), drip=drip)
    world = VirtualWorld(lambda url, _turn: stalls if "hang" in url else Reply())
    hanging = world.start(_urls(8, "hang.test"), OPEN)
    world.lane.drive_once()
    good = world.start([f"http://{host}.test/" for host in range(80)], OPEN)

    world.drive_until(lambda: good.wait(0))

    assert world.clock.seconds < 4
    world.drive_until(lambda: hanging.wait(0))
    assert not world.store.drafts


def test_a_quiet_transfer_whose_bytes_come_continues_undisturbed() -> None:
    world = VirtualWorld(lambda url, _turn: Reply(after=10.0 if "late" in url else 1.0), window=2)

    run = world.fetch([*_urls(2, "late.test"), *_urls(40, "b.test")], OPEN)

    assert [outcome.ending for outcome in run.outcomes] == [Ending.OK] * 42
    assert len(world.http.requests) == 42
    assert world.lane._schedule.quiet == world.lane._schedule.flying == 0


def test_a_later_try_of_what_stalled_takes_no_slot() -> None:
    """Guards Tier.STALLED: each later try would cost the others two more seconds of a slot."""
    policy = JobPolicy(timeout=300.0, attempts=3, first_byte_timeout=5.0)
    world = VirtualWorld(_hangs, window=2)
    world.start([f"http://h{host}.test/hang" for host in range(6)], policy)
    good = world.start(_urls(400, "b.test"), policy)

    world.drive_until(lambda: good.wait(0))

    tries = [url for _, url in world.http.requests if "hang" in url]
    assert len(tries) > 12
    assert world.clock.seconds < 400 * 0.1 / 2 + 6 * QUIET_AFTER / 2 + 2


def test_a_later_try_that_finds_no_slot_ends_at_its_deadline() -> None:
    """Guards _end_overdue: no URL outlives its deadline, whatever it waits for."""
    world = VirtualWorld(_hangs, window=2)
    run = world.start(["http://c.test/hang"], JobPolicy(timeout=12.0, attempts=2, first_byte_timeout=5.0))
    world.start([f"http://h{host}.test/hang" for host in range(20)], JobPolicy(timeout=500.0, first_byte_timeout=0))

    world.drive_until(lambda: run.wait(0))

    assert 12 <= world.clock.seconds < 14
    assert [len(outcome.attempts) for outcome in run.outcomes] == [1]


def test_what_only_rests_leaves_room_for_another_batch() -> None:
    """Guards Run.rest: a process with nothing but silent URLs took no other work until they were over."""
    world = VirtualWorld(_hangs)
    run = world.start([*_urls(8, "hang.test"), *_urls(3, "limited.test/hang")], JobPolicy(per_host=1))
    assert run.fetching == 11

    world.drive_until(lambda: world.clock.seconds > 3)

    assert run.fetching == 0
    assert not run.wait(0)
