"""A Redis and workers of a scenario's own, for what one `trawl run` cannot show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.slow.trial import environment
from tests.support.celery_worker import CeleryWorker
from tests.support.redis_server import RedisServer


@dataclass(frozen=True, slots=True)
class RunningCluster:
    folder: Path
    env: dict[str, str]
    workers: list[CeleryWorker]

    @property
    def output(self) -> Path:
        return Path(self.env["TRAWL_OUTPUT"])


@contextlib.contextmanager
def running_cluster(folder: Path, *, workers: int, processes: int) -> Iterator[RunningCluster]:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(folder / "redis"))
        env = {
            "TRAWL_BROKER_URL": server.url(),
            "TRAWL_OUTPUT": str(folder / "files"),
            "TRAWL_DRAIN": "0.5",
            "PYTHONPATH": environment()["PYTHONPATH"],
        }
        started = [CeleryWorker(folder, env=env, concurrency=processes).start(wait=False) for _ in range(workers)]
        for worker in started:
            stack.callback(worker.stop)
        for worker in started:
            worker.wait_until_ready()
        yield RunningCluster(folder, env, started)
