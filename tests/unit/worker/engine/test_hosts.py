"""Who a throttling answer is about, how long the host is paused, and how it is asked afterwards."""

from __future__ import annotations

from math import inf

import pytest

from contract.records.hosts import HostState
from contract.urls.naming import output_name
from worker.engine.host_record import LONGEST_PAUSE, REMEMBERED
from worker.engine.hosts import Hosts

KEY = "a.test:80"


def _hosts(chance: float = 0.0) -> Hosts:
    return Hosts(lambda: chance)


def _blame(
    hosts: Hosts, url: str, now: float, *, begun: float | None = None, asked: float | None = None, excused: float = inf
) -> bool:
    return hosts.blame(KEY, url, begun=now if begun is None else begun, asked=asked, excused=excused, now=now)


def _left(hosts: Hosts, now: float) -> float:
    pause = hosts.pause(KEY, now)
    return 0.0 if pause is None else pause.left


def _incident(hosts: Hosts, now: float) -> None:
    for url in "abc":
        _blame(hosts, url, now)


def _probe(hosts: Hosts) -> float:
    """Take the probe when the pause is over; returns when that is."""
    now = hosts.pause(KEY, 0.0)
    assert now is not None
    assert hosts.may_start(KEY, now.left) == 0
    return now.left


def test_the_third_url_within_ten_seconds_pauses_the_host() -> None:
    hosts = _hosts()

    assert [_blame(hosts, url, now) for url, now in [("a", 0.0), ("a", 1.0), ("a", 2.0), ("b", 3.0)]] == [False] * 4
    assert not _blame(hosts, "c", 12.5), "the first is long ago"
    assert _blame(hosts, "d", 12.6)
    assert hosts.may_start(KEY, 12.6) > 0


def test_a_host_that_says_when_to_retry_is_paused_at_once() -> None:
    hosts = _hosts()

    assert _blame(hosts, "a", 5.0, asked=40.0)
    assert _left(hosts, 5.0) == 40.0
    assert hosts.may_start("b.test:80", 5.0) == 0


def test_answers_to_requests_begun_before_an_incident_belong_to_it() -> None:
    """Guards ``stepped``: there would be as many doublings as requests in flight."""
    hosts = _hosts()
    _incident(hosts, 1.0)

    assert all(_blame(hosts, f"u{number}", 1.5, begun=0.9) for number in range(60))

    assert _left(hosts, 1.0) == 1.0


def test_a_longer_wait_in_a_late_answer_counts() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=2.0)

    _blame(hosts, "b", 1.5, begun=0.5, asked=90.0)

    assert _left(hosts, 1.5) == 90.0
    assert [state.left for state in hosts.news(1.5)[0]] == [90.0]


def test_jitter_is_added_once_and_not_per_late_answer() -> None:
    chances = iter([0.1, 1.0])
    hosts = Hosts(lambda: next(chances))
    _blame(hosts, "a", 1.0, asked=20.0)

    _blame(hosts, "b", 1.1, begun=0.5, asked=20.0)

    assert _left(hosts, 1.0) == pytest.approx(20.2)


def test_pauses_double_per_incident_up_to_a_limit_until_the_host_answers() -> None:
    hosts = _hosts()
    hosts.answered(KEY, 0.0, 0.0)
    _incident(hosts, 1.0)
    lengths = []
    for _ in range(12):
        now = _probe(hosts)
        _blame(hosts, "a", now)
        lengths.append(_left(hosts, now))

    assert lengths[:4] == [2.0, 4.0, 8.0, 16.0]
    assert lengths[-1] == LONGEST_PAUSE

    now = _probe(hosts)
    for number in range(3):
        hosts.answered(KEY, now, now + number)
    _blame(hosts, "z", now + 3)
    assert _left(hosts, now + 3) == 1.0


@pytest.mark.parametrize("asked", [None, 20.0])
def test_jitter_only_lengthens_pauses(asked: float | None) -> None:
    lengths = []
    for chance in (0.0, 0.5, 0.999):
        hosts = _hosts(chance)
        for url in "abc":
            _blame(hosts, url, 1.0, asked=asked)
        lengths.append(_left(hosts, 1.0))

    assert lengths[0] == (asked or 1.0)
    assert lengths[0] < lengths[1] < lengths[2] <= 1.25 * lengths[0]


def test_one_request_probes_and_the_others_wait_for_its_answer() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)

    assert hosts.may_start(KEY, now + 0.1) > 0
    assert hosts.may_start(KEY, now + 4.0) > 0
    hosts.answered(KEY, now, now + 4.1)
    assert hosts.may_start(KEY, now + 4.2) == 0


def test_a_probe_is_answered_when_its_body_begins() -> None:
    """The body may be large, or drip."""
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)

    hosts.answers(KEY, 0.5, now + 0.1)
    assert hosts.may_start(KEY, now + 0.2) > 0, "that one is from before the pause"

    hosts.answers(KEY, now, now + 0.3)
    assert hosts.may_start(KEY, now + 0.4) == 0


def test_an_inconclusive_probe_is_followed_by_another() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)

    hosts.unanswered(KEY, begun=now, now=now + 2)

    assert 0 < hosts.may_start(KEY, now + 2.1) < 1
    assert hosts.may_start(KEY, now + 3) == 0
    assert hosts.may_start(KEY, now + 7) > 0, "and that one is waited for"


def test_an_inconclusive_earlier_answer_allows_no_second_probe() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)

    hosts.unanswered(KEY, begun=0.9, now=now + 0.1)

    assert hosts.may_start(KEY, now + 1.0) > 0


def test_a_lost_probe_is_followed_by_another() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)

    assert hosts.may_start(KEY, now + 5.1) == 0


def test_an_answer_to_a_request_from_before_the_pause_is_not_the_probes() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)

    hosts.answered(KEY, 0.5, 1.2)

    assert hosts.may_start(KEY, 2.1) == 0
    assert hosts.may_start(KEY, 4.0) > 0


def test_good_answers_to_what_was_in_flight_do_not_restart_the_curve() -> None:
    """Guards ``begun < self.stepped`` in ``HostRecord.answered``: only answers since the pause show that it is over."""
    hosts = _hosts()
    _incident(hosts, 1.0)

    for _ in range(3):
        hosts.answered(KEY, 0.9, 1.2)
    now = _probe(hosts)
    _blame(hosts, "a", now)

    assert _left(hosts, now) == 2.0


@pytest.mark.parametrize(("refused", "fastest"), [(1, 200), (6, 200), (40, 44)])
def test_a_requested_wait_limits_no_pace_if_few_are_refused(refused: int, fastest: int) -> None:
    """The wait is kept all the same. It had cost a host of 500 URLs, eight of which asked for a second, a minute."""
    hosts = _hosts()
    for number in range(100):
        hosts.answered(KEY, 0.0, number / 50)
    for number in range(refused):
        _blame(hosts, f"page {number}", 2.0 + number / 100, begun=1.9, asked=1.0)
    now = _probe(hosts)
    assert now >= 3.0
    hosts.answered(KEY, now, now)

    starts = _starts(hosts, now, 1.0)

    assert 0.6 * fastest <= starts[0] <= fastest


def test_a_host_that_refuses_its_probe_too_has_a_limit() -> None:
    hosts = _hosts()
    for number in range(10):
        hosts.answered(KEY, 0.0, number / 5)
    _blame(hosts, "page", 2.0, asked=1.0)
    _blame(hosts, "page", _probe(hosts), asked=1.0)
    now = _probe(hosts)
    hosts.answered(KEY, now, now)

    assert _starts(hosts, now, 1.0)[0] < 20


def test_good_answers_to_requests_in_flight_show_that_few_were_refused() -> None:
    hosts = _hosts()
    for page in ("a", "b"):
        _blame(hosts, page, 2.0, begun=1.9, asked=1.0)
    for _ in range(60):
        hosts.answered(KEY, 1.9, 2.1)
    now = _probe(hosts)
    hosts.answered(KEY, now, now)

    assert _starts(hosts, now, 1.0)[0] >= 120


def test_three_urls_among_many_good_ones_pause_no_host() -> None:
    hosts = _hosts()
    for number in range(100):
        hosts.answered(KEY, 0.0, number / 50)

    assert [_blame(hosts, url, 2.0) for url in "abcd"] == [False] * 4
    assert hosts.may_start(KEY, 2.0) == 0


def _starts(hosts: Hosts, now: float, seconds: float) -> list[int]:
    """Start whatever may start, answered at once, and count by second."""
    counts = [0] * int(seconds)
    moment = 0.0
    while moment < seconds:
        if hosts.may_start(KEY, now + moment) == 0:
            counts[int(moment)] += 1
            hosts.answered(KEY, now + moment, now + moment)
        moment += 0.005
    return counts


def test_a_host_that_only_throttles_is_given_up_and_one_that_answered_or_asked_is_not() -> None:
    for answered, asked, gives_up in [(False, None, True), (True, None, False), (False, 1.0, False)]:
        hosts = _hosts()
        if answered:
            hosts.answered(KEY, 0.0, 0.0)
        for url in "abc":
            _blame(hosts, url, 1.0, asked=asked)
        for _ in range(5):
            now = _probe(hosts)
            _blame(hosts, "a", now, asked=asked)

        assert (hosts.may_start(KEY, now) == inf) is gives_up


def test_an_excused_url_waits_alone_if_others_are_answered() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)
    hosts.answered(KEY, now, now)

    assert not _blame(hosts, "a", now + 1, excused=1.0)
    assert _left(hosts, now + 1) == 0
    assert _blame(hosts, "new", now + 1)


def test_a_few_throttled_answers_among_many_good_ones_pause_nothing() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)
    now = _probe(hosts)
    for number in range(200):
        hosts.answered(KEY, now, now + number / 200)

    assert _blame(hosts, "page", now + 1)

    assert _left(hosts, now + 1) == 0


def _try(hosts: Hosts, now: float, *bad: str, key: str = KEY) -> None:
    """Have a host answer all but these URLs well, which it throttled: the probe, and who is asked for with each."""
    assert hosts.may_start(key, now, "good") == 0
    hosts.answered(key, now, now + 0.01, "good")
    for number, url in enumerate(bad):
        now += 0.1
        names = output_name(url), f"good {number}"
        assert [hosts.may_start(key, now, name) for name in (names if number % 2 == 0 else names[::-1])] == [0, 0]
        hosts.answered(key, now, now + 0.01, f"good {number}")
        assert hosts.blame(key, url, begun=now, asked=5.0, excused=inf, now=now + 0.02)


def _choosy(asked: float) -> Hosts:
    """Return what is known at second 7 of a host that throttles URLs a and b whenever they are asked for."""
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=asked)
    _blame(hosts, "b", 1.1, begun=0.9, asked=asked)
    _try(hosts, 6.1, "a", "b")
    hosts.answered(KEY, 6.5, 6.6, "good")
    return hosts


def test_urls_throttled_again_wait_alone_as_do_others_like_them() -> None:
    hosts = _choosy(5.0)

    assert [_blame(hosts, url, 7.0, asked=5.0) for url in ("a", "b", "new")] == [False] * 3
    assert hosts.may_start(KEY, 7.1) == 0


def test_requests_in_flight_when_the_host_opens_begin_no_incident() -> None:
    """Guards ``is_settled``: of a trial and what is sent with it, one may be what a host allows."""
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=5.0)
    assert hosts.may_start(KEY, 6.0, "good") == 0
    hosts.answered(KEY, 6.0, 6.1, "good")
    assert hosts.may_start(KEY, 6.2, output_name("a")) == 0
    assert hosts.may_start(KEY, 6.2, "c") == 0

    hosts.answered(KEY, 6.2, 6.3, output_name("a"))

    assert _blame(hosts, "c", 6.4, begun=6.2, asked=5.0)
    assert _left(hosts, 6.4) == 0


def test_requests_in_flight_when_a_pause_begins_are_not_its_probe() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=1.0)
    _try(hosts, 2.0, "a")
    hosts.answered(KEY, 2.4, 2.5, "good")
    _blame(hosts, "a", 2.6, asked=1.0)

    assert [_blame(hosts, url, 2.8, begun=2.5, asked=1.0) for url in ("b", "a")] == [True, True]


def test_a_url_may_be_tried_again_after_the_next_pause() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=1.0)
    _try(hosts, 2.0, "a")
    _blame(hosts, "b", 2.6, asked=1.0)

    assert hosts.may_start(KEY, 3.6, "good") == 0
    hosts.answered(KEY, 3.6, 3.7, "good")

    assert hosts.may_start(KEY, 4.8, "control") == 0
    assert hosts.is_wanted(KEY, output_name("a"), 4.8)


def test_after_two_trials_that_point_at_the_host_its_next_probe_opens_it() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=1.0)
    for now, control in ((2.0, "b"), (5.0, "c")):
        assert hosts.may_start(KEY, now, "good") == 0
        hosts.answered(KEY, now, now + 0.1, "good")
        for url in ("a", control):
            assert hosts.may_start(KEY, now + 1.2, output_name(url)) == 0
        for url in ("a", control):
            assert _blame(hosts, url, now + 1.3, begun=now + 1.2, asked=1.0)
        assert _left(hosts, now + 1.3) == 1.0

    assert hosts.may_start(KEY, 8.0, "good") == 0
    hosts.answered(KEY, 8.0, 8.1, "good")

    assert hosts.pause(KEY, 8.1) is None


def test_a_suspect_that_comes_late_is_still_tried() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=1.0)
    assert hosts.may_start(KEY, 2.0, "good") == 0
    hosts.answered(KEY, 2.0, 2.1, "good")

    assert hosts.may_start(KEY, 9.0, output_name("a")) == 0

    assert hosts.pause(KEY, 9.0) is not None


def test_a_probe_throttled_because_of_its_url_is_followed_by_another() -> None:
    hosts = _hosts()
    hosts.learn(HostState(KEY, 5.0, asks=True, name=output_name("a"), is_by_url=True), 0.0)
    assert hosts.may_start(KEY, 5.0, output_name("a")) == 0

    assert not _blame(hosts, "a", 5.1, begun=5.0, asked=5.0)

    assert hosts.may_start(KEY, 5.5, "good") == 0


@pytest.mark.parametrize("asked", [2.0, 5.0])
def test_other_processes_learn_that_a_host_throttles_by_url(asked: float) -> None:
    hosts, other = _choosy(asked), _hosts()

    for state in hosts.news(7.0)[0]:
        other.learn(HostState.from_wire(state.to_wire()), 7.0)
    other.answered(KEY, 7.1, 7.2, "good")

    assert not _blame(other, "a", 7.3, asked=5.0)


def test_a_new_url_pauses_such_a_host_if_none_was_answered_since() -> None:
    hosts = _hosts()
    hosts.learn(HostState(KEY, 0.0, is_open=True, is_by_url=True), 7.0)

    assert _blame(hosts, "new", 8.0, asked=5.0)
    assert _left(hosts, 8.0) == 5.0


def test_other_processes_learn_which_url_a_pause_began_with() -> None:
    hosts, other = _hosts(), _hosts()
    _blame(hosts, "a", 1.0, asked=5.0)

    for state in hosts.news(1.0)[0]:
        other.learn(state, 1.0)

    assert other.is_wanted(KEY, output_name("b"), 6.0)
    assert not other.is_wanted(KEY, output_name("a"), 6.0)
    assert other.is_wanted(KEY, output_name("a"), 5.0), "there is no probe yet"


def test_a_host_is_forgotten_after_a_while() -> None:
    hosts = _hosts()
    _incident(hosts, 1.0)

    assert hosts.may_start(KEY, 2.0 + REMEMBERED) == 0
    assert hosts.hot == {}


def test_hosts_no_longer_asked_for_are_forgotten_too() -> None:
    """Guards ``_begin``: a worker that runs for months meets many hosts that throttle once."""
    hosts = _hosts()
    for number in range(10_000):
        hosts.blame(f"h{number}:80", "u", begun=number, asked=1.0, excused=inf, now=float(number))

    assert len(hosts.hot) < 3_000


def test_a_long_pause_is_news_once_and_a_short_one_is_not() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=300.0)
    hosts.blame("b.test:80", "b", begun=1.0, asked=2.0, excused=inf, now=1.0)

    assert hosts.news(11.0) == ([HostState(KEY, 290.0, streak=1, asks=True, asked=300.0, name=output_name("a"))], [])
    assert hosts.news(12.0) == ([], [])


def test_a_pause_of_another_process_holds_here() -> None:
    hosts = _hosts()

    hosts.learn(HostState(KEY, 300.0, streak=4, pace=7.0, asks=True), 10.0)

    assert hosts.may_start(KEY, 11.0) == 299.0
    assert _blame(hosts, "a", 12.0, begun=9.0), "what was in flight belongs to it"
    assert _left(hosts, 12.0) == 298.0


def test_another_process_does_not_end_a_longer_pause() -> None:
    hosts = _hosts()
    hosts.learn(HostState(KEY, 10.0, asks=True), 0.0)
    _blame(hosts, "a", 5.0, begun=-1.0, asked=90.0)

    hosts.learn(HostState(KEY, 0.0, is_open=True), 11.0)

    assert _left(hosts, 11.0) == 84.0


def test_with_other_processes_one_probes_for_all() -> None:
    prober, other = _hosts(), _hosts()
    for hosts in (prober, other):
        hosts.is_governed = True
        hosts.learn(HostState(KEY, 10.0, asks=True), 0.0)
        assert hosts.may_start(KEY, 10.1) > 0
    assert prober.news(10.2) == ([], [KEY])

    prober.grant(KEY, 10.3)
    assert prober.may_start(KEY, 10.4) == 0
    assert other.may_start(KEY, 10.4) > 0
    prober.answered(KEY, 10.4, 10.5)
    (state,), _ = prober.news(10.6)
    other.learn(state, 10.7)

    assert state.is_open
    assert other.may_start(KEY, 10.8) == 0


def test_a_process_without_news_probes_by_itself() -> None:
    hosts = _hosts()
    hosts.learn(HostState(KEY, 10.0), 0.0)

    assert hosts.may_start(KEY, 10.1) == 0


def test_news_that_could_not_be_sent_is_kept() -> None:
    hosts = _hosts()
    _blame(hosts, "a", 1.0, asked=300.0)
    states, _ = hosts.news(1.0)

    hosts.keep_news(states)

    assert [state.left for state in hosts.news(2.0)[0]] == [299.0]
