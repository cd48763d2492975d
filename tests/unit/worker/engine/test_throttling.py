"""What happens to URLs whose host throttles, in virtual time: how often it is asked, and when."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from itertools import pairwise
from random import Random

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_throttling import Limited, endings, fetch_all, refusal, world_of
from tests.support.virtual_world import Reply, VirtualHttp, VirtualWorld, urls
from worker.engine.exchange import Exchange
from worker.engine.hosts import Hosts
from worker.engine.ports import Ended

_WALL = 1_700_000_000.0


@pytest.mark.parametrize(
    "throttled",
    [
        pytest.param(refusal(429), id="429"),
        pytest.param(refusal(503), id="503"),
        pytest.param(refusal(429, Retry_After="1"), id="Retry-After"),
        pytest.param(refusal(403, Retry_After="1"), id="403"),
        pytest.param(
            refusal(429, Date=formatdate(_WALL - 3600), Retry_After=formatdate(_WALL - 3599)),
            id="by a clock one hour off",
        ),
    ],
)
def test_a_host_that_allows_sixty_requests_a_second_yields_all_in_time(throttled: Reply) -> None:
    world = world_of(Limited(60.0, throttled))

    runs = fetch_all(world, urls(1000))

    assert endings(runs) == {(Ending.OK, None): 1000}
    assert len(world.http.requests) <= 1150
    assert world.clock.seconds <= 30
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} <= {1, 2}


def test_urls_of_a_paused_host_do_not_all_return_at_once() -> None:
    """Guards probe and pace: three hundred URLs came back in the same instant, three times."""
    world = world_of(lambda _url, now: refusal(Retry_After="2") if now < 2 else Reply(after=0.005))

    runs = fetch_all(world, urls(300))

    assert endings(runs) == {(Ending.OK, None): 300}
    again = [at for at, _ in world.http.requests if at > 1]
    assert again[0] >= 2
    assert min(at - again[0] for at in again[1:]) >= 0.005, "one probe first"
    assert again[1] == again[2] < again[3], "then a trial, with its control"
    assert min(later - earlier for earlier, later in pairwise(again[2:12])) > 0.02, "then a pace that rises slowly"
    assert len(world.http.requests) <= 300 + 32


def test_a_long_pause_costs_one_probe_and_ends_with_patience() -> None:
    world = world_of(lambda _url, _now: refusal(Retry_After="300"))

    runs = fetch_all(world, urls(300))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 300}
    assert 3000 < world.clock.seconds < 3700
    assert len([at for at, _ in world.http.requests if at < 1]) <= 32
    assert len([at for at, _ in world.http.requests if at > 1]) <= 12
    outcomes = [outcome for run in runs for outcome in run.outcomes]
    assert {outcome.attempts for outcome in outcomes} == {()}
    asked = {url for _, url in world.http.requests}
    assert {outcome.url: outcome.http_status for outcome in outcomes} == {
        url: 429 if url in asked else None for url in urls(300)
    }
    (detail,) = {outcome.detail for outcome in outcomes}
    assert detail is not None
    assert detail.endswith("longer than 3600 s (--host-patience). It answered 429 and asked for 300 s.")


def test_a_blocked_url_has_the_status_of_its_own_last_answer() -> None:
    """Guards ``BatchEntry.status``: the row of a URL handed back since said that it was never answered."""

    def answer(url: str, now: float) -> Reply:
        if url.endswith("/0") and now < 20:
            return Reply(after=0.01, status=500)
        return Reply(after=0.02) if now < 0.01 and url.endswith("/1") else refusal(503 if now < 10 else 429)

    world = world_of(answer)

    runs = fetch_all(world, urls(100), JobPolicy(host_patience=60.0))

    blocked = [each for run in runs for each in run.outcomes if each.error is ErrorClass.HOST_BLOCKED]
    asked = {url: at for at, url in world.http.requests}
    assert len(blocked) == 99
    assert {each.http_status for each in blocked} == {None, 500, 503, 429}
    assert {each.detail for each in blocked} == {
        "The host throttles, and waiting for it would take longer than 60 s (--host-patience). It answered 429."
    }
    for each in blocked:
        last = answer(each.url, asked[each.url]).status if each.url in asked else None
        assert each.http_status == last, each


def test_an_attempt_after_a_throttled_request_has_the_last_status() -> None:
    def answer(url: str, now: float) -> Reply:
        return Reply(after=0.01, status=500) if url.endswith("/0") and now > 1 else refusal(Retry_After="7")

    runs = fetch_all(world_of(answer), urls(2), JobPolicy(host_patience=10.0))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 2}
    assert {each.url[-1]: each.http_status for run in runs for each in run.outcomes} == {"0": 500, "1": 429}


def test_a_host_that_keeps_asking_for_centuries_is_blocked() -> None:
    world = world_of(lambda _url, _now: refusal(503, Retry_After="9999999999"))

    runs = fetch_all(world, urls(50), JobPolicy(host_patience=60.0))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 50}
    (detail,) = {outcome.detail for run in runs for outcome in run.outcomes}
    assert detail is not None
    assert detail.endswith("longer than 60 s (--host-patience). It answered 503 and asked for 9999999999 s.")
    assert len([at for at, _ in world.http.requests if at > 1]) == 1


def test_without_patience_nothing_waits_for_centuries() -> None:
    """Guards ``_wait_alone``: a host whose pause the job has no patience for is not paused: its URL waited alone."""
    world = world_of(lambda _url, _now: refusal(503, Retry_After="9999999999"))

    runs = fetch_all(world, urls(50), JobPolicy(host_patience=0.0))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 50}
    assert world.clock.seconds < 5.0


def test_waiting_for_a_host_does_not_count_against_the_deadline() -> None:
    policy = JobPolicy(timeout=10.0, attempts=1)
    world = world_of(lambda _url, now: refusal(Retry_After="40") if now < 170 else Reply())

    runs = fetch_all(world, urls(50), policy)

    assert endings(runs) == {(Ending.OK, None): 50}


def test_short_pauses_do_not_count_against_the_deadline_either() -> None:
    """Guards ``_end_wait``: these URLs stay in their batch."""
    world = world_of(lambda _url, now: refusal(Retry_After="1") if now < 12 else Reply())

    runs = fetch_all(world, urls(50), JobPolicy(timeout=5.0, attempts=1))

    assert endings(runs) == {(Ending.OK, None): 50}


def test_patience_counts_short_pauses_too() -> None:
    world = world_of(lambda _url, _now: refusal(Retry_After="1"))

    runs = fetch_all(world, urls(50), JobPolicy(host_patience=30.0))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 50}
    assert 25 < world.clock.seconds < 40


def test_a_host_that_only_throttles_without_retry_after_is_given_up() -> None:
    world = world_of(lambda _url, _now: refusal(503))

    runs = fetch_all(world, urls(300))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 300}
    assert len(world.http.requests) < 60
    assert world.clock.seconds < 120


def test_a_dead_site_costs_its_only_url_its_attempts() -> None:
    world = world_of(lambda _url, _now: refusal(503))

    (run,) = fetch_all(world, ["http://dead.test/"], JobPolicy(attempts=4))

    assert [(outcome.error, len(outcome.attempts)) for outcome in run.outcomes] == [(ErrorClass.HTTP_5XX, 4)]


def test_a_paused_host_costs_the_others_nothing() -> None:
    world = world_of(lambda url, _now: refusal(Retry_After="4") if "busy" in url else Reply(after=0.1), window=8)
    world.start(urls(200, "busy.test"))
    world.drive_until(lambda: len(world.http.requests) > 0)
    good = world.start(urls(80, "good.test"))

    world.drive_until(lambda: good.wait(0))

    assert world.clock.seconds < 1.5


def test_a_probe_that_drips_keeps_no_other_url_of_its_host_waiting() -> None:
    def answer(url: str, now: float) -> Reply:
        if now < 0.5:
            return refusal(Retry_After="1")
        return Reply(after=200.0, body=bytes(100_000), drip=500.0) if url.endswith("/0") else Reply(after=0.05)

    world = world_of(answer)

    run = world.start(urls(20))
    world.drive_until(lambda: len(run.outcomes) == 19)

    assert world.clock.seconds < 6


def test_a_redirect_to_a_paused_host_waits_for_it() -> None:
    def answer(url: str, now: float) -> Reply:
        if "a.test" in url:
            return Reply(status=302, fields=(("Location", url.replace("a.test", "b.test")),))
        return refusal(Retry_After="30") if now < 20 else Reply()

    world = world_of(answer)

    runs = fetch_all(world, urls(40))

    assert endings(runs) == {(Ending.OK, None): 40}
    assert {leftover.host for leftover in runs[0].leftovers} == {"b.test:80"}
    assert len([url for _, url in world.http.requests if "b.test" in url]) <= 80
    assert len([url for _, url in world.http.requests if "a.test" in url]) <= 80, "nobody is led there in vain"


@pytest.mark.parametrize("asks", [1, 3, 30])
def test_a_redirect_to_a_host_that_keeps_throttling_ends_with_patience(asks: int) -> None:
    """Guards ``waits_for``: what a URL waited for another host than its own was forgotten with its batch."""

    def answer(url: str, now: float) -> Reply:
        if "a.test" in url:
            return Reply(status=302, fields=(("Location", url.replace("a.test", "b.test")),))
        return refusal(Retry_After=str(asks)) if now < 600 else Reply()

    world = world_of(answer)

    runs = fetch_all(world, urls(3), JobPolicy(host_patience=100.0))

    assert endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 3}
    assert world.clock.seconds < 110.0


def test_a_host_with_most_of_the_lines_holds_up_no_other() -> None:
    world = world_of(lambda url, _now: Reply(after=1.0 if "slow" in url else 0.05), window=8)
    others = [f"http://h{number}.test/" for number in range(40)]

    run = world.start([*urls(4000, "slow.test"), *others])
    world.drive_until(lambda: sum(outcome.url in others for outcome in run.outcomes) == 40)

    assert world.clock.seconds < 3.0


def test_only_slow_urls_wait() -> None:
    """1,000 hosts, of which 5 never answer, 5 throttle and 5 drip: the others take as long as they would alone."""

    def answer(url: str, _now: float) -> Reply:
        number = int(url[8:].partition(".")[0])
        if number >= 15:
            return Reply(after=0.05)
        return [Reply(after=1000.0), refusal(429), Reply(after=1000.0, body=bytes(100_000), drip=10.0)][number % 3]

    def seconds(first: int) -> float:
        world = world_of(answer)
        listed = [f"http://h{number}.test/{page}" for page in range(8) for number in range(first, 1000)]
        good = [url for url in listed if int(url[8:].partition(".")[0]) >= 15]
        run = world.start(listed)
        world.drive_until(lambda: run.progress.ok == len(good))
        return world.clock.seconds

    assert seconds(0) < 1.1 * seconds(15)


class _Fine(VirtualHttp[Exchange]):
    """Waits in small steps, so that several lanes share one clock."""

    def wait(self, seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        return super().wait(min(0.002, 0.002 if seconds is None else seconds))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_without_news_of_each_other_share_what_a_host_allows(processes: int) -> None:
    clock, host = VirtualClock(), Limited(60.0, refusal(429))
    https = [_Fine(lambda url, _turn: host(url, clock.seconds), clock) for _ in range(processes)]
    chances = [Hosts(Random(number).random) for number in range(processes)]
    worlds = [
        VirtualWorld(window=64, clock=clock, http=http, hosts=hosts) for http, hosts in zip(https, chances, strict=True)
    ]
    batches = [urls(1000)[first : first + 125] for first in range(0, 1000, 125)]
    runs = [(world, world.start(batch)) for world, batch in zip(worlds * 8, batches, strict=False)]

    for _ in range(200_000):
        if all(run.wait(0) for _, run in runs):
            break
        for world in worlds:
            world.drive_once()

    assert endings([run for _, run in runs]) == {(Ending.OK, None): 1000}
    assert sum(len(http.requests) for http in https) <= 1300
    assert clock.seconds <= 2 * 17
