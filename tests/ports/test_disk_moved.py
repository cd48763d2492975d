"""The output folder: no file is reported where it is not, and a replaced folder is opened again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.records.policy import Sync
from tests.support.drafts import BODY, NAME, OTHER, a_draft, every_sync, files_in, named_files, put, temporary_files
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder
from worker.adapters.disk.folder import SETTLED
from worker.engine.ports import DiskTrouble

GONE = "The output folder was replaced, moved or unmounted (ESTALE)."


class Hands:
    """A clock to be moved on, and what people do to a folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.old = out.with_name("old")
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def pass_the_wait(self, folder: OutputFolder) -> None:
        """Look at the folder, and let what is there by now settle."""
        folder.trouble()
        self.seconds += SETTLED

    def replace(self) -> None:
        shutil.rmtree(self.out)
        self.out.mkdir()

    def move(self) -> None:
        self.out.rename(self.old)

    def link(self) -> None:
        self.out.rename(self.old)
        self.out.with_name("elsewhere").mkdir()
        self.out.symlink_to("elsewhere")


@pytest.fixture
def hands(out: Path) -> Hands:
    return Hands(out)


@pytest.fixture
def moving(out: Path, hands: Hands) -> Iterator[OutputFolder]:
    folder = OutputFolder(out, clock=hands)
    yield folder
    folder.close()


each_way = pytest.mark.parametrize("happens", [Hands.replace, Hands.move, Hands.link])


@each_way
@every_sync
def test_if_the_folder_changes_before_a_group_is_renamed_none_is_published(
    moving: OutputFolder, hands: Hands, happens: Callable[[Hands], None], sync: Sync
) -> None:
    """Guards the check before the first rename: the row would say ok of a file that is elsewhere, or nowhere."""
    store = files_in(moving, sync=sync)
    draft = a_draft(store)
    happens(hands)

    with pytest.raises(DiskTrouble, match="replaced, moved or unmounted"):
        store.publish([draft], lambda: True)
    draft.discard()

    assert named_files(hands.out) == named_files(hands.old) == {}


@each_way
def test_a_change_while_a_group_is_renamed_is_noticed_before_it_is_reported(
    moving: OutputFolder, hands: Hands, happens: Callable[[Hands], None]
) -> None:
    """Guards the check after the last rename."""

    class Meanwhile(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            answer = super()._call(name, real, args, options)
            if name == "rename":
                happens(hands)
            return answer

    draft = a_draft(files_in(moving))
    with Meanwhile(), pytest.raises(DiskTrouble, match="replaced, moved or unmounted"):
        files_in(moving).publish([draft], lambda: True)


@each_way
def test_a_replaced_folder_is_opened_again_once_it_has_settled(
    moving: OutputFolder, hands: Hands, happens: Callable[[Hands], None]
) -> None:
    """Guards the reopening, and the wait before it: between umount and mount the path leads to the folder below."""
    put(files_in(moving), OTHER)
    happens(hands)

    assert moving.trouble() == GONE
    hands.seconds += SETTLED - 0.1
    assert moving.trouble() == GONE
    hands.seconds += 0.2
    assert moving.trouble() is None
    put(files_in(moving))

    assert named_files(hands.out) == {NAME: BODY}
    assert not files_in(moving).holds(OTHER, len(BODY), "")


def test_a_path_that_keeps_changing_is_waited_for(moving: OutputFolder, hands: Hands) -> None:
    """Guards restarting the wait."""
    hands.move()
    assert moving.trouble() == GONE
    hands.seconds += SETTLED
    hands.out.mkdir()

    assert moving.trouble() == GONE


def test_a_folder_that_comes_back_is_the_one_it_was(moving: OutputFolder, hands: Hands) -> None:
    draft = a_draft(files_in(moving))
    hands.move()
    assert moving.trouble() == GONE
    hands.old.rename(hands.out)

    assert moving.trouble() is None
    assert files_in(moving).publish([draft], lambda: True)
    assert named_files(hands.out) == {NAME: BODY}


def test_drafts_of_an_abandoned_folder_are_not_published_in_the_new_one(moving: OutputFolder, hands: Hands) -> None:
    """Guards the comparison of openings: files cannot be renamed from one disk to another."""
    draft = a_draft(files_in(moving))
    hands.move()
    hands.pass_the_wait(moving)
    assert moving.trouble() is None

    with pytest.raises(DiskTrouble):
        files_in(moving).publish([draft], lambda: True)
    draft.discard()

    assert temporary_files(hands.old) == []


def test_a_known_file_is_not_kept_if_its_folder_was_moved(moving: OutputFolder, hands: Hands) -> None:
    """Guards the check in holds: `kept` would be reported of a file in the folder moved away."""
    put(files_in(moving))
    hands.move()

    assert not files_in(moving).holds(NAME, len(BODY), "")


def test_descriptors_of_an_abandoned_folder_are_closed_with_its_last_draft(moving: OutputFolder, hands: Hands) -> None:
    """Guards closing an unused opening: its descriptors would keep an unmounted disk busy."""

    def opened() -> int:
        places = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
        return sum(place.startswith(str(hands.old)) for place in places)

    draft = a_draft(files_in(moving))
    hands.move()
    hands.pass_the_wait(moving)
    moving.trouble()
    assert opened() > 0
    draft.discard()
    del draft

    assert opened() == 0
    assert list((hands.old / ".trawl" / "parts").iterdir()) == []


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize("removed", [".trawl", ".trawl/parts"])
def test_a_removed_folder_for_temporary_files_is_made_again(moving: OutputFolder, hands: Hands, removed: str) -> None:
    """Guards the second try of draft: ENOENT for ever, although the disk is fine."""
    shutil.rmtree(hands.out / removed)

    put(files_in(moving))

    assert named_files(hands.out) == {NAME: BODY}


def test_a_folder_that_cannot_be_reopened_is_reported_and_retried(moving: OutputFolder, hands: Hands) -> None:
    hands.move()
    hands.out.write_bytes(b"in the way")
    hands.pass_the_wait(moving)
    assert moving.trouble() == "The output folder is a file now (ENOTDIR)."
    hands.out.unlink()
    hands.out.mkdir()
    hands.pass_the_wait(moving)

    assert moving.trouble() is None


def test_a_folder_of_an_unmounted_disk_is_not_made_on_the_disk_below(moving: OutputFolder, hands: Hands) -> None:
    """Guards the device: the root file system would fill up with bodies that vanish when the disk is mounted again."""
    moving.opening.underneath = hands.out.parent.stat().st_dev
    hands.move()
    hands.pass_the_wait(moving)

    assert moving.trouble() == "The output folder is gone (ENOENT)."
    assert not hands.out.exists()
