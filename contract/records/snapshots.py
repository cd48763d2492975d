"""A progress snapshot: how far an open batch is, published once a second to whoever watches its job, kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from contract.records import wire
from contract.records.outcomes import Ending

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Ending = Annotated[str, Meta(pattern=rf"\A({'|'.join(Ending)})\Z")]
_Error = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,40}\Z")]  # a later version may have more classes
_Host = Annotated[str, Meta(max_length=300)]


class ProgressSnapshot(Struct, frozen=True, omit_defaults=True):
    """``counts`` are the outcomes there are, by ending; ``fetched`` the bytes that came of bodies, whole or not.

    ``errors`` are those of the outcomes that have one, by class. ``flying`` URLs are in flight, ``quiet`` of these have
    brought next to nothing for two seconds, and ``unresolved`` ones (of each host one, with the others behind it) wait
    for name servers that say nothing for as long. ``retrying`` ones wait for their host, or the moment of their next
    attempt.
    ``hosts`` has quiet and unresolved URLs by host, of a few hosts that have most.
    """

    batch: str
    counts: Mapping[_Ending, _Count]
    fetched: _Count
    errors: Mapping[_Error, _Count] = {}
    flying: _Count = 0
    quiet: _Count = 0
    unresolved: _Count = 0
    hosts: Mapping[_Host, _Count] = {}
    retrying: _Count = 0

    def to_wire(self) -> bytes:
        return wire.to_json_bytes(self)

    @classmethod
    def from_wire(cls, text: bytes) -> ProgressSnapshot:
        """Read what ``to_wire`` wrote.

        Raises:
            MessageError: it is something else.
        """
        return wire.read(_SNAPSHOT, text, "A progress snapshot")


_SNAPSHOT = msgspec.json.Decoder(ProgressSnapshot)
