"""The output folder: what is reported as stored has reached the disk, and failures are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.records.policy import Sync
from contract.urls.naming import Layout, output_name
from tests.support.bodies import body_bytes
from tests.support.drafts import BODY, NAME, OTHER, a_draft, files_in, named_files, put
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder
from worker.engine.ports import DiskTrouble, Store


def order_of(out: Path, group: dict[str, bytes], layout: Layout, sync: Sync) -> list[str]:
    """Publish a group and return what matters for durability, in order: syncs and renames, and when it was said."""
    with FaultyCalls() as calls:
        folder = OutputFolder(out)
        store = files_in(folder, layout, sync)
        drafts = [a_draft(store, name, body) for name, body in group.items()]
        calls.note("asked")
        assert store.publish(drafts, lambda: True)
        calls.note("said")
        folder.close()
    calls.made[: calls.names().index("asked") + 1] = []
    kept = []
    for call in calls.made:
        if call.name == "fsync":
            kept.append(f"fsync {'file' if 'parts/' in call.path else call.path or '.'}")
        elif call.name in {"syncfs", "rename", "said"}:
            kept.append(call.name)
    return kept


@pytest.mark.parametrize(
    ("sync", "order"),
    [
        (Sync.NONE, ["rename", "rename", "said"]),
        (Sync.BATCH, ["syncfs", "rename", "rename", "fsync .", "said"]),
        (Sync.FILE, ["fsync file", "fsync file", "rename", "rename", "fsync .", "said"]),
    ],
)
def test_data_is_synced_before_the_first_rename_and_renames_before_publish_returns(
    out: Path, sync: Sync, order: list[str]
) -> None:
    assert order_of(out, {NAME: BODY, OTHER: BODY}, Layout.FLAT, sync) == order


@pytest.mark.parametrize(("sync", "first"), [(Sync.BATCH, "syncfs"), (Sync.FILE, "fsync file")])
def test_each_folder_of_a_sharded_name_is_synced(out: Path, sync: Sync, first: str) -> None:
    """Guards the folders in between: a new one is an entry of its parent."""
    order = order_of(out, {NAME: BODY}, Layout.SHARDED, sync)

    assert order[:2] == [first, "rename"]
    assert sorted(order[2:-1]) == ["fsync .", f"fsync {NAME[:2]}", f"fsync {NAME[:2]}/{NAME[2:4]}"]


def test_many_folders_are_synced_with_their_file_system(out: Path) -> None:
    group = {output_name(f"https://example.com/{number}"): b"x" for number in range(20)}

    assert order_of(out, group, Layout.SHARDED, Sync.BATCH) == ["syncfs", *["rename"] * 20, "syncfs", "said"]


@pytest.mark.parametrize("sync", [Sync.BATCH])
def test_without_syncfs_every_file_is_synced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the fallback on systems other than Linux."""
    drafts = [a_draft(store), a_draft(store, OTHER)]

    with FaultyCalls() as calls:
        monkeypatch.setattr("worker.adapters.disk.descriptors._libc_syncfs", None)
        store.publish(drafts, lambda: True)
        monkeypatch.undo()

    assert calls.names().count("fsync") == 3


@pytest.mark.parametrize("sync", [Sync.BATCH])
def test_a_failed_sync_counts_for_every_draft_begun_before_it(store: Store, out: Path) -> None:
    """Guards the count of losses: the kernel reports a lost page to the next sync only."""
    one, other = a_draft(store), a_draft(store, OTHER)

    with FaultyCalls(at=2, code=5), pytest.raises(DiskTrouble, match="EIO"):
        store.publish([one], lambda: True)
    with pytest.raises(DiskTrouble, match="EIO"):
        store.publish([other], lambda: True)
    one.discard()
    other.discard()

    assert named_files(out) == {}
    put(store)
    assert named_files(out) == {NAME: BODY}


def test_a_short_write_is_continued(store: Store, out: Path) -> None:
    """Guards the loop around pwrite."""
    with FaultyCalls(short=True):
        put(store, NAME, body_bytes(300))

    assert named_files(out) == {NAME: body_bytes(300)}


def test_a_disk_that_writes_nothing_without_an_error_is_not_retried_for_ever(store: Store) -> None:
    """Guards the check for a write of 0 bytes."""

    class Silent(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            return 0 if name == "pwrite" else super()._call(name, real, args, options)

    with Silent(), pytest.raises(DiskTrouble, match="EIO"):
        a_draft(store)
