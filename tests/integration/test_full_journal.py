"""A journal on a full disk: the cure is space, never to remove what the job goes on from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netbox import NotPermittedError
from tests.support.tiny_disk import PROJECT, TinyDisk

SAID = "The disk of {} is full: free some space and run the same command again.\n"

OPEN = """
import sys
from pathlib import Path
from contract.errors import FolderError
from producer.job.plan import prepare_folder
from producer.storage.journal import Journal, KeptBatch

try:
    journal = Journal(prepare_folder(Path(sys.argv[1])))
"""
SAY = """
except FolderError as error:
    print(error)
"""
WRITE = """
    journal.begin("job-1")
    for number in range(100):
        journal.record_fed([KeptBatch(str(number), 1, bytes(65536))], None)
"""


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TinyDisk]:
    with ExitStack() as mounted:
        try:
            disk = mounted.enter_context(TinyDisk(tmp_path / "disk", size=getattr(request, "param", "1m")))
        except NotPermittedError as reason:
            pytest.skip(f"no file system of our own here: {reason}")
        yield disk


def said_there(disk: TinyDisk, code: str) -> str:
    return subprocess.check_output([disk.python, "-c", code, disk.path / "out"], cwd=PROJECT, text=True)


@pytest.mark.parametrize("left", [0, 4096, 8192, 16384, 32768])
def test_a_journal_that_a_full_disk_cannot_open_is_not_to_be_removed(disk: TinyDisk, left: int) -> None:
    """Guards _is_full: SQLite says "disk I/O error" or "database or disk is full", as it happens to notice."""
    disk.fill(leave=left)

    assert said_there(disk, OPEN + SAY) == SAID.format(disk.path / "out")


@pytest.mark.parametrize("disk", [f"1m,nr_inodes={inodes}" for inodes in range(2, 7)], indirect=True)
def test_a_disk_without_inodes_is_full_too(disk: TinyDisk) -> None:
    """Guards the look at the folder, which takes the first of them."""
    assert said_there(disk, OPEN + SAY) == SAID.format(disk.path / "out")


def test_a_disk_that_fills_up_meanwhile_is_told_and_the_job_goes_on_with_space(disk: TinyDisk) -> None:
    disk.fill(leave=600_000)
    assert said_there(disk, OPEN + WRITE + SAY) == SAID.format(disk.path / "out")

    disk.empty()

    assert said_there(disk, OPEN + "    print(journal.job, journal.count_undrained() > 0)" + SAY) == "job-1 True\n"
