"""The chaos harness's checker notices every kind of error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import Verdict, Watch, judge, rows_of

URLS = ["http://a.test/1", "http://a.test/2"]
BODIES = dict(zip(URLS, (b"one", b"two"), strict=True))


def sha256_of(url: str) -> str:
    return hashlib.sha256(BODIES[url]).hexdigest()


def row(url: str, **changes: Any) -> dict[str, Any]:
    plain = {"url": url, "outcome": "ok", "error": None, "detail": None, "path": url[-1]}
    return {**plain, "sha256": sha256_of(url) if url in BODIES else None, **changes}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for url, body in BODIES.items():
        (tmp_path / url[-1]).write_bytes(body)
    return tmp_path


def test_a_correct_result_passes(files: Path) -> None:
    assert judge(URLS, [row(url) for url in URLS], files, sha256_of=sha256_of).is_good


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([row(URLS[0])], "lost"),
        ([row(URLS[0]), row(URLS[1]), row(URLS[1])], "twice"),
        ([row(URLS[0]), row(URLS[1]), row("http://a.test/3", outcome="failed")], "strange"),
        ([row(URLS[0]), row(URLS[1], outcome="failed", error="timeout")], "unexpected"),
        ([row(URLS[0]), row(URLS[1], outcome="failed", error="poison")], "worn"),
        ([row(URLS[0]), row(URLS[1], sha256="0" * 64)], "wrong"),
        ([row(URLS[0]), row(URLS[1], path="missing")], "wrong"),
    ],
)
def test_each_fault_has_its_name(files: Path, rows: list[dict[str, Any]], fault: str) -> None:
    verdict = judge(URLS, rows, files, sha256_of=sha256_of)

    assert verdict.counts()[fault] == 1
    assert not verdict.is_good


def test_a_torn_file_is_wrong_at_the_end_and_meanwhile(files: Path) -> None:
    (files / "2").write_bytes(b"tw")
    watch = Watch(files, lambda name: sha256_of(f"http://a.test/{name}"))

    watch.look()

    assert watch.torn == ["2"]
    assert judge(URLS, [row(url) for url in URLS], files, sha256_of=sha256_of).wrong == [URLS[1]]


def test_poison_has_to_end_as_poison(files: Path) -> None:
    rows = [row(URLS[0]), row(URLS[1], outcome="failed", error="poison")]

    assert judge(URLS, rows, files, sha256_of=sha256_of, poison=[URLS[1]]).is_good
    assert not judge(URLS, [row(url) for url in URLS], files, sha256_of=sha256_of, poison=[URLS[1]]).is_good


def test_a_torn_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps(row(URLS[0])) + '\n{"url": "http')

    with pytest.raises(ValueError, match="Unterminated"):
        rows_of(path)


def test_a_cancelled_jobs_unread_lines_need_no_row_and_others_may_be_cancelled(files: Path) -> None:
    cancelled = row(URLS[0], outcome="failed", error="cancelled")

    def judged(*rows: dict[str, Any]) -> Verdict:
        return judge(URLS, rows, files, sha256_of=sha256_of, was_cancelled=True)

    assert judged(cancelled).is_good
    assert judged(cancelled, row(URLS[1])).is_good
    assert judged(row(URLS[1])).lost == [URLS[0]], "it is read in its order"
    assert judged(cancelled, cancelled).twice == [URLS[0]]
    assert judged(row(URLS[0], outcome="failed", error="timeout")).unexpected
    assert not judge(URLS, [cancelled, row(URLS[1])], files, sha256_of=sha256_of).is_good
