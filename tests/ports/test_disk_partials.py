"""The output folder: a partial body is resumed by one process, correctly or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.folders import boot_id
from contract.records.policy import Sync
from tests.support.drafts import BODY, NAME, OTHER, VICTIM, a_draft, files_in, named_files, partial_of
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder
from worker.engine.ports import DiskTrouble, Store


def partials(out: Path) -> set[str]:
    return {path.name for path in (out / ".trawl" / "partials").iterdir()}


@pytest.fixture
def elsewhere(out: Path, folder: OutputFolder) -> Iterator[OutputFolder]:
    """The same folder as another process knows it."""
    elsewhere = OutputFolder(out)
    yield elsewhere
    elsewhere.close()


@pytest.fixture
def other(elsewhere: OutputFolder) -> Store:
    return files_in(elsewhere)


def test_a_replaced_draft_is_not_published(store: Store, out: Path) -> None:
    """Guards the check in _move_back: the file there is not what was written."""
    mine = partial_of(store)
    stray = out / "stray"
    stray.write_bytes(b"of somebody else")
    stray.replace(out / ".trawl" / "partials" / f"{NAME}.part")

    with pytest.raises(DiskTrouble):
        mine.finish(len(BODY))
    mine.discard()

    assert named_files(out) == {}


def test_a_body_published_while_it_is_opened_is_not_resumed(store: Store, other: Store, out: Path) -> None:
    """Guards the check in _lock_file: the opened file is the published one by now."""
    mine = partial_of(store)
    ended: list[bool] = []

    class EndsMeanwhile(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            if name == "flock" and not ended:
                ended.append(True)
                mine.finish(len(BODY))
                store.publish([mine], lambda: True)
                partial_of(store, b"another").leave()
            return super()._call(name, real, args, options)

    with EndsMeanwhile():
        assert other.resume(NAME) is None

    assert ended
    assert named_files(out) == {NAME: BODY}
    assert partials(out) == {f"{NAME}.part", f"{NAME}.json"}, "of the other one, untouched"


@pytest.mark.parametrize("record", [None, b"", b"[]", b"{", b'{"boot": "another", "known": "version 1"}'])
def test_a_partial_without_a_trustworthy_record_is_removed(store: Store, out: Path, record: bytes | None) -> None:
    """Guards the boot: after a power cut a file may be longer than its data on the disk."""
    partial_of(store).leave()
    path = out / ".trawl" / "partials" / f"{NAME}.json"
    path.unlink()
    if record is not None:
        path.write_bytes(record)

    assert store.resume(NAME) is None
    assert partials(out) == set()


def test_after_a_failed_sync_no_partial_is_resumed(store: Store, folder: OutputFolder) -> None:
    """Guards _distrust_partials: the lost data may be theirs."""
    partial_of(store).leave()
    draft = a_draft(store, OTHER)

    with FaultyCalls(at=2, code=5), pytest.raises(DiskTrouble):
        files_in(folder, sync=Sync.BATCH).publish([draft], lambda: True)
    draft.discard()

    assert store.resume(NAME) is None


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("planted", ["part", "json", "new"])
def test_links_planted_among_the_partials_do_no_harm(
    store: Store, out: Path, victim: Path, planted: str, link: Callable[[Path, Path], None]
) -> None:
    """Guards O_NOFOLLOW, O_EXCL and the link count there."""
    if planted == "part":
        partial_of(store).leave()
        (out / ".trawl" / "partials" / f"{NAME}.part").unlink()
    link(out / ".trawl" / "partials" / f"{NAME}.{planted}", victim)

    found = store.resume(NAME)
    assert found is None
    draft = partial_of(store)
    draft.finish(len(BODY))
    assert store.publish([draft], lambda: True)

    assert victim.read_bytes() == VICTIM
    assert named_files(out) == {NAME: BODY}


def test_no_partial_is_kept_while_another_process_keeps_one(store: Store, elsewhere: OutputFolder, out: Path) -> None:
    """Guards the lock of the partials: both would find the name free."""
    with elsewhere.opening.lock_partials():
        draft = partial_of(store)
        draft.leave()

    assert partials(out) == set()


def _is_of_another_machine(out: Path) -> None:
    record = out / ".trawl" / "partials" / f"{NAME}.json"
    record.write_text(record.read_text().replace(os.uname().nodename, "another").replace(boot_id(), "another"))


def test_a_partial_another_machine_kept_today_is_left_alone(store: Store, other: Store, out: Path) -> None:
    """Guards the host in the record: over NFS and FUSE the writer's lock is not visible."""
    theirs = partial_of(other, b"theirs")
    _is_of_another_machine(out)
    theirs.leave()  # as their lock looks from here

    assert store.resume(NAME) is None
    partial_of(store).leave()

    assert (out / ".trawl" / "partials" / f"{NAME}.part").read_bytes() == b"theirs"


def test_another_machines_old_partial_is_replaced(store: Store, other: Store, out: Path) -> None:
    partial_of(other, b"theirs").leave()
    _is_of_another_machine(out)
    os.utime(out / ".trawl" / "partials" / f"{NAME}.part", (0, 0))

    assert store.resume(NAME) is None

    assert partials(out) == set()
