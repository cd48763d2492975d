"""What processes tell one another of throttling hosts, and which of them probes."""

from __future__ import annotations

from math import inf

from contract.records.hosts import HostState
from contract.urls.naming import output_name
from tests.support.asked_hosts import KEY, blame, left, unknown_hosts
from worker.engine.host_record import LONGEST_PAUSE


def test_other_processes_learn_which_url_a_pause_began_with() -> None:
    hosts, other = unknown_hosts(), unknown_hosts()
    blame(hosts, "a", 1.0, asked=5.0)

    for state in hosts.news(1.0)[0]:
        other.learn(state, 1.0)

    assert other.is_wanted(KEY, output_name("b"), 6.0)
    assert not other.is_wanted(KEY, output_name("a"), 6.0)
    assert other.is_wanted(KEY, output_name("a"), 5.0), "there is no probe yet"
    assert not other.hot[KEY].evidence.by_url.holds


def test_a_long_pause_is_news_once_and_a_short_one_is_not() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=300.0)
    hosts.blame("b.test:80", "b", begun=1.0, asked=2.0, excused=inf, now=1.0)

    assert hosts.news(11.0) == ([HostState(KEY, 290.0, streak=1, asks=True, asked=300.0, name=output_name("a"))], [])
    assert hosts.news(12.0) == ([], [])
    hosts.is_governed = True
    assert hosts.may_start(KEY, 301.1) > 0, "another process may probe it"


def test_a_pause_of_another_process_holds_here() -> None:
    hosts = unknown_hosts()

    hosts.learn(HostState(KEY, 300.0, streak=4, pace=7.0, asks=True), 10.0)

    assert hosts.may_start(KEY, 11.0) == 299.0
    assert blame(hosts, "a", 12.0, begun=9.0), "what was in flight belongs to it"
    assert left(hosts, 12.0) == 298.0


def test_the_longest_streak_has_the_longest_pause() -> None:
    hosts = unknown_hosts()
    hosts.learn(HostState(KEY, 1.0, streak=5_000), 0.0)
    assert hosts.may_start(KEY, 1.0) == 0

    blame(hosts, "a", 1.1, begun=1.0)

    assert left(hosts, 1.1) == LONGEST_PAUSE


def test_another_process_does_not_end_a_longer_pause() -> None:
    hosts = unknown_hosts()
    hosts.learn(HostState(KEY, 10.0, asks=True), 0.0)
    blame(hosts, "a", 5.0, begun=-1.0, asked=90.0)

    hosts.learn(HostState(KEY, 0.0, is_open=True, is_by_url=True), 11.0)
    hosts.learn(HostState("b.test:80", 0.0, is_open=True), 11.0)

    assert left(hosts, 11.0) == 84.0
    assert set(hosts.hot) == {KEY}


def test_with_other_processes_one_probes_for_all() -> None:
    prober, other = unknown_hosts(), unknown_hosts()
    for hosts in (prober, other):
        hosts.is_governed = True
        hosts.learn(HostState(KEY, 10.0, asks=True), 0.0)
        assert hosts.may_start(KEY, 10.1) > 0
        assert hosts.has_news
    assert prober.news(10.2) == ([], [KEY])
    assert prober.news(10.2) == ([], [])

    prober.grant(KEY, 10.3)
    assert prober.may_start(KEY, 10.4) == 0
    assert other.may_start(KEY, 10.4) > 0
    prober.answered(KEY, 10.4, 10.5)
    (state,), _ = prober.news(10.6)
    other.learn(state, 10.7)

    assert state.is_open
    assert other.may_start(KEY, 10.8) == 0


def test_after_each_incident_the_probe_is_granted_anew() -> None:
    hosts = unknown_hosts()
    hosts.is_governed = True
    hosts.learn(HostState(KEY, 10.0, asks=True), 0.0)
    hosts.grant(KEY, 10.1)
    assert hosts.may_start(KEY, 10.2) == 0

    blame(hosts, "a", 10.3, begun=10.2, asked=2.0)

    assert [state.left for state in hosts.news(10.3)[0]] == [2.0], "a shared pause stays shared"
    assert hosts.may_start(KEY, 12.4) > 0


def test_a_process_without_news_probes_by_itself_as_after_a_short_pause() -> None:
    hosts, governed = unknown_hosts(), unknown_hosts()
    governed.is_governed = True
    hosts.learn(HostState(KEY, 10.0), 0.0)
    blame(governed, "a", 0.0, asked=2.0)

    assert hosts.may_start(KEY, 10.1) == governed.may_start(KEY, 2.1) == 0


def test_news_that_could_not_be_sent_is_kept() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=300.0)
    states, _ = hosts.news(1.0)

    hosts.keep_news(states)

    assert [state.left for state in hosts.news(2.0)[0]] == [299.0]
