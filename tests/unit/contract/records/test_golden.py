"""Records look as they did in the first release: keys are only added, never changed.

The files in golden/ were written by the first release. A record that says more gets a new file beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from celery.backends.base import compress_payload, decompress_payload  # type: ignore[attr-defined]  # new in 5.7

from contract.errors import MessageError
from contract.records import wire
from contract.records.batches import BatchEntry, Known, pack_entries, unpack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Attempt, Ending, ErrorClass, Outcome, Timing, read_row
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport, read_stored
from contract.records.snapshots import ProgressSnapshot
from contract.urls.expected import Expected

GOLDEN = Path(__file__).parent / "golden"
ATTEMPTS = (Attempt(ErrorClass.TIMEOUT, None, 3.25), Attempt(None, 200, 0.5))
FETCHED = Outcome(
    url="https://example.com/ä?b=1", name="0" * 32, ending=Ending.OK, path="0" * 32, http_status=200, bytes=7,
    sha256="a" * 64, final_url="https://example.com/b", redirects=1, attempts=ATTEMPTS,
    started="2026-01-01T00:00:00+00:00", timing=Timing(dns=0.1, connect=0.2, total=4.0), worker="celery@here",
    notes=("framing=close",),
)  # fmt: skip
REFUSED = Outcome(
    url="half \ud800 pair", name="1" * 32, ending=Ending.REFUSED, error=ErrorClass.REFUSED_URL, detail="line 3: no"
)
REPORT = BatchReport(
    job="j", batch="7", worker="w", pid=1, queued=1.0, started=2.0, finished=4.0, elapsed=2.0, busy=5.0,
    outcomes=[FETCHED, REFUSED], handed_off=["7.1"],
)  # fmt: skip
ENTRIES = [
    BatchEntry("https://a/"),
    BatchEntry("https://b/", Known(7, "sha256:aa"), Expected(sha256="b" * 64, size=7), ATTEMPTS, 1.5),
]


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("row", wire.to_json_bytes(FETCHED)),
        ("snapshot", ProgressSnapshot("7", {"ok": 3, "failed": 1}, 4096).to_wire()),
        ("message", wire.to_json_bytes(BatchMessage("job-1", "7.3f-2").to_wire())),
        ("batch", wire.decompress(pack_entries(ENTRIES))),
    ],
)
def test_a_record_is_written_as_in_the_first_release(name: str, written: bytes) -> None:
    assert written == golden(name)


def test_records_of_the_first_release_can_be_read() -> None:
    report = compress_payload(golden("report"), "zstd")

    assert read_row(golden("row")) == FETCHED
    assert BatchReport.from_result(report) == REPORT
    assert ProgressSnapshot.from_wire(golden("snapshot")).counts == {"ok": 3, "failed": 1}
    assert BatchMessage.from_wire(wire.from_json(golden("message"))) == BatchMessage("job-1", "7.3f-2")
    assert unpack_entries(wire.compress(golden("batch"))) == ENTRIES
    policy = JobPolicy.from_wire(wire.from_json(golden("policy")))
    assert (policy.timeout, policy.allow_nets, policy.splits) == (5.0, ("127.0.0.0/8",), 4)


def test_new_fields_of_a_snapshot_follow_those_of_the_first_release() -> None:
    said = ProgressSnapshot(
        "7", {"ok": 3, "failed": 1}, 4096, errors={"dns": 1}, flying=5, quiet=2, unresolved=1, hosts={"a.test": 3},
        retrying=4,
    )  # fmt: skip

    assert said.to_wire() == golden("snapshot-2")
    assert ProgressSnapshot.from_wire(golden("snapshot-2")) == said
    assert said.to_wire().startswith(golden("snapshot")[:-1])


def test_a_report_has_the_sums_of_its_rows_beside_what_it_had_in_the_first_release() -> None:
    written = decompress_payload(REPORT.to_result())

    assert written == golden("report-2")
    assert written.replace(b'"sums":' + wire.to_json_bytes(REPORT.sums) + b",", b"") == golden("report")
    assert read_stored(compress_payload(written, "zstd")).sums == REPORT.sums
    assert read_stored(compress_payload(golden("report"), "zstd")).sums is None


def test_sums_of_other_rows_do_not_count() -> None:
    """Guards their comparison with the number of rows: a job's counts would not be those of its manifest."""
    text = golden("report-2").replace(b'"counts":{"ok":1,', b'"counts":{"ok":2,')

    assert read_stored(compress_payload(text, "zstd")).sums is None


def test_new_fields_of_an_entry_follow_those_of_the_first_release() -> None:
    entries = [BatchEntry("https://a/", spent=1.5, waited=60.25, status=429)]

    assert wire.decompress(pack_entries(entries)) == golden("batch-2")
    assert unpack_entries(wire.compress(golden("batch-2"))) == entries


def test_rows_of_a_report_are_the_bytes_that_were_stored() -> None:
    """Guards ``Raw``: decoding and encoding a row costs half of what a URL costs the follower."""
    text = golden("report").replace(b'"bytes":7', b'"bytes": 7.0')

    rows = read_stored(compress_payload(text, "zstd")).rows

    assert rows[0] == golden("row").replace(b'"bytes":7', b'"bytes": 7.0')
    assert rows[1].decode("utf-8", "surrogatepass").startswith('{"url":"half \ud800 pair"')


def test_a_row_with_line_breaks_becomes_one_line() -> None:
    """Guards ``_line``: the manifest has one line per row."""
    text = golden("report").replace(b'{"url":"https', b'{\n"url":"https')

    rows = read_stored(compress_payload(text, "zstd")).rows

    assert rows[0] == golden("row")


@pytest.mark.parametrize(
    ("name", "field", "wrong"),
    [
        ("row", '"bytes":7', '"bytes":"7"'),
        ("row", '"outcome":"ok"', '"outcome":"fine"'),
        ("snapshot", '"ok":3', '"good":3'),
        ("snapshot", "4096", "-1"),
        ("policy", '"timeout":5.0', '"timeout":"abc"'),
        ("policy", '"attempts":4', '"attempts":null'),
        ("policy", '"resume":false', '"resume":0'),
        ("batch", '"spent":1.5', '"spent":"long"'),
        ("batch", '"spent":1.5', '"mirror":"https://c/"'),
        ("message", '"batch":"7.3f-2"', '"batch":"7.3f-2","urgent":true'),
        ("report", '"pid":1', '"pid":"1"'),
        ("report", '"status":"SUCCESS"', '"status":"FAILURE"'),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_sentence(name: str, field: str, wrong: str) -> None:
    text = golden(name).replace(field.encode(), wrong.encode())
    assert text != golden(name)
    readers: dict[str, Callable[[], object]] = {
        "row": lambda: read_row(text),
        "snapshot": lambda: ProgressSnapshot.from_wire(text),
        "policy": lambda: JobPolicy.from_wire(wire.from_json(text)),
        "batch": lambda: unpack_entries(wire.compress(text)),
        "message": lambda: BatchMessage.from_wire(wire.from_json(text)),
        "report": lambda: BatchReport.from_result(compress_payload(text, "zstd")),
    }

    with pytest.raises(MessageError, match=r"\A[^\n]+\.\Z"):
        readers[name]()


def test_an_unknown_key_of_a_row_is_ignored() -> None:
    text = golden("row").replace(b'{"url"', b'{"mirror":"https://c/","url"')

    assert read_row(text) == FETCHED
