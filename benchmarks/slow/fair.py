"""Jobs beside one another: a small one does not wait for a large one, and two of a kind get the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

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
    """Ten URLs behind 200,000 that take 0.1 s each, again and again while those are fetched."""
    large, tries = bench.some(LARGE), _TRIES if bench.scale >= 1 else 2
    with (
        running_site() as site,
        running_cluster(bench.folder / "cluster", workers=2, processes=2) as cluster,
        started_list(_list(site, large, "large"), bench.folder / "large", "-q", **cluster.env) as run,
    ):
        _await_files(cluster, 1)
        took, codes = [], []
        for number in range(tries):
            if run.poll() is not None:
                break
            begun = time.monotonic()
            codes.append(_run_small(bench, site, cluster, number))
            took.append(time.monotonic() - begun)
            bench.tell(f"  try {number + 1}: {took[-1]:.2f} s, exit {codes[-1]}")
        is_behind = run.poll() is None
    yield Finding(f"behind: {codes.count(0)} of {tries} jobs of {SMALL} URLs end well", codes == [0] * tries)
    yield Finding(
        f"behind: the {large} URLs in front {'go' if is_behind else 'no longer go'} on", is_behind, is_time=True
    )
    slowest = sorted(took)[min(len(took) - 1, round(0.95 * len(took)))]
    text = f"behind: {slowest:.1f} s at p95, median {sorted(took)[len(took) // 2]:.1f} s (at most {_WITHIN:g} s)"
    yield Finding(text, slowest <= _WITHIN, is_time=True)


def _run_small(bench: Bench, site: RunningSite, cluster: RunningCluster, number: int) -> int:
    folder = bench.folder / f"small-{number}"
    folder.mkdir()
    listed = folder / "urls.txt"
    listed.write_text("".join(url + "\n" for url in _list(site, SMALL, f"small-{number}")), "utf-8")
    argv = command(listed, folder / "out", "-q")
    env = environment(XDG_CACHE_HOME=str(folder / "cache"), **cluster.env)
    return subprocess.run(argv, cwd=folder, env=env, check=False, capture_output=True).returncode


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
            stack.enter_context(started_list(urls, bench.folder / name, "-q", **cluster.env))
        while len(site.seen().requests) < 2:
            time.sleep(0.05)
        site.asked()
        time.sleep(seconds)
        asked = site.asked().requests
    one, two = (asked.get(f"ok-{name}", 0) for name in ("one", "two"))
    text = f"even: {one} and {two} requests of two jobs in the same {seconds:g} s"
    yield Finding(text, min(one, two) >= 0.75 * max(one, two), is_time=True)


SCENARIOS: dict[str, Scenario] = {"behind": _behind, "even": _even}
