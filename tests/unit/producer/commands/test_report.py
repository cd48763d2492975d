"""`trawl report`: what it reads, what it writes, and what it leaves unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.errors import FolderError
from producer.commands.report import report

ROW = b'{"url":"http://a.test/x","name":"%s","outcome":"ok","bytes":3}\n' % (b"0" * 32)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(ROW * 3 + ROW[:40])
    return path


def test_a_running_job_can_be_reported(manifest: Path) -> None:
    said = report(manifest, None)

    assert said.splitlines() == ["3 URLs: 3 ok, 0 kept, 0 failed, 0 refused", "unreadable lines: 1"]


def test_a_page_replaces_an_earlier_one(manifest: Path) -> None:
    page = manifest.with_name("report.html")

    report(manifest, page)
    manifest.write_bytes(ROW)
    report(manifest, page)

    assert "<b>1</b>" in page.read_text()
    assert sorted(os.listdir(manifest.parent)) == ["manifest.jsonl", "report.html"]


def test_a_dash_prints_the_page_byte_for_byte(manifest: Path) -> None:
    """Guards STANDARD_OUTPUT, and its bytes: in another encoding the page's own policy would block its scripts."""
    report(manifest, manifest.with_name("report.html"))
    command = [sys.executable, "-P", "-m", "producer", "report", "--manifest", manifest.name, "--html", "-"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": "latin-1"}

    said = subprocess.run(command, cwd=manifest.parent, env=environment, capture_output=True, check=True).stdout

    assert said == manifest.with_name("report.html").read_bytes()
    assert sorted(os.listdir(manifest.parent)) == ["manifest.jsonl", "report.html"]


def test_a_file_that_is_not_a_report_is_left_alone(manifest: Path) -> None:
    notes = manifest.with_name("notes.html")
    notes.write_text("<!doctype html>\nmine")
    link = manifest.with_name("link.html")
    link.symlink_to(notes)

    for page, reason in (
        (notes, "is not a Trawlnet report"),
        (link, "symbolic link"),
        (manifest, "is not a Trawlnet report"),
    ):
        with pytest.raises(FolderError, match=reason):
            report(manifest, page)

    assert notes.read_text() == "<!doctype html>\nmine"
    assert manifest.read_bytes().startswith(ROW)


def test_a_file_that_is_not_a_manifest_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "notes").write_text("my notes\n")

    for name, reason in (("fifo", "is a FIFO"), ("notes", "not a Trawlnet manifest"), ("gone", "no such file")):
        with pytest.raises(FolderError, match=reason):
            report(tmp_path / name, None)
