"""Content digests: which algorithms there are and how to start one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from contract.errors import SettingError
from contract.policy import Digest

PIECE = 64 * 1024  # bytes up to which a body is hashed as it comes; larger ones are hashed on another thread


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def starter(algorithm: str) -> Callable[[], Any]:
    """Return what starts a ``Hasher`` of this algorithm.

    Raises:
        SettingError: the optional package of the algorithm is not installed.
    """
    try:
        if algorithm == Digest.BLAKE3:
            from blake3 import blake3

            return blake3  # type: ignore[no-any-return]  # the package may be absent, so mypy does not see it
        if algorithm == Digest.XXH3:
            from xxhash import xxh3_128

            return xxh3_128  # type: ignore[no-any-return]  # as above
    except ImportError:
        raise SettingError(f"The digest {algorithm} needs a package: pip install 'trawlnet[digests]'.") from None
    if algorithm == "sha256":
        return hashlib.sha256
    return lambda: hashlib.new(algorithm, usedforsecurity=False)
