"""The row in which a worker says that a file was already stored, completed from the row of its last download."""

from __future__ import annotations

from contract.errors import MessageError
from contract.records import wire
from contract.records.outcomes import read_row
from producer.storage.journal import Journal
from producer.storage.manifest import digest_of

KEPT = (
    b'"outcome":"kept","error":null,"detail":null,"http_status":null,'  #: in every kept row of a worker, and no other
)


def completed_row(row: bytes, journal: Journal) -> bytes:
    """Return a ``kept`` row, completed from the file's row in an earlier manifest."""
    try:
        kept = read_row(row)
        before = journal.files.outcome(bytes.fromhex(kept.name or ""))
    except (MessageError, ValueError):
        return row
    if before is None or (before.bytes, digest_of(before)) != (kept.bytes, digest_of(kept)):
        return row
    return wire.to_json_bytes(before.kept(kept.url, kept.path, kept.worker))
