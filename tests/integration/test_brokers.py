"""Brokers other than the ledger's Redis, killed or failed over in the middle of a job, which ends all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError

from contract.cluster.broker import build_app
from contract.cluster.dispatch import queue_depth, send_batches
from contract.cluster.settings import ClusterSettings
from contract.records.messages import BatchMessage
from tests.support import rabbit
from tests.support.celery_worker import CeleryWorker
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, Person
from tests.support.processes import await_condition
from tests.support.rabbit import Rabbit
from tests.support.redis_server import RedisServer

URLS = 300
SLOWLY = ("--batch-size", "10", "--transfers", "4", "--allow-net", "127.0.0.0/8")

with_rabbit = pytest.mark.skipif(not rabbit.is_installed(), reason="RabbitMQ is not installed")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("ledger")) as server:
        yield server


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    with Rabbit(tmp_path_factory.mktemp("rabbit")) as running:
        yield running


def environment_of(broker_url: str, ledger: RedisServer, **more: str) -> dict[str, str]:
    return {"TRAWL_BROKER_URL": broker_url, "TRAWL_RESULT_BACKEND": ledger.url(), **more}


@with_rabbit
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_job_survives_two_crashes_of_rabbitmq(
    tmp_path: Path, broker: Rabbit, ledger: RedisServer, server: MisbehavingServer, queue_type: str
) -> None:
    queue = {"TRAWL_QUEUE": queue_type, "TRAWL_QUEUE_TYPE": queue_type}
    person = Person(tmp_path, **environment_of(broker.url, ledger, TRAWL_OUTPUT=str(tmp_path / "bodies"), **queue))

    with CeleryWorker(tmp_path, env=person.environment, concurrency=1) as worker:
        listed = person.write_list(*(server.url(f"/good?size={number}") for number in range(URLS)))
        running = person.start("run", listed, "-o", "out", *SLOWLY)
        for rows in (20, 120):
            person.await_rows(rows)
            broker.kill()
            broker.start()
        _, said = running.communicate(timeout=ENOUGH)

    assert running.returncode == 0, said.decode() + worker.log()[-3000:]
    assert_whole(person)


@with_rabbit
def test_a_queue_is_counted_again_after_its_broker_was_unreachable(broker: Rabbit, ledger: RedisServer) -> None:
    settings = ClusterSettings.from_environment(environment_of(broker.url, ledger, TRAWL_QUEUE="counted"))
    app = build_app(settings)
    assert queue_depth(app, settings.queue) == 0, "there is no such queue yet"
    messages = [BatchMessage("job", str(number)) for number in range(3)]
    send_batches(app, messages)  # over AMQP nobody confirms them: the queue has them soon
    await_condition(lambda: queue_depth(app, settings.queue) == 3, within=20, what="three messages")

    broker.kill()
    with pytest.raises(OperationalError):
        queue_depth(app, settings.queue)
    broker.start()

    left = queue_depth(app, settings.queue) or 0  # what was not on its disk yet is gone, and the sweep's to send again
    send_batches(app, messages)
    await_condition(lambda: queue_depth(app, settings.queue) == left + 3, within=20, what="three more messages")


@with_rabbit
def test_a_queue_of_another_type_is_one_sentence(tmp_path: Path, broker: Rabbit, ledger: RedisServer) -> None:
    person = Person(tmp_path, **environment_of(broker.url, ledger, TRAWL_QUEUE="typed"))
    listed = person.write_list("http://host.test/")
    assert person.trawl("enqueue", listed).code == 0

    ended = person.trawl("enqueue", listed, "--fresh", TRAWL_QUEUE_TYPE="quorum")

    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "set TRAWL_QUEUE_TYPE to the type it has" in ended.err


def test_a_job_survives_the_failover_of_a_broker_behind_sentinels(
    tmp_path: Path, ledger: RedisServer, server: MisbehavingServer
) -> None:
    with (
        RedisServer(tmp_path / "primary") as primary,
        RedisServer(tmp_path / "replica", extra=(f"replicaof 127.0.0.1 {primary.port}",)) as replica,
        sentinel_of(primary, tmp_path / "sentinel") as sentinel,
    ):
        await_condition(lambda: knows_a_replica(sentinel), within=30, what="the sentinel to know the replica")
        places = environment_of(
            f"sentinel://127.0.0.1:{sentinel.port}/0",
            ledger,
            TRAWL_BROKER_OPTIONS='{"master_name": "trawl"}',
            TRAWL_OUTPUT=str(tmp_path / "bodies"),
        )
        person = Person(tmp_path, **places)
        listed = person.write_list(*(server.url(f"/good?size={number}") for number in range(URLS)))
        with CeleryWorker(tmp_path, env=person.environment, concurrency=1) as worker:
            running = person.start("run", listed, "-o", "out", *SLOWLY)
            person.await_rows(20)
            primary.kill()
            await_condition(lambda: is_primary(replica), within=60, what="the replica to take over")
            _, said = running.communicate(timeout=ENOUGH)

    assert running.returncode == 0, said.decode() + worker.log()[-3000:]
    assert_whole(person)


def assert_whole(person: Person) -> None:
    names = [row["name"] for row in person.rows()]
    assert (len(names), len(set(names))) == (URLS, URLS)


def sentinel_of(primary: RedisServer, folder: Path) -> RedisServer:
    """Return a sentinel that gives up a primary after a second; it is the same program in another mode."""
    return RedisServer(
        folder,
        sentinel=(
            f"sentinel monitor trawl 127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds trawl 1000",
            "sentinel failover-timeout trawl 5000",
        ),
    )


def knows_a_replica(sentinel: RedisServer) -> bool:
    with sentinel.client(decode_responses=True) as client:
        replicas = client.sentinel_slaves("trawl")
        return any(not each["is_sdown"] and each["master-link-status"] == "ok" for each in replicas)


def is_primary(server: RedisServer) -> bool:
    try:
        with server.client() as client:
            return bool(client.info("replication")["role"] == "master")
    except redis.exceptions.ConnectionError:
        return False  # it drops all connections at the moment it takes over
