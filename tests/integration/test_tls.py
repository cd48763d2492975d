"""Everything reaches Redis over TLS, and nothing does when the certificate is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from contract.cluster.broker import connect
from contract.cluster.settings import ClusterSettings
from tests.support.celery_worker import CeleryWorker
from tests.support.certificates import Certificate, PrivateAuthority
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import Person
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay

PASSWORD = "a password for the wire"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A Redis with a password, and the authority whose certificates its TLS front shows."""

    server: RedisServer
    authority: PrivateAuthority
    password: Path

    def front(self, certificate: Certificate) -> Relay:
        return Relay(("127.0.0.1", self.server.port), tls=certificate.server_context())

    def environment(self, front: Relay, *, options: str = "") -> dict[str, str]:
        return {
            "TRAWL_BROKER_URL": f"rediss://127.0.0.1:{front.port}/0{options}",
            "TRAWL_REDIS_PASSWORD_FILE": str(self.password),
            "TRAWL_REDIS_CA_FILE": str(self.authority.ca_file),
        }


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "password").write_text(PASSWORD + "\n")
    with RedisServer(folder / "redis", password=PASSWORD) as server:
        yield Encrypted(server, PrivateAuthority(folder / "authority"), folder / "password")


def test_a_job_runs_over_tls_from_end_to_end(encrypted: Encrypted, tmp_path: Path, server: MisbehavingServer) -> None:
    with encrypted.front(encrypted.authority.valid("127.0.0.1")) as front:
        environment = {**encrypted.environment(front), "TRAWL_OUTPUT": str(tmp_path / "out")}
        person = Person(tmp_path, **environment)
        person.write_list(server.url("/good?size=10"))

        with CeleryWorker(tmp_path, env=environment, concurrency=1) as worker:
            code, out, err = person.trawl("run", "urls.txt", "-o", "out", "--allow-net", "127.0.0.0/8")

    assert (code, err.count("Traceback")) == (0, 0), err
    assert "insecure" not in worker.log(), "kombu's words for a certificate nobody checks"
    assert PASSWORD not in worker.log() + out + err


@pytest.fixture(params=["wrong name", "expired", "self-signed"])
def wrong(request: pytest.FixtureRequest, encrypted: Encrypted) -> Certificate:
    if request.param == "wrong name":
        return encrypted.authority.wrong_name()
    if request.param == "expired":
        return encrypted.authority.expired("127.0.0.1")
    return encrypted.authority.self_signed("127.0.0.1")


def test_a_wrong_certificate_is_one_sentence_for_the_producer(
    encrypted: Encrypted, wrong: Certificate, tmp_path: Path
) -> None:
    with encrypted.front(wrong) as front:
        person = Person(tmp_path, **encrypted.environment(front))
        code, out, err = person.trawl("enqueue", person.write_list("http://host.test/"))

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "its certificate is not accepted: " in err
    assert PASSWORD not in err


def test_a_worker_waits_for_a_certificate_it_can_trust_and_logs_why(encrypted: Encrypted, tmp_path: Path) -> None:
    with encrypted.front(encrypted.authority.wrong_name()) as front:
        environment = {**encrypted.environment(front), "TRAWL_OUTPUT": str(tmp_path / "out")}
        worker = CeleryWorker(tmp_path, env=environment, concurrency=1, ready="CERTIFICATE_VERIFY_FAILED")

        with worker:
            worker.wait_for_log("Trying again")

    assert "Traceback" not in worker.log()
    assert PASSWORD not in worker.log()


def test_without_the_authority_nothing_connects(encrypted: Encrypted) -> None:
    with encrypted.front(encrypted.authority.valid("127.0.0.1")) as front:
        environment = encrypted.environment(front)
        del environment["TRAWL_REDIS_CA_FILE"]
        client = connect(ClusterSettings.from_environment(environment))
        client.connection_pool.connection_kwargs["retry"] = None

        with client, pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"):
            client.ping()


def test_a_url_can_turn_off_the_check(encrypted: Encrypted) -> None:
    with encrypted.front(encrypted.authority.wrong_name()) as front:
        environment = encrypted.environment(front, options="?ssl_cert_reqs=none")

        with connect(ClusterSettings.from_environment(environment)) as client:
            assert client.ping()
