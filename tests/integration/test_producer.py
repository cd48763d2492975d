"""Running, enqueueing and following against a real Redis; the worker is a stand-in that fetches nothing.

What is tested is the promise: every line one row, whoever is killed or restarted or emptied meanwhile.
"""

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from contract.records.batches import BatchEntry
from contract.records.outcomes import Outcome
from contract.urls.naming import output_name
from tests.support.commands import Bench, every_url_once, urls
from tests.support.person import ENOUGH, Person
from tests.support.processes import await_condition
from tests.support.stand_in_worker import BODY, StandInWorker, everything_ok, failed


def slowly(seconds: float) -> Callable[[BatchEntry], Outcome]:
    def answer(entry: BatchEntry) -> Outcome:
        time.sleep(seconds)
        return everything_ok(entry)

    return answer


def test_every_line_becomes_one_row_and_the_sums_are_shown(bench: Bench) -> None:
    listed = bench.write_list(*urls(50), urls(1)[0], "ftp://x/", "# note", "", "http://user:secret@x/")

    with StandInWorker(
        bench.settings, lambda entry: failed(entry) if entry.url.endswith("3") else everything_ok(entry)
    ):
        code, summary, err = bench.run(listed, "-o", "out")

    assert code == 1
    sums = {"lines": 53, "ok": 45, "failed": 5, "refused": 2, "duplicates": 1}
    assert {each: summary[each] for each in sums} == sums
    assert summary["errors"] == {"http-4xx": 5, "refused-url": 2}
    assert len(bench.rows()) == 52
    assert [row["detail"].split(":")[0] for row in bench.rows() if row["outcome"] == "refused"] == [
        "line 52",
        "line 55",
    ]
    assert "Traceback" not in err


def test_the_same_list_again_is_kept_unless_forced(bench: Bench) -> None:
    listed = bench.write_list(*urls(20))

    with StandInWorker(bench.settings):
        first = bench.run(listed, "-o", "out")[1]
        for url in urls(20):
            (bench.folder / "out" / output_name(url)).write_bytes(BODY)  # on this machine: the worker has its own disk
        second = bench.run(listed, "-o", "out")[1]
        compared_by = {row["worker"] for row in bench.rows()}
        third = bench.run(listed, "-o", "out", "--force")[1]

    assert [summary["ok"] for summary in (first, second, third)] == [20, 0, 20]
    assert (second["kept"], compared_by) == (20, {"stand-in"})
    assert (bench.folder / "out" / f"manifest-{first['job']}.jsonl").is_file()
    assert (bench.folder / "out" / f"manifest-{second['job']}.jsonl").is_file()


def test_server_text_in_the_manifest_cannot_control_a_terminal(bench: Bench) -> None:
    """Guards the escapes, and that the next run still finds the rows that follow."""
    listed = bench.write_list(*urls(20))
    said = "text/\x9b31m"

    with StandInWorker(bench.settings, lambda entry: replace(everything_ok(entry), content_type=said)):
        bench.run(listed, "-o", "out")
        first = bench.rows()
        bench.run(listed, "-o", "out")

    assert {row["content_type"] for row in first} == {said}
    assert {(row["outcome"], row["content_type"]) for row in bench.rows()} == {("kept", said)}
    assert b"\xc2\x9b" not in bench.manifest().read_bytes()


def test_a_killed_producer_resumes_and_no_url_gets_two_rows(bench: Bench) -> None:
    listed = bench.write_list(*urls(1000))
    command = ("run", listed, "-o", "out", "--batch-size", "5", "--json")

    with StandInWorker(bench.settings, slowly(0.004), limit=0) as worker:
        for rows_at_least in (20, 120, 250):
            worker.limit = rows_at_least // 5 + 30  # more than it is killed at, less than the list
            process = bench.start(*command)
            bench.await_rows(rows_at_least)
            process.kill()
            process.communicate()
            with bench.manifest().open("ab") as file:
                file.write(b'{"url":"http://torn')
        worker.limit = math.inf
        code, out, err = bench.trawl(*command)

    assert code == 0, err
    assert "Resuming job" in err
    assert every_url_once(bench.rows(), urls(1000))
    assert json.loads(out)["ok"] == 1000


def test_a_redis_emptied_under_a_running_job_loses_nothing(bench: Bench) -> None:
    listed = bench.write_list(*urls(300), "ftp://refused/")

    with StandInWorker(bench.settings, slowly(0.003)) as worker:
        process = bench.start("run", listed, "-o", "out", "--batch-size", "10", "--json")
        for rows_at_least in (10, 100):
            worker.limit = len(worker.batches) + 15  # half of the list at most: it is not over when Redis is emptied
            bench.await_rows(rows_at_least)
            bench.cluster.redis.flushall()
        worker.limit = math.inf
        _, err = process.communicate(timeout=ENOUGH)

    assert process.returncode == 1
    assert b"Redis lost this job" in err
    assert every_url_once(bench.rows(), [*urls(300), "ftp://refused/"])


def test_enqueue_and_follow_are_run_in_two_halves(bench: Bench) -> None:
    listed = bench.write_list(*urls(80), "ftp://x/", urls(1)[0])

    code, out, err = bench.trawl("enqueue", listed, "--batch-size", "10")
    job = out.strip()
    waiting = bench.trawl("status", job)[1]
    with StandInWorker(bench.settings):
        followed = bench.trawl("follow", job, "-o", "out", "--json")
    again = bench.trawl("follow", job, "-o", "out", "--json")
    listing = bench.trawl("status")[1]

    assert code == 0, err
    assert "waiting" in waiting
    assert followed[0] == again[0] == 1
    assert json.loads(followed[1])["ok"] == json.loads(again[1])["ok"] == 80
    assert every_url_once(bench.rows(), [*urls(80), "ftp://x/"])
    assert job in listing
    assert "finished" in listing
    assert not any((bench.folder / "home" / ".cache" / "trawlnet").iterdir())


def test_a_killed_enqueue_resumes_the_same_job(bench: Bench) -> None:
    lines = "".join(f"{url}\n" for url in urls(40_000)).encode()
    read, write = os.pipe()
    process = bench.start("enqueue", "-", "--batch-size", "50", "-q", stdin=read)
    os.close(read)
    threading.Thread(target=lambda: os.write(write, lines[: len(lines) // 2]), daemon=True).start()
    bench.await_batches(6)
    job = bench.job()
    process.kill()
    process.communicate()
    os.close(write)

    other = bench.trawl("enqueue", "-", "--batch-size", "50", stdin=b"http://another/list\n" * 1000)
    code, out, err = bench.trawl("enqueue", "-", "--batch-size", "50", stdin=lines)

    assert other[0] == 2
    assert "--fresh" in other[2]
    assert (code, out.strip()) == (0, job), err
    assert bench.record(job).totals == {"lines": 40_000, "duplicates": 0, "refused": 0, "urls": 40_000}


def test_standard_input_is_read_as_it_comes(bench: Bench) -> None:
    read, write = os.pipe()
    process = bench.start("run", "-", "-o", "out", "--json", stdin=read)
    os.close(read)
    with StandInWorker(bench.settings):
        os.write(write, b"\xef\xbb\xbfhttp://a/\r\nhttp://b/\n")
        bench.await_rows(2)  # before the list has ended
        os.write(write, b"http://c/")
        os.close(write)
        out, err = process.communicate(timeout=ENOUGH)

    assert json.loads(out)["ok"] == 3, err
    assert every_url_once(bench.rows(), ["http://a/", "http://b/", "http://c/"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "absent.txt"), "absent.txt cannot be read: no such file or directory."),
        (("run", "empty.txt"), "empty.txt holds no URLs"),
        (("run", "."), "is a folder"),
        (("run", "urls.txt", "-o", "urls.txt"), "is not a folder"),
        (("run", "urls.txt", "--manifest", "urls.txt"), "is not a Trawlnet manifest"),
        (("demo", "-o", "."), "urls.txt is not the demo's list"),
        (("demo", "-o", "urls.txt"), "is not a folder"),
        (("run", "urls.txt", "--allow-net", "nonsense"), "--allow-net"),
        (("run", "urls.txt", "--header", "nonsense"), "--header must look like"),
        (("status", "no-such-job"), "No job no-such-job"),
        (("enqueue", "empty.txt"), "empty.txt holds no URLs"),
    ],
)
def test_a_users_mistake_is_one_sentence(bench: Bench, arguments: tuple[str, ...], said: str) -> None:
    bench.write_list(*urls(3))
    bench.write_list("", "# nothing", name="empty.txt")

    code, out, err = bench.trawl(*arguments)

    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "url", "said"),
    [
        ("run", "redis://127.0.0.1:1/0", "cannot be reached"),
        ("enqueue", "redis+socket:///nowhere/redis.sock", "cannot be reached"),
        ("run", "nonsense", "names no broker"),
        ("run", "amqp://localhost//", "must be a Redis URL"),
        ("status", "redis://host-that-does-not-exist.invalid/0", "cannot be reached"),
    ],
)
def test_an_unreachable_broker_is_one_sentence(person: Person, command: str, url: str, said: str) -> None:
    person.write_list(*urls(3))
    arguments = () if command == "status" else ("urls.txt",)

    # A machine without a name server says so after seconds that are its own.
    code, out, err = person.trawl(command, *arguments, TRAWL_BROKER_URL=url, RES_OPTIONS="timeout:1 attempts:1")

    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_paths_that_are_not_utf_8_are_shown_and_used(bench: Bench) -> None:
    name = os.fsdecode(b"l\xff.txt")
    bench.write_list(*urls(2), "ftp://x/", name=name)
    bench.write_list(*urls(3), name="other.txt")

    with StandInWorker(bench.settings):
        code, out, err = bench.trawl("run", name, "other.txt", "-o", os.fsdecode(b"o\xfft"), LC_ALL="C", PYTHONUTF8="0")

    assert code == 1, err
    assert "Traceback" not in err
    assert "3 ok" in out
    rows = [
        json.loads(line)
        for line in (bench.folder / os.fsdecode(b"o\xfft") / "manifest.jsonl").read_bytes().splitlines()
    ]
    assert len(rows) == 4
    assert "is finished" in bench.trawl("status", "-o", os.fsdecode(b"o\xfft"), LC_ALL="C", PYTHONUTF8="0").out


def test_a_job_that_does_not_add_up_has_an_exit_code_of_its_own(bench: Bench) -> None:
    # Protects Summary.check: a line more in the journal than was ever opened is a line without an outcome.
    listed = bench.write_list(*urls(10))
    process = bench.start("run", listed, "-o", "out")
    journal = bench.folder / "out" / ".trawl" / "journal.sqlite"
    # Sealed: the journal has every line, so that the resumed run reads none and counts none again.
    await_condition(
        lambda: (record := bench.newest()) and record.is_sealed, within=60, what="a job whose list was read"
    )
    process.terminate()
    process.communicate(timeout=ENOUGH)
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE facts SET value = '11' WHERE key = 'lines'")
    database.close()

    with StandInWorker(bench.settings):
        code, _, err = bench.trawl("run", listed, "-o", "out")

    assert code == 3
    assert "do not add up" in err
