"""The output folder: whatever is planted in it, nothing else is read, written or followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.records.policy import Sync
from contract.urls.naming import Layout, output_name, output_path
from tests.support.drafts import (
    BODY,
    NAME,
    OTHER,
    VICTIM,
    a_draft,
    every_layout,
    every_sync,
    files_in,
    named_files,
    put,
    temporary_files,
)
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder
from worker.engine.ports import DiskTrouble, Obstacle, Store


@every_layout
@every_sync
@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_at_the_final_name_is_replaced_and_its_target_intact(
    store: Store, out: Path, victim: Path, layout: Layout, link: Callable[[Path, Path], None]
) -> None:
    path = out / output_path(NAME, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    link(path, victim)

    put(store)

    assert not path.is_symlink()
    assert path.read_bytes() == BODY
    assert victim.read_bytes() == VICTIM


@pytest.mark.parametrize("name", ["0", "1", "2", "3"])
def test_a_link_at_a_temporary_name_does_no_harm(store: Store, out: Path, victim: Path, name: str) -> None:
    """Guards O_EXCL and O_NOFOLLOW of new drafts: a private folder makes this unlikely, these make it harmless."""
    (own,) = (out / ".trawl" / "parts").iterdir()
    (own / name).symlink_to(victim)

    stored = 0
    for number in range(4):
        try:
            put(store, output_name(f"https://example.com/{number}"))
            stored += 1
        except DiskTrouble:
            pass

    assert victim.read_bytes() == VICTIM
    assert stored >= 3


@pytest.mark.parametrize("planted", [".trawl", ".trawl/parts"])
def test_a_link_in_place_of_our_own_folder_is_not_followed(tmp_path: Path, out: Path, planted: str) -> None:
    """Guards O_NOFOLLOW of folders: what would be removed there is not ours."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "parts" / "1-dead").mkdir(parents=True)
    precious = elsewhere / "parts" / "1-dead" / "precious"
    precious.write_bytes(VICTIM)
    (out / planted).parent.mkdir(parents=True)
    (out / planted).symlink_to(elsewhere if planted == ".trawl" else elsewhere / "parts")

    with pytest.raises(FolderError, match="cannot be used"):
        OutputFolder(out)

    assert precious.read_bytes() == VICTIM


@pytest.mark.parametrize("layout", [Layout.SHARDED])
@pytest.mark.parametrize("sync", [Sync.BATCH])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("plant", [Path.symlink_to, lambda path, _: path.write_bytes(b"")], ids=["link", "file"])
def test_an_obstacle_in_place_of_a_folder_stops_only_its_files(
    store: Store, out: Path, tmp_path: Path, plant: Callable[[Path, Path], object], depth: int
) -> None:
    """Guards O_NOFOLLOW of the layout's folders, and the obstacle: one odd name must not stall a worker."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    in_the_way = out / "/".join([NAME[:2], NAME[2:4]][:depth])
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    plant(in_the_way, elsewhere)

    blocked, free = a_draft(store), a_draft(store, OTHER)
    found, path = store.publish([blocked, free], lambda: True) or ()
    blocked.discard()

    assert isinstance(found, Obstacle)
    assert output_path(NAME, Layout.SHARDED) in found.reason
    assert path == output_path(OTHER, Layout.SHARDED)
    assert list(elsewhere.iterdir()) == []
    assert (out / output_path(OTHER, Layout.SHARDED)).read_bytes() == BODY
    assert temporary_files(out) == []


@pytest.mark.parametrize("sync", [Sync.BATCH])
def test_a_folder_at_the_final_name_stays_and_stops_only_its_own_file(store: Store, out: Path) -> None:
    """Guards the obstacle of a single name."""
    (out / NAME / "inside").mkdir(parents=True)

    found, _ = store.publish([a_draft(store), a_draft(store, OTHER)], lambda: True) or ()

    assert isinstance(found, Obstacle)
    assert NAME in found.reason
    assert str(out) not in found.reason
    assert (out / NAME / "inside").is_dir()
    assert named_files(out) == {OTHER: BODY}


def test_the_output_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")

    folder = OutputFolder(tmp_path / "out")
    put(files_in(folder))
    folder.close()

    assert (tmp_path / "disk" / NAME).read_bytes() == BODY


def test_a_link_that_replaces_an_open_folder_is_not_followed(tmp_path: Path, out: Path) -> None:
    """Guards the directory descriptors: a path is resolved when it is opened, and not between two calls."""
    (tmp_path / "elsewhere").mkdir()
    folder = OutputFolder(out)
    store = files_in(folder, Layout.SHARDED, Sync.BATCH)
    draft = a_draft(store)
    out.rename(tmp_path / "moved")
    out.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DiskTrouble):
        store.publish([draft], lambda: True)
    draft.discard()
    folder.close()

    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "dangling"])
def test_an_output_folder_that_is_not_a_folder_is_one_sentence(out: Path, make: Callable[[Path], None]) -> None:
    make(out)

    with pytest.raises(FolderError, match=r"The output folder .* cannot be used: .*\."):
        OutputFolder(out)


def test_a_deep_output_folder_is_created_and_synced(tmp_path: Path) -> None:
    """Guards the sync of each parent: if a new folder's entry is lost, so are all its files."""
    with FaultyCalls() as calls:
        OutputFolder(tmp_path / "a" / "b" / "c").close()

    first = calls.names().index("rmdir")  # of closing
    assert calls.names()[:first].count("fsync") == 3
