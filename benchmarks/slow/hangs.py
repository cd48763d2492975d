"""A list a few of whose URLs lead nowhere: the others must not wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from random import Random

from benchmarks.slow.bench import Bench, Finding, Scenario, all_stored, cpu_of, in_proportion, never_idle
from benchmarks.slow.trial import RunningSite, Trial, running_site

URLS, HOSTS = 10_000, 100
_ROOM = 8.0  # seconds beside the factor
_ATTEMPTS = 300.0 + 30.0  # seconds after the good URLs in which all is over: a URL's own deadline, and stopping

Spoil = Callable[
    [RunningSite, int, int], str | None
]  # by number and host, the URL that leads nowhere; None: a good one


def _share(random: Random, fate: str, part: float) -> Spoil:
    """A part of the URLs, at random places of the list, of all hosts."""
    return lambda site, number, host: site.url(host, fate, name=number) if random.random() < part else None


def _hosts(port: str, part: float) -> Spoil:
    """All URLs of a part of the hosts."""
    every = round(1 / part)
    return lambda site, number, host: site.url(host, "ok", name=number, port=port) if host % every == 0 else None


def _fetch(bench: Bench, name: str, spoil: Spoil, *options: str, more: float = _ROOM) -> Iterator[Finding]:
    random = bench.random(name)
    count, hosts = bench.some(URLS), bench.some(HOSTS, 20)
    with running_site() as site:
        bad: list[str] = []
        good: list[str] = []
        mixed: list[str] = []
        for number in range(count):
            host = number % hosts
            spoiled = spoil(site, number, host)
            url = spoiled or site.url(host, "ok", wait=random.randint(20, 100), size=2000, name=number)
            (bad if spoiled else good).append(url)
            mixed.append(url)
        bench.tell(f"{name}: {len(good)} good URLs of {hosts} hosts and {len(bad)} that lead nowhere, {options or ''}")
        alone: list[Trial] = []
        together: list[Trial] = []
        for _ in range(bench.rounds):
            alone.append(bench.fetch(f"{name}-alone", good, good, *options, limit=180.0))
            base = alone[-1].took or alone[-1].wall
            site.asked()
            limit = max(60.0, 2 * base + 30.0) + (_ATTEMPTS if bench.is_whole else 0.0)
            together.append(bench.fetch(name, mixed, good, *options, limit=limit))
            asked = site.asked().requests["ok"]
            yield Finding(
                f"{name}: {asked} requests for {len(good)} good URLs", len(good) <= asked <= 1.02 * len(good) + 2
            )
    yield all_stored(name, together)
    yield in_proportion(name, together, alone, 1.3, more)
    yield never_idle(name, together)
    yield cpu_of(name, together, alone)
    closes = [trial.successors / max(1, trial.batches) for trial in together]
    batches, successors = together[-1].batches, together[-1].successors
    text = f"{name}: {successors} batches took over from {batches}: {max(closes):.1f} each (at most 2)"
    yield Finding(text, max(closes) <= 2)
    if bench.is_whole:
        yield _whole(name, together[-1].wall, alone[-1].took or 0.0, together[-1].code, len(together[-1].rows), count)


def _whole(name: str, wall: float, alone: float, code: int | None, rows: int, count: int) -> Finding:
    limit = 1.3 * alone + _ROOM + _ATTEMPTS
    is_right = code == 1 and rows == count and wall <= limit
    return Finding(f"{name}: {rows} of {count} rows, exit {code} after {wall:.0f} s (at most {limit:.0f} s)", is_right)


def _hang(bench: Bench, name: str, *options: str) -> Iterator[Finding]:
    return _fetch(bench, name, _share(bench.random(name + " share"), "hang", 0.02), *options)


def _few_descriptors(bench: Bench) -> Iterator[Finding]:
    """What is quiet keeps a connection: with `ulimit -n 256` a process has some for it, beside its window."""
    few = replace(bench, scale=0.3 * bench.scale, descriptors=256)
    return _hang(few, "hangs-with-256-descriptors")


def _drip(bench: Bench) -> Iterator[Finding]:
    return _fetch(bench, "drips", _share(bench.random("drips share"), "drip-10", 0.02))


SCENARIOS: dict[str, Scenario] = {
    "hangs": partial(_hang, name="hangs"),
    "hangs-in-small-batches": lambda bench: _hang(bench, "hangs-in-small-batches", "--batch-size", "50"),
    "hangs-in-large-batches": lambda bench: _hang(bench, "hangs-in-large-batches", "--batch-size", "5000"),
    "hangs-with-256-descriptors": _few_descriptors,
    "drips": _drip,
    "refusing-hosts": lambda bench: _fetch(bench, "refusing-hosts", _hosts("refusing", 0.05)),
    "silent-hosts": lambda bench: _fetch(bench, "silent-hosts", _hosts("silent", 0.05), more=_ROOM + 20.0),
}
