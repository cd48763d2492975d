"""Sinks count what reaches them, the name server answers as told, and a network of one's own is one."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest

from tests.support import netbox
from tests.support.dns_stub import NXDOMAIN, SERVFAIL, SILENCE, DnsStub, Kind, Reply
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

    def test_nothing_is_nothing(self) -> None:
        with Sink() as sink:
            assert (sink.connections, sink.total_bytes, sink.caught) == (0, 0, [])


# ---- name resolution, asked for by hand: the C library's resolver only knows port 53


def question(name: str, kind: Kind) -> bytes:
    spelled = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + spelled + bytes([0, kind, 0, 1])


def ask_udp(dns: DnsStub, name: str, kind: Kind = Kind.A, *, timeout: float = 60.0) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(timeout)
        wire.sendto(question(name, kind), (dns.address, dns.port))
        return wire.recv(4096)


def ask_tcp(dns: DnsStub, name: str, kind: Kind = Kind.A) -> bytes:
    with socket.create_connection((dns.address, dns.port), timeout=60.0) as wire:
        message = question(name, kind)
        wire.sendall(len(message).to_bytes(2, "big") + message)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            data += wire.recv(4096)
        return data[2:]


def code_of(answer: bytes) -> int:
    return answer[3] & 0x0F


def is_cut(answer: bytes) -> bool:
    return bool(answer[2] & 0x02)


def count_of(answer: bytes) -> int:
    return int.from_bytes(answer[6:8], "big")


class TestDnsStub:
    def test_each_family_gets_its_own_addresses(self) -> None:
        with DnsStub() as dns:
            dns.script("Both.test.", "93.184.216.34", "10.0.0.1", "2606:2800:220:1::1")

            four, six = ask_udp(dns, "both.test"), ask_udp(dns, "BOTH.test", Kind.AAAA)

        assert (count_of(four), count_of(six)) == (2, 1)
        assert socket.inet_aton("93.184.216.34") in four
        assert socket.inet_pton(socket.AF_INET6, "2606:2800:220:1::1") in six
        assert four[:2] == b"\x12\x34"

    def test_answers_change_from_query_to_query_for_each_type_by_itself(self) -> None:
        with DnsStub() as dns:
            dns.script("rebind.test", Reply("93.184.216.34"), Reply("127.0.0.1"))

            first, other_type = ask_udp(dns, "rebind.test"), ask_udp(dns, "rebind.test", Kind.AAAA)
            second, third = ask_udp(dns, "rebind.test"), ask_udp(dns, "rebind.test")

            assert socket.inet_aton("93.184.216.34") in first
            assert (count_of(other_type), code_of(other_type)) == (0, 0)
            assert socket.inet_aton("127.0.0.1") in second
            assert socket.inet_aton("127.0.0.1") in third
            assert [query.kind for query in dns.queries("rebind.test")] == [1, 28, 1, 1]

    def test_failures_have_their_codes(self) -> None:
        with DnsStub() as dns:
            dns.script("broken.test", SERVFAIL)
            dns.script("gone.test", NXDOMAIN)

            assert code_of(ask_udp(dns, "broken.test")) == 2
            assert code_of(ask_udp(dns, "gone.test")) == 3
            assert code_of(ask_udp(dns, "never-scripted.test")) == 3

    def test_a_cut_answer_is_whole_over_tcp(self) -> None:
        with DnsStub() as dns:
            dns.script("cut.test", Reply("93.184.216.34", cuts_udp=True), Reply("127.0.0.1"))
            dns.script("many.test", *(f"93.184.216.{number}" for number in range(100)))

            cut = ask_udp(dns, "cut.test")
            whole = ask_tcp(dns, "cut.test")
            many_cut, many = ask_udp(dns, "many.test"), ask_tcp(dns, "many.test")

        assert (is_cut(cut), count_of(cut)) == (True, 0)
        assert socket.inet_aton("93.184.216.34") in whole
        assert (is_cut(many_cut), count_of(many)) == (True, 100)

    def test_silence_and_slowness_hold_up_nobody_else(self) -> None:
        with DnsStub() as dns:
            dns.script("silent.test", SILENCE)
            dns.script("slow.test", Reply("93.184.216.34", seconds=0.2))
            dns.script("quick.test", "93.184.216.34")

            with pytest.raises(TimeoutError):
                ask_udp(dns, "silent.test", timeout=0.1)
            assert count_of(ask_udp(dns, "quick.test")) == 1
            began = time.monotonic()
            assert count_of(ask_udp(dns, "slow.test")) == 1
            assert time.monotonic() - began >= 0.19

    def test_an_alias_comes_before_its_addresses(self) -> None:
        with DnsStub() as dns:
            dns.script("alias.test", Reply("10.0.0.1", alias="inside.test"))

            assert count_of(ask_udp(dns, "alias.test")) == 2

    def test_junk_is_a_format_error(self) -> None:
        with DnsStub() as dns, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(60.0)
            wire.sendto(b"\x12\x34\x01", (dns.address, dns.port))

            assert code_of(wire.recv(512)) == 1


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


def addresses_that_answer(*addresses: str) -> list[str]:
    reached = []
    with Sink(["0.0.0.0"], [80]):
        for address in addresses:
            try:
                socket.create_connection((address, 80), timeout=60.0).close()
            except OSError:
                continue
            reached.append(address)
    return reached


def raise_it() -> None:
    raise ValueError("from inside")


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

    def test_only_the_addresses_given_are_there(self) -> None:
        reached = netbox.call(addresses_that_answer, "93.184.216.34", "10.0.0.5", addresses=["93.184.216.34"])

        assert reached == ["93.184.216.34"]

    def test_a_command_sees_its_own_resolver_and_we_keep_ours(self) -> None:
        before = Path("/etc/resolv.conf").read_bytes()

        done = netbox.run(["cat", "/etc/resolv.conf", "/proc/net/dev"], nameserver="127.0.0.9")

        assert done.returncode == 0
        assert "nameserver 127.0.0.9" in done.stdout
        assert re.findall(r"^\s*(\w+):", done.stdout, re.MULTILINE) == ["lo"]
        assert Path("/etc/resolv.conf").read_bytes() == before

    def test_exceptions_come_out_with_their_traceback(self) -> None:
        with pytest.raises(ValueError, match="from inside") as failure:
            netbox.call(raise_it)

        assert "raise_it" in failure.value.__notes__[0]

    def test_an_address_the_kernel_will_not_take_is_named(self) -> None:
        with pytest.raises(netbox.NetboxError, match="ff02::1") as failure:
            netbox.run(["true"], addresses=["ff02::1"])

        assert not isinstance(failure.value, netbox.NotPermittedError)
