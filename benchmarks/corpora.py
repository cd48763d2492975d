"""The rows of the race: what is fetched, from how many hosts, over which link, and what we promise on it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO

KB, MB = 1_000, 1_000_000
MARK = b"benchmark body "  # every body opens with it and its number, so that a check needs no file names
_COMPARE = 1 << 20  # bytes compared at once


class Unit(StrEnum):
    """What a row counts."""

    URLS = "URL/s"
    BYTES = "MB/s"


class Link(StrEnum):
    """How a client reaches the server."""

    LOOPBACK = "loopback"  #: no latency
    LATE = "late"  #: 50 ms of round trip, through the relay
    CAPPED = "capped"  #: 50 ms, and the server sends at most 4 MB/s per connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table."""

    key: str
    title: str
    bodies: str  # the folder of the corpus it is fetched from; rows may share one
    files: int
    size: int  # bytes of each body
    hosts: int = 1
    tls: bool = False
    http2: bool = False  # the server offers it; only over TLS
    link: Link = Link.LOOPBACK
    unit: Unit = Unit.URLS
    in_flight: int = 64  # transfers every client may have open: the best of 16 to 300 for most of them (README)
    target: float | None = None  # our rate over the best peer's (or over the limit's, see `against_limit`)
    against_limit: bool = False  # the target is a share of the physical limit
    limit: str | None = None  # the tool that shows the physical limit
    time_limit: float = 240.0  # seconds a client may take


_SMALL = Row(key="A", title="10,000 x 4 KB", bodies="small", files=10_000, size=4 * KB, target=0.6, limit="wrk")
_CAPPED = "1 x 100 MB, 50 ms, 4 MB/s per connection"
_FEW_OVER_TLS = "2,000 x 4 KB over TLS from 200 hosts"

_ROWS = (
    _SMALL,
    Row(key="B", title="2,000 x 100 KB", bodies="medium", files=2_000, size=100 * KB, target=1.0),
    Row(
        key="C",
        title="20 x 100 MB",
        bodies="large",
        files=20,
        size=100 * MB,
        unit=Unit.BYTES,
        in_flight=8,
        target=1.0,
        limit="cp",
    ),
    replace(
        _SMALL, key="D", title="A with 50 ms latency", link=Link.LATE, in_flight=256, target=0.95, against_limit=True
    ),
    replace(_SMALL, key="E", title="A from 200 hosts", hosts=200, limit=None),
    replace(_SMALL, key="S", title="A over TLS", tls=True, limit=None),
    replace(_SMALL, key="H", title="A over TLS with HTTP/2", tls=True, http2=True, limit=None),
    replace(_SMALL, key="SE", title=_FEW_OVER_TLS, files=2_000, hosts=200, tls=True, target=2.0, limit=None),
    Row(
        key="X",
        title=_CAPPED,
        bodies="large",
        files=1,
        size=100 * MB,
        link=Link.CAPPED,
        unit=Unit.BYTES,
        in_flight=8,
        target=1.15,
    ),
)
ROWS = {row.key: row for row in _ROWS}


def body(index: int, size: int) -> bytes:
    """Return the bytes of one body: its mark, then noise that nothing compresses; the same in every run."""
    opening = MARK + b"%08d\n" % index
    return opening + random.Random(index * 1_000_003 + size).randbytes(size - len(opening))


def file_name(index: int) -> str:
    return f"{index:08d}.bin"


def prepare(row: Row, folder: Path) -> Path:
    """Write the bodies of a row below ``folder`` unless they are there, and return where."""
    place = folder / row.bodies
    place.mkdir(parents=True, exist_ok=True)
    for index in range(row.files):
        path = place / file_name(index)
        if not path.exists():
            path.write_bytes(body(index, row.size))
    return place


def host(row: Row, index: int) -> int:
    """Return the number of the host that serves a body: neighbours in the list are on different hosts."""
    return index % row.hosts


@dataclass(frozen=True, slots=True)
class Check:
    """What a client left on disk, compared with the server's files."""

    right: int
    wrong: tuple[str, ...]  # what is not as it should be, a sentence each

    @property
    def is_right(self) -> bool:
        return not self.wrong


def check(row: Row, source: Path, output: Path) -> Check:
    """Compare every body found below ``output``, whatever it is called, byte by byte with its source."""
    seen: set[int] = set()
    wrong = []
    for path in _files(output):
        with path.open("rb") as found:
            opening = found.read(len(MARK) + 8)
            if not opening.startswith(MARK):
                continue  # a manifest, a statistic, a journal
            index = int(opening[len(MARK) :])
            if index in seen:
                wrong.append(f"{path.name} is a second copy of body {index}")
            elif not _equals(found, opening, source / file_name(index)):
                wrong.append(f"{path.name} differs from body {index}")
            seen.add(index)
    missing = row.files - len(seen & set(range(row.files)))
    if missing:
        wrong.append(f"{missing} of {row.files} bodies are missing")
    return Check(len(seen), tuple(wrong[:5]))


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _equals(found: IO[bytes], opening: bytes, source: Path) -> bool:
    with source.open("rb") as expected:
        if expected.read(len(opening)) != opening:
            return False
        while True:
            theirs, ours = expected.read(_COMPARE), found.read(_COMPARE)
            if theirs != ours:
                return False
            if not theirs:
                return True
