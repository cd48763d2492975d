"""The real neighbours tests start do what their sentences say."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.support.celery_worker import CeleryWorker, WorkerDied
from tests.support.processes import await_condition, is_alive
from tests.support.redis_server import RedisServer


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
