"""A journal on a full disk: the fix is free space, never removing what the job resumes from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_disk import PROJECT, TinyDisk, tiny_disk_or_skip

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
OPEN_AND_WAIT = """
import sys
from pathlib import Path
from producer.job.plan import prepare_folder
from producer.storage.full_disk import SpaceWait
from producer.storage.journal import Journal, KeptBatch

def make_space(_seconds):
    (Path(sys.argv[1]).parent / "ballast").unlink()

space = SpaceWait(print, sleep=make_space, clock=float)
journal = Journal(prepare_folder(Path(sys.argv[1])), space=space, names_in_memory=20000)
if True:
"""
COLLECT = """
    for number in range(40):
        children = [KeptBatch(f"{number}.{child}", 1, bytes(16384)) for child in range(4)]
        journal.record_collected([str(number)], children)
    print(journal.count_uncollected())
"""
SEE = """
    from hashlib import md5
    names = [[md5(b"%d" % (turn * 20000 + number)).digest() for number in range(20000)] for turn in range(20)]
    for turn, some in enumerate(names):
        assert len(journal.mark_seen(some)) == 20000
        for step in range(10):
            journal.record_fed([], None, position={"turn": turn}, ahead=[(10 * turn + step, 1, 1, b"ahead")])
    journal.close()
    journal = Journal(prepare_folder(Path(sys.argv[1])))
    print(sum(len(journal.mark_seen(some)) for some in names))
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
    with tiny_disk_or_skip(tmp_path / "disk", getattr(request, "param", "1m")) as mounted:
        yield mounted


def said_there(disk: TinyDisk, code: str) -> str:
    return subprocess.check_output([disk.python, "-c", code, disk.path / "out"], cwd=PROJECT, text=True)


@pytest.mark.parametrize("left", [0, 4096, 8192, 16384, 32768])
def test_a_journal_on_a_full_disk_is_not_to_be_removed(disk: TinyDisk, left: int) -> None:
    """Guards _is_full: SQLite reports "disk I/O error" or "database or disk is full"."""
    disk.fill(leave=left)

    assert said_there(disk, OPEN + SAY) == SAID.format(disk.path / "out")


@pytest.mark.parametrize("disk", [f"1m,nr_inodes={inodes}" for inodes in range(2, 7)], indirect=True)
def test_a_disk_without_inodes_is_full_too(disk: TinyDisk) -> None:
    """Guards the error of opening the folder, which needs the first inode."""
    assert said_there(disk, OPEN + SAY) == SAID.format(disk.path / "out")


def test_a_disk_that_fills_up_is_reported_and_the_job_continues_with_space(disk: TinyDisk) -> None:
    disk.fill(leave=600_000)
    assert said_there(disk, OPEN + WRITE + SAY) == SAID.format(disk.path / "out")

    disk.empty()

    assert said_there(disk, OPEN + "    print(journal.job, journal.count_uncollected() > 0)" + SAY) == "job-1 True\n"


@pytest.mark.parametrize("disk", ["30m"], indirect=True)
@pytest.mark.parametrize(
    ("story", "left", "counted"),
    [
        (WRITE + "    print(journal.count_uncollected())\n", 600_000, 100),
        (COLLECT, 600_000, 160),
        (SEE, 600_000, 0),
        (SEE, 3_400_000, 0),
    ],
    ids=["fed", "collected", "seen", "seen-merging"],
)
def test_a_journal_waits_for_space_and_repeats_failed_writes(
    disk: TinyDisk, story: str, left: int, counted: int
) -> None:
    """Guards what is repeated: a transaction is rolled back, a run of names is started again."""
    disk.fill(leave=left)

    said = said_there(disk, OPEN_AND_WAIT + story)

    waiting = f"The disk of {disk.path}/out is full: waiting for space. Nothing is lost."
    assert said == f"{waiting}\nThe disk has space again after 0 s.\n{counted}\n"
