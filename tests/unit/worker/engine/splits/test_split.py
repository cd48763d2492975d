"""Splits in virtual time: who fetches what, who takes over from whom, and never a file of two versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from tests.support.small_bodies import small_bodies
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_ranges import Fate, RangeHttp, State, version
from tests.support.virtual_world import VirtualWorld
from worker.engine.splits import split

URL = "http://a.test/object"
SIZE = 16_000
POLICY = JobPolicy(timeout=600.0, attempts=3, splits=4, first_byte_timeout=0, slowest=0)
_THIRD = "bytes=2000-2999"  # the segment of the third request


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with small_bodies():
        yield


@dataclass(frozen=True, slots=True)
class Fetched:
    outcome: Outcome
    body: bytes | None
    http: RangeHttp
    seconds: float


def fetch(
    fate: Callable[[int], Fate],
    policy: JobPolicy = POLICY,
    *,
    versions: dict[int, State] | None = None,
    most: int = 1_000,
) -> Fetched:
    clock = VirtualClock()
    http = RangeHttp(clock, versions or {0: version(0, SIZE)}, fate, most)
    world = VirtualWorld(clock=clock, http=http)

    (outcome,) = world.fetch([URL], policy).outcomes

    assert world.store.drafts == set()
    assert world.lane._schedule.flying == 0
    assert http.is_idle
    return Fetched(outcome, world.store.bodies.get(output_name(URL)), http, world.clock.seconds)


def _even(_request: int) -> Fate:
    return Fate()


def _busy(request: int, wants: int) -> Fate:
    """The third request is to be made again, so many seconds later."""
    return Fate(answer="busy", wants=wants) if request == 2 else Fate()


def test_all_exchanges_have_work_until_the_end() -> None:
    """16,000 bytes at 2,000 bytes/s each take four 2 s, after 0.2 s for the first bytes and 0.3 s between segments."""
    fetched = fetch(_even)

    assert (fetched.outcome.ending, fetched.body) == (Ending.OK, version(0, SIZE).body)
    assert fetched.http.most_in_flight == 4
    assert fetched.outcome.notes == ("splits=4",)
    assert fetched.seconds < 3.2


def test_segments_are_fetched_from_the_front() -> None:
    fetched = fetch(_even)

    starts = [int(asked.removeprefix("bytes=").partition("-")[0]) for asked in fetched.http.asked if asked]
    assert starts[:15] == [1000 * segment for segment in range(1, 16)]


def test_a_slow_connection_is_relieved() -> None:
    """Guards ``_relieve``: one connection has a fiftieth of the others' speed; its segment alone would take 25 s."""
    fetched = fetch(lambda request: Fate(speed=2 if request == 2 else 70))  # segments end within a piece

    assert fetched.body == version(0, SIZE).body
    assert fetched.seconds < 5.0


def test_a_slow_connection_that_only_its_end_proves_is_not_relieved() -> None:
    """Guards ``is_sure``: ended early, it would not be noticed to lack bytes, or to have brought wrong ones."""
    fetched = fetch(lambda request: Fate(speed=2, answer="holed") if request == 2 else Fate(speed=70))

    assert fetched.body == version(0, SIZE).body


def test_a_segment_whose_connection_broke_is_requested_again() -> None:
    """Guards ``retry``: without it one broken connection leaves the whole rest to one exchange."""
    fetched = fetch(lambda request: Fate(cut=500 if request in (0, 2, 5) else None))

    assert fetched.body == version(0, SIZE).body
    assert fetched.outcome.notes == ("splits=4",)
    assert len(fetched.outcome.attempts) == 1
    assert fetched.seconds < 4.0
    assert "bytes=500-999" in fetched.http.asked, "what the main exchange owed"


@pytest.mark.parametrize("answer", ["busy", "refused"])
def test_a_server_that_allows_fewer_connections_gets_no_more(answer: str) -> None:
    """Two helpers fail: their segments wait for an exchange that is done."""
    fetched = fetch(lambda request: Fate(answer=answer if request in (2, 3) else "right"))

    assert fetched.body == version(0, SIZE).body
    assert fetched.outcome.notes == ("splits=4",)
    assert fetch(_even).seconds * 1.5 < fetched.seconds < fetch(_even).seconds * 2.5  # as two connections take


def test_a_segment_is_retried_when_the_server_says() -> None:
    """Guards ``due``: without it the first idle exchange asks at once, although the server said when."""
    fetched = fetch(partial(_busy, wants=2))

    first, second = (at for at, asked in zip(fetched.http.begun, fetched.http.asked, strict=True) if asked == _THIRD)
    assert second - first >= 2.0
    assert fetched.body == version(0, SIZE).body
    assert fetched.outcome.notes == ("splits=4",)
    pause = [at for at in fetched.http.begun if first + 0.6 < at < first + 2.0]
    assert pause == [], "it is the host that wants to be left alone, not a segment"
    assert fetched.seconds < 2.0 + fetch(_even).seconds * 1.6, "as three connections take, and the pause"


def test_a_segment_told_to_wait_pauses_its_host() -> None:
    """Guards ``is_throttled`` for segments: other URLs of the host were requested meanwhile."""
    clock = VirtualClock()
    http = RangeHttp(clock, {0: version(0, SIZE)}, partial(_busy, wants=20))
    world = VirtualWorld(clock=clock, http=http)
    split = world.start([URL], POLICY)
    world.drive_until(lambda: clock.seconds > 3.0)

    other = world.start([f"{URL}?other"], replace(POLICY, splits=1, batch_seconds=600.0))
    world.drive_until(lambda: other.wait(0))
    world.drive_until(lambda: split.wait(0))

    assert [at for at in http.begun if 1.0 < at < 20.0] == []
    assert len(other.leftovers) == 1, "handed back: its host is paused for long"
    assert [outcome.ending for outcome in split.outcomes] == [Ending.OK]


def test_a_segment_refused_without_retry_after_waits_like_an_attempt() -> None:
    """Guards the pause: without one, a server that has just refused gets the same request at once."""
    policy = replace(POLICY, first_wait=8.0)

    fetched = fetch(lambda request: Fate(answer="refused") if request == 2 else Fate(), policy)

    first, second = (at for at, asked in zip(fetched.http.begun, fetched.http.asked, strict=True) if asked == _THIRD)
    assert second - first >= 8.0
    assert fetched.outcome.notes == ("splits=4",)


def test_a_split_rests_while_all_segments_wait() -> None:
    """Guards ``rests_until``: nothing is in flight for a minute, and no byte is fetched twice."""
    fetched = fetch(partial(_busy, wants=60))

    assert fetched.body == version(0, SIZE).body
    assert fetched.outcome.notes == ("splits=4",)
    assert len(fetched.outcome.attempts) == 1
    assert len(fetched.http.asked) == len({*fetched.http.asked}) + 1
    assert 60.0 <= fetched.seconds < 62.0 + 7.0, "a pause is made longer by chance, and one segment probes"


def test_the_last_exchange_may_be_refused_too() -> None:
    refused = Fate(answer="busy", delay=30)  # when the other half has come

    fetched = fetch(
        lambda request: refused if request == 1 else Fate(), replace(POLICY, splits=2), versions={0: version(0, 1200)}
    )

    assert fetched.outcome.notes == ("splits=2",)
    assert fetched.http.asked == [None, "bytes=600-1199", "bytes=600-1199"]


def test_a_wait_that_is_too_long_ends_the_split() -> None:
    """Guards the check of the deadline: a split that rests past it is useless."""
    fetched = fetch(partial(_busy, wants=60), replace(POLICY, timeout=50.0))

    assert fetched.body == version(0, SIZE).body
    assert fetched.outcome.notes == ()
    assert fetched.seconds < 20.0, "the first exchange goes on to the end"


def test_a_resting_split_frees_its_slots_and_keeps_its_deadline() -> None:
    """Guards ``_between`` in ``Lane._rest``: silent URLs hold all slots when the segment is due."""
    clock, silent = VirtualClock(), Fate(answer="silent")
    refused = Fate(answer="refused")  # a segment's affair: its host is not paused for that
    fates = {2: refused, **dict.fromkeys(range(16, 100), silent)}
    http = RangeHttp(clock, {0: version(0, SIZE)}, lambda request: fates.get(request, Fate()))
    world = VirtualWorld(clock=clock, http=http)
    policy = replace(POLICY, timeout=30.0, attempts=1, per_host=4, first_wait=10.0)
    run = world.start([URL], policy)
    world.drive_until(lambda: clock.seconds > 6.0)

    world.start([f"{URL}?{number}" for number in range(4)], policy)
    world.drive_until(lambda: run.wait(0))

    assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TIMEOUT]
    assert 30.0 <= clock.seconds < 31.0
    assert http.most_in_flight == 4
    assert len(world.store.drafts) == 0


def test_a_split_whose_host_pauses_before_its_helpers_begin_ends_once() -> None:
    """Guards that helpers begin before the end of their main exchange is handled: the split rested twice.

    Both come in the second wait of a pass, after the answer that pauses the host.
    """
    clock, busy, prompt = VirtualClock(), Fate(answer="busy", wants=60), Fate(speed=SIZE, delay=3)
    http = RangeHttp(clock, {0: version(0, SIZE)}, lambda request: prompt if request else busy)
    world = VirtualWorld(clock=clock, http=http)

    run = world.start(["http://a.test/busy", URL], replace(POLICY, timeout=20.0))
    world.drive_until(lambda: run.wait(0) or clock.seconds > 30.0)

    assert [(outcome.url, outcome.error) for outcome in run.outcomes] == [(URL, ErrorClass.TIMEOUT)]
    assert world.store.drafts == set()


def test_a_resting_split_is_handed_back_with_its_wait() -> None:
    """Guards ``_discard`` in ``Lane._hand_back``: nothing in flight has its draft."""
    clock = VirtualClock()
    world = VirtualWorld(clock=clock, http=RangeHttp(clock, {0: version(0, SIZE)}, partial(_busy, wants=60)))
    run = world.start([URL], POLICY)
    world.drive_until(lambda: clock.seconds > 10.0)

    run.stop(within=1.0)
    world.drive_until(lambda: run.wait(0))

    assert run.outcomes == []
    assert 48.0 < run.leftovers[0].after < 50.0 + 5.0
    assert world.store.drafts == set()


def test_a_server_that_breaks_every_connection_gets_few_requests() -> None:
    fetched = fetch(lambda request: Fate(cut=70))

    assert (fetched.outcome.ending, fetched.outcome.error) == (Ending.FAILED, ErrorClass.TRUNCATED)
    assert len(fetched.outcome.attempts) == 3
    assert len(fetched.http.asked) < 20


@pytest.mark.parametrize("answer", ["full", "shifted", "gone"])
def test_a_range_with_a_wrong_response_ends_the_split(answer: str) -> None:
    fetched = fetch(lambda request: Fate(answer=answer if request == 2 else "right"))

    assert fetched.body == version(0, SIZE).body
    assert fetched.outcome.notes == ()
    assert fetched.http.asked.count(None) == 1, "the first exchange goes on to the end"


@pytest.mark.parametrize("main", [Fate(), Fate(speed=10)], ids=["has ended", "goes on"])
@pytest.mark.parametrize("helper", [1, 9])
def test_a_helper_that_cannot_begin_ends_its_url_and_leaves_nothing(helper: int, main: Fate) -> None:
    """Guards ``_discard`` in ``Lane._spoil``: the main exchange has a draft by then."""
    fetched = fetch(lambda request: main if request == 0 else Fate(answer="bug" if request == helper else "right"))

    assert (fetched.outcome.error, fetched.body) == (ErrorClass.INTERNAL, None)


def test_a_bug_within_a_split_ends_its_url_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_spoil`` in ``Lane._ended``: the main exchange must not produce a second outcome."""
    monkeypatch.delattr(split.Split, "finish")

    fetched = fetch(lambda request: Fate(speed=100 if request else 10))

    assert (fetched.outcome.error, fetched.body) == (ErrorClass.INTERNAL, None)
    assert fetched.seconds < 2.0


def test_helpers_count_towards_the_hosts_limit() -> None:
    """Guards ``join``: without it the host's limit holds for URLs only, and their helpers are added to it."""
    clock = VirtualClock()
    http = RangeHttp(clock, {0: version(0, SIZE)}, _even)
    world = VirtualWorld(clock=clock, http=http)

    run = world.fetch([f"{URL}?{number}" for number in range(6)], JobPolicy(splits=4, per_host=4))

    assert run.progress.ok == 6
    assert http.most_in_flight == 4


def test_a_split_counts_as_one_url_in_flight() -> None:
    clock = VirtualClock()
    http = RangeHttp(clock, {0: version(0, SIZE)}, lambda _request: Fate(speed=4))
    world = VirtualWorld(clock=clock, http=http)
    run = world.start([URL], POLICY)

    world.drive_until(lambda: clock.seconds > 5.0)

    assert http.most_in_flight == 4
    assert (run.progress.waits.flying, run.progress.waits.quiet) == (1, 1)


_FATES = st.builds(
    Fate,
    speed=st.sampled_from([20, 100, 700]),
    delay=st.integers(0, 6),
    cut=st.none() | st.none() | st.integers(0, 3000),
    answer=st.sampled_from(["right"] * 12 + ["full", "shifted", "busy", "busy", "refused", "gone", "silent"]),
    wants=st.sampled_from([None, None, 1, 4, 70]),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fates=st.lists(_FATES, min_size=1, max_size=30), changes=st.lists(st.integers(1, 40), max_size=2),
    splits=st.integers(2, 6), size=st.sampled_from([1200, 7_001, SIZE]), most=st.sampled_from([1, 2, 3, 1_000]),
)  # fmt: skip
def test_whatever_happens_the_file_is_one_version_whole_or_absent(
    fates: list[Fate], changes: list[int], splits: int, size: int, most: int
) -> None:
    versions = {first: version(number, size) for number, first in enumerate([0, *sorted(changes)])}
    policy = JobPolicy(
        timeout=60.0, attempts=3, splits=splits, first_byte_timeout=2.0, slow_window=2.0, first_wait=0.1,
        host_patience=20.0,
    )  # fmt: skip

    fetched = fetch(lambda request: fates[request % len(fates)], policy, versions=versions, most=most)

    assert fetched.http.most_in_flight <= splits
    if fetched.outcome.is_stored:
        assert fetched.body in {state.body for state in versions.values()}
        assert fetched.outcome.bytes == size
    else:
        assert fetched.body is None
