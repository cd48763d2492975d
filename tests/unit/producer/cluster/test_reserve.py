"""The embedded server's reserve: it exists while there is plenty of space, and is deleted when space is scarce."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from producer.cluster.reserve import PLENTY, SCARCE, SIZE, Reserve


class Disk:
    """A disk with so many bytes free, and time."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.time = 0.0
        self.looks = 0

    def reserve(self, path: Path) -> Reserve:
        return Reserve(path, free=self._look, clock=lambda: self.time)

    def _look(self, _folder: Path) -> int:
        self.looks += 1
        return self.free


def test_the_reserve_is_made_deleted_and_made_again(tmp_path: Path) -> None:
    disk, path = Disk(PLENTY), tmp_path / "reserve"
    reserve = disk.reserve(path)
    there = [path.stat().st_size]
    for free in (SCARCE, SCARCE - 1, SCARCE + SIZE, PLENTY):
        disk.free, disk.time = free, disk.time + 1.0
        reserve.look()
        there.append(path.stat().st_size if path.exists() else 0)

    assert there == [SIZE, SIZE, 0, 0, SIZE]
    assert path.stat().st_blocks * 512 >= SIZE, "a hole keeps no space"


def test_a_small_disk_gets_no_reserve(tmp_path: Path) -> None:
    Disk(PLENTY - 1).reserve(tmp_path / "reserve")

    assert list(tmp_path.iterdir()) == []


def test_the_reserve_is_checked_rarely(tmp_path: Path) -> None:
    disk = Disk(PLENTY)
    reserve = disk.reserve(tmp_path / "reserve")
    for _ in range(10):
        reserve.look()

    assert disk.looks == 1


def test_a_reserve_that_cannot_be_made_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the except in look, and the removal of half a reserve."""

    def full(_file: int, _at: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.posix_fallocate", full)
    Disk(PLENTY).reserve(tmp_path / "reserve")

    assert list(tmp_path.iterdir()) == []
