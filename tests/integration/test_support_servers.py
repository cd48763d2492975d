"""The misbehaving servers misbehave as they say: other tests stand on that."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from contract.records.outcomes import ErrorClass
from tests.support.bodies import base64_digest, body_part, crc32c
from tests.support.cases import serves, with_query
from tests.support.exchange import Exchange
from tests.support.misbehaving import CASES, SPLIT_CASES, Case, Door, Kind, MisbehavingServer, MisbehavingSite

ALL_CASES = [*CASES, *SPLIT_CASES]


@pytest.fixture(scope="module")
def site() -> Iterator[MisbehavingSite]:
    with MisbehavingSite() as running:
        yield running


@serves("/bug-of-a-test")
def _bug(exchange: Exchange) -> None:
    raise ZeroDivisionError("a bug in a behaviour")


def case_named(name: str) -> Case:
    return next(case for case in ALL_CASES if case.name == name)


def connect(site: MisbehavingSite, door: Door = Door.PLAIN) -> socket.socket:
    return socket.create_connection((site.address, site.servers[door].port), timeout=60.0)


def request(target: str, *headers: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: test", *headers, "")).encode()


def everything_from(wire: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    received = b""
    while data := wire.recv(65536):
        received += data
    return received


def ask(site: MisbehavingSite, target: str, *headers: str) -> bytes:
    """Return the raw answer of a server that closes afterwards (or is asked to)."""
    with connect(site) as wire:
        wire.sendall(request(target, "Connection: close", *headers))
        return everything_from(wire)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


class TestBodies:
    def test_crc32c_has_the_value_of_rfc_3720(self) -> None:
        assert crc32c(b"123456789") == 0xE3069283
        assert crc32c(bytes(32)) == 0x8A9136AA
        assert base64_digest("crc32c", b"123456789") == "4waSgw=="


class TestCatalogue:
    def test_every_error_class_is_one_of_the_contract(self) -> None:
        expected = {error for case in ALL_CASES for ending in (case.once, case.thrice) for error in ending.errors}

        assert expected <= {str(known) for known in ErrorClass}

    def test_a_body_is_known_wherever_one_must_be_stored(self) -> None:
        for case in ALL_CASES:
            stored = Kind.OK in (case.once.kind, case.thrice.kind)
            assert stored == (case.body is not None), case.name

    @pytest.mark.parametrize("door", [door for door in Door if door not in {Door.PLAIN, Door.TLS}])
    def test_every_door_has_a_case(self, door: Door) -> None:
        assert any(case.door is door for case in CASES)


class TestFraming:
    @pytest.mark.parametrize(
        ("at", "ends_with"),
        [
            ("inside", body_part(1499, 1)),
            ("between", b"\r\n"),
            ("size", b"3e"),
            ("sized", b"3e8\r\n"),
            ("last", b"\r\n0\r\n"),
        ],
    )
    def test_chunks_are_cut_at_the_place_named(self, site: MisbehavingSite, at: str, ends_with: bytes) -> None:
        answer = ask(site, f"/chunked-cut?at={at}")

        assert answer.endswith(ends_with)
        assert b"0\r\n\r\n" not in answer

    def test_lengths_are_sent_as_written(self, site: MisbehavingSite) -> None:
        answer = ask(site, with_query("/length", value="-5", second="+7"))

        assert b"Content-Length: -5\r\nContent-Length: +7\r\n" in answer

    def test_strange_header_bytes_reach_the_wire(self, site: MisbehavingSite) -> None:
        assert b"X-Odd: a\0b\r\n" in ask(site, case_named("head-nul").path)
        assert b"X-Odd: a\rContent-Length: 5\r\n" in ask(site, case_named("head-bare-cr").path)
        assert b"X-Odd: caf\xe9\r\n" in ask(site, case_named("head-latin").path)

    def test_a_head_is_cut_before_its_blank_line(self, site: MisbehavingSite) -> None:
        assert ask(site, "/head-cut?at=empty") == b""
        assert ask(site, "/head-cut?at=zero") == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


class TestRanges:
    @pytest.mark.parametrize(
        ("answers", "status", "content_range"),
        [
            ("full", b"200", b""),
            ("earlier", b"206", b"bytes 4000-9999/10000"),
            ("later", b"206", b"bytes 6000-9999/10000"),
            ("other-total", b"206", b"bytes 5000-9999/10005"),
            ("unknown-total", b"206", b"bytes 5000-9999/*"),
            ("no-content-range", b"206", b""),
            ("multipart", b"206", b""),
            ("416", b"416", b"bytes */10000"),
            ("416-lie", b"416", b"bytes */5000"),
        ],
    )
    def test_wrong_answers_are_wrong_in_the_way_named(
        self, site: MisbehavingSite, answers: str, status: bytes, content_range: bytes
    ) -> None:
        answer = ask(site, f"/object?size=10000&answers={answers}", "Range: bytes=5000-")

        head = answer.partition(b"\r\n\r\n")[0]
        assert head.split()[1] == status
        assert head.partition(b"Content-Range: ")[2].partition(b"\r\n")[0] == content_range


class TestTls:
    def handshake(self, site: MisbehavingSite, door: Door) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(site.ca_file))
        wire = connect(site, door)
        try:
            return context.wrap_socket(wire, server_hostname=site.address, suppress_ragged_eofs=False)
        except BaseException:
            wire.close()
            raise

    @pytest.mark.parametrize(
        ("door", "code"), [(Door.TLS_WRONG_NAME, 64), (Door.TLS_SELF_SIGNED, 18), (Door.TLS_EXPIRED, 10)]
    )
    def test_bad_certificates_are_bad_in_one_way_only(self, site: MisbehavingSite, door: Door, code: int) -> None:
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed") as refusal:
            self.handshake(site, door)

        assert refusal.value.verify_code == code  # X509_V_ERR_IP_ADDRESS_MISMATCH and so on, x509_vfy.h


class TestLife:
    def test_it_stops_at_once_whatever_its_connections_do(self) -> None:
        with MisbehavingServer(name="here") as server:
            wires = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
            for wire, target in zip(wires, ("/silence", "/drip?part=body", "/endless?framing=close"), strict=False):
                wire.sendall(request(target))
            server.log.wait_for_requests(3)

        # A thread that had to be waited for in vain would still be there.
        assert "misbehaving-here" not in [thread.name for thread in threading.enumerate()]
        for wire in wires:
            wire.close()

    def test_a_broken_behaviour_is_not_taken_for_a_misbehaving_one(self) -> None:
        server = MisbehavingServer().start()
        with socket.create_connection(("127.0.0.1", server.port)) as wire:
            wire.sendall(request("/bug-of-a-test"))
            with pytest.raises(ConnectionResetError):
                everything_from(wire)

        with pytest.raises(ZeroDivisionError, match="a bug in a behaviour"):
            server.stop()
