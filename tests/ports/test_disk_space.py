"""The output folder: the floor stays free, and a body that can never fit is told from one that can wait."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bodies import body_bytes
from tests.support.drafts import NAME, a_draft, files_in, named_files, open_draft, put, temporary_files
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder
from worker.engine.ports import BodyTooLargeError, DiskTrouble, NoSpaceError, Store

MIB = 1024**2
FLOOR = 64 * MIB


class SmallDisk(FaultyCalls):
    """A disk of a given size: reserved and written bytes of all processes count."""

    def __init__(self, size: int, *, used: int = 0, keeps_promises: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.size, self.used, self.looks = size, used, 0
        self._keeps_promises = keeps_promises
        self.f_flag, self.f_files, self.f_favail, self.f_frsize = 0, 1000, 1000, 1
        self._aside: dict[int, int] = {}

    @property
    def f_blocks(self) -> int:
        return self.size

    @property
    def f_bavail(self) -> int:
        return self.size - self.used

    def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
        if name == "fstatvfs":
            self.looks += 1
            return self
        if name == "pwrite":
            fd, data, at = args
            new = max(0, at + len(data) - self._aside.get(fd, 0))
            self.used += new
            self._aside[fd] = self._aside.get(fd, 0) + new
            return len(data)
        if name == "close":
            self._aside.pop(args[0], None)
        if name == "ftruncate":
            self.used -= self._aside.get(args[0], 0) - args[1]
        return super()._call(name, real, args, options)

    def _fallocate(self, fd: int, mode: int, at: int, size: int) -> int:
        assert mode == 1, "the size of the file stays"
        if not self._keeps_promises:
            ctypes.set_errno(errno.EOPNOTSUPP)
            return -1
        self.used += size
        self._aside[fd] = at + size
        return 0


def written(write: Callable[[int], object]) -> int:
    """Write until the disk takes no more; return how often it did."""
    for number in itertools.count():
        try:
            write(number)
        except DiskTrouble:
            return number
    raise AssertionError("unreachable")


@pytest.fixture(params=[True, False], ids=["set-aside", "counted"])
def small(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    small = SmallDisk(200 * MIB, keeps_promises=request.param)
    with small:
        yield small


def test_reserved_bodies_leave_the_floor_free(out: Path, small: SmallDisk) -> None:
    """Guards the reserved space and, where it is only counted, reserved bytes that did not come yet."""
    folder = OutputFolder(out, min_free=FLOOR)

    drafts = [folder.draft(NAME, 40 * MIB) for _ in range(3)]
    with pytest.raises(NoSpaceError, match=r"A body of 40 MiB waits: the disk has \d+ MiB free and 64 MiB must"):
        folder.draft(NAME, 40 * MIB)
    for draft in drafts:
        draft.write(b"x" * (40 * MIB), 0)

    assert small.f_bavail >= FLOOR
    assert folder.trouble() is None
    for draft in drafts:
        draft.discard()


def test_two_processes_do_not_reserve_the_same_space(out: Path) -> None:
    """Guards space reserved on the disk: one process cannot see what another only counts."""
    with SmallDisk(200 * MIB):
        one, other = OutputFolder(out, min_free=FLOOR), OutputFolder(out, min_free=FLOOR)
        draft = one.draft(NAME, 100 * MIB)

        with pytest.raises(NoSpaceError):
            other.draft(NAME, 100 * MIB)
        draft.discard()


def test_space_reserved_by_two_processes_at_once_is_not_used_twice(out: Path) -> None:
    """Guards the check after reserving: both had looked before either reserved anything."""

    class Shared(SmallDisk):
        def _fallocate(self, fd: int, mode: int, at: int, size: int) -> int:
            self.used += 100 * MIB
            return super()._fallocate(fd, mode, at, size)

    with Shared(200 * MIB):
        folder = OutputFolder(out, min_free=FLOOR)
        with pytest.raises(DiskTrouble):
            folder.draft(NAME, 100 * MIB)


def test_a_body_of_unknown_length_reserves_space_as_it_grows(out: Path, small: SmallDisk) -> None:
    """Guards the reservation in write."""
    small.used = 10 * MIB
    folder = OutputFolder(out, min_free=FLOOR)
    draft = folder.draft(NAME, None)

    pieces = written(lambda piece: draft.write(b"x" * MIB, piece * MIB))

    assert pieces == 200 - 10 - 64
    assert small.f_bavail >= FLOOR
    draft.discard()


def test_small_bodies_leave_the_floor_free_with_few_checks(out: Path) -> None:
    """Guards the share of a check: one per body would cost a hundredth of a lane's time."""
    with SmallDisk(200 * MIB, used=100 * MIB) as small:
        folder = OutputFolder(out, min_free=FLOOR)

        stored = written(lambda _: a_draft(files_in(folder), NAME, bytes(20_000), piece=20_000))

    assert small.f_bavail >= FLOOR
    assert stored > 36 * MIB * 0.9 / 20_000
    assert small.looks < stored / 5


def test_unused_reserved_space_is_returned(out: Path) -> None:
    """Guards the ftruncate of finish: a body of unknown length reserves up to twice its size."""
    with SmallDisk(200 * MIB) as small:
        folder = OutputFolder(out)
        draft = folder.draft(NAME, None)
        for piece in range(5):
            draft.write(b"x" * MIB, piece * MIB)
        assert small.used > 5 * MIB
        draft.finish(5 * MIB)

    assert small.used == 5 * MIB


def test_a_body_larger_than_the_disk_fails_before_its_first_byte_and_one_that_fits_an_emptier_disk_waits(
    out: Path,
) -> None:
    disk = SmallDisk(200 * MIB)
    with disk:
        folder = OutputFolder(out, min_free=FLOOR)

        with pytest.raises(BodyTooLargeError, match=r"of 142606337 bytes is more than .* could ever hold"):
            folder.draft(NAME, 200 * MIB - FLOOR + 1)
        folder.draft(NAME, 200 * MIB - FLOOR).discard()
        disk.used = 1
        with pytest.raises(NoSpaceError):
            folder.draft(NAME, 200 * MIB - FLOOR)
        assert temporary_files(out) == []


def test_a_bucket_of_unknown_size_is_not_taken_for_full(out: Path) -> None:
    """Guards f_blocks == 0, which some FUSE file systems return."""
    with SmallDisk(0):
        folder = OutputFolder(out, min_free=FLOOR)

        assert folder.trouble() is None
        folder.draft(NAME, MIB).discard()
        folder.close()


def test_the_process_limit_on_file_sizes_applies_before_the_first_byte(out: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        folder = OutputFolder(out)
        with pytest.raises(BodyTooLargeError):
            folder.draft(NAME, MIB + 1)
        put(files_in(folder), NAME, body_bytes(MIB))
        folder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert named_files(out)[NAME] == body_bytes(MIB)


@pytest.mark.parametrize("call", ["pwrite", "fallocate"])
def test_a_file_too_large_for_the_file_system_fails_alone(store: Store, out: Path, call: str) -> None:
    """Guards EFBIG (FAT has files up to 4 GiB): no other body is affected."""

    class TooLarge(FaultyCalls):
        def _count(self, made, *, is_needy):  # type: ignore[no-untyped-def]  # as the parent's
            return made.name == call

    draft = open_draft(store)
    with TooLarge(code=errno.EFBIG), pytest.raises(BodyTooLargeError, match="EFBIG"):
        draft.write(body_bytes(200_000), 0)
    draft.discard()

    assert a_draft(store, NAME, b"x") is not None
    assert os.listdir(out) == [".trawl"]
