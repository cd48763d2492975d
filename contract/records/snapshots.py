"""A progress snapshot: how far an open batch is, published once a second to those who watch its job, and not stored."""

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
_Seconds = Annotated[float, Meta(ge=0)]
_Host = Annotated[str, Meta(max_length=300)]


class ProgressSnapshot(Struct, frozen=True, omit_defaults=True):
    """``counts`` are the outcomes so far, by ending; ``fetched`` the bytes of bodies received, whole or not.

    ``errors`` counts failed outcomes by class. ``flying`` URLs are in flight; ``quiet`` of them have received next to
    nothing for two seconds. ``unresolved`` ones (one per host, with the others behind it) have waited two seconds for
    name servers that do not answer. ``retrying`` ones wait for their host or their next attempt. ``hosts`` has quiet
    and unresolved URLs by host, for the few hosts with the most. ``throttled`` ones wait for hosts that throttle;
    ``throttling`` has the seconds until the next requests to the first few of these.
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
    throttled: _Count = 0
    throttling: Mapping[_Host, _Seconds] = {}

    def to_wire(self) -> bytes:
        return wire.to_json_bytes(self)

    @classmethod
    def from_wire(cls, text: bytes) -> ProgressSnapshot:
        """Read what ``to_wire`` wrote.

        Raises:
            MessageError: it is not a snapshot.
        """
        return wire.read(_SNAPSHOT, text, "A progress snapshot")


_SNAPSHOT = msgspec.json.Decoder(ProgressSnapshot)
