"""The digests of the body that a response's headers promise.

``Repr-Digest`` and ``Content-Digest`` (RFC 9530), ``Content-MD5`` (RFC 2616 section 14.15), ``x-goog-hash`` (Google
Cloud Storage) and ``x-amz-checksum-*`` (Amazon S3). Digests that cannot be computed here are ignored.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from worker.engine.digests import is_known
from worker.engine.http.headers import Head

_MEMBER = re.compile(r"([a-z0-9*-]+)=:([A-Za-z0-9+/=]*):(?=\s*(?:[,;]|$))")
_AMAZON = {f"x-amz-checksum-{name}": name for name in ("sha256", "sha1", "crc32", "crc32c")}
_GOOGLE = frozenset({"md5", "crc32c"})
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_SIZES = {"sha256": 32, "sha512": 64, "sha1": 20, "md5": 16, "crc32": 4, "crc32c": 4}
_HEADERS = frozenset({"repr-digest", "content-digest", "content-md5", "x-goog-hash", *_AMAZON})


@dataclass(frozen=True, slots=True)
class Promise:
    """A digest of the body (lower-case hex) by ``algorithm``, promised by the header ``source``."""

    algorithm: str
    digest: str
    source: str


def promises(head: Head, is_part: bool = False) -> tuple[Promise, ...]:
    """Return what a response promises about the whole body.

    ``is_part``: the response carries a range, so digests of its own content are ignored.
    """
    if _HEADERS.isdisjoint(head.fields):
        return ()
    return tuple(_promises(head, is_part))


def _promises(head: Head, is_part: bool) -> Iterator[Promise]:
    fields = head.fields
    digests = ["repr-digest"] if is_part else ["repr-digest", "content-digest"]
    for name in digests:
        for algorithm, text in _MEMBER.findall(fields.get(name, "")):
            yield from _promise(_ALGORITHMS.get(algorithm, ""), text, name)
    if not is_part:
        yield from _promise("md5", fields.get("content-md5", ""), "content-md5")
    # Google's hashes are of the stored object, which it may decompress when serving it.
    stored = fields.get("x-goog-stored-content-encoding", "identity")
    if stored in ("identity", fields.get("content-encoding")):
        for part in fields.get("x-goog-hash", "").split(","):
            algorithm, _, text = part.strip().partition("=")
            yield from _promise(algorithm if algorithm in _GOOGLE else "", text, "x-goog-hash")
    if fields.get("x-amz-checksum-type", "").upper() != "COMPOSITE":
        for name, algorithm in _AMAZON.items():
            yield from _promise(algorithm, fields.get(name, ""), name)


def _promise(algorithm: str, text: str, source: str) -> Iterator[Promise]:
    try:
        raw = binascii.a2b_base64(text.strip(), strict_mode=True)
    except (binascii.Error, ValueError):
        return
    if len(raw) == _SIZES.get(algorithm) and is_known(algorithm):
        yield Promise(algorithm, raw.hex(), source)
