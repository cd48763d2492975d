"""How records are encoded: compact JSON, compressed if large."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, TypeVar

import msgspec

from contract.errors import MessageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGEST_RECORD = 256 * 1024 * 1024  # bytes after decompression; a larger record is an attack or a bug
_LEVEL = 1  # of rows, level 3 takes twice as long and makes no less
_own = threading.local()  # a compressor for each thread: making one takes twice as long as a small record

Record = TypeVar("Record")

_encode = msgspec.json.Encoder().encode
_patient_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def to_json(value: Any) -> str:
    """Return compact JSON text, without escaping non-ASCII."""
    return to_json_bytes(value).decode("utf-8", "surrogatepass")


def to_json_bytes(value: Any) -> bytes:
    """Return compact JSON in UTF-8; a lone surrogate is encoded as by Python's ``surrogatepass``."""
    try:
        return _encode(value)
    except UnicodeEncodeError:  # a lone surrogate: rare, and only the standard library's encoder accepts it
        return _patient_encoder.encode(msgspec.to_builtins(value)).encode("utf-8", "surrogatepass")


def from_json(text: str | bytes) -> Any:
    """Read JSON text.

    Raises:
        MessageError: it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _read_patiently(text)


def read(decoder: msgspec.json.Decoder[Record], text: bytes, what: str) -> Record:
    """Read JSON text as the decoder's type; ``what`` names it in the error, as in "A report".

    Raises:
        MessageError: it is not JSON, or has another shape.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise MessageError(f"{what} cannot be read: {error}.") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return shaped(_read_patiently(text), decoder.type, what)


def shaped(value: Any, kind: type[Record], what: str) -> Record:
    """Return plain data (dicts, lists, numbers, text) as a record; ``what`` names it in the error.

    Raises:
        MessageError: it has another shape.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise MessageError(f"{what} cannot be read: {error}.") from None


def _read_patiently(text: str | bytes) -> Any:
    # A lone surrogate, as bytes or as an escape: the fast decoder rejects it, Python's accepts it.
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"A record is not JSON ({type(error).__name__}).") from None


def pack(value: Any) -> bytes:
    """Return the value as zstd-compressed JSON (RFC 8878)."""
    return compress(to_json_bytes(value))


def compress(text: bytes) -> bytes:
    """Return JSON text in the form the ledger stores."""
    compressor: zstd.ZstdCompressor | None = getattr(_own, "compressor", None)
    if compressor is None:
        compressor = _own.compressor = zstd.ZstdCompressor(_LEVEL)
    return compressor.compress(text, compressor.FLUSH_FRAME)


def unpack(blob: bytes) -> Any:
    """Read what ``pack`` wrote.

    Raises:
        MessageError: the bytes are not zstd-compressed JSON, or longer than LARGEST_RECORD.
    """
    return from_json(decompress(blob))


def decompress(blob: bytes) -> bytes:
    """Return the JSON text of what ``pack`` or ``compress`` wrote.

    Raises:
        MessageError: the bytes are not zstd-compressed, or longer than LARGEST_RECORD.
    """
    decompressor = zstd.ZstdDecompressor()
    try:
        text = decompressor.decompress(blob, LARGEST_RECORD)
    except zstd.ZstdError:
        raise MessageError("A record is not zstd-compressed.") from None
    if not decompressor.eof:
        raise MessageError("A record is cut short or larger than allowed.")
    return text
