"""URLs that are throttled whenever they are asked for: the host is tried, and goes on without them."""

from __future__ import annotations

import pytest

from contract.records.hosts import HostState
from contract.urls.naming import output_name
from tests.support.asked_hosts import KEY, blame, left, unknown_hosts
from worker.engine.hosts import Hosts


def _try(hosts: Hosts, now: float, *bad: str) -> None:
    """Have a host answer all but these URLs well, which it throttled: the probe, and who is asked for with each."""
    assert hosts.may_start(KEY, now, "good") == 0
    hosts.answered(KEY, now, now + 0.01, "good")
    for number, url in enumerate(bad):
        now += 0.1
        names = output_name(url), f"good {number}"
        assert [hosts.may_start(KEY, now, name) for name in (names if number % 2 == 0 else names[::-1])] == [0, 0]
        hosts.answered(KEY, now, now + 0.01, f"good {number}")
        assert blame(hosts, url, now + 0.02, begun=now, asked=5.0)


def _choosy(asked: float) -> Hosts:
    """Return what is known at second 7 of a host that throttles URLs a and b whenever they are asked for."""
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=asked)
    blame(hosts, "b", 1.1, begun=0.9, asked=asked)
    _try(hosts, 6.1, "a", "b")
    hosts.answered(KEY, 6.5, 6.6, "good")
    return hosts


def test_urls_throttled_again_wait_alone_as_do_others_like_them() -> None:
    hosts = _choosy(5.0)

    assert [blame(hosts, url, 7.0, asked=5.0) for url in ("a", "b", "new")] == [False] * 3
    assert hosts.may_start(KEY, 7.1) == 0


def test_requests_in_flight_when_the_host_opens_begin_no_incident() -> None:
    """Guards ``is_settled``: of a trial and what is sent with it, one may be what a host allows."""
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=5.0)
    assert hosts.may_start(KEY, 6.0, "good") == 0
    hosts.answered(KEY, 6.0, 6.1, "good")
    assert hosts.may_start(KEY, 6.2, output_name("a")) == 0
    assert hosts.may_start(KEY, 6.2, "c") == 0

    hosts.answered(KEY, 6.2, 6.3, output_name("a"))

    assert blame(hosts, "c", 6.4, begun=6.2, asked=5.0)
    assert left(hosts, 6.4) == 0


def test_requests_in_flight_when_a_pause_begins_are_not_its_probe() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=1.0)
    _try(hosts, 2.0, "a")
    hosts.answered(KEY, 2.4, 2.5, "good")
    blame(hosts, "a", 2.6, asked=1.0)

    assert [blame(hosts, url, 2.8, begun=2.5, asked=1.0) for url in ("b", "a")] == [True, True]


def test_a_url_may_be_tried_again_after_the_next_pause() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=1.0)
    _try(hosts, 2.0, "a")
    blame(hosts, "b", 2.6, asked=1.0)

    assert hosts.may_start(KEY, 3.6, "good") == 0
    hosts.answered(KEY, 3.6, 3.7, "good")

    assert hosts.may_start(KEY, 4.8, "control") == 0
    assert hosts.is_wanted(KEY, output_name("a"), 4.8)


def test_after_two_trials_that_point_at_the_host_its_next_probe_opens_it() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=1.0)
    for now, control in ((2.0, "b"), (5.0, "c")):
        assert hosts.may_start(KEY, now, "good") == 0
        hosts.answered(KEY, now, now + 0.1, "good")
        for url in ("a", control):
            assert hosts.may_start(KEY, now + 1.2, output_name(url)) == 0
        for url in ("a", control):
            assert blame(hosts, url, now + 1.3, begun=now + 1.2, asked=1.0)
        assert left(hosts, now + 1.3) == 1.0

    assert hosts.may_start(KEY, 8.0, "good") == 0
    hosts.answered(KEY, 8.0, 8.1, "good")

    assert hosts.pause(KEY, 8.1) is None


def test_throttled_probes_are_no_trials() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=1.0)
    for now in (2.0, 4.0):
        assert hosts.may_start(KEY, now, f"good {now}") == 0
        blame(hosts, f"b {now}", now + 0.1, begun=now, asked=1.0)
    assert hosts.may_start(KEY, 6.0, "good") == 0

    hosts.answered(KEY, 6.0, 6.1, "good")

    assert hosts.pause(KEY, 6.1) is not None, "the throttled ones are to be tried"


def test_a_suspect_that_comes_late_is_still_tried() -> None:
    hosts = unknown_hosts()
    blame(hosts, "a", 1.0, asked=1.0)
    assert hosts.may_start(KEY, 2.0, "good") == 0
    hosts.answered(KEY, 2.0, 2.1, "good")

    assert hosts.may_start(KEY, 9.0, output_name("a")) == 0

    assert hosts.pause(KEY, 9.0) is not None


def test_a_probe_throttled_because_of_its_url_is_followed_by_another() -> None:
    hosts = unknown_hosts()
    hosts.learn(HostState(KEY, 5.0, asks=True, name=output_name("a"), is_by_url=True), 0.0)
    assert hosts.may_start(KEY, 5.0, output_name("a")) == 0

    assert not blame(hosts, "a", 5.1, begun=5.0, asked=5.0)

    assert hosts.may_start(KEY, 5.5, "good") == 0


@pytest.mark.parametrize("asked", [2.0, 5.0])
def test_other_processes_learn_that_a_host_throttles_by_url(asked: float) -> None:
    hosts, other = _choosy(asked), unknown_hosts()

    for state in hosts.news(7.0)[0]:
        other.learn(HostState.from_wire(state.to_wire()), 7.0)
    other.answered(KEY, 7.1, 7.2, "good")

    assert not blame(other, "a", 7.3, asked=5.0)


def test_a_new_url_pauses_such_a_host_if_none_was_answered_since() -> None:
    hosts = unknown_hosts()
    hosts.learn(HostState(KEY, 0.0, is_open=True, is_by_url=True), 7.0)

    assert blame(hosts, "new", 8.0, asked=5.0)
    assert left(hosts, 8.0) == 5.0
