"""Jobs beside one another: a small one does not wait for a large one, and two of a kind get the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.slow.bench import Bench, Finding, Scenario
from benchmarks.slow.cluster import RunningCluster, running_cluster
from benchmarks.slow.trial import RunningSite, command, environment, running_site, started_list

LARGE, SMALL = 200_000, 10
_TRIES = 12
_WITHIN = 5.0  # seconds, from the small job's command to its end
_SHARED_FOR = 15.0  # seconds two jobs run side by side
_HOSTS = 200


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
    well = sum(code == 0 for _, code in behind)
    yield Finding(f"behind: {well} of {tries} jobs of {SMALL} URLs end well", well == tries)
    yield Finding(
        f"behind: the {large} URLs in front {'go' if is_behind else 'no longer go'} on", is_behind, is_time=True
    )
    took, idle = (sorted(seconds for seconds, _ in each) for each in (behind, alone))
    slowest = took[min(len(took) - 1, round(0.95 * len(took)))]
    text = f"behind: {slowest:.1f} s at p95, median {median(took):.1f} s, on idle workers {median(idle):.1f} s"
    yield Finding(f"{text} (at most {_WITHIN:g} s)", slowest <= _WITHIN, is_time=True)


def _run_small(bench: Bench, site: RunningSite, cluster: RunningCluster, name: str) -> tuple[float, int]:
    """Run a job of ten URLs; return the seconds from its command to its end, and its exit code."""
    folder = bench.folder / name
    folder.mkdir()
    listed = folder / "urls.txt"
    listed.write_text("".join(url + "\n" for url in _list(site, SMALL, name)), "utf-8")
    argv = command(listed, folder / "out", "-q")
    env = environment(XDG_CACHE_HOME=str(folder / "cache"), **cluster.env)
    begun = time.monotonic()
    code = subprocess.run(argv, cwd=folder, env=env, check=False, capture_output=True).returncode
    took = time.monotonic() - begun
    bench.tell(f"  {name}: {took:.2f} s, exit {code}")
    return took, code


def _await_files(cluster: RunningCluster, count: int, within: float = 60.0) -> None:
    until = time.monotonic() + within
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
