"""`trawl worker` is Celery's own worker, from any folder, and receives signals itself."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.support.celery_worker import PROJECT
from tests.support.person import Person
from tests.support.processes import await_condition, begin
from tests.support.redis_server import RedisServer


def test_a_worker_starts_in_a_folder_with_modules_of_our_names(tmp_path: Path) -> None:
    """Guards importing the app before Celery puts the current folder on the path."""
    for name in ("worker", "redis", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    log = tmp_path / "log"
    with RedisServer(tmp_path / "redis") as redis, log.open("wb") as file:
        worker = begin(
            [sys.executable, "-P", "-m", "producer", "worker", "-c", "1", "-l", "INFO", "-n", "here@%h"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TRAWL_BROKER_URL": redis.celery_url()},
            cwd=tmp_path,
            stdout=file,
            stderr=file,
        )
        await_condition(
            lambda: "ready." in log.read_text() or worker.poll() is not None, within=60, what="a ready worker"
        )
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(300)

    said = log.read_text()
    assert code == 0, said
    assert f"here@{os.uname().nodename} ready." in said
    assert "mingle" not in said


def test_a_worker_that_cannot_start_reports_it_like_every_command(person: Person) -> None:
    ended = person.trawl("worker")

    assert ended.code == 2
    assert ended.err == "trawl: No broker is configured: set TRAWL_BROKER_URL, e.g. redis://localhost:6379/0.\n"
