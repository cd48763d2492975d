"""What tests start ends with them."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from celery import Celery

from tests.support.celery_worker import CeleryWorker
from tests.support.processes import begin, end_all, is_alive
from tests.support.redis_server import RedisServer

SAMPLE_APP = """
import os, subprocess
from celery import Celery

app = Celery("sample", broker=os.environ["SAMPLE_BROKER"], backend=os.environ["SAMPLE_BROKER"])
app.conf.broker_connection_retry_on_startup = True

@app.task(name="sample.spawn")
def spawn():
    return subprocess.Popen(["sleep", "600"]).pid
"""


def test_orphans_of_a_killed_worker_are_found_and_ended(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(SAMPLE_APP, "utf-8")
    with RedisServer(tmp_path / "redis") as broker:
        url = broker.celery_url()
        with CeleryWorker(tmp_path, env={"SAMPLE_BROKER": url}, app="sample", cwd=tmp_path, concurrency=1) as worker:
            with Celery(broker=url, backend=url) as app:
                grandchild = app.send_task("sample.spawn").get(timeout=120)
            # Celery's children ask the kernel to end them with their parent; theirs do not.
            family = [worker.pid, *worker.children()]
            assert grandchild in family

            worker.kill(children_too=False)

    assert len(family) == 3
    assert not [pid for pid in family if is_alive(pid)]


def test_what_a_test_began_ends_with_it_and_leaves_no_pipe() -> None:
    process = begin(["sleep", "600"], stdout=subprocess.PIPE)

    end_all()

    assert process.returncode == -signal.SIGTERM
    assert process.stdout is not None
    assert process.stdout.closed
