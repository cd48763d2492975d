"""What a line of a list may say about the body of its URL."""

from __future__ import annotations

from msgspec import Struct


class Expected(Struct, frozen=True, gc=False, array_like=True):
    """What the list requires of a body; None if it requires nothing. Digests are lower-case hex."""

    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
