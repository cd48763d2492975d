"""A stored report as the follower reads it: its rows stay the JSON text they are, ready for the manifest.

Reading rows as JSON and writing them again would be half of what a URL costs the producer. A row's text is found
without that: rows are objects that begin with the key ``url``, and JSON escapes every quote within a string, so
``},{"url":`` stands between two rows and nowhere else. A report that does not look like that is read the long way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery.backends.base import decompress_payload  # type: ignore[attr-defined]  # new in 5.7

from contract.errors import MessageError
from contract.records import wire
from contract.records.reports import BatchReport

_BEFORE_ROWS, _AFTER_ROWS = '"outcomes":[', ']},"traceback":'
_FIRST, _BETWEEN = '{"url":', '},{"url":'


@dataclass(frozen=True, slots=True)
class DrainedReport:
    """One batch's report. ``rows`` are manifest lines without their line break; ``head`` may lack the outcomes."""

    head: BatchReport
    rows: Sequence[str]

    @property
    def batch(self) -> str:
        return self.head.batch


def read_report(blob: bytes) -> DrainedReport:
    """Read a stored report.

    Raises:
        MessageError: it is damaged, or of another version.
    """
    try:
        text = decompress_payload(blob).decode("utf-8", "surrogatepass")
    except Exception as error:  # what celery's decompression raises depends on the compression
        raise MessageError(f"A report in the result backend is damaged ({type(error).__name__}).") from None
    start, end = text.find(_BEFORE_ROWS) + len(_BEFORE_ROWS), text.rfind(_AFTER_ROWS)
    rows = _rows_of(text[start:end])
    if start < end and rows is not None:
        meta = wire.from_json(text[:start] + text[end:])
        if sum(_result_of(meta).get("summary", {}).values()) == len(rows):
            return DrainedReport(BatchReport.from_wire(_result_of(meta)), rows)
    whole = BatchReport.from_wire(_result_of(wire.from_json(text)))
    return DrainedReport(whole, [wire.to_json(row) for row in whole.outcomes])


def _rows_of(text: str) -> list[str] | None:
    if not (text.startswith(_FIRST) and text.endswith("}")):
        return None
    first, *others = text[1:-1].split(_BETWEEN)
    return [f"{{{first}}}", *(f"{_FIRST}{row}}}" for row in others)]


def _result_of(meta: Any) -> Mapping[str, Any]:
    if not isinstance(meta, Mapping) or meta.get("status") != "SUCCESS" or not isinstance(meta.get("result"), Mapping):
        raise MessageError("A result in the backend is not a report.")
    result: Mapping[str, Any] = meta["result"]
    return result
