"""`trawl status` on the real parts: what it reports as holding a job up really does, and it changes nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.errors import SettingError
from contract.records.policy import JobPolicy
from producer.cluster.address import note_address, noted_variables
from producer.commands.status import Target, show_status
from producer.storage.journal import Journal
from producer.storage.last_job import read_facts
from producer.wiring import Producer
from tests.support.cluster import POLICY, Cluster
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, PROJECT, Person
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

LOOPBACK = ("--allow-net", "127.0.0.0/8")


class Bench(Person):
    """A Redis, a site, and a user who asks for the status of jobs."""

    def __init__(self, server: RedisServer, site: MisbehavingServer, folder: Path) -> None:
        super().__init__(folder, TRAWL_BROKER_URL=server.celery_url())
        self.site = site
        self.cluster = Cluster(server.celery_url(), folder)

    def enqueue(self, job: str, *targets: str, policy: JobPolicy = POLICY) -> None:
        self.cluster.enqueue(job, [self.site.url(target) for target in targets], policy=policy)

    def asked(self, job: str) -> dict[str, Any]:
        (found,) = json.loads(show_status(Target(job=job), Producer(self.environment), is_json=True))
        return dict(found)

    def await_hold_up(self, job: str, kind: str | None, *, and_more: Callable[[dict[str, Any]], bool] = bool) -> str:
        def found() -> str | None:
            seen = self.asked(job)
            return str(seen["held_up"]) if seen["held_up_by"] == kind and and_more(seen) else None

        return await_condition(found, within=60, what=f"{kind} holding {job} up")


@pytest.fixture
def bench(tmp_path: Path, redis: RedisServer, server: MisbehavingServer) -> Bench:
    return Bench(redis, server, tmp_path)


def test_a_job_without_a_worker_is_reported_until_there_is_one(bench: Bench) -> None:
    """Guards the workers' beat, and what is made of it."""
    bench.enqueue("job", "/held?n=1", "/good?n=2", "/status?code=404")

    assert "No worker is running" in bench.await_hold_up("job", "worker")
    with bench.cluster.worker() as worker:
        bench.site.log.wait_for_requests(3)
        seen = bench.asked("job")

        assert seen["held_up_by"] != "worker"
        assert [each["worker"].partition("@")[0] for each in seen["workers"]] == [worker.name]
        assert (seen["workers"][0]["batches"], seen["workers"][0]["urls"]) == (1, 3)
        bench.site.log.let_go.set()
        bench.cluster.reports("job")

    assert bench.asked("job")["errors"] == {"http-4xx": 1}
    assert bench.asked("job")["held_up"] is None, "nothing holds up what is over"


def test_slow_hosts_are_named(bench: Bench) -> None:
    """Guards the way of quiet transfers from the lane to the display."""
    bench.enqueue("job", *(f"/held?n={number}" for number in range(5)))
    with bench.cluster.worker():
        said = bench.await_hold_up("job", "slow")
        host = bench.site.url("/").removeprefix("http://").rstrip("/")

        assert said == f"Waiting for slow responses: almost nothing arrives for 5 URLs from {host}."
        bench.site.log.let_go.set()
        bench.cluster.reports("job")


def test_a_job_that_only_waits_for_a_host_names_it_and_the_time(bench: Bench) -> None:
    busy = [f"/status?code=503&retry=600&n={number}" for number in range(3)]
    bench.enqueue("job", *busy, "/held", policy=replace(POLICY, batch_seconds=2.0, first_byte_timeout=3.0))
    with bench.cluster.worker():
        await_condition(lambda: bench.asked("job")["host_waits"], within=60, what="news of the pause")
        bench.site.log.let_go.set()
        said = bench.await_hold_up("job", "hosts")

    host = bench.site.url("/").removeprefix("http://").rstrip("/")
    assert said.startswith(f"Everything left waits for {host}, which is asked again at ")
    seen = bench.asked("job")
    assert [wait["host"] for wait in seen["host_waits"]] == [host]
    assert 300 < seen["host_waits"][0]["seconds"] <= 700
    assert seen["seconds_left"] is None


def test_a_job_behind_another_reports_that_it_is_anothers_turn(bench: Bench) -> None:
    """Guards ``elsewhere``: a job that waits for the only worker looks like one without a worker."""
    bench.enqueue("first", *(f"/held?n={number}" for number in range(200)))
    bench.cluster.environment["TRAWL_TRANSFERS"] = "1"  # nothing is fetched beside what is silent
    with bench.cluster.worker():
        bench.site.log.wait_for_requests(1)
        bench.enqueue("second", "/good?n=2")

        assert bench.await_hold_up("second", "turn") == "It is another job's turn: the workers hold 1 batch of it."
        bench.site.log.let_go.set()
        bench.cluster.reports("second")


def test_showing_the_status_changes_nothing(bench: Bench) -> None:
    """Guards that it is read-only: not one key of the job changes."""
    bench.enqueue("job", "/good?n=1")
    client = bench.cluster.ledger._redis
    keys = f"{bench.cluster.ledger.keys.of_jobs}*"
    before = {key: client.dump(key) for key in client.keys(keys)}
    assert before

    bench.asked("job")

    assert {key: client.dump(key) for key in client.keys(keys)} == before


# ---------------------------------------------------------------------------------------------- a run in a folder


def test_a_local_run_is_visible_from_a_second_terminal(person: Person, server: MisbehavingServer) -> None:
    """Guards the way to the embedded server, and that the journal's lock is not needed."""
    listed = person.write_list(*(server.url(f"/held?n={number}") for number in range(3)), server.url("/good"))
    run = person.start("run", listed, "-o", "out", "--processes", "1", *LOOPBACK)
    server.log.wait_for_requests(4, 60)
    code, out, err = person.trawl("status", "-o", "out")
    assert code == 0, err
    assert "state:      running" in out
    assert "outcomes:   " in out
    assert " of 4 (" in out
    watched = person.start("status", "-o", "out", "--watch", "--json")
    server.log.let_go.set()
    seen, _ = watched.communicate(timeout=ENOUGH)
    run.communicate(timeout=ENOUGH)
    after = person.trawl("status", "-o", "out")

    assert run.returncode == 0
    assert watched.returncode == 0
    assert all(json.loads(line) for line in seen.splitlines())
    assert after.code == 0
    assert after.out.startswith("Nothing runs in out: job ")
    assert after.out.endswith("is finished, with 4 outcomes of 4 lines.\n")


def test_a_killed_run_is_reported_with_how_to_resume_it(
    tmp_path: Path, person: Person, server: MisbehavingServer
) -> None:
    """Guards _raise_if_ended: `trawl status -w` waited for ever for a run that had ended with its server."""
    listed = person.write_list(server.url("/held?n=1"), server.url("/good"))
    run = person.start("run", listed, "-o", "out", "--processes", "1", *LOOPBACK)
    server.log.wait_for_requests(2, 60)
    watched = person.start("status", "-o", "out", "--watch")
    assert watched.stdout is not None
    assert watched.stdout.readline()
    run.kill()
    run.communicate(timeout=ENOUGH)
    last = watched.communicate(timeout=ENOUGH)[0].decode().splitlines()[-1]
    await_condition(lambda: noted_variables(tmp_path / "out/.trawl") is None, within=30, what="the server's end")
    code, out, err = person.trawl("status", "-o", "out")

    assert code == 0, err
    assert "is not finished" in out
    assert "run the same command to resume." in out
    assert out.splitlines() == [last]


def test_a_folder_without_a_job_is_one_sentence(tmp_path: Path, person: Person) -> None:
    (tmp_path / "out").mkdir()

    code, _, err = person.trawl("status", "-o", "out")

    assert code == 2
    sentence = r"trawl: The folder out holds no job: name the one that was given to `\S*trawl run -o`\.\n"
    assert re.fullmatch(sentence, err), err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("closed", ["redis/address.json", "journal.sqlite"])
def test_another_users_folder_is_one_sentence(tmp_path: Path, closed: str) -> None:
    state = tmp_path / "out" / ".trawl"
    (state / "redis").mkdir(parents=True)
    (state / closed).touch(mode=0o600)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from contract.errors import FolderError;"
        "from producer.commands.status import Target, show_status; from producer.wiring import Producer\n"
        "import os; os.setuid(65534)\n"
        "try: show_status(Target(output=Path(sys.argv[1])), Producer({}))\n"
        "except FolderError as error: print(error)"
    )

    said = subprocess.run(
        [sys.executable, "-c", code, state.parent], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert said.stdout.endswith("belongs to another user, and only they can look at it.\n")


def test_a_finished_jobs_duplicates_are_told(tmp_path: Path) -> None:
    """12 outcomes of 13 lines, and no word more, look as if one was lost."""
    with closing(Journal(tmp_path / ".trawl")) as journal:
        journal.note(job="j1", finished=True, lines=13, duplicates=1, tally={"counts": {"ok": 12}})

    shown = show_status(Target(output=tmp_path), Producer({}))

    assert shown.endswith("is finished, with 12 outcomes of 13 lines (1 duplicate).")


def test_without_a_cluster_a_local_runs_folder_is_asked_for() -> None:
    with pytest.raises(SettingError, match=r"or name the folder of a local run: `\S*trawl status -o out`"):
        show_status(Target(), Producer({}))


def test_a_journal_is_read_while_its_run_holds_it(tmp_path: Path) -> None:
    """Guards the lock: `trawl status` must neither wait for it nor take it."""
    journal = Journal(tmp_path)
    journal.begin("a-job", lines=7)

    assert (read_facts(tmp_path) or {})["lines"] == 7
    journal.note(lines=8)
    assert (read_facts(tmp_path) or {})["lines"] == 8
    journal.close()


def test_a_note_of_a_dead_server_is_ignored(tmp_path: Path) -> None:
    """Guards _answers: a killed server leaves its socket behind."""
    (tmp_path / "redis").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
    note_address(tmp_path, str(tmp_path / "left.sock"), {})

    assert noted_variables(tmp_path) is None
    (tmp_path / "redis/address.json").write_text("[")
    assert noted_variables(tmp_path) is None


def test_a_slow_list_is_reported(person: Person, server: MisbehavingServer) -> None:
    command = ("run", "-", "-o", "out", "--processes", "1", *LOOPBACK)
    run = person.start(*command, stdin=subprocess.PIPE)
    assert run.stdin is not None
    assert run.stderr is not None
    run.stdin.write(server.url("/good").encode() + b"\n")
    run.stdin.flush()
    line = next(line for line in iter(run.stderr.readline, b"") if b"Waiting for the list" in line)
    run.communicate(timeout=ENOUGH)

    assert b"1 of 1 read so far" in line
    assert run.returncode == 0
