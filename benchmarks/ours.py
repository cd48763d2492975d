"""Trawlnet in the race: one command, the same without digests, on services that run already, and one lane alone.

- `trawl`: `trawl run` with everything it starts: its own Redis and Celery worker, their start-up counted in CPU and
  memory. The rate counts from the first batch begun to the last report, as its JSON summary says; the rate by the whole
  wall time, start-up and end included, is kept beside it.
- `trawl-nohash`: the same with `--digest none`, on the rows where bodies are large enough for a hash to show: no peer
  computes one.
- `trawl-cluster`: the same command with Redis and worker up already, as on a cluster. The rate counts from the first
  batch enqueued to the last row of the manifest on disk; the CPU of the services is that of this job.
- `lane`: one lane in one process: no Celery, no Redis, no manifest. What the engine alone can do, start-up excluded.
- `bare`: libcurl driven from Python and nothing else, start-up excluded: the floor that a lane stands on.
- `trawl-against`: `trawl` of another checkout, in this one's environment: its start-up depends on what is installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import relay
from benchmarks.client import REPOSITORY, Beside, Client, Command, Reading, Run
from benchmarks.corpora import Link, Row
from benchmarks.meter import Cost, measure, tree_below
from producer.cluster.embedded import Embedded

TRAWL, NO_HASH, CLUSTER, LANE, BARE = "trawl", "trawl-nohash", "trawl-cluster", "lane", "bare"
AGAINST = "trawl-against"
NAMES = (TRAWL, NO_HASH, CLUSTER, LANE, BARE)
NETS = ("127.0.0.0/8", relay.NETWORK)

_PYTHON = [sys.executable, "-P"]
_ENV = {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
_WARM_UP = 400  # URLs fetched before the clock starts, so that every worker process has made its lane
_HASH_SHOWS = frozenset({"B", "C", "X"})
_OPEN = {"A": 128, "B": 32, "C": 8, "E": 128, "S": 64, "SE": 128}


def clients(against: Path | None) -> list[Client]:
    """Return all of ours; ``against`` is another checkout, whose `trawl` takes part as well."""
    version = [sys.executable, "-m", "producer", "--version"]
    one_lane = {**_OPEN, "A": 64, "E": 64}
    return [
        Client(name=TRAWL, command=_trawl, version=version, read=_read_summary, in_flight=_OPEN),
        Client(
            name=NO_HASH,
            command=_trawl_without_digests,
            version=version,
            read=_read_summary,
            skips=_rows_where_no_hash_shows,
            in_flight=_OPEN,
        ),
        Client(
            name=CLUSTER,
            command=_trawl_on_cluster,
            version=version,
            read=_read_manifest,
            beside=_services,
            in_flight=_OPEN,
        ),
        Client(name=LANE, command=_lane, version=version, read=_read_lane, in_flight=one_lane),
        Client(
            name=BARE,
            command=_bare,
            version=version,
            read=_read_lane,
            skips=lambda row: "fetches in one stream" if row.link is Link.CAPPED else None,
            in_flight=one_lane,
        ),
        *([] if against is None else [_other(against.resolve())]),
    ]


def _other(checkout: Path) -> Client:
    def command(run: Run) -> Command:
        ours = _trawl(run)
        return Command(ours.argv, {**ours.env, "PYTHONPATH": str(checkout)})

    version = ["git", "-C", str(checkout), "log", "-1", "--format=%h %s"]
    return Client(name=AGAINST, command=command, version=version, read=_read_summary, in_flight=_OPEN)


def processes() -> int:
    return os.cpu_count() or 1


def lane_argv(row: Row, listed: str, output: Path, in_flight: int) -> list[str]:
    splits = "8" if row.link is Link.CAPPED else "1"
    return [*_PYTHON, "-m", "benchmarks.lane", listed, str(output), "--in-flight", str(in_flight), "--splits", splits]


def _trawl(run: Run) -> Command:
    each = max(1, run.in_flight // processes())
    return Command([*_run_argv(run), "--transfers", str(each)], _environment(run))


def _trawl_without_digests(run: Run) -> Command:
    command = _trawl(run)
    return Command([*command.argv, "--digest", "none"], command.env)


def _rows_where_no_hash_shows(row: Row) -> str | None:
    return None if row.key in _HASH_SHOWS else "shown where a hash costs something"


def _trawl_on_cluster(run: Run) -> Command:
    return Command(_run_argv(run), _environment(run))


def _run_argv(run: Run) -> list[str]:
    listed = run.write("urls.txt", "\n".join(run.urls) + "\n")
    argv = [*_PYTHON, "-m", "producer", "run", listed, "-o", str(run.output), "--json", *_allowed()]
    return [*argv, "--splits", "8"] if run.row.link is Link.CAPPED else argv


def _allowed() -> list[str]:
    return [word for net in NETS for word in ("--allow-net", net)]


def _environment(run: Run) -> dict[str, str]:
    return {**_ENV, "TRAWL_CA_FILE": str(run.server.authorities)}


def _lane(run: Run) -> Command:
    listed = run.write("urls.txt", "\n".join(run.urls) + "\n")
    return Command(lane_argv(run.row, listed, run.output, run.in_flight), _environment(run))


@contextlib.contextmanager
def _services(run: Run) -> Iterator[Beside]:
    """Start Redis and a worker as `trawl run` does, and let every worker process fetch something."""
    known = set(tree_below(os.getpid()))
    environment = {**os.environ, **_environment(run)}
    with Embedded(
        run.folder / "services", environment=environment, echo=lambda line: print(line, file=sys.stderr)
    ) as services:
        services.wait_until_ready()
        each = str(max(1, run.in_flight // processes()))
        services.start_worker(processes(), {"TRAWL_OUTPUT": str(run.output), "TRAWL_TRANSFERS": each})
        env = {"TRAWL_BROKER_URL": services.settings.broker_url}
        _warm_up(run, env)
        roots = [pid for pid in tree_below(os.getpid()) if pid not in known]
        below = {pid for root in roots for pid in tree_below(root)}
        yield Beside(env, tuple(pid for pid in roots if pid not in below))


def _warm_up(run: Run, env: Mapping[str, str]) -> None:
    place = run.folder / "warm-up"
    place.mkdir()
    # nginx knows nothing below /warm-up: every answer is a short 404, and nothing is stored
    urls = [f"{run.server.base(run.row)}/warm-up/{number}" for number in range(_WARM_UP)]
    listed = run.write("warm-up.txt", "\n".join(urls) + "\n")
    argv = [*_PYTHON, "-m", "producer", "run", listed, "-o", str(place), "-q", "--batch-size", "20", *_allowed()]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    measure(argv, cwd=place, env={**kept, **_environment(run), **env}, log=place / "warm-up.log", time_limit=60.0)


def _summary(run: Run) -> dict[str, float]:
    found: dict[str, float] = json.loads(run.log.read_text("utf-8").strip().splitlines()[-1])
    return found


def _read_summary(run: Run, cost: Cost) -> Reading:
    elapsed = _summary(run)["elapsed"]
    return Reading(run.work / elapsed, cost.cpu, {"elapsed": elapsed, "rate_by_whole_wall": run.work / cost.wall})


def _read_manifest(run: Run, cost: Cost) -> Reading:
    manifest = run.output / "manifest.jsonl"
    took = manifest.stat().st_mtime - _first_enqueued(manifest)
    details = {"elapsed": _summary(run)["elapsed"], "rate_by_whole_wall": run.work / cost.wall}
    return Reading(run.work / took, cost.cpu, details)


def _first_enqueued(manifest: Path) -> float:
    """Return when the first batch was enqueued, in Unix seconds: a URL's start less the time it lay in the queue."""
    with manifest.open("rb") as lines:
        rows = (json.loads(line) for line in lines)
        return min(_enqueued(row) for row in rows)


def _enqueued(row: Any) -> float:
    started = datetime.fromisoformat(row["started"]).timestamp()
    return started - float(row["timing"]["queued"])


def _bare(run: Run) -> Command:
    listed = run.write("urls.txt", "\n".join(run.urls) + "\n")
    argv = [*_PYTHON, "-m", "benchmarks.bare", listed, str(run.output), "--in-flight", str(run.in_flight)]
    return Command(argv, _environment(run))


def _read_lane(run: Run, cost: Cost) -> Reading:
    told = json.loads(run.log.read_text("utf-8"))
    return Reading(
        run.work / told["seconds"],
        told["cpu"],
        {"cpu_with_start_up": cost.cpu, "rate_by_whole_wall": run.work / cost.wall},
    )
