"""`python -m benchmarks machines`: what a second and a fourth machine bring while the server is not the limit.

Each machine has a network address, a host name and a disk of its own (namespaces), and Redis is a round trip away from
all of them. The server answers each request after a while, so that what limits a worker is its window of transfers and
not the processor, which all machines share here. A round starts four workers and lets them leave, so that the same list
goes over four of them, two and one within a minute or two.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.meter import machine_busy
from benchmarks.server import work_folder
from benchmarks.slow.site import body_of
from benchmarks.slow.trial import RunningSite, running_site
from tests.support import netbox
from tests.support.celery_worker import CeleryWorker
from tests.support.machines import HUB, Machine, machines, why_no_machines
from tests.support.person import Person
from tests.support.processes import end_all
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay

COUNTS = (4, 2, 1)  # workers of a round's jobs
LATENCY = 0.005  # seconds one way between Redis and whoever asks it
SIZE = 2000  # bytes of a body
MISSING, REFUSED, TWICE = 8, 4, 5  # lines of each list that are no body
LEAST = {2: 0.9, 4: 0.8}  # efficiency of so many workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What each job asks for: ``wait`` in milliseconds is what the server takes for each of ``urls``."""

    urls: int
    wait: int
    transfers: int  # each worker's window
    options: tuple[str, ...] = ()  # of `trawl run`

    def ceiling(self, workers: int) -> float:
        """Return the URLs per second that windows and server allow."""
        return workers * self.transfers / (self.wait / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How one job went; ``seconds`` from its first batch begun to its last report, ``wall`` from command to exit."""

    is_shared: bool
    workers: int
    seconds: float
    wall: float
    busy: float  # cores of this machine that anything used meanwhile
    faults: tuple[str, ...]  # empty: every line has one outcome, and every body is right where its row says


def run_round(folder: Path, load: Load, is_shared: bool) -> list[Turn]:
    """Run the job of each count; call it in the hub (tests/support/machines.py)."""
    shared = folder / "shared"
    shared.mkdir(parents=True)
    with ExitStack() as running:
        fleet = running.enter_context(machines(folder, max(COUNTS), size="64m", shared=shared if is_shared else None))
        redis = running.enter_context(RedisServer(folder / "redis"))
        relay = running.enter_context(Relay(("127.0.0.1", redis.port), latency=LATENCY, address=HUB))
        site = running.enter_context(running_site())
        person = Person(folder, TRAWL_BROKER_URL=f"redis://{HUB}:{relay.port}/0")
        running.callback(end_all)
        workers = [_worker(machine, person, load) for machine in fleet]
        for worker in workers:
            running.callback(worker.stop, grace=0.0)  # nobody waits for a job any more
            worker.start(wait=False)
        for worker in workers:
            worker.wait_until_ready()
        done = []
        for count in COUNTS:
            _leave(workers[count:])
            done.append(_turn(person, site, fleet[:count], load, is_shared))
        return done


def _leave(workers: Sequence[CeleryWorker]) -> None:
    """Let workers end as those of machines that are taken away, all at once."""
    for worker in workers:
        if worker.is_running:
            worker.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.stop()


def _worker(machine: Machine, person: Person, load: Load) -> CeleryWorker:
    env = {
        "TRAWL_BROKER_URL": person.environment["TRAWL_BROKER_URL"],
        "TRAWL_OUTPUT": str(machine.output),
        "TRAWL_TRANSFERS": str(load.transfers),
        "TRAWL_MIN_FREE": "0",
    }
    return CeleryWorker(person.folder, env=env, concurrency=1, python=str(machine.python), name=machine.name)


def _turn(person: Person, site: RunningSite, fleet: Sequence[Machine], load: Load, is_shared: bool) -> Turn:
    where, job = f"http://{HUB}:{site.ports['port']}", f"job-{len(fleet)}"
    expected = _expected(where, job, load)
    lines = [*expected, *[url for url, outcome in expected.items() if outcome == "ok"][:TWICE]]
    listed = person.write_list(*lines, name=f"{job}.txt")
    begun, busy = time.monotonic(), machine_busy()
    ended = person.trawl("run", listed, "-o", job, "--json", "--allow-net", f"{HUB}/32", *load.options)
    wall = time.monotonic() - begun
    summary = json.loads(ended.out.splitlines()[-1]) if ended.code == 1 else {}  # 1: some URLs failed, as they should
    faults = (
        tuple(_faults(person.rows(job), expected, where, fleet)) if summary else (f"exit {ended.code}: {ended.err}",)
    )
    return Turn(
        is_shared=is_shared,
        workers=len(fleet),
        seconds=summary.get("elapsed", 0.0),
        wall=wall,
        busy=(machine_busy() - busy) / wall,
        faults=faults,
    )


def _expected(where: str, job: str, load: Load) -> dict[str, str]:
    """Return the URLs of a list with the outcome of each."""
    good = {f"{where}/ok/{load.wait}/{SIZE}/{job}-{number}": "ok" for number in range(load.urls)}
    missing = {f"{where}/status-404/{load.wait}/1/{job}-{number}": "failed" for number in range(MISSING)}
    refused = {f"ftp://{HUB}/{job}-{number}": "refused" for number in range(REFUSED)}
    return good | missing | refused


def _faults(
    rows: Sequence[dict[str, Any]], expected: dict[str, str], where: str, fleet: Sequence[Machine]
) -> Iterator[str]:
    counts = Counter((row["url"], row["outcome"]) for row in rows)
    if counts != dict.fromkeys(expected.items(), 1):
        yield f"{len(rows)} rows of {len(expected)} lines, {len(counts)} of them different"
    homes = {machine.name: machine for machine in fleet}
    for row in rows:
        if row["outcome"] != "ok":
            continue
        body = body_of(row["url"].removeprefix(where), SIZE)
        try:
            found = homes[str(row["worker"]).partition("@")[2]].stored(row["path"]).read_bytes()
        except (KeyError, OSError) as error:
            yield f"{row['name']} is not where its row says: {error!r}"
            continue
        if found != body or row["sha256"] != hashlib.sha256(body).hexdigest():
            yield f"{row['name']} is not what was served"


# ------------------------------------------------------------------------------------------------ the table


def main(arguments: Sequence[str]) -> int:
    told = _parser().parse_args(arguments)
    load = Load(urls=told.urls, wait=told.wait, transfers=told.transfers)
    if reason := why_no_machines(shared=True):
        sys.exit(reason)
    netbox.enter([HUB])
    seen = []
    with work_folder(None) as folder:
        for number in range(told.rounds):
            for is_shared in (False, True):
                for turn in run_round(folder / f"{number}-{is_shared}", load, is_shared):
                    _tell(number, turn)
                    seen.append(turn)
    print(table(seen, load))
    return (
        0 if not any(turn.faults for turn in seen) and all(_is_enough(seen, shared) for shared in (False, True)) else 1
    )


def efficiency(turns: Sequence[Turn], workers: int, *, is_shared: bool) -> float:
    """Return what so many workers fetched of what as many single ones would have, as the median of the rounds."""
    of_count = {
        count: [turn.seconds for turn in turns if (turn.workers, turn.is_shared) == (count, is_shared)]
        for count in (1, workers)
    }
    return median(one / (workers * many) for one, many in zip(of_count[1], of_count[workers], strict=True))


def table(turns: Sequence[Turn], load: Load) -> str:
    """Return the table as docs/operations.md shows it; URLs per second and efficiencies are medians of the rounds."""
    lines = [
        "| workers | their windows allow | a disk each | efficiency | one shared folder | efficiency | busy |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for workers in sorted(COUNTS):
        cells = [f"{workers}", f"{load.ceiling(workers):,.0f}/s"]
        for is_shared in (False, True):
            own = [turn for turn in turns if (turn.workers, turn.is_shared) == (workers, is_shared)]
            rate = median(load.urls / turn.seconds for turn in own)
            cells += [f"{rate:,.1f}/s", f"{efficiency(turns, workers, is_shared=is_shared):.2f}"]
        busy = median(turn.busy for turn in turns if turn.workers == workers)
        cells.append(f"{busy:.1f} of {os.cpu_count()} cores")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _is_enough(turns: Sequence[Turn], is_shared: bool) -> bool:
    return all(efficiency(turns, workers, is_shared=is_shared) >= least for workers, least in LEAST.items())


def _tell(number: int, turn: Turn) -> None:
    where = "one shared folder" if turn.is_shared else "disks of their own"
    state = "; ".join(turn.faults[:3]) or "every line and body right"
    print(
        f"round {number + 1}, {turn.workers} workers, {where}: {turn.seconds:.1f} s, command {turn.wall:.1f} s,"
        f" {turn.busy:.1f} cores busy, load {os.getloadavg()[0]:.1f}; {state}",
        file=sys.stderr,
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks machines", description=__doc__)
    parser.add_argument("--urls", type=int, default=4000, help="in each list (default: %(default)s)")
    parser.add_argument("--wait", type=int, default=200, help="milliseconds to each answer (default: %(default)s)")
    parser.add_argument("--transfers", type=int, default=16, help="of each worker at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="jobs of each count (default: %(default)s)")
    return parser
