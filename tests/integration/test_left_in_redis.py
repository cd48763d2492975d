"""What a job leaves in Redis and what `trawl gc` removes; and a Redis that is full, or nearly."""

import json
import os
from pathlib import Path
from typing import cast

import redis

from contract.ledger.memory import FULL_ABOVE
from tests.support.commands import Bench, every_url_once, urls
from tests.support.person import ENOUGH
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.stand_in_worker import StandInWorker


def test_gc_removes_finished_jobs_only(bench: Bench) -> None:
    listed = bench.write_list(*urls(5))
    with StandInWorker(bench.settings):
        finished = bench.run(listed, "-o", "out")[1]["job"]
    waiting = bench.trawl("enqueue", listed)[1].strip()

    removed = bench.trawl("gc")
    refused = bench.trawl("gc", waiting)
    named = bench.trawl("gc", waiting, "--force")
    again = bench.trawl("gc", waiting)
    left = list(bench.cluster.redis.keys("trawl:2:job:*"))

    assert removed[:2] == (0, f"removed job {finished}\n")
    assert refused[:2] == (2, "")
    assert f"Job {waiting} still has 5 open batches: --force removes it anyway." in refused[2]
    assert named[:2] == (0, f"removed job {waiting}\nremoved 5 messages of finished jobs\n")
    assert again[0] == 2
    assert left == []


def test_a_nearly_full_redis_is_reported_and_waited_for(bench: Bench) -> None:
    """Guards the state of the loop, which was shown as "waiting for a worker", and the check of the policy at the
    start.
    """
    listed, client = bench.write_list(*urls(20)), bench.cluster.redis
    with StandInWorker(bench.settings):
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", int(used / 0.75))
        process = bench.start("run", listed, "-o", "out")
        assert process.stderr is not None
        lines = (line.decode() for line in iter(process.stderr.readline, b""))
        assert any("allkeys-lru" in line and "set maxmemory-policy noeviction" in line for line in lines)
        assert any("% full; nothing is sent above 70 %: " in line for line in lines)
        assert any(line.rstrip().endswith("% full; nothing is sent above 70 %.") for line in lines), "while it waits"
        client.config_set("maxmemory", 0)
        process.communicate(timeout=100)

    assert process.returncode == 0
    assert every_url_once(bench.rows(), urls(20))


def test_a_restart_sends_only_missing_messages(bench: Bench) -> None:
    """Guards the count of messages: 8 kills left 1,116 of them for 125 batches, and the next job waited behind them."""
    listed = bench.write_list(*urls(600))
    for _ in range(4):
        process = bench.start("run", listed, "-o", "out", "--batch-size", "20")
        await_condition(
            lambda: bench.cluster.redis.llen("trawl:trawl") >= bench.cluster.ledger.count_waiting() >= 30,
            within=30,
            what="a message for each batch",
        )
        process.kill()
        process.communicate()
    assert bench.cluster.redis.llen("trawl:trawl") <= 1.1 * bench.cluster.ledger.count_waiting()

    with StandInWorker(bench.settings):
        job = bench.run(listed, "-o", "out", "--batch-size", "20")[1]["job"]
    assert bench.trawl("gc", job)[0] == 0
    assert bench.cluster.redis.llen("trawl:trawl") == 0


def test_a_message_that_a_killed_worker_received_is_removed_with_its_job(bench: Bench) -> None:
    """Guards the check of ``unacked``: kombu would put it back after an hour, for no batch."""
    job = bench.trawl("enqueue", bench.write_list(*urls(1)))[1].strip()
    client = bench.cluster.redis
    taken = client.rpop("trawl:trawl")
    others = json.dumps([{"body": "none of ours"}, "", "trawl"])
    assert isinstance(taken, bytes)
    ours = json.dumps([json.loads(taken), "", "trawl"])
    client.hset("trawl:unacked", mapping={"ours": ours, "theirs": others})
    client.zadd("trawl:unacked_index", {"ours": 1.0, "theirs": 1.0})
    client.lpush("trawl:trawl", "none of ours")

    removed = bench.trawl("gc", job, "--force")

    assert removed[:2] == (0, f"removed job {job}\nremoved 1 message of finished jobs\n")
    assert client.hkeys("trawl:unacked") == client.zrange("trawl:unacked_index", 0, -1) == [b"theirs"]
    assert client.llen("trawl:trawl") == 1


def test_after_following_redis_holds_only_a_jobs_record(bench: Bench) -> None:
    listed = bench.write_list(*urls(500), "ftp://x/")
    with StandInWorker(bench.settings):
        job = bench.run(listed, "-o", "out", "--batch-size", "20")[1]["job"]

    keys = {str(key, "utf-8", "replace") for key in cast("list[bytes]", bench.cluster.redis.keys("*"))}

    assert {key for key in keys if job in key} == {f"trawl:2:job:{job}"}
    assert not any(key.startswith("celery-task-meta-") for key in keys)


def test_a_redis_out_of_memory_is_fed_again_once_it_is_drained(tmp_path: Path) -> None:
    # Long and random paths: nothing that compresses. The first refusal comes long before the list's end.
    lines = [f"http://h.example/{os.urandom(400).hex()}" for _ in range(8000)]
    with RedisServer(tmp_path / "redis", unix=True, maxmemory=3_500_000) as server:
        bench = Bench(server, tmp_path)
        listed = bench.write_list(*lines)
        process = bench.start("run", listed, "-o", "out", "--batch-size", "500", "--json")
        with server.client() as client:
            await_condition(lambda: has_no_room(client), within=60, what="a Redis out of memory")
            with StandInWorker(bench.settings):
                out, err = process.communicate(timeout=ENOUGH)
            has_refused = "errorstat_OOM" in client.info("errorstats")

    assert process.returncode == 0, err
    assert json.loads(out)["ok"] == 8000
    # A quick producer runs into the refusal and says so; a slow one looks at the memory first and waits.
    assert (b"Redis is out of memory" in err) <= has_refused
    assert every_url_once(bench.rows(), lines)


def has_no_room(client: redis.Redis) -> bool:
    memory = client.info("memory")
    return bool(memory["used_memory"] > FULL_ABOVE * memory["maxmemory"])
