"""The options of a job that apply to each of its URLs."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from msgspec import to_builtins

from contract.errors import MessageError, SettingError
from contract.records import wire
from contract.urls.naming import Layout

POLICY_VERSION = 1

_NOT_IN_A_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # RFC 9110 section 5.5; and what is not UTF-8


class Sync(StrEnum):
    """When bytes must be synced to disk."""

    NONE = "none"  #: left to the system
    BATCH = "batch"  #: before the batch's report is stored: one sync for many files
    FILE = "file"  #: file and folder before the URL's outcome: one sync per file


class Digest(StrEnum):
    """The content digest kept in the manifest."""

    SHA256 = "sha256"
    BLAKE3 = "blake3"
    XXH3 = "xxh3"
    NONE = "none"


_PACKAGES = {Digest.BLAKE3: "blake3", Digest.XXH3: "xxhash"}  # what computes it, if not Python itself


def lacking_for(digest: Digest) -> str:
    """Return a sentence if a package that computes the digest is missing here; empty: none is."""
    if digest in _PACKAGES:
        try:
            importlib.import_module(_PACKAGES[digest])
        except ImportError:
            return f"The digest {digest} needs a package: pip install 'trawlnet[digests]'."
    return ""


def lacking_digests() -> Sequence[Digest]:
    """Return the digests that cannot be computed here."""
    return [digest for digest in _PACKAGES if lacking_for(digest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """How the URLs of a job are fetched and stored."""

    timeout: float = 300.0  # seconds per URL in total, including every attempt and wait
    connect_timeout: float = 15.0  # seconds to connect, including TLS
    first_byte_timeout: float = 60.0  # seconds from a request to the first byte of a body; 0: only the timeout
    slowest: int = 100  # bytes/s below which a transfer is aborted (speed floor); 0: no floor
    slow_window: float = 30.0  # seconds over which the speed floor is measured, from the first byte on
    max_size: int = 10 * 1024**3  # bytes of one body
    attempts: int = 4
    first_wait: float = 0.5  # seconds; ceiling of the first backoff
    longest_wait: float = 30.0  # seconds; ceiling of any backoff
    host_patience: float = 3600.0  # seconds a URL waits in total because its host asked for it
    redirects: int = 10
    per_host: int = 0  # transfers in flight to one host per process; 0: no limit
    allow_nets: tuple[str, ...] = ()
    deny_nets: tuple[str, ...] = ()
    layout: Layout = Layout.FLAT
    digest: Digest = Digest.SHA256
    sync: Sync = Sync.BATCH
    splits: int = 1  # ranges of one large file to fetch at once
    resume: bool = False  # keep and use partial files across batches and runs
    http3: bool = False
    ipv4_only: bool = False
    user_agent: str = "trawlnet"
    batch_seconds: float = 60.0  # seconds after which a batch starts no more transfers

    def __post_init__(self) -> None:
        """Refuse values that would break every request.

        Raises:
            SettingError: the User-Agent is not one line of text.
        """
        if _NOT_IN_A_HEADER.search(self.user_agent):
            raise SettingError("The User-Agent (--user-agent) must be one line of UTF-8 without control characters.")

    def to_wire(self) -> dict[str, Any]:
        return {"version": POLICY_VERSION, **to_builtins(self)}

    @classmethod
    def from_wire(cls, record: Mapping[str, Any]) -> JobPolicy:
        """Read a policy back.

        Raises:
            MessageError: it is of another version, or a value is invalid.
        """
        values = dict(record)
        if values.pop("version", None) != POLICY_VERSION:
            raise MessageError("A job's policy was written by another version: run the same Trawlnet on both sides.")
        try:
            return wire.shaped(values, cls, "A job's policy")
        except SettingError as error:
            raise MessageError(f"A job's policy cannot be read: {error}") from None
