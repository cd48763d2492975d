"""What becomes of URLs whose host throttles, in virtual time: how often it is asked, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from random import Random

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_world import Reply, VirtualHttp, VirtualWorld
from worker.engine.exchange import Exchange
from worker.engine.hosts import Hosts
from worker.engine.ports import Ended
from worker.engine.run import Run

Answer = Callable[[str, float], Reply]  # to a URL, at a second


class Limited:
    """A host that takes so many requests a second, and answers the others as it is told."""

    def __init__(self, rate: float, refusal: Reply) -> None:
        self._rate, self._refusal = rate, refusal
        self._tokens, self._at = rate, 0.0
        self.refused = 0

    def __call__(self, _url: str, now: float) -> Reply:
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return Reply(after=0.005)
        self.refused += 1
        return self._refusal


def _refusal(status: int = 429, **fields: str) -> Reply:
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Reply(after=0.005, status=status, fields=named)


def _world(answer: Answer, *, window: int = 64) -> VirtualWorld:
    clock = VirtualClock()
    return VirtualWorld(lambda url, _turn: answer(url, clock.seconds), window=window, clock=clock)


def _urls(count: int, host: str = "a.test") -> list[str]:
    return [f"http://{host}/{index}" for index in range(count)]


def _fetch_all(world: VirtualWorld, urls: list[str], policy: JobPolicy | None = None) -> list[Run]:
    """Fetch a list as its job would: what is handed back runs again when it is due."""
    runs = [world.start(urls, policy)]
    while True:
        world.drive_until(lambda: runs[-1].wait(0))
        if not runs[-1].leftovers:
            return runs
        world.clock.seconds += max(leftover.after for leftover in runs[-1].leftovers)
        runs.append(world.start([leftover.entry for leftover in runs[-1].leftovers], policy))


def _endings(runs: list[Run]) -> Counter[tuple[Ending, ErrorClass | None]]:
    return Counter((outcome.ending, outcome.error) for run in runs for outcome in run.outcomes)


_WALL = 1_700_000_000.0


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(_refusal(429), id="429"),
        pytest.param(_refusal(503), id="503"),
        pytest.param(_refusal(429, Retry_After="1"), id="Retry-After"),
        pytest.param(_refusal(403, Retry_After="1"), id="403"),
        pytest.param(
            _refusal(429, Date=formatdate(_WALL - 3600), Retry_After=formatdate(_WALL - 3599)),
            id="by a clock one hour off",
        ),
    ],
)
def test_a_host_that_allows_sixty_requests_a_second_gives_all_in_time(refusal: Reply) -> None:
    host = Limited(60.0, refusal)
    world = _world(host)

    runs = _fetch_all(world, _urls(1000))

    assert _endings(runs) == {(Ending.OK, None): 1000}
    assert len(world.http.requests) <= 1150
    assert world.clock.seconds <= 30
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} <= {1, 2}


def test_urls_of_a_host_that_asks_for_a_pause_do_not_come_back_at_once() -> None:
    """Guards probe and pace: three hundred URLs came back in the same instant, thrice."""
    world = _world(lambda _url, now: _refusal(Retry_After="2") if now < 2 else Reply(after=0.005))

    runs = _fetch_all(world, _urls(300))

    assert _endings(runs) == {(Ending.OK, None): 300}
    again = [at for at, _ in world.http.requests if at > 1]
    assert again[0] >= 2
    assert min(at - again[0] for at in again[1:]) >= 0.005, "one probe first"
    assert again[1] == again[2] < again[3], "then a trial, with its control"
    assert min(later - earlier for earlier, later in pairwise(again[2:12])) > 0.02, "then a pace that rises slowly"
    assert len(world.http.requests) <= 300 + 32


def test_a_long_pause_costs_one_probe_and_ends_with_patience() -> None:
    world = _world(lambda _url, _now: _refusal(Retry_After="300"))

    runs = _fetch_all(world, _urls(300))

    assert _endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 300}
    assert 3000 < world.clock.seconds < 3700
    assert len([at for at, _ in world.http.requests if at < 1]) <= 32
    assert len([at for at, _ in world.http.requests if at > 1]) <= 12
    outcomes = [outcome for run in runs for outcome in run.outcomes]
    assert {outcome.attempts for outcome in outcomes} == {()}
    asked = {url for _, url in world.http.requests}
    assert {outcome.url: outcome.http_status for outcome in outcomes} == {
        url: 429 if url in asked else None for url in _urls(300)
    }
    (detail,) = {outcome.detail for outcome in outcomes}
    assert detail is not None
    assert detail.endswith("longer than 3600 s (--host-patience). It answered 429 and asked for 300 s.")


def test_a_blocked_url_has_the_status_it_was_last_answered_itself() -> None:
    """Guards ``BatchEntry.status``: the row of a URL that had been handed back since said it was never answered."""

    def answer(url: str, now: float) -> Reply:
        if url.endswith("/0") and now < 20:
            return Reply(after=0.01, status=500)
        return Reply(after=0.02) if now < 0.01 and url.endswith("/1") else _refusal(503 if now < 10 else 429)

    world = _world(answer)

    runs = _fetch_all(world, _urls(100), JobPolicy(host_patience=60.0))

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
        return Reply(after=0.01, status=500) if url.endswith("/0") and now > 1 else _refusal(Retry_After="7")

    runs = _fetch_all(_world(answer), _urls(2), JobPolicy(host_patience=10.0))

    assert _endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 2}
    assert {each.url[-1]: each.http_status for run in runs for each in run.outcomes} == {"0": 500, "1": 429}


def test_one_answer_that_can_hardly_be_meant_does_not_set_its_host_aside() -> None:
    """Guards LONGEST_ASKED: one page that asks for three centuries ended all URLs of its host."""
    world = _world(lambda url, now: _refusal(Retry_After="9999999999") if now < 40 and url.endswith("/7") else Reply())

    runs = _fetch_all(world, _urls(300), JobPolicy(host_patience=60.0))

    assert _endings(runs) == {(Ending.OK, None): 300}
    assert 54.0 <= max(at for at, _ in world.http.requests) < 120.0, "nobody asks before nine tenths of the patience"


def test_a_host_that_asks_for_centuries_again_and_again_is_set_aside() -> None:
    world = _world(lambda _url, _now: _refusal(503, Retry_After="9999999999"))

    runs = _fetch_all(world, _urls(50), JobPolicy(host_patience=60.0))

    assert _endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 50}
    (detail,) = {outcome.detail for run in runs for outcome in run.outcomes}
    assert detail is not None
    assert detail.endswith("longer than 60 s (--host-patience). It answered 503 and asked for 9999999999 s.")
    assert len([at for at, _ in world.http.requests if at > 1]) == 1


def test_what_a_host_makes_a_url_wait_does_not_count_against_its_deadline() -> None:
    policy = JobPolicy(timeout=10.0, attempts=1)
    world = _world(lambda _url, now: _refusal(Retry_After="40") if now < 170 else Reply())

    runs = _fetch_all(world, _urls(50), policy)

    assert _endings(runs) == {(Ending.OK, None): 50}


def test_short_pauses_do_not_count_against_the_deadline_either() -> None:
    """Guards ``_end_wait``: these URLs stay in the batch they are in."""
    world = _world(lambda _url, now: _refusal(Retry_After="1") if now < 12 else Reply())

    runs = _fetch_all(world, _urls(50), JobPolicy(timeout=5.0, attempts=1))

    assert _endings(runs) == {(Ending.OK, None): 50}


def test_patience_counts_short_pauses_too() -> None:
    world = _world(lambda _url, _now: _refusal(Retry_After="1"))

    runs = _fetch_all(world, _urls(50), JobPolicy(host_patience=30.0))

    assert _endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 50}
    assert 25 < world.clock.seconds < 40


def test_a_host_that_only_throttles_and_never_says_until_when_is_given_up() -> None:
    world = _world(lambda _url, _now: _refusal(503))

    runs = _fetch_all(world, _urls(300))

    assert _endings(runs) == {(Ending.FAILED, ErrorClass.HOST_BLOCKED): 300}
    assert len(world.http.requests) < 60
    assert world.clock.seconds < 120


def test_a_dead_site_costs_its_only_url_its_attempts() -> None:
    world = _world(lambda _url, _now: _refusal(503))

    (run,) = _fetch_all(world, ["http://dead.test/"], JobPolicy(attempts=4))

    assert [(outcome.error, len(outcome.attempts)) for outcome in run.outcomes] == [(ErrorClass.HTTP_5XX, 4)]


def test_pages_that_are_always_busy_end_by_themselves_where_the_others_answer() -> None:
    """Guards ``was_excused`` and the share that is tolerated: each such page would stop its host for good."""
    world = _world(lambda url, _now: _refusal(503) if url.endswith("7") else Reply(after=0.02))

    runs = _fetch_all(world, _urls(1000), JobPolicy(attempts=2))

    assert _endings(runs) == {(Ending.OK, None): 900, (Ending.FAILED, ErrorClass.HTTP_5XX): 100}


class Choosy:
    """A host that always throttles some of its URLs, and others ``once``."""

    def __init__(self, always: Collection[str], asks: int, once: Collection[str] = ()) -> None:
        self.always = always
        self._refusal = _refusal(Retry_After=str(asks))
        self._once = set(once)

    def __call__(self, url: str, _now: float) -> Reply:
        if url in self._once:
            self._once.remove(url)
            return self._refusal
        return self._refusal if url in self.always else Reply(after=0.05)


def _last_good(world: VirtualWorld, host: Choosy) -> float:
    return max(at for at, url in world.http.requests if url not in host.always)


@pytest.mark.parametrize("patience", [30.0, 3600.0])
@pytest.mark.parametrize(("bad", "good"), [(1, 300), (30, 300), (150, 150)])
def test_urls_that_are_always_throttled_do_not_stop_their_host(bad: int, good: int, patience: float) -> None:
    """They had it paused each time that one was tried: 0.3 URLs a second, and the good ones ended as host-blocked."""
    urls = _urls(bad + good)
    host = Choosy(set(Random(1).sample(urls, bad)), asks=5)
    world = _world(host)

    runs = _fetch_all(world, urls, JobPolicy(host_patience=patience))

    assert _endings(runs) == {(Ending.OK, None): good, (Ending.FAILED, ErrorClass.HTTP_4XX): bad}
    failed = [outcome for run in runs for outcome in run.outcomes if outcome.ending is Ending.FAILED]
    assert {(outcome.http_status, len(outcome.attempts)) for outcome in failed} == {(429, 4)}
    assert _last_good(world, host) < 6 * 5
    for url in host.always:
        assert min(later - earlier for earlier, later in pairwise(world.http.requests_for(url)[2:])) >= 5


@pytest.mark.parametrize("asks", [5, 60])
def test_a_url_that_is_always_throttled_is_no_probe_where_another_is_ready(asks: int) -> None:
    """Guards ``give_way``: it was first in each batch of what waited, and its host was paused again."""
    urls = _urls(100)
    host = Choosy({urls[0]}, asks)
    world = _world(host, window=2)

    runs = _fetch_all(world, urls)

    assert _endings(runs) == {(Ending.OK, None): 99, (Ending.FAILED, ErrorClass.HTTP_4XX): 1}
    assert _last_good(world, host) < 3.5 * asks


def test_urls_that_are_throttled_once_and_a_limit_hide_no_url_that_always_is() -> None:
    """Guards ``_TELLING``: what was left at the end waited for an hour, and ended as host-blocked."""
    urls = _urls(600)
    chosen = Random(4).sample(urls, 60)
    host, limited = Choosy(set(chosen[:30]), 5, chosen[30:]), Limited(60.0, _refusal(Retry_After="5"))
    world = _world(lambda url, now: reply if (reply := host(url, now)).status != 200 else limited(url, now))

    runs = _fetch_all(world, urls)

    assert _endings(runs) == {(Ending.OK, None): 570, (Ending.FAILED, ErrorClass.HTTP_4XX): 30}
    assert world.clock.seconds < 600


@pytest.mark.parametrize("after", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("rate", "asks"), [(1.0, 1), (2.0, 1), (1.0, 5), (10.0, 1)])
def test_a_slow_host_without_bursts_costs_no_url_an_attempt(rate: float, asks: int, after: float) -> None:
    """Guards the trial's control: what is refused right after another one was answered, is so whatever it is."""
    free_at = 0.0

    def answer(_url: str, now: float) -> Reply:
        nonlocal free_at
        if now < free_at:
            return replace(_refusal(Retry_After=str(asks)), after=after)
        free_at = max(now, free_at) + 1 / rate
        return Reply(after=after)

    runs = _fetch_all(_world(answer), _urls(60))

    assert _endings(runs) == {(Ending.OK, None): 60}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}


@pytest.mark.parametrize("asks", [1, 5])
@pytest.mark.parametrize("is_first_good", [True, False])
def test_a_host_that_lets_every_second_request_through_costs_no_url_an_attempt(asks: int, is_first_good: bool) -> None:
    """Guards the order in a trial: if it was always the same, so was the one that came through."""
    count = int(is_first_good)

    def answer(_url: str, _now: float) -> Reply:
        nonlocal count
        count += 1
        return Reply(after=0.3) if count % 2 == 0 else replace(_refusal(Retry_After=str(asks)), after=0.3)

    runs = _fetch_all(_world(answer), _urls(60))

    assert _endings(runs) == {(Ending.OK, None): 60}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}


def test_a_host_slower_than_it_says_costs_no_url_an_attempt() -> None:
    """Guards ``_PROBES``: what was left at the end was throttled twice by chance, and 40 of 100 lost attempts."""
    free_at = 0.0

    def answer(_url: str, now: float) -> Reply:
        nonlocal free_at
        if now < free_at:
            return replace(_refusal(Retry_After="1"), after=0.2)
        free_at = now + 2.0
        return Reply(after=0.2)

    runs = _fetch_all(_world(answer), _urls(100))

    assert _endings(runs) == {(Ending.OK, None): 100}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}


@pytest.mark.parametrize(("asks", "patience", "longest"), [(2, 60.0, 50.0), (200, 3600.0, 3000.0)])
def test_a_host_that_throttles_the_first_request_for_each_url_yields_all(
    asks: int, patience: float, longest: float
) -> None:
    """Every probe was a URL it had not been asked for before: of 300 none arrived."""
    seen = set()

    def answer(url: str, _now: float) -> Reply:
        is_first = url not in seen
        seen.add(url)
        return _refusal(Retry_After=str(asks)) if is_first else Reply(after=0.02)

    world = _world(answer)

    runs = _fetch_all(world, _urls(300), JobPolicy(host_patience=patience, timeout=60.0))

    assert _endings(runs) == {(Ending.OK, None): 300}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}
    assert len(world.http.requests) == 600
    assert world.clock.seconds < longest


def test_a_host_that_throttles_everything_after_a_while_costs_no_url_its_attempts() -> None:
    """Guards ``_IN_A_ROW``: it had shown to throttle by URL before."""
    urls = _urls(600)
    host = Choosy(set(Random(1).sample(urls, 30)), asks=5)
    world = _world(lambda url, now: _refusal(Retry_After="5") if 15 <= now < 60 else host(url, now))

    runs = _fetch_all(world, urls)

    assert _endings(runs) == {(Ending.OK, None): 570, (Ending.FAILED, ErrorClass.HTTP_4XX): 30}
    assert len([at for at, _ in world.http.requests if 16 <= at < 60]) < 100


def test_a_paused_host_costs_the_others_nothing() -> None:
    world = _world(lambda url, _now: _refusal(Retry_After="4") if "busy" in url else Reply(after=0.1), window=8)
    world.start(_urls(200, "busy.test"))
    world.drive_until(lambda: len(world.http.requests) > 0)
    good = world.start(_urls(80, "good.test"))

    world.drive_until(lambda: good.wait(0))

    assert world.clock.seconds < 1.5


def test_a_probe_that_drips_keeps_no_other_url_of_its_host_waiting() -> None:
    def answer(url: str, now: float) -> Reply:
        if now < 0.5:
            return _refusal(Retry_After="1")
        return Reply(after=200.0, body=bytes(100_000), drip=500.0) if url.endswith("/0") else Reply(after=0.05)

    world = _world(answer)

    run = world.start(_urls(20))
    world.drive_until(lambda: len(run.outcomes) == 19)

    assert world.clock.seconds < 6


def test_a_redirect_to_a_paused_host_waits_for_it() -> None:
    def answer(url: str, now: float) -> Reply:
        if "a.test" in url:
            return Reply(status=302, fields=(("Location", url.replace("a.test", "b.test")),))
        return _refusal(Retry_After="30") if now < 20 else Reply()

    world = _world(answer)

    runs = _fetch_all(world, _urls(40))

    assert _endings(runs) == {(Ending.OK, None): 40}
    assert {leftover.host for leftover in runs[0].leftovers} == {"b.test:80"}
    assert len([url for _, url in world.http.requests if "b.test" in url]) <= 80
    assert len([url for _, url in world.http.requests if "a.test" in url]) <= 80, "nobody is led there in vain"


def test_a_host_with_most_of_the_lines_keeps_no_other_behind_it() -> None:
    world = _world(lambda url, _now: Reply(after=1.0 if "slow" in url else 0.05), window=8)
    others = [f"http://h{number}.test/" for number in range(40)]

    run = world.start([*_urls(4000, "slow.test"), *others])
    world.drive_until(lambda: sum(outcome.url in others for outcome in run.outcomes) == 40)

    assert world.clock.seconds < 3.0


def test_what_is_slow_waits_by_itself() -> None:
    """1,000 hosts, of which 5 never answer, 5 throttle and 5 drip: the others take as long as they would alone."""

    def answer(url: str, _now: float) -> Reply:
        number = int(url[8:].partition(".")[0])
        if number >= 15:
            return Reply(after=0.05)
        return [Reply(after=1000.0), _refusal(429), Reply(after=1000.0, body=bytes(100_000), drip=10.0)][number % 3]

    def seconds(first: int) -> float:
        world = _world(answer)
        urls = [f"http://h{number}.test/{page}" for page in range(8) for number in range(first, 1000)]
        good = [url for url in urls if int(url[8:].partition(".")[0]) >= 15]
        run = world.start(urls)
        world.drive_until(lambda: run.progress.ok == len(good))
        return world.clock.seconds

    assert seconds(0) < 1.1 * seconds(15)


def test_a_host_that_only_stalls_costs_no_more_places() -> None:
    """Guards ``set_back``: once silence is all that came of a host, its first tries start quiet as well."""
    world = _world(lambda url, _now: Reply(after=1000.0 if "hang" in url else 0.1), window=8)
    world.start(_urls(8, "hang.test"), JobPolicy(slow_window=600.0))
    world.drive_until(lambda: world.lane._schedule.quiet > 0)
    world.start(_urls(8, "hang.test"), JobPolicy(slow_window=600.0))
    good = world.start(_urls(160, "good.test"))
    begun = world.clock.seconds

    world.drive_until(lambda: good.wait(0))

    assert world.clock.seconds < begun + 160 * 0.1 / 8 + 0.5


class _Fine(VirtualHttp[Exchange]):
    """Waits in small steps, so that several lanes share one clock."""

    def wait(self, seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        return super().wait(min(0.002, 0.002 if seconds is None else seconds))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_hear_nothing_of_one_another_share_what_a_host_allows(processes: int) -> None:
    clock, host = VirtualClock(), Limited(60.0, _refusal(429))
    https = [_Fine(lambda url, _turn: host(url, clock.seconds), clock) for _ in range(processes)]
    chances = [Hosts(Random(number).random) for number in range(processes)]
    worlds = [
        VirtualWorld(window=64, clock=clock, http=http, hosts=hosts) for http, hosts in zip(https, chances, strict=True)
    ]
    batches = [_urls(1000)[first : first + 125] for first in range(0, 1000, 125)]
    runs = [(world, world.start(batch)) for world, batch in zip(worlds * 8, batches, strict=False)]

    for _ in range(200_000):
        if all(run.wait(0) for _, run in runs):
            break
        for world in worlds:
            world.drive_once()

    assert _endings([run for _, run in runs]) == {(Ending.OK, None): 1000}
    assert sum(len(http.requests) for http in https) <= 1300
    assert clock.seconds <= 2 * 17
