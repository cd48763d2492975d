"""The scripts around the worker, each with one real neighbour: its heartbeat, Flower's start, Redis's start."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
import redis

from tests.support.celery_worker import PROJECT
from tests.support.cluster import Cluster
from tests.support.person import ran
from tests.support.processes import await_condition, begin, free_port
from tests.support.redis_server import RedisServer, find_binary

PASSWORD = "a password of the test's own"
SCRIPTS = sysconfig.get_path("scripts")


def run(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", **(env or {})}
    return ran("/bin/sh", PROJECT / "deploy" / script, *arguments, env=environment)


# ----------------------------------------------------------------------------------------- metrics in containers


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"METRICS_NETWORK_OF": "127.0.0.1"}, "127.0.0.1:9108"),
        ({"METRICS_NETWORK_OF": "127.0.0.1", "TRAWL_METRICS": ""}, "127.0.0.1:9108"),
        ({"TRAWL_METRICS": "10.0.0.1:9999"}, "10.0.0.1:9999"),
        ({"TRAWL_METRICS": "off"}, "none"),
    ],
)
def test_a_container_serves_metrics_on_the_network_of_its_redis(given: dict[str, str], shown: str) -> None:
    done = run("worker", "sh", "-c", "echo ${TRAWL_METRICS:-none}", env=given)

    assert (done.returncode, done.stdout.strip()) == (0, shown), done.stderr


def test_a_container_without_redis_does_not_serve_metrics_on_all_addresses() -> None:
    done = run("worker", "echo", "started", env={"METRICS_NETWORK_OF": "no..name"})

    assert done.returncode != 0
    assert "started" not in done.stdout


# --------------------------------------------------------------------------------------------------- heartbeat


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_living_worker_keeps_touching_its_heartbeat_file(tmp_path: Path, cluster: Cluster, pool: str) -> None:
    heartbeat = tmp_path / "alive"

    with cluster.worker(pool=pool, TRAWL_HEARTBEAT_FILE=str(heartbeat)):
        await_condition(heartbeat.exists, within=10, what="a first heartbeat")
        os.utime(heartbeat, (1, 1))

        await_condition(lambda: heartbeat.stat().st_mtime > 1, within=20, what="another heartbeat")


def test_a_heartbeat_that_cannot_be_written_is_logged_once_and_the_worker_works(
    tmp_path: Path, cluster: Cluster
) -> None:
    with cluster.worker(TRAWL_HEARTBEAT_FILE=str(tmp_path / "absent" / "alive")) as worker:
        worker.wait_for_log("heartbeat file .*cannot be touched: No such file or directory")

        assert worker.log().count("cannot be touched") == 1


# ------------------------------------------------------------------------------------------------------ flower


@pytest.mark.parametrize("login", ["", "trawl", "trawl:", ":long enough but nobody", "trawl:short"])
def test_flower_does_not_start_without_a_sufficient_login(login: str) -> None:
    result = run("flower", env={"FLOWER_BASIC_AUTH": login})

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "Flower does not start without a password: set FLOWER_BASIC_AUTH=user:password (8 characters or more).\n"
    )


def flower(server: RedisServer, folder: Path) -> str:
    """Run deploy/flower and return its address once it answers; the login is in a file."""
    (folder / "login").write_text(f"trawl:{PASSWORD}\n")
    port = free_port()
    environment = {
        "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
        "TRAWL_BROKER_URL": server.celery_url(),
        "FLOWER_BASIC_AUTH_FILE": str(folder / "login"),
    }
    with (folder / "flower.log").open("wb") as log:
        command = ["/bin/sh", str(PROJECT / "deploy" / "flower"), f"--port={port}"]
        begin(command, env=environment, cwd=PROJECT, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    await_condition(lambda: answer(f"{address}/healthcheck")[0] == 200, within=40, what="Flower answering")
    return address


def answer(url: str, *, login: str = "", method: str = "GET") -> tuple[int, str]:
    """Return status and text; 0 if nothing answers."""
    request = urllib.request.Request(url, method=method)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except OSError:
        return 0, ""


def test_flower_requires_the_login_and_is_read_only(tmp_path: Path) -> None:
    login = f"trawl:{PASSWORD}"
    with RedisServer(tmp_path / "redis", unix=True) as server:
        address = flower(server, tmp_path)
        assert answer(f"{address}/workers")[0] == 401
        assert answer(f"{address}/api/tasks")[0] == 401
        assert answer(f"{address}/workers", login="trawl:guess")[0] == 401
        assert answer(f"{address}/workers", login=login)[0] == 200

        # Protects FLOWER_READ_ONLY in deploy/flower: without it the answer is 200 or 404.
        for operation in ("task/revoke/some-id", "task/send-task/trawlnet.batch", "worker/shutdown/some-worker"):
            assert answer(f"{address}/api/{operation}", login=login, method="POST")[0] == 403, operation


# ------------------------------------------------------------------------------------------------------- redis


def test_redis_does_not_start_without_a_password(tmp_path: Path) -> None:
    for password, words in ((None, "deploy/prepare makes one"), ("short", "fewer than 16 characters")):
        path = tmp_path / "password"
        if password is not None:
            path.write_text(password)

        result = run("redis/start", env={"REDIS_PASSWORD_FILE": str(path), "REDIS_RUN": str(tmp_path)})

        assert result.returncode == 2
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_start_script_starts_a_server_that_persists_data(tmp_path: Path) -> None:
    binary = find_binary()
    assert binary is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / binary.name).symlink_to(binary)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    port = free_port()

    begin(
        # What follows the script's own options wins: here a place that a test may use.
        ["/bin/sh", str(PROJECT / "deploy/redis/start"), "--bind", "127.0.0.1", "--port", str(port)],
        env={
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
            "REDIS_RUN": str(tmp_path),
            "REDIS_DATA": str(tmp_path),
            "REDIS_MAXMEMORY": "100mb",
        },
        stdout=subprocess.DEVNULL,
    )
    with redis.Redis(port=port, username="trawl", password=PASSWORD) as client:
        await_condition(lambda: is_answering(client), within=20, what="Redis answering")
        memory, persistence = client.info("memory"), client.info("persistence")

    assert (memory["maxmemory"], memory["maxmemory_policy"]) == (100 * 1024**2, "noeviction")
    assert persistence["aof_enabled"] == 1
    assert (tmp_path / "users.acl").stat().st_mode & 0o077 == 0


def is_answering(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


# --------------------------------------------------------------------------------------------------- preparing


def test_prepare_makes_secrets_once(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in ("prepare", "env.example"):
        shutil.copy(PROJECT / "deploy" / name, tmp_path / "deploy" / name)

    outputs = [
        subprocess.run(["/bin/sh", str(tmp_path / "deploy/prepare")], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]

    assert outputs[0].count("\n") == 3
    assert outputs[1] == "", "a second time there is nothing to do"
    secret = (tmp_path / "deploy/secrets/redis-password").read_text().strip()
    assert len(secret) >= 32
    assert (tmp_path / "deploy/secrets").stat().st_mode & 0o077 == 0
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    login = next(line for line in (tmp_path / ".env").read_text().splitlines() if line.startswith("FLOWER_BASIC_AUTH="))
    assert len(login.partition("=trawl:")[2]) >= 32
    assert secret not in "".join(outputs)
    assert login.partition("=trawl:")[2] not in "".join(outputs)
