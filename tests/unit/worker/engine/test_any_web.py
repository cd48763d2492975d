"""Whatever servers do, and whenever batches are parted, stopped and handed on: every URL ends once."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from contract.records.batches import BatchEntry
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld
from worker.engine.failures import Breakage
from worker.engine.ports import Answer
from worker.engine.results import Leftover
from worker.engine.run import Run

_NEVER = 1e6  # seconds
_GRACE = 60.0  # seconds a batch may take beyond its own and one URL's; after 300 the watchdog ends its process
_OVERDUE = 96  # a seed with which a URL that stalled before is past its deadline between two hops
_HOSTS = [f"{name}.test" for name in "abcdef"]
_FATES = (
    Reply(),
    Reply(after=8.0),
    Reply(after=_NEVER),
    Reply(after=_NEVER, body=bytes(1_000_000), drip=20.0),
    Reply(status=404),
    Reply(status=503),
    Reply(status=429, fields=(("Retry-After", "2"),)),
    Reply(status=503, fields=(("Retry-After", "30"),)),
    Reply(status=302, fields=(("Location", "http://a.test/elsewhere"),)),
    Reply(breakage=Breakage.CONNECT),
    Reply(breakage=Breakage.CUT),
    Reply(breakage=Breakage.STALE),
)


class _Job:
    """A list of URLs in batches, which one process runs, parts, stops and hands on at random."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._fates = {host: random.choices(_FATES, k=random.choice([1, 1, 3])) for host in _HOSTS}
        self._window = random.choice([1, 2, 4, 8])
        self._world = VirtualWorld(self._answer, window=self._window)
        for host in random.sample(_HOSTS, k=1):
            self._world.names.answers[host] = Answer(fault="no such name", is_final=True)
        self._policy = JobPolicy(
            timeout=random.choice([5.0, 40.0, 300.0]),
            attempts=random.choice([1, 3]),
            first_byte_timeout=random.choice([0.0, 3.0, 60.0]),
            per_host=random.choice([0, 0, 1]),
            host_patience=random.choice([10.0, 300.0]),
            batch_seconds=random.choice([5.0, 60.0]),
        )
        self.urls = [f"http://{random.choice(_HOSTS)}/{number}" for number in range(60)]
        self.ended: list[str] = []
        self._due = [self.urls[start : start + 15] for start in range(0, 60, 15)]
        self._again: list[tuple[float, BatchEntry]] = []
        self._runs: dict[Run, float] = {}  # each with the second by which it must have ended

    def run(self) -> None:
        """Run it to its end."""
        world = self._world
        while self._due or self._again or self._runs:
            assert world.clock.seconds < 20_000
            self._claim()
            for run in list(self._runs):
                self._look_at(run)
            if self._runs:
                world.drive_once()
            else:
                world.clock.seconds += 0.5
        world.drive_until(lambda: world.lane.is_idle)

    def leaves(self) -> tuple[int, int, int, int]:
        """Return what it leaves: transfers in flight, those of them that are quiet, those between hops, and drafts."""
        lane = self._world.lane
        schedule = lane._schedule
        return schedule.flying, schedule.quiet, len(lane._flow._between), len(self._world.store.drafts)

    def _answer(self, url: str, _turn: int) -> Reply:
        return self._random.choice(self._fates[url.split("/")[2]])

    def _claim(self) -> None:
        if sum(run.fetching for run in self._runs) >= 1.5 * self._window:
            return
        now = self._world.clock.seconds
        again = [entry for at, entry in self._again if at <= now][:15]
        if again:
            self._again = [(at, entry) for at, entry in self._again if entry not in again]
            self._start(again)
        elif self._due:
            self._start(self._due.pop())

    def _start(self, entries: Sequence[str | BatchEntry]) -> None:
        self._runs[self._world.start(entries, self._policy)] = self._end_of_a_run()

    def _end_of_a_run(self) -> float:
        return self._world.clock.seconds + self._policy.batch_seconds + self._policy.timeout + _GRACE

    def _look_at(self, run: Run) -> None:
        assert self._world.clock.seconds < self._runs[run]
        if run.wait(0):
            del self._runs[run]
            self._hand_on(run.leftovers)
            self.ended += [outcome.url for outcome in run.outcomes]
        elif self._random.random() < 0.01 and (settled := run.pop_settled()) is not None:
            self._runs[run] = self._end_of_a_run()
            self._hand_on(settled.leftovers)
            self.ended += [outcome.url for outcome in settled.outcomes]
        elif self._random.random() < 0.001:
            run.stop(within=2.0)

    def _hand_on(self, leftovers: Sequence[Leftover]) -> None:
        now = self._world.clock.seconds
        self._again += [(now + leftover.after, leftover.entry) for leftover in leftovers]


@pytest.mark.parametrize("seed", [*range(30), _OVERDUE])
def test_every_url_ends_once_and_nothing_is_left(seed: int) -> None:
    job = _Job(Random(seed))

    job.run()

    assert sorted(job.ended) == sorted(job.urls)
    assert job.leaves() == (0, 0, 0, 0)
