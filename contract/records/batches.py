"""What the ledger keeps for a batch: its URLs and what is already known of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from contract.errors import MessageError
from contract.records import wire
from contract.records.outcomes import Attempt
from contract.urls.expected import Expected

PAYLOAD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A file an earlier manifest vouches for: ``digest`` is ``"<algorithm>:<hex>"``, ``size`` in bytes."""

    size: int
    digest: str


class BatchEntry(NamedTuple):  # a tuple, because two are made per URL
    """One URL of a batch.

    ``attempts`` and ``spent`` (seconds of its deadline already used) are what earlier batches tried before
    they handed the URL off.
    """

    url: str
    known: Known | None = None
    expected: Expected | None = None
    attempts: tuple[Attempt, ...] = ()
    spent: float = 0.0


def pack_entries(entries: Iterable[BatchEntry]) -> bytes:
    """Return a batch's entries as the ledger stores them: 10 to 40 bytes per ordinary URL."""
    return wire.pack({"version": PAYLOAD_VERSION, "entries": [_entry_to_wire(entry) for entry in entries]})


def unpack_entries(payload: bytes) -> Sequence[BatchEntry]:
    """Read what ``pack_entries`` wrote.

    Raises:
        MessageError: damaged, or of another version.
    """
    record = wire.unpack(payload)
    if not isinstance(record, dict) or record.get("version") != PAYLOAD_VERSION:
        raise MessageError("A batch in the ledger is of another version: run the same Trawlnet on both sides.")
    try:
        return [_entry_from_wire(item) for item in record["entries"]]
    except (KeyError, TypeError, ValueError):
        raise MessageError("A batch in the ledger is damaged.") from None


def _entry_to_wire(entry: BatchEntry) -> Any:
    if entry.known is None and entry.expected is None and not entry.attempts and not entry.spent:
        return entry.url
    item: dict[str, Any] = {"url": entry.url}
    if entry.known:
        item["known"] = [entry.known.size, entry.known.digest]
    if entry.expected:
        item["expected"] = [entry.expected.sha256, entry.expected.md5, entry.expected.size]
    if entry.attempts:
        item["attempts"] = [attempt.to_row() for attempt in entry.attempts]
    if entry.spent:
        item["spent"] = round(entry.spent, 3)
    return item


def _entry_from_wire(item: Any) -> BatchEntry:
    if isinstance(item, str):
        return BatchEntry(url=item)
    return BatchEntry(
        url=item["url"],
        known=Known(*item["known"]) if "known" in item else None,
        expected=Expected(*item["expected"]) if "expected" in item else None,
        attempts=tuple(Attempt.from_row(row) for row in item.get("attempts", ())),
        spent=float(item.get("spent", 0.0)),
    )
