"""Pausing, resuming and cancelling from another terminal or a script; the worker is a stand-in that fetches nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.errors import JobStateError
from contract.ledger import control
from producer.api.jobs import Client
from producer.cluster.address import note_address
from producer.commands.control import cancel_job
from producer.commands.status import Target, show_status
from producer.job.control import JobControl
from producer.storage.journal import Journal
from producer.wiring import Producer
from tests.support.commands import Bench, urls
from tests.support.person import ENOUGH
from tests.support.processes import await_condition, begin
from tests.support.stand_in_worker import StandInWorker

MANY = 3000  # lines: at ten a batch more than a run has open at once
RUN = ("run", "urls.txt", "-o", "out", "--batch-size", "10", "--json")


def begin_run(bench: Bench, lines: int = 100) -> subprocess.Popen[bytes]:
    """Start a run; it has opened what it opens without a worker."""
    bench.write_list(*urls(lines))
    process = bench.start(*RUN)
    bench.await_batches(min(lines // 10, 250))
    return process


def begin_with_open_end(bench: Bench, lines: int, *arguments: str) -> subprocess.Popen[bytes]:
    """Start it with a list on its standard input that goes on after these lines; its first batch is open."""
    process = bench.start(*arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("".join(f"{url}\n" for url in urls(lines)).encode())
    process.stdin.flush()
    bench.await_batches(1)
    return process


def emptied(bench: Bench, process: subprocess.Popen[bytes]) -> None:
    """Have Redis lose everything between two commands."""
    process.send_signal(signal.SIGSTOP)
    bench.cluster.redis.flushall()
    process.send_signal(signal.SIGCONT)


def stopped_run(bench: Bench) -> subprocess.Popen[bytes]:
    """Start a run as a job of its own, as a shell does, and stop it as Ctrl-Z does: its job is paused meanwhile.

    Its terminal may be closed, also where this test runs under nohup.
    """
    bench.write_list(*urls(100))
    command = ["env", "--default-signal=HUP", sys.executable, "-P", "-m", "producer", *RUN]
    pipe = subprocess.PIPE
    process = begin(command, cwd=bench.folder, env=bench.environment, stdout=pipe, stderr=pipe, process_group=0)
    bench.await_batches(10)
    await_condition(lambda: bench.drains(bench.job()), within=60, what="the command to follow its job")
    process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    record = bench.record(bench.job())
    assert (record.is_paused, "process" in record.pauser) == (True, True)
    return process


def ended(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any], str]:
    out, err = process.communicate(timeout=ENOUGH)
    assert out, err.decode()
    return process.returncode, json.loads(out), err.decode()


def test_a_paused_job_waits_and_a_resumed_one_continues(bench: Bench) -> None:
    job = bench.enqueue(300)

    code, out, _ = bench.trawl("pause", job)
    assert (code, out.partition("; ")[0], f"trawl resume {job}` resumes it\n" in out) == (
        0,
        f"job {job} is paused",
        True,
    )
    assert bench.trawl("pause", job)[1].startswith(f"job {job} is already paused; ")
    bench.cluster.health.beat("celery@a")
    for asked in ("status",), ("status", job):
        assert f"trawl resume {job}` resumes it." in bench.trawl(*asked)[1]
    assert bench.trawl("gc", "--older-than", "0")[1] == "", "not even if it is old"
    with StandInWorker(bench.settings):
        other = bench.enqueue(20)
        assert bench.trawl("follow", other, "-o", "other", "--quiet")[0] == 0
        assert sum(bench.record(job).counts.values()) == 0

        assert bench.trawl("resume", job)[:2] == (0, f"job {job} is resumed\n")
        code, out, err = bench.trawl("follow", job, "-o", "out", "--json")

    assert (code, json.loads(out)["ok"]) == (0, 300), err
    assert bench.trawl("resume", job)[:2] == (0, f"job {job} is not paused\n")


def test_a_cancelled_job_has_its_rows_without_a_worker(bench: Bench) -> None:
    job = bench.enqueue(95)

    assert bench.trawl("cancel", job)[:2] == (0, f"job {job} is cancelled\n")

    code, out, err = bench.trawl("follow", job, "-o", "out", "--json")
    summary = json.loads(out)
    assert (code, summary["finished"], summary["cancelled"]) == (1, True, True), err
    assert (summary["lines"], summary["failed"], summary["errors"], summary["not_read"]) == (
        95,
        95,
        {"cancelled": 95},
        0,
    )
    assert Counter(row["url"] for row in bench.rows()) == Counter(urls(95))
    assert f"Job {job} is cancelled" in err
    assert bench.trawl("cancel", job)[:2] == (0, f"job {job} is already cancelled\n")
    code, _, err = bench.trawl("pause", job)
    assert (code, err) == (2, f"trawl: Job {job} is cancelled: there is nothing left to pause.\n")


def test_a_cancelled_run_has_a_row_for_every_line_and_the_next_fetches_the_rest(bench: Bench) -> None:
    """Guards ``Feeder.cancel`` and the sums. How much of the list is read ahead is not tested here."""
    bench.write_list(*urls(MANY), "# a comment is no line", "", urls(1)[0])
    with StandInWorker(bench.settings, limit=20):
        process = bench.start(*RUN)
        bench.await_rows(200)
        bench.await_batches(250)
        assert bench.trawl("cancel", "-o", "out")[0] == 0
        code, summary, err = ended(process)

    assert (code, summary["cancelled"], summary["ok"]) == (1, True, 200), err
    assert summary["failed"] == summary["errors"]["cancelled"] >= 2000
    endings = sum(summary[name] for name in ("ok", "kept", "failed", "refused", "duplicates", "not_read"))
    assert summary["lines"] == endings == MANY + 1
    with StandInWorker(bench.settings):
        code, out, err = bench.trawl(*RUN)
    again = json.loads(out)
    assert (code, again["cancelled"], again["not_read"]) == (0, False, 0), err
    assert again["job"] != summary["job"]
    assert (again["kept"], again["ok"], again["duplicates"]) == (200, MANY - 200, 1)


def test_a_run_that_was_killed_then_cancelled_ends_at_its_next_start(bench: Bench) -> None:
    process = begin_run(bench, MANY)
    process.kill()
    process.communicate()
    assert bench.trawl("cancel", bench.job())[0] == 0

    code, summary, err = ended(bench.start(*RUN))

    assert (code, summary["cancelled"], summary["ok"]) == (1, True, 0), err
    assert summary["failed"] + summary["not_read"] == MANY
    assert Counter(row["url"] for row in bench.rows()) == Counter(urls(summary["failed"]))
    with StandInWorker(bench.settings):
        assert bench.trawl(*RUN)[0] == 0


def test_unread_lines_of_a_stream_are_unknown(bench: Bench) -> None:
    process = begin_with_open_end(bench, 30, "run", "-", "-o", "out", "--json")

    assert bench.trawl("cancel", bench.job())[0] == 0

    await_condition(lambda: process.poll() is not None, within=60, what="the run to end with its list open")
    code, summary, err = ended(process)
    assert code == 1, err
    assert (summary["lines"], summary["failed"], summary["not_read"]) == (30, 30, None)


def test_a_cancelled_enqueue_ends_and_its_follower_has_the_sums(bench: Bench) -> None:
    """Guards the check by ``enqueue`` whether its job was cancelled, and that a follower waits for its totals."""
    process = begin_with_open_end(bench, 45, "enqueue", "-", "--batch-size", "10")
    job = bench.job()

    assert bench.trawl("cancel", job)[0] == 0
    code, out, err = bench.trawl("follow", job, "-o", "out", "--json")

    said = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, said) == (1, f"trawl: Job {job} was cancelled while it was enqueued.\n")
    summary = json.loads(out)
    assert (code, summary["lines"], summary["failed"], summary["not_read"]) == (1, 45, 45, None), err


def test_a_paused_job_stays_paused_at_the_next_start_which_says_how_to_resume(bench: Bench) -> None:
    process = begin_run(bench)
    job = bench.job()
    assert bench.trawl("pause", "-o", "out")[0] == 0
    process.kill()
    process.communicate()

    with StandInWorker(bench.settings) as worker:
        process = bench.start(*RUN)
        assert process.stderr is not None
        said = b""
        while f"trawl resume {job}` resumes it.".encode() not in said:
            said = process.stderr.readline()
            assert said, "it ended"
        assert worker.batches == []
        assert bench.trawl("resume", job)[0] == 0
        code, summary, err = ended(process)

    assert (code, summary["ok"]) == (0, 100)
    assert f"Job {job} is resumed." in err


def test_a_paused_job_that_redis_has_lost_comes_back_paused(bench: Bench) -> None:
    """Guards what the journal notes: workers would start what a user stopped."""
    process = begin_run(bench)
    job = bench.job()
    assert bench.trawl("pause", job)[0] == 0
    await_condition(lambda: bench.facts().get("halted") == "paused", within=60, what="the run to note it")

    emptied(bench, process)

    await_condition(lambda: bench.drains(job), within=60, what="the run to send its job again")
    assert bench.record(job).is_paused
    assert bench.trawl("resume", job)[0] == 0
    with StandInWorker(bench.settings):
        code, summary, err = ended(process)
    assert (code, summary["ok"]) == (0, 100), err


def test_a_cancelled_job_that_redis_has_lost_comes_back_cancelled(bench: Bench) -> None:
    process = begin_run(bench)
    job = bench.job()
    bench.cluster.ledger.lease = 600.0
    assert bench.cluster.ledger.claim_next(holder="one that never ends", waited=0.0)
    assert bench.trawl("cancel", job, "--no-wait")[0] == 0
    await_condition(lambda: bench.facts().get("halted") == "cancelled", within=60, what="the run to note it")
    with StandInWorker(bench.settings) as worker:
        emptied(bench, process)
        code, summary, err = ended(process)

    assert (code, summary["cancelled"], summary["errors"]) == (1, True, {"cancelled": 100}), err
    assert worker.batches == []


def test_a_suspended_commands_pause_ends_with_its_next_start(bench: Bench) -> None:
    """Guards ``Halts.begin``: a command that was killed while suspended cannot resume its job."""
    process = stopped_run(bench)
    process.kill()
    process.communicate()

    with StandInWorker(bench.settings):
        code, summary, err = ended(bench.start(*RUN))

    assert (code, summary["ok"]) == (0, 100), err


def test_a_suspended_commands_pause_ends_when_its_terminal_is_closed(bench: Bench) -> None:
    """Guards the SIGHUP that a stopped command gets with the SIGCONT: nothing else would end its pause."""
    process = stopped_run(bench)

    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)

    assert process.returncode == -signal.SIGHUP
    assert not bench.record(bench.job()).is_paused


def test_an_impossible_change_is_one_sentence(bench: Bench) -> None:
    mistakes: dict[tuple[str, ...], str] = {
        ("pause", "unheard-of"): "No job unheard-of is known on this cluster",
        ("set", "unheard-of", "--priority", "2"): "No job unheard-of is known on this cluster",
        ("follow", "unheard-of", "-o", "nowhere"): "No job unheard-of is known on this cluster",
        ("resume", "-o", "nowhere"): "There is no job in nowhere: name the folder of a `trawl run` with -o.",
        ("cancel",): "Name a JOB (",
        ("cancel", "a-job", "-o", "out"): "not both",
        ("set", "unheard-of"): "--priority or --weight",
        ("pause", "a\x1b[31m"): "known on this cluster",
    }

    started = [(bench.start(*arguments), sentence) for arguments, sentence in mistakes.items()]

    for process, sentence in started:
        _, err = process.communicate(timeout=ENOUGH)
        assert (process.returncode, sentence in err.decode()) == (2, True), err
        assert b"Traceback" not in err
        assert b"\x1b" not in err
    assert not (bench.folder / "nowhere").exists()


def test_a_waiting_job_can_be_changed_and_a_finished_one_neither_paused_nor_cancelled(bench: Bench) -> None:
    job = bench.enqueue(10)
    assert bench.trawl("set", job, "--priority", "3", "--weight", "2").out == f"job {job}: priority 3, weight 2\n"
    record = bench.record(job)
    assert (record.priority, record.weight) == (3, 2.0)
    with StandInWorker(bench.settings):
        assert bench.trawl("follow", job, "-o", "out", "--quiet").code == 0
    for command in ("pause", "cancel"):
        code, _, err = bench.trawl(command, job)
        assert (code, err) == (2, f"trawl: Job {job} is finished: there is nothing left to {command}.\n")


@contextmanager
def server_that_ends_once_seen(folder: Path) -> Iterator[None]:
    """The server of a run in this folder: there when it is looked for, and gone when it is asked."""
    path = str(folder / "s")
    note_address(folder / "out/.trawl", path, {"TRAWL_BROKER_URL": f"redis+socket://{path}"})

    with socket.socket(socket.AF_UNIX) as server:

        def end_once_seen() -> None:
            server.accept()[0].close()
            os.unlink(path)
            server.close()

        server.bind(path)
        server.listen(1)
        ending = threading.Thread(target=end_once_seen)
        ending.start()
        yield
        ending.join()


@pytest.mark.parametrize(
    ("is_finished", "sentence", "state"),
    [
        (True, "Job j1 of out is finished.", "job j1 is finished"),
        (False, "No trawl run is working in out: ", "job j1 is not finished"),
    ],
)
def test_a_run_that_ends_during_a_command_is_not_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_finished: bool, sentence: str, state: str
) -> None:
    """Guards the checks of both commands whether the run has ended."""
    monkeypatch.chdir(tmp_path)
    with closing(Journal(tmp_path / "out/.trawl")) as journal:
        journal.note(job="j1", finished=is_finished)
    (tmp_path / "out/.trawl/redis").mkdir()

    with server_that_ends_once_seen(tmp_path), pytest.raises(JobStateError) as raised:
        cancel_job(None, Path("out"), Producer({}))
    with server_that_ends_once_seen(tmp_path):
        shown = show_status(Target(output=Path("out")), Producer({}))

    assert str(raised.value).startswith(sentence)
    assert shown.startswith(f"Nothing runs in out: {state}")


@pytest.mark.parametrize("waits", [True, False])
def test_cancelling_succeeds_even_if_the_run_and_its_server_end(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Guards _run_may_end: an accepted change holds, even if no server is left to end what waits."""
    settle = JobControl.settle

    def settle_too_late(control: JobControl) -> int:
        bench.server.stop()
        return settle(control)

    monkeypatch.setattr(JobControl, "settle", settle_too_late)
    job = bench.enqueue(10)
    with closing(Journal(tmp_path / "out/.trawl")) as journal:
        journal.note(job=job)
    (tmp_path / "out/.trawl/redis").mkdir()
    note_address(tmp_path / "out/.trawl", str(bench.server.socket_path), bench.environment)

    assert cancel_job(None, tmp_path / "out", Producer({}), waits=waits) == f"job {job} is cancelled"


def test_a_job_whose_command_has_other_options_now_is_cancelled(bench: Bench) -> None:
    """Guards _give_up: workers went on fetching what no one would collect, with the old limits."""
    killed = begin_run(bench, 30)
    killed.kill()
    killed.wait()
    job = bench.job()

    again = bench.start(*RUN, "--per-host", "2")
    await_condition(lambda: bench.record(job).is_cancelled, within=60, what="the first job's end")
    with StandInWorker(bench.settings) as worker:
        code, summary, err = ended(again)

    assert code == 0, err
    assert f"The unfinished job in this folder, {job}, has other options (--per-host): it is cancelled" in err
    assert (summary["ok"], summary["batches"]) == (30, len(worker.batches)), "none is of the first job"


def test_a_script_pauses_resumes_and_cancels(bench: Bench) -> None:
    with StandInWorker(bench.settings, limit=0) as worker:
        client = Client(bench.cluster)
        first, second = (client.enqueue(urls(50), batch_size=10) for _ in range(2))
        assert first.pause()
        assert not first.pause()
        assert first.state == "paused"
        assert client.job(second.id).cancel()
        assert {str(outcome.error) for outcome in second.outcomes()} == {"cancelled"}
        worker.limit = 1000
        assert client.job(first.id).resume()
        first.change(priority=1, weight=2.0)
        assert [str(outcome.ending) for outcome in first.outcomes()] == ["ok"] * 50
        assert control.state_of(bench.cluster.ledger, second.id) == "cancelled"
