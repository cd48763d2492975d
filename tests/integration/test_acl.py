"""deploy/redis/users.acl allows everything Trawlnet does, and nothing an intruder would want."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from contract.cluster.broker import build_app, connect
from contract.cluster.dispatch import queue_depth, send_batches
from contract.cluster.settings import ClusterSettings
from contract.ledger import control
from contract.ledger.ledger import RedisLedger
from contract.ledger.overview import look
from contract.ledger.sweep import Sweeper, sweeper
from contract.ledger.values import Child, NewBatch
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from producer.cluster.client import Cluster
from tests.support.celery_worker import PROJECT, CeleryWorker
from tests.support.clocked_ledger import claimed, next_of, record_of
from tests.support.flower import Flower
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import Person
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

PASSWORD = "the password of the user trawl"
OPERATOR = "an operator's password"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A Redis that runs with the ACL file, and the ways to it."""

    server: RedisServer
    environment: dict[str, str]
    operator: redis.Redis

    @property
    def settings(self) -> ClusterSettings:
        return ClusterSettings.from_environment(self.environment)

    def refusals(self) -> list[str]:
        """Return what the server refused since the log was emptied, as "command by user: reason"."""
        entries = cast("list[dict[str, Any]]", self.operator.acl_log())
        return [f"{entry['object']} in {entry['context']} ({entry['reason']})" for entry in entries]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    rendered = subprocess.run(
        ["/bin/sh", str(PROJECT / "deploy/redis/render-acl"), str(password)], capture_output=True, text=True, check=True
    )
    acl = folder / "users.acl"
    acl.write_text(f"{rendered.stdout}user operator on >{OPERATOR.replace(' ', '')} ~* &* +@all\n")
    with RedisServer(folder / "redis", acl_file=acl) as server:
        url = server.url(user="operator", password=OPERATOR.replace(" ", ""))
        with server.client(url, decode_responses=True) as operator:
            environment = {
                "TRAWL_BROKER_URL": f"redis://trawl@127.0.0.1:{server.port}/0",
                "TRAWL_REDIS_PASSWORD_FILE": str(password),
                "TRAWL_OUTPUT": str(folder / "out"),
            }
            yield Guarded(server, environment, operator)


@pytest.fixture
def guarded(started: Guarded) -> Guarded:
    started.operator.flushall()
    started.operator.acl_log_reset()
    return started


def test_every_step_of_the_ledger_is_allowed(guarded: Guarded) -> None:
    settings = guarded.settings
    ledger, app = RedisLedger(connect(settings), lease=0.001), build_app(settings)
    entries = [BatchEntry(url="http://host.test/1"), BatchEntry(url="http://host.test/2")]
    assert ledger.create("job", JobPolicy(), label="a list", secrets=b"hidden")
    opened = ledger.open("job", [NewBatch(str(number), pack_entries(entries), 2) for number in (1, 2, 3)])
    send_batches(app, [BatchMessage("job", batch) for batch in opened])
    assert queue_depth(app, settings.queue) == 3

    first = claimed(ledger, "1", holder="me", job="job")
    assert ledger.renew(first)
    children = [Child(pack_entries(entries[:1]), 1), Child(pack_entries(entries[1:]), 1, after=0.001)]
    assert ledger.close(first, report(ledger, "1", [first.child(1), first.child(2)]), children)
    parked = next_of(ledger, holder="me")
    piece = Child(pack_entries(entries[:1]), 1, after=0.001, hosts={"host.test:80": 1})
    assert ledger.close(parked, report(ledger, parked.batch, [parked.child(1)]), [piece])
    assert [wait.host for wait in ledger.waits("job")] == ["host.test:80"]
    assert await_condition(lambda: ledger.gather("job"), within=20, what="the host's time")
    # One that is held when its lease runs out, so that the sweep has something to send again.
    assert ledger.claim("job", "2", holder="me")
    sweeps = sweeper(ledger, app, queue=settings.queue, holder="me")
    await_condition(lambda: bool(sweeps.sweep()), within=20, what="a sweep")
    assert ledger.claim_next(holder="me", waited=0.0)
    assert ledger.store("job", report(ledger, "9", []))
    control.weigh(ledger, "job", 2.0)
    ledger.seal("job", {"urls": 6})
    assert None not in ledger.payloads("job", ["3"])
    record = record_of(ledger, "job")
    assert record.is_sealed
    assert look(ledger).active_jobs == 1
    ledger.reports("job", ledger.closed("job"))
    ledger.held("job", ["1", "2"])
    ledger.forget("job", ["1"])
    with closing(Cluster(settings).channel("job")) as channel:
        assert channel.subscribe()
        assert ledger.drain("job", "here", forget=["9"]) is not None
    ledger.remove("job")
    assert ledger.jobs() == []
    with closing(Cluster(settings)) as cluster:
        assert cluster.remove_stale_messages() > 0

    assert guarded.refusals() == []


def test_a_job_is_paused_resumed_and_cancelled_under_the_same_rules(guarded: Guarded) -> None:
    ledger = RedisLedger(connect(guarded.settings))
    ledger.create("job", JobPolicy())
    ledger.open("job", [NewBatch(batch, pack_entries([BatchEntry(url="http://h.test/1")]), 1) for batch in ("1", "2")])
    claim = next_of(ledger, holder="me")
    control.pause(ledger, "job")
    assert ledger.close(claim, report(ledger, claim.batch, [claim.child(1)]), [Child(claim.payload, 1)])
    assert ledger.store("job", report(ledger, "9", []))
    assert control.resume(ledger, "job")
    control.prioritize(ledger, "job", 3)
    assert ledger.claim_next(holder="me", waited=0.0)
    assert control.cancel(ledger, "job")
    assert control.settle(ledger, "job", holder="me") == 1
    assert ledger.states(["job"]) == {"job": "cancelled"}

    assert guarded.refusals() == []


def test_a_worn_batch_is_split_and_ended_under_the_same_rules(guarded: Guarded) -> None:
    ledger, app = RedisLedger(connect(guarded.settings), lease=0.05), build_app(guarded.settings)
    ledger.create("job", JobPolicy())
    ledger.open("job", [NewBatch("1", pack_entries([BatchEntry(url="http://host.test/1")]), 1)])

    def take_and_die() -> bool:
        ledger.claim("job", "1", holder="me")
        Sweeper(
            ledger, holder="me", queue_depth=lambda: queue_depth(app, "trawl"), send=lambda _messages: None, pause=0.05
        ).sweep()
        return ledger.closed("job") == ["1"]

    await_condition(take_and_die, within=20, what="the batch to end as poison")

    assert guarded.refusals() == []


def report(ledger: RedisLedger, batch: str, handed_off: list[str]) -> BatchReport:
    return BatchReport.without_work("job", batch, worker="me", at=ledger.now(), handed_off=handed_off)


def test_a_job_a_worker_and_flower_run_without_a_denial(
    guarded: Guarded, tmp_path: Path, server: MisbehavingServer
) -> None:
    person = Person(tmp_path, **guarded.environment)
    with CeleryWorker(tmp_path, env=guarded.environment, concurrency=1) as worker:
        listed = person.write_list(*(server.url(f"/good?size={number}") for number in range(30)))
        with Flower(guarded.environment, tmp_path) as flower:
            ran = person.trawl("run", listed, "-o", guarded.environment["TRAWL_OUTPUT"], "--allow-net", "127.0.0.0/8")
            # Flower gives a worker a second to answer; one that had no time is asked again.
            shown = await_condition(
                lambda: flower.read("/api/workers?refresh=1"), within=20, what="the worker in Flower"
            )
            assert list(shown) == [f"{worker.name}@{os.uname().nodename}"]
            flower.await_page("/broker")
            flower.await_page("/tasks")
            await_condition(lambda: flower.read("/api/tasks"), within=20, what="a task in Flower")
        told = person.trawl("status")
        sent = person.trawl("enqueue", listed, "--allow-net", "127.0.0.0/8")
        followed = person.trawl("follow", sent.out.strip(), "-o", "followed")
        app = build_app(guarded.settings)
        assert app.control.ping(timeout=60, limit=1)
        assert app.control.inspect(timeout=60, limit=1).active_queues()

    for ended in (ran, told, sent, followed):
        assert ended.code == 0, ended.err
    assert "NOPERM" not in worker.log() + (tmp_path / "flower.log").read_text()
    assert guarded.refusals() == []


# ---------------------------------------------------------------------------------------------- what is denied


@pytest.mark.parametrize(
    "command",
    [
        "CONFIG GET *", "CONFIG SET dir /tmp", "KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "EVAL return(1) 0",
        "FUNCTION LIST", "SCRIPT FLUSH", "MODULE LIST", "ACL LIST", "ACL SETUSER trawl +@all",
        "OBJECT ENCODING trawl:2:jobs", "SHUTDOWN NOSAVE", "REPLICAOF 127.0.0.1 1", "MONITOR", "CLIENT LIST",
        "CLIENT KILL ID 1", "CLIENT PAUSE 1", "SAVE", "DUMP trawl:2:jobs", "RENAME trawl:a trawl:b",
        "GET other-application", "SET other-application 1", "DEL celery", "PUBLISH elsewhere 1", "SWAPDB 0 1",
        "MIGRATE 127.0.0.1 1 trawl:2:jobs 0 1",
    ],
)  # fmt: skip
def test_unneeded_commands_are_denied(guarded: Guarded, command: str) -> None:
    with connect(guarded.settings) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())

    assert guarded.refusals() != []


def test_a_script_can_do_no_more_than_its_user(guarded: Guarded) -> None:
    with connect(guarded.settings) as client:
        digest = client.script_load("return redis.call('FLUSHALL')")

        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)acl|permission"):
            client.evalsha(str(digest), 0)


def test_login_needs_both_name_and_password(guarded: Guarded) -> None:
    for user, password in (("", ""), ("trawl", "guess"), ("default", ""), ("nobody", PASSWORD)):
        url = guarded.server.url(user=user, password=password) if user else f"redis://127.0.0.1:{guarded.server.port}/0"
        with redis.Redis.from_url(url) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
            stranger.ping()
