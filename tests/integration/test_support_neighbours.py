"""The real neighbours tests start, and the network they put between them, do what their sentences say."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.support import netbox
from tests.support.celery_worker import CeleryWorker, WorkerDied
from tests.support.dns_stub import NXDOMAIN, SERVFAIL, SILENCE, DnsStub, Kind, Reply
from tests.support.processes import await_condition, is_alive
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay
from tests.support.sink import Sink


def fill(client: redis.Redis) -> None:
    for number in range(1000):
        client.set(f"filler-{number}", b"x" * 65536)


class TestRedis:
    @pytest.mark.parametrize("unix", [False, True])
    def test_what_the_aof_holds_survives_a_kill(self, tmp_path: Path, unix: bool) -> None:
        with RedisServer(tmp_path, unix=unix, fsync="always", password="p@:/ s'\"") as server:
            with redis.Redis.from_url(server.url(3)) as client:
                client.set("kept", "yes")
            pid, port = server.pid, server.port

            server.restart()

            with redis.Redis.from_url(server.url(3)) as client:
                assert client.get("kept") == b"yes"
            assert (server.pid != pid, server.port) == (True, port)
        assert not is_alive(pid)

    def test_without_an_aof_a_kill_forgets_everything(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path, aof=False) as server:
            with redis.Redis.from_url(server.url()) as client:
                client.set("kept", "no")

            server.restart()

            with redis.Redis.from_url(server.url()) as client:
                assert client.get("kept") is None

    def test_a_frozen_server_keeps_connections_and_answers_after_thawing(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as wire:
            server.freeze()
            wire.sendall(b"PING\r\n")
            wire.settimeout(0.2)
            with pytest.raises(TimeoutError):
                wire.recv(64)

            server.thaw()

            wire.settimeout(60.0)
            assert wire.recv(64) == b"+PONG\r\n"

    def test_full_memory_is_an_error_and_not_an_eviction(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path, maxmemory=4 * 1024 * 1024) as server, redis.Redis.from_url(server.url()) as client:
            client.set("first", "1")
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                fill(client)

            assert client.get("first") == b"1"

    def test_an_acl_file_says_who_may_do_what(self, tmp_path: Path) -> None:
        acl = tmp_path / "users.acl"
        acl.write_text("user default off\nuser guest on >secret ~* +get +ping\n", "ascii")
        with (
            RedisServer(tmp_path / "data", acl_file=acl) as server,
            redis.Redis.from_url(server.url(user="guest", password="secret")) as client,
        ):
            assert client.get("nothing") is None
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.set("something", "1")

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(ConnectionError, match="no-such-option"):
            RedisServer(tmp_path, extra=("no-such-option yes",)).start()


@contextmanager
def echo_server() -> Iterator[int]:
    """Send back what comes, until the other side ends."""

    def answer(wire: socket.socket) -> None:
        with wire:
            try:
                while data := wire.recv(65536):
                    wire.sendall(data)
            except OSError:
                pass  # the relay was told to reset

    def accept() -> None:
        while True:
            try:
                wire, _peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(wire,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(60.0)


def through(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=60.0)


def echoed(wire: socket.socket, data: bytes) -> bytes:
    wire.sendall(data)
    received = b""
    while len(received) < len(data):
        more = wire.recv(65536)
        if not more:
            break
        received += more
    return received


def time_of(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def exchange_with(relay: Relay) -> bytes:
    with through(relay) as wire:
        return echoed(wire, b"hello")


class TestRelay:
    def test_bytes_arrive_unchanged_in_both_directions(self) -> None:
        data = os.urandom(3_000_000)
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            sender = threading.Thread(target=wire.sendall, args=(data,))
            sender.start()
            received = b""
            while len(received) < len(data):
                received += wire.recv(1 << 20)
            sender.join()

            assert received == data
            assert (relay.bytes_to_target, relay.bytes_from_target) == (len(data), len(data))

    def test_latency_is_paid_for_the_handshake_and_for_each_way(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port), latency=0.1) as relay, through(relay) as wire:
            began = time.monotonic()
            assert echoed(wire, b"first") == b"first"
            first = time.monotonic() - began
            later = [time_of(lambda: echoed(wire, b"again")) for _ in range(10)]

        assert first >= 0.39  # a round trip for the handshake, one for the bytes; timers end a little early
        assert 0.19 <= min(later) < 0.39  # a busy machine makes some of them late, not all

    def test_a_rate_caps_each_connection_for_itself(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port), rate=1_000_000) as relay:
            began = time.monotonic()
            with through(relay) as one, through(relay) as two:
                for wire in (one, two):
                    wire.sendall(bytes(200_000))
                for wire in (one, two):
                    remaining = 200_000
                    while remaining:
                        remaining -= len(wire.recv(65536))

        assert time.monotonic() - began >= 0.19

    def test_frozen_it_holds_everything_back_and_thawed_it_delivers(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            assert echoed(wire, b"before") == b"before"

            relay.freeze()
            wire.sendall(b"during")
            wire.settimeout(0.1)
            with pytest.raises(TimeoutError):
                wire.recv(64)
            relay.thaw()

            wire.settimeout(60.0)
            assert wire.recv(64) == b"during"

    def test_a_reset_reaches_the_client(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            assert echoed(wire, b"before") == b"before"

            assert relay.reset() == 1

            with pytest.raises(ConnectionResetError):
                wire.recv(64)
            assert relay.open_connections == 0

    def test_a_drop_is_an_end_in_order(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            assert echoed(wire, b"before") == b"before"

            relay.drop()

            assert wire.recv(64) == b""

    def test_it_cuts_after_so_many_bytes(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port), cut_after=100_000) as relay, through(relay) as wire:
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                echoed(wire, bytes(1_000_000))

            assert 100_000 <= relay.bytes_from_target < 500_000

    def test_it_refuses_and_accepts_again_on_the_same_port(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as before:
            assert echoed(before, b"1") == b"1"
            relay.refuse()
            with pytest.raises(ConnectionRefusedError):
                through(relay)
            assert echoed(before, b"2") == b"2"

            relay.accept_again()

            with through(relay) as after:
                assert echoed(after, b"3") == b"3"

    def test_half_an_end_leaves_the_other_half_open(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            wire.sendall(b"last words")
            wire.shutdown(socket.SHUT_WR)

            received = b""
            while data := wire.recv(64):
                received += data
            assert received == b"last words"

    def test_a_target_that_is_not_there_is_a_reset(self) -> None:
        with Relay(("127.0.0.1", 1)) as relay, pytest.raises(ConnectionResetError):
            exchange_with(relay)  # the reset may come while the client still connects

    def test_it_stands_in_front_of_redis_on_a_unix_socket(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path, unix=True) as server:
            assert server.socket_path is not None
            with Relay(server.socket_path) as relay, redis.Redis(port=relay.port, socket_timeout=60.0) as client:
                assert client.ping()


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


SAMPLE_APP = """
import os, subprocess
from celery import Celery

app = Celery("sample", broker=os.environ["SAMPLE_BROKER"], backend=os.environ["SAMPLE_BROKER"])
app.conf.broker_connection_retry_on_startup = True

@app.task(name="sample.pid")
def pid():
    return os.getpid()

@app.task(name="sample.spawn")
def spawn():
    return subprocess.Popen(["sleep", "600"]).pid
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), unix=True, password="a b") as server:
        yield server


def sample_worker(folder: Path, broker: RedisServer, app: str = "sample") -> CeleryWorker:
    (folder / "sample.py").write_text(SAMPLE_APP, "utf-8")
    return CeleryWorker(folder, env={"SAMPLE_BROKER": broker.celery_url()}, app=app, cwd=folder, concurrency=1)


class TestCeleryWorker:
    def test_it_works_and_leaves_nothing_behind(self, tmp_path: Path, broker: RedisServer) -> None:
        with (
            sample_worker(tmp_path, broker) as worker,
            Celery(broker=broker.celery_url(), backend=broker.celery_url()) as app,
        ):
            first = app.send_task("sample.pid").get(timeout=120)
            assert first in worker.children()

            assert worker.signal_children(signal.SIGKILL) == [first]
            worker.wait_for_log("SIGKILL")
            await_condition(worker.children, within=20, what="another child")
            assert app.send_task("sample.pid").get(timeout=120) != first

            worker.send_signal(signal.SIGTERM)
            assert worker.wait() == 0

        assert worker.left_behind == []
        assert worker.survivors() == []

    def test_orphans_of_a_killed_worker_are_found_and_ended(self, tmp_path: Path, broker: RedisServer) -> None:
        with sample_worker(tmp_path, broker) as worker:
            url = broker.celery_url()
            with Celery(broker=url, backend=url) as app:
                grandchild = app.send_task("sample.spawn").get(timeout=120)
            # Celery's children ask the kernel to end them with their parent; theirs do not.
            family = [worker.pid, *worker.children()]
            assert grandchild in family

            worker.kill(children_too=False)

        assert len(family) == 3
        assert not [pid for pid in family if is_alive(pid)]

    def test_a_worker_that_does_not_start_shows_its_log(self, tmp_path: Path, broker: RedisServer) -> None:
        with pytest.raises(WorkerDied, match="no_such_app"):
            sample_worker(tmp_path, broker, app="no_such_app").start()


def test_a_condition_that_never_holds_is_named() -> None:
    with pytest.raises(TimeoutError, match="the impossible: not within"):
        await_condition(lambda: None, within=0.05, what="the impossible")
