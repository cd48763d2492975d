"""The Disk port: what a dead worker left is removed, what a living one holds is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.records.policy import Sync
from contract.urls.naming import Layout
from tests.support.drafts import NAME, VICTIM, a_draft, store, temporary_files
from tests.support.faulty_calls import FaultyCalls
from tests.support.killed_writers import PROJECT
from worker.adapters.disk import OutputFolder
from worker.engine.ports import DiskTrouble

_OWNER = """
import sys
from worker.adapters.disk import OutputFolder
folder = OutputFolder(sys.argv[1])
draft = folder.draft()
draft.write(b"half", 0)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds an open draft."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(out)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def owners(out: Path) -> set[str]:
    return {path.name for path in (out / ".trawl" / "parts").iterdir()}


def test_a_living_owners_drafts_are_left_alone(out: Path, owner: subprocess.Popen[str]) -> None:
    """Guards the lock: a second worker on the same folder starts at any time."""
    (theirs,) = owners(out)

    folder = OutputFolder(out)

    assert theirs in owners(out)
    assert [path.read_bytes() for path in temporary_files(out)] == [b"half"]
    folder.close()
    assert owners(out) == {theirs}


def test_a_dead_owners_drafts_are_removed_by_whoever_starts_next(out: Path, owner: subprocess.Popen[str]) -> None:
    """Guards the reaping."""
    (theirs,) = owners(out)
    owner.kill()
    owner.wait()
    assert len(temporary_files(out)) == 1

    folder = OutputFolder(out)

    assert theirs not in owners(out)
    assert temporary_files(out) == []
    folder.close()
    assert owners(out) == set()


def test_a_forked_child_opens_a_folder_of_its_own(out: Path, folder: OutputFolder) -> None:
    other = OutputFolder(out)

    drafts = [a_draft(folder), a_draft(other)]
    assert len(owners(out)) == 2
    other.close()

    assert folder.publish([(drafts[0], NAME)], Layout.FLAT, Sync.NONE, lambda: True)


@pytest.mark.parametrize("moment", ["mkdir", "open"])
def test_a_reaper_that_takes_our_new_folder_for_a_dead_owners_does_no_harm(out: Path, moment: str) -> None:
    """Guards both looks in _claim: processes of one worker start at the same moment."""
    taken: list[str] = []

    class HastyReaper(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            answer = super()._call(name, real, args, options)
            if name == moment and "parts/" in self.made[-1].path and len(taken) < 3:
                taken.append(self.made[-1].path)
                (out / taken[-1]).rmdir()
            return answer

    with HastyReaper():
        folder = OutputFolder(out)

    assert len(taken) == 3
    store(folder, NAME)
    folder.close()


def test_closing_twice_touches_nothing_that_took_the_descriptors_numbers(out: Path, tmp_path: Path) -> None:
    """Guards the numbers forgotten in close."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_bytes(VICTIM)
    folder = OutputFolder(out)
    folder.close()

    borrowed = [os.open(other, os.O_RDONLY) for _ in range(8)]
    folder.close()
    with pytest.raises(DiskTrouble):
        folder.draft()

    assert (other / "precious").read_bytes() == VICTIM
    for fd in borrowed:
        os.close(fd)
