"""The beginning of a body: what of it the next attempt or a later run can resume."""

from __future__ import annotations

from dataclasses import replace

from worker.engine.exchange import Exchange
from worker.engine.http.ranges import SMALLEST_KEPT, SMALLEST_PART, Part, from_record, to_record, version_of
from worker.engine.ports import Store


def part_of(exchange: Exchange, before: Part | None) -> Part | None:
    """Return what an exchange that broke off has of its body, with the part ``before`` it; None: too little."""
    if exchange.draft is None or exchange.head is None or exchange.size < SMALLEST_PART:
        return None
    if exchange.is_ranged and before is not None:
        before.size = exchange.size
        before.version = replace(before.version, total=exchange.ends)  # a version has one length only
        return before
    version = version_of(exchange.head)
    return None if version is None else Part(exchange.draft, exchange.size, version, exchange.head)


def record_of(exchange: Exchange) -> str | None:
    """Return the record with which a later run can resume the body; None: it cannot, or the body is short."""
    version = version_of(exchange.head) if exchange.head is not None else None
    return to_record(version) if version is not None and (version.total or 0) >= SMALLEST_KEPT else None


def find_part(store: Store, name: str) -> Part | None:
    """Return the partial body of an earlier run, if it can be resumed."""
    found = store.resume(name)
    if found is None:
        return None
    draft, size, record = found
    version = from_record(record)
    if version is None or size < SMALLEST_PART or (version.total is not None and size >= version.total):
        draft.discard()
        return None
    return Part(draft, size, version, None)
