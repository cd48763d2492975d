"""What a job costs Redis from its first batch to its last row: real workers, a real producer, every command counted."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha1
from pathlib import Path

import pytest

from contract.ledger.editions import texts
from tests.support.celery_worker import CeleryWorker
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import Person
from tests.support.redis_server import RedisServer

MOST = 4.5  # round trips per batch that are made for it; six with what goes by the clock, on a machine that keeps time
FOR_A_BATCH = ("open", "claim", "close", "gather", "drain")  # scripts
PLANNED = {"fast": 5.0, "slow": 8.0}  # seconds a run takes on a machine that is not busy
LOOKS = 2.0  # round trips per second a run takes longer: claims that find nothing, and drains
BY_THE_CLOCK = 4.0  # others per second: sweeps, renewals, words of hosts, how long the queue is
AT_THE_START = 40  # others of all processes: health checks, scripts loaded, a job made and sealed

SCRIPTS = {sha1(text.encode()).hexdigest(): name for name, text in texts().items()}  # by the digest they are called by


class Meter:
    """Listens to every command between two moments; ``ours`` are those that Celery alone would not send.

    A connection of ours is one that ever ran a script of the ledger or waited for closings. What it says within one
    transaction is one round trip; what it says to connect is none. Beside these we ask how long Celery's queue is.
    """

    seconds = 0.0

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client()
        self._commands: list[tuple[str, str]] = []  # connection, command
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        assert self._listening.wait(60)
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        self._client.echo("over")
        self._thread.join(60)
        self._client.close()

    @property
    def ours(self) -> Counter[str]:
        said: dict[str, list[str]] = defaultdict(list)
        for connection, command in self._commands:
            said[connection].append(command)
        counted: Counter[str] = Counter()
        for commands in said.values():
            if any(command.startswith(("EVALSHA", "SUBSCRIBE")) and " trawl:2:job:" in command for command in commands):
                counted.update(_round_trips(commands))
            else:
                counted["LLEN"] += commands.count("LLEN trawl:trawl")
        return counted

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py has no annotation here
            self._listening.set()
            for seen in monitor.listen():
                command = str(seen["command"])
                if command == "ECHO over":
                    return
                if seen["client_type"] != "lua":
                    self._commands.append((f"{seen['client_address']}:{seen['client_port']}", command))


def _round_trips(commands: Sequence[str]) -> Iterator[str]:
    is_within = False
    for command in commands:
        name, _, rest = command.partition(" ")
        name = SCRIPTS.get(rest.partition(" ")[0], name.upper())
        if name == "EXEC":
            is_within = False
        elif not is_within and name not in ("HELLO", "CLIENT"):
            is_within = name == "MULTI"
            yield name


@pytest.mark.parametrize("pace", ["fast", "slow"])
def test_a_batch_of_a_whole_run_costs_at_most_six_round_trips(
    tmp_path: Path, redis: RedisServer, server: MisbehavingServer, pace: str
) -> None:
    """Guards the follower's channel, draining and prefetching in one round trip each, and sweeps that know when they
    are due.
    """
    if pace == "fast":
        urls = [server.url(f"/good?size=100&n={number}") for number in range(1600)]
        batch, transfers = 20, 16
    else:
        urls = [server.url(f"/thinks?ms=250&n={number}") for number in range(160)]
        batch, transfers = 8, 4
    environment = {
        "TRAWL_BROKER_URL": redis.celery_url(),
        "TRAWL_OUTPUT": str(tmp_path / "out"),
        "TRAWL_TRANSFERS": str(transfers),
    }
    person = Person(tmp_path, **environment)
    listed = person.write_list(*urls)
    options = ("--batch-size", batch, "--allow-net", "127.0.0.0/8", "--json")
    with CeleryWorker(tmp_path, env=environment, concurrency=2), Meter(redis) as meter:
        code, out, err = person.trawl("run", listed, "-o", "out", *options)
    assert code == 0, err
    summary = json.loads(out)
    assert summary["ok"] == len(urls)
    seen = f"{summary['batches']} batches in {meter.seconds:.1f} s: {dict(meter.ours)}"
    for_batches = sum(meter.ours[script] for script in FOR_A_BATCH)
    assert for_batches <= MOST * summary["batches"] + LOOKS * max(0.0, meter.seconds - PLANNED[pace]), seen
    assert meter.ours.total() - for_batches <= AT_THE_START + BY_THE_CLOCK * meter.seconds, seen
