"""Kills at random: the faults, how often each occurs, and the loop that injects them while jobs run."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

import redis

from contract.urls.naming import output_name
from tests.chaos.checker import Verdict, Watch, judge, rows_of
from tests.chaos.job import Job
from tests.chaos.site import Site
from tests.chaos.source import Source, sha256_of
from tests.support.celery_worker import CeleryWorker
from tests.support.processes import send

Answer = TypeVar("Answer")

_ENOUGH = 600.0  # seconds a job may last after the last fault
_GIVEN_UP = 30.0  # seconds without a new outcome after which a job without a sweep has lost what is missing
_AT_WORK = 10  # requests since the last fault, after which it is worth killing something again
_AT_A_BLOW = (1, 1, 2)  # faults at the same moment: two in every third blow
_REFUSALS = ((429, 1), (503, 1), (429, 6), (503, 6))  # what a host that throttles answers, and for how long it asks
_IDLE_FOR = 8.0  # seconds without work after which something is killed all the same
_LAST_BATCHES = 6  # batches left of a job: all blows hit the same few
_LAST_BLOWS = 3  # that many of them; a batch whose holders die five times in a row counts as what kills them


@dataclass(slots=True)
class Tally:
    """What was done and what came of it, over all jobs."""

    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    jobs: int = 0
    cancelled: int = 0  # jobs that were cancelled and then started over
    urls: int = 0
    requests: int = 0
    refused: int = 0  # requests to hosts that throttled
    torn: int = 0
    orphans: int = 0
    deaths: int = 0
    worst: Counter[str] = field(default_factory=Counter)
    slowest_end: float = 0.0  # seconds from a job's last fault to its end

    @property
    def is_good(self) -> bool:
        return not (self.torn or self.orphans or self.deaths or self.worst.total() - self.worst["worn"])

    def lines(self) -> list[str]:
        dealt = ", ".join(f"{count} {name}" for name, count in self.faults.most_common())
        found = ", ".join(f"{self.worst[key]} {key}" for key in ("lost", "twice", "strange", "unexpected", "wrong"))
        again = self.requests - self.urls
        return [
            f"{self.kills} kills -9 in {self.jobs} jobs of {self.urls:,} URLs in all; {self.cancelled} more cancelled",
            f"faults: {dealt}",
            f"checked: {found}, {self.torn} torn while running",
            f"processes: {self.orphans} orphaned, {self.deaths} workers ended by themselves",
            f"fetched again: {again:,} URLs, {again / max(1, sum(self.faults.values())):.1f} per fault",
            f"refused by hosts that throttled: {self.refused:,} requests",
            f"worn by chance, five of their workers killed in turn: {self.worst['worn']} URLs",
            f"slowest end after a job's last fault: {self.slowest_end:.1f} s",
        ]


class Storm:
    """Deals faults to a site while job after job runs, until its kills are spent."""

    def __init__(
        self,
        site: Site,
        source: Source,
        *,
        kills: int,
        seed: int,
        urls: int,
        batch_size: int,
        pause: float = 0.6,
        only: Sequence[str] = (),
        without: Sequence[str] = (),
        report: TextIO | None = None,
        tell: Callable[[str], None] = print,
    ) -> None:
        """``pause`` is the longest time, in seconds, the site is left alone once it is at work again."""
        self.tally = Tally()
        self._site = site
        self._source = source
        self._kills = kills
        self._random = random.Random(seed)
        self._urls = urls
        self._batch_size = batch_size
        self._pause = pause
        self._report = report
        self._tell = tell
        self._next_url = 0
        self._thaws: list[threading.Timer] = []
        self._names: dict[str, str] = {}
        self._watch = Watch(site.files, self._names.get)
        every: list[tuple[str, int, Callable[[Job], None]]] = [
            ("worker", 3, self._kill_worker),
            ("worker and its processes", 3, self._kill_worker_family),
            ("pool process", 5, self._kill_pool_process),
            ("producer", 4, lambda job: job.kill()),
            ("redis", 2, self._kill_redis),
            ("flower", 1, self._kill_flower),
            ("(SIGTERM to a worker)", 1, self._terminate_worker),
            ("(worker frozen past its lease)", 1, self._freeze_worker),
            ("(connections reset)", 1, lambda _: self._site.relay.reset()),
            ("(connections closed)", 1, lambda _: self._site.relay.drop()),
            ("(slow network)", 1, self._slow_down),
            ("(silent network)", 1, self._silence),
            ("(paused for a while)", 2, self._pause_for_a_while),
            ("(a host throttles)", 2, self._throttle),
            ("(cancelled)", 1, lambda job: self._ignore(self._while_redis_answers(job.cancel))),
        ]
        self._faults = [each for each in every if (not only or each[0] in only) and each[0] not in without]

    def run(self, folder: Path) -> Tally:
        """Run jobs until the kills are spent; every job is checked at its end.

        Raises:
            Failed, TimeoutError: a producer failed, or a job did not end.
        """
        while self.tally.kills < self._kills:
            number = self.tally.jobs + 1
            verdict = self._one_job(folder / f"job-{number}", is_split=number % 2 == 0)
            self.tally.worst.update({k: v for k, v in verdict.counts().items() if k != "urls"})
            self.tally.torn = len(self._watch.torn)
            self.tally.orphans = len(self._site.orphans)
            for death in self._site.deaths[self.tally.deaths :]:
                self._tell(death)
            self.tally.deaths = len(self._site.deaths)
            self._note(verdict)
            if not verdict.is_good:
                self._tell(f"job {number}: {verdict}")
        return self.tally

    def _one_job(self, folder: Path, *, is_split: bool) -> Verdict:
        numbers = range(self._next_url, self._next_url + self._urls)
        self._next_url += self._urls
        urls = [self._source.url(number) for number in numbers]
        expected = {url: sha256_of(number) for url, number in zip(urls, numbers, strict=True)}
        self._names.update({output_name(url): sha256 for url, sha256 in expected.items()})
        job = Job(self._site, folder, urls, batch_size=self._batch_size, is_split=is_split)
        try:
            last_fault = self._deal(job)
            if self._site.sweeps:
                job.wait(within=_ENOUGH)
            else:
                self._wait_for_what_comes(job)
        except BaseException:
            job.end()
            raise
        self.tally.slowest_end = max(self.tally.slowest_end, time.monotonic() - last_fault)
        self._watch.look()
        self.tally.jobs += 1
        self.tally.urls += len(urls)
        self.tally.requests = self._source.served.total()
        self.tally.refused = self._source.refused.total()
        files = self._site.files
        for rows in job.cancelled:
            self._note_cancelled(judge(urls, rows, files, sha256_of=expected.__getitem__, was_cancelled=True))
        return judge(urls, rows_of(job.manifest), files, sha256_of=expected.__getitem__)

    def _note_cancelled(self, verdict: Verdict) -> None:
        self.tally.cancelled += 1
        self.tally.worst.update({k: v for k, v in verdict.counts().items() if k != "urls"})
        if not verdict.is_good:
            self._tell(f"a cancelled job: {verdict}")

    def _wait_for_what_comes(self, job: Job) -> None:
        rows, since = job.rows(), time.monotonic()
        while not job.is_over():
            if job.rows() != rows:
                rows, since = job.rows(), time.monotonic()
            if time.monotonic() - since > _GIVEN_UP:
                job.end()
                return
            self._site.tend()
            time.sleep(0.2)

    def _deal(self, job: Job) -> float:
        """Hurt the site at random moments while the job runs; return when it was hurt last."""
        last, last_blows = time.monotonic(), 0
        while not job.is_over() and self.tally.kills < self._kills and last_blows < _LAST_BLOWS:
            self._await_work(job)
            self._strike(job)
            last = time.monotonic()
            last_blows += len(job.urls) - job.rows() <= _LAST_BATCHES * self._batch_size
            self._watch.look(most=60)
            self._site.tend()
        return last

    def _strike(self, job: Job) -> None:
        """Deal one fault, or two different ones at the same moment."""
        names, weights, acts = zip(*self._faults, strict=True)
        drawn = self._random.choices(list(zip(names, acts, strict=True)), weights, k=self._random.choice(_AT_A_BLOW))
        for name, act in dict(drawn).items():
            act(job)
            self.tally.faults[name] += 1
            self.tally.kills += not name.startswith("(")

    def _await_work(self, job: Job) -> None:
        """Wait until URLs are being fetched again, and a random moment more: killing the idle proves little."""
        served, since = self._source.served.total(), time.monotonic()
        while time.monotonic() - since < _IDLE_FOR and not job.is_over():
            if self._source.served.total() - served >= _AT_WORK:
                break
            self._site.tend()
            time.sleep(0.02)
        until = time.monotonic() + self._random.uniform(0.0, self._pause)
        while time.monotonic() < until and not job.is_over():
            time.sleep(0.01)

    def _note(self, verdict: Verdict) -> None:
        self._tell(f"{self.tally.kills:5} kills, {self.tally.jobs:3} jobs: {verdict}")
        if self._report is not None:
            record = {"kills": self.tally.kills, "faults": dict(self.tally.faults), **verdict.counts()}
            self._report.write(json.dumps({**record, "torn": self.tally.torn, "deaths": self.tally.deaths}) + "\n")
            self._report.flush()

    # ---- the faults

    def _worker(self) -> CeleryWorker:
        """One of those that run: what the same blow has killed cannot be killed again."""
        return self._random.choice([each for each in self._site.workers if each.is_running] or self._site.workers)

    def _kill_worker(self, _: Job) -> None:
        self._site.doom(self._worker()).kill(children_too=False)

    def _kill_worker_family(self, _: Job) -> None:
        self._site.doom(self._worker()).kill()

    def _kill_pool_process(self, _: Job) -> None:
        children = [(worker, pid) for worker in self._site.workers for pid in worker.children()]
        if not children:
            return
        worker, pid = self._random.choice(children)
        if "ready." not in worker.log():
            self._site.doom(worker)  # Celery gives up when a pool process dies before all are up
        send(pid, signal.SIGKILL)

    def _kill_redis(self, _: Job) -> None:
        self._site.restart_redis(away=self._random.uniform(0.0, 1.5))

    def _kill_flower(self, _: Job) -> None:
        if self._site.flower is not None:
            self._site.flower.kill()
            self._site.flower.wait()

    def _terminate_worker(self, _: Job) -> None:
        self._site.doom(self._worker()).send_signal(signal.SIGTERM)

    def _freeze_worker(self, _: Job) -> None:
        worker = self._worker()
        family = [worker.pid, *worker.children()]
        for pid in family:
            send(pid, signal.SIGSTOP)
        self._later(self._site.lease + 2.0, lambda: [send(pid, signal.SIGCONT) for pid in family])

    def _slow_down(self, _: Job) -> None:
        self._site.relay.set(latency=0.05)
        self._later(2.0, lambda: self._site.relay.set(latency=0.0))

    def _silence(self, _: Job) -> None:
        self._site.relay.freeze()
        self._later(2.0, self._site.relay.thaw)

    def _pause_for_a_while(self, job: Job) -> None:
        resume = self._while_redis_answers(job.pause)
        if resume is not None:
            self._later(self._random.uniform(0.5, 4.0), lambda: self._until_it_answers(resume))

    def _throttle(self, _: Job) -> None:
        """Every second time it asks for a pause so long that what waits for the host is parked in the ledger."""
        host, status, asked = (self._random.choice(self._source.hosts), *self._random.choice(_REFUSALS))
        self._source.throttle(host, status=status, retry_after=asked, seconds=self._random.uniform(0.5, 5.0))

    @staticmethod
    def _while_redis_answers(act: Callable[[], Answer]) -> Answer | None:
        """Do it, unless Redis is being hurt too."""
        try:
            return act()
        except redis.exceptions.RedisError:
            return None

    @staticmethod
    def _until_it_answers(act: Callable[[], object]) -> None:
        until = time.monotonic() + _ENOUGH
        while time.monotonic() < until:
            try:
                act()
            except redis.exceptions.RedisError:
                time.sleep(0.2)
            else:
                return

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()
        self._thaws.append(timer)

    def settle(self) -> None:
        """Wait until what was frozen runs again."""
        for timer in self._thaws:
            timer.join()

    @staticmethod
    def _ignore(_: object) -> None:
        return None
