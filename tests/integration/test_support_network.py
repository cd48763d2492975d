"""Sinks count what reaches them, and a network of one's own is one: else nothing would seem to reach anybody."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.support import netbox
from tests.support.dns_stub import DnsStub, Reply
from tests.support.sink import Sink


class TestSink:
    def test_it_counts_connections_and_bytes_on_every_address_and_port(self) -> None:
        with Sink(["127.0.0.1", "127.0.0.2", "::1"], [0, 0]) as sink:
            for address in sink.addresses:
                for port in sink.ports:
                    with socket.create_connection((address, port)) as wire:
                        wire.sendall(b"hello")

            assert sink.connections == 6
            assert sink.total_bytes == 30
            assert {(one.address, one.port) for one in sink.caught} == {
                (address, port) for address in sink.addresses for port in sink.ports
            }
            assert sink.caught[0].beginning == b"hello"

    def test_a_connection_counts_as_soon_as_its_client_has_it(self) -> None:
        with Sink() as sink:
            for number in range(1, 200):
                with socket.create_connection(("127.0.0.1", sink.ports[0])):
                    assert sink.connections == number  # with no wait in between: _settle() is what this protects

    def test_it_catches_datagrams(self) -> None:
        with Sink(udp=True) as sink, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.sendto(b"initial", ("127.0.0.1", sink.ports[0]))

            (one,) = sink.wait_for_connections(1)
            assert (one.transport, one.received) == ("udp", 7)


# ---- a network of one's own: these run in another process


def resolve_and_connect(name: str) -> tuple[list[str], list[tuple[str, int]], int]:
    with Sink(["0.0.0.0", "::"], [80]) as sink, DnsStub("127.0.0.1", 53) as dns:
        dns.script("public.test", "93.184.216.34")
        dns.script("mixed.test", Reply("93.184.216.34", "10.0.0.5"), Reply("169.254.169.254"))
        found = []
        for _ in range(2):
            for *_rest, where in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM):
                found.append(str(where[0]))
                socket.create_connection((str(where[0]), 80), timeout=60.0).close()
        for literal in ("2606:2800:220:1::1", "::ffff:10.0.0.7", "100.64.0.1"):
            socket.create_connection((literal, 80), timeout=60.0).close()
        return found, [(one.address, one.port) for one in sink.caught], len(dns.queries())


@pytest.fixture
def needs_netbox() -> None:
    if reason := netbox.why_not():
        pytest.skip(reason)


@pytest.mark.usefixtures("needs_netbox")
class TestNetbox:
    def test_permission_is_the_only_reason_to_skip(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_args: object, **_options: object) -> None:
            raise netbox.NetboxError("a bug of ours")

        monkeypatch.setattr(netbox, "run", fail)

        with pytest.raises(netbox.NetboxError, match="a bug of ours"):
            netbox.why_not.__wrapped__()

    def test_every_address_is_ours_and_names_come_from_the_stub(self) -> None:
        found, caught, queries = netbox.call(
            resolve_and_connect, "mixed.test", every_address=True, nameserver="127.0.0.1"
        )

        assert sorted(found[:2]) == ["10.0.0.5", "93.184.216.34"]
        assert found[2:] == ["169.254.169.254"]
        assert {address for address, _port in caught} == {
            *("10.0.0.5", "93.184.216.34", "169.254.169.254"),
            *("2606:2800:220:1::1", "10.0.0.7", "100.64.0.1"),
        }
        assert queries >= 2

    def test_a_command_sees_its_own_resolver_and_we_keep_ours(self) -> None:
        before = Path("/etc/resolv.conf").read_bytes()

        done = netbox.run(["cat", "/etc/resolv.conf", "/proc/net/dev"], nameserver="127.0.0.9")

        assert done.returncode == 0
        assert "nameserver 127.0.0.9" in done.stdout
        assert re.findall(r"^\s*(\w+):", done.stdout, re.MULTILINE) == ["lo"]
        assert Path("/etc/resolv.conf").read_bytes() == before
