"""What an egress proxy does, well or badly, and what becomes of the URLs: real libcurl and a real little proxy.

That nothing refused is reached through one is in test_guard.py, in a network of its own.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pycurl
import pytest

from contract.records.outcomes import Ending, ErrorClass, Outcome
from tests.support.certificates import PrivateAuthority
from tests.support.egress_proxy import CONNECTED, EgressProxy, Told
from tests.support.fetching import OPEN, Bench
from tests.support.guarded_site import Asked, Site, moved, reply
from tests.support.guarded_world import JumpingClock, Proxying
from tests.support.processes import free_port
from worker.adapters.egress import Egress

LOGIN = "worker:s%65cret:with a colon"
ONCE = replace(OPEN, attempts=1)
TWICE = replace(OPEN, attempts=2, first_wait=0.01, longest_wait=0.01)


def on_loopback(_host: str) -> tuple[str, ...]:
    return ("127.0.0.1",)


@contextmanager
def proxied(folder: Path, proxy: str, *, login: str = "", **options: Any) -> Iterator[Bench]:
    """Yield a bench that fetches through this proxy."""
    (folder / "login").write_text(f"{login}\n", "utf-8")
    options = {"look_up": on_loopback, "egress_login_file": str(folder / "login") if login else "", **options}
    with Bench(folder / "out", egress_proxy=proxy, **options) as bench:
        yield bench


@contextmanager
def fetching(folder: Path, proxy: str, **options: Any) -> Iterator[Callable[..., list[Outcome]]]:
    """Yield what fetches URLs through this proxy, and returns their outcomes in that order."""
    with proxied(folder, proxy, **options) as bench:
        yield lambda urls, policy=TWICE: bench.outcomes(urls, policy)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(["127.0.0.1"]) as running:
        yield running


KINDS = pytest.mark.parametrize(("scheme", "kind"), [("http", "connect"), ("socks5", "socks5")])


# ------------------------------------------------------------------------------------------------- it works


@KINDS
def test_all_connections_go_through_the_proxy_by_address(
    tmp_path: Path, site: Site, scheme: str, kind: Proxying
) -> None:
    """Many hosts, with redirects and reused connections; the proxy gets no name."""
    port = site.ports[0]
    site.answer = lambda asked: moved(f"http://next.test:{port}/end") if asked.target == "/start" else reply()
    urls = [f"http://h{number % 7}.test:{port}/{number}" for number in range(100)] + [f"http://one.test:{port}/start"]

    with (
        EgressProxy(kind=kind, login=LOGIN) as proxy,
        fetching(tmp_path, f"{scheme}://127.0.0.1:{proxy.port}", login=LOGIN) as fetch,
    ):
        outcomes = fetch(urls)
        before = proxy.tunnels
        again = fetch([f"http://h1.test:{port}/again{number}" for number in range(3)])

    assert {outcome.ending for outcome in [*outcomes, *again]} == {Ending.OK}
    assert {outcome.remote_ip for outcome in outcomes} == {"127.0.0.1"}
    assert {(told.host, told.port, told.login) for told in proxy.told} == {("127.0.0.1", port, LOGIN)}
    assert site.connections == proxy.tunnels == proxy.connections
    assert proxy.tunnels < before + 3, "open tunnels are used again"
    assert {asked.header("host") for asked in site.asked} >= {f"h{n}.test:{port}" for n in range(7)}
    assert all(asked.header("proxy-authorization") is None for asked in site.asked)


@KINDS
def test_tls_is_checked_against_the_urls_host(tmp_path: Path, scheme: str, kind: Proxying) -> None:
    authority = PrivateAuthority(tmp_path / "authority")
    tls, names = authority.valid("one.test").server_context(), list[str]()
    tls.sni_callback = lambda _wire, name, _context: names.append(name)
    with Site(["127.0.0.1"], tls=tls) as site, EgressProxy(kind=kind) as proxy:
        ca_file = str(authority.ca_file)
        with fetching(tmp_path, f"{scheme}://127.0.0.1:{proxy.port}", ca_file=ca_file) as fetch:
            port = site.ports[0]
            right, wrong = fetch([f"https://one.test:{port}/", f"https://two.test:{port}/"], replace(ONCE, http3=True))

    assert right.ending is Ending.OK
    assert (wrong.ending, wrong.error) == (Ending.FAILED, ErrorClass.TLS)
    assert sorted(names) == ["one.test", "two.test"]
    assert {told.host for told in proxy.told} == {"127.0.0.1"}


def test_a_proxy_may_use_tls_and_its_certificate_is_checked(tmp_path: Path, site: Site) -> None:
    authority = PrivateAuthority(tmp_path / "authority")
    tls: ssl.SSLContext = authority.valid("proxy.test").server_context()
    url = f"http://one.test:{site.ports[0]}/"
    with EgressProxy(tls=tls, login=LOGIN) as proxy:
        endings = {}
        for name in ("proxy.test", "other.test"):
            where = f"https://{name}:{proxy.port}"
            with fetching(tmp_path, where, login=LOGIN, ca_file=str(authority.ca_file)) as fetch:
                (endings[name],) = fetch([url], ONCE)

    assert endings["proxy.test"].ending is Ending.OK
    assert endings["other.test"].error is ErrorClass.PROXY
    assert len(proxy.told) == 1


def test_a_proxy_may_have_an_ipv6_address_and_lead_to_one(tmp_path: Path) -> None:
    with Site(["::1"]) as site, EgressProxy("::1") as proxy:
        port = site.ports[0]
        with fetching(tmp_path, f"http://[::1]:{proxy.port}", look_up=lambda _host: ("::1",)) as fetch:
            outcomes = fetch([f"http://[::1]:{port}/", f"http://six.test:{port}/"])
            narrow = fetch([f"http://six.test:{port}/4"], replace(TWICE, ipv4_only=True))

    assert [(outcome.ending, outcome.remote_ip) for outcome in outcomes] == [(Ending.OK, "::1")] * 2
    assert {(told.host, told.port) for told in proxy.told} == {("::1", port)}
    assert (narrow[0].error, narrow[0].detail) == (ErrorClass.DNS, "The host has no IPv4 address.")


def test_a_proxys_name_is_looked_up_again(tmp_path: Path, site: Site) -> None:
    """It may move; URLs may not be fetched from its new address either."""
    clock, port = JumpingClock(), free_port()
    places = {"proxy.test": "127.0.0.1"}
    url = f"http://one.test:{site.ports[0]}"

    def look_up(host: str) -> tuple[str, ...]:
        return (places.get(host, "127.0.0.1"),)

    def moved_to(address: str) -> Outcome:
        """Fetch until the new place is known."""
        places["proxy.test"] = address
        clock.ahead += 100.0
        for number in range(100):
            (outcome,) = fetch([f"{url}/{address}/{number}"], ONCE)
            if outcome.ending is Ending.OK:
                return outcome
            assert outcome.error is ErrorClass.PROXY
        return outcome

    with fetching(tmp_path, f"http://proxy.test:{port}", look_up=look_up, clock=clock) as fetch:
        with EgressProxy("127.0.0.1", port):
            assert fetch([f"{url}/first"])[0].ending is Ending.OK
        with EgressProxy("127.0.0.2", port) as second:
            assert moved_to("127.0.0.2").ending is Ending.OK
            (itself,) = fetch([f"http://127.0.0.2:{port}/"])

    assert {told.host for told in second.told} == {"127.0.0.1"}
    assert (itself.ending, itself.error) == (Ending.REFUSED, ErrorClass.REFUSED_ADDRESS)
    assert "egress proxy itself" in str(itself.detail)


def test_ipv4_comes_first_and_addresses_take_turns(tmp_path: Path, site: Site) -> None:
    def look_up(host: str) -> tuple[str, ...]:
        return ("::1", "127.0.0.3", "10.0.0.1", "127.0.0.1") if host == "many.test" else ("127.0.0.1",)

    with EgressProxy() as proxy, fetching(tmp_path, f"http://127.0.0.1:{proxy.port}", look_up=look_up) as fetch:
        (outcome,) = fetch([f"http://many.test:{site.ports[0]}/"])

    # Nobody listens at 127.0.0.3; 10.0.0.1 is refused and costs nothing.
    assert [told.host for told in proxy.told] == ["127.0.0.3", "127.0.0.1"]
    assert (outcome.ending, outcome.remote_ip, len(outcome.attempts)) == (Ending.OK, "127.0.0.1", 2)


# ---------------------------------------------------------------------------------------------- it does not


@KINDS
def test_a_proxy_that_is_down_is_named_and_not_the_urls_fault(
    tmp_path: Path, site: Site, scheme: str, kind: Proxying
) -> None:
    where = f"{scheme}://127.0.0.1:{free_port()}"
    with fetching(tmp_path, where, login=LOGIN) as fetch:
        (outcome,) = fetch([f"http://one.test:{site.ports[0]}/path?query"])

    assert (outcome.ending, outcome.error, len(outcome.attempts)) == (Ending.FAILED, ErrorClass.PROXY, 2)
    assert str(outcome.detail).startswith(f"The egress proxy {where} cannot be reached")
    assert site.connections == 0


@pytest.mark.parametrize(
    ("kind", "answer", "error", "attempts"),
    [
        ("connect", 403, ErrorClass.PROXY, 1),
        ("connect", 404, ErrorClass.PROXY, 1),
        ("connect", 407, ErrorClass.PROXY, 1),
        ("connect", 429, ErrorClass.PROXY, 2),
        ("connect", 500, ErrorClass.PROXY, 2),
        ("connect", 502, ErrorClass.CONNECT, 2),
        ("connect", 503, ErrorClass.CONNECT, 2),
        ("connect", 504, ErrorClass.CONNECT, 2),
        ("socks5", 1, ErrorClass.CONNECT, 2),
        ("socks5", 2, ErrorClass.PROXY, 1),
        ("socks5", 3, ErrorClass.CONNECT, 2),
        ("socks5", 4, ErrorClass.CONNECT, 2),
        ("socks5", 5, ErrorClass.CONNECT, 2),
        ("socks5", 8, ErrorClass.PROXY, 2),
    ],
)
def test_a_proxys_status_decides_whose_fault_it_is(
    tmp_path: Path, site: Site, kind: Proxying, answer: int, error: ErrorClass, attempts: int
) -> None:
    scheme = "http" if kind == "connect" else "socks5"
    with EgressProxy(kind=kind, answer=lambda _told: answer) as proxy:
        where = f"{scheme}://127.0.0.1:{proxy.port}"
        with fetching(tmp_path, where) as fetch:
            (outcome,) = fetch([f"http://one.test:{site.ports[0]}/"])

    assert (outcome.ending, outcome.error, len(outcome.attempts)) == (Ending.FAILED, error, attempts)
    assert where in str(outcome.detail)
    assert outcome.http_status is None, "that was the proxy's"
    assert len(proxy.told) == attempts
    assert site.connections == 0


@KINDS
@pytest.mark.parametrize("given", ["", "worker:wrong"])
def test_a_rejected_login_names_the_setting(
    tmp_path: Path, site: Site, scheme: str, kind: Proxying, given: str
) -> None:
    with (
        EgressProxy(kind=kind, login=LOGIN) as proxy,
        fetching(tmp_path, f"{scheme}://127.0.0.1:{proxy.port}", login=given) as fetch,
    ):
        (outcome,) = fetch([f"http://one.test:{site.ports[0]}/"])

    assert (outcome.error, len(outcome.attempts)) == (ErrorClass.PROXY, 1)
    assert "TRAWL_EGRESS_LOGIN_FILE" in str(outcome.detail)


@KINDS
def test_a_host_that_does_not_answer_behind_a_proxy_is_a_timeout(
    tmp_path: Path, site: Site, scheme: str, kind: Proxying
) -> None:
    waiting = threading.Event()

    def silently(_told: Told) -> int:
        waiting.wait(20.0)
        return CONNECTED

    with EgressProxy(kind=kind, answer=silently) as proxy:
        with fetching(tmp_path, f"{scheme}://127.0.0.1:{proxy.port}") as fetch:
            (outcome,) = fetch([f"http://one.test:{site.ports[0]}/"], replace(ONCE, connect_timeout=1.5))
        waiting.set()

    assert outcome.error is ErrorClass.TIMEOUT


def test_a_server_that_is_not_a_proxy_is_reported(tmp_path: Path, site: Site) -> None:
    """A web server answers the CONNECT like any request, and gets no other."""
    site.answer = lambda _asked: reply(404, "Connection: close")
    with fetching(tmp_path, f"http://127.0.0.1:{site.ports[0]}") as fetch:
        (outcome,) = fetch(["http://one.test:8080/path?query"])

    assert (outcome.error, len(outcome.attempts)) == (ErrorClass.PROXY, 1)
    assert [asked.target for asked in site.asked] == ["127.0.0.1:8080"]


def test_a_failing_server_is_judged_the_same_behind_a_tunnel(tmp_path: Path, site: Site) -> None:
    def answer(asked: Asked) -> bytes:
        return reply(500) if asked.target == "/500" else b"junk\r\n\r\n" if asked.target == "/junk" else reply(403)

    site.answer = answer
    base = f"http://one.test:{site.ports[0]}"
    with EgressProxy() as proxy, fetching(tmp_path, f"http://127.0.0.1:{proxy.port}") as fetch:
        outcomes = fetch([f"{base}/{path}" for path in ("500", "junk", "403")])

    expected = [ErrorClass.HTTP_5XX, ErrorClass.BAD_RESPONSE, ErrorClass.HTTP_4XX]
    assert [outcome.error for outcome in outcomes] == expected
    assert {outcome.remote_ip for outcome in outcomes} == {"127.0.0.1"}


def test_sockets_go_to_the_proxy_only(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever libcurl makes of its options: here it acts as if there were no proxy."""
    monkeypatch.setattr(Egress, "configure", lambda _self, curl: curl.setopt(pycurl.PROXY, ""))
    with EgressProxy() as proxy, fetching(tmp_path, f"http://127.0.0.1:{proxy.port}") as fetch:
        urls = [f"http://one.test:{site.ports[0]}/", f"https://one.test:{site.ports[0]}/"]
        outcomes = fetch(urls)

    assert {outcome.ending for outcome in outcomes} == {Ending.REFUSED}
    assert "is not the egress proxy" in str(outcomes[0].detail)
    assert site.connections == proxy.connections == 0


# ------------------------------------------------------------------------------------------------- secrets


def test_the_login_is_shown_nowhere(tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    told = str(LOGIN.partition(":")[2])
    url = f"http://one.test:{site.ports[0]}/"
    with (
        caplog.at_level(logging.DEBUG),
        EgressProxy(login="else:where") as proxy,
        proxied(tmp_path, f"http://127.0.0.1:{proxy.port}", login=LOGIN) as bench,
    ):
        outcomes = bench.outcomes([url], TWICE)
        settings = bench.downloader.settings
        shown = repr(bench.downloader._egress) + repr(settings) + repr(settings.proxy())
    with fetching(tmp_path, f"http://127.0.0.1:{free_port()}", login=LOGIN) as fetch:
        outcomes += fetch([url])

    rows = str(outcomes)
    assert told not in rows + caplog.text + shown
    assert f"http://127.0.0.1:{proxy.port}" in rows
