"""Stories: one misfortune each, on a cluster of its own, checked like every job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.ledger.ports import Ledger
from tests.chaos.checker import Verdict, judge, rows_of
from tests.chaos.job import Job
from tests.chaos.site import Site
from tests.chaos.source import Source, sha256_of
from tests.support.celery_worker import PROJECT, CeleryWorker
from tests.support.processes import await_condition, send

_ENDS_WITHIN = 180.0  # seconds


@dataclass(slots=True)
class Story:
    """How a story ended: its verdict, and what it measured."""

    name: str
    verdict: Verdict
    figures: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        figures = "".join(f", {key} {value:.3g}" for key, value in self.figures.items())
        return f"{self.name}: {self.verdict}{figures}"


class Stage:
    """A site with a source and a list, and the usual end: wait, then judge."""

    def __init__(self, name: str, folder: Path, site: Site, source: Source) -> None:
        self.name = name
        self.folder = folder
        self.site = site
        self.source = source
        self.figures: dict[str, float] = {}

    def urls(self, count: int) -> list[str]:
        return [self.source.url(number) for number in range(count)]

    def job(self, urls: Sequence[str], name: str = "job", **options: Any) -> Job:
        return Job(self.site, self.folder / name, urls, **options)

    def await_rows(self, job: Job, count: int) -> None:
        """Wait until the manifest holds so many outcomes."""
        await_condition(lambda: job.is_over() or job.rows() >= count, within=60, what=f"{count} outcomes")

    def end(self, job: Job, *, poison: Sequence[str] = (), within: float = _ENDS_WITHIN) -> Story:
        begun = time.monotonic()
        job.wait(within=within)
        self.figures["seconds to the end"] = time.monotonic() - begun
        self.figures["fetched again"] = self.source.served.total() - len(job.urls)
        return Story(self.name, self.judge(job, poison=poison), self.figures)

    def judge(self, job: Job, *, poison: Sequence[str] = ()) -> Verdict:
        return judge(
            job.urls,
            rows_of(job.manifest),
            self.site.files,
            sha256_of=lambda url: sha256_of(self.source.number_of(url)),
            poison=poison,
        )


def half_open(stage: Stage) -> Story:
    """Every connection to Redis goes silent for longer than a lease, then works again."""
    job = stage.job(stage.urls(1500))
    stage.await_rows(job, 200)
    stage.site.relay.freeze()
    time.sleep(stage.site.lease + 12.0)
    stage.site.relay.thaw()
    return stage.end(job)


def clients_killed(stage: Stage) -> Story:
    """CLIENT KILL of every connection, every 2 seconds, as long as the job runs."""
    job = stage.job(stage.urls(2000))
    with repeated(2.0, lambda: kill_clients(stage.site)):
        return stage.end(job)


def kill_clients(site: Site) -> None:
    with site.client() as client:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def connections_reset(stage: Stage) -> Story:
    """Every connection is reset again and again, at any moment of a message's life."""
    job = stage.job(stage.urls(2500), batch_size=10)
    with repeated(1.3, stage.site.relay.reset):
        return stage.end(job)


def emptied(stage: Stage) -> Story:
    """Redis comes back with nothing, twice: what the manifest does not have is sent again."""
    job = stage.job(stage.urls(1500))
    for rows in (200, 700):
        stage.await_rows(job, rows)
        stage.site.restart_redis(empty=True)
    return stage.end(job)


def emptied_under_a_follower(stage: Stage) -> Story:
    """The same while another command than the one that enqueued the job follows it: it sends from its own copies.

    Only once it has caught up: what was closed before it came, and lost with Redis, nobody has.
    """
    job = stage.job(stage.urls(2500), is_split=True)
    for rows in (1000, 1600):
        stage.await_rows(job, rows)
        stage.site.restart_redis(empty=True)
    return stage.end(job)


def rolled_back(stage: Stage) -> Story:
    """Redis comes back a second older, as after a failover to a replica or a power cut with AOF everysec.

    The batches are many and small, so that some are opened, claimed and drained in that second.
    """
    job = stage.job(stage.urls(2500), batch_size=4)
    for rows in (200, 700, 1200):
        stage.await_rows(job, rows)
        stage.site.roll_back_redis(seconds=1.0)
    return stage.end(job)


def out_of_memory(stage: Stage) -> Story:
    """Redis reaches its maxmemory in the middle of a job whose list does not fit the window, and gets room again."""
    job = stage.job(stage.urls(8000))
    stage.await_rows(job, 200)
    with stage.site.client() as client:
        client.config_set("maxmemory", 1_000_000)
        time.sleep(10.0)
        stage.figures["rows while full"] = rows = job.rows()
        assert rows < 8000, "it ended before it could be held up"
        client.config_set("maxmemory", 0)
    return stage.end(job)


def poison(stage: Stage) -> Story:
    """One URL kills every process that asks for it."""
    bad = stage.source.poison()
    urls = stage.urls(40)
    job = stage.job([*urls[:20], bad, *urls[20:]], ends_with=(1,), batch_size=16)
    story = stage.end(job, poison=[bad], within=300.0)
    story.figures["processes killed"] = len(stage.source.poisoned)
    return story


def frozen_and_thawed(stage: Stage) -> Story:
    """A worker stops for longer than its lease, then continues as if nothing had happened."""
    job = stage.job(stage.urls(1500))
    stage.await_rows(job, 200)
    worker = stage.site.workers[0]
    family = [worker.pid, *worker.children()]
    for pid in family:
        send(pid, signal.SIGSTOP)
    time.sleep(stage.site.lease + 4.0)
    for pid in reversed(family):
        send(pid, signal.SIGCONT)
    return stage.end(job)


def two_producers(stage: Stage) -> Story:
    """Two producers send the same list to the same workers, and a third tries to share a folder."""
    urls = stage.urls(600)
    first, second = stage.job(urls, "first"), stage.job(urls, "second")
    stage.await_rows(first, 1)
    folder = first.manifest.parent
    command = stage.site.command("producer", "run", str(folder / "urls.txt"), "-o", str(folder))
    third = subprocess.run(command, cwd=PROJECT, env=stage.site.environment, capture_output=True, check=False)
    assert third.returncode == 2, third
    assert b"Another trawl" in third.stderr, third.stderr
    second.wait(within=_ENDS_WITHIN)
    verdict = stage.judge(second)
    assert verdict.is_good, str(verdict)
    return stage.end(first)


def stopped_gracefully(stage: Stage) -> Story:
    """Both workers get SIGTERM over and over: nothing waits for a lease."""
    job = stage.job(stage.urls(1500))
    slowest = 0.0
    for rows in (100, 400, 700):
        stage.await_rows(job, rows)
        worker = stage.site.workers[0]
        stage.site.doom(worker).wait_until_ready(within=60)
        asked = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(within=60)
        slowest = max(slowest, time.monotonic() - asked)
        assert code == 0, f"the worker ended with {code}"
        stage.site.tend()
    stage.figures["slowest stop, seconds"] = slowest
    return stage.end(job)


def throttled(stage: Stage) -> Story:
    """Two of four hosts ask for six seconds, three times; while their URLs are parked a worker and its processes are
    killed, then Redis, and then Redis comes back with nothing.
    """
    site, ledger = stage.site, stage.site.ledger()
    job = stage.job(stage.urls(1500))
    misfortunes: tuple[Callable[[], object], ...] = (
        lambda: site.doom(site.workers[0]).kill(),
        site.restart_redis,
        lambda: site.restart_redis(empty=True),
    )
    for rows, befalls in zip((100, 300, 500), misfortunes, strict=True):
        stage.await_rows(job, rows)
        for host, status in zip(stage.source.hosts, (429, 503), strict=False):
            stage.source.throttle(host, status=status, retry_after=6, seconds=3.0)
        await_condition(lambda: any(map(ledger.waits, ledger.jobs())), within=60, what="URLs parked for their hosts")
        befalls()
        site.tend()
    stage.figures["requests refused"] = stage.source.refused.total()
    return stage.end(job)


def recovery(stage: Stage) -> Story:
    """One of two workers is killed and not replaced: how the other continues, and when the batches run again."""
    urls = stage.urls(8000)
    job = stage.job(urls, batch_size=25)
    stage.await_rows(job, 600)
    victim, ledger = stage.site.workers.pop(0), stage.site.ledger()
    (name,) = ledger.jobs()
    stage.site.doom(victim).kill()
    killed = time.monotonic()
    mine = held_by(victim, ledger, name)
    stage.figures["batches it held"] = len(mine)
    rates: list[float] = []
    before = job.rows()
    for _ in range(6):
        time.sleep(1.0)
        now = job.rows()
        rates.append(now - before)
        before = now
    stage.figures["rows/s in second 1"] = rates[0]
    stage.figures["in second 2"] = rates[1]
    stage.figures["after that"] = sum(rates[2:]) / len(rates[2:])
    await_condition(
        lambda: not held_by(victim, ledger, name) and set(mine).isdisjoint(waiting(ledger)),
        within=stage.site.lease + 30,
        what="the killed worker's batches held by another, or closed",
    )
    stage.figures["lease, seconds"] = stage.site.lease
    stage.figures["its batches ran again after"] = time.monotonic() - killed
    story = stage.end(job)
    stage.site.workers.append(victim)
    return story


def embedded(folder: Path) -> Story:
    """``trawl run`` without a cluster is killed four times; server and worker end too, and it is resumed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TRAWL_", "CELERY_", "REDIS_"))}
    out, listed = folder / "out", folder / "urls.txt"
    folder.mkdir(parents=True)
    with Source(delay=0.1) as source:
        urls = [source.url(number) for number in range(1500)]
        listed.write_text("".join(f"{url}\n" for url in urls), "utf-8")
        policy = ("--allow-net", "127.0.0.0/8", "--batch-size", "20", "--processes", "2", "--transfers", "8")
        command = [sys.executable, "-m", "producer", "run", str(listed), "-o", str(out), *policy]
        for requests in (100, 400, 700, 1000, None):
            with (folder / "run.log").open("ab") as log:
                run = subprocess.Popen(command, cwd=PROJECT, env=inherited, stdout=log, stderr=log)
            if requests is not None:
                await_condition(lambda: source.served.total() >= requests, within=120, what="requests")  # noqa: B023 (awaited here)
                run.kill()
            code = run.wait(_ENDS_WITHIN)
        assert code == 0, (folder / "run.log").read_text("utf-8")[-2000:]
        verdict = judge(
            urls, rows_of(out / "manifest.jsonl"), out, sha256_of=lambda url: sha256_of(source.number_of(url))
        )
        return Story("embedded", verdict, {"fetched again": source.served.total() - len(urls)})


def held_by(worker: CeleryWorker, ledger: Ledger, job: str) -> list[str]:
    held = ledger.open_batches(job).held
    return [batch for name, its in held.items() if name.startswith(f"{worker.name}@") for batch in its.batches]


def waiting(ledger: Ledger) -> set[str]:
    return {message.batch for message in ledger.longest_waiting(10_000)}


@contextmanager
def repeated(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Do something every so often while the block runs."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


STORIES: dict[str, Callable[[Stage], Story]] = {
    "half-open": half_open,
    "clients-killed": clients_killed,
    "connections-reset": connections_reset,
    "emptied": emptied,
    "emptied-under-a-follower": emptied_under_a_follower,
    "rolled-back": rolled_back,
    "out-of-memory": out_of_memory,
    "poison": poison,
    "frozen": frozen_and_thawed,
    "two-producers": two_producers,
    "stopped": stopped_gracefully,
    "throttled": throttled,
    "recovery": recovery,
}

#: Everything that can be played; the embedded run brings its own server and worker.
NAMES = (*STORIES, "embedded")


def play(name: str, folder: Path) -> Story:
    """Play a story on a site of its own.

    Raises:
        AssertionError, TimeoutError: it went another way.
    """
    if name == "embedded":
        return embedded(folder / name)
    lease = 20.0 if name == "recovery" else 3.0
    hosts = 4 if name == "throttled" else 1
    with Source(delay=0.1, hosts=hosts) as source, Site(folder / name, lease=lease) as site:
        story = STORIES[name](Stage(name, folder / name, site, source))
        if name != "recovery":
            site.tend()
        assert not site.deaths, site.deaths
        return story
