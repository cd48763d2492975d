"""Transfers share connections but not their faults, and HTTP/2 is used where QUIC does not get through."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.urls.naming import output_name
from tests.support.bodies import body_bytes
from tests.support.certificates import Certificate
from tests.support.fetching import OPEN, Bench
from tests.support.multiplexed import LARGE, MultiplexedSite, Version
from tests.support.sink import Sink
from worker.adapters.http import CurlHttp
from worker.adapters.http.waiting import Polling, Selecting
from worker.engine.exchange import Exchange
from worker.engine.lane import Lane


def test_many_transfers_share_few_connections(version: Version, bench: Bench) -> None:
    """Guards PIPEWAIT: without it the first transfers open a connection each before one can be shared."""
    run = bench.fetch([version.site.url(n=number) for number in range(300)], version.policy())

    assert run.progress.ok == 300
    assert version.site.connections(version.name) <= 4


def test_pooled_connections_are_closed_cleanly_with_a_poller(
    version: Version, bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Guards the order in CurlHttp.close: libcurl notifies the poller of each connection it shuts down."""
    monkeypatch.setattr("worker.adapters.http.exchanges.HIGHEST_SELECTED", 0)
    run = bench.fetch([version.site.url(n=number) for number in range(20)], version.policy())
    (lane,) = next(iter(bench.downloader._lanes.values()))

    bench.close()

    assert run.progress.ok == 20
    assert isinstance(lane._http._driver, Polling)  # type: ignore[attr-defined]  # the port does not show how it waits
    assert capfd.readouterr().err == ""


def test_select_and_epoll_take_turns_on_pooled_connections(
    version: Version, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the way back: with epoll for good, lists of busy sockets would cost a fifth more."""
    monkeypatch.setattr("worker.adapters.http.waiting._SAMPLE", 1)
    monkeypatch.setattr("worker.adapters.http.waiting._SPARSE", 0)
    poll, polled = CurlHttp._poll, list[int]()

    def noted(http: CurlHttp[Exchange]) -> None:
        polled.append(len(http._busy))
        poll(http)

    monkeypatch.setattr(CurlHttp, "_poll", noted)

    for round_ in range(3):
        run = bench.fetch([version.site.url(n=number, size=LARGE) for number in range(20)], version.policy())

        (lane,) = next(iter(bench.downloader._lanes.values()))
        _let_it_wait(lane)
        assert run.progress.ok == 20
        assert len(polled) == round_ + 1
        assert isinstance(lane._http._driver, Selecting)  # type: ignore[attr-defined]  # the port does not show it
    assert version.site.connections(version.name) <= 4


def _let_it_wait(lane: Lane) -> None:
    """Return once the lane, with nothing in flight, has waited."""
    for _ in range(2):  # it reads the second message after a wait that began after the first
        is_read = threading.Event()
        lane.post(is_read.set)
        is_read.wait()


def test_streams_of_one_connection_run_at_once(version: Version, bench: Bench) -> None:
    """The site answers none of the sixteen before all have asked."""
    bench.fetch([version.site.url(first=1)], version.policy())

    run = bench.fetch([version.site.url(gather=16, n=number) for number in range(16)], version.policy())

    assert run.progress.ok == 16
    assert len({asked.connection for asked in version.site.asked}) == 1


@pytest.mark.parametrize("end", ["lawless", "accused"])
def test_a_server_that_breaks_the_rules_of_http_2_is_asked_twice(
    certificate: Certificate, bench: Bench, end: str
) -> None:
    with MultiplexedSite(certificate, http3=False) as site:
        run = bench.fetch([site.url(end=end)], replace(OPEN, first_wait=0.01))

    (outcome,) = run.outcomes
    assert (outcome.error, len(outcome.attempts)) == (ErrorClass.BAD_RESPONSE, 2)
    assert len(site.asked) == 2


def test_urls_that_shared_a_faulty_connection_are_not_blamed(certificate: Certificate, bench: Bench) -> None:
    """Guards ``_fault``: all sixteen end with their connection, and only one of them is at fault."""
    with MultiplexedSite(certificate, http3=False) as site:
        bench.fetch([site.url(first=1)])
        good = [site.url(gather=16, n=number) for number in range(15)]
        run = bench.fetch([site.url(gather=16, end="lawless"), *good], replace(OPEN, first_wait=0.01))

    outcomes = {outcome.url: outcome for outcome in run.outcomes}
    assert {outcome.attempts[0].error for outcome in run.outcomes} == {ErrorClass.CONNECT}
    assert {outcomes[url].ending for url in good} == {Ending.OK}


def test_a_split_opens_a_connection_for_each_range(version: Version, bench: Bench) -> None:
    """Guards ``is_multiplexed``: streams of one connection would share what a server gives to one."""
    url = version.site.url(size=2_000_000, ranges=1)

    run = bench.fetch([url], replace(version.policy(), splits=3))

    assert [(outcome.ending, outcome.notes) for outcome in run.outcomes] == [(Ending.OK, ("splits=3",))]
    assert (bench.folder / output_name(url)).read_bytes() == body_bytes(2_000_000)
    assert len({asked.connection for asked in version.site.asked}) >= 3  # an exchange that is done may begin another


def test_http_2_is_used_if_datagrams_are_rejected(certificate: Certificate, bench: Bench) -> None:
    with MultiplexedSite(certificate, http3=False) as site:
        run = bench.fetch([site.url(n=number) for number in range(20)], replace(OPEN, http3=True))

    assert {(outcome.ending, outcome.http_version) for outcome in run.outcomes} == {(Ending.OK, "2")}


def test_http_2_is_used_if_datagrams_vanish(certificate: Certificate, bench: Bench) -> None:
    with MultiplexedSite(certificate, http3=False, deaf=True) as site:
        run = bench.fetch([site.url(n=number) for number in range(20)], replace(OPEN, http3=True))

    assert {(outcome.ending, outcome.http_version) for outcome in run.outcomes} == {(Ending.OK, "2")}


def test_the_connect_timeout_holds_if_all_is_silent(bench: Bench) -> None:
    with Sink(("127.0.0.2",), udp=True) as sink:
        policy = replace(OPEN, http3=True, attempts=1, connect_timeout=2.0)

        run = bench.fetch([f"https://127.0.0.2:{sink.ports[0]}/"], policy)

        assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TIMEOUT]
        assert run.outcomes[0].timing.total < policy.timeout / 2
        assert {one.transport for one in sink.caught} == {"udp", "tcp"}
