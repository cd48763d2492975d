"""The Disk port: a body is whole under its name or absent, whatever lies in the output folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.naming import Layout, output_name, output_path
from contract.policy import Sync
from tests.support.bodies import body_bytes
from tests.support.faulty_calls import Call, FaultyCalls
from tests.support.killed_writers import PROJECT
from worker.adapters.disk import OutputFolder
from worker.engine.ports import Disk, DiskTrouble, Draft

NAME = output_name("https://example.com/")
OTHER = output_name("https://example.com/other")
BODY = body_bytes(10_000)
VICTIM = b"of somebody else"

every_layout = pytest.mark.parametrize("layout", Layout)
every_sync = pytest.mark.parametrize("sync", Sync)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(out: Path) -> Iterator[OutputFolder]:
    folder = OutputFolder(out)
    yield folder
    folder.close()


@pytest.fixture
def disk(folder: OutputFolder) -> Disk:
    return folder  # by its port: mypy holds it to every method


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of somebody else that planted links point to."""
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    return path


def a_draft(disk: Disk, body: bytes = BODY, *, piece: int = 4096) -> Draft:
    draft = disk.draft()
    for at in range(0, len(body), piece):
        draft.write(body[at : at + piece], at)
    draft.finish(len(body))
    return draft


def store(disk: Disk, name: str, body: bytes = BODY, layout: Layout = Layout.FLAT, sync: Sync = Sync.NONE) -> Draft:
    draft = a_draft(disk, body)
    assert disk.publish([(draft, name)], layout, sync, lambda: True)
    return draft


def named_files(out: Path) -> dict[str, bytes]:
    """Return every file that is not ours alone, by its path below the output folder."""
    found = {path.relative_to(out): path for path in out.rglob("*") if path.is_file()}
    return {str(path): file.read_bytes() for path, file in found.items() if path.parts[0] != ".trawl"}


def temporary_files(out: Path) -> list[Path]:
    return [path for path in (out / ".trawl").rglob("*") if not path.is_dir()]


# ---------------------------------------------------------------------------------------------------- publishing


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


# ------------------------------------------------------------------------------------------------ what is planted


@every_layout
@every_sync
def test_a_link_at_the_final_name_is_replaced_and_its_victim_intact(
    disk: Disk, out: Path, victim: Path, layout: Layout, sync: Sync
) -> None:
    path = out / output_path(NAME, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim)

    store(disk, NAME, BODY, layout, sync)

    assert not path.is_symlink()
    assert path.read_bytes() == BODY
    assert victim.read_bytes() == VICTIM


def test_a_hard_link_at_the_final_name_is_replaced_and_its_victim_intact(disk: Disk, out: Path, victim: Path) -> None:
    os.link(victim, out / NAME)

    store(disk, NAME)

    assert (out / NAME).read_bytes() == BODY
    assert victim.read_bytes() == VICTIM


@pytest.mark.parametrize("name", ["0", "1", "2", "3"])
def test_a_link_at_a_temporary_name_harms_nobody(disk: Disk, out: Path, victim: Path, name: str) -> None:
    """Guards O_EXCL and O_NOFOLLOW of new drafts: an own folder makes it unlikely, these make it harmless."""
    (own,) = (out / ".trawl" / "parts").iterdir()
    (own / name).symlink_to(victim)

    stored = 0
    for number in range(4):
        try:
            store(disk, output_name(f"https://example.com/{number}"))
            stored += 1
        except DiskTrouble:
            pass

    assert victim.read_bytes() == VICTIM
    assert stored >= 3


@pytest.mark.parametrize("planted", [".trawl", ".trawl/parts"])
def test_a_link_in_place_of_our_own_folder_is_not_followed(tmp_path: Path, out: Path, planted: str) -> None:
    """Guards O_NOFOLLOW of folders: what would be reaped there is somebody else's."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "parts" / "1-dead").mkdir(parents=True)
    precious = elsewhere / "parts" / "1-dead" / "precious"
    precious.write_bytes(VICTIM)
    (out / planted).parent.mkdir(parents=True)
    (out / planted).symlink_to(elsewhere if planted == ".trawl" else elsewhere / "parts")

    with pytest.raises(FolderError, match="cannot be used"):
        OutputFolder(out)

    assert precious.read_bytes() == VICTIM


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("plant", [Path.symlink_to, lambda path, _: path.write_bytes(b"")], ids=["link", "file"])
def test_what_lies_in_place_of_a_folder_stops_only_the_files_of_that_folder(
    disk: Disk, out: Path, tmp_path: Path, plant: Callable[[Path, Path], object], depth: int
) -> None:
    """Guards O_NOFOLLOW of the layout's folders, and the obstacle: one odd name must not stand a worker still."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    in_the_way = out / "/".join([NAME[:2], NAME[2:4]][:depth])
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    plant(in_the_way, elsewhere)

    blocked, free = a_draft(disk), a_draft(disk)
    assert disk.publish([(blocked, NAME), (free, OTHER)], Layout.SHARDED, Sync.BATCH, lambda: True)
    blocked.discard()

    assert blocked.obstacle is not None
    assert free.obstacle is None
    assert list(elsewhere.iterdir()) == []
    assert (out / output_path(OTHER, Layout.SHARDED)).read_bytes() == BODY
    assert temporary_files(out) == []


def test_a_folder_at_the_final_name_stays_and_stops_only_its_own_file(disk: Disk, out: Path) -> None:
    """Guards the obstacle of a single name."""
    (out / NAME / "inside").mkdir(parents=True)

    blocked, free = a_draft(disk), a_draft(disk)
    assert disk.publish([(blocked, NAME), (free, OTHER)], Layout.FLAT, Sync.BATCH, lambda: True)

    assert blocked.obstacle is not None
    assert str(out) not in blocked.obstacle
    assert (out / NAME / "inside").is_dir()
    assert named_files(out) == {OTHER: BODY}


def test_the_output_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")

    folder = OutputFolder(tmp_path / "out")
    store(folder, NAME)
    folder.close()

    assert (tmp_path / "disk" / NAME).read_bytes() == BODY


def test_a_folder_moved_away_under_our_feet_is_still_the_one_written_to(tmp_path: Path, out: Path) -> None:
    """Guards the directory descriptors: a path is looked up once."""
    folder = OutputFolder(out)
    out.rename(tmp_path / "moved")
    out.symlink_to("/nowhere")

    store(folder, NAME, layout=Layout.SHARDED)
    folder.close()

    assert (tmp_path / "moved" / output_path(NAME, Layout.SHARDED)).read_bytes() == BODY


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "dangling"])
def test_an_output_folder_that_is_none_is_said_in_a_sentence(out: Path, make: Callable[[Path], None]) -> None:
    make(out)

    with pytest.raises(FolderError, match=r"The output folder .* cannot be used: .*\."):
        OutputFolder(out)


def test_a_deep_output_folder_is_made_and_reaches_the_disk(tmp_path: Path) -> None:
    """Guards the sync of each parent: a new folder whose entry is lost takes all its files along."""
    with FaultyCalls() as calls:
        OutputFolder(tmp_path / "a" / "b" / "c").close()

    first = calls.names().index("rmdir")  # of closing
    assert calls.names()[:first].count("fsync") == 3


# ----------------------------------------------------------------------------------------------------- dead owners

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


# ----------------------------------------------------------------------------------------- what is to be continued


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

    with FaultyCalls(at=1, code=5), pytest.raises(DiskTrouble):
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
    with other._alone_on_the_shelf():
        draft = shelve(disk)
        draft.leave()

    assert shelf(out) == set()


# ------------------------------------------------------------------------------------------------- what is there


@every_layout
def test_a_known_file_is_recognised_by_size_and_digest(disk: Disk, layout: Layout) -> None:
    store(disk, NAME, BODY, layout)
    digest = hashlib.sha256(BODY).hexdigest()

    assert disk.holds(NAME, layout, len(BODY), f"sha256:{digest}")
    assert disk.holds(NAME, layout, len(BODY), "")
    assert not disk.holds(NAME, layout, len(BODY) + 1, f"sha256:{digest}")
    assert not disk.holds(NAME, layout, len(BODY), f"sha256:{digest[::-1]}")
    assert not disk.holds(OTHER, layout, len(BODY), f"sha256:{digest}")


@pytest.mark.parametrize("digest", ["nonsense:00", ":00"])
def test_a_digest_nobody_can_compute_is_no_reason_to_keep_a_file(disk: Disk, digest: str) -> None:
    store(disk, NAME)

    assert not disk.holds(NAME, Layout.FLAT, len(BODY), digest)


def test_a_digest_whose_package_is_missing_is_no_reason_to_keep_a_file(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the SettingError caught in holds: the batch would never end."""
    monkeypatch.setitem(sys.modules, "blake3", None)
    store(disk, NAME)

    assert not disk.holds(NAME, Layout.FLAT, len(BODY), "blake3:00")


def test_a_link_to_the_right_bytes_is_not_our_file(disk: Disk, out: Path, tmp_path: Path) -> None:
    """Guards O_NOFOLLOW of the look at a known file."""
    (tmp_path / "same").write_bytes(BODY)
    (out / NAME).symlink_to(tmp_path / "same")

    assert not disk.holds(NAME, Layout.FLAT, len(BODY), "")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_held_and_not_waited_for(disk: Disk, out: Path, make: Callable[[Path], None]) -> None:
    """Guards O_NONBLOCK and the look at the kind of file: opening a pipe waits for its other end."""
    make(out / NAME)

    assert not disk.holds(NAME, Layout.FLAT, 0, "")


def test_a_finished_draft_is_digested_by_every_algorithm(disk: Disk) -> None:
    draft = a_draft(disk, body_bytes(3 * 1024 * 1024 + 1))
    body = body_bytes(3 * 1024 * 1024 + 1)

    found = disk.digest(draft, ["sha256", "md5", "sha512", "crc32"])
    draft.discard()

    assert found == {
        "sha256": hashlib.sha256(body).hexdigest(),
        "md5": hashlib.md5(body).hexdigest(),
        "sha512": hashlib.sha512(body).hexdigest(),
        "crc32": f"{zlib.crc32(body):08x}",
    }


@pytest.mark.parametrize(
    ("algorithm", "of_abc"),
    [
        ("blake3", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ("xxh3", "06b05ab6733a618578af5f94892f3950"),  # XXH3_128bits("abc"), xxHash's own test vector
    ],
)
def test_the_optional_digests_are_the_published_ones(disk: Disk, algorithm: str, of_abc: str) -> None:
    pytest.importorskip("blake3" if algorithm == "blake3" else "xxhash")
    draft = a_draft(disk, b"abc")

    assert disk.digest(draft, [algorithm]) == {algorithm: of_abc}
    draft.discard()


def test_a_discarded_draft_has_no_digest(disk: Disk) -> None:
    draft = a_draft(disk)
    draft.discard()

    with pytest.raises(DiskTrouble):
        disk.digest(draft, ["sha256"])


# ---------------------------------------------------------------------------------------------------------- space


def test_a_healthy_disk_has_no_trouble(disk: Disk) -> None:
    assert disk.trouble() is None


def test_less_free_space_than_the_floor_is_trouble(out: Path) -> None:
    """Guards the floor."""
    folder = OutputFolder(out, min_free=1 << 60)

    assert str(folder.trouble()).endswith("MiB to be kept free.")
    folder.close()


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"f_flag": os.ST_RDONLY}, "The output folder is read-only (EROFS)."),
        ({"f_files": 100, "f_favail": 0}, "The disk has no room for another file (inodes)."),
        ({"f_files": 0, "f_favail": 0}, None),  # btrfs has no number of inodes
        ({"f_bavail": 99}, "The disk has 0 MiB free, less than the 0 MiB to be kept free."),
        ({"f_bavail": 100}, None),
    ],
)
def test_each_lack_has_its_sentence(out: Path, found: dict[str, int], sentence: str | None) -> None:
    class Statvfs(FaultyCalls):
        """A disk that looks as told."""

        f_flag, f_files, f_favail, f_bavail, f_frsize = 0, 1000, 1000, 1000, 4096

        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            return self if name == "fstatvfs" else super()._call(name, real, args, options)

    with Statvfs() as looks:
        vars(looks).update(found)
        folder = OutputFolder(out, min_free=100 * 4096)
        assert folder.trouble() == sentence
        folder.close()


# ------------------------------------------------------------------------------------------------------- durability


def order_of(out: Path, group: dict[str, bytes], layout: Layout, sync: Sync) -> list[str]:
    """Publish a group and return what matters for durability, in order: syncs and renames, and when it was said."""
    with FaultyCalls() as calls:
        folder = OutputFolder(out)
        drafts = [(a_draft(folder, body), name) for name, body in group.items()]
        calls.note("asked")
        assert folder.publish(drafts, layout, sync, lambda: True)
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
def test_data_is_on_the_disk_before_the_first_name_and_the_names_before_the_answer(
    out: Path, sync: Sync, order: list[str]
) -> None:
    assert order_of(out, {NAME: BODY, OTHER: BODY}, Layout.FLAT, sync) == order


@pytest.mark.parametrize(("sync", "first"), [(Sync.BATCH, "syncfs"), (Sync.FILE, "fsync file")])
def test_each_folder_of_a_sharded_name_is_synced(out: Path, sync: Sync, first: str) -> None:
    """Guards the folders in between: a new one is an entry of the one above."""
    order = order_of(out, {NAME: BODY}, Layout.SHARDED, sync)

    assert order[:2] == [first, "rename"]
    assert sorted(order[2:-1]) == ["fsync .", f"fsync {NAME[:2]}", f"fsync {NAME[:2]}/{NAME[2:4]}"]


def test_many_folders_are_synced_with_their_file_system(out: Path) -> None:
    group = {output_name(f"https://example.com/{number}"): b"x" for number in range(20)}

    assert order_of(out, group, Layout.SHARDED, Sync.BATCH) == ["syncfs", *["rename"] * 20, "syncfs", "said"]


def test_where_there_is_no_syncfs_every_file_is_synced(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the way out on other systems than Linux."""
    drafts = [a_draft(disk), a_draft(disk)]

    with FaultyCalls() as calls:
        monkeypatch.setattr("worker.adapters.disk.descriptors._libc_syncfs", None)
        disk.publish(list(zip(drafts, [NAME, OTHER], strict=True)), Layout.FLAT, Sync.BATCH, lambda: True)
        monkeypatch.undo()

    assert calls.names().count("fsync") == 3


def test_a_failed_sync_is_told_once_and_counts_for_every_draft_begun_before_it(disk: Disk, out: Path) -> None:
    """Guards the count of losses: the kernel tells a lost page to whoever syncs next, and to nobody after that."""
    one, other = a_draft(disk), a_draft(disk)

    with FaultyCalls(at=1, code=5), pytest.raises(DiskTrouble, match="EIO"):
        disk.publish([(one, NAME)], Layout.FLAT, Sync.BATCH, lambda: True)
    with pytest.raises(DiskTrouble, match="EIO"):
        disk.publish([(other, OTHER)], Layout.FLAT, Sync.BATCH, lambda: True)
    one.discard()
    other.discard()

    assert named_files(out) == {}
    store(disk, NAME, sync=Sync.BATCH)
    assert named_files(out) == {NAME: BODY}


def test_a_short_write_goes_on_where_it_stopped(disk: Disk, out: Path) -> None:
    """Guards the loop around pwrite."""
    with FaultyCalls(short=True):
        store(disk, NAME, body_bytes(300))

    assert named_files(out) == {NAME: body_bytes(300)}


def test_a_disk_that_takes_nothing_and_says_nothing_is_not_asked_for_ever(disk: Disk) -> None:
    """Guards the look at a write of 0 bytes."""

    class Silent(FaultyCalls):
        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            return 0 if name == "pwrite" else super()._call(name, real, args, options)

    with Silent(), pytest.raises(DiskTrouble, match="EIO"):
        a_draft(disk)


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


def test_the_calls_are_told_apart_by_what_they_are_made_on(out: Path) -> None:
    """Proves the shim these tests and test_disk_faults.py stand on."""
    with FaultyCalls() as calls:
        folder = OutputFolder(out)
        store(folder, NAME, b"x", Layout.SHARDED, Sync.FILE)
        folder.close()

    (own,) = {call.path for call in calls.made if call.name == "flock"}
    assert own.startswith(".trawl/parts/")
    assert Call("mkdir", NAME[:2]) in calls.made
    assert Call("rename", output_path(NAME, Layout.SHARDED), f"{own}/0") in calls.made
    assert Call("pwrite", f"{own}/0") in calls.made
    assert calls.names()[-3:] == ["close", "close", "close"]
