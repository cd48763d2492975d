"""Hosts that throttle: all their URLs wait for them together, and arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.slow.bench import Bench, Finding, Scenario
from benchmarks.slow.cluster import running_cluster
from benchmarks.slow.site import Limits
from benchmarks.slow.trial import running_site, started_list

URLS, RATE = 1_000, 60
_MORE = 300  # requests beside one for each URL
_WINDOW = 64  # transfers a process has in flight by default
_HOUR = 3600.0
_ASKED = 5  # seconds that URLs ask for which are always throttled
_LIMITS: Limits = {
    "429": {"rate": RATE, "status": 429},
    "503": {"rate": RATE, "status": 503},
    "asks": {"rate": RATE, "status": 429, "retry_after": 1},
    "early": {"rate": RATE, "status": 503, "retry_after": 1, "clock": -_HOUR},
    "late": {"rate": RATE, "status": 429, "retry_after": 1, "clock": _HOUR},
    "dead": {"rate": 0, "status": 503},
    "always": {"rate": 0, "status": 429, "retry_after": _ASKED},
}


def _throttled(bench: Bench, limit: str) -> Iterator[Finding]:
    """A host allows 60 requests a second; the defaults bring everything, at about that pace."""
    count = bench.some(URLS)
    with running_site(_LIMITS) as site:
        urls = [site.url(1, f"limit-{limit}", wait=5, name=number) for number in range(count)]
        for _ in range(bench.rounds):
            trial = bench.fetch(f"throttled-{limit}", urls, urls, limit=200.0, whole=True)
            requests = sum(site.asked().requests.values())
            name, most = f"throttled ({limit})", count + _MORE
            yield Finding(f"{name}: {trial.stored} of {count} arrive, exit {trial.code}", trial.stored == count)
            yield Finding(f"{name}: {requests} requests (at most {most})", requests <= most)
            ideal = count / RATE
            took = trial.took or trial.wall
            text = f"{name}: {took:.1f} s, where its limit allows {ideal:.1f} s (at most 2 x)"
            yield Finding(text, took <= 2 * ideal, is_time=True)


def _by_url(bench: Bench) -> Iterator[Finding]:
    """A host throttles every eleventh of its URLs whenever it is asked for: these fail by themselves, and no others."""
    with running_site(_LIMITS) as site:
        fates = ["ok" if number % 11 else "limit-always" for number in range(bench.some(330, 33))]
        urls = [site.url(1, fate, wait=50, name=number) for number, fate in enumerate(fates)]
        good = [url for url, fate in zip(urls, fates, strict=True) if fate == "ok"]
        trial = bench.fetch("throttled-urls", urls, good, limit=200.0, whole=True)
        requests = sum(site.asked().requests.values())
    yield Finding(f"throttled-urls: {trial.stored} of {len(good)} arrive, exit {trial.code}", trial.stored == len(good))
    failed = [row for row in trial.rows if row["outcome"] == "failed"]
    text = f"throttled-urls: {len(failed)} of {len(urls) - len(good)} fail with their own 429, {requests} requests"
    are_right = {(row["error"], row["http_status"], len(row["attempts"])) for row in failed} == {("http-4xx", 429, 4)}
    yield Finding(text, are_right and len(failed) == len(urls) - len(good))
    took = trial.took or trial.wall
    yield Finding(
        f"throttled-urls: the others after {took:.1f} s (at most {8 * _ASKED})", took <= 8 * _ASKED, is_time=True
    )


def _dead(bench: Bench) -> Iterator[Finding]:
    """A site that answers 503 to its only URL costs that URL's attempts, not an hour."""
    with running_site(_LIMITS) as site:
        url = site.url(1, "limit-dead", wait=5)
        trial = bench.fetch("dead-site", [url], [url], limit=120.0, whole=True)
        requests = site.asked().answers.get("503", 0)
    rows = trial.rows
    error, attempts = (rows[0]["error"], len(rows[0]["attempts"])) if rows else ("no row", 0)
    is_right = trial.code == 1 and error == "http-5xx" and requests == attempts == 4
    yield Finding(f"dead-site: {error} after {requests} requests and {trial.wall:.1f} s", is_right)


def _due_times(bench: Bench) -> Iterator[Finding]:
    """Two hosts ask for a pause, one for ten times as long: each of them is asked again when it said."""
    short = max(1.0, 4.0 * bench.scale)
    pauses = {1: round(short), 2: round(10 * short)}
    with running_site() as site:
        urls = {host: [site.url(host, f"first-{pauses[host]}", name=number) for number in range(20)] for host in pauses}
        mixed = [url for pair in zip(*urls.values(), strict=True) for url in pair]
        trial = bench.fetch("two-due-times", mixed, mixed, limit=30.0 + 15 * short, whole=True)
        asked = site.asked()
    yield Finding(f"two-due-times: {trial.stored} of {len(mixed)} arrive, exit {trial.code}", trial.code == 0)
    for pause in pauses.values():
        times = asked.times[f"first-{pause}"]
        again = [at - times[0] for at in times[len(times) - 20 :]]
        found = f"{min(again):.1f} to {max(again):.1f} s"
        yield Finding(
            f"two-due-times: a host that asks for {pause} s is asked again after {found}", min(again) >= pause
        )
        text = f"two-due-times: its last URL {max(again) - pause:.1f} s later than it asked (at most 12 s and a tenth)"
        yield Finding(text, max(again) <= 1.1 * pause + 12, is_time=True)


def _pauses(bench: Bench) -> Iterator[Finding]:
    """A host that only says when to come again is asked what was in flight, and once per pause by a whole cluster."""
    pause = max(6, round(20 * bench.scale))
    pauses, workers, processes = (3, 4, 2) if bench.scale >= 1 else (1, 2, 1)
    limits: Limits = {"blocked": {"rate": 0.0, "status": 429, "retry_after": pause}}
    with (
        running_site(limits) as site,
        running_cluster(bench.folder / "pauses", workers=workers, processes=processes) as cluster,
    ):
        urls = [site.url(1, "limit-blocked", wait=20, name=number) for number in range(2_000)]
        with started_list(urls, bench.folder / "list", env=cluster.env):
            time.sleep((pauses + 0.75) * pause)
        times = sorted(site.asked().times.get("limit-blocked", []))
    first = sum(at < times[0] + pause / 2 for at in times)
    most = _WINDOW * workers * processes
    name = f"pauses of {pause} s, {workers} workers of {processes}"
    yield Finding(f"{name}: {first} requests in flight when it first answered (at most {most})", 0 < first <= most)
    later = len(times) - first
    yield Finding(f"{name}: {later} more while {pauses} pauses ended (at most one each)", later <= pauses)


SCENARIOS: dict[str, Scenario] = {
    **{f"throttled-{name}": partial(_throttled, limit=name) for name in ("429", "503", "asks", "early", "late")},
    "throttled-urls": _by_url,
    "pauses": _pauses,
    "two-due-times": _due_times,
    "dead-site": _dead,
}
