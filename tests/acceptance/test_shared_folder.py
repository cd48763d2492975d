"""Two machines that cannot see each other's locks store into one folder, and are killed again and again."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.records.outcomes import Ending
from tests.support.celery_worker import CeleryWorker
from tests.support.cluster import Cluster
from tests.support.misbehaving import MisbehavingServer
from tests.support.netbox import NotPermittedError
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.tiny_disk import TinyDisk

KILLS = 4


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[TinyDisk]]:
    """Two namespaces, each with its host name, its boot, and its own bindfs mount of the same folder."""
    missing = [what for what in ("bindfs", "hostname", "mount", "umount") if shutil.which(what) is None]
    if missing or not os.path.exists("/dev/fuse"):
        pytest.skip(f"it needs /dev/fuse, and of programs {' '.join(missing) or 'nothing more'}")
    (tmp_path / "shared").mkdir()
    with ExitStack() as stack:
        try:
            disks = [stack.enter_context(TinyDisk(tmp_path / name, size="1m")) for name in ("one", "two")]
        except NotPermittedError as reason:
            pytest.skip(f"no mounts of our own here: {reason}")
        for disk in disks:
            (disk.seen / "boot").write_text(f"{uuid.uuid4()}\n")
            (disk.seen / "out").mkdir()
            disk.run("hostname", disk.path.name)
            disk.run("mount", "--bind", disk.path / "boot", "/proc/sys/kernel/random/boot_id")
            disk.run("bindfs", tmp_path / "shared", disk.path / "out")
            stack.callback(disk.run, "umount", "-l", disk.path / "out")
        yield disks


def test_two_machines_killed_repeatedly_lose_no_draft_of_each_other(
    tmp_path: Path, machines: list[TinyDisk], server: MisbehavingServer
) -> None:
    """Guards host and boot in the names of temporary folders: the second machine removed what the first was writing."""
    urls = [server.url(f"/good?seed={seed}&size=20000&rate=20000") for seed in range(160)]
    batches = [urls[start : start + 10] for start in range(0, len(urls), 10)]
    logs: list[Path] = []

    with RedisServer(tmp_path / "redis") as redis, ExitStack() as running:
        cluster = Cluster(redis.celery_url(), tmp_path, lease=3.0)

        def started(machine: TinyDisk) -> CeleryWorker:
            environment = {"TRAWL_OUTPUT": str(machine.path / "out"), "TRAWL_TRANSFERS": "4", "TRAWL_MIN_FREE": "0"}
            worker = CeleryWorker(tmp_path, env={**cluster.environment, **environment}, python=str(machine.python))
            running.callback(worker.stop)
            logs.append(worker.log_path)
            return worker.start()

        for job in ("job-1", "job-2"):  # of the same names: both machines store each of them, now and then at once
            cluster.enqueue(job, *batches)
        workers = [started(machine) for machine in machines]
        for turn in range(KILLS):
            wanted = len(server.log.requests()) + 12
            # A machine that takes long to start a worker sees fewer kills, and no fault where there is none.
            await_condition(
                lambda wanted=wanted: len(server.log.requests()) >= wanted or not cluster.ledger.count_waiting(),  # type: ignore[misc]
                within=60,
                what="a dozen requests more",
            )
            workers[turn % 2].kill()
            workers[turn % 2] = started(machines[turn % 2])
        outcomes = [each for job in ("job-1", "job-2") for report in cluster.reports(job) for each in report.outcomes]

    assert Counter(each.url for each in outcomes) == dict.fromkeys(urls, 2)
    assert {each.ending for each in outcomes} == {Ending.OK}
    assert all(len(each.attempts) == 1 for each in outcomes), "our disk's fault would be no attempt"
    for each in outcomes:
        body = (tmp_path / "shared" / str(each.path)).read_bytes()
        assert hashlib.sha256(body).hexdigest() == each.sha256
    said = "".join(log.read_text() for log in logs)
    assert [word for word in ("ENOENT", "ESTALE", "Not taking work", "Traceback") if word in said] == []
    for machine in machines:
        machine.run("ls", machine.path / "out")
    assert list((tmp_path / "shared" / ".trawl" / "parts").iterdir()) == [], "each machine removes what its dead left"
