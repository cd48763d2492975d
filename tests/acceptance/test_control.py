"""A run is paused, resumed and cancelled from a second terminal, or suspended with Ctrl-Z: real worker, real files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.celery_worker import CeleryWorker
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, Person
from tests.support.redis_server import RedisServer
from tests.support.shell import CTRL_Z, Shell

OPTIONS = ("--allow-net", "127.0.0.0/8", "--processes", "1", "--transfers", "8", "--batch-size", "50", "--drain", "0.5")


def slow_urls(server: MisbehavingServer, count: int, *, ms: int = 200) -> list[str]:
    return [server.url(f"/thinks?ms={ms}&n={number}") for number in range(count)]


def test_a_local_run_is_paused_resumed_and_cancelled_from_a_second_terminal(
    person: Person, server: MisbehavingServer
) -> None:
    listed = person.write_list(*slow_urls(server, 4000))
    process = person.start("run", listed, "-o", "out", *OPTIONS, "--json")
    server.log.wait_for_requests(50)
    code, out, err = person.trawl("pause", "-o", "out")
    assert (code, err) == (0, "")
    assert "trawl resume -o out` resumes it" in out
    assert 0 < server.log.await_quiet(1.5) < 4000

    assert person.trawl("resume", "-o", "out")[::2] == (0, "")
    server.log.wait_for_requests(len(server.log.requests()) + 50)
    assert person.trawl("cancel", "-o", "out")[::2] == (0, "")
    said, err_ = process.communicate(timeout=ENOUGH)

    summary = json.loads(said)
    assert (process.returncode, summary["cancelled"], summary["lines"]) == (1, True, 4000), err_
    assert summary["ok"] + summary["errors"]["cancelled"] + summary["not_read"] == 4000
    assert summary["ok"] >= 60, "of a hundred; those in flight at a pause may begin anew"
    assert b"trawl resume -o out` resumes it." in err_
    code, _, err = person.trawl("pause", "-o", "out")
    assert (code, err) == (2, f"trawl: Job {summary['job']} of out is finished.\n")


@pytest.mark.parametrize("where", ["here", "on a cluster"])
def test_ctrl_z_pauses_the_job_and_fg_resumes_it(
    person: Person, server: MisbehavingServer, tmp_path: Path, where: str
) -> None:
    """Guards ``Suspension``: the display stopped, but the worker continued."""
    listed = person.write_list(*slow_urls(server, 500, ms=600))  # far more than is asked for until it is in force
    command = " ".join([sys.executable, "-P", "-m", "producer", "run", str(listed), "-o", "out", *OPTIONS])
    if where == "here":
        assert_a_pause_for_as_long_as_it_is_stopped(person, server, command)
        return
    with RedisServer(tmp_path / "redis") as redis:
        person.environment |= {"TRAWL_BROKER_URL": redis.celery_url(), "TRAWL_OUTPUT": str(tmp_path / "files")}
        with CeleryWorker(tmp_path, env={**person.environment, "TRAWL_DRAIN": "0.5", "TRAWL_TRANSFERS": "8"}):
            assert_a_pause_for_as_long_as_it_is_stopped(person, server, command)


def assert_a_pause_for_as_long_as_it_is_stopped(person: Person, server: MisbehavingServer, command: str) -> None:
    with Shell(person.folder, person.environment) as shell:
        shell.type(f"{command}\n")
        server.log.wait_for_requests(24)
        person.await_rows(1)

        shell.type(CTRL_Z)
        shell.await_text("is paused until this command is resumed (fg).")
        shell.await_text("Stopped")
        assert server.log.await_quiet(1.5) < 500

        server.log.let_go.set()
        shell.type("fg\n")
        shell.await_text("Resuming job")
        shell.await_text("500 lines = 500 ok")
        shell.type("echo ended with $?\n")
        shell.await_text("ended with 0")
