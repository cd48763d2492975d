"""The output folder: what a dead worker left is removed, what a living one holds is not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract.folders import ABANDONED_AFTER, Owner, _started
from contract.records.policy import Sync
from tests.support.drafts import BODY, NAME, VICTIM, a_draft, files_in, put, temporary_files
from tests.support.faulty_calls import FaultyCalls
from tests.support.killed_writers import PROJECT
from worker.adapters.disk import OutputFolder
from worker.engine.ports import DiskTrouble

_OWNER = """
import sys
from worker.adapters.disk import OutputFolder
folder = OutputFolder(sys.argv[1])
draft = folder.draft("a path", None)
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
    """Guards the lock: a second worker may start on the same folder at any time."""
    (theirs,) = owners(out)

    folder = OutputFolder(out)

    assert theirs in owners(out)
    assert [path.read_bytes() for path in temporary_files(out)] == [b"half"]
    folder.close()
    assert owners(out) == {theirs}


def test_a_dead_owners_drafts_are_removed_by_the_next_to_start(out: Path, owner: subprocess.Popen[str]) -> None:
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


def test_foreign_files_among_the_temporary_ones_stay_and_harm_nothing(out: Path, folder: OutputFolder) -> None:
    parts = out / ".trawl" / "parts"
    (parts / "planted").write_text("theirs")
    (parts / "link").symlink_to("/etc")

    OutputFolder(out).close()

    assert (parts / "planted").read_text() == "theirs"
    assert (parts / "link").is_symlink()


def test_a_forked_child_opens_a_folder_of_its_own(out: Path, folder: OutputFolder) -> None:
    other = OutputFolder(out)

    drafts = [a_draft(files_in(folder)), a_draft(files_in(other))]
    assert len(owners(out)) == 2
    other.close()

    assert files_in(folder).publish(drafts[:1], lambda: True)


@pytest.mark.parametrize("moment", ["mkdir", "open"])
def test_a_reaper_that_mistakes_our_new_folder_for_a_dead_owners_does_no_harm(out: Path, moment: str) -> None:
    """Guards both checks in _claim: processes of one worker start at the same moment."""
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
    put(files_in(folder))
    folder.close()


def test_closing_twice_closes_no_reused_descriptor(out: Path, tmp_path: Path) -> None:
    """Guards forgetting the numbers in close."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_bytes(VICTIM)
    folder = OutputFolder(out)
    folder.close()

    borrowed = [os.open(other, os.O_RDONLY) for _ in range(8)]
    folder.close()
    with pytest.raises(DiskTrouble):
        a_draft(files_in(folder))

    assert (other / "precious").read_bytes() == VICTIM
    for fd in borrowed:
        os.close(fd)


# ----------------------------------------------------------------------------------------- on folders that are shared


def _parts_of(out: Path, owner: Owner, *, idle: float = 0.0) -> Path:
    """Make the folder of another machine's process in a shared folder: its lock is not visible here."""
    folder = out / ".trawl" / "parts" / owner.new_folder()
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(b"half")
    then = time.time() - idle
    os.utime(folder, (then, then))
    return folder


@pytest.mark.parametrize("field", ["host", "boot", "processes"])
def test_another_machines_folder_is_left_alone_for_a_day(out: Path, field: str) -> None:
    """Guards host, boot and process namespace in the name: the same id is another process there."""
    parts = Owner.this().machine.split("_")
    parts[["host", "boot", "processes"].index(field)] = "1"
    theirs = replace(Owner.this(), machine="_".join(parts))
    living, dead = _parts_of(out, theirs), _parts_of(out, theirs, idle=ABANDONED_AFTER + 600)

    OutputFolder(out).close()

    assert (living / "0").read_bytes() == b"half"
    assert not dead.exists()


def test_a_living_process_of_this_machine_is_left_alone_whatever_the_lock(out: Path) -> None:
    """Guards the process check: two FUSE mounts of one folder do not share locks."""
    parent = os.getppid()
    theirs = _parts_of(out, replace(Owner.this(), pid=parent, started=_started(parent) or ""))

    OutputFolder(out).close()

    assert (theirs / "0").read_bytes() == b"half"


def test_a_reused_process_id_does_not_keep_a_dead_ones_folder(out: Path) -> None:
    """Guards the start time in the name: a container's processes have the same few ids each time."""
    theirs = _parts_of(out, replace(Owner.this(), pid=os.getppid(), started="1"))

    OutputFolder(out).close()

    assert not theirs.exists()


def test_without_locks_the_names_decide(out: Path) -> None:
    """Guards ENOLCK and similar errors, which NFS and FUSE return."""

    class NoLocks(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            if name == "flock":
                raise OSError(errno.ENOLCK, "no locks here")
            return super()._call(name, real, args, options)

    dead = _parts_of(out, replace(Owner.this(), pid=2**22 + 1))
    with NoLocks():
        folder = OutputFolder(out)
        put(files_in(folder))
        folder.close()

    assert not dead.exists()


def test_a_living_owner_signals_other_machines(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the time stamp: a body that takes more than a day changes nothing in its folder."""
    folder = OutputFolder(out)
    (own,) = (out / ".trawl" / "parts").iterdir()
    os.utime(own, (0, 0))
    monkeypatch.setattr("time.time", lambda real=time.time: real() + ABANDONED_AFTER)

    folder.trouble()

    assert own.stat().st_mtime > ABANDONED_AFTER
    folder.close()


def test_two_processes_storing_one_name_do_not_interfere(out: Path, folder: OutputFolder) -> None:
    other = OutputFolder(out)
    stores = [files_in(each, sync=Sync.BATCH) for each in (folder, other)]
    drafts = [a_draft(store) for store in stores]

    for store, draft in zip(stores, drafts, strict=True):
        assert store.publish([draft], lambda: True)

    assert (out / NAME).read_bytes() == BODY
    assert temporary_files(out) == []
    other.close()
