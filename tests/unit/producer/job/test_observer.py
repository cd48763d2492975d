"""What a cluster is asked to display a job: only so often; without an answer the last one stays."""

from __future__ import annotations

from collections import Counter
from typing import cast

import redis.exceptions

from contract.ledger.health import Census, Trouble, WorkerHealth
from contract.ledger.values import Child, JobState
from contract.records.policy import JobPolicy
from contract.records.snapshots import ProgressSnapshot
from producer.job.live_progress import LiveProgress
from producer.job.observer import STOPPING, Observer, Seen
from producer.job.tally import Tally
from producer.job.troubles import Troubles
from tests.support.clocked_ledger import batch_of, claimed, report_of
from tests.support.memory_ledger import MemoryLedger

AWAY = redis.exceptions.ConnectionError()
FULL = Trouble("The disk is full (ENOSPC).")


class World:
    """A cluster that counts what it is asked, and a clock; of a job's batches one is held, one waits, one is parked."""

    def __init__(self, *, every: float | None = 2.0, is_own: bool = False, is_at_its_last: bool = False) -> None:
        self.now = 0.0
        self.is_unreachable = False
        self.answer = Census({"celery@a": 1.0}, {})
        self.told: list[str] = []
        self.live = LiveProgress(Tally(), clock=lambda: self.now)
        self.ledger = MemoryLedger()
        self.ledger.create("job", JobPolicy())
        self.ledger.open("job", [batch_of(*"1abcdefghij")])
        self.ledger.seal("job", {})
        self.claim = claimed(self.ledger, "1", holder="celery@a", job="job")
        if not is_at_its_last:
            self.ledger.open("job", [batch_of("2"), batch_of("3")])
            parted = claimed(self.ledger, "3", job="job")
            parked = Child(b"", 12, 90.0, {"slow.test:443": 12}), Child(b"", 3, 60.0, {"slow.test:80": 3})
            self.ledger.close(parted, report_of(parted, [], handed_off=[parted.child(1), parted.child(2)]), parked)
        self.observer = Observer(
            "job",
            ledger=self.ledger,
            health=cast("WorkerHealth", self),
            live=self.live,
            resumed_by="trawl resume job",
            troubles=Troubles(self.told.append),
            every=every,
            is_own=is_own,
            clock=lambda: self.now,
            wall=lambda: 0.0,
        )

    @property
    def asked(self) -> Counter[str]:
        return self.ledger.calls

    def census(self) -> Census:
        self.asked["census"] += 1
        if self.is_unreachable:
            raise AWAY
        return self.answer

    def be_away(self) -> None:
        self.is_unreachable = True
        self.ledger.failures = {method: [AWAY] * 1000 for method in ("open_batches", "waits")}

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            totals = {"lines": 100, "urls": 100, "refused": 0, "duplicates": 0}
            self.observer.look(Seen(record=self.ledger.job("job"), totals=totals))
            self.now += 0.1

    def tell(self, rows: int, **more: int) -> None:
        self.live.add_snapshot(ProgressSnapshot("1", {"ok": rows}, rows * 10, **more).to_wire())  # type: ignore[arg-type]


def test_a_cluster_is_asked_every_two_seconds_and_not_in_every_step() -> None:
    world = World()

    world.pass_time(10.0)

    assert [world.asked[what] for what in ("census", "open_batches", "waits")] == [5, 5, 5]


def test_a_quiet_run_asks_for_troubles_only() -> None:
    world = World(every=None)

    world.pass_time(10.0)

    assert (world.asked["census"] > 0, world.asked["open_batches"], world.asked["waits"]) == (True, 0, 0)


def test_with_lines_open_batches_are_queried_only_while_nothing_comes() -> None:
    """Guards the round trips of a run that goes well: six per batch in total."""
    world = World(every=5.0)
    for second in range(20):
        world.tell(second)
        world.pass_time(1.0)
    flowing = world.asked["open_batches"]
    status = world.observer.status()
    world.pass_time(10.0)

    assert flowing == 0
    assert status.workers[0].batches is None, "nobody asked"
    assert world.asked["open_batches"] >= 1
    assert world.observer.status().workers[0].batches == 1


def test_while_the_cluster_is_unreachable_the_last_answer_stays() -> None:
    world = World()
    world.pass_time(3.0)
    world.be_away()
    world.pass_time(5.0)

    status = world.observer.status()

    assert [line.worker for line in status.workers] == ["celery@a"]
    assert (status.waiting, status.running, status.deferred) == (1, 1, 2)


def test_a_status_includes_open_batches_and_no_guessed_time() -> None:
    world = World()
    for second in range(8):
        world.tell(second, flying=2, quiet=1)
        world.pass_time(1.0)
    slow = world.observer.status()
    for second in range(40):
        world.tell(second * 2, flying=2, quiet=1)
        world.pass_time(1.0)

    status = world.observer.status()

    assert slow.left is None, "seven URLs are no basis"
    assert (status.done, status.known, status.flying, status.quiet) == (78, 100, 2, 1)
    assert status.rate is not None
    assert 1.5 < status.rate < 2.5
    due = world.ledger.open_batches("job").due or 0.0
    assert status.left == due >= 60.0, "what waits for a host waits at least as long"
    assert status.workers[0].urls == 10
    (wait,) = status.waits
    assert (wait.host, wait.urls) == ("slow.test", 15), "the port of https goes without saying"
    assert wait.left <= due


def test_a_job_waiting_for_a_throttling_host_is_held_up_by_it() -> None:
    """Guards ``throttling``: "held up by nothing" was reported."""
    world = World()
    world.tell(1)
    world.pass_time(5.0)
    for batch, left in (("1", 4.0), ("2", 3.0)):
        waits = ProgressSnapshot(batch, {}, 0, throttled=7, throttling={"slow.test:443": left})
        world.live.add_snapshot(waits.to_wire())

    hold_up = world.observer.status().hold_up

    assert hold_up.kind == "hosts"
    assert hold_up.sentence.startswith("14 URLs wait for slow.test, which throttles and is asked again at ")
    assert hold_up.sentence.endswith(", in 0:03.")


def test_no_time_left_is_shown_for_the_last_silent_urls() -> None:
    """Guards _is_all_silent: with the last 28 URLs all silent, four seconds were said to be left."""
    world = World(is_at_its_last=True)
    for second in range(40):
        world.tell(second * 2, flying=2, quiet=1)
        world.pass_time(1.0)
    assert world.observer.status().left is not None
    world.tell(80, flying=2, quiet=2)

    assert world.observer.status().left is None


def test_our_own_worker_is_queried_often_until_it_reports() -> None:
    """Guards _ASKED_FIRST: a run would show for two seconds that a worker is starting which is working."""
    world = World(is_own=True)
    world.answer = Census({}, {})
    world.pass_time(1.0)
    assert world.observer.status().hold_up.sentence == "" or world.asked["census"] == 2
    world.answer = Census({"trawl@embedded": 0.0}, {"trawl@embedded": FULL})
    world.pass_time(0.6)

    assert world.observer.status().hold_up.sentence == "The worker takes no work: The disk is full (ENOSPC)."
    assert world.told == ["Worker trawl@embedded takes no work: The disk is full (ENOSPC)."]


def test_the_display_changes_with_the_jobs_state() -> None:
    """Guards _note_state: five seconds after "is resumed", a line said that the job is paused."""
    world = World(every=5.0)
    world.pass_time(6.0)
    shown = []
    for state in (JobState.PAUSED, JobState.RUNNING):
        world.ledger.control("job", state)
        world.pass_time(0.1)
        shown.append(world.observer.status().hold_up.kind)

    assert shown[0] == "paused"
    assert shown[1] != "paused"


def test_nothing_is_in_flight_once_no_batch_is_held() -> None:
    """Guards _is_still: a paused job showed "in flight 20, 20 silent" until its snapshots expired."""
    world = World()
    told = ProgressSnapshot("1", {"ok": 1}, 10, flying=20, quiet=20, unresolved=3, hosts={"slow.test:443": 20})
    world.live.add_snapshot(told.to_wire())
    world.pass_time(1.0)
    before = world.observer.status()
    world.ledger.close(world.claim, report_of(world.claim))
    world.pass_time(2.0)

    after = world.observer.status()

    assert [(each.flying, each.quiet, each.unresolved, len(each.hosts)) for each in (before, after)] == [
        (20, 20, 3, 1),
        (0, 0, 0, 0),
    ]
    assert after.done == 1, "its outcomes count until its report is here"


def test_a_stopping_job_is_shown_as_stopping() -> None:
    world = World()
    world.observer.stage = STOPPING

    status = world.observer.status()

    assert (status.state, status.hold_up.kind, status.left) == ("stopping", "stopping", None)
