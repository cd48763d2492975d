"""What a manifest's sink knows of a job, after any number of commands."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from contract.records import wire
from contract.records.outcomes import Ending, ErrorClass, Outcome, Timing
from contract.records.reports import BatchReport
from contract.urls.naming import output_name
from producer.cluster.client import Retrying
from producer.job import manifest_sink
from producer.job.manifest_sink import ManifestSink
from producer.job.tally import Tally
from producer.storage.journal import Journal
from producer.storage.manifest import Manifest
from tests.support.memory_services import MemoryServices

BATCHES = 9


def batch(number: int) -> BatchReport:
    outcomes = [
        _outcome(f"http://h{number}/good", Ending.OK, number + 0.1),
        _outcome(f"http://h{number}/bad", Ending.FAILED, number + 0.2),
    ]
    started = 10.0 * number
    return BatchReport(
        job="job", batch=str(number), worker="w", pid=1, queued=started, started=started, finished=started + 4,
        elapsed=4.0, busy=2 * number + 0.3, outcomes=outcomes,
    )  # fmt: skip


def _outcome(url: str, ending: Ending, seconds: float) -> Outcome:
    error = ErrorClass.TIMEOUT if ending is Ending.FAILED else None
    timing = Timing(ttfb=seconds / 2, total=seconds)
    return Outcome(url=url, name=output_name(url), ending=ending, error=error, bytes=3, timing=timing)


def collected(folder: Path, numbers: Sequence[int], *, each: int) -> Tally:
    """Let commands collect so many batches each, and return what a last one knows of all of them."""
    journal = Journal(folder / ".trawl")
    journal.begin("job", manifest=folder / "manifest.jsonl")
    journal.close()
    for start in range(0, len(numbers), each):
        _command(folder, numbers[start : start + each])
    return _command(folder, [])


def _command(folder: Path, numbers: Sequence[int]) -> Tally:
    with _opened(folder) as sink:
        for number in numbers:
            sink.collect([(str(number), batch(number).to_result())])
    return sink.tally


@contextmanager
def _opened(folder: Path) -> Iterator[ManifestSink]:
    """Give the sink of a command that begins now."""
    journal = Journal(folder / ".trawl")
    manifest = Manifest(folder / "manifest.jsonl", int(journal.fact("offset", 0)))
    services = MemoryServices("job")
    yield ManifestSink("job", journal=journal, manifest=manifest, services=services, retrying=Retrying(print))
    journal.close()
    manifest.close()


@pytest.mark.parametrize("each", [1, 2, BATCHES])
@pytest.mark.parametrize("size", [1, 2000, 10**6])
def test_times_that_were_not_recorded_are_read_from_the_manifest_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int, size: int
) -> None:
    """Guards ManifestSink._recorded_tally: a resumed job would end with the times of its last rows missing."""
    monkeypatch.setattr(manifest_sink, "_TIMES_EVERY", size)
    expected = Tally()
    for number in range(BATCHES):
        expected.add_rows([wire.to_json_bytes(outcome) for outcome in batch(number).outcomes])

    tally = collected(tmp_path, range(BATCHES), each=each)

    assert tally.times_record() == expected.times_record()
    assert (tally.counts, tally.fetched, tally.errors) == (expected.counts, expected.fetched, expected.errors)
    assert tally.examples == expected.examples
    assert (tally.batches, tally.workers, round(tally.busy, 6)) == (BATCHES, {"w": 2 * BATCHES}, 74.7)


def test_the_recorded_times_are_of_at_least_half_the_rows(tmp_path: Path) -> None:
    """`trawl status` shows them: the hosts of a small job would remain those of its first batch."""
    collected(tmp_path, range(BATCHES), each=BATCHES)

    journal = Journal(tmp_path / ".trawl")
    until, offset = journal.fact("times")["until"], journal.fact("offset")
    journal.close()

    assert until >= offset / 2


def test_many_reports_collected_at_once_take_little_memory(tmp_path: Path) -> None:
    """Guards what bounds a group of reports, and that a report's text is freed once it is divided into rows."""
    row = replace(batch(1).outcomes[0], detail="d" * 600)
    reports = [(str(number), replace(batch(number), outcomes=[row] * 500).to_result()) for number in range(20)]
    with _opened(tmp_path) as sink:
        tracemalloc.start()
        try:
            collected = sink.collect(reports)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert collected.rows == 10_000
    assert peak < 12 * 1024**2


def test_an_edited_manifest_does_not_keep_its_job_from_being_resumed(tmp_path: Path) -> None:
    expected = collected(tmp_path, range(1, 4), each=1)  # the times of the third are not recorded
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(path.read_bytes().replace(b"http://h3", b"ht\np://h3"))

    tally = _command(tmp_path, [])

    assert tally.counts == expected.counts
