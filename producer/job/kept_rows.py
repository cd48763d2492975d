"""The row in which a worker says that a file was already stored, completed from the row of its last download."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from contract.errors import MessageError
from contract.records import wire
from contract.records.outcomes import Outcome
from producer.storage.journal import Journal
from producer.storage.manifest import digest_of

KEPT = (
    b'"outcome":"kept","error":null,"detail":null,"http_status":null,'  #: in every kept row of a worker, and no other
)
_OUTCOME = msgspec.json.Decoder(Outcome)


def completed_row(row: bytes, journal: Journal) -> bytes:
    """Return a ``kept`` row, completed from the file's row in an earlier manifest."""
    try:
        kept = wire.read(_OUTCOME, row, "A row")
        before = journal.files.outcome(bytes.fromhex(kept.name or ""))
    except (MessageError, ValueError):
        return row
    if before is None or (before.bytes, digest_of(before)) != (kept.bytes, digest_of(kept)):
        return row
    known = replace(
        kept,
        http_status=before.http_status,
        content_type=before.content_type,
        content_encoding=before.content_encoding,
        etag=before.etag,
        last_modified=before.last_modified,
        final_url=before.final_url,
        redirects=before.redirects,
        started=before.started,
        timing=before.timing,
        remote_ip=before.remote_ip,
        http_version=before.http_version,
        notes=before.notes,
    )
    return wire.to_json_bytes(known)
