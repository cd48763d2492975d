"""What the ledger stores for a batch: its URLs and what is already known about each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from contract.records import wire
from contract.records.outcomes import Attempt
from contract.urls.expected import Expected

PAYLOAD_VERSION: Literal[1] = 1


class Known(Struct, frozen=True, gc=False, array_like=True):
    """A stored file that an earlier manifest vouches for: ``digest`` is ``"<algorithm>:<hex>"``, ``size`` in bytes."""

    size: int
    digest: str


class BatchEntry(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One URL of a batch.

    ``attempts`` and ``spent`` (seconds of its deadline already used) are those of earlier batches that handed the URL
    off; ``waited`` is the time in seconds it waited because its host asked for it. ``status`` is that of the last
    answer to it, if its host throttled then and no attempt records it.
    """

    url: str
    known: Known | None = None
    expected: Expected | None = None
    attempts: tuple[Attempt, ...] = ()
    spent: float = 0.0
    waited: float = 0.0
    status: int | None = None

    @property
    def is_plain(self) -> bool:
        """Is there nothing to store but the URL?"""
        return not (self.known or self.expected or self.attempts or self.spent or self.waited or self.status)


Listed = str | BatchEntry  #: an entry on its way into a batch; a plain one is just its URL


class _Payload(Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    entries: list[Listed]


_PAYLOAD = msgspec.json.Decoder(_Payload)


def pack_entries(entries: Iterable[Listed]) -> bytes:
    """Return a batch's entries in the form the ledger stores: 10 to 40 bytes per ordinary URL."""
    listed = [entry if isinstance(entry, str) or not entry.is_plain else entry.url for entry in entries]
    return wire.pack(_Payload(PAYLOAD_VERSION, listed))


def unpack_listed(payload: bytes) -> Sequence[Listed]:
    """Read what ``pack_entries`` wrote.

    Raises:
        MessageError: it is damaged or of another version.
    """
    return wire.read(_PAYLOAD, wire.decompress(payload), "A batch in the ledger").entries


def unpack_entries(payload: bytes) -> Sequence[BatchEntry]:
    """Read what ``pack_entries`` wrote, as one kind of entry; raises like ``unpack_listed``."""
    return [BatchEntry(entry) if isinstance(entry, str) else entry for entry in unpack_listed(payload)]
