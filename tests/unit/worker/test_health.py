"""What a worker reports when it cannot work: at once, repeatedly, and when it is over."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
import redis.exceptions

from contract.ledger.health import BELIEVED_FOR, Trouble
from worker.batch.disk_backoff import DiskBackoff
from worker.events import Event, TroubleSeen
from worker.health import HealthWatch, Heartbeat, trouble_of
from worker.settings import WorkerSettings

FULL = Trouble("The disk is full (ENOSPC).")


class World:
    """A worker's trouble, and what was reported at which second."""

    def __init__(self) -> None:
        self.time = 0.0
        self.trouble: Trouble | None = None
        self.told: list[tuple[float, str]] = []
        self.beats: list[float] = []
        self.seen: list[Trouble | None] = []
        self.is_redis_away = False
        self.watch = HealthWatch(
            lambda: self.trouble,
            report=lambda trouble: self._tell(f"report {trouble.reason}"),
            clear=lambda: self._tell("clear"),
            beat=lambda: self.beats.append(self.time),
            listener=self,
            clock=lambda: self.time,
        )

    def notify(self, event: Event) -> None:
        assert isinstance(event, TroubleSeen)
        self.seen.append(event.trouble)

    def _tell(self, what: str) -> None:
        if self.is_redis_away:
            raise redis.exceptions.ConnectionError
        self.told.append((self.time, what))

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // 2):
            self.watch.step()
            self.time += 2.0


def test_a_healthy_worker_reports_only_that_it_is_alive() -> None:
    """Guards the beat: without it a job would be shown without a worker."""
    world = World()
    world.pass_time(20)

    assert world.told == []
    assert world.beats[0] == 0.0
    assert all(later - earlier < BELIEVED_FOR for earlier, later in pairwise([*world.beats, 20.0]))
    assert world.watch.trouble is None


def test_trouble_is_reported_at_once_renewed_in_time_and_cleared() -> None:
    """Guards the renewal: a record expires by itself."""
    world = World()
    world.trouble = FULL
    world.pass_time(20)
    reports = [at for at, what in world.told if what == f"report {FULL.reason}"]

    assert reports[0] == 0.0
    assert world.seen == [FULL] * 10
    assert all(later - earlier < BELIEVED_FOR for earlier, later in pairwise(reports))
    assert len(reports) == 4
    world.trouble, world.told = None, []
    world.pass_time(8)

    assert [what for _, what in world.told] == ["clear"]
    assert world.seen[-1] is None


def test_trouble_that_pauses_for_a_moment_is_one_trouble() -> None:
    """Guards the wait before it is over: work is tried again after each pause."""
    world = World()
    for _ in range(5):
        world.trouble = FULL
        world.pass_time(4)
        world.trouble = None
        world.pass_time(2)

    assert None not in world.seen
    assert "clear" not in [what for _, what in world.told]


def test_trouble_that_redis_missed_is_reported_when_it_is_back() -> None:
    world = World()
    world.trouble, world.is_redis_away = FULL, True
    world.pass_time(4)
    assert world.told == []
    world.is_redis_away = False
    world.pass_time(2)

    assert world.told == [(4.0, f"report {FULL.reason}")]
    assert world.seen == [FULL] * 3, "what needs no Redis is told all the while"
    world.trouble, world.is_redis_away = None, True
    world.pass_time(8)
    world.is_redis_away = False
    world.pass_time(4)

    assert [what for _, what in world.told[1:]] == ["clear"]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("The disk is full (ENOSPC).", "ENOSPC"),
        ("The disk has no room for another file (inodes).", "inodes"),
        ("The disk has 63 MiB free, less than the 64 MiB to be kept free.", "space"),
        ("A lane failed.", "other"),
    ],
)
def test_trouble_has_a_label_for_metrics(reason: str, code: str, tmp_path: Path) -> None:
    backoff = DiskBackoff()
    backoff.note(reason, began=0.0)

    trouble = trouble_of(WorkerSettings(output=str(tmp_path), min_free=0), backoff)

    assert trouble is not None
    assert (trouble.reason, trouble.label) == (reason, code)


def test_the_heartbeat_of_a_worker_that_takes_no_work_is_old_and_has_the_reason(tmp_path: Path) -> None:
    """Guards the old time stamp: the usual check is `find FILE -mmin -2`."""
    alive = tmp_path / "alive"
    world = World()
    heartbeat = Heartbeat(alive, world.watch)
    heartbeat.begin()
    assert alive.stat().st_mtime > 0
    world.trouble = FULL
    world.watch.step()
    heartbeat.beat()

    assert alive.read_text() == f"{FULL.reason}\n"
    assert alive.stat().st_mtime == 0
    world.trouble = Trouble("A body of 40 MiB waits.", takes_work=True)
    world.watch.step()
    heartbeat.beat()

    assert os.path.getsize(alive) == 0
    assert alive.stat().st_mtime > 0
