"""Running, enqueueing and following against a real Redis; the worker is a stand-in that fetches nothing.

What is tested is the promise: every line one row, whoever is killed or restarted or emptied meanwhile.
"""

import json
import math
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from contract.cluster.settings import ClusterSettings
from contract.ledger.memory import FULL_ABOVE
from contract.records.batches import BatchEntry
from contract.records.outcomes import Outcome
from producer.cluster.client import Cluster
from tests.support.person import ENOUGH, Person
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.stand_in_worker import StandInWorker, everything_ok, failed


class Bench(Person):
    """A Redis, and a person whose shell names it."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        super().__init__(folder, TRAWL_BROKER_URL=server.celery_url(), TRAWL_LEASE="2")
        self.server = server
        self.settings = ClusterSettings(broker_url=server.celery_url(), result_backend=server.celery_url(), lease=2.0)

    def run(self, *arguments: object) -> tuple[int, dict[str, Any], str]:
        code, out, err = self.trawl("run", *arguments, "--json")
        assert out, err
        return code, json.loads(out), err


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with RedisServer(tmp_path / "redis", unix=True) as server:
        bench = Bench(server, tmp_path)
        yield bench
        bench.leave()


def urls(count: int) -> list[str]:
    return [f"http://h{number % 7}.example/{number}" for number in range(count)]


def slowly(seconds: float) -> Callable[[BatchEntry], Outcome]:
    def answer(entry: BatchEntry) -> Outcome:
        time.sleep(seconds)
        return everything_ok(entry)

    return answer


def every_url_once(rows: list[dict[str, Any]], expected: list[str]) -> bool:
    return Counter(row["url"] for row in rows) == Counter(expected)


def test_every_line_becomes_one_row_and_the_sums_are_told(bench: Bench) -> None:
    listed = bench.write_list(*urls(50), urls(1)[0], "ftp://x/", "# note", "", "http://user:secret@x/")

    with StandInWorker(
        bench.settings, lambda entry: failed(entry) if entry.url.endswith("3") else everything_ok(entry)
    ):
        code, summary, err = bench.run(listed, "-o", "out")

    assert code == 1
    assert (summary["lines"], summary["ok"], summary["failed"], summary["refused"], summary["duplicates"]) == (
        53,
        45,
        5,
        2,
        1,
    )
    assert summary["errors"] == {"http-4xx": 5, "refused-url": 2}
    assert len(bench.rows()) == 52
    assert [row["detail"].split(":")[0] for row in bench.rows() if row["outcome"] == "refused"] == [
        "line 52",
        "line 55",
    ]
    assert "Traceback" not in err


def test_the_same_list_again_is_kept_and_forced_is_fetched(bench: Bench) -> None:
    listed = bench.write_list(*urls(20))

    with StandInWorker(bench.settings):
        first = bench.run(listed, "-o", "out")[1]
        second = bench.run(listed, "-o", "out")[1]
        third = bench.run(listed, "-o", "out", "--force")[1]

    assert [summary["ok"] for summary in (first, second, third)] == [20, 0, 20]
    assert second["kept"] == 20
    assert (bench.folder / "out" / f"manifest-{first['job']}.jsonl").is_file()
    assert (bench.folder / "out" / f"manifest-{second['job']}.jsonl").is_file()


def test_a_killed_producer_goes_on_and_no_url_gets_two_rows(bench: Bench) -> None:
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
    assert "Going on with job" in err
    assert every_url_once(bench.rows(), urls(1000))
    assert json.loads(out)["ok"] == 1000


def test_a_redis_emptied_under_a_running_job_loses_nothing(bench: Bench) -> None:
    listed = bench.write_list(*urls(300), "ftp://refused/")
    cluster = Cluster(bench.settings)

    with StandInWorker(bench.settings, slowly(0.003)) as worker:
        process = bench.start("run", listed, "-o", "out", "--batch-size", "10", "--json")
        for rows_at_least in (10, 100):
            worker.limit = len(worker.batches) + 15  # half of the list at most: it is not over when Redis is emptied
            bench.await_rows(rows_at_least)
            cluster.redis.flushall()
        worker.limit = math.inf
        _, err = process.communicate(timeout=ENOUGH)

    assert process.returncode == 1
    assert b"Redis lost this job" in err
    assert every_url_once(bench.rows(), [*urls(300), "ftp://refused/"])
    cluster.close()


def test_a_redis_that_is_killed_and_comes_back_is_waited_for(bench: Bench) -> None:
    listed = bench.write_list(*urls(300))

    with StandInWorker(bench.settings, slowly(0.003), limit=15) as worker:
        process = bench.start("run", listed, "-o", "out", "--batch-size", "10")
        bench.await_rows(1)
        bench.server.restart()
        worker.limit = math.inf
        _, err = process.communicate(timeout=ENOUGH)

    assert process.returncode == 0, err
    assert err.count(b"cannot be reached") <= 1
    assert b"Traceback" not in err
    assert every_url_once(bench.rows(), urls(300))


def test_what_a_worker_hands_off_is_followed_to_its_end(bench: Bench) -> None:
    listed = bench.write_list(*urls(60))
    refusals: Counter[str] = Counter()

    def third_time(entry: BatchEntry) -> Outcome | None:
        refusals[entry.url] += 1
        return everything_ok(entry) if refusals[entry.url] == 3 or entry.url.endswith("0") else None

    with StandInWorker(bench.settings, third_time):
        code, summary, _ = bench.run(listed, "-o", "out", "--batch-size", "20")

    assert (code, summary["ok"]) == (0, 60)
    assert every_url_once(bench.rows(), urls(60))


def test_two_producers_with_one_list_in_two_folders_are_two_jobs(bench: Bench) -> None:
    listed = bench.write_list(*urls(40))

    with StandInWorker(bench.settings, slowly(0.002)):
        processes = [bench.start("run", listed, "-o", folder, "--batch-size", "5", "-q") for folder in ("a", "b")]
        codes = [process.wait(ENOUGH) for process in processes]
        for process in processes:
            process.communicate()

    assert codes == [0, 0]
    assert every_url_once(bench.rows("a"), urls(40))
    assert every_url_once(bench.rows("b"), urls(40))


def test_a_second_run_in_one_folder_is_told_so(bench: Bench) -> None:
    listed = bench.write_list(*urls(3))
    let_go = threading.Event()

    def wait(entry: BatchEntry) -> Outcome:
        let_go.wait(ENOUGH)
        return everything_ok(entry)

    with StandInWorker(bench.settings, wait):
        first = bench.start("run", listed, "-o", "out", "-q")
        await_condition((bench.folder / "out/manifest.jsonl").exists, within=60, what="the first run")
        code, out, err = bench.trawl("run", listed, "-o", "out")
        let_go.set()
        first.communicate(timeout=ENOUGH)

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Another trawl is working in" in err
    assert first.returncode == 0


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


def test_a_killed_enqueue_goes_on_with_the_same_job(bench: Bench) -> None:
    cluster = Cluster(bench.settings)
    lines = "".join(f"{url}\n" for url in urls(40_000)).encode()
    read, write = os.pipe()
    process = bench.start("enqueue", "-", "--batch-size", "50", "-q", stdin=read)
    os.close(read)
    threading.Thread(target=lambda: os.write(write, lines[: len(lines) // 2]), daemon=True).start()
    job = await_condition(lambda: next(iter(cluster.ledger.jobs()), None), within=60, what="the job")
    await_condition(lambda: (record := cluster.ledger.job(job)) and record.open > 5, within=60, what="some batches")
    process.kill()
    process.communicate()
    os.close(write)

    other = bench.trawl("enqueue", "-", "--batch-size", "50", stdin=b"http://another/list\n" * 1000)
    code, out, err = bench.trawl("enqueue", "-", "--batch-size", "50", stdin=lines)
    record = cluster.ledger.job(job)
    cluster.close()

    assert other[0] == 2
    assert "--fresh" in other[2]
    assert (code, out.strip()) == (0, job), err
    assert record is not None
    assert record.totals == {"lines": 40_000, "duplicates": 0, "refused": 0, "urls": 40_000}


def test_a_killed_follower_goes_on(bench: Bench) -> None:
    listed = bench.write_list(*urls(300))
    job = bench.trawl("enqueue", listed, "--batch-size", "5")[1].strip()

    with StandInWorker(bench.settings, slowly(0.003), limit=30) as worker:
        process = bench.start("follow", job, "-o", "out")
        bench.await_rows(1)
        process.kill()
        process.communicate()
        worker.limit = math.inf
        code, out, err = bench.trawl("follow", job, "-o", "out", "--json")

    assert code == 0, err
    assert json.loads(out)["ok"] == 300
    assert every_url_once(bench.rows(), urls(300))


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


def test_an_interrupted_run_says_how_to_go_on(bench: Bench) -> None:
    listed = bench.write_list(*urls(10))
    process = bench.start("run", listed, "-o", "out")
    await_condition((bench.folder / "out/manifest.jsonl").exists, within=60, what="the run")

    process.terminate()
    _, err = process.communicate(timeout=ENOUGH)
    with StandInWorker(bench.settings):
        code, summary, _ = bench.run(listed, "-o", "out")

    assert process.returncode == 130
    assert b"The same command" in err
    assert (code, summary["ok"]) == (0, 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "absent.txt"), "absent.txt cannot be read"),
        (("run", "empty.txt"), "empty.txt holds no URLs"),
        (("run", "."), "is a folder"),
        (("run", "urls.txt", "-o", "urls.txt"), "is not a folder"),
        (("run", "urls.txt", "--manifest", "urls.txt"), "is not a Trawlnet manifest"),
        (("follow", "no-such-job", "--manifest", "urls.txt"), "is not a Trawlnet manifest"),
        (("demo", "-o", "."), "urls.txt is not the demo's list"),
        (("demo", "-o", "urls.txt"), "is not a folder"),
        (("run", "urls.txt", "--allow-net", "nonsense"), "--allow-net"),
        (("run", "urls.txt", "--header", "nonsense"), "--header must look like"),
        (("follow", "no-such-job", "-o", "elsewhere"), "No job no-such-job"),
        (("status", "no-such-job"), "No job no-such-job"),
        (("enqueue", "empty.txt"), "empty.txt holds no URLs"),
    ],
)
def test_what_a_person_gets_wrong_is_one_sentence(bench: Bench, arguments: tuple[str, ...], said: str) -> None:
    bench.write_list(*urls(3))
    bench.write_list("", "# nothing", name="empty.txt")

    code, out, err = bench.trawl(*arguments)

    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:1/0", "cannot be reached"),
        ("redis+socket:///nowhere/redis.sock", "cannot be reached"),
        ("nonsense", "names no broker"),
        ("amqp://localhost//", "must be a Redis URL"),
        ("redis://host-that-does-not-exist.invalid/0", "cannot be reached"),
    ],
)
@pytest.mark.parametrize("command", ["run", "enqueue", "status"])
def test_a_broker_that_cannot_be_reached_is_one_sentence(bench: Bench, command: str, url: str, said: str) -> None:
    bench.write_list(*urls(3))
    arguments = () if command == "status" else ("urls.txt",)

    # A machine without a name server says so after seconds that are its own.
    code, out, err = bench.trawl(command, *arguments, TRAWL_BROKER_URL=url, RES_OPTIONS="timeout:1 attempts:1")

    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_gc_removes_what_is_over_and_nothing_else(bench: Bench) -> None:
    listed = bench.write_list(*urls(5))
    with StandInWorker(bench.settings):
        finished = bench.run(listed, "-o", "out")[1]["job"]
    waiting = bench.trawl("enqueue", listed)[1].strip()

    removed = bench.trawl("gc")
    refused = bench.trawl("gc", waiting)
    named = bench.trawl("gc", waiting, "--force")
    again = bench.trawl("gc", waiting)
    cluster = Cluster(bench.settings)
    left = list(cluster.redis.keys("trawl:2:job:*"))
    cluster.close()

    assert removed[:2] == (0, f"removed job {finished}\n")
    assert refused[:2] == (2, "")
    assert f"Job {waiting} still has 5 open batches: --force removes it anyway." in refused[2]
    assert named[:2] == (0, f"removed job {waiting}\nremoved 5 messages of jobs that are over\n")
    assert again[0] == 2
    assert left == []


def test_a_redis_that_is_nearly_full_and_evicts_is_told_of_and_waited_for(bench: Bench) -> None:
    """Guards the state of the loop, which said "waiting for a worker", and the look at the policy at the start."""
    listed = bench.write_list(*urls(20))
    with closing(Cluster(bench.settings)) as cluster, StandInWorker(bench.settings):
        used = int(cluster.redis.info("memory")["used_memory"])
        cluster.redis.config_set("maxmemory-policy", "allkeys-lru")
        cluster.redis.config_set("maxmemory", int(used / 0.75))
        process = bench.start("run", listed, "-o", "out")
        assert process.stderr is not None
        lines = (line.decode() for line in iter(process.stderr.readline, b""))
        assert any("allkeys-lru" in line and "set maxmemory-policy noeviction" in line for line in lines)
        assert any("% full; nothing is sent above 70 %: " in line for line in lines)
        assert any(line.rstrip().endswith("% full; nothing is sent above 70 %.") for line in lines), "while it waits"
        cluster.redis.config_set("maxmemory", 0)
        process.communicate(timeout=100)

    assert process.returncode == 0
    assert every_url_once(bench.rows(), urls(20))


def test_a_restart_sends_no_message_for_what_has_one(bench: Bench) -> None:
    """Guards the count of messages: 8 kills left 1,116 of them for 125 batches, and the next job waited behind them."""
    listed = bench.write_list(*urls(600))
    cluster = Cluster(bench.settings)
    with closing(cluster):
        for _ in range(4):
            process = bench.start("run", listed, "-o", "out", "--batch-size", "20")
            await_condition(
                lambda: cluster.redis.llen("trawl:trawl") >= cluster.ledger.count_waiting() >= 30,
                within=30,
                what="a message for each batch",
            )
            process.kill()
            process.communicate()
        assert cluster.redis.llen("trawl:trawl") <= 1.1 * cluster.ledger.count_waiting()

        with StandInWorker(bench.settings):
            job = bench.run(listed, "-o", "out", "--batch-size", "20")[1]["job"]
        assert bench.trawl("gc", job)[0] == 0
        assert cluster.redis.llen("trawl:trawl") == 0


def test_a_message_a_killed_worker_had_taken_is_removed_with_its_job(bench: Bench) -> None:
    """Guards the look at ``unacked``: kombu would put it back after an hour, for no batch."""
    job = bench.trawl("enqueue", bench.write_list(*urls(1)))[1].strip()
    with closing(Cluster(bench.settings)) as cluster:
        taken = cluster.redis.rpop("trawl:trawl")
        others = json.dumps([{"body": "none of ours"}, "", "trawl"])
        assert isinstance(taken, bytes)
        ours = json.dumps([json.loads(taken), "", "trawl"])
        cluster.redis.hset("trawl:unacked", mapping={"ours": ours, "theirs": others})
        cluster.redis.zadd("trawl:unacked_index", {"ours": 1.0, "theirs": 1.0})
        cluster.redis.lpush("trawl:trawl", "none of ours")

        removed = bench.trawl("gc", job, "--force")

        assert removed[:2] == (0, f"removed job {job}\nremoved 1 message of jobs that are over\n")
        assert cluster.redis.hkeys("trawl:unacked") == cluster.redis.zrange("trawl:unacked_index", 0, -1) == [b"theirs"]
        assert cluster.redis.llen("trawl:trawl") == 1


def test_a_job_on_its_way_is_weighed(bench: Bench) -> None:
    jobs = [bench.trawl("enqueue", bench.write_list(*urls(400)))[1].strip() for _ in range(2)]

    weighed = bench.trawl("set", jobs[0], "--weight", "3")
    unknown = bench.trawl("set", "nobody", "--weight", "3")

    assert weighed[:2] == (0, f"job {jobs[0]}: weight 3\n")
    assert unknown[0] == 2
    assert "No job nobody is known on this cluster" in unknown[2]
    with closing(Cluster(bench.settings)) as cluster:
        had = Counter[str]()
        while sum(had.values()) < 400:
            claim = cluster.ledger.claim_next(holder="test", waited=0.0)
            assert claim is not None
            had[claim.job] += claim.urls
    assert 2.0 < had[jobs[0]] / had[jobs[1]] < 4.5


def test_redis_holds_nothing_but_a_record_once_a_job_was_followed(bench: Bench) -> None:
    listed = bench.write_list(*urls(500), "ftp://x/")
    with StandInWorker(bench.settings):
        job = bench.run(listed, "-o", "out", "--batch-size", "20")[1]["job"]

    cluster = Cluster(bench.settings)
    keys = {str(key, "utf-8", "replace") for key in cast("list[bytes]", cluster.redis.keys("*"))}
    cluster.close()

    assert {key for key in keys if job in key} == {f"trawl:2:job:{job}"}
    assert not any(key.startswith("celery-task-meta-") for key in keys)


def test_a_redis_out_of_memory_is_fed_again_once_it_was_drained(tmp_path: Path) -> None:
    # Long and random paths: nothing that compresses. The first refusal comes long before the list's end.
    lines = [f"http://h.example/{os.urandom(400).hex()}" for _ in range(8000)]
    with RedisServer(tmp_path / "redis", unix=True, maxmemory=3_500_000) as server:
        bench = Bench(server, tmp_path)
        listed = bench.write_list(*lines)
        process = bench.start("run", listed, "-o", "out", "--batch-size", "500", "--json")
        with redis.Redis.from_url(server.url()) as client:
            await_condition(lambda: has_no_room(client), within=60, what="a Redis out of memory")
            with StandInWorker(bench.settings):
                out, err = process.communicate(timeout=ENOUGH)
            has_refused = "errorstat_OOM" in client.info("errorstats")

    assert process.returncode == 0, err
    assert json.loads(out)["ok"] == 8000
    # A quick producer runs into the refusal and says so; a slow one looks at the memory first and waits.
    assert has_refused or b"Redis is out of memory" not in err
    assert every_url_once(bench.rows(), lines)


def has_no_room(client: redis.Redis) -> bool:
    memory = client.info("memory")
    return bool(memory["used_memory"] > FULL_ABOVE * memory["maxmemory"])


def test_a_job_is_collected_in_one_place(bench: Bench) -> None:
    listed = bench.write_list(*urls(20))
    job = bench.trawl("enqueue", listed)[1].strip()
    with StandInWorker(bench.settings):
        first = bench.trawl("follow", job, "-o", "here", "--json")
        second = bench.trawl("follow", job, "-o", "there")

    assert first[0] == 0
    assert (second[0], second[1]) == (2, "")
    assert "is already collected in" in second[2]
    assert "/here/manifest.jsonl" in second[2]
    assert second[2].count("\n") == 1


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


def test_a_job_that_does_not_add_up_has_an_exit_code_of_its_own(bench: Bench) -> None:
    # Protects Summary.check: a line more in the journal than was ever opened is a line without an outcome.
    listed = bench.write_list(*urls(10))
    process = bench.start("run", listed, "-o", "out")
    journal = bench.folder / "out" / ".trawl" / "journal.sqlite"
    cluster = Cluster(bench.settings)
    # Sealed: the journal has every line, so that the run that goes on reads none and counts none anew.
    await_condition(
        lambda: any((record := cluster.ledger.job(job)) and record.is_sealed for job in cluster.ledger.jobs()),
        within=60,
        what="a job whose list was read",
    )
    cluster.close()
    process.terminate()
    process.communicate(timeout=ENOUGH)
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE facts SET value = '11' WHERE key = 'lines'")
    database.close()

    with StandInWorker(bench.settings):
        code, _, err = bench.trawl("run", listed, "-o", "out")

    assert code == 3
    assert "do not add up" in err
