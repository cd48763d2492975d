"""The manifest: rows that count are on disk, rows that do not are cut off."""

import json
from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.urls.naming import output_name
from producer.storage.manifest import Manifest, count_rows, set_aside, stored_files


def test_a_torn_end_is_cut_off_before_anything_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    manifest = Manifest(path, 0)
    offset = manifest.append(['{"url":"http://a/"}'])
    manifest.close()
    with path.open("ab") as file:
        file.write(b'{"url": "http://b/"}\n{"url": "ht')  # written, never noted in the journal

    again = Manifest(path, offset)
    again.append(['{"url":"http://c/ä"}'])
    again.close()

    assert [json.loads(line)["url"] for line in path.read_text("utf-8").splitlines()] == ["http://a/", "http://c/ä"]
    assert count_rows(path) == 2


def test_a_manifest_that_lost_rows_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"{}\n")

    with pytest.raises(FolderError, match="shorter"):
        Manifest(path, 100)


def test_only_whole_rows_of_stored_files_vouch_for_files(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    a, b, c = (output_name(f"http://{host}/") for host in "abc")
    rows = [
        {"name": a, "outcome": "ok", "bytes": 3, "sha256": "aa", "digest": None},
        {"name": b, "outcome": "kept", "bytes": 4, "sha256": None, "digest": "xxh3:bb"},
        {"name": c, "outcome": "failed", "bytes": None, "sha256": None, "digest": None},
    ]
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    path.write_text(text + '{"name":"x","outcome":"ok"}\nnonsense "outcome":"ok"\n' + text[:40])

    assert list(stored_files(path)) == [(bytes.fromhex(a), 3, "sha256:aa"), (bytes.fromhex(b), 4, "xxh3:bb")]


def test_a_symlink_planted_as_manifest_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "manifest.jsonl").symlink_to(tmp_path / "victim")

    with pytest.raises(FolderError):
        Manifest(tmp_path / "manifest.jsonl", 0)

    assert (tmp_path / "victim").read_text() == "precious"


def test_setting_aside_twice_is_setting_aside_once(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("{}\n")

    first, second = set_aside(tmp_path / "manifest.jsonl", "job-1"), set_aside(tmp_path / "manifest.jsonl", "job-1")

    assert first == second == tmp_path / "manifest-job-1.jsonl"
    assert set_aside(tmp_path / "manifest.jsonl", "job-2") is None
