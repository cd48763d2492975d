"""The Disk port: a body that broke off is continued by one, right or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.folders import boot_id
from contract.records.policy import Sync
from contract.urls.naming import Layout
from tests.support.drafts import BODY, NAME, OTHER, VICTIM, a_draft, named_files, temporary_files
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder
from worker.engine.ports import Disk, DiskTrouble, Draft


def shelve(disk: Disk, body: bytes = BODY, name: str = NAME) -> Draft:
    draft = disk.draft()
    disk.shelve(draft, name, "version 1")
    draft.write(body, 0)
    return draft


def shelf(out: Path) -> set[str]:
    return {path.name for path in (out / ".trawl" / "partials").iterdir()}


@pytest.fixture
def other(out: Path, folder: OutputFolder) -> Iterator[OutputFolder]:
    """The same folder as another process knows it."""
    other = OutputFolder(out)
    yield other
    other.close()


def test_what_was_left_is_continued_by_whoever_comes_next(disk: Disk, other: OutputFolder, out: Path) -> None:
    shelve(disk, BODY[:5000]).leave()

    found = other.take_back(NAME)
    assert found is not None
    draft, size, known = found
    assert (size, known) == (5000, "version 1")
    draft.write(BODY[5000:], 5000)
    draft.finish(len(BODY))
    assert other.publish([(draft, NAME)], Layout.FLAT, Sync.BATCH, lambda: True)

    assert named_files(out) == {NAME: BODY}
    assert shelf(out) == set()


def test_what_is_still_written_to_is_nobody_elses(disk: Disk, other: OutputFolder, out: Path) -> None:
    """Guards the lock of a shelved draft."""
    mine = shelve(disk)

    assert other.take_back(NAME) is None
    theirs = shelve(other, b"of the other")
    theirs.leave()

    mine.leave()
    found = other.take_back(NAME)
    assert found is not None
    assert found[1] == len(BODY)
    found[0].discard()
    assert shelf(out) == set()


def test_a_body_that_waits_for_its_name_is_taken_by_nobody(disk: Disk, other: OutputFolder, out: Path) -> None:
    """Guards the way home in finish: two jobs fetch one URL, and one would publish the other's half."""
    mine = shelve(disk)
    mine.finish(len(BODY))

    assert other.take_back(NAME) is None
    theirs = shelve(other, b"half of")
    assert disk.publish([(mine, NAME)], Layout.FLAT, Sync.BATCH, lambda: True)

    assert named_files(out) == {NAME: BODY}
    theirs.discard()
    assert named_files(out) == {NAME: BODY}
    assert shelf(out) == set()


def test_a_body_whose_place_somebody_else_took_gets_no_name(disk: Disk, out: Path) -> None:
    """Guards the look in _come_home: what lies there is not what was written."""
    mine = shelve(disk)
    stray = out / "stray"
    stray.write_bytes(b"of somebody else")
    stray.replace(out / ".trawl" / "partials" / f"{NAME}.part")

    with pytest.raises(DiskTrouble):
        mine.finish(len(BODY))
    mine.discard()

    assert named_files(out) == {}


def test_a_body_that_gets_its_name_while_it_is_opened_is_not_continued(
    disk: Disk, other: OutputFolder, out: Path
) -> None:
    """Guards the look in _lock_file: what was opened is by now the published file."""
    mine = shelve(disk)
    ended: list[bool] = []

    class EndsMeanwhile(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            if name == "flock" and not ended:
                ended.append(True)
                mine.finish(len(BODY))
                disk.publish([(mine, NAME)], Layout.FLAT, Sync.NONE, lambda: True)
                shelve(disk, b"another").leave()
            return super()._call(name, real, args, options)

    with EndsMeanwhile():
        assert other.take_back(NAME) is None

    assert ended
    assert named_files(out) == {NAME: BODY}
    assert shelf(out) == {f"{NAME}.part", f"{NAME}.json"}, "of the other one, untouched"


def test_what_nobody_continues_is_replaced_by_the_next(disk: Disk, other: OutputFolder) -> None:
    shelve(disk, b"of long ago").leave()

    shelve(other).leave()

    found = disk.take_back(NAME)
    assert found is not None
    assert found[1] == len(BODY)
    found[0].discard()


def test_a_shelved_draft_can_be_discarded_and_an_unshelved_one_is_not_kept(disk: Disk, out: Path) -> None:
    shelve(disk).discard()
    a_draft(disk).leave()

    assert shelf(out) == set()
    assert temporary_files(out) == []


@pytest.mark.parametrize("record", [None, b"", b"[]", b"{", b'{"boot": "another", "known": "version 1"}'])
def test_a_body_without_a_record_to_trust_is_removed(disk: Disk, out: Path, record: bytes | None) -> None:
    """Guards the boot: after a power cut a file is longer than what of it is on the disk."""
    shelve(disk).leave()
    path = out / ".trawl" / "partials" / f"{NAME}.json"
    path.unlink()
    if record is not None:
        path.write_bytes(record)

    assert disk.take_back(NAME) is None
    assert shelf(out) == set()


def test_after_a_failed_sync_nothing_left_is_continued(disk: Disk, out: Path) -> None:
    """Guards _distrust_the_shelf: what was lost may be lost there."""
    shelve(disk).leave()
    draft = a_draft(disk)

    with FaultyCalls(at=2, code=5), pytest.raises(DiskTrouble):
        disk.publish([(draft, OTHER)], Layout.FLAT, Sync.BATCH, lambda: True)
    draft.discard()

    assert disk.take_back(NAME) is None


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("planted", ["part", "json", "new"])
def test_links_planted_on_the_shelf_harm_nobody(
    disk: Disk, out: Path, victim: Path, planted: str, link: Callable[[Path, Path], None]
) -> None:
    """Guards O_NOFOLLOW, O_EXCL and the count of links there."""
    if planted == "part":
        shelve(disk).leave()
        (out / ".trawl" / "partials" / f"{NAME}.part").unlink()
    link(out / ".trawl" / "partials" / f"{NAME}.{planted}", victim)

    found = disk.take_back(NAME)
    assert found is None
    draft = shelve(disk)
    draft.finish(len(BODY))
    assert disk.publish([(draft, NAME)], Layout.FLAT, Sync.NONE, lambda: True)

    assert victim.read_bytes() == VICTIM
    assert named_files(out) == {NAME: BODY}


def test_while_somebody_else_puts_something_on_the_shelf_ours_is_not_shelved(
    disk: Disk, other: OutputFolder, out: Path
) -> None:
    """Guards the lock of the shelf: both would find the place free."""
    with other._alone_on_the_shelf(other._opening):
        draft = shelve(disk)
        draft.leave()

    assert shelf(out) == set()


def _is_of_another_machine(out: Path) -> None:
    record = out / ".trawl" / "partials" / f"{NAME}.json"
    record.write_text(record.read_text().replace(os.uname().nodename, "another").replace(boot_id(), "another"))


def test_what_another_machine_put_on_the_shelf_today_is_left_alone(disk: Disk, other: OutputFolder, out: Path) -> None:
    """Guards the host in the record: over NFS and FUSE nobody sees the lock of whoever writes there."""
    theirs = shelve(other, b"theirs")
    _is_of_another_machine(out)
    theirs.leave()  # as their lock looks from here

    assert disk.take_back(NAME) is None
    shelve(disk).leave()

    assert (out / ".trawl" / "partials" / f"{NAME}.part").read_bytes() == b"theirs"


def test_what_another_machine_left_there_long_ago_is_replaced(disk: Disk, other: OutputFolder, out: Path) -> None:
    shelve(other, b"theirs").leave()
    _is_of_another_machine(out)
    os.utime(out / ".trawl" / "partials" / f"{NAME}.part", (0, 0))

    assert disk.take_back(NAME) is None

    assert shelf(out) == set()
