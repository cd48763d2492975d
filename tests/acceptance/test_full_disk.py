"""A disk fills up under a real worker: no partial file stays, the worker says why once, and the job continues."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from contract.records.outcomes import Ending
from contract.urls.naming import output_name
from producer.commands.doctor import examine
from producer.commands.status import Target, show_status
from producer.wiring import Producer
from tests.support.bodies import body_bytes
from tests.support.celery_worker import CeleryWorker, WorkerDied
from tests.support.cluster import Cluster
from tests.support.flower import Flower
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, Person, lines_until
from tests.support.processes import await_condition, free_port
from tests.support.redis_server import RedisServer
from tests.support.tiny_disk import TinyDisk, tiny_disk_or_skip

SIZE = 60_000  # bytes of a body
COUNT = 12  # bodies; twice what the ballast leaves room for

FULL = r"Not taking work: The disk is full \(ENOSPC\)\."
BELOW_THE_FLOOR = r"Not taking work: The disk has 1 MiB free, less than the 2 MiB to be kept free\."
AGAIN = r"Taking work again\."

each_pool = pytest.mark.parametrize("pool", ["prefork", "threads"])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[TinyDisk]:
    with tiny_disk_or_skip(tmp_path / "disk", "3m") as mounted:
        yield mounted


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with RedisServer(tmp_path / "redis") as redis:
        yield Cluster(redis.celery_url(), tmp_path)


def a_worker(folder: Path, cluster: Cluster, disk: TinyDisk, pool: str, settings: Mapping[str, str]) -> CeleryWorker:
    environment = {**cluster.environment, "TRAWL_OUTPUT": str(disk.path / "out"), **settings}
    return CeleryWorker(folder, env=environment, pool=pool, concurrency=2, python=str(disk.python))


def files(disk: TinyDisk) -> dict[str, bytes]:
    found = (path for path in (disk.seen / "out").iterdir() if path.is_file())
    return {path.name: path.read_bytes() for path in found}


def temporary_files(disk: TinyDisk) -> list[Path]:
    try:
        return [path for path in (disk.seen / "out" / ".trawl").rglob("*") if path.is_file()]
    except FileNotFoundError:  # a folder went while it was looked into
        return temporary_files(disk)


@each_pool
def test_a_job_survives_a_full_disk(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer, disk: TinyDisk, pool: str
) -> None:
    """Guards the disk back-off and the wait of stalled URLs: both refuse work though the floor would allow it."""
    bodies = {server.url(f"/good?seed={seed}&size={SIZE}"): body_bytes(SIZE, seed) for seed in range(COUNT)}
    urls = list(bodies)
    disk.fill(leave=SIZE * COUNT // 2)

    with a_worker(tmp_path, cluster, disk, pool, {"TRAWL_MIN_FREE": "0"}) as worker:
        cluster.enqueue("job", urls[: COUNT // 2], urls[COUNT // 2 :])
        worker.wait_for_log(FULL)
        await_condition(lambda: not temporary_files(disk), within=20.0, what="the end of the temporary files")
        stored = files(disk)
        disk.empty()
        reports = cluster.reports("job")
        worker.wait_for_log(AGAIN)

    assert all(stored[output_name(url)] == body for url, body in bodies.items() if output_name(url) in stored)
    assert len(stored) < COUNT
    outcomes = [outcome for report in reports for outcome in report.outcomes]
    assert sorted(outcome.url for outcome in outcomes) == sorted(urls)
    assert {outcome.ending for outcome in outcomes} == {Ending.OK}
    assert {len(outcome.attempts) for outcome in outcomes} == {1}, "our disk's fault is no attempt"
    assert files(disk) == {output_name(url): body for url, body in bodies.items()}
    assert len(re.findall(FULL, worker.log())) == 1
    assert len(re.findall(AGAIN, worker.log())) == 1
    assert "Traceback" not in worker.log()
    assert len(reports) < 12, "batches did not spin through Redis"
    assert len(server.log.requests()) < 3 * COUNT


@each_pool
def test_no_work_is_taken_below_the_floor_and_the_job_continues_above_it(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer, disk: TinyDisk, pool: str
) -> None:
    """Guards --min-free, and that a full disk is logged once although every process and message meets it."""
    urls = [server.url(f"/good?seed={seed}&size={SIZE}") for seed in range(8)]
    disk.fill(leave=3 * 2**19)

    with a_worker(tmp_path, cluster, disk, pool, {"TRAWL_MIN_FREE": "2M"}) as worker:
        cluster.enqueue("job", urls[:2], urls[2:4], urls[4:6], urls[6:])
        worker.wait_for_log(BELOW_THE_FLOOR)
        assert not server.log.requests()
        disk.empty()
        reports = cluster.reports("job")
        worker.wait_for_log(AGAIN)

    assert [report.counts() for report in reports] == [{"ok": 2}] * 4
    assert len(files(disk)) == 8
    assert len(re.findall("Not taking work", worker.log())) == 1


def test_a_worker_whose_folder_cannot_be_used_exits_at_once(tmp_path: Path, cluster: Cluster, disk: TinyDisk) -> None:
    """Guards the check before the start: the worker would take messages and stall with each."""
    (disk.seen / "out").write_bytes(b"in the way")

    worker = a_worker(tmp_path, cluster, disk, "prefork", {})
    with pytest.raises(WorkerDied, match=r"TRAWL_OUTPUT: The output folder .*/out cannot be used: "):
        worker.start()

    assert "Traceback" not in worker.log()


def test_a_worker_whose_folder_vanishes_before_its_first_task_waits_for_it(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer, disk: TinyDisk
) -> None:
    """Guards the FolderError of the first task: every message ended in a traceback."""
    with a_worker(tmp_path, cluster, disk, "prefork", {"TRAWL_MIN_FREE": "0"}) as worker:
        (disk.seen / "out").rename(disk.seen / "moved")
        (disk.seen / "out").write_bytes(b"in the way")
        cluster.enqueue("job", [server.url("/good")])
        worker.wait_for_log(r"Not taking work: The output folder .* cannot be used: ")
        (disk.seen / "out").unlink()
        (report,) = cluster.reports("job")

    assert report.counts() == {"ok": 1}
    assert "Traceback" not in worker.log()


def test_a_workers_trouble_is_shown_everywhere(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer, disk: TinyDisk
) -> None:
    """Guards what an idle worker reports: it counted as healthy until its log was read."""
    heartbeat, port = tmp_path / "alive", free_port()
    reason = "The disk has 0 MiB free, less than the 1 MiB to be kept free."
    settings = {"TRAWL_MIN_FREE": "1M", "TRAWL_HEARTBEAT_FILE": str(heartbeat), "TRAWL_METRICS": str(port)}
    producer = Producer({**os.environ, **cluster.environment})

    with a_worker(tmp_path, cluster, disk, "prefork", settings), Flower(cluster.environment, tmp_path) as flower:
        disk.fill(leave=2**19)

        await_condition(lambda: reason in show_status(Target(), producer), within=10, what="the status")
        await_condition(lambda: _is_old(heartbeat), within=10, what="an old heartbeat")
        assert heartbeat.read_text() == f"{reason}\n"
        assert f"takes no work: {reason}" in "\n".join(map(str, examine(tmp_path, producer)))
        await_condition(lambda: reason in json.dumps(flower.read("/api/tasks")), within=10, what="Flower's row")
        await_condition(lambda: 'trawl_worker_trouble{reason="space"} 1.0' in _metrics(port), within=10, what="metric")
        disk.empty()

        await_condition(lambda: reason not in show_status(Target(), producer), within=20, what="the end of it")
        await_condition(lambda: not _is_old(heartbeat), within=10, what="a fresh heartbeat")
        await_condition(lambda: 'trawl_worker_trouble{reason="space"} 0.0' in _metrics(port), within=10, what="metric")


def test_a_redis_with_a_full_disk_is_waited_for(
    tmp_path: Path, person: Person, server: MisbehavingServer, disk: TinyDisk
) -> None:
    """Guards MISCONF, which redis-py takes for a wrong command (the run ended with 70, "a bug in Trawlnet"), and
    messages that cannot be acknowledged meanwhile: a worker with one process got no other.
    """
    urls = [server.url(f"/thinks?ms=300&seed={seed}") for seed in range(40)]
    # What comes later fills whatever is left of the last block, and can be written only where there is space.
    urls += [server.url(f"/thinks?ms=300&random={os.urandom(800).hex()}") for _ in range(20)]
    lines = [f"{url}\n".encode() for url in urls]
    with RedisServer(disk.seen / "redis", aof=True) as redis:
        cluster = Cluster(redis.celery_url(), tmp_path)
        person.environment |= {"TRAWL_BROKER_URL": redis.celery_url(), "TRAWL_TRANSFERS": "4"}
        with CeleryWorker(tmp_path, env={**cluster.environment, "TRAWL_TRANSFERS": "4"}, concurrency=1) as worker:
            options = ("-o", "out", "--allow-net", "127.0.0.0/8", "--batch-size", "10")
            run = person.start("run", "-", *options, stdin=subprocess.PIPE)
            assert run.stdin is not None
            run.stdin.write(b"".join(lines[:40]))
            run.stdin.flush()
            server.log.wait_for_requests(20)
            disk.fill(leave=0)
            run.stdin.write(b"".join(lines[40:]))
            run.stdin.close()
            run.stdin = None
            said = lines_until(run, b"Redis cannot write to its disk: it is full or failing.")
            disk.empty()
            said += run.communicate(timeout=ENOUGH)[1]

    assert run.returncode == 0, said
    assert b"The connection is back" in said
    assert len(person.rows()) == len(urls)
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize("is_interrupted", [False, True], ids=["waits", "Ctrl-C"])
def test_a_full_disk_under_manifest_and_journal_is_waited_for(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer, disk: TinyDisk, is_interrupted: bool
) -> None:
    """Guards SpaceWait (the run ended with 2), and rows that a full disk accepted in part: they are written again."""
    urls = [server.url(f"/thinks?ms=300&seed={seed}&size=100") for seed in range(32)]
    person = Person(tmp_path, TRAWL_BROKER_URL=cluster.environment["TRAWL_BROKER_URL"])
    person.python = str(disk.python)
    command = ("run", person.write_list(*urls), "-o", disk.path / "out", "--allow-net", "127.0.0.0/8")
    with CeleryWorker(tmp_path, env={**cluster.environment, "TRAWL_TRANSFERS": "4"}, concurrency=1):
        run = person.start(*command, "--batch-size", "5")
        server.log.wait_for_requests(8)
        disk.fill(leave=0)
        said = lines_until(run, f"The disk of {disk.path}/out is full: waiting for space. Nothing is lost.".encode())
        if is_interrupted:
            run.send_signal(signal.SIGINT)
            assert run.wait(ENOUGH) == 130
        disk.empty()
        ended = person.trawl(*command) if is_interrupted else None
        said += run.communicate(timeout=ENOUGH)[1]

    assert (run.returncode if ended is None else ended.code) == 0, said
    assert (b"The disk has space again after" in said) != is_interrupted
    rows = [json.loads(row) for row in (disk.seen / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert sorted(row["url"] for row in rows) == sorted(urls)


def _is_old(heartbeat: Path) -> bool:
    return heartbeat.exists() and heartbeat.stat().st_mtime == 0


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def test_a_stalled_worker_stops_on_request_and_loses_no_message(
    tmp_path: Path, cluster: Cluster, server: MisbehavingServer, disk: TinyDisk
) -> None:
    """Guards the check for a stop while waiting: a warm shutdown would last as long as the disk is full."""
    disk.fill(leave=2**19)

    with a_worker(tmp_path, cluster, disk, "prefork", {"TRAWL_MIN_FREE": "1M"}) as worker:
        cluster.enqueue("job", [server.url("/good")])
        worker.wait_for_log("Not taking work")
        worker.stop()
        assert worker.left_behind == []
    disk.empty()
    with a_worker(tmp_path, cluster, disk, "prefork", {"TRAWL_MIN_FREE": "0"}):
        (report,) = cluster.reports("job")

    assert report.counts() == {"ok": 1}
