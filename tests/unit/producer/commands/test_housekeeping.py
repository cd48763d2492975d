"""Abandoned files are removed, those in use are not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from contract.records.outcomes import Ending, Outcome
from contract.records.wire import to_json_bytes
from contract.urls.naming import output_name
from producer import cli
from producer.cli.exits import BAD_USAGE
from producer.commands.housekeeping import Removed, remove_abandoned_partials, remove_old_manifests
from producer.formatting import size
from producer.job.plan import begin
from producer.storage.journal import Journal
from worker.adapters.disk import OutputFolder

NAME = "5d41402abc4b2a76b9719d911017c592"
LONG_AGO = 1_000_000_000.0  # Unix seconds


def a_partial(out: Path) -> list[Path]:
    """Leave a body on the partials as a worker does whose server broke off, long ago; return its files."""
    folder = OutputFolder(out)
    draft = folder.draft(NAME, None)
    draft.keep_partial("version 1")
    draft.write(b"half", 0)
    draft.leave()
    folder.close()
    files = sorted((out / ".trawl" / "partials").iterdir())
    for path in files:
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert [path.suffix for path in files] == [".json", ".part"]
    return files


# -------------------------------------------------------------------------------------------------- broken-off bodies


def test_an_abandoned_partial_is_removed_with_its_record(tmp_path: Path) -> None:
    a_partial(tmp_path)

    assert remove_abandoned_partials(tmp_path, 30.0) == Removed(1, 4)
    assert list((tmp_path / ".trawl" / "partials").iterdir()) == []


def test_a_recent_partial_and_one_in_use_stay(tmp_path: Path) -> None:
    """Guards the lock, for a download of weeks may have received nothing for weeks, and the check of the age."""
    record, part = a_partial(tmp_path)

    with part.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_abandoned_partials(tmp_path, 30.0) == Removed(0, 0)
    os.utime(part)  # now
    assert remove_abandoned_partials(tmp_path, 30.0) == Removed(0, 0)

    assert record.exists()
    assert part.exists()


def test_foreign_files_are_not_followed_and_not_waited_for(tmp_path: Path) -> None:
    """Guards O_NOFOLLOW, O_NONBLOCK and S_ISREG: a link leads elsewhere, a pipe without a writer would hang."""
    a_partial(tmp_path)
    partials, elsewhere = tmp_path / ".trawl" / "partials", tmp_path / "precious"
    elsewhere.write_bytes(b"theirs")
    (partials / "link.part").symlink_to(elsewhere)
    os.mkfifo(partials / "pipe.part")
    for path in (elsewhere, partials / "pipe.part"):
        os.utime(path, (LONG_AGO, LONG_AGO))

    assert remove_abandoned_partials(tmp_path, 30.0) == Removed(1, 4)

    assert elsewhere.read_bytes() == b"theirs"
    assert sorted(path.name for path in partials.iterdir()) == ["link.part", "pipe.part"]


def test_a_folder_without_partials_is_fine_and_needs_no_redis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(["gc", "-o", str(tmp_path)]) == 0

    assert capsys.readouterr().out == "removed 0 partial bodies, 0 B\n"


def a_job(out: Path, job: str, *urls: str) -> None:
    """Leave the rows of a job that fetched these."""
    out.mkdir(exist_ok=True)
    journal = Journal(out / ".trawl")
    begin(journal, job, lambda _line: None, fingerprint=job, label=job, manifest=out / "manifest.jsonl")
    rows = [Outcome(url=url, name=output_name(url), ending=Ending.OK, bytes=1, sha256=job) for url in urls]
    (out / "manifest.jsonl").write_bytes(b"".join(to_json_bytes(row) + b"\n" for row in rows))
    journal.finish(offset=(out / "manifest.jsonl").stat().st_size)
    journal.close()


def test_manifests_are_removed_if_later_ones_have_rows_for_all_their_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards the checks of what is needed, of what is there now, and of its age."""
    out = tmp_path / "out"
    a_job(out, "all-again", "http://a/", "http://b/")
    a_job(out, "young", "http://a/")
    a_job(out, "notes-now", "http://a/")
    a_job(out, "has-the-only-row", "http://a/", "http://c/")
    a_job(out, "last", "http://a/", "http://b/")
    earlier = {path.stem.removeprefix("manifest-"): path for path in out.glob("manifest-*")}
    length = earlier["all-again"].stat().st_size
    earlier["notes-now"].write_text("notes")
    for name, path in earlier.items():
        if name != "young":
            os.utime(path, (LONG_AGO, LONG_AGO))

    assert cli.exit_code(["gc", "-o", str(out)]) == 0

    assert capsys.readouterr().out.splitlines()[1] == f"removed 1 earlier manifest, {size(length)}"
    assert {path.stem for path in out.glob("manifest-*")} == {path.stem for path in earlier.values()} - {
        "manifest-all-again"
    }
    assert remove_old_manifests(out, 0.0).files == 1, "the young one"
    assert (out / "manifest.jsonl").exists()


def test_nothing_is_removed_while_a_job_works_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    at_work = Journal(out / ".trawl")

    code = cli.exit_code(["gc", "-o", str(out)])

    at_work.close()
    said = capsys.readouterr()
    assert (code, said.out) == (BAD_USAGE, "")
    assert "Another trawl is working in" in said.err


def test_jobs_and_a_folder_cannot_be_named_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.exit_code(["gc", "some-job", "-o", str(tmp_path)]) == BAD_USAGE

    assert "not both" in capsys.readouterr().err
