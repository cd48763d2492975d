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


class ProgressSnapshot(Struct, frozen=True):
    """``counts`` are the outcomes there are, by ending; ``fetched`` the bytes that came of bodies, whole or not."""

    batch: str
    counts: Mapping[_Ending, _Count]
    fetched: _Count

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
