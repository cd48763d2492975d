"""Content digests: which algorithms there are and how to start one."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from contract.errors import SettingError
from contract.policy import Digest

PIECE = 256 * 1024  # bytes up to which a body is hashed as it comes; larger ones are hashed on another thread


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def starter(algorithm: str) -> Callable[[], Any]:
    """Return what starts a ``Hasher`` of this algorithm.

    Raises:
        SettingError: the optional package of the algorithm is not installed.
    """
    try:
        if algorithm == Digest.BLAKE3:
            from blake3 import blake3

            return blake3
        if algorithm == Digest.XXH3:
            from xxhash import xxh3_128

            return xxh3_128
    except ImportError:
        raise SettingError(f"The digest {algorithm} needs a package: pip install 'trawlnet[digests]'.") from None
    if algorithm == "sha256":
        return hashlib.sha256
    if algorithm == "crc32":
        return _Crc32
    return lambda: hashlib.new(algorithm, usedforsecurity=False)
