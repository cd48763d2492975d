"""What a line of a list may promise of the body beside its URL."""

from __future__ import annotations

from msgspec import Struct


class Expected(Struct, frozen=True, gc=False, array_like=True):
    """What the list itself says a body must be; None where it says nothing. Digests are lower-case hex."""

    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
