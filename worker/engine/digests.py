"""Content digests: the supported algorithms and their hashers."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from contract.errors import SettingError
from contract.records.policy import Digest, lacking_for


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


class _Crc32c:
    """CRC-32C (Castagnoli, RFC 3720 appendix B.4)."""

    def __init__(self) -> None:
        self._sum = _checksum()()

    def update(self, data: bytes, /) -> None:
        self._sum.update(bytes(data))  # the package rejects mutable buffers; bytes(bytes) makes no copy

    def hexdigest(self) -> str:
        digest: bytes = self._sum.digest()
        return digest.hex()


@cache
def _checksum() -> Any:
    """Return the optional package's class; None if it is missing, or only has its slow Python implementation."""
    try:
        import google_crc32c
    except (ImportError, RuntimeWarning):  # it warns if only the Python implementation is there
        return None
    return google_crc32c.Checksum if google_crc32c.implementation == "c" else None


def is_known(algorithm: str) -> bool:
    """Can a digest of this algorithm, promised by a server, be computed here?"""
    return algorithm != "crc32c" or _checksum() is not None


def starter(algorithm: str) -> Callable[[], Any]:
    """Return a function that creates a ``Hasher`` of this algorithm.

    Raises:
        SettingError: the optional package of the algorithm is not installed.
    """
    if algorithm in (Digest.BLAKE3, Digest.XXH3):
        if lacking := lacking_for(Digest(algorithm)):
            raise SettingError(lacking)
        return _packaged(Digest(algorithm))
    if algorithm == "sha256":
        return hashlib.sha256
    if algorithm == "crc32":
        return _Crc32
    if algorithm == "crc32c":
        return _Crc32c
    return lambda: hashlib.new(algorithm, usedforsecurity=False)


def _packaged(algorithm: Digest) -> Callable[[], Any]:
    if algorithm is Digest.BLAKE3:
        from blake3 import blake3

        return blake3
    from xxhash import xxh3_128

    return xxh3_128
