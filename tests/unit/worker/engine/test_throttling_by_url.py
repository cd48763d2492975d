"""What becomes of URLs that throttle by themselves, and of those of hosts that only look like that, in virtual time."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from random import Random

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_throttling import Limited, endings, fetch_all, refusal, world_of
from tests.support.virtual_world import Reply, VirtualWorld, urls


class Choosy:
    """A host that always throttles some of its URLs, and others ``once``."""

    def __init__(self, always: Collection[str], asks: int, once: Collection[str] = ()) -> None:
        self.always = always
        self._refusal = refusal(Retry_After=str(asks))
        self._once = set(once)

    def __call__(self, url: str, _now: float) -> Reply:
        if url in self._once:
            self._once.remove(url)
            return self._refusal
        return self._refusal if url in self.always else Reply(after=0.05)


def _last_good(world: VirtualWorld, host: Choosy) -> float:
    return max(at for at, url in world.http.requests if url not in host.always)


def test_pages_that_are_always_busy_fail_alone_if_others_are_answered() -> None:
    """Guards ``was_excused`` and the tolerated share: each such page would stop its host for good."""
    world = world_of(lambda url, _now: refusal(503) if url.endswith("7") else Reply(after=0.02))

    runs = fetch_all(world, urls(1000), JobPolicy(attempts=2))

    assert endings(runs) == {(Ending.OK, None): 900, (Ending.FAILED, ErrorClass.HTTP_5XX): 100}


@pytest.mark.parametrize("patience", [30.0, 3600.0])
@pytest.mark.parametrize(("bad", "good"), [(1, 300), (30, 300), (150, 150)])
def test_urls_that_are_always_throttled_do_not_stop_their_host(bad: int, good: int, patience: float) -> None:
    """They had it paused each time one was tried: 0.3 URLs a second, and the good ones ended as host-blocked."""
    listed = urls(bad + good)
    host = Choosy(set(Random(1).sample(listed, bad)), asks=5)
    world = world_of(host)

    runs = fetch_all(world, listed, JobPolicy(host_patience=patience))

    assert endings(runs) == {(Ending.OK, None): good, (Ending.FAILED, ErrorClass.HTTP_4XX): bad}
    failed = [outcome for run in runs for outcome in run.outcomes if outcome.ending is Ending.FAILED]
    assert {(outcome.http_status, len(outcome.attempts)) for outcome in failed} == {(429, 4)}
    assert _last_good(world, host) < 6 * 5
    for url in host.always:
        assert min(later - earlier for earlier, later in pairwise(world.http.requests_for(url)[2:])) >= 5


@pytest.mark.parametrize("asks", [5, 60])
def test_a_url_that_is_always_throttled_does_not_probe_if_another_is_ready(asks: int) -> None:
    """Guards ``give_way``: it was first in each waiting batch, and its host was paused again."""
    listed = urls(100)
    host = Choosy({listed[0]}, asks)
    world = world_of(host, window=2)

    runs = fetch_all(world, listed)

    assert endings(runs) == {(Ending.OK, None): 99, (Ending.FAILED, ErrorClass.HTTP_4XX): 1}
    assert _last_good(world, host) < 3.5 * asks


def test_urls_throttled_once_do_not_hide_one_that_always_is() -> None:
    """Guards ``_TELLING``: the last URLs waited for an hour, and ended as host-blocked."""
    listed = urls(600)
    chosen = Random(4).sample(listed, 60)
    host, limited = Choosy(set(chosen[:30]), 5, chosen[30:]), Limited(60.0, refusal(Retry_After="5"))
    world = world_of(lambda url, now: reply if (reply := host(url, now)).status != 200 else limited(url, now))

    runs = fetch_all(world, listed)

    assert endings(runs) == {(Ending.OK, None): 570, (Ending.FAILED, ErrorClass.HTTP_4XX): 30}
    assert world.clock.seconds < 600


@pytest.mark.parametrize("after", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("rate", "asks"), [(1.0, 1), (2.0, 1), (1.0, 5), (10.0, 1)])
def test_a_slow_host_without_bursts_costs_no_url_an_attempt(rate: float, asks: int, after: float) -> None:
    """Guards the trial's control: a request right after an answered one is refused, for whatever URL it is."""
    free_at = 0.0

    def answer(_url: str, now: float) -> Reply:
        nonlocal free_at
        if now < free_at:
            return refusal(Retry_After=str(asks), after=after)
        free_at = max(now, free_at) + 1 / rate
        return Reply(after=after)

    runs = fetch_all(world_of(answer), urls(60))

    assert endings(runs) == {(Ending.OK, None): 60}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}


@pytest.mark.parametrize("asks", [1, 5])
@pytest.mark.parametrize("is_first_good", [True, False])
def test_a_host_that_lets_every_second_request_through_costs_no_url_an_attempt(asks: int, is_first_good: bool) -> None:
    """Guards the order in a trial: if it was always the same, so was the one that was answered."""
    count = int(is_first_good)

    def answer(_url: str, _now: float) -> Reply:
        nonlocal count
        count += 1
        return Reply(after=0.3) if count % 2 == 0 else refusal(Retry_After=str(asks), after=0.3)

    runs = fetch_all(world_of(answer), urls(60))

    assert endings(runs) == {(Ending.OK, None): 60}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}


def test_a_host_slower_than_it_says_costs_no_url_an_attempt() -> None:
    """Guards ``_PROBES``: the last URLs were throttled twice by chance, and 40 of 100 lost attempts."""
    free_at = 0.0

    def answer(_url: str, now: float) -> Reply:
        nonlocal free_at
        if now < free_at:
            return refusal(Retry_After="1", after=0.2)
        free_at = now + 2.0
        return Reply(after=0.2)

    runs = fetch_all(world_of(answer), urls(100))

    assert endings(runs) == {(Ending.OK, None): 100}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}


@pytest.mark.parametrize(("asks", "patience", "longest"), [(2, 60.0, 50.0), (200, 3600.0, 3000.0)])
def test_a_host_that_throttles_the_first_request_for_each_url_yields_all(
    asks: int, patience: float, longest: float
) -> None:
    """Every probe was a URL not requested before: of 300 none arrived."""
    seen = set()

    def answer(url: str, _now: float) -> Reply:
        is_first = url not in seen
        seen.add(url)
        return refusal(Retry_After=str(asks)) if is_first else Reply(after=0.02)

    world = world_of(answer)

    runs = fetch_all(world, urls(300), JobPolicy(host_patience=patience, timeout=60.0))

    assert endings(runs) == {(Ending.OK, None): 300}
    assert {len(outcome.attempts) for run in runs for outcome in run.outcomes} == {1}
    assert len(world.http.requests) == 600
    assert world.clock.seconds < longest


def test_a_host_that_throttles_everything_after_a_while_costs_no_url_its_attempts() -> None:
    """Guards ``_IN_A_ROW``: the host had been found to throttle by URL before."""
    listed = urls(600)
    host = Choosy(set(Random(1).sample(listed, 30)), asks=5)
    world = world_of(lambda url, now: refusal(Retry_After="5") if 15 <= now < 60 else host(url, now))

    runs = fetch_all(world, listed)

    assert endings(runs) == {(Ending.OK, None): 570, (Ending.FAILED, ErrorClass.HTTP_4XX): 30}
    assert len([at for at, _ in world.http.requests if 16 <= at < 60]) < 100
