"""How records travel: compact JSON, compressed where it is large."""

from __future__ import annotations

import json
import sys
from typing import Any

import orjson

from contract.errors import MessageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGEST_RECORD = 256 * 1024 * 1024  # bytes after decompression; a record above it is an attack or a bug
_LEVEL = 3

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def to_json(value: Any) -> str:
    """Return compact JSON text, non-ASCII kept as it is."""
    return to_json_bytes(value).decode("utf-8", "surrogatepass")


def to_json_bytes(value: Any) -> bytes:
    """Return compact JSON in UTF-8; half a surrogate pair goes as the bytes Python's ``surrogatepass`` makes of it."""
    try:
        return orjson.dumps(value)
    except TypeError:  # half a surrogate pair or a huge integer: rare, and the slow encoder takes them
        return _encoder.encode(value).encode("utf-8", "surrogatepass")


def from_json(text: str | bytes) -> Any:
    """Read JSON text.

    Raises:
        MessageError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"A record is not JSON ({type(error).__name__}).") from None


def pack(value: Any) -> bytes:
    """Return the value as zstd-compressed JSON (RFC 8878)."""
    return zstd.compress(to_json_bytes(value), _LEVEL)


def unpack(blob: bytes) -> Any:
    """Read what ``pack`` wrote.

    Raises:
        MessageError: the bytes are not zstd-compressed JSON, or longer than LARGEST_RECORD.
    """
    decompressor = zstd.ZstdDecompressor()
    try:
        text = decompressor.decompress(blob, LARGEST_RECORD)
    except zstd.ZstdError:
        raise MessageError("A record is not zstd-compressed.") from None
    if not decompressor.eof:
        raise MessageError("A record is cut short or larger than allowed.")
    return from_json(text.decode("utf-8", "surrogatepass"))
