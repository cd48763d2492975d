"""Memory is flat: ten times as many URLs cost the producer, the workers and Redis almost nothing more."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.cluster.broker import connect
from contract.cluster.settings import ClusterSettings
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import JobRecord
from producer.commands.run import WINDOW
from tests.support.celery_worker import PROJECT, CeleryWorker
from tests.support.processes import await_condition, send
from tests.support.redis_server import RedisServer
from tests.support.tiny_origin import TinyOrigin

FEW, MANY = 3_000, 30_000  # URLs; the short list fills every buffer that is bounded
BATCH = 20  # URLs; the window is a sixth of the long list then
STILL = 50  # looks during which nothing more is fed, until nothing more will be
URL = 2_000  # bytes of each, of random digits: whatever is kept of a URL is not small

PARTS = ("the producer", "Redis", "the worker's main process", "the worker's pool process")


class Cluster:
    """Redis and one worker that live through several runs."""

    def __init__(self, folder: Path, server: RedisServer, worker: CeleryWorker, origin: TinyOrigin) -> None:
        self._folder = folder
        self._server = server
        self._worker = worker
        self._origin = origin
        self._environment = {**os.environ, "TRAWL_BROKER_URL": server.celery_url()}
        settings = ClusterSettings.from_environment(self._environment)
        self._ledger = RedisLedger(connect(settings), prefix=settings.prefix)

    def run(self, count: int) -> dict[str, int]:
        """Run a list of so many URLs, collected slowly; return the highest peaks until now, in bytes."""
        listed = self._folder / f"{count}.txt"
        write_list(listed, self._origin.port, count)
        options = ("--allow-net", "127.0.0.0/8", "--batch-size", str(BATCH), "--quiet")
        command = [sys.executable, "-m", "producer", "run", str(listed), "-o", str(self._folder / f"{count}"), *options]
        family = [self._worker.pid, *self._worker.children()]
        signal_all(family, signal.SIGSTOP)
        run = subprocess.Popen(command, cwd=PROJECT, env=self._environment, stdout=subprocess.DEVNULL)
        try:
            self._let_batches_and_reports_pile_up(run.pid, family)
            peak = watched_peak(run)
        finally:
            run.kill()
            run.wait()
        assert run.returncode == 0
        with self._server.client() as client:
            in_redis = int(client.info("memory")["used_memory_peak"])
        peaks = (peak, in_redis, *(peak_of(pid) for pid in family))
        return dict(zip(PARTS, peaks, strict=True))

    def _let_batches_and_reports_pile_up(self, run: int, worker: list[int]) -> None:
        """First no worker runs what is fed, then no follower collects what is done."""
        seen: list[int] = []

        def is_fed() -> bool:
            """Is the list at its end, or does the producer wait? Without a window it would continue."""
            for record in self._unfinished():
                if record.is_sealed:
                    return True
                seen.append(record.open)
            return len(seen) >= STILL and seen[-1] >= WINDOW // 2 and set(seen[-STILL:]) == {seen[-1]}

        await_condition(is_fed, within=60, what="a window of batches, or the whole list")
        send(run, signal.SIGSTOP)
        signal_all(worker, signal.SIGCONT)
        await_condition(self._has_nothing_to_do, within=60, what="the end of what the worker was given")
        send(run, signal.SIGCONT)

    def _has_nothing_to_do(self) -> bool:
        return all(record.open == 0 for record in self._unfinished())

    def _unfinished(self) -> list[JobRecord]:
        records = [self._ledger.job(job) for job in self._ledger.jobs()]
        return [record for record in records if record is not None and not record.is_finished]


def signal_all(pids: list[int], sent: signal.Signals) -> None:
    for pid in pids:
        send(pid, sent)


def write_list(path: Path, port: int, count: int) -> None:
    digits = random.Random(count)
    with path.open("w", encoding="ascii") as file:
        for _ in range(count):
            file.write(f"http://127.0.0.1:{port}/{digits.randbytes(URL // 2).hex()}\n")


def watched_peak(process: subprocess.Popen[bytes]) -> int:
    """Return the peak of a process that is watched until it ends."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_of(process.pid))
        time.sleep(0.02)
    return peak


def peak_of(pid: int) -> int:
    """Return the largest resident set a process ever had, in bytes (proc_pid_status(5)); 0 when it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """The peaks after a short list, and those after a long one."""
    folder = tmp_path_factory.mktemp("flat")
    environment = {"TRAWL_OUTPUT": str(folder / "files")}
    with RedisServer(folder / "redis") as server, TinyOrigin() as origin:
        environment["TRAWL_BROKER_URL"] = server.celery_url()
        with CeleryWorker(folder, env=environment, concurrency=1) as worker:
            cluster = Cluster(folder, server, worker, origin)
            yield cluster.run(FEW), cluster.run(MANY)


@pytest.mark.timeout(600)  # 24 s on two cores that do little else
@pytest.mark.parametrize("part", PARTS)
def test_ten_times_as_many_urls_cost_far_less_than_keeping_them(
    part: str, peaks: tuple[dict[str, int], dict[str, int]]
) -> None:
    after_few, after_many = peaks

    assert after_many[part] - after_few[part] < (MANY - FEW) * URL / 4
