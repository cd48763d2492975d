"""Who a throttling answer is about, how long the host is paused, and how it is asked afterwards."""

from __future__ import annotations

from math import inf

import pytest

from tests.support.asked_hosts import KEY, blame, incident, left, probe, starts, unknown_hosts
from worker.engine.host_record import LONGEST_PAUSE, REMEMBERED
from worker.engine.hosts import Hosts


def test_the_third_url_within_ten_seconds_pauses_the_host() -> None:
    hosts = unknown_hosts()

    assert [blame(hosts, url, now) for url, now in [("a", 0.0), ("b", 1.0), ("a", 9.0)]] == [False] * 3
    assert not blame(hosts, "c", 11.5), "b was long ago"
    assert blame(hosts, "d", 12.6)
    assert hosts.may_start(KEY, 12.6) > 0


def test_a_host_that_says_when_to_retry_is_paused_at_once() -> None:
    hosts = unknown_hosts()

    assert blame(hosts, "a", 5.0, asked=40.0)
    assert left(hosts, 5.0) == 40.0
    assert hosts.may_start("b.test:80", 5.0) == 0


@pytest.mark.parametrize(("patience", "seconds"), [(60.0, 54.0), (1e6, 2e5), (inf, 2e5)])
def test_more_than_a_day_is_waited_only_if_the_job_is_that_patient(patience: float, seconds: float) -> None:
    """Guards LONGEST_ASKED: one page that asks for three centuries ended all URLs of its host."""
    hosts = unknown_hosts()

    hosts.blame(KEY, "a", begun=0.0, asked=2e5, excused=inf, now=0.0, patience=patience)

    assert left(hosts, 0.0) == seconds


def test_answers_to_requests_begun_before_an_incident_belong_to_it() -> None:
    """Guards ``stepped``: there would be as many doublings as requests in flight."""
    hosts = unknown_hosts()
    incident(hosts)

    assert all(blame(hosts, f"u{number}", 1.5, begun=0.9) for number in range(60))

    assert left(hosts, 1.0) == 1.0


def test_a_longer_wait_in_a_late_answer_counts() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=2.0)

    blame(hosts, "b", 1.5, begun=0.5, asked=90.0)

    assert left(hosts, 1.5) == 90.0
    assert [state.left for state in hosts.news(1.5)[0]] == [90.0]


def test_jitter_is_added_once_and_not_per_late_answer() -> None:
    chances = iter([0.1, 1.0])
    hosts = Hosts(lambda: next(chances))
    blame(hosts, "a", 1.0, asked=20.0)

    blame(hosts, "b", 1.1, begun=0.5, asked=20.0)

    assert left(hosts, 1.0) == pytest.approx(20.2)


def test_pauses_double_per_incident_up_to_a_limit_until_the_host_answers() -> None:
    hosts = unknown_hosts()
    hosts.answered(KEY, 0.0, 0.0)
    incident(hosts)
    lengths = []
    for _ in range(12):
        now = probe(hosts)
        blame(hosts, "a", now)
        lengths.append(left(hosts, now))

    assert lengths[:4] == [2.0, 4.0, 8.0, 16.0]
    assert lengths[-1] == LONGEST_PAUSE

    now = probe(hosts)
    for number in range(3):
        hosts.answered(KEY, now, now + number)
    blame(hosts, "z", now + 3)
    assert left(hosts, now + 3) == 1.0
    now = probe(hosts)
    blame(hosts, "z", now)
    assert left(hosts, now) == 2.0


@pytest.mark.parametrize("asked", [None, 20.0, 3600.0])
def test_jitter_only_lengthens_pauses(asked: float | None) -> None:
    lengths = []
    for chance in (0.0, 0.5, 0.999):
        hosts = unknown_hosts(chance)
        for url in "abc":
            blame(hosts, url, 1.0, asked=asked)
        lengths.append(left(hosts, 1.0))

    assert lengths[0] == (asked or 1.0)
    assert lengths[0] < lengths[1] < lengths[2] <= min(1.25 * lengths[0], lengths[0] + 5.0)


def test_one_request_probes_and_the_others_wait_for_its_answer() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)

    assert hosts.may_start(KEY, now + 0.1) > 0
    assert hosts.may_start(KEY, now + 4.0) > 0
    assert left(hosts, now + 4.0) == 0
    hosts.answered(KEY, now, now + 4.1)
    assert 0 < starts(hosts, now + 4.2) < 10


def test_a_probe_is_answered_when_its_body_begins() -> None:
    """The body may be large, or drip."""
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)

    hosts.answers(KEY, 0.5, now + 0.1)
    assert hosts.may_start(KEY, now + 0.2) > 0, "that one is from before the pause"

    hosts.answers(KEY, now, now + 0.3)
    assert hosts.may_start(KEY, now + 0.4) == 0


def test_an_inconclusive_probe_is_followed_by_another() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)

    hosts.unanswered(KEY, begun=now, now=now + 2)

    assert 0 < hosts.may_start(KEY, now + 2.1) < 1
    assert hosts.may_start(KEY, now + 3) == 0
    assert hosts.may_start(KEY, now + 7) > 0, "and that one is waited for"


def test_an_inconclusive_earlier_answer_allows_no_second_probe() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)

    hosts.unanswered(KEY, begun=0.9, now=now + 0.1)

    assert hosts.may_start(KEY, now + 1.0) > 0


def test_a_lost_probe_is_followed_by_another() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)

    assert hosts.may_start(KEY, now + 5.1) == 0


def test_an_answer_to_a_request_from_before_the_pause_is_not_the_probes() -> None:
    hosts = unknown_hosts()
    incident(hosts)

    hosts.answered(KEY, 0.5, 1.2)

    assert hosts.may_start(KEY, 2.1) == 0
    assert hosts.may_start(KEY, 4.0) > 0


def test_good_answers_to_what_was_in_flight_do_not_restart_the_curve() -> None:
    """Guards ``begun < self.stepped`` in ``HostRecord.answered``: only answers since the pause show that it is over."""
    hosts = unknown_hosts()
    incident(hosts)

    for _ in range(3):
        hosts.answered(KEY, 0.9, 1.2)
    now = probe(hosts)
    blame(hosts, "a", now)

    assert left(hosts, now) == 2.0


@pytest.mark.parametrize(("refused", "fastest"), [(1, 200), (6, 200), (40, 44)])
def test_a_requested_wait_limits_no_pace_if_few_are_refused(refused: int, fastest: int) -> None:
    """The wait is kept all the same. It had cost a host of 500 URLs, eight of which asked for a second, a minute."""
    hosts = unknown_hosts()
    for number in range(100):
        hosts.answered(KEY, 0.0, number / 50)
    for number in range(refused):
        blame(hosts, f"page {number}", 2.0 + number / 100, begun=1.9, asked=1.0)
    now = probe(hosts)
    assert now >= 3.0
    hosts.answered(KEY, now, now)

    assert 0.6 * fastest <= starts(hosts, now) <= fastest


def test_a_host_that_refuses_its_probe_too_has_a_limit() -> None:
    hosts = unknown_hosts()
    for number in range(10):
        hosts.answered(KEY, 0.0, number / 5)
    blame(hosts, "page", 2.0, asked=1.0)
    blame(hosts, "page", probe(hosts), asked=1.0)
    now = probe(hosts)
    hosts.answered(KEY, now, now)

    assert starts(hosts, now) < 20


def test_good_answers_to_requests_in_flight_show_that_few_were_refused() -> None:
    hosts = unknown_hosts()
    for page in ("a", "b"):
        blame(hosts, page, 2.0, begun=1.9, asked=1.0)
    for _ in range(60):
        hosts.answered(KEY, 1.9, 2.1)
    now = probe(hosts)
    hosts.answered(KEY, now, now)

    assert starts(hosts, now) >= 120


def test_three_urls_among_many_good_ones_pause_no_host() -> None:
    hosts = unknown_hosts()
    for number in range(100):
        hosts.answered(KEY, 0.0, number / 50)

    assert [blame(hosts, url, 2.0) for url in "abcd"] == [False] * 4
    assert hosts.may_start(KEY, 2.0) == 0


def test_a_host_that_only_throttles_is_given_up_and_one_that_answered_or_asked_is_not() -> None:
    for answered, asked, gives_up in [(False, None, True), (True, None, False), (False, 1.0, False)]:
        hosts = unknown_hosts()
        for key in (KEY, "b.test:80") if answered else ("b.test:80",):
            hosts.answered(key, 0.0, 0.0)
        for url in "abc":
            blame(hosts, url, 1.0, asked=asked)
        for _ in range(5):
            now = probe(hosts)
            blame(hosts, "a", now, asked=asked)

        assert (hosts.may_start(KEY, now) == inf) is gives_up


def test_a_host_that_has_only_throttled_for_ten_minutes_is_given_up() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    probe(hosts)

    blame(hosts, "a", 601.0)

    assert hosts.may_start(KEY, 601.0) == inf
    assert [state.is_given_up for state in hosts.news(601.0)[0]] == [True]


def test_an_excused_url_waits_alone_if_others_are_answered() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)
    hosts.answered(KEY, now, now)

    assert not blame(hosts, "a", now + 1, excused=1.0)
    assert left(hosts, now + 1) == 0
    assert blame(hosts, "new", now + 1)


def test_a_few_throttled_answers_among_many_good_ones_pause_nothing_unless_they_ask_to() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)
    for number in range(200):
        hosts.answered(KEY, now, now + number / 200)

    assert blame(hosts, "page", now + 1)
    assert left(hosts, now + 1) == 0
    assert blame(hosts, "another", now + 1, asked=7.0)
    assert left(hosts, now + 1) == 7.0


def test_a_throttled_probe_is_an_incident_however_many_good_answers_were_in_flight() -> None:
    hosts = unknown_hosts()
    incident(hosts)
    now = probe(hosts)
    for _ in range(200):
        hosts.answered(KEY, 0.5, now + 0.9)

    blame(hosts, "a", now + 3.1, begun=now)

    assert left(hosts, now + 3.1) == 2.0


def test_a_probe_throttled_alone_without_retry_after_concerns_its_url_and_is_followed_by_another() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=1.0)
    now = probe(hosts)

    assert not blame(hosts, "b", now + 0.1, begun=now)

    assert hosts.may_start(KEY, now + 0.5) == 0


def test_a_host_is_forgotten_after_a_while() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=5.0)

    assert [hosts.may_start(KEY, 6.0 + REMEMBERED) for _ in range(3)] == [0, 0, 0]
    assert hosts.hot == {}
    hosts.grant(KEY, 6.0 + REMEMBERED)
    assert hosts.news(6.0 + REMEMBERED) == ([], [])


def test_hosts_no_longer_asked_for_are_forgotten_too() -> None:
    """Guards ``_begin``: a worker that runs for months meets many hosts that throttle once."""
    hosts = unknown_hosts()
    for number in range(10_000):
        hosts.blame(f"h{number}:80", "u", begun=number, asked=1.0, excused=inf, now=float(number))

    assert REMEMBERED <= len(hosts.hot) < 3_000
