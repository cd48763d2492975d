"""Lists in which a few hosts, or one with most of the lines, are slow or blocked; and lists sorted by host."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.slow.bench import Bench, Finding, Scenario, all_stored, cpu_of, in_proportion, never_idle
from benchmarks.slow.site import Limits
from benchmarks.slow.trial import RunningSite, Trial, running_site

_BLOCKED: Limits = {"blocked": {"rate": 0.0, "status": 429, "retry_after": 300}, "busy": {"rate": 0.0, "status": 429}}
_MEMORY = 64 << 20  # bytes a job may take of Redis
_REDIS = 24 << 20  # bytes its process takes with nothing in it, and what its log takes to be written anew


def _neighbours(bench: Bench) -> Iterator[Finding]:
    """1,000 hosts, 5 of which never answer, 5 throttle and 5 drip."""
    hosts, each = bench.some(1_000, 100), 10
    fates = {host * hosts // 15: fate for host, fate in enumerate(["hang", "limit-busy", "drip-10"] * 5)}
    random = bench.random("neighbours")
    with running_site(_BLOCKED) as site:
        good, mixed = [], []
        for number in range(hosts * each):
            host = number % hosts
            fate = fates.get(host)
            wait = 20 if fate else random.randint(20, 100)
            url = site.url(host, fate or "ok", wait=wait, name=number)
            mixed.append(url)
            if fate is None:
                good.append(url)
        yield from _beside(bench, "neighbours", mixed, good, 1.1)


def _blocked(bench: Bench, name: str, *, is_in_front: bool) -> Iterator[Finding]:
    """90 % of the lines are of one host that asks for five minutes; the others have 100 hosts."""
    count = bench.some(100_000)
    random = bench.random(name)
    with running_site(_BLOCKED) as site:
        blocked = [site.url(5_000, "limit-blocked", wait=5, name=number) for number in range(count * 9 // 10)]
        good = [_good(site, number, 100, random.randint(20, 100)) for number in range(count - len(blocked))]
        mixed = [*blocked, *good]
        if not is_in_front:
            random.shuffle(mixed)
        yield from _beside(bench, name, mixed, good, 1.3 if is_in_front else 1.1)


def _good(site: RunningSite, number: int, hosts: int, wait: int) -> str:
    return site.url(number % hosts, "ok", wait=wait, name=number)


def _beside(bench: Bench, name: str, mixed: list[str], good: list[str], factor: float) -> Iterator[Finding]:
    alone: list[Trial] = []
    together: list[Trial] = []
    for _ in range(bench.rounds):
        alone.append(bench.fetch(f"{name}-alone", good, good, limit=240.0))
        base = alone[-1].took or alone[-1].wall
        together.append(bench.fetch(name, mixed, good, limit=max(60.0, 3 * base)))
    yield all_stored(name, together)
    yield in_proportion(name, together, alone, factor)
    yield never_idle(name, together)
    yield cpu_of(name, together, alone)
    peak = max(trial.redis_peak for trial in together)
    text = f"{name}: Redis' process held {peak / 1e6:.0f} MB (at most {(_MEMORY + _REDIS) / 1e6:.0f} MB)"
    yield Finding(text, peak <= _MEMORY + _REDIS)


def _sorted(bench: Bench, *, hosts: int, lines: int = 20_000, seconds: float = 120.0) -> Iterator[Finding]:
    """A list sorted by host against the same one shuffled, with two transfers per host and process.

    A list that would take longer than ``seconds`` is compared by what was stored in the second half of them: it takes
    a while to read a million lines, and what is sorted is known host by host.
    """
    count = bench.some(lines)
    name = f"sorted, {count} lines of {hosts} hosts"
    random = bench.random(name)
    with running_site() as site:
        listed = [
            site.url(index * hosts // count, "ok", wait=random.randint(20, 60), name=index) for index in range(count)
        ]
        shuffled = random.sample(listed, count)
        rates = []
        for _ in range(bench.rounds):
            pair = [
                bench.fetch(each, urls, listed, "--per-host", "2", limit=seconds)
                for each, urls in (("shuffled", shuffled), ("sorted", listed))
            ]
            rates.append([trial.rate for trial in pair])
            if pair[0].took:
                yield all_stored(name, pair)
    shuffled_rate, sorted_rate = sorted(rates, key=lambda pair: pair[0] / pair[1])[len(rates) // 2]
    ratio = shuffled_rate / max(sorted_rate, 0.001)
    text = f"{name}: {sorted_rate:.0f} URLs/s against {shuffled_rate:.0f} shuffled = {ratio:.2f} x the time"
    yield Finding(f"{text} (at most 1.3 x)", ratio <= 1.3, is_time=True)


SCENARIOS: dict[str, Scenario] = {
    "neighbours": _neighbours,
    "blocked-in-front": partial(_blocked, name="blocked-in-front", is_in_front=True),
    "blocked-shuffled": partial(_blocked, name="blocked-shuffled", is_in_front=False),
    "sorted-8": partial(_sorted, hosts=8),
    "sorted-100": partial(_sorted, hosts=100),
    "sorted-8-of-a-million": partial(_sorted, hosts=8, lines=1_000_000, seconds=120.0),
    "sorted-100-of-a-million": partial(_sorted, hosts=100, lines=1_000_000, seconds=120.0),
}
