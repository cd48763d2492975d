"""Beginning a job in a folder: nothing that another job or a user left there is lost."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.urls.naming import output_name
from producer.job.plan import begin, prepare_folder, remember_rest
from producer.storage.journal import Journal
from producer.storage.manifest import Manifest
from tests.support.person import PROJECT, ran


def row(url: str) -> str:
    ending = {"url": url, "name": output_name(url), "outcome": "ok", "bytes": 3, "sha256": "aa", "digest": None}
    return json.dumps(ending, separators=(",", ":")) + "\n"


def known(journal: Journal, *urls: str) -> list[str]:
    names = {bytes.fromhex(output_name(url)): url for url in urls}
    return sorted(names[name] for name in journal.known(list(names)))


def begin_job(journal: Journal, job: str, manifest: Path) -> list[str]:
    """Begin it and return what was said."""
    told: list[str] = []
    begin(journal, job, told.append, fingerprint=job, label=job, manifest=manifest)
    return told


def test_a_manifest_of_another_folders_job_is_set_aside_and_not_cut_off(tmp_path: Path, journal: Journal) -> None:
    own, shared = tmp_path / "own.jsonl", tmp_path / "shared.jsonl"
    begin_job(journal, "job-1", own)
    own.write_text(row("http://a/"))
    shared.write_text(row("http://b/"))

    (told,) = begin_job(journal, "job-2", shared)

    assert not shared.exists()
    (kept,) = tmp_path.glob("shared-*.jsonl")
    assert kept.read_text() == row("http://b/")
    assert told == f"{shared} held another job's rows; they were moved to {kept}."
    assert (tmp_path / "own-job-1.jsonl").read_text() == row("http://a/")
    assert known(journal, "http://a/", "http://b/") == ["http://a/"]


def test_a_file_replacing_the_last_manifest_stays_unless_it_is_in_the_way(tmp_path: Path, journal: Journal) -> None:
    own = tmp_path / "own.jsonl"
    begin_job(journal, "job-1", own)
    own.write_text("notes")

    begin_job(journal, "job-2", tmp_path / "other.jsonl")
    begin_job(journal, "job-3", own.with_name("third.jsonl"))
    with pytest.raises(FolderError, match="is not a Trawlnet manifest"):
        begin_job(journal, "job-4", own)

    assert own.read_text() == "notes"
    assert journal.job == "job-3"


def test_manifests_in_the_folder_are_indexed_and_files_of_similar_names_skipped(
    tmp_path: Path, journal: Journal
) -> None:
    """Guards _set_last_aside: the user chose the name's pattern, and any file may match it."""
    manifest = tmp_path / "rows [1].jsonl"
    manifest.write_text(row("http://a/"))
    (tmp_path / "rows [1]-job-1.jsonl").write_text(row("http://b/"))
    (tmp_path / "rows 1-job-1.jsonl").write_text(row("http://c/"))
    (tmp_path / "rows [1]-link.jsonl").symlink_to("nowhere")
    (tmp_path / "rows [1]-notes.jsonl").write_text("notes")
    os.mkfifo(tmp_path / "rows [1]-fifo.jsonl")

    begin_job(journal, "job-2", manifest)

    assert not manifest.exists()
    assert known(journal, "http://a/", "http://b/", "http://c/") == ["http://a/", "http://b/"]


_BEGIN = """
import sys
from pathlib import Path
from producer.job.plan import begin
from producer.storage.journal import Journal

begin(Journal(Path(sys.argv[1])), sys.argv[2], print, fingerprint="", label="", manifest=Path(sys.argv[3]))
"""


@pytest.mark.parametrize("name", [b"\xe4.jsonl", "ä.jsonl".encode()], ids=["Latin-1", "UTF-8"])
def test_a_folder_begun_in_one_locale_resumes_in_another(tmp_path: Path, name: bytes) -> None:
    """Guards paths in the journal: a folder with an umlaut ended in 70 under cron, which has no locale."""
    manifest = os.fsencode(tmp_path) + b"/" + name

    for number, locale in enumerate([{"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}, {"PYTHONUTF8": "1"}]):
        command = [sys.executable, "-c", _BEGIN, str(tmp_path / "state"), f"job-{number}", os.fsdecode(manifest)]
        environment = {"PYTHONPATH": str(PROJECT), "PYTHONCOERCECLOCALE": "0", **locale}
        done = ran(*command, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        Path(os.fsdecode(manifest)).write_text(row(f"http://{number}/"))

    kept = sorted(path.read_text() for path in tmp_path.glob("*-job-*"))
    assert kept == [row("http://0/"), row("http://1/")]


def test_a_manifest_that_is_indexed_is_not_read_again_whatever_its_name(tmp_path: Path, journal: Journal) -> None:
    """Guards the fact's key: SQLite rejects text that is not UTF-8, so such bytes were escaped."""
    manifest = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xe4.jsonl"))
    journal.begin("job-1")
    journal.note(**{"known m\\xe4-job-1.jsonl": 1})
    manifest.write_text(row("http://a/"))

    begin_job(journal, "job-2", manifest)

    assert (tmp_path / os.fsdecode(b"m\xe4-job-1.jsonl")).exists()
    assert known(journal, "http://a/") == []


def test_no_row_is_remembered_that_will_be_cut_off(tmp_path: Path) -> None:
    """Guards where remembering ends: a command killed again would not remember the rows that took its place."""
    manifest = tmp_path / "own.jsonl"
    with closing(Journal(tmp_path / "state", rows_in_memory=1)) as journal:
        begin_job(journal, "job-1", manifest)
        manifest.write_text(row("http://a/") + row("http://b/"))
        journal.note(offset=len(row("http://a/")))

        remember_rest(journal)

        assert journal.files.remembered_until == 0, "the first row's offset"


def test_nothing_is_created_if_the_manifest_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("notes")

    with pytest.raises(FolderError, match="is not a Trawlnet manifest"):
        prepare_folder(tmp_path / "out", tmp_path / "notes")
    assert not (tmp_path / "out").exists()
    with pytest.raises(FolderError, match="there is no folder"):
        prepare_folder(tmp_path / "out", tmp_path / "nowhere" / "manifest.jsonl")

    prepare_folder(tmp_path / "new" / "out", tmp_path / "new" / "out" / "manifest.jsonl")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (output_name("http://a/"), "has a name downloads have"),
        (f"ab/cd/{output_name('http://a/')}", "has a name downloads have"),
        ("ab", "has a name downloads have"),
        ("../link/ab/cd", "has a name downloads have"),
        (".trawl/journal.sqlite", "would be inside .trawl"),
        (".trawl", "would be inside .trawl"),
    ],
)
def test_a_manifest_cannot_be_where_bodies_or_our_state_are(tmp_path: Path, place: str, said: str) -> None:
    """Guards the check of its path: a body was renamed over the manifest."""
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link").symlink_to("out")

    with pytest.raises(FolderError, match=f"{said}: name another with --manifest"):
        prepare_folder(out, out / place)
    assert list(out.iterdir()) == []

    (out / "rows").mkdir()
    prepare_folder(out, out / "rows" / output_name("http://a/"))
    prepare_folder(out, tmp_path / output_name("http://a/"))


@pytest.mark.parametrize("named", ["file", "fifo", "file/below", "out"])
def test_an_output_folder_that_is_not_a_folder_is_refused_in_one_sentence(tmp_path: Path, named: str) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".trawl").touch()

    with pytest.raises(FolderError, match="is not a folder; name an output folder with -o"):
        prepare_folder(tmp_path / named)


@pytest.fixture
def of_a_group() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_our_own_folder_may_not_be_a_link(tmp_path: Path) -> None:
    """Guards the check of ``.trawl``: journal and logs were written wherever it led."""
    victim = tmp_path / "victim"
    (tmp_path / "out").mkdir()
    victim.mkdir()
    (tmp_path / "out/.trawl").symlink_to(victim)

    with pytest.raises(FolderError, match="is a symbolic link and was left alone"):
        prepare_folder(tmp_path / "out")
    assert list(victim.iterdir()) == []


def test_a_dangling_link_is_reported_as_one(tmp_path: Path) -> None:
    """Guards its sentence: it was called a file."""
    out = tmp_path / "out"
    out.symlink_to("gone")

    with pytest.raises(FolderError, match="is a link to gone, which does not exist: create that folder"):
        prepare_folder(out)


def test_a_link_to_a_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")

    assert prepare_folder(tmp_path / "out").is_dir()


def test_a_group_can_share_a_folder(tmp_path: Path, of_a_group: None) -> None:
    """Guards the modes: only the umask removes rights, but only the group may read the journal."""
    state = prepare_folder(tmp_path / "out")
    with closing(Journal(state)) as journal:
        journal.note(label="urls.txt")
        modes = {path.name: path.stat().st_mode & 0o777 for path in state.iterdir() if path.is_file()}
    Manifest(tmp_path / "out" / "manifest.jsonl", 0).close()

    names = ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm")
    assert modes == {"lock": 0o664, **dict.fromkeys(names, 0o660)}
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_mode & 0o777 == 0o664
    assert state.stat().st_mode & 0o777 == 0o775
