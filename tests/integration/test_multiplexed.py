"""HTTP/2 and HTTP/3 against real servers: whole bodies, shared connections, nothing sent to a refused address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from tests.support.bodies import body_bytes
from tests.support.certificates import Certificate, PrivateAuthority
from tests.support.fetching import OPEN, Bench
from tests.support.multiplexed import MultiplexedSite
from tests.support.sink import Sink
from worker.adapters.http import CurlHttp
from worker.adapters.http.waiting import Polling, Selecting
from worker.engine.exchange import Exchange
from worker.engine.lane import Lane
from worker.engine.safety import Verdict

_LARGE = 300_000
_NARROW = replace(OPEN, allow_nets=("127.0.0.1/32",))  # the sink's 127.0.0.2 is closed
_OF = {"2": {"http3": False}, "3": {"http2": False}}  # a site that speaks this version alone: no race decides


@dataclass(frozen=True, slots=True)
class Version:
    """An HTTP version, a site that speaks it, and the policy that asks for it."""

    name: str
    site: MultiplexedSite

    def policy(self, policy: JobPolicy = OPEN) -> JobPolicy:
        return replace(policy, http3=self.name == "3")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PrivateAuthority:
    return PrivateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: PrivateAuthority) -> Certificate:
    return authority.valid("127.0.0.1", "*.many.test")


@pytest.fixture(params=["2", "3"])
def version(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Version]:
    with MultiplexedSite(certificate, **_OF[request.param]) as site:
        yield Version(request.param, site)


@pytest.fixture
def bench(tmp_path: Path, authority: PrivateAuthority) -> Iterator[Bench]:
    with Bench(tmp_path, ca_file=str(authority.ca_file), look_up=_addresses) as bench:
        yield bench


def _addresses(host: str) -> tuple[str, ...]:
    return {"closed.many.test": ("127.0.0.2",), "both.many.test": ("127.0.0.2", "127.0.0.1")}.get(host, ("127.0.0.1",))


# ------------------------------------------------------------------------------------------------------- bodies


def test_bodies_come_whole(version: Version, bench: Bench) -> None:
    sizes = [0, 1, 4096, _LARGE]
    urls = [version.site.url(size=size, seed=size) for size in sizes]
    urls += [version.site.url(size=_LARGE, bare=1)]  # HTTP/2 and 3 frame bodies by themselves

    run = bench.fetch(urls, version.policy())

    assert {(outcome.ending, outcome.http_version) for outcome in run.outcomes} == {(Ending.OK, version.name)}
    for url, size in zip(urls, sizes, strict=False):
        assert (bench.folder / output_name(url)).read_bytes() == body_bytes(size, size)
    assert (bench.folder / output_name(urls[-1])).read_bytes() == body_bytes(_LARGE)
    notes = {outcome.url: outcome.notes for outcome in run.outcomes}
    assert notes == {**dict.fromkeys(urls, ()), urls[-1]: (f"framing=h{version.name}",)}


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
        run = bench.fetch([version.site.url(n=number, size=_LARGE) for number in range(20)], version.policy())

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


@pytest.mark.parametrize("end", ["reset", "quiet", "early"])
@pytest.mark.parametrize("bare", ["", "1"], ids=["with a length", "without a length"])
def test_a_stream_that_breaks_leaves_no_file(version: Version, bench: Bench, end: str, bare: str) -> None:
    """``early`` ends as if that were all, which only a length reveals; libcurl takes ``quiet`` for that."""
    url = version.site.url(size=_LARGE, sent=100_000, end=end, bare=bare)

    run = bench.fetch([url], replace(version.policy(), attempts=2))

    (outcome,) = run.outcomes
    if end == "early" and bare:
        assert (outcome.ending, outcome.bytes) == (Ending.OK, 100_000)
        return
    assert (outcome.ending, outcome.error, len(outcome.attempts)) == (Ending.FAILED, ErrorClass.TRUNCATED, 2)
    assert bench.files() == set()
    assert bench.temporary_files() == []


def test_a_broken_stream_costs_its_neighbours_nothing(version: Version, bench: Bench) -> None:
    """A body of the wrong length may end the whole connection: the others are fetched again."""
    good = [version.site.url(size=50_000 + number) for number in range(40)]
    bad = [version.site.url(size=_LARGE, sent=1000, end=end, n=1) for end in ("reset", "early")]

    run = bench.fetch([*bad, *good], version.policy())

    stored = {outcome.url for outcome in run.outcomes if outcome.is_stored}
    assert stored == set(good)
    for number, url in enumerate(good):
        assert (bench.folder / output_name(url)).read_bytes() == body_bytes(50_000 + number)


def test_a_quiet_reset_costs_its_own_stream_only(version: Version, bench: Bench) -> None:
    """Guards ``hear``: of streams answered together on one connection, reset ones and whole ones are distinguished."""
    bench.fetch([version.site.url(first=1, bare=1)], version.policy())
    ends = ["whole", "quiet", "whole", "whole", "quiet", "quiet"] * 4
    urls = [
        version.site.url(gather=len(ends), size=20_000 + number, sent=(20_000 + number) // 2, end=end, bare=1)
        if end == "quiet"
        else version.site.url(gather=len(ends), size=20_000 + number, bare=1)
        for number, end in enumerate(ends)
    ]

    run = bench.fetch(urls, replace(version.policy(), attempts=1))

    outcomes = {outcome.url: outcome for outcome in run.outcomes}
    for number, (url, end) in enumerate(zip(urls, ends, strict=True)):
        assert outcomes[url].error == (ErrorClass.TRUNCATED if end == "quiet" else None), outcomes[url]
        if end == "whole":
            assert (bench.folder / output_name(url)).read_bytes() == body_bytes(20_000 + number)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_quiet_reset_is_noticed_after_bodies_with_lengths(version: Version, bench: Bench, size: int) -> None:
    """Guards ``is_unseen``: no handle listened there, so the body is requested again, once, with one that listens."""
    url = version.site.url(size=2 * size, sent=size, end="quiet", bare=1)
    bench.fetch([version.site.url(n=number) for number in range(3)], version.policy())

    run = bench.fetch([url], replace(version.policy(), attempts=1))

    assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TRUNCATED]
    assert len([asked for asked in version.site.asked if asked.target in url]) == 2
    assert bench.files() == {output_name(version.site.url(n=number)) for number in range(3)}


def test_a_length_outweighs_a_quiet_reset(version: Version, bench: Bench) -> None:
    """Every promised byte has come: how the stream ended does not matter."""
    url = version.site.url(size=1000, end="quiet")

    run = bench.fetch([url], replace(version.policy(), attempts=1))

    assert [(outcome.ending, outcome.notes) for outcome in run.outcomes] == [(Ending.OK, ())]
    assert (bench.folder / output_name(url)).read_bytes() == body_bytes(1000)


def test_bodies_without_a_length_are_requested_once(version: Version, bench: Bench) -> None:
    """Guards ``settle``, from an origin's first answer on; one that came in the turn of its request may be requested
    twice.
    """
    firsts = [version.site.url(host=f"h{number}.many.test", bare=1, size=number) for number in range(6)]
    bench.fetch(firsts, version.policy())
    asked = len(version.site.asked)

    run = bench.fetch(
        [version.site.url(host="h0.many.test", bare=1, n=number) for number in range(30)], version.policy()
    )

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}
    assert {outcome.notes for outcome in run.outcomes} == {(f"framing=h{version.name}",)}
    assert asked <= len(firsts) + 1
    assert len(version.site.asked) == asked + 30


def test_if_libcurl_cannot_be_asked_a_body_without_a_length_is_noted(
    version: Version, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.adapters.http.streams._trace", lambda: False)

    run = bench.fetch([version.site.url(bare=1, n=number) for number in range(3)], version.policy())

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}
    assert {outcome.notes for outcome in run.outcomes} == {(f"framing=h{version.name}",)}
    assert len(version.site.asked) == 3


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


def test_a_silent_stream_ends_at_the_floor(version: Version, bench: Bench) -> None:
    url = version.site.url(size=_LARGE, sent=1000, end="stall")

    run = bench.fetch([url], replace(version.policy(), attempts=1, slowest=1000, slow_window=1.0))

    assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TOO_SLOW]
    assert bench.temporary_files() == []


def test_a_split_opens_a_connection_for_each_range(version: Version, bench: Bench) -> None:
    """Guards ``is_multiplexed``: streams of one connection would share what a server gives to one."""
    url = version.site.url(size=2_000_000, ranges=1)

    run = bench.fetch([url], replace(version.policy(), splits=3))

    assert [(outcome.ending, outcome.notes) for outcome in run.outcomes] == [(Ending.OK, ("splits=3",))]
    assert (bench.folder / output_name(url)).read_bytes() == body_bytes(2_000_000)
    assert len({asked.connection for asked in version.site.asked}) >= 3  # an exchange that is done may begin another


# ----------------------------------------------------------------------------------------------------- the guard


@pytest.mark.parametrize("host", ["127.0.0.2", "closed.many.test"])
def test_a_refused_address_gets_no_datagram(version: Version, bench: Bench, host: str) -> None:
    """Guards the verdict in ``open_socket``: QUIC's sockets pass through it like TCP's."""
    with Sink(("127.0.0.2",), udp=True) as sink:
        url = f"https://{host}:{sink.ports[0]}/"

        run = bench.fetch([url], version.policy(_NARROW))

        assert [outcome.error for outcome in run.outcomes] == [ErrorClass.REFUSED_ADDRESS]
        assert sink.caught == []


def test_a_redirect_to_a_refused_address_sends_nothing(version: Version, bench: Bench) -> None:
    with Sink(("127.0.0.2",), udp=True) as sink:
        url = version.site.url(to=f"https://127.0.0.2:{sink.ports[0]}/")

        run = bench.fetch([url], version.policy(_NARROW))

        assert [outcome.error for outcome in run.outcomes] == [ErrorClass.REFUSED_ADDRESS]
        assert len(version.site.asked) == 1
        assert sink.caught == []


def test_of_two_addresses_only_the_allowed_one_is_tried(version: Version, bench: Bench) -> None:
    with Sink(("127.0.0.2",), (version.site.port,), udp=True) as sink:
        run = bench.fetch([version.site.url(host="both.many.test")], version.policy(_NARROW))

        assert [outcome.http_version for outcome in run.outcomes] == [version.name]
        assert [outcome.remote_ip for outcome in run.outcomes] == ["127.0.0.1"]
        assert sink.caught == []


def test_alt_svc_is_ignored(version: Version, bench: Bench) -> None:
    """Alternative services are not used, whether their address is allowed or not."""
    policy = replace(version.policy(), allow_nets=("127.0.0.1/32", "127.0.0.3/32"))
    with Sink(("127.0.0.2", "127.0.0.3"), udp=True) as sink:
        places = [f"{address}:{sink.ports[0]}" for address in sink.addresses]
        said = ", ".join(f'{protocol}="{place}"; ma=3600' for place in places for protocol in ("h3", "h2"))
        bench.fetch([version.site.url(alt=said)], policy)

        run = bench.fetch([version.site.url(n=number) for number in range(5)], policy)

        assert run.progress.ok == 5
        assert sink.caught == []


def test_a_pooled_connection_is_judged_again(version: Version, bench: Bench) -> None:
    """Guards ``permit``: ``open_socket`` is not called for an existing connection."""
    bench.fetch([version.site.url(n=1)], version.policy())
    (lanes,) = bench.downloader._lanes.values()
    for lane in lanes:
        assert isinstance(lane._http, CurlHttp)
        object.__setattr__(lane._http._common, "judge", _closed)  # frozen

    run = bench.fetch([version.site.url(n=2)], version.policy())

    assert [outcome.error for outcome in run.outcomes] == [ErrorClass.REFUSED_ADDRESS]
    assert len(version.site.asked) == 1


def _closed(address: str, port: int) -> Verdict:
    return Verdict(False, f"{address} port {port} was open a moment ago.")


def test_proxy_variables_change_nothing(
    version: Version, tmp_path: Path, authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sink() as sink:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{sink.ports[0]}")
        bench = Bench(tmp_path, ca_file=str(authority.ca_file))

        run = bench.fetch([version.site.url()], version.policy())

        bench.close()
        assert [outcome.http_version for outcome in run.outcomes] == [version.name]
        assert sink.caught == []


@pytest.mark.parametrize("fault", ["wrong_name", "expired", "self_signed"])
def test_a_certificate_is_checked(
    authority: PrivateAuthority, bench: Bench, request: pytest.FixtureRequest, fault: str
) -> None:
    wrong = getattr(authority, fault)
    made = wrong() if fault == "wrong_name" else wrong("127.0.0.1")
    for name, spoken in _OF.items():
        with MultiplexedSite(made, **spoken) as site:
            run = bench.fetch([site.url()], replace(OPEN, http3=name == "3"))

            assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TLS]
            assert site.asked == []


# ------------------------------------------------------------------------------------------------ without QUIC


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
