"""A snapshot: how far an open batch is, told once a second to whoever watches its job, and kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from contract.errors import MessageError
from contract.records import wire
from contract.records.outcomes import Ending

_ENDINGS = frozenset(Ending)


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """``counts`` are the outcomes there are, by ending; ``fetched`` the bytes that came of bodies, whole or not."""

    batch: str
    counts: Mapping[str, int]
    fetched: int

    def to_wire(self) -> bytes:
        return wire.to_json_bytes({"batch": self.batch, "counts": dict(self.counts), "fetched": self.fetched})

    @classmethod
    def from_wire(cls, text: bytes) -> ProgressSnapshot:
        """Read what ``to_wire`` wrote.

        Raises:
            MessageError: it is something else.
        """
        record = wire.from_json(text)
        if not isinstance(record, dict):
            raise MessageError("A snapshot must be a JSON object.")
        batch, counts, fetched = record.get("batch"), record.get("counts"), record.get("fetched")
        if not (isinstance(batch, str) and isinstance(counts, dict) and _is_count(fetched)):
            raise MessageError("A snapshot must hold batch, counts and fetched.")
        if not all(ending in _ENDINGS and _is_count(count) for ending, count in counts.items()):
            raise MessageError("A snapshot must count outcomes.")
        return cls(batch, counts, fetched)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63
