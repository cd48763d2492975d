"""HTTP/2 and HTTP/3 send nothing to a refused address, nor to a server with a wrong certificate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contract.records.outcomes import ErrorClass
from tests.support.certificates import PrivateAuthority
from tests.support.fetching import OPEN, Bench
from tests.support.multiplexed import ALONE, MultiplexedSite, Version
from tests.support.sink import Sink
from worker.adapters.http import CurlHttp
from worker.engine.safety import Verdict

_NARROW = replace(OPEN, allow_nets=("127.0.0.1/32",))  # the sink's 127.0.0.2 is closed


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
    for name, spoken in ALONE.items():
        with MultiplexedSite(made, **spoken) as site:
            run = bench.fetch([site.url()], replace(OPEN, http3=name == "3"))

            assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TLS]
            assert site.asked == []
