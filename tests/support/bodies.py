"""Predictable bodies: the same bytes for the same seed, at any size and any offset."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from functools import cache, lru_cache

#: Bytes made at once; a body of any size costs the memory of a few of these.
BLOCK = 64 * 1024


def body_bytes(size: int, seed: int = 0) -> bytes:
    """Return the whole body of `seed` with `size` bytes."""
    return body_part(0, size, seed)


def body_part(start: int, size: int, seed: int = 0) -> bytes:
    """Return `size` bytes of the endless body of `seed`, from byte `start` on."""
    return b"".join(body_pieces(start, size, seed))


def body_pieces(start: int, size: int, seed: int = 0) -> Iterator[bytes]:
    """Yield the same bytes as `body_part` in pieces of at most BLOCK bytes."""
    end = start + size
    while start < end:
        number, offset = divmod(start, BLOCK)
        piece = _block(seed, number)[offset : offset + end - start]
        yield piece
        start += len(piece)


@lru_cache(maxsize=128)
def _block(seed: int, number: int) -> bytes:
    # Every block differs from every other, so bytes from a wrong offset or version never pass for right ones.
    return hashlib.shake_128(f"{seed}/{number}".encode()).digest(BLOCK)


def base64_digest(algorithm: str, body: bytes) -> str:
    """Return the base64 of a digest as headers carry it; `algorithm` is hashlib's name, crc32 or crc32c.

    The checksums are written as four bytes, big end first, as Amazon and Google do.
    """
    if algorithm == "crc32":
        raw = zlib.crc32(body).to_bytes(4, "big")
    elif algorithm == "crc32c":
        raw = crc32c(body).to_bytes(4, "big")
    else:
        raw = hashlib.new(algorithm, body, usedforsecurity=False).digest()
    return base64.b64encode(raw).decode("ascii")


def crc32c(body: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 appendix B.4) of a body; slow, so for small bodies."""
    table = _crc32c_table()
    value = 0xFFFFFFFF
    for byte in body:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@cache
def _crc32c_table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        for _ in range(8):
            entry = (entry >> 1) ^ (0x82F63B78 if entry & 1 else 0)
        entries.append(entry)
    return tuple(entries)
