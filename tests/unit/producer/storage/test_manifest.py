"""The manifest: rows that count are on disk, rows that do not are cut off, and what is not ours is left alone."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from contract.errors import FolderError
from contract.records import wire
from contract.records.outcomes import Ending, Outcome
from contract.urls.naming import output_name
from producer.storage.manifest import (
    Manifest,
    count_rows,
    look_at,
    printable,
    set_aside,
    stored_name,
    stored_outcome,
    stored_rows,
)
from producer.storage.regular import is_at

NULL = os.makedev(1, 3)  # what /dev/null is
ROW = json.dumps({"url": "http://a/", "name": output_name("http://a/"), "outcome": "ok"}, separators=(",", ":"))

STRANGERS = {
    "notes": b"precious notes\n",
    "a line without an end": b"x" * 3_000_000,
    "bytes": bytes(range(256)) * 9,
    "JSON of others": b'{"url":"http://a/","title":"A"}\n',
    "JSON of others without a line break": b'{"url":"http://a/","title":"A"}',
    "JSON with a name that is no md5": b'{"url":"http://a/","name":"a.jpg","outcome":"ok"}\n',
    "a number": b"7\n",
    "a list": b"[]\n",
    "a line break": b"\n",
}
IRREGULAR: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, NULL),
    "a symbolic link": lambda path: path.symlink_to("precious"),
    "a symbolic link (to nothing)": lambda path: path.symlink_to("nowhere"),
    "a symbolic link (to a manifest)": lambda path: path.symlink_to("rows.jsonl"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "rows.jsonl").write_text(f"{ROW}\n")
    return tmp_path / "manifest.jsonl"


def described(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what lies in a folder: kind, inode and, of regular files, the bytes."""
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {
        name: (
            stat.S_IFMT(each.st_mode),
            each.st_ino,
            (folder / name).read_bytes() if stat.S_ISREG(each.st_mode) else b"",
        )
        for name, each in found.items()
    }


@pytest.mark.parametrize("kind", IRREGULAR)
def test_something_other_than_a_regular_file_is_reported_and_never_touched(place: Path, kind: str) -> None:
    """Guards open_regular; a FIFO without its other end would be waited for."""
    if kind == "a device" and os.geteuid():
        pytest.skip("only root makes devices")
    IRREGULAR[kind](place)
    before = described(place.parent)

    for touch in (look_at, lambda path: Manifest(path, 0), lambda path: set_aside(path, "job-1"), count_rows):
        with pytest.raises(FolderError, match=f"is {kind.partition(' (')[0]} and was left alone"):
            touch(place)

    assert list(stored_rows(place)) == []
    assert described(place.parent) == before


@pytest.mark.parametrize("text", STRANGERS.values(), ids=STRANGERS)
def test_a_file_that_does_not_begin_with_a_row_is_neither_written_nor_renamed(place: Path, text: bytes) -> None:
    """Guards _insist_on_rows."""
    place.write_bytes(text)
    before = described(place.parent)

    for touch in (look_at, lambda path: Manifest(path, 0), lambda path: set_aside(path, "job-1")):
        with pytest.raises(FolderError, match=r"is not a Trawlnet manifest and was left alone"):
            touch(place)

    assert described(place.parent) == before


@pytest.mark.parametrize("text", ["", ROW, f"{ROW}\n", ROW.replace(",", ", ") + "\n", '{"u', '{"url":"http://a/","na'])
def test_an_empty_file_rows_and_a_torn_row_are_a_manifest(place: Path, text: str) -> None:
    place.write_text(text)
    before = place.stat().st_ino

    look_at(place)
    manifest = Manifest(place, 0)
    manifest.append([ROW.encode()])
    manifest.close()

    assert (place.read_text(), place.stat().st_ino) == (f"{ROW}\n", before)


def test_one_manifest_is_written_by_one_run(place: Path) -> None:
    """Guards _lock: the other run's rows would be renamed or cut off under it."""
    writing = Manifest(place, 0)
    writing.append([ROW.encode()])

    for touch in (lambda path: Manifest(path, 0), lambda path: set_aside(path, None)):
        with pytest.raises(FolderError, match="Another trawl is writing the manifest"):
            touch(place)

    assert place.read_text() == f"{ROW}\n"
    writing.close()
    assert set_aside(place, "job-1")


def test_a_torn_end_is_cut_off_before_anything_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    manifest = Manifest(path, 0)
    offset = manifest.append([ROW.encode()])
    manifest.close()
    with path.open("ab") as file:
        file.write(b'{"url": "http://b/"}\n{"url": "ht')  # written, never noted in the journal

    again = Manifest(path, offset)
    again.append(['{"url":"http://c/ä"}'.encode()])
    again.close()

    assert [json.loads(line)["url"] for line in path.read_text("utf-8").splitlines()] == ["http://a/", "http://c/ä"]
    assert count_rows(path) == 2


def test_a_manifest_that_lost_rows_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(f"{ROW}\n")

    with pytest.raises(FolderError, match="shorter"):
        Manifest(path, 1000)


def test_only_whole_rows_of_stored_files_vouch_for_files(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    a, b, c = (output_name(f"http://{host}/") for host in "abc")
    rows = [
        {"url": "http://a/", "name": a, "outcome": "ok", "bytes": 3, "sha256": "aa", "digest": None},
        {"url": "http://b/", "name": b, "outcome": "kept", "bytes": 4, "sha256": None, "digest": "xxh3:bb"},
        {"name": c, "outcome": "failed", "bytes": None, "sha256": None, "digest": None},
    ]
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    path.write_text(text + '{"name":"x","outcome":"ok"}\nnonsense "outcome":"ok"\n' + text[:40])

    places = list(stored_rows(path))
    assert places == [(a, 0), (b, text.index("\n") + 1)]
    assert list(stored_rows(path, places[1][1])) == places[1:]
    assert list(stored_rows(path, end=places[1][1])) == places[:1]


def test_only_the_row_of_that_stored_file_vouches_for_it() -> None:
    """Guards stored_outcome: a manifest that was truncated and continued has other rows at these positions."""
    name = output_name("http://a/")
    row = {"url": "http://a/", "name": name, "outcome": "ok", "bytes": 3, "sha256": "aa"}
    texts = [json.dumps(row | change).encode() for change in ({}, {"name": name[::-1]}, {"outcome": "failed"})]

    found = [stored_outcome(text, bytes.fromhex(name)) for text in (*texts, texts[0][5:])]

    assert [outcome and outcome.bytes for outcome in found] == [3, None, None, None]


def test_a_stored_name_is_read_from_rows_of_stored_files_only() -> None:
    url = 'http://a/","name":"0","path":"x'
    stored = Outcome(url=url, name=output_name(url), ending=Ending.OK, path="files/x", bytes=1)
    failed = structs.replace(stored, ending=Ending.FAILED, path=None, detail='","path":"')
    refused = structs.replace(failed, name=None, ending=Ending.REFUSED)

    names = [stored_name(wire.to_json_bytes(outcome)) for outcome in (stored, failed, refused)]

    assert names == [output_name(url), None, None]


def test_setting_aside_twice_is_setting_aside_once(place: Path) -> None:
    place.write_text(f"{ROW}\n")

    first, second = set_aside(place, "job-1"), set_aside(place, "job-1")

    assert first == second == place.with_name("manifest-job-1.jsonl")
    assert set_aside(place, "job-2") is None


def test_setting_aside_replaces_nothing(place: Path) -> None:
    """Guards _reserve: the file that has the name already may be another job's only record."""
    place.write_text(f"{ROW}\n")
    place.with_name("manifest-job-1.jsonl").write_text("theirs")
    place.with_name("manifest-job-1-2.jsonl").symlink_to("nowhere")

    kept = set_aside(place, "job-1")

    assert kept == place.with_name("manifest-job-1-3.jsonl")
    assert kept.read_text() == f"{ROW}\n"
    assert place.with_name("manifest-job-1.jsonl").read_text() == "theirs"


def test_an_empty_file_stays_where_it_is(place: Path) -> None:
    place.touch()

    assert set_aside(place, None) is None
    assert place.exists()


def test_a_path_that_leads_elsewhere_now_is_not_the_opened_file(place: Path) -> None:
    place.write_text("opened")
    with place.open() as file:
        before = is_at(file.fileno(), place)
        place.rename(place.with_name("elsewhere"))
        gone = is_at(file.fileno(), place)
        place.symlink_to("elsewhere")
        linked = is_at(file.fileno(), place)

    assert (before, gone, linked) == (True, False, False)


def test_a_row_has_no_terminal_control_characters_and_reads_the_same() -> None:
    """Guards the escapes: U+009B begins a control sequence like ESC [, and msgspec leaves it as it is."""
    said = "".join(map(chr, range(0x7F, 0xA2))) + "é€"
    row = wire.to_json_bytes({"detail": said})

    shown = printable(row)

    assert not [char for char in shown.decode() if "\x80" <= char < "\xa0"]
    assert wire.from_json(shown) == {"detail": said}
    assert printable(shown) == shown
