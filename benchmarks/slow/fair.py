"""Jobs beside one another: a small one does not wait for a large one, and two of a kind get the same."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from datetime import datetime
from statistics import median

from benchmarks.slow.bench import Bench, Finding, Scenario
from benchmarks.slow.cluster import RunningCluster, running_cluster
from benchmarks.slow.trial import RunningSite, command, environment, rows_of, running_site, started_list
from contract.cluster.settings import ClusterSettings
from producer.cluster.client import Cluster

LARGE, SMALL = 200_000, 10
_TRIES = 12
_WITHIN = 5.0  # seconds, from the small job's command to its end
_SHARED_FOR = 15.0  # seconds two jobs run side by side
_HOSTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Where the seconds of a small job went: until it is known, its first request, its last body, its command ends."""

    start: float
    waiting: float
    fetching: float
    ending: float

    @property
    def total(self) -> float:
        return self.start + self.waiting + self.fetching + self.ending


def _list(site: RunningSite, count: int, name: str) -> list[str]:
    return [site.url(index % _HOSTS, "ok", wait=100, name=f"{name}-{index}") for index in range(count)]


def _behind(bench: Bench) -> Iterator[Finding]:
    """Ten URLs behind 200,000 that take 0.1 s each, again and again while those are fetched; first, on idle workers."""
    large, tries = bench.some(LARGE), _TRIES if bench.scale >= 1 else 2
    with running_site() as site, running_cluster(bench.folder / "cluster", workers=2, processes=2) as cluster:
        alone = [_run_small(bench, site, cluster, f"alone-{number}") for number in range(min(3, tries))]
        with started_list(_list(site, large, "large"), bench.folder / "large", "-q", env=cluster.env) as run:
            _await_files(cluster, SMALL * len(alone) + 1)
            behind = [_run_small(bench, site, cluster, f"behind-{number}") for number in range(tries)]
            is_behind = run.poll() is None
    well = sum(each is not None for each in behind)
    yield Finding(f"behind: {well} of {tries} jobs of {SMALL} URLs end well", well == tries)
    yield Finding(
        f"behind: the {large} URLs in front {'go' if is_behind else 'no longer go'} on", is_behind, is_time=True
    )
    for name, some in (("behind", behind), ("on idle workers", alone)):
        yield Finding(f"behind: medians {name}: {_medians([each for each in some if each])}", True, is_time=True)
    took, idle = (sorted(each.total if each else 60.0 for each in some) for some in (behind, alone))
    slowest = took[min(len(took) - 1, round(0.95 * len(took)))]
    text = f"behind: {slowest:.1f} s at p95, median {median(took):.1f} s, on idle workers {median(idle):.1f} s"
    yield Finding(f"{text} (at most {_WITHIN:g} s)", slowest <= _WITHIN, is_time=True)


def _medians(some: Sequence[Phases]) -> str:
    return ", ".join(
        f"{median(getattr(each, part.name) for each in some):.2f} s {part.name}" for part in fields(Phases)
    )


def _run_small(bench: Bench, site: RunningSite, cluster: RunningCluster, name: str) -> Phases | None:
    """Run a job of ten URLs; None: it did not end well."""
    folder = bench.folder / name
    folder.mkdir()
    listed = folder / "urls.txt"
    listed.write_text("".join(url + "\n" for url in _list(site, SMALL, name)), "utf-8")
    argv = command(listed, folder / "out", "--json")
    env = environment(XDG_CACHE_HOME=str(folder / "cache"), **cluster.env)
    begun = time.time()
    ended = subprocess.run(argv, cwd=folder, env=env, check=False, capture_output=True)
    over = time.time()
    bench.tell(f"  {name}: {over - begun:.2f} s, exit {ended.returncode}")
    if ended.returncode != 0:
        return None
    with closing(Cluster(ClusterSettings.from_environment(cluster.env))) as connected:
        record = connected.ledger.job(json.loads(ended.stdout)["job"])
    assert record is not None
    starts = [
        (datetime.fromisoformat(row["started"]).timestamp(), row["timing"]["total"]) for row in rows_of(folder / "out")
    ]
    first, last = min(at for at, _ in starts), max(at + total for at, total in starts)
    return Phases(
        start=record.created - begun, waiting=first - record.created, fetching=last - first, ending=over - last
    )


def _await_files(cluster: RunningCluster, count: int) -> None:
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        if cluster.output.is_dir() and sum(1 for _ in cluster.output.iterdir()) >= count:
            return
        time.sleep(0.05)
    raise TimeoutError("the workers stored nothing")


def _even(bench: Bench) -> Iterator[Finding]:
    """Two `trawl run` at once share a cluster: what each was given in the same seconds."""
    count, seconds = bench.some(LARGE // 2), max(2.0, _SHARED_FOR * min(1.0, bench.scale))
    with (
        running_site() as site,
        running_cluster(bench.folder / "cluster", workers=2, processes=2) as cluster,
        ExitStack() as stack,
    ):
        for name in ("one", "two"):
            urls = [url.replace("/ok/", f"/ok-{name}/") for url in _list(site, count, name)]
            stack.enter_context(started_list(urls, bench.folder / name, "-q", env=cluster.env))
        while len(site.seen().requests) < 2:
            time.sleep(0.05)
        site.asked()
        time.sleep(seconds)
        asked = site.asked().requests
    one, two = (asked.get(f"ok-{name}", 0) for name in ("one", "two"))
    text = f"even: {one} and {two} requests of two jobs in the same {seconds:g} s"
    yield Finding(text, min(one, two) >= 0.75 * max(one, two), is_time=True)


SCENARIOS: dict[str, Scenario] = {"behind": _behind, "even": _even}
