"""A kept row repeats what was known of the file; a row of another file changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from contract.records.outcomes import Attempt, Ending, Outcome, Timing
from contract.records.wire import to_json_bytes
from contract.urls.naming import output_name
from producer.job.kept_rows import completed_row
from producer.storage.journal import Journal
from producer.storage.stored import StoredRows

URL = "http://a/"
NAME = output_name(URL)
FETCHED = Outcome(
    url=URL, name=NAME, path=NAME, ending=Ending.OK, http_status=200, bytes=3, sha256="aa", content_type="text/plain",
    content_encoding="gzip", etag='"e"', last_modified="Mon", final_url="http://b/", redirects=1,
    attempts=(Attempt(status=200, seconds=1.0),), started="2026-01-01T00:00:00Z", timing=Timing(total=1.0),
    remote_ip="192.0.2.1", http_version="2", worker="then", notes=("framing=close",),
)  # fmt: skip
KEPT = Outcome(url=URL, name=NAME, path=NAME, ending=Ending.KEPT, bytes=3, sha256="aa", worker="now")


def filled(journal: Journal, kept: Outcome) -> dict[str, Any]:
    text: dict[str, Any] = json.loads(completed_row(as_row(kept), journal))
    return text


def as_row(outcome: Outcome) -> bytes:
    return to_json_bytes(outcome)


@pytest.fixture
def journal(tmp_path: Path, journal: Journal) -> Journal:
    (tmp_path / "m.jsonl").write_bytes(as_row(FETCHED) + b"\n")
    journal.begin("job-1", manifest=tmp_path / "m.jsonl")
    journal.files.remember(StoredRows([NAME], [0]))
    journal.begin("job-2", manifest=tmp_path / "n.jsonl")
    return journal


def test_a_kept_row_has_the_fields_of_the_downloads_row(journal: Journal) -> None:
    now = {"outcome": "kept", "attempts": [], "worker": "now"}

    assert filled(journal, KEPT) == json.loads(as_row(FETCHED)) | now
    assert list(filled(journal, KEPT)) == list(json.loads(as_row(FETCHED))), "the keys are in their order"


@pytest.mark.parametrize("change", [{"bytes": 4}, {"sha256": "bb"}, {"name": output_name("http://c/")}, {"name": None}])
def test_a_row_of_another_file_is_not_used(journal: Journal, change: dict[str, Any]) -> None:
    kept = structs.replace(KEPT, **change)

    assert filled(journal, kept) == json.loads(as_row(kept))


def test_an_unreadable_row_is_left_unchanged(journal: Journal) -> None:
    assert completed_row(b"nonsense", journal) == b"nonsense"
