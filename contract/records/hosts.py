"""What processes share about a throttling host."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from contract.records import wire


class HostState(Struct, frozen=True, gc=False, omit_defaults=True):
    """A host's pause, or its end; times are in seconds from now, so that no shared clock is needed.

    ``streak`` counts successive incidents; ``pace`` is in starts/s (None: nothing was learned); ``asks``: the host said
    when to retry; ``is_given_up``: it gets no more requests. ``status`` is that of the answer that began the pause,
    ``asked`` the seconds it asked for, and ``name`` that of its URL. ``is_by_url``: it throttles single URLs whenever
    they are asked for, and no others.
    """

    host: str
    left: float
    streak: int = 0
    pace: float | None = None
    asks: bool = False
    is_open: bool = False
    is_given_up: bool = False
    status: int | None = None
    asked: float | None = None
    name: str = ""
    is_by_url: bool = False

    def to_wire(self) -> bytes:
        return wire.to_json_bytes(self)

    @classmethod
    def from_wire(cls, text: bytes) -> HostState:
        """Read what ``to_wire`` wrote.

        Raises:
            MessageError: it is not a host's state.
        """
        return wire.read(_STATE, text, "A host's state")


_STATE = msgspec.json.Decoder(HostState)
