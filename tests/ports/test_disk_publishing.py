"""The Disk port: a body is whole under its name or absent."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from contract.records.policy import Sync
from contract.urls.naming import Layout, output_name, output_path
from tests.support.bodies import body_bytes
from tests.support.drafts import BODY, NAME, a_draft, every_layout, every_sync, named_files, store, temporary_files
from worker.engine.ports import Disk, DiskTrouble


@every_layout
@every_sync
@pytest.mark.parametrize("size", [0, 1, 4096, 100_001])
def test_a_published_draft_is_the_file_of_its_name(
    disk: Disk, out: Path, layout: Layout, sync: Sync, size: int
) -> None:
    body = body_bytes(size)

    draft = store(disk, NAME, body, layout, sync)

    assert named_files(out) == {output_path(NAME, layout): body}
    assert temporary_files(out) == []
    assert draft.obstacle is None


@every_layout
def test_a_group_is_named_as_a_whole(disk: Disk, out: Path, layout: Layout) -> None:
    bodies = {output_name(f"https://example.com/{number}"): body_bytes(number, number) for number in range(40)}

    group = [(a_draft(disk, body), name) for name, body in bodies.items()]
    assert disk.publish(group, layout, Sync.BATCH, lambda: True)

    assert named_files(out) == {output_path(name, layout): body for name, body in bodies.items()}


@every_layout
def test_a_name_that_exists_is_replaced(disk: Disk, out: Path, layout: Layout) -> None:
    store(disk, NAME, b"old" * 10_000, layout)

    store(disk, NAME, b"new", layout)

    assert named_files(out) == {output_path(NAME, layout): b"new"}


def test_pieces_may_come_in_any_order(disk: Disk, out: Path) -> None:
    draft = disk.draft()
    draft.write(BODY[5000:], 5000)
    draft.write(BODY[:5000], 0)
    draft.finish(len(BODY))

    assert disk.publish([(draft, NAME)], Layout.FLAT, Sync.NONE, lambda: True)
    assert named_files(out) == {NAME: BODY}


@every_sync
def test_nothing_is_named_without_permission_and_everything_is_ready_when_it_is_asked(
    disk: Disk, out: Path, sync: Sync
) -> None:
    """Guards the question between data sync and first rename: the lease may be lost."""
    seen: list[dict[str, bytes]] = []

    def may() -> bool:
        seen.append(named_files(out))
        return False

    draft = a_draft(disk)
    assert not disk.publish([(draft, NAME)], Layout.FLAT, sync, may)
    draft.discard()

    assert seen == [{}]
    assert named_files(out) == {}
    assert temporary_files(out) == []


def test_an_open_draft_is_nobodys_file(disk: Disk, out: Path) -> None:
    draft = disk.draft()
    draft.write(BODY, 0)

    assert named_files(out) == {}
    draft.discard()
    draft.discard()
    assert temporary_files(out) == []


def test_a_draft_of_another_size_is_not_finished(disk: Disk) -> None:
    """Guards the comparison in finish."""
    draft = disk.draft()
    draft.write(BODY, 0)

    with pytest.raises(DiskTrouble):
        draft.finish(len(BODY) + 1)
    draft.discard()


def test_a_discarded_draft_cannot_be_published(disk: Disk, out: Path) -> None:
    draft = a_draft(disk)
    draft.discard()

    with pytest.raises(DiskTrouble):
        disk.publish([(draft, NAME)], Layout.FLAT, Sync.NONE, lambda: True)
    assert named_files(out) == {}


@every_layout
@pytest.mark.parametrize("name", ["", "..", "../" + NAME, NAME.upper(), NAME + "\n", "/etc/passwd", "a" * 31])
def test_no_path_comes_from_a_wire(disk: Disk, out: Path, layout: Layout, name: str) -> None:
    """Guards output_path's look at the name, in the flat layout too."""
    draft = a_draft(disk)

    with pytest.raises(ValueError, match="32 lower-case hexadecimal"):
        disk.publish([(draft, name)], layout, Sync.NONE, lambda: True)
    draft.discard()

    assert named_files(out) == {}
    assert not disk.holds(name, layout, 0, "")


def test_several_threads_write_and_publish_side_by_side(disk: Disk, out: Path) -> None:
    def work(number: int) -> None:
        for turn in range(20):
            name = output_name(f"https://example.com/{number}/{turn}")
            store(disk, name, body_bytes(1000, number * 100 + turn), Layout.SHARDED, Sync.NONE)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(named_files(out)) == 160
    for number in range(8):
        for turn in range(20):
            path = output_path(output_name(f"https://example.com/{number}/{turn}"), Layout.SHARDED)
            assert (out / path).read_bytes() == body_bytes(1000, number * 100 + turn)
