"""What processes let one another know of a host that throttles."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from contract.records import wire


class HostState(Struct, frozen=True, gc=False, omit_defaults=True):
    """A host's pause, or that it is over; times are in seconds from now, so that no clock is shared.

    ``streak`` counts incidents in succession, ``pace`` is in starts/s (None: nothing was learned), ``asks`` tells that
    the host has said when to come again, ``is_given_up`` that it never will be asked again. ``status`` is that of the
    answer the pause began with, ``asked`` the seconds it asked for.
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

    def to_wire(self) -> bytes:
        return wire.to_json_bytes(self)

    @classmethod
    def from_wire(cls, text: bytes) -> HostState:
        """Read what ``to_wire`` wrote.

        Raises:
            MessageError: it is something else.
        """
        return wire.read(_STATE, text, "A host's state")


_STATE = msgspec.json.Decoder(HostState)
