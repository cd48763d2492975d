"""Live progress: each outcome once, whether its batch is closed or not, and none of a dead worker."""

from __future__ import annotations

import pytest

from contract.errors import MessageError
from contract.records.snapshots import ProgressSnapshot
from producer.job.live_progress import LiveProgress
from producer.job.tally import Tally


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.tally = Tally()
        self.live = LiveProgress(self.tally, clock=lambda: self.now)

    def snapshot(self, batch: str, size: int, **counts: int) -> None:
        self.live.add_snapshot(ProgressSnapshot(batch, counts, size).to_wire())

    @property
    def shown(self) -> tuple[int, int]:
        return self.live.rows, self.live.fetched


def test_open_batches_count_by_their_snapshots() -> None:
    bench = Bench()
    bench.tally.counts["ok"] += 10
    bench.tally.fetched += 1000

    bench.snapshot("1", 50, ok=1)
    bench.snapshot("1", 300, ok=2, failed=1)
    bench.snapshot("2", 7, refused=1)

    assert bench.shown == (14, 1307)
    assert bench.live.counts == {"ok": 12, "kept": 0, "failed": 1, "refused": 1}


def test_a_late_snapshot_does_not_count_a_collected_batch_twice() -> None:
    bench = Bench()
    bench.snapshot("1", 300, ok=3)

    bench.tally.counts["ok"] += 4
    bench.live.end(["1"])
    bench.snapshot("1", 300, ok=3)

    assert bench.shown == (4, 0)


def test_closed_batches_are_not_remembered_for_ever() -> None:
    bench = Bench()
    bench.live.end(map(str, range(3000)))

    assert len(bench.live._over) == 1000
    bench.snapshot("2999", 1, ok=1)
    assert bench.shown == (0, 0)


def test_snapshots_of_a_silent_worker_expire() -> None:
    bench = Bench()
    bench.snapshot("1", 300, ok=3)
    bench.now = 9.0
    bench.snapshot("2", 100, ok=1)

    bench.now = 11.0

    assert bench.shown == (1, 100)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\xff",
        b"[1]",
        b"{}",
        b'{"batch":1,"counts":{},"fetched":0}',
        b'{"batch":"1","counts":[],"fetched":0}',
        b'{"batch":"1","counts":{},"fetched":-1}',
        b'{"batch":"1","counts":{},"fetched":true}',
        b'{"batch":"1","counts":{"ok":1e300},"fetched":0}',
        b'{"batch":"1","counts":{"new":1},"fetched":0}',
        b'{"batch":"1","counts":{"ok":123456789012345678901234567890},"fetched":0}',
    ],
)
def test_an_unreadable_snapshot_is_ignored(told: bytes) -> None:
    bench = Bench()

    bench.live.add_snapshot(told)

    assert bench.shown == (0, 0)
    with pytest.raises(MessageError):
        ProgressSnapshot.from_wire(told)
