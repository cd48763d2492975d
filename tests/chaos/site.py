"""A cluster to be disturbed: Redis behind a relay, two workers, Flower; whatever dies is restarted at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import redis

from contract.ledger.ledger import RedisLedger
from tests.support.celery_worker import PROJECT, CeleryWorker
from tests.support.processes import free_port, send
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay

WITHOUT_SWEEP = Path(__file__).with_name("without_sweep.py")
_ORPHANS_MAY_LIVE = 180.0  # seconds: as long as their batch may still run where others want the CPU, too


class Site:
    """The processes of a cluster in one folder; a context manager that leaves none behind.

    ``lease`` is in seconds. With ``sweeps`` off nobody sends lost batches again.
    """

    def __init__(self, folder: Path, *, lease: float = 3.0, sweeps: bool = True, flower: bool = False) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.lease = lease
        self.sweeps = sweeps
        self.server = RedisServer(folder / "redis")
        self.relay = Relay(("127.0.0.1", 0))
        self.workers: list[CeleryWorker] = []
        self.flower: subprocess.Popen[bytes] | None = None
        self._has_flower = flower
        self._started = 0
        self._buried: list[tuple[float, CeleryWorker]] = []  # killed workers whose children may live on
        self.orphans: list[int] = []  # found alive long after their parent was killed
        self.deaths: list[str] = []  # of workers that were not killed
        self._doomed: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """What a producer or worker of this cluster needs."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TRAWL_", "CELERY_"))}
        url = f"redis://127.0.0.1:{self.relay.port}/0"
        ours = {
            "TRAWL_BROKER_URL": url, "TRAWL_OUTPUT": str(self.files), "TRAWL_LEASE": str(self.lease),
            "TRAWL_TRANSFERS": "8", "TRAWL_DRAIN": "2.0",
            "XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONPATH": str(PROJECT),
        }  # fmt: skip
        if not self.sweeps:
            # Celery's own redelivery, as quick as the ledger's would be.
            ours["TRAWL_BROKER_OPTIONS"] = '{"visibility_timeout": 6}'
        return {**inherited, **ours}

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that runs a module of the product, sweeping or not."""
        runner = ["-m", module] if self.sweeps else [str(WITHOUT_SWEEP), module]
        return [sys.executable, *runner, *arguments]

    def client(self) -> redis.Redis:
        """Return a client of the server itself, past the relay."""
        return self.server.client()

    def ledger(self) -> RedisLedger:
        """Return the ledger, past the relay."""
        return RedisLedger(self.client(), lease=self.lease)

    # ---- its life

    def __enter__(self) -> Site:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server.start()
        self.relay.target = ("127.0.0.1", self.server.port)
        self.relay.__enter__()
        self.workers = [self._new_worker(), self._new_worker()]
        for worker in self.workers:
            worker.wait_until_ready(within=90)
        if self._has_flower:
            self.start_flower()
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        for worker in [*self.workers, *(worker for _, worker in self._buried)]:
            worker.stop(grace=10.0 if error is None else 0.0)
        if self.flower is not None:
            self.flower.kill()
            self.flower.wait()
        self.relay.__exit__()
        self.server.stop()

    def _new_worker(self) -> CeleryWorker:
        self._started += 1
        worker = CeleryWorker(
            self.folder / "workers",
            env=self.environment,
            concurrency=2,
            name=f"w{self._started}",
            program=None if self.sweeps else WITHOUT_SWEEP,
        )
        return worker.start(wait=False)

    def start_flower(self) -> None:
        log = (self.folder / "flower.log").open("ab")
        command = [sys.executable, "-m", "celery", "-A", "worker", "flower", "--address=127.0.0.1"]
        self.flower = subprocess.Popen(
            [*command, f"--port={free_port()}"],
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()

    # ---- being hurt

    def doom(self, worker: CeleryWorker) -> CeleryWorker:
        """Say that this worker's end, from now on, is no fault of its own."""
        self._doomed.add(worker.name)
        return worker

    def replace(self, worker: CeleryWorker) -> None:
        """Start another worker in place of one that is gone."""
        if worker.name not in self._doomed:
            self.deaths.append(f"{worker.name} ended by itself: {last_error(worker)}")
        self._buried.append((time.monotonic(), worker))
        self.workers[self.workers.index(worker)] = self._new_worker()

    def tend(self) -> None:
        """Start again what ended, and note children that outlive their killed parent for too long."""
        for worker in self.workers:
            if not worker.is_running:
                self.replace(worker)
        if self._has_flower and (self.flower is None or self.flower.poll() is not None):
            self.start_flower()
        for buried in list(self._buried):
            since, worker = buried
            if not worker.survivors():
                self._buried.remove(buried)
            elif time.monotonic() - since > _ORPHANS_MAY_LIVE:
                self.orphans += worker.survivors()
                for pid in worker.survivors():
                    send(pid, signal.SIGKILL)

    def restart_redis(self, *, empty: bool = False, away: float = 0.0) -> None:
        """Kill Redis and start it again after ``away`` seconds, with what its AOF holds or with nothing."""
        self.server.kill()
        if empty:
            for name in ("appendonlydir", "dump.rdb"):
                path = self.server.folder / name
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)
        time.sleep(away)
        self.server.restart()

    def roll_back_redis(self, *, seconds: float) -> None:
        """Bring Redis back as it was some seconds ago: copy its files, let it run, kill it, start from the copy."""
        copy, folder = self.folder / "redis-copy", self.server.folder / "appendonlydir"
        shutil.copytree(folder, copy)
        time.sleep(seconds)
        self.server.kill()
        shutil.rmtree(folder)
        copy.rename(folder)
        self.server.restart()


def last_error(worker: CeleryWorker) -> str:
    """Return the last thing a worker complained of."""
    told = [line for line in worker.log().splitlines() if "CRITICAL" in line or "ERROR" in line]
    return told[-1] if told else "without a word"
