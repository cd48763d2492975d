"""A worker that is told to stop at the very moment its job ends."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.slow.bench import Bench, Finding, Scenario
from benchmarks.slow.site import body_of
from benchmarks.slow.trial import name_of, running_site
from tests.support.celery_worker import CeleryWorker
from tests.support.cluster import Cluster
from tests.support.redis_server import RedisServer

_WITHIN = 5.0  # seconds
_AT_MOST = 0.2  # seconds between a job's end and the signal


def _stopping(bench: Bench) -> Iterator[Finding]:
    """SIGTERM within 0.2 s of a job's end, once for each try: the worker is gone within 5 s, with exit code 0."""
    tries, random = bench.some(bench.tries), bench.random("stopping")
    took: list[float] = []
    wrong: list[str] = []
    with running_site() as site, ExitStack() as stack:
        server = stack.enter_context(RedisServer(bench.folder / "redis"))
        cluster = Cluster(server.url(), bench.folder)
        for number in range(tries):
            with CeleryWorker(bench.folder, env=cluster.environment).start() as worker:
                urls = [
                    site.url(index % 10, "ok", wait=random.randint(1, 30), name=f"{number}-{index}")
                    for index in range(40)
                ]
                job = f"stopping-{number}"
                cluster.enqueue(job, urls[:20], urls[20:])
                _await_end(cluster, job)
                time.sleep(random.uniform(0.0, _AT_MOST))
                seconds, ended = _stop(worker)
                took.append(seconds)
                stored = sum(_is_right(cluster.output, url) for url in urls)
                if ended != 0 or stored != len(urls):
                    wrong.append(f"try {number + 1}: {ended} after {seconds:.1f} s, {stored} of {len(urls)} stored")
            if (number + 1) % 10 == 0:
                bench.tell(f"  {number + 1} tries, the slowest {max(took):.1f} s, {len(wrong)} wrong")
    for line in wrong:
        yield Finding(f"stopping: {line}", is_right=False)
    right = tries - len(wrong)
    yield Finding(f"stopping: {right} of {tries} gone with exit code 0", right == tries)
    slowest = f"stopping: the slowest after {max(took):.1f} s (at most {_WITHIN:g} s)"
    yield Finding(slowest, max(took) <= _WITHIN, is_time=True)


def _stop(worker: CeleryWorker) -> tuple[float, str | int]:
    begun = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    try:
        ended: str | int = worker.wait(within=30.0)
    except (TimeoutError, subprocess.TimeoutExpired):
        ended = "still there"
    return time.monotonic() - begun, ended


def _await_end(cluster: Cluster, job: str) -> None:
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        record = cluster.ledger.job(job)
        if record is not None and record.is_finished:
            return
        time.sleep(0.01)
    raise TimeoutError(f"{job} did not end")


def _is_right(output: Path, url: str) -> bool:
    path = "/" + url.split("/", 3)[3]
    try:
        return (output / name_of(url)).read_bytes() == body_of(path, int(path.split("/")[3]))
    except FileNotFoundError:
        return False


SCENARIOS: dict[str, Scenario] = {"stopping": _stopping}
